"""
Attach to a running program: it listens on a socket of this machine, and another process calls through it.

Ring 1; the process that attaches needs the whole library. A client becomes a child of the context that listens, and
what it says has the authority of that context: what a parent may do, it may do with those below, and with nobody
above. So the socket is for one user only, and everything here is about keeping it so:

* it appears under its name when it is private already, and the kernel is asked who the peer is;
* a client is nobody until it has said hello. One that is silent, or says anything else, is dropped.

Listener and its clients live on the broker thread, connect() on the thread that calls.
"""

import contextlib
import os
import shutil
import socket
import stat
import struct
import tempfile
import time

import mitogen.core
import mitogen.parent
import mitogen.pressure
from mitogen.core import ALLOCATE_ID, Message, Side
from mitogen.peer import peer_uid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional, Set

#: What a client says first, and how long the answer behind it is.
HELLO = b'mitogen attach 1\n'
LENGTH = struct.Struct('>I')

#: Seconds that a client has to say it, and that connect() waits for the answer. Both are on this machine, and say it at
#: once; a stopped process must not hold a place for ever.
HELLO_TIMEOUT = 10.0

#: Clients that have not said it yet. Further ones wait in the queue of the system, so that none can use up descriptors.
MAX_STRANGERS = 50

#: Seconds without accepting anybody when there is no descriptor left for it.
ACCEPT_PAUSE = 1.0

#: Longest address that every system takes (104 bytes on the BSDs, 108 on Linux, with a zero at the end).
MAX_ADDRESS = 103

#: Largest answer to a hello: a context has few parents.
MAX_ANSWER = 65536

#: In the names of the folders that make_socket_path() makes.
PREFIX = 'mitogen-'


class Error(mitogen.core.Error):
    """Nobody listens there, the peer is another user's, or the path cannot be used."""


# ---- sockets with names ----------------------------------------------------------------------------

def make_socket_path() -> str:
    """Return a path for a socket, in a new folder that only this user can enter. A Listener removes both at its end."""
    return os.path.join(tempfile.mkdtemp(prefix=PREFIX), 'socket')


