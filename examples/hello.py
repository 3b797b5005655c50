"""Call a function of this script in another interpreter."""

import os
import sys

import mitogen.utils


def greet(name):
    return 'Hello %s, from process %d, Python %d.%d' % (name, os.getpid(), *sys.version_info[:2])


@mitogen.utils.with_router
def main(router):
    child = router.local()
    print(child.call(greet, 'Ann'))


if __name__ == '__main__':
    main()
