"""
Run programs that start ``ssh`` (rsync, scp, sftp, git) with one that leads to a context, over the existing connections.

Ring 1. The program finds our ``ssh`` first on its PATH (mitogen.fakessh_client). Its arguments (mitogen.fakessh_args)
and its standard streams come to this process over a socket in a private folder, and it waits for the status to exit
with. So the data takes no detour through it. What is left to do here is done on the broker thread, and in the other
context by mitogen.fakessh_target.
"""

import fcntl
import fnmatch
import json
import os
import socket
import struct
import subprocess
import termios

import mitogen.call
import mitogen.core
import mitogen.fakessh_target
import mitogen.flow
import mitogen.parent
import mitogen.service
from mitogen.core import BasicStream, Message, Receiver
from mitogen.descriptors import SocketSide, adopt
from mitogen.fakessh_args import SshCommand, UsageError, parse
from mitogen.fakessh_client import Programs
from mitogen.fakessh_target import Commander
from mitogen.flow import Sink, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

#: What OpenSSH's client exits with when something other than the remote command has failed.
FAILED = 255

#: Bytes of arguments and environment of one ssh: what Linux allows a program by default, made twice as long by JSON.
MAX_REQUEST = 4 << 20

#: Seconds that a program has to end when it was asked to.
KILL_AFTER = 3.0

#: Seconds that a context may take to admit another. It imports some modules for it, and runs nothing of the user's.
ADMIT_TIMEOUT = 60.0

#: The terminal's size when nobody knows it: rows, columns.
DEFAULT_SIZE = 24, 80


@mitogen.core.takes_econtext
def run(dest: 'Any', router: 'Any' = None, args: 'Any' = None, deadline: 'Optional[float]' = None,
        econtext: 'Any' = None) -> int:
    """Run a program whose ``ssh`` executes its remote half in the context `dest`, whatever host it names.

    The program's standard streams are those of this process. In a child these are nothing to read, and the log. Any
    thread but the broker's.

    .. code-block:: python

        mitogen.fakessh.run(webapp, router, ['rsync', '-a', 'site/', 'any-name:/srv/site'])
        fileserver.call(mitogen.fakessh.run, webapp, ['rsync', '-a', '/srv/files/', 'any-name:/srv/files'])

    The second form runs rsync in the context `fileserver`. By this call, `fileserver` is admitted to run commands in
    `webapp`, as long as both live.

    :param dest: the Context.
    :param router: the router of this context; left out when called from another one, as in the second form.
    :param args: the program and its arguments.
    :param deadline: seconds after which it is ended.
    :returns: its exit status; negative: the number of the signal that killed it.
    :raises OSError: there is no such program here.
    :raises mitogen.core.TimeoutError: the deadline has passed.
    """
    if isinstance(router, (list, tuple)):       # the second form: what follows `dest` are the arguments
        router, args, deadline = None, router, args if deadline is None else deadline
    if router is None:
        router = econtext.router if econtext is not None else dest.router
    if isinstance(args, str) or not args:
        raise ValueError('args must be a list: a program and its arguments')
    mitogen.parent.grow(dest)
    if dest.context_id == 0 and router.context_id == 0:
        mitogen.service.get_or_create_pool(router=router)       # a child makes its own, when it is first asked
    router.bring_code(dest, mitogen.fakessh_target.__name__)
    door = Door(router, dest)
    try:
        return door.run([os.fspath(arg) for arg in args], deadline)
    finally:
        door.close()


def admit(context: 'Any', dest: 'Any', *args: 'Any', **kwargs: 'Any') -> None:
    """Before run() is called in `context`, by somebody with authority over `dest`: admit the one to the other.

    Without it only a context's parents may: who has taken over one machine of a tree must not have them all.
    """
    if dest.context_id == 0 and dest.router.context_id == 0:
        mitogen.service.get_or_create_pool(router=dest.router)
    dest.call_service_async(Commander, 'admit', context=context).get(ADMIT_TIMEOUT).unpickle()


run.mitogen_before_call = admit     # type: ignore[attr-defined]     # see mitogen.call


# ---- the program that is run -----------------------------------------------------------------------

