"""
A worker's way to the broker process: find it, start it if there is none, ask it.

Ring 2, imported by every worker: only small modules, and nothing else of this library but the wire. Also by the broker
process before it logs in, while a playbook waits: what is not needed for that, is imported where it is.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import Any

from mitogen.ansible import wire
from mitogen.peer import peer_uid

#: Seconds that a new broker process has to come up. It takes a tenth of a second; a machine may be busy.
START_TIMEOUT = 60.0

#: Workers that may wait to be accepted. Ansible starts as many at once as `forks` says.
BACKLOG = 500

#: How the name of a playbook's folder for packed modules ends, see mitogen.ansible.packed. It stands beside the socket.
PACKED = '.packed'

#: What a new one runs. Neither the user's site-packages nor a variable of Python's may come between. It is nobody's
#: child, as whoever starts it does not live to hear of its end.
PROGRAM = ('import gc, os, sys; gc.disable(); os.fork() and os._exit(0); sys.path.insert(0, sys.argv[1]); '
           'from mitogen.ansible.broker import main; main(sys.argv[2:])')


class Error(Exception):
    """There is no broker process, and none could be started."""


class Failed(Exception):
    """The broker process could not do what was asked.

    :ivar kind: what kind of failure, see mitogen.ansible.failures.
    """

    def __init__(self, kind: str, text: str) -> None:
        Exception.__init__(self, text)
        self.kind = kind


def folder() -> str:
    """Return the folder for sockets, which only this user can enter; make it if need be.

    :raises Error: there is something else of its name.
    """
    import tempfile
    base = os.environ.get('XDG_RUNTIME_DIR') or tempfile.gettempdir()
    path = os.path.join(base, 'mitogen-ansible-%d' % os.geteuid())
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        status = os.lstat(path)
        # In a folder that all may write to, somebody else can have been faster.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise Error('%s is not a private folder of this user' % path) from None
    except OSError as exc:
        raise Error('cannot make %s: %s' % (path, exc)) from None
    return path


def shared_path() -> str:
    """Return the path of the socket of the broker process that outlives playbooks: one for all that would do the same.

    That is, with the same code, interpreter, environment of ssh and home.
    """
    import hashlib
    same = [__file__, sys.executable] + [os.environ.get(name, '') for name in ('SSH_AUTH_SOCK', 'HOME', 'PATH')]
    return os.path.join(folder(), 'shared-' + hashlib.sha256(repr(same).encode()).hexdigest()[:16])


def _status_of(pid: int) -> 'list[str]':
    """Return what Linux tells of a process, beginning with its state; elsewhere, and if there is none, nothing."""
    try:
        with open('/proc/%d/stat' % pid) as fp:
            return fp.read().rpartition(')')[2].split()
    except OSError:
        return []


def socket_path(pid: int) -> str:
    """Return the path of the socket that belongs to a playbook, by its process id.

    Ids are used again. So the time of the process's start is part of the name, where the system tells it.
    """
    return os.path.join(folder(), '%d-%s' % (pid, (_status_of(pid)[19:] or ['0'])[0]))


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs: it does not if only its parent has not heard yet that it has ended."""
    try:
        os.kill(pid, 0)
    except OSError:         # that of another user is not one of ours
        return False
    return _status_of(pid)[:1] != ['Z']


def is_over(path: str) -> bool:
    """Whether the playbook has ended that something in our folder belongs to."""
    pid = int(os.path.basename(path).partition('-')[0])
    return not is_alive(pid) or os.path.splitext(path)[0] != socket_path(pid)


def sweep() -> None:
    """Remove what is left of playbooks that have ended: nothing, where all went with a user's session.

    Their process ids may be those of another container with the same folder: what is served, stays.
    """
    import shutil
    with contextlib.suppress(Error, OSError):
        place = folder()
        for path in [os.path.join(place, name) for name in os.listdir(place) if name[0].isdigit()]:
            if is_over(path) and not _is_served(os.path.splitext(path)[0]):
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(path)     # a socket or lock, of a broker process that was killed or did not start


def _is_served(path: str) -> bool:
    sock = _connect(path)
    if sock is not None:
        sock.close()
    return sock is not None


def _connect(path: str) -> 'socket.socket | None':
    try:
        with contextlib.ExitStack() as undo:
            sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.connect(path)
            if peer_uid(sock) != os.geteuid():
                raise Error('%s is served by another user' % path)
            undo.pop_all()
            return sock
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as exc:
        raise Error('cannot connect to %s: %s' % (path, exc)) from None


