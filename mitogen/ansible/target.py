"""
What runs in targets beside modules: commands for a shell, files, temporary folders. Ring 1.

Functions here are called by the broker process and run on the main thread. Nothing long does: a command gets a thread
that waits for its end, so that another task of the same host need not.
"""

import atexit
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

import mitogen.core
from mitogen.core import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple
    Result = Tuple[int, bytes, bytes]

#: Milliseconds between two looks whether a process has ended of which a descendant keeps the output open.
LOOK = 200

#: Seconds that a process has to end when it is asked to.
KILL_GRACE = 2.0

#: Seconds to wait for the end of an interpreter that was told to end.
END_TIMEOUT = 5.0

#: Bytes that are read at a time.
CHUNK = 65536

_jobs = {}      # type: Dict[str, int]
_jobs_lock = threading.Lock()
_watching = []  # type: List[bool]


def describe() -> 'Dict[str, Any]':
    """What the broker process wants to know of an interpreter."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())        # containers have users that are in no list
    homes = {}
    for name in '~', '~' + user:
        try:
            homes[name] = _home(name)
        except KeyError:
            pass
    return {'executable': sys.executable, 'user': user, 'pid': os.getpid(), 'homes': homes}


def is_this(word: str) -> bool:
    """Whether a command is the interpreter that runs this."""
    path = shutil.which(word)
    if path is None or not sys.executable:
        return False
    if path == sys.executable:
        return True
    # A link in a virtual environment leads to the same file, and is another interpreter all the same.
    places = [os.path.dirname(os.path.dirname(os.path.abspath(p))) for p in (path, sys.executable)]
    return (os.path.realpath(path) == os.path.realpath(sys.executable)
            and not any(os.path.exists(os.path.join(place, 'pyvenv.cfg')) for place in places))


def keep_key(text: str) -> str:
    """Return a path under which ssh finds a private key, for as long as this process lives."""
    data = (text.rstrip() + '\n').encode()
    if hasattr(os, 'memfd_create'):         # Linux, Python 3.8: then it is on no disk
        fd = os.memfd_create('key')         # not inherited, and read by way of this process
        os.fchmod(fd, 0o600)                # else ssh will not have it
        path = '/proc/%d/fd/%d' % (os.getpid(), fd)
    else:
        fd, path = tempfile.mkstemp(prefix='mitogen-key-')
        atexit.register(_remove_key, path, os.getpid())
    os.write(fd, data)
    return path


def _remove_key(path: str, owner: int) -> None:
    if os.getpid() == owner:        # not at the end of a fork
        os.unlink(path)


# ---- processes

def begin_job(number: str, pid: int) -> None:
    """Remember a process, so that it can be ended, and is when the connection is."""
    with _jobs_lock:
        if not _watching:
            _watching.append(True)
            mitogen.core.listen(mitogen.core.child_router.broker, 'shutdown', end_jobs)
        _jobs[number] = pid


def end_jobs() -> None:
    """End all processes: whoever has started them is gone."""
    with _jobs_lock:
        for pid in _jobs.values():
            _kill(pid, signal.SIGTERM)


def wait_for_end(pid: int) -> None:
    """Return when a process has ended, or END_TIMEOUT is over."""
    end = time.monotonic() + END_TIMEOUT
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            pass                # it is another user's, and there
        time.sleep(0.02)


def cancel(number: str) -> None:
    """End a process, and all that it has started; nobody waits for it any more."""
    with _jobs_lock:
        pid = _jobs.get(number)
    if pid is not None:
        _kill(pid, signal.SIGTERM)
        timer = threading.Timer(KILL_GRACE, _kill_late, (number, pid))
        timer.daemon = True
        timer.start()


def _kill_late(number: str, pid: int) -> None:
    with _jobs_lock:
        if _jobs.get(number) == pid:        # else it has ended, and the number may be another's
            _kill(pid, signal.SIGKILL)


def _kill(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def child_status(pid: int, flags: int) -> 'Optional[int]':
    """Return how a child has ended, as subprocess gives it; None: it has not. Flags as of os.waitpid()."""
    try:
        found, status = os.waitpid(pid, flags)
    except ChildProcessError:
        return 0
    if not found:
        return None
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def follow(number: str, pid: int, out: int, err: int, feed: int = -1, data: bytes = b'',
           shell_like: bool = False, status_of: 'Any' = child_status) -> Later:
    """Wait for a process, on a thread of its own.

    :param out, err: what it writes to can be read there. They are closed in the end.
    :param shell_like: tell of a signal as a shell does, by an exit status of 128 and more.
    :param feed: its standard input, written to and closed; -1: it has none.
    :param status_of: what tells how it has ended, if it is no child of this process.
    :returns: what makes (exit status, output, errors) the result of a call.
    """
    begin_job(number, pid)

    def start(reply: 'Callable[[Any], None]') -> None:
        def run() -> None:
            try:
                result = _collect(number, pid, out, err, feed, data, status_of)     # type: Any
                if shell_like and result[0] < 0:
                    result = (128 - result[0],) + result[1:]
            except Exception as exc:
                result = mitogen.core.CallError.of(exc)
            reply(result)
        threading.Thread(target=run, name='mitogen.ansible.job', daemon=True).start()
    return Later(start)


def _collect(number: str, pid: int, out: int, err: int, feed: int, data: bytes, status_of: 'Any') -> 'Result':
    parts = {out: [], err: []}      # type: Dict[int, List[bytes]]
    view = memoryview(data)
    poll = select.poll()
    for fd in parts:
        poll.register(fd, select.POLLIN)
    waiting = set(parts)
    if feed >= 0:
        os.set_blocking(feed, False)
        poll.register(feed, select.POLLOUT)
    status = None       # type: Optional[int]
    while waiting:
        events = poll.poll(LOOK)
        if status is not None and not events:
            break               # something that it has left running has its output, and may have it for ever
        for fd, _ in events:
            if fd == feed:
                view = _feed(fd, view)
                if not view:
                    poll.unregister(fd)
                    os.close(fd)
                    feed = -1
                continue
            chunk = os.read(fd, CHUNK)
            parts[fd].append(chunk)
            if not chunk:
                poll.unregister(fd)
                waiting.discard(fd)
        if status is None and (not events or not waiting):
            status = status_of(pid, os.WNOHANG)
    if status is None:
        status = status_of(pid, 0)
    with _jobs_lock:
        _jobs.pop(number, None)
    for fd in (out, err) + ((feed,) if feed >= 0 else ()):
        os.close(fd)
    return status or 0, b''.join(parts[out]), b''.join(parts[err])


def _feed(fd: int, view: memoryview) -> memoryview:
    try:
        return view[os.write(fd, view[:CHUNK]):]
    except BlockingIOError:
        return view
    except OSError:
        return view[:0]         # it does not want to read it: its own affair


def _environment() -> 'Dict[str, str]':
    """Return the environment of a login: without the locale that Python gives itself where there is none (PEP 538)."""
    env = dict(os.environ)
    try:
        with open('/proc/self/environ', 'rb') as fp:
            if not any(entry.startswith(b'LC_CTYPE=') for entry in fp.read().split(b'\0')):
                env.pop('LC_CTYPE', None)
    except OSError:
        pass
    return env


def shell(number: str, argv: 'List[str]', data: bytes, cwd: 'Optional[str]') -> 'Later':
    """Run a command.

    :param number: by which cancel() finds it.
    :param argv: a shell and its arguments; '' as the first: the shell of the account.
    :param data: its standard input.
    :param cwd: folder to run it in; None: where a login ends up.
    """
    if not argv[0]:
        argv = [pwd.getpwuid(os.getuid()).pw_shell or '/bin/sh'] + argv[1:]
    # SIGPIPE and SIGINT as a login has them: Python ignores the one, and catches the other.
    process = subprocess.Popen(argv, stdin=subprocess.PIPE if data else subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=cwd or None, start_new_session=True, restore_signals=True,
                               env=_environment())
    out, err = os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())     # type: ignore[union-attr]
    feed = os.dup(process.stdin.fileno()) if data else -1                           # type: ignore[union-attr]
    for stream in process.stdin, process.stdout, process.stderr:
        if stream is not None:
            stream.close()
    process.returncode = 0      # we wait for it, not subprocess
    return follow(number, process.pid, out, err, feed, data)


# ---- temporary folders

def do(number: str, step: 'List[Any]', argv: 'List[str]', cwd: 'Optional[str]') -> 'Any':
    """Do what a command about temporary files means; what cannot be done so is left to the shell, and its error too.

    :param step: see mitogen.ansible.commands.
    """
    try:
        return do_natively(step)
    except (OSError, KeyError, shutil.Error):
        return shell(number, argv, b'', cwd)


def do_natively(step: 'List[Any]') -> 'Result':
    """Do it without a shell, or raise."""
    return globals()['_do_' + step[0]](*step[1:])       # type: ignore[no-any-return]


def _home(path: str) -> str:
    """Expand a leading tilde as a shell does."""
    name, slash, rest = path.partition('/')
    if not name.startswith('~'):
        return path
    if name == '~':
        return (os.environ.get('HOME') or pwd.getpwuid(os.getuid()).pw_dir) + slash + rest
    return pwd.getpwnam(name[1:]).pw_dir + slash + rest


def _do_home(path: str) -> 'Result':
    return 0, _home(path).encode('utf-8', 'surrogateescape') + b'\n', b''


def _do_folder(base: str, path: str, name: str) -> 'Result':
    base, path = _home(base), _home(path)
    if not os.path.isdir(base):
        _make_folders(base)
    os.mkdir(path, 0o700)
    os.chmod(path, 0o700)       # whatever umask and inherited access lists have made of it
    return 0, ('%s=%s\n' % (name, path)).encode('utf-8', 'surrogateescape'), b''


def _make_folders(path: str) -> None:
    above = os.path.dirname(path.rstrip('/'))
    if above and not os.path.isdir(above):
        _make_folders(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass        # another task was faster


def _do_remove(path: str, recursive: bool) -> 'Result':
    try:
        status = os.lstat(path.rstrip('/') or '/')
    except FileNotFoundError:
        return 0, b'', b''
    if stat.S_ISDIR(status.st_mode):
        if not recursive or path.strip('/') == '':
            raise OSError('left to rm, which has something to say about it')
        shutil.rmtree(path)
    else:
        os.unlink(path)
    return 0, b'', b''


def _do_chmod(letters: str, paths: 'List[str]') -> 'Result':
    bits = sum({'r': stat.S_IRUSR, 'w': stat.S_IWUSR, 'x': stat.S_IXUSR}[letter] for letter in set(letters))
    for path in paths:
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | bits)
    return 0, b'', b''


def _do_exists(path: str) -> 'Result':
    return (0 if os.path.exists(path) else 1), b'', b''


# ---- files

def write(path: str, data: bytes, begin: bool) -> None:
    """Write a part of a file.

    :param begin: it is the first, and what is there is replaced.
    """
    with open(os.path.expanduser(path), 'wb' if begin else 'ab') as fp:
        fp.write(data)


def read(path: str, offset: int, size: int) -> bytes:
    """Return a part of a file; b'': there is no more."""
    with open(os.path.expanduser(path), 'rb') as fp:
        fp.seek(offset)
        return fp.read(size)