class Door(BasicStream):
    """A private folder with programs, and the socket through which these come to us."""

    def __init__(self, router: 'Any', dest: 'Any') -> None:
        self.router, self.dest = router, dest
        self.visits: 'Set[Visit]' = set()
        self._popen: 'Any' = None
        self._programs = Programs()
        try:
            listener = socket.socket(socket.AF_UNIX)
            self.receive_side = SocketSide(listener)
            listener.bind(self._programs.socket_path)
            listener.listen(socket.SOMAXCONN)
            listener.setblocking(False)
            self._programs.write()
            mitogen.core.listen(router.broker, 'exit', self._on_exit)
            router.broker.start_receive(self)
        except BaseException:
            self.close()
            raise

    def run(self, args: 'List[str]', deadline: 'Optional[float]') -> int:
        """Run a program; return its exit status."""
        self._popen = subprocess.Popen(self._programs.argv(args), env=self._programs.environment())
        try:
            return self._popen.wait(deadline)       # type: ignore[no-any-return]
        except subprocess.TimeoutExpired:
            raise mitogen.core.TimeoutError('%s did not end within %s seconds', args[0], deadline) from None
        finally:
            self._stop_program()

    def _stop_program(self) -> None:
        try:
            self._popen.terminate()     # nothing happens when it has ended
            self._popen.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        sock = self.receive_side.socket.accept()[0]         # type: ignore[union-attr]
        visit = Visit(self, sock)
        self.visits.add(visit)
        broker.start_receive(visit)

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        for visit in list(self.visits):
            visit.on_disconnect(broker)
        BasicStream.on_disconnect(self, broker)

    def close(self) -> None:
        """Forget all of it. Whoever is still there is told nothing more, and ends."""
        try:
            self.router.broker.defer_sync(self._close)
        except mitogen.core.Error:
            pass                # the broker has ended, and done it
        self._programs.remove()

    def _close(self) -> None:
        if self.is_open():
            mitogen.core.unlisten(self.router.broker, 'exit', self._on_exit)
            self.on_disconnect(self.router.broker)

    def _on_exit(self) -> None:
        # The thread that waits for the program may not live long enough to do this.
        if self._popen is not None:
            self._popen.terminate()
        self._programs.remove()


# ---- one ssh ---------------------------------------------------------------------------------------

