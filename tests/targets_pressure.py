"""What contexts do to fill the way to one that does not read: see tests/live/test_pressure.py. Python 3.6 and later."""

import os
import threading

import mitogen.core


def _say(path, text):
    with open(path + '.new', 'w') as fp:
        fp.write(text)
    os.rename(path + '.new', path)


@mitogen.core.takes_router
def grow(router):
    """Become a context that could have children."""
    return router.unidirectional is router.disconnect_all


@mitogen.core.takes_router
def send_all(sender, size, number, path, router):
    """Send so many messages from a thread of its own. Leave in `path` how many were sent: when no more go, and when all
    have gone."""
    def send():
        for count in range(number):
            if router.crowd.waiting:
                _say(path, 'full after %d' % count)
            sender.send(mitogen.core.Blob(bytes(size)))
        sender.close()
    threading.Thread(target=send, daemon=True).start()
