"""A context that outlives the program which started it: it works on, and writes down what it finds."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import mitogen.core
import mitogen.utils

# Seconds until this example stops to wait; it needs less than one.
PATIENCE = 30


@mitogen.core.takes_econtext
def work_on(path, econtext):
    """In the child: part from the master, wait until that has gone, and go on."""
    helper = econtext.router.local()
    master = os.getppid()
    econtext.detach()
    while os.getppid() == master:
        time.sleep(0.01)
    with open(path + '.new', 'w') as fp:
        fp.write('the master is gone; context %d and its child %d still work\n'
                 % (econtext.context.context_id, helper.call(os.getpid) and helper.context_id))
    os.rename(path + '.new', path)
    econtext.broker.shutdown()


@mitogen.utils.with_router
def start(router, path):
    """A master that ends at once."""
    child = router.local()
    try:
        child.call(work_on, path)
    except mitogen.core.ChannelError as exc:
        print('master:', exc, flush=True)


def main():
    folder = tempfile.mkdtemp()
    path, give_up = os.path.join(folder, 'found'), time.monotonic() + PATIENCE
    subprocess.run([sys.executable, __file__, path], check=True)
    while not os.path.exists(path) and time.monotonic() < give_up:
        time.sleep(0.01)
    with open(path) as fp:
        print('found: ', fp.read().strip())
    shutil.rmtree(folder)


if __name__ == '__main__':
    if sys.argv[1:]:
        start(sys.argv[1])
    else:
        main()
