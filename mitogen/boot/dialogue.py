"""
What is said on the channels of a new child before the first message: prompts, banners, errors, the ready marker.

Ring 1, pure: a `Dialogue` is fed what was read and the time, and returns what to do. It never waits, reads or writes.
It keeps these rules, for every method alike:

* text before the ready marker is kept, within limits, and shown if the start fails; it never disturbs;
* a password is typed once: a second prompt means that it was wrong;
* whatever goes wrong becomes one error, which names the program, how far it came, what it said and what to try.
"""

import re

import mitogen.boot.first_stage
import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Type, Union

#: Unread text before the ready marker, for each channel. A banner is a few KiB; the longest seen in the wild is a
#: 9 KiB legal notice. Beyond this the other end is not going to start an interpreter.
MAX_GREETING = 64 * 1024

#: What a child says right before the marker.
MAGIC_DIGITS = 8

#: Lines of what a program said that an error shows, and characters of each: fish repeats the whole command line.
LAST_LINES, LINE_LENGTH = 12, 160

STARTING = 'before Python started'
BOOTING = 'while Python was starting'


class ConnectError(mitogen.core.StreamError):
    """A child could not be started.

    :ivar method: name of the connection method, such as ``ssh``.
    :ivar target: what it was to connect to.
    :ivar reason: what went wrong, in a few words.
    :ivar stage: how far the start came.
    :ivar command: the command line that was run, as text.
    :ivar said: the last lines that came from it.
    :ivar hint: what to try, or ''.
    """

    FIELDS = 'method', 'target', 'reason', 'stage', 'command', 'said', 'hint'
    #: Tells kinds apart where only values can be sent.
    kind = 'connect'

    def __init__(self, method: str, target: str = '', reason: str = '', stage: str = '', command: str = '',
                 said: str = '', hint: str = '') -> None:
        self.method, self.target, self.reason, self.stage = method, target, reason, stage
        self.command, self.said, self.hint = command, said, hint
        mitogen.core.StreamError.__init__(self, self._text())

    def _text(self) -> str:
        lines = ['%s to %s failed %s: %s' % (self.method, self.target, self.stage, self.reason)]
        for label, text in ('command', self.command), ('it said', self.said), ('try', self.hint):
            if text:
                lines.append('  %-9s' % (label + ':') + text.replace('\n', '\n           '))
        return '\n'.join(lines)

    def fields(self) -> 'Tuple[str, ...]':
        return tuple(getattr(self, name) for name in self.FIELDS)


def only_text(value: 'Any') -> str:
    """Return what another context has sent as text; raise TypeError when it is something else."""
    if type(value) is not str:
        raise TypeError('no text')
    return value


def rebuilt(kinds: 'Iterable[Type[ConnectError]]', fields: 'Any') -> ConnectError:
    """Return the error of which another context has sent (kind, its fields).

    :param kinds: classes that it may be of.
    :raises TypeError: or ValueError, LookupError: it is none.
    """
    name, *rest = [only_text(field) for field in fields]
    return {kind.kind: kind for kind in kinds}.get(name, ConnectError)(*rest)


class PasswordError(ConnectError):
    """A password was asked for and there was none, or it was refused."""
    kind = 'password'


class HostKeyError(ConnectError):
    """The host's key is unknown, or is not the one it had before."""
    kind = 'host_key'


class Write:
    """Write `data` to a channel: ``stdin`` or ``tty``."""

    def __init__(self, channel: str, data: bytes) -> None:
        self.channel, self.data = channel, data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Write) and (self.channel, self.data) == (other.channel, other.data)

    def __repr__(self) -> str:
        return 'Write(%r, %d bytes)' % (self.channel, len(self.data))     # it may be a password


class Ready:
    """The child is there; `rest` is what it has sent behind the marker, `magic` before: its Python's MAGIC_NUMBER."""

    def __init__(self, rest: bytes, magic: str) -> None:
        self.rest, self.magic = rest, magic


class Fail:
    """Give up with `error`."""

    def __init__(self, error: ConnectError) -> None:
        self.error = error


if TYPE_CHECKING:
    Action = Union[Write, Ready, Fail]


class Prompt:
    """Something that a program asks for.

    :param pattern: regular expression (bytes) found in the text of a channel behind the last answer; it should end
        where the text does (``$``), or a banner will be taken for a question.
    :param answer: what to type; None: there is nothing to type.
    :param what: for errors: ``password`` and the like.
    """

    def __init__(self, pattern: bytes, answer: 'Optional[str]', what: str = 'password') -> None:
        self.pattern = re.compile(pattern, re.I)
        self.answer, self.what = answer, what


