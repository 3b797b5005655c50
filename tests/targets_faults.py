"""What is done to contexts from within, by tests of faults. Any Python from 3.6 on; see targets.py."""

import os
import resource

import mitogen.core


def children_and_self():
    """Pid of this context, and how many descriptors it has."""
    return os.getpid(), len(os.listdir('/proc/self/fd'))


@mitogen.core.takes_econtext
def lose_link(econtext):
    """User code that closes descriptors that it did not open."""
    stream = econtext.router.parent_stream
    os.close(stream.transmit_side.fd)
    os.close(stream.receive_side.fd)


@mitogen.core.takes_econtext
def stop_hearing(econtext):
    """The same with the one that the parent writes to; it is not told, so that calls would never be answered."""
    os.close(econtext.router.parent_stream.receive_side.fd)


class Limited:
    """The limit of a resource, as low as it can be while the block runs."""

    def __init__(self, kind, value):
        self._kind, self._value = kind, value

    def __enter__(self):
        self._before = resource.getrlimit(self._kind)
        resource.setrlimit(self._kind, (self._value, self._before[1]))

    def __exit__(self, *error):
        resource.setrlimit(self._kind, self._before)


class Filled:
    """All descriptors that this process may have are taken but a few, while the block runs.

    :param room: how many are left.
    """

    def __init__(self, room):
        self._room, self._fds = room, []

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._before[1], self._before[1]))
        try:
            while True:
                self._fds.append(os.dup(0))
        except OSError:
            self._close(self._room)

    def _close(self, number):
        for _ in range(number):
            os.close(self._fds.pop())

    def __exit__(self, *error):
        self._close(len(self._fds))
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)


def memory_in_use():
    with open('/proc/self/statm') as fp:
        return int(fp.read().split()[0]) * resource.getpagesize()


def take_memory(size):
    """Ask for more memory than this process may have."""
    with Limited(resource.RLIMIT_AS, memory_in_use() + size // 4):
        return len(bytearray(size))


def limit_memory(room):
    """From now on, whatever comes: no more than so many bytes on top."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_in_use() + room, resource.getrlimit(resource.RLIMIT_AS)[1]))


def start_child_without_processes(method='local'):
    """Start a child while there are no processes to be had. Return the error's text, or ''."""
    with Limited(resource.RLIMIT_NPROC, 1):
        return _why_no_child(method)


def start_child_without_descriptors():
    """The same with descriptors, of which this process will never have more again: the library raises soft limits."""
    value = min(len(os.listdir('/proc/self/fd')) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (value, value))
    return _why_no_child('local')


@mitogen.core.takes_router
def grow(router):
    """Fetch what it takes to have children, and have one, for a start."""
    router.local().shutdown(wait=True)


def _why_no_child(method):
    router = mitogen.core.child_router
    try:
        getattr(router, method)().shutdown(wait=True)
        return ''
    except mitogen.core.Error as exc:
        return str(exc)
