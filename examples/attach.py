"""A program that others can attach to: one process keeps connections, another uses them."""

import os
import subprocess
import sys

import mitogen.unix
import mitogen.utils


def client(path, context_id):
    """Another process: call a context that the first one has started."""
    router, _ = mitogen.unix.connect(path)
    try:
        context = router.context_by_id(context_id)
        print('process %d sees that the child is %s' % (os.getpid(), 'up: %d' % context.call(os.getpid)), flush=True)
    finally:
        router.broker.shutdown()
        router.broker.join()


@mitogen.utils.with_router
def main(router):
    child = router.local()
    listener = mitogen.unix.Listener(router)
    print('process %d has child  %d' % (os.getpid(), child.call(os.getpid)), flush=True)
    for _ in range(2):
        subprocess.run([sys.executable, __file__, listener.path, str(child.context_id)], check=True)


if __name__ == '__main__':
    if sys.argv[1:]:
        client(sys.argv[1], int(sys.argv[2]))
    else:
        main()