@contextlib.contextmanager
def _address(path: str) -> 'Iterator[str]':
    """The address by which a socket can be bound or reached: its path, or a short way to it.

    :raises mitogen.unix.Error: there is none.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield path
        return
    folder = os.open(os.path.dirname(path) or '.', getattr(os, 'O_PATH', os.O_RDONLY) | os.O_DIRECTORY)
    try:
        short = '/proc/self/fd/%d/%s' % (folder, os.path.basename(path))
        if len(os.fsencode(short)) > MAX_ADDRESS or not os.path.isdir(os.path.dirname(short)):
            raise Error('%s is too long for the path of a socket on this system', path)
        yield short
    finally:
        os.close(folder)


def _listening_socket(path: str, backlog: int) -> socket.socket:
    """Make a socket that has its name when it is ready and private, not before."""
    with _address(path):
        pass                # nobody could connect
    folder = tempfile.mkdtemp(prefix='.' + PREFIX, dir=os.path.dirname(path) or '.')
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        hidden = os.path.join(folder, 's')
        with _address(hidden) as address:
            listener.bind(address)
        os.chmod(hidden, 0o600)
        listener.listen(backlog)
        if os.path.lexists(path):
            if not (stat.S_ISSOCK(os.lstat(path).st_mode) and is_path_dead(path)):
                raise Error('%s exists, and is no socket that somebody has left behind', path)
        os.rename(hidden, path)
    except BaseException:
        listener.close()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return listener


def _connected_socket(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(HELLO_TIMEOUT)
        with _address(path) as address:
            client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def is_path_dead(path: str) -> bool:
    """Whether nobody listens on the socket `path`, or there is none."""
    try:
        _connected_socket(path).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        pass                # somebody does, but is busy, or not for us
    return False


# ---- the end that listens --------------------------------------------------------------------------

class ClientStream(mitogen.pressure.BoundedStream):
    """Messages of a client."""

    needs_code = takes_compiled = False     # see mitogen.modules.relay: it has its own

    def __init__(self, router: 'Any', context_id: int, reader: int, writer: int) -> None:
        mitogen.pressure.BoundedStream.__init__(self, router, context_id, 'client %d' % context_id, reader, writer)
        self.modules_sent: 'Set[str]' = set()
        self.sources_sent: 'Set[str]' = set()
        self.context = router.context_class(router, context_id, self.name)

    def begin(self, answer: bytes) -> None:
        """Make the client one of ours, and tell it so."""
        self._unsent += LENGTH.pack(len(answer)), answer
        self.router.register(self.context, self)
        self.router.routes.trusted.add(self)
        self.router.broker.outgoing.append(self)


class _Stranger(mitogen.core.BasicStream):
    """A connection that has not said hello yet, or is being given an id."""

    def __init__(self, listener: 'Listener', fd: int) -> None:
        self._listener, self._got, self._handle = listener, b'', 0
        self._broker = listener.router.broker
        self.receive_side = Side(fd)
        self._timer = self._broker.timers.schedule(time.monotonic() + HELLO_TIMEOUT,
                                                   lambda: self.on_disconnect(self._broker))
        self._broker.start_receive(self)

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        data = self.receive_side.read(len(HELLO) - len(self._got))      # type: ignore[union-attr]
        self._got += data
        if not data or not HELLO.startswith(self._got):
            self.on_disconnect(broker)
        elif self._got == HELLO:
            broker._watch(self.receive_side, 0, None)
            self._ask_id()

    def _ask_id(self) -> None:
        router = self._listener.router
        # From the master alone: whoever guessed the handle could name the id of another, and have its messages go here.
        self._handle = router.add_handler(self._on_id, persist=False, respondent=router.context_by_id(0))
        router.route(Message.pickled((router.context_id, 1), handle=ALLOCATE_ID, reply_to=self._handle))

    def _on_id(self, msg: Message) -> None:
        self._handle = 0
        router = self._listener.router
        if not msg.is_dead and self.is_open():
            fd: 'Any' = self.receive_side.fd                            # type: ignore[union-attr]
            stream = ClientStream(router, msg.unpickle(), os.dup(fd), os.dup(fd))
            stream.begin(mitogen.core.encode((stream.remote_id, [router.context_id] + router.parent_ids,
                                              router.max_message_size)))
        self.on_disconnect(self._broker)

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        if self.is_open():
            mitogen.core.BasicStream.on_disconnect(self, broker)
            self._timer.cancel()
            if self._handle:
                self._listener.router.del_handler(self._handle)
            self._listener.forget(self)


class Listener(mitogen.core.BasicStream):
    """Lets other processes of the same user attach to this one, with :func:`connect`, until its broker ends.

    :param path: of the socket; default: one of its own. A socket there that nobody listens on is replaced.
    :param backlog: connections that the system keeps waiting.
    :ivar path: where it is.
    :raises mitogen.unix.Error: something else is there, somebody listens, or the path is too long.
    """

    def __init__(self, router: 'Any', path: 'Optional[str]' = None, backlog: int = 100) -> None:
        if not isinstance(router, mitogen.parent.Router):
            mitogen.parent.grow(router)     # in a context that had no children yet
        self.router = router
        self.path = path or make_socket_path()
        self._strangers: 'Set[_Stranger]' = set()
        self.receive_side = Side(_listening_socket(self.path, backlog).detach())
        self._identity = os.lstat(self.path).st_ino, os.lstat(self.path).st_dev
        try:
            router.broker.start_receive(self)
        except mitogen.core.Error:
            self._remove()
            self.receive_side.close()
            raise

    def close(self) -> None:
        """Let nobody attach any more; those who have stay. Any thread."""
        self.router.broker.defer(self.on_disconnect, self.router.broker)

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        fd: 'Any' = self.receive_side.fd        # type: ignore[union-attr]
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)
        try:
            sock = listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            return
        except OSError as exc:
            mitogen.core.log(mitogen.core.WARNING, 'cannot accept a client at %s: %s', self.path, exc)
            self._pause(broker)
            return
        finally:
            listener.detach()       # the side owns the descriptor
        self._welcome(broker, sock)

    def _welcome(self, broker: mitogen.core.Broker, sock: socket.socket) -> None:
        uid = peer_uid(sock)
        if uid != os.geteuid():
            mitogen.core.log(mitogen.core.WARNING, 'refused user %d at %s', uid, self.path)
            sock.close()
            return
        self._strangers.add(_Stranger(self, sock.detach()))
        if len(self._strangers) >= MAX_STRANGERS:
            broker._watch(self.receive_side, 0, None)

    def _pause(self, broker: 'Any') -> None:
        broker._watch(self.receive_side, 0, None)
        broker.timers.schedule(time.monotonic() + ACCEPT_PAUSE, lambda: self.forget(None))

    def forget(self, stranger: 'Optional[_Stranger]') -> None:
        """One is a stranger no more, so there is room for another."""
        self._strangers.discard(stranger)
        self.router.broker._watch(self.receive_side, 0, self)

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        if self.is_open():
            self._remove()
            mitogen.core.BasicStream.on_disconnect(self, broker)
            for stranger in list(self._strangers):
                stranger.on_disconnect(broker)

    def _remove(self) -> None:
        """Remove the socket, if it is still ours, and the folder that was made for it."""
        folder = os.path.dirname(self.path)
        try:
            status = os.lstat(self.path)
            if (status.st_ino, status.st_dev) == self._identity:
                os.unlink(self.path)
            if os.path.basename(folder).startswith(PREFIX):
                os.rmdir(folder)
        except OSError:
            pass            # somebody else has cleaned up, or keeps something there


# ---- the end that attaches -------------------------------------------------------------------------

class AttachedRouter(mitogen.parent.Router):
    """The router of a process that has attached to another. Its own children get their code from here; those of the
    other program import what they are called with, from there. As context manager: ends the connection."""

    def __enter__(self) -> 'AttachedRouter':
        return self

    def __exit__(self, *error: 'Any') -> None:
        self.broker.shutdown()
        self.broker.join()

    def _make_relay(self) -> 'Any':
        import mitogen.modules.responder
        return mitogen.modules.responder.Responder(self)

    def bring_code(self, context: 'Any', module: str, fn: 'Any' = None) -> None:
        if self.stream_by_id(context.context_id) is not self.parent_stream:
            if context.lacks(module):
                self.relay.push_call(context, module, fn)
        elif module == '__main__':
            raise TypeError('context %d belongs to another program, and would look into the main script of that: move '
                            'the function to a module that both can import' % context.context_id)

    def _on_stream_lost(self, stream: mitogen.core.Stream, reason: str) -> None:
        mitogen.parent.Router._on_stream_lost(self, stream, reason)
        if stream is self.parent_stream:
            self.cut_off(reason)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes and not one more: messages may be behind them."""
    parts: 'List[bytes]' = []
    while size:
        parts.append(sock.recv(size))
        size -= len(parts[-1])
        if not parts[-1]:
            raise ConnectionResetError
    return b''.join(parts)


