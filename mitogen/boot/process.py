"""
Start a program on pipes, with a terminal of its own where it wants one; learn how it ended; kill it.

Ring 1. No decision lives here. Programs get a session of their own, so that a Ctrl-C that is meant for us does not
kill our connections before we have used them to clean up.
"""

import errno
import fcntl
import os
import resource
import termios
import threading
from _signal import SIGKILL  # type: ignore  # signal.py makes enums of these

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Sequence

#: Programs that translate their messages shall not: the dialogue reads them. Unlike LC_ALL these leave the
#: character set of the target's own programs alone.
UNTRANSLATED = {'LANGUAGE': 'C', 'LC_MESSAGES': 'C'}


#: Held from the first pipe of a new child until our ends of all its pipes are Sides: a fork in another thread would
#: have copies, of which nobody knows that they are to be closed.
starting = threading.Lock()


F_SETPIPE_SZ = 1031     # of fcntl, which has the name since Python 3.10

#: Descriptors that shall be free after the pipes of a child: the rest of its start takes a handful, user code some.
SPARE = 64

#: What a start can fail for that says nothing about the program -> what to try.
SHORTAGES = {
    errno.EMFILE: 'a higher hard limit of open files (RLIMIT_NOFILE: ulimit -Hn, LimitNOFILE= of a service): this '
                  'process has used up what it may have, and each child takes two or three',
    errno.ENFILE: 'fs.file-max: this system has no more descriptors',
    errno.EAGAIN: 'a higher limit of processes (RLIMIT_NPROC: ulimit -u, TasksMax= of a service, pids.max of a '
                  'container)',
    errno.ENOMEM: 'with fewer children: there is no memory for another',
}


class Process:
    """A program that was started; or, by its number alone, a forked child."""

    def __init__(self, pid: int, popen: 'Any' = None) -> None:
        self.pid = pid
        self._popen = popen
        self._status: 'Optional[int]' = None

    def poll(self) -> 'Optional[int]':
        """Return the exit status, negative for a signal; None while it runs. Reaps it, once."""
        if self._status is None:
            self._status = self._popen.poll() if self._popen else self._wait()
        return self._status

    def _wait(self) -> 'Optional[int]':
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:       # the user's program reaps all children
            return 0
        if not pid:
            return None
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def release(self) -> None:
        """It will outlive us. Only poll() still knows it."""
        popen, self._popen = self._popen, None
        if popen:
            popen.returncode = 0        # or Python would complain that we do not wait for it

    def kill(self, number: int = SIGKILL) -> bool:
        """Send a signal, if it still runs; return whether it was ours to kill (one that sudo started is not)."""
        try:
            if self.poll() is None:
                os.kill(self.pid, number)
            return True
        except OSError:
            return False


class Child:
    """A new process and our ends of its channels.

    :ivar stdin: descriptor to write to.
    :ivar stdout: descriptor to read.
    :ivar stderr: descriptor to read; None: there is none.
    :ivar tty: our end of its terminal; None: it has none.
    :ivar slave: its end, held open so that the terminal does not vanish while nobody has it open.
    """

    def __init__(self, process: Process, stdin: int, stdout: int, stderr: 'Optional[int]' = None,
                 tty: 'Optional[int]' = None, slave: 'Optional[int]' = None) -> None:
        self.process, self.stdin, self.stdout = process, stdin, stdout
        self.stderr, self.tty, self.slave = stderr, tty, slave


class _Terminal:
    """Makes a pseudo-terminal the controlling one of a new session; runs between fork and exec."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        # What is typed shall not come back: it might be taken for a prompt.
        attributes = termios.tcgetattr(self.slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)

    def __call__(self) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)


def widen(fd: int, size: int = 512 << 10) -> None:
    """Have a pipe hold `size` bytes, if it is a pipe and the system lets us: between two busy processes each megabyte
    then takes fewer turns. `Side.read` takes all of it at once. Of such pipes Linux gives an account 64 MiB (pipe(7):
    pipe-user-pages-soft)."""
    try:
        fcntl.fcntl(fd, F_SETPIPE_SZ, size)
    except OSError:
        pass


def _raise_limit() -> bool:
    """Let this process have twice the descriptors; return whether that was possible.

    Systems begin with 1024 and allow far more, for the sake of programs that call select(). Not all that they allow:
    programs that are started inherit it, and some go through all numbers to close them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = 2 * soft if hard == resource.RLIM_INFINITY else min(2 * soft, hard)
    if more <= soft:        # or there is no limit, which is a negative number
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
    except (OSError, ValueError):       # macOS has another limit beside the one that it tells
        return False
    mitogen.core.log(mitogen.core.INFO, 'children take so many descriptors that the limit was raised to %d', more)
    return True


def pipes(count: int) -> 'List[int]':
    """Return the descriptors of `count` new pipes: of each, what it is read by and what it is written by. The limit of
    descriptors, where it is near, is raised as far as the system allows.

    :raises OSError: there are no more.
    """
    opened: 'List[int]' = []
    try:
        while len(opened) < 2 * count:
            try:
                opened += os.pipe()
            except OSError as exc:
                if exc.errno != errno.EMFILE or not _raise_limit():
                    raise
        if 0 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] < opened[-1] + SPARE:     # the lowest that are free
            _raise_limit()
    except BaseException:
        close(opened)
        raise
    return opened


def close(fds: 'Iterable[int]') -> None:
    for fd in fds:
        os.close(fd)


def start(argv: 'Sequence[str]', terminal: bool = False, environment: 'Optional[Dict[str, str]]' = None) -> Child:
    """Start a program. Any thread.

    :param argv: its command line; the program is looked for on PATH.
    :param terminal: give it a controlling terminal. Its standard streams are pipes all the same.
    :param environment: variables to add to ours.
    :raises OSError: it cannot be started.
    """
    tty = None
    opened = pipes(3)
    try:
        if terminal:
            tty = _Terminal()
            opened += tty.master, tty.slave
        import subprocess  # not at import: it loads much, which forks do without
        popen = subprocess.Popen(argv, stdin=opened[0], stdout=opened[3], stderr=opened[5], start_new_session=True,
                                 preexec_fn=tty, env=dict(os.environ, **environment or {}))
    except BaseException:
        close(opened)
        raise
    close((opened[0], opened[3], opened[5]))
    return Child(Process(popen.pid, popen), opened[1], opened[2], opened[4],
                 tty.master if tty else None, tty.slave if tty else None)
