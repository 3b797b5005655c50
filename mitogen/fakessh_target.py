"""
The remote half of mitogen.fakessh: runs commands, in the context that stands for the ssh server.

Ring 1. `Commander.start` runs on a thread of the service pool, where a program may take its time to start; the rest
belongs to the broker thread. A command has one thread, which waits for its end, and a guard, which ends it when nobody
wants it any more: a process of its own, because this one may be killed.
"""

import fcntl
import os
import pwd
import shutil
import struct
import subprocess
import termios
import threading

import mitogen.boot.process
import mitogen.core
import mitogen.flow
import mitogen.service
from mitogen.core import Message, Side
from mitogen.service import NO_REPLY, AllowParents, Policy, Service, arg_spec, expose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

#: Waits for the end of its standard input, and then ends the process group $1, which has three seconds to remove its
#: temporary files and go. A line before that end: there is nothing to do any more.
GUARD = '''
read line && exit
kill -HUP "-$1"; kill -TERM "-$1"
for second in 1 2 3; do sleep 1; kill -0 "-$1" || exit; done
kill -KILL "-$1"
'''

#: Bytes that a pipe to or from a command holds, where the system lets us say.
PIPE_SIZE = 256 << 10

#: Where systems keep the program that serves sftp: Debian, Red Hat, Arch and Alpine, SUSE, FreeBSD and macOS, ports.
SFTP_SERVERS = ('/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server', '/usr/lib/ssh/sftp-server',
                '/usr/libexec/ssh/sftp-server', '/usr/libexec/sftp-server', '/usr/local/libexec/sftp-server')

#: Shells of accounts that are not for logging in. We are in already, and whoever got us in could run anything.
NO_SHELLS = 'nologin', 'false', ''


class StartError(mitogen.core.Error):
    """The command cannot be started; the text says why."""


# ---- what is run -----------------------------------------------------------------------------------