class Visit(BasicStream):
    """The connection of one ssh: it makes its request and waits for its status. When it goes, so does all else."""

    def __init__(self, door: Door, sock: socket.socket) -> None:
        self._door = door
        self._sock = sock
        self.receive_side = SocketSide(sock)
        self._request = b''
        self._fds: 'List[int]' = []
        self._session: 'Optional[Session]' = None

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        data = self._read()
        if not data or self._session is not None or len(self._request) > MAX_REQUEST:
            self.on_disconnect(broker)
            return
        self._request += data
        size = struct.unpack('>I', self._request[:4])[0] + 4 if len(self._request) >= 4 else MAX_REQUEST
        if len(self._request) >= size:
            self._begin()

    def _read(self) -> bytes:
        space = socket.CMSG_SPACE(3 * struct.calcsize('i'))
        flags = socket.MSG_DONTWAIT | getattr(socket, 'MSG_CMSG_CLOEXEC', 0)
        data, ancillary = self._sock.recvmsg(mitogen.core.CHUNK_SIZE, space, flags)[:2]
        for _, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                self._fds += struct.unpack('%di' % (len(content) // struct.calcsize('i')), content)
        return data

    def _begin(self) -> None:
        request = json.loads(self._request[4:].decode())
        if len(self._fds) != 3:
            raise mitogen.core.StreamError('an ssh brought %d descriptors', len(self._fds))
        try:
            command = parse([arg.encode('latin-1').decode('utf-8', 'surrogateescape') for arg in request['args']])
        except UsageError as exc:
            self.finish(FAILED, str(exc))
            return
        fds, self._fds = self._fds, []
        self._session = Session(self._door, self, command)
        self._session.begin(fds, {os.fsdecode(name.encode('latin-1')): os.fsdecode(value.encode('latin-1'))
                                  for name, value in request['environment'].items()})

    def answer(self, **answer: 'Any') -> None:
        """Tell the other end something; it is short, so there is room."""
        mitogen.core.io_op(self._sock.sendmsg, [json.dumps(answer).encode() + b'\n'], (), socket.MSG_DONTWAIT)

    def finish(self, status: int, say: str = '') -> None:
        """Let it exit with a status, after some words on its standard error."""
        if self.is_open():
            self.answer(status=status, say=say)
            self.on_disconnect(self._door.router.broker)

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        BasicStream.on_disconnect(self, broker)
        self._door.visits.discard(self)
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        if self._session is not None:
            self._session.abandon()


class Session(mitogen.flow.Exchange):
    """The near end of a command: between the streams of an ssh and those of the command."""

    def __init__(self, door: Door, visit: Visit, command: SshCommand) -> None:
        mitogen.flow.Exchange.__init__(self, door.router, door.dest)
        self._visit, self._command = visit, command
        self._stdin = -1
        self._has_terminal = False
        self._status: 'Optional[int]' = None
        self._reply: 'Optional[Receiver]' = None

    def begin(self, fds: 'List[int]', environment: 'Dict[str, str]') -> None:
        """Ask for the command.

        :param fds: standard input, output and error of the ssh; from now on ours.
        :param environment: its variables.
        """
        self._stdin = fds[0]
        size = self._terminal_size()
        handles = {'control': self.control}
        for name, fd in (('stdout', fds[1]), ('stderr', fds[2])):
            handles[name] = self.add_sink(name, Sink(self, name, *adopt(fd, writing=True)))
        self._has_terminal = size is not None
        if self._has_terminal:
            self.sinks['stderr'].end()      # a terminal has one output
        self._reply = self.peer.call_service_async(
            Commander, 'start', command=self._command.command.encode('utf-8', 'surrogateescape'),
            subsystem=self._command.subsystem, terminal=size, handles=handles,
            environment=self._environment(environment))
        mitogen.call.when_arrived(self._reply, self._on_started)

    def _terminal_size(self) -> 'Optional[Tuple[int, int]]':
        """Rows and columns of the terminal that the command shall have; None: it shall have none."""
        wish = self._command.terminal
        is_terminal = os.isatty(self._stdin)
        if wish == 0 or wish == 1 and not is_terminal:
            return None
        if not is_terminal:
            return DEFAULT_SIZE
        rows, columns = struct.unpack('HHHH', fcntl.ioctl(self._stdin, termios.TIOCGWINSZ, b'\0' * 8))[:2]
        return (rows, columns) if rows and columns else DEFAULT_SIZE

    def _environment(self, environment: 'Dict[str, str]') -> 'Dict[str, str]':
        patterns = self._command.send_env + ['TERM'] * self._has_terminal
        found = {name: value for name, value in environment.items()
                 if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
        return dict(self._command.set_env, **found)

    def _on_started(self, msg: Message) -> None:
        try:
            stdin, self.peer_control = msg.unpickle()
        except mitogen.core.CallError as exc:
            self.lost(exc.message)
            return
        except mitogen.core.Error as exc:
            self.lost(str(exc))
            return
        fd, self._stdin = self._stdin, -1
        if self._command.use_stdin:
            if self._has_terminal and os.isatty(fd):
                self._visit.answer(raw=True)
            self.add_source('stdin', Source(self, adopt(fd, writing=False)[0], stdin))
        else:
            os.close(fd)
            self.send(stdin, b'')

    def hear(self, *words: 'Any') -> None:
        verb, self._status = words
        if verb != 'exit' or type(self._status) is not int:
            raise ValueError(words)
        self.progress()

    def progress(self) -> None:
        if self._status is not None and all(sink.done for sink in self.sinks.values()):
            if self._status < 0:
                self._visit.finish(FAILED, 'the remote command was killed by signal %d' % -self._status)
            else:
                self._visit.finish(self._status)

    def lost(self, reason: str) -> None:
        self._visit.finish(FAILED, '%s: %s' % (self.peer.name or 'context %d' % self.peer.context_id, reason))

    def abandon(self) -> None:
        """The ssh is gone, or has got its status."""
        if self._reply is not None:
            self._reply.close()     # a command that starts too late is refused, and ends
            self._reply = None
        if self._status is None and self.peer_control:
            self.tell('kill')
        self.peer_control = 0
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        self.close()