def _say_hello(sock: socket.socket, path: str) -> 'Any':
    if peer_uid(sock) not in (os.geteuid(), 0):
        raise Error('%s belongs to another user, %d', path, peer_uid(sock))
    try:
        sock.sendall(HELLO)
        size, = LENGTH.unpack(_read_exactly(sock, LENGTH.size))
        if size > MAX_ANSWER:
            raise Error('%s is no socket of this library', path)
        return mitogen.core.decode(_read_exactly(sock, size))
    except (BrokenPipeError, ConnectionResetError):
        raise Error('the other end does not want us: it is another user\'s, or about to end') from None


def connect(path: str, broker: 'Any' = None) -> 'Any':
    """Attach to a process that has a Listener at `path`. Not on a broker thread.

    :param broker: default: one of its own, which ends with the program.
    :returns: (router, Context of the process that listens). Any context of its tree can be reached with
        ``router.context_by_id()``; it can be called if it is below the one that listens.
    :raises mitogen.unix.Error: nobody listens, it is another user's, or there was no answer in HELLO_TIMEOUT seconds.
    """
    sock = None
    try:
        sock = _connected_socket(path)
        context_id, parent_ids, max_message_size = _say_hello(sock, path)
    except (OSError, mitogen.core.StreamError, Error) as exc:
        if sock is not None:
            sock.close()
        raise Error('cannot attach to %s: %s', path, exc) from None
    from mitogen.master import Broker
    router = AttachedRouter(broker or Broker(), context_id, parent_ids)
    router.max_message_size = max_message_size
    fd = sock.detach()
    stream = mitogen.pressure.UpwardStream(router, parent_ids[0], 'the process at %s' % path, fd, os.dup(fd))
    router.parent_stream = router.routes.parent_link = stream
    router.broker.start_receive(stream)
    return router, router.context_by_id(parent_ids[0], name='unix.%s' % os.path.basename(path))