class Link:
    """A worker's connection to the broker process. Not for two threads at once.

    :param process: what starts the broker process, if that was done here: whether it went well, is yet to be seen.
    """

    def __init__(self, sock: socket.socket, process: 'subprocess.Popen[bytes] | None' = None) -> None:
        self._sock, self._process = sock, process
        self._due = 0       # answers

    def __enter__(self) -> 'Link':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Tell the broker process that nobody waits any more."""
        self._sock.close()
        if self._process is not None:
            self._process.stdout.close()        # type: ignore[union-attr]
            self._process.poll()
            self._process = None

    def send(self, request: 'dict[str, Any]') -> None:
        """Ask for something, without waiting for the answer."""
        self._due += 1
        with contextlib.suppress(wire.Closed):      # whoever wants the answer hears of it
            wire.send(self._sock, request)

    def answer(self) -> Any:
        """Wait for the answers to all that was asked for, and return the last.

        :raises Failed: it could not be done.
        :raises Error: the broker process did not start, or is gone.
        """
        if self._process is not None:
            process, self._process = self._process, None
            _wait_for_start(process)
        result = None
        while self._due:
            self._due -= 1
            try:
                answer = wire.receive(self._sock)
            except wire.Closed as exc:
                raise Error('lost the broker process: %s' % exc) from None
            if answer[0] != 'done':
                raise Failed(answer[1], answer[2])
            result = answer[1]
        return result

    def ask(self, request: 'dict[str, Any]') -> Any:
        """Ask for something, and return the answer; raises what answer() does."""
        self.send(request)
        return self.answer()


def find(pid: int, persist: int = 0) -> 'Link | None':
    """Return a link to the broker process of a playbook, or None if there is none; as the next."""
    sock = _connect(shared_path() if persist else socket_path(pid))
    return Link(sock) if sock else None


def find_or_start(pid: int, persist: int = 0, path: str = '') -> Link:
    """Return a link to the broker process of a playbook. While that comes up, what is asked for waits there.

    :param pid: process id of the playbook: the broker process ends when that does.
    :param persist: or so many seconds later; other playbooks use it too.
    :param path: its socket_path(), if that is known.
    :raises Error: it cannot be reached or started.
    """
    path = shared_path() if persist else path or socket_path(pid)
    sock = _connect(path)
    link = Link(sock) if sock else _first_link(path, pid, persist)
    if persist:
        link.send({'op': 'stay', 'pid': pid, 'seconds': persist})
    return link


def _first_link(path: str, pid: int, persist: int) -> Link:
    """Start a broker process, unless another worker is faster: ten begin at once."""
    try:
        with open(path + '.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sock = _connect(path)
            return Link(sock) if sock else _start(path, pid, persist)
    except OSError as exc:
        raise Error('cannot start the broker process: %s' % exc) from None


def _start(path: str, pid: int, persist: int) -> Link:
    """Start one that listens at a path, where nobody does, as we hold the lock."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as undo:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)         # the folder is closed to others
        listener.listen(BACKLOG)
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.connect(path)
        command = [sys.executable, '-I', '-S', '-c', PROGRAM, home, str(listener.fileno()), path, str(pid)]
        # In a session of its own: Ctrl-C is for the playbook, and its end is ours. It keeps no stream of ours open, or
        # whoever reads the playbook's output would wait for it.
        process = subprocess.Popen(command + (['--persist'] if persist else []), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                   pass_fds=[listener.fileno()])
        undo.pop_all()
        return Link(sock, process)


def _wait_for_start(process: 'subprocess.Popen[bytes]') -> None:
    """Return when it says that it is there. The system's loader, for one, may have something to say before."""
    said, deadline = b'\n', time.monotonic() + START_TIMEOUT
    with process:
        output: Any = process.stdout
        poll = select.poll()
        poll.register(output, select.POLLIN)
        while b'\nready\n' not in said:
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)      # it is in that session, and no child of ours: PROGRAM
                raise Error('the broker process did not start within %d s' % START_TIMEOUT)
            data = os.read(output.fileno(), 4096)
            if not data:
                raise Error('the broker process did not start: %s' % said.decode('utf-8', 'replace').strip())
            said += data