def account() -> 'Tuple[str, str, str]':
    """Return (name, home, shell) of the account that this process runs as. It may be unknown, in a container."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
        name, home, shell = entry.pw_name, entry.pw_dir, entry.pw_shell
    except KeyError:
        name, home, shell = os.environ.get('USER', str(uid)), os.environ.get('HOME', '/'), ''
    if os.path.basename(shell) in NO_SHELLS or not os.access(shell, os.X_OK):
        shell = '/bin/sh'
    return name, home if os.path.isdir(home) else '/', shell


def find_subsystem(name: str) -> str:
    """Return the path of a subsystem's program.

    :raises StartError: there is none.
    """
    if name != 'sftp':
        raise StartError('there is no subsystem %r here, only sftp', name)
    for path in SFTP_SERVERS + (shutil.which('sftp-server') or '',):
        if path and os.access(path, os.X_OK):
            return path
    raise StartError('there is no sftp-server here; looked for %s, and on PATH. Install it (Debian: '
                     'openssh-sftp-server), or use scp -O or rsync', ', '.join(SFTP_SERVERS))


def argv_of(shell: str, command: bytes, subsystem: str) -> 'Tuple[str, List[Any]]':
    """Return (program, its arguments with argv[0])."""
    if subsystem:
        path = find_subsystem(subsystem)
        return path, [path]
    name = os.path.basename(shell)
    return shell, [name, '-c', command] if command else ['-' + name]


class Terminal:
    """Makes a new pseudo-terminal the controlling one of a new session; called between fork and exec."""

    def __init__(self, rows: int, columns: int) -> None:
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def __call__(self) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)


class Guard:
    """Ends a process group when it is told to, or when this process is gone. Any thread."""

    def __init__(self, group: int) -> None:
        reader, writer = os.pipe()
        self._side = Side(writer)       # known to a fork of this process, which must not keep it open
        self._popen = subprocess.Popen(['/bin/sh', '-c', GUARD, 'guard', str(group)], stdin=reader, cwd='/',
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(reader)

    def strike(self) -> None:
        """End the group."""
        self._side.close()

    def dismiss(self) -> None:
        """Its first process has ended. What that left behind is its own, unless strike() was called before."""
        try:
            self._side.write((b'\n',))
        except (OSError, TypeError):
            pass            # it has struck
        self._side.close()
        self._popen.wait()


class Started:
    """A command that runs, its guard, and our ends of its descriptors: `stdin`, and `outputs` by name.

    :ivar terminal: our end of its terminal, or None. Held until the command has ended: with the last of our ends the
        terminal hangs up, which would kill a command that has closed its streams and is about to exit.
    """

    def __init__(self, popen: 'Any', stdin: int, outputs: 'Dict[str, int]', terminal: 'Optional[Side]') -> None:
        self.popen, self.stdin, self.outputs, self.terminal = popen, stdin, outputs, terminal
        self.guard = Guard(popen.pid)


def start(program: str, argv: 'List[Any]', home: str, environment: 'Dict[str, str]',
          terminal: 'Optional[Tuple[int, int]]') -> Started:
    """Start a program, in a session of its own, with pipes or with a terminal of (rows, columns).

    :raises StartError: it cannot be started.
    """
    tty = None
    if terminal is not None:
        tty = Terminal(*terminal)
        theirs = [tty.slave] * 3
        ours = [tty.master, os.dup(tty.master)]
    else:
        pipes = [os.pipe() for _ in range(3)]
        for reader, _ in pipes:
            mitogen.boot.process.widen(reader, PIPE_SIZE)
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
    try:
        popen = subprocess.Popen(argv, executable=program, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2],
                                 cwd=home, env=environment, start_new_session=True, preexec_fn=tty)
    except (OSError, ValueError) as exc:
        for fd in ours:
            os.close(fd)
        raise StartError('cannot start %s: %s', program, exc) from None
    finally:
        for fd in set(theirs):
            os.close(fd)
    return Started(popen, ours[0], dict(zip(('stdout', 'stderr'), ours[1:])), Side(os.dup(tty.master)) if tty else None)


# ---- its life --------------------------------------------------------------------------------------

class TerminalSink(mitogen.flow.Sink):
    """Writes to a terminal, which cannot be closed in one direction: its end is a character, if it understands any."""

    def at_end(self) -> None:
        try:
            attributes = termios.tcgetattr(self.transmit_side.fd)       # type: ignore[union-attr, arg-type]
            if attributes[3] & termios.ICANON:
                # The first ends a line that is not complete, the second stands where a line begins.
                self.transmit_side.write((attributes[6][termios.VEOF] * 2,))        # type: ignore[union-attr]
        except (OSError, termios.error):
            pass            # it is gone
        self.end()


class Command(mitogen.flow.Exchange):
    """A command and its streams, from its start to the news of its end."""

    def __init__(self, router: 'Any', near: 'Any', started: Started) -> None:
        mitogen.flow.Exchange.__init__(self, router, near)
        self._popen = started.popen
        self._started = started
        self._status: 'Optional[int]' = None

    def begin(self, msg: Message, handles: 'Dict[str, int]') -> None:
        """Answer the request, then let the streams run: so the answer is the first that the other end hears."""
        self.peer_control = handles['control']
        sink_kind = TerminalSink if self._started.terminal else mitogen.flow.Sink
        stdin = self.add_sink('stdin', sink_kind(self, 'stdin', Side(self._started.stdin)))
        # Should nobody be there any more, it is refused on its way, and that we hear of: it is what reply_to is for.
        msg.reply((stdin, self.control), reply_to=self.control)
        for name, fd in self._started.outputs.items():
            self.add_source(name, mitogen.flow.Source(self, Side(fd), handles[name]))
        threading.Thread(target=self._wait, name='mitogen.fakessh', daemon=True).start()

    def _wait(self) -> None:
        self._popen.wait()
        self._started.guard.dismiss()
        try:
            self.broker.defer(self._on_end)
        except mitogen.core.Error:
            pass            # this context is ending

    def _on_end(self) -> None:
        self._status = self._popen.returncode
        if self._started.terminal:
            # Whatever else has the terminal open would keep it from ending. Of pipes that is a feature: as with sshd,
            # who has started something in the background waits for its output.
            for source in self.sources.values():
                source.finish()
            self._started.terminal.close()
        self.progress()

    def progress(self) -> None:
        if self._handles and self._status is not None and not any(s.is_open() for s in self.sources.values()):
            self.tell('exit', self._status)
            self.close()

    def hear(self, *words: 'Any') -> None:
        if words != ('kill',):
            raise ValueError(words)
        self.kill()

    def lost(self, reason: str) -> None:
        self.kill()

    def kill(self) -> None:
        """Nobody wants it any more: end it, with all that it has started."""
        self.close()
        self._started.guard.strike()


# ---- who may ask for one ---------------------------------------------------------------------------

class AllowAdmitted(Policy):
    """This context, those above it, and those that one of these has admitted."""

    def is_authorized(self, service: 'Service', msg: Message) -> bool:
        admitted: 'Set[int]' = service.admitted         # type: ignore[attr-defined]
        return mitogen.core.has_parent_authority(msg) or msg.auth_id in admitted


class Commander(Service):
    """Starts commands."""

    def __init__(self, router: 'Any') -> None:
        Service.__init__(self, router)
        self.admitted: 'Set[int]' = set()

    @expose(AllowParents())
    @arg_spec({'context': mitogen.core.Context})
    def admit(self, context: mitogen.core.Context) -> None:
        """From now on, another context may run commands here, as long as both live."""
        self.admitted.add(context.context_id)

    @expose(AllowAdmitted())
    @arg_spec({'command': bytes, 'subsystem': str, 'environment': dict, 'terminal': (tuple, type(None)),
               'handles': dict})
    def start(self, command: bytes, subsystem: str, environment: 'Dict[str, str]',
              terminal: 'Optional[Tuple[int, int]]', handles: 'Dict[str, int]', msg: Message) -> 'Any':
        """Start a command by the account's shell, or a subsystem; it is the caller's until it ends.

        :param command: for the shell; empty: the shell itself.
        :param subsystem: ``sftp``, or ''.
        :param environment: variables beside those that this context has.
        :param terminal: rows and columns of the terminal that it shall have; None: none.
        :param handles: of the caller: ``stdout``, ``stderr`` and ``control``; see mitogen.flow.
        :returns: handles of this context: standard input, control.
        :raises StartError: it cannot be started.
        """
        name, home, shell = account()
        program, argv = argv_of(shell, command, subsystem)
        variables = dict(os.environ, HOME=home, USER=name, LOGNAME=name, SHELL=shell)
        variables.update(environment)
        started = start(program, argv, home, variables, terminal)
        near = self.router.context_by_id(msg.src_id)
        try:
            self.router.broker.defer(lambda: Command(self.router, near, started).begin(msg, handles))
        except mitogen.core.Error:
            started.guard.strike()      # the broker has ended meanwhile
            raise
        return NO_REPLY