class Refusal:
    """Text by which a program says why it ends.

    :param pattern: regular expression (bytes) found in what it said.
    :param kind: class of the error.
    :param reason: what it means; '' : the line itself.
    :param hint: what to try.
    """

    def __init__(self, pattern: bytes, reason: str = '', hint: str = '',
                 kind: 'Type[ConnectError]' = ConnectError) -> None:
        self._pattern, self.kind, self.reason, self.hint = pattern, kind, reason, hint

    def search(self, said: bytes) -> 'Any':
        """Return the match, or None. The pattern is not compiled before a program has failed: most never do."""
        return re.search(self._pattern, said, re.I | re.M)

    def why(self, said: bytes) -> str:
        """What it means, in words."""
        match = self.search(said)
        return self.reason or (match.group(0).decode('utf-8', 'replace').strip() if match else '')


#: How programs say that there is no such program.
MISSING = b'command not found|not found$|No such file or directory|Unknown command|executable file not found'

#: What shells and interpreters say, whatever brought us to them.
COMMON_REFUSALS = [
    Refusal(br'needs Python 3\.6, is \d', 'the Python there is too old',
            'python_path: name an interpreter of version 3.6 or later'),
    # Words about Python; or any, if a shell's exit status says so. A start-up file may miss something else. Both are
    # tried at the beginning of a line, or of all: at each character, a line of 64 KB keeps the broker for a minute.
    Refusal(br'^(?=.*py)(?=.*(%s))|\A(?=(?s:.*)(%s))(?s:.*)^exit status 12[67]' % (MISSING, MISSING),
            'there is no such interpreter', "python_path='/usr/libexec/platform-python', or where Python 3 is there"),
    Refusal(br'No module named .?zlib', 'the Python there lacks zlib', 'python_path: name a complete interpreter'),
]


def visible(text: bytes) -> str:
    """Return the last lines of what a program said, with anything that could command a terminal made visible."""
    lines = text.decode('utf-8', 'replace').replace('\r', '\n').split('\n')
    lines = [''.join(c if c.isprintable() or c == '\t' else '\\x%02x' % ord(c) for c in line) for line in lines]
    return '\n'.join([line[:LINE_LENGTH] for line in lines if line.strip()][-LAST_LINES:])


class Plan:
    """What a dialogue has to know about a method.

    :param method: its name.
    :param target: what it connects to.
    :param command: the command line, for errors.
    :param payload: core and configuration, or b'' when the command line has them.
    :param token: the child is ready when this has come, backwards.
    :param at_once: standard input is the child's from the start; else the payload waits for the first stage.
    :param asks_on: channel on which the program asks -> channel on which it reads the answer; default: its terminal.
    :ivar endings: exit status -> what the program means by it, if it says nothing, when it ends after it was ready.
    """

    endings: 'Dict[int, str]' = {}

    def __init__(self, method: str, target: str, command: str, payload: bytes, token: str, timeout: float,
                 at_once: bool = True, prompts: 'Sequence[Prompt]' = (), refusals: 'Sequence[Refusal]' = (),
                 password_error: 'Type[ConnectError]' = PasswordError,
                 asks_on: 'Optional[Dict[str, str]]' = None) -> None:
        self.method, self.target, self.command, self.payload = method, target, command, payload
        self.token, self.timeout, self.at_once = token, timeout, at_once
        self.prompts, self.refusals = list(prompts), list(refusals) + COMMON_REFUSALS
        self.password_error = password_error
        self.asks_on = {'tty': 'tty'} if asks_on is None else asks_on


