#!/usr/bin/env python3
"""Copy a folder into another context with programs that know of ssh only: here tar, in a shell's pipe."""

import os
import sys
import tempfile

import mitogen.fakessh
import mitogen.utils

SCRIPT = 'tar -C "$1" -cf - . | ssh any-host tar -C "$2" -xf -'


@mitogen.utils.with_router
def main(router):
    target = router.fork(via=router.local())
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as copy:
        for name in 'one', 'two', 'three':
            with open(os.path.join(source, name), 'w') as fp:
                fp.write(name)
        status = mitogen.fakessh.run(target, router, ['sh', '-c', SCRIPT, 'sh', source, copy])
        print('exit status %d, copied: %s' % (status, ', '.join(sorted(os.listdir(copy)))))
    return status


if __name__ == '__main__':
    sys.exit(main())
