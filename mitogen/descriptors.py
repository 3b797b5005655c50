"""
Descriptors that other processes have too, made fit for the broker.

Ring 1. The broker wants descriptors that never block. To make one so changes it for every process that has it, the
user's shell for one, so that is never done here: a socket is asked not to block at each call, a pipe is opened anew,
and for what is left (files, terminals) there is a `Pump`, with a thread of its own.
"""

import os
import select
import socket
import stat
import threading

import mitogen.core
from mitogen.core import CHUNK_SIZE, Side

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Tuple


class SocketSide(Side):
    """Owns a socket. It is never waited for, and stays as it is for the others who have it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.all_open.add(self.fd)

    def close(self) -> None:
        if self.fd is not None:
            self.socket.detach()
        Side.close(self)

    def read(self, size: int = CHUNK_SIZE) -> bytes:
        return mitogen.core.io_op(self.socket.recv, size, socket.MSG_DONTWAIT)[0] or b''

    def write(self, buffers: 'Sequence[Any]') -> 'Optional[int]':
        return mitogen.core.io_op(self.socket.sendmsg, buffers, (), socket.MSG_DONTWAIT)[0]     # type: ignore


class Pump:
    """Copies between a descriptor that the broker cannot wait for (a file, a terminal) and a pipe, on its own thread.

    :param fd: the descriptor, from now on the pump's.
    :param writing: whether the pump writes to it, or else reads it.
    :ivar side: our end of the pipe.
    """

    def __init__(self, fd: int, writing: bool) -> None:
        reader, writer = os.pipe()
        ours, theirs = (writer, reader) if writing else (reader, writer)
        self.side = Side(ours)
        self._writing = writing
        self._lock = threading.Lock()
        self._ended = False                                     # under the lock, as is the next
        self._then: 'Optional[Callable[[], Any]]' = None
        self._fds = (theirs, fd) if writing else (fd, theirs)
        Side.all_open.update(self._fds)
        threading.Thread(target=self._main, name='mitogen.pump', daemon=True).start()

    def when_ended(self, then: 'Callable[[], Any]') -> None:
        """Call ``then()`` once all has been written that will be; on any thread."""
        with self._lock:
            self._then = then
            ended = self._ended
        if ended:
            then()

    def _main(self) -> None:
        try:
            self._copy(*self._fds)
        except OSError:
            pass            # gone, or never any good: the same as its end
        for fd in self._fds:
            Side.all_open.discard(fd)
            os.close(fd)
        with self._lock:
            self._ended = True
            then = self._then
        if then:
            then()

    def _copy(self, reader: int, writer: int) -> None:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        if not self._writing:
            poll.register(writer, 0)        # wakes when nobody wants any more: a terminal may stay silent for ever
        while not any(fd == writer for fd, _ in poll.poll()):
            data = memoryview(os.read(reader, CHUNK_SIZE))
            if not data:
                return
            while data:
                data = data[os.write(writer, data):]


def adopt(fd: int, writing: bool) -> 'Tuple[Side, Optional[Pump]]':
    """Return a Side that the broker can wait for, for a descriptor that other processes have too; and the Pump behind
    it, where there is one.

    :param fd: the descriptor, from now on the side's.
    :param writing: whether it will be written to, or else read.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return SocketSide(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)), None
    if stat.S_ISFIFO(mode):
        try:
            # A descriptor of our own for the same pipe, which can be non-blocking while theirs is not. Linux only.
            own = os.open('/proc/self/fd/%d' % fd, (os.O_WRONLY if writing else os.O_RDONLY) | os.O_NONBLOCK)
        except OSError:
            pass
        else:
            os.close(fd)
            return Side(own), None
    pump = Pump(fd, writing)
    return pump.side, pump
