"""
The process that modules are forks of, as the interpreter sees it that is told to run them.

Ring 1. That interpreter has threads and work to do, so a fork of it is dear: both copy each page of memory that they go
on to touch, and the child has to undo what belongs to the other. The template is forked once, early, and does nothing
but import what modules have in common, fork and tell how a child has ended. It is asked over a socket, and ends when
that is closed. What it runs is in mitogen.ansible.runner.

Functions are called by the broker process and run on the main thread.
"""

import _socket  # socket.py makes enums of these first, for milliseconds
import gc
import marshal
import os
import signal
import struct
import threading
import time

import mitogen.core
from mitogen.ansible import runner, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, NoReturn, Optional, Sequence, Tuple
    Later = mitogen.core.Later

LENGTH = struct.Struct('>I')

#: Bytes of a descriptor that is passed, and how many may be, with one question.
FD_SIZE, MAX_FDS = struct.calcsize('i'), 2

#: Seconds between two looks whether a module has ended that has closed its output: the first, and the longest.
FIRST_LOOK, LAST_LOOK = 0.001, 0.1

#: Seconds between the news that the template has ended and our own end.
LAST_WORDS = 0.1

#: Descriptor of the template for what it is asked. Beside standard ones it has no other.
LINK = 3

#: What can be asked for.
OPERATIONS = {'prepare': runner.prepare, 'keep': runner.keep, 'warm': runner.warm, 'run': runner.run,
              'status': target.child_status}       # type: Dict[str, Any]

_templates = []     # type: List[Template]      # one at most


class Lost(mitogen.core.Error):
    """The template has ended."""


class Template:
    """What a process has to do with its template. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()       # held from a question to its answer
        self._unread = 0                    # answers that nobody waits for
        self._link, theirs = _socket.socketpair()
        self._pids = [os.fork()]            # its own, until it is ended
        if not self._pids[0]:
            self._link.close()
            _serve(theirs.detach())
        theirs.close()
        mitogen.core.listen(mitogen.core.child_router.broker, 'shutdown', self.end)

    def end(self) -> 'Optional[int]':
        """End it, and return when it has: an account may only be removed when nothing runs as it.

        :returns: how it has ended, as subprocess tells it; None: that was told before.
        """
        try:
            pid = self._pids.pop()
        except IndexError:
            return None
        try:
            os.killpg(pid, signal.SIGKILL)      # and a child that is about to leave the group
        except OSError:
            os.kill(pid, signal.SIGKILL)        # it has no group yet
        return target.child_status(pid, 0)

    def tell(self, operation: str, *args: 'Any') -> None:
        """Have something done, and do not wait for it; raises what ask() does, but for the first."""
        self._exchange((operation, args), (), False)

    def ask(self, operation: str, *args: 'Any', fds: 'Sequence[int]' = ()) -> 'Any':
        """Have something done, with descriptors that are for it alone, and return the result.

        :raises mitogen.core.CallError: it failed.
        :raises Lost: the template has ended, and so do we.
        """
        fine, result = self._exchange((operation, args), fds, True)
        if not fine:
            raise mitogen.core.CallError(*result)
        return result

    def _exchange(self, request: 'Any', fds: 'Sequence[int]', wait: bool) -> 'Any':
        with self._lock:
            try:
                send(self._link, request, fds)
                self._unread += 1
                answer = None
                while wait and self._unread:        # what could not be done ahead, modules will do or tell of
                    answer = receive(self._link)[0]
                    self._unread -= 1
                return answer
            except BaseException as exc:
                # Ctrl-C too: the next would take half an answer for its own. Who wants to run a module then gets a new
                # interpreter; who has asked shall hear of it before.
                threading.Timer(LAST_WORDS, mitogen.core.child_router.broker.shutdown).start()
                status = self.end()
                if isinstance(exc, OSError):
                    raise Lost('the process that modules are forks of has ended, with status %s', status) from None
                raise


def _template() -> Template:
    if not _templates:
        _templates.append(Template())
    return _templates[0]


def prepare(names: 'Iterable[str]') -> None:
    """As runner.prepare(), and so the next."""
    _template().tell('prepare', list(names))


def keep(files: 'Dict[str, bytes]') -> None:
    _template().tell('keep', files)


def warm(members: 'Dict[str, str]') -> 'Dict[str, str]':
    return _template().ask('warm', members)     # type: ignore[no-any-return]


def run(number: str, module: 'Dict[str, Any]') -> 'Later':
    """Run a module in a process of its own.

    :param number: by which target.cancel() finds it.
    :param module: see runner.run().
    :returns: what makes (exit status, output, errors) the result of the call.
    """
    pipes = []      # type: List[int]
    try:
        for _ in 'output', 'errors':
            pipes += os.pipe()
        out, child_out, err, child_err = pipes
        pid = _template().ask('run', module, fds=(child_out, child_err))
    except BaseException:
        for fd in pipes:
            os.close(fd)
        raise
    os.close(child_out)
    os.close(child_err)
    return target.follow(number, pid, out, err, shell_like=True, status_of=_status_of)


def _status_of(pid: int, flags: int) -> 'Optional[int]':
    """As target.child_status(), of what is a child of the template's, which has no time to wait."""
    pause = FIRST_LOOK
    while True:
        status = _template().ask('status', pid, os.WNOHANG)
        if status is not None or flags:
            return status       # type: ignore[no-any-return]
        time.sleep(pause)
        pause = min(2 * pause, LAST_LOOK)


# ---- what both say to each other

def send(sock: _socket.socket, value: 'Any', fds: 'Sequence[int]' = ()) -> None:
    """Send a value, and copies of descriptors, to a fork of this process or to the one that it was forked from."""
    data = marshal.dumps(value)
    data = LENGTH.pack(len(data)) + data
    passed = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack('%di' % len(fds), *fds))] if fds else []
    sock.sendall(data[sock.sendmsg([data], passed):])


def receive(sock: _socket.socket) -> 'Tuple[Any, List[int]]':
    """Wait for a value, and return it with descriptors; or raise OSError when the other end is gone."""
    data, passed = b'', b''
    while len(data) < LENGTH.size:
        part, ancillary, _, _ = sock.recvmsg(LENGTH.size - len(data), _socket.CMSG_SPACE(MAX_FDS * FD_SIZE))
        data += _some(part)
        passed += b''.join(numbers for _, _, numbers in ancillary)
    size, parts = LENGTH.unpack(data)[0], []
    while size:
        parts.append(_some(sock.recv(size)))
        size -= len(parts[-1])
    return marshal.loads(b''.join(parts)), list(struct.unpack('%di' % (len(passed) // FD_SIZE), passed))


def _some(data: bytes) -> bytes:
    if not data:
        raise ConnectionResetError('it has ended')
    return data


# ---- the template

def _serve(link: int) -> 'NoReturn':
    """Do what is asked for, until nobody is there to ask."""
    try:
        os.dup2(link, LINK)
        runner.become_plain()
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, LINK)
        while True:
            (operation, args), fds = receive(sock)
            try:
                answer = True, OPERATIONS[operation](*args, *fds)       # type: Any
            except Exception as exc:
                error = mitogen.core.CallError.of(exc)
                answer = False, (error.type_name, error.message, error.remote_traceback)
            for fd in fds:
                os.close(fd)
            getattr(gc, 'freeze', bool)()       # Python 3.7: children then share the pages of all that is here
            send(sock, answer)
    finally:
        os._exit(1)