class Dialogue:
    """From the start of a program to the ready marker, or to the error that says why there is none.

    Channels are ``stdout``, ``stderr`` and ``tty``. Times are seconds of any one clock.
    """

    def __init__(self, plan: Plan, now: float) -> None:
        self._plan, self.endings = plan, plan.endings
        self._began, self._deadline = now, now + plan.timeout
        self._heard: 'Dict[str, bytes]' = {'stdout': b'', 'stderr': b'', 'tty': b''}
        self._unanswered = dict.fromkeys(self._heard, b'')
        self._answered: 'List[Prompt]' = []
        self._stage = STARTING
        self._over = False

    def start(self) -> 'List[Action]':
        """What to do first."""
        plan = self._plan
        return [Write('stdin', plan.payload)] if plan.at_once and plan.payload else []

    def deadline(self) -> float:
        """When tick() is wanted."""
        return self._deadline

    def tick(self, now: float) -> 'List[Action]':
        if self._over or now < self._deadline:
            return []
        return self._fail('no answer within %g seconds' % self._plan.timeout, 'connect_timeout=, if it is only slow')

    def receive(self, channel: str, data: bytes, now: float) -> 'List[Action]':
        """Something was said."""
        if self._over:
            return []
        self._heard[channel] += data
        actions = self._on_stdout() if channel == 'stdout' else []
        # Asked after the marker was looked for: what comes with it may be any number of messages.
        if not self._over and len(self._heard[channel]) > MAX_GREETING:
            return self._fail('it said more than %d bytes but never that it is ready' % MAX_GREETING)
        return actions or self._on_words(channel, data)

    def _on_stdout(self) -> 'List[Action]':
        before, marker, rest = self._heard['stdout'].partition(self._plan.token[::-1].encode())
        if marker:
            self._over = True
            self._heard['stdout'] = before
            return [Ready(rest, before[-MAGIC_DIGITS:].decode('ascii', 'replace'))]
        if self._stage == STARTING and mitogen.boot.first_stage.HELLO in before:
            self._stage = BOOTING
            if not self._plan.at_once:
                return [Write('stdin', self._plan.payload)]
        return []

    def _on_words(self, channel: str, data: bytes) -> 'List[Action]':
        """Whether a program asks for something. Behind HELLO there is none any more that would."""
        if self._over or self._stage != STARTING or channel not in self._plan.asks_on:
            return []
        self._unanswered[channel] = (self._unanswered[channel] + data)[-1024:]
        for prompt in self._plan.prompts:
            if prompt.pattern.search(self._unanswered[channel]):
                self._unanswered[channel] = b''
                return self._answer(prompt, self._plan.asks_on[channel])
        return []

    def _answer(self, prompt: Prompt, channel: str) -> 'List[Action]':
        if prompt.answer is None:
            return self._fail('a %s is asked for, and none was given' % prompt.what, prompt.what.split()[-1] + '=...',
                              self._plan.password_error)
        if prompt in self._answered:
            return self._refuse_password(prompt)
        self._answered.append(prompt)
        return [Write(channel, prompt.answer.encode() + b'\n')]

    def _refuse_password(self, prompt: Prompt) -> 'List[Action]':
        said, kind = self._said(), self._plan.password_error
        for refusal in self._plan.refusals:
            if refusal.kind is kind and refusal.search(said):
                return self._fail(refusal.why(said), refusal.hint, kind)
        return self._fail('the %s was refused' % prompt.what, '', kind)

    def exited(self, status: 'Optional[int]', now: float) -> 'List[Action]':
        """The program is gone, or has closed its output; `status` as subprocess gives it, None: unknown."""
        if self._over:
            return []
        ending = '%s after %.1f s' % (describe_status(status), now - self._began)
        # Some programs say what they mean by their exit status alone.
        said = b'%s\n%s' % (self._said(), describe_status(status).encode())
        refusal = next((refusal for refusal in self._plan.refusals if refusal.search(said)), None)
        if refusal is None:
            return self._fail('the program ended too early (%s)' % ending)
        return self._fail('%s (%s)' % (refusal.why(said), ending), refusal.hint, refusal.kind)

    def cancel(self, reason: str) -> 'List[Action]':
        """Nobody wants the child any more."""
        return self._fail(reason)

    def _said(self) -> bytes:
        hello = mitogen.boot.first_stage.HELLO
        return b'\n'.join(self._heard[channel] for channel in ('tty', 'stderr', 'stdout')).replace(hello, b'')

    def _fail(self, reason: str, hint: str = '', kind: 'Type[ConnectError]' = ConnectError) -> 'List[Action]':
        self._over = True
        plan = self._plan
        return [Fail(kind(plan.method, plan.target, reason, self._stage, plan.command, visible(self._said()), hint))]


def describe_status(status: 'Optional[int]') -> str:
    """Say in words how a program ended; `status` as subprocess gives it."""
    if status is None:
        return 'still running'
    if status >= 0:
        return 'exit status %d' % status
    import signal
    try:
        return 'killed by signal %d, %s' % (-status, signal.Signals(-status).name)
    except ValueError:
        return 'killed by signal %d' % -status
