"""
What the command line of OpenSSH's client asks for, as far as it means something on a connection that exists already.

Ring 1, pure. The tools that start ``ssh`` agree with it on a command line, so what cannot be understood for certain is
refused: a value taken for a host name, or a host name for a command, would run something that nobody has asked for.
"""

import re
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence

#: Options without a value that are about how to connect: address family, ciphers, agents, compression, X11, log. The
#: connection is there; nothing is left for them to change.
IGNORED_FLAGS = frozenset('1246ACKMXYagkqvxy')

#: The same, with a value: cipher, bind address, control path, log file, jump host, identity, user, port ...
IGNORED_VALUES = frozenset('BEFIJSbceilmp')

#: Options that make ssh do something else than run a command and wait for it. And -P, which had no value before OpenSSH
#: 9.4 and has one since: only a guess could tell its value from the host.
REFUSED = frozenset('DGLNOPQRVWfw')

#: Why those cannot be had.
NO_CONNECTION = 'this ssh only runs commands, over a connection that exists already'

#: The same for ``-o``, with the values that ask for nothing. All others (BatchMode, Port, IdentityFile ...) are about
#: how to connect, and cannot be misread, as every ``-o`` has one value.
REFUSED_SETTINGS = {
    'dynamicforward': ('none',), 'localforward': ('none',), 'remoteforward': ('none',), 'tunnel': ('no',),
    'forkafterauthentication': ('no',), 'remotecommand': ('none',), 'stdioforward': ('none',),
}

#: RequestTTY -> how often -t would have to be given for it.
TERMINAL_WISHES = {'no': 0, 'auto': 0, 'yes': 1, 'force': 2}

SETTING = re.compile(r'\s*(\w+)(?:\s*=\s*|\s+)(.*)', re.DOTALL)


class UsageError(Exception):
    """The command line asks for something that is not possible here; the text says what."""


class SshCommand:
    """What a command line of ssh asks for.

    :ivar host: as it was given; it has no meaning here.
    :ivar command: what the remote shell shall run; '' for a login shell.
    :ivar subsystem: name of the subsystem to start instead, such as ``sftp``; or ''.
    :ivar terminal: 0: none; 1: if standard input is one; 2: in any case.
    :ivar use_stdin: whether standard input is passed on.
    :ivar send_env: patterns of names of variables to pass on.
    :ivar set_env: variables to set.
    """

    def __init__(self) -> None:
        self.host, self.command, self.subsystem = '', '', ''
        self.use_stdin = True
        self.send_env: 'List[str]' = []
        self.set_env: 'Dict[str, str]' = {}
        self.wished_terminal: 'Optional[int]' = None

    @property
    def terminal(self) -> int:
        if self.wished_terminal is None:        # nobody has said anything: a shell wants one, a command does not
            return 0 if self.command or self.subsystem else 1
        return self.wished_terminal


def parse(args: 'Sequence[str]') -> SshCommand:
    """Return what the arguments of ssh (without its name) ask for.

    :raises UsageError: they are wrong, unknown, or ask for something else than to run a command.
    """
    return _Parser(args).parse()


class _Parser:
    def __init__(self, args: 'Sequence[str]') -> None:
        self._rest = list(args)
        self._found = SshCommand()
        self._is_subsystem = False

    def parse(self) -> SshCommand:
        found = self._found
        ended = self._take_options()
        if not self._rest:
            raise UsageError('no host was given')
        found.host = self._rest.pop(0)
        if not ended:       # as in OpenSSH: options may stand behind the host too, unless "--" stood before it
            self._take_options()
        # What follows is the remote shell's, and must reach it untouched.
        words = ' '.join(self._rest)
        if not self._is_subsystem:
            found.command = words
        elif words:
            found.subsystem = words
        else:
            raise UsageError('-s needs the name of a subsystem')
        return found

    def _take_options(self) -> bool:
        """Take options from the front; return whether ``--`` has ended them."""
        while self._rest and self._rest[0][:1] == '-' and self._rest[0] != '-':
            word = self._rest.pop(0)
            if word == '--':
                return True
            self._take_letters(word[1:])
        return False

    def _take_letters(self, letters: str) -> None:
        """Understand one word of options, such as ``-xqp22``: the first that has a value takes what is left."""
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in IGNORED_FLAGS:
                continue
            if letter in FLAGS:
                FLAGS[letter](self)
                continue
            if letter in IGNORED_VALUES or letter == 'o':
                value = letters or self._next_word(letter)
                if letter == 'o':
                    self._setting(value)
                return
            if letter in REFUSED:
                raise UsageError('-%s is not possible: %s' % (letter, NO_CONNECTION))
            raise UsageError('unknown option -%s' % letter)

    def _next_word(self, letter: str) -> str:
        if not self._rest:
            raise UsageError('-%s needs a value' % letter)
        return self._rest.pop(0)

    def _setting(self, text: str) -> None:
        match = SETTING.match(text)
        if match is None or not match.group(2).strip():
            raise UsageError('-o %s: expected NAME=VALUE' % text)
        name, value = match.group(1).lower(), match.group(2).strip()
        if name in SETTINGS:
            SETTINGS[name](self, value)
        elif name in REFUSED_SETTINGS and value.lower() not in REFUSED_SETTINGS[name]:
            raise UsageError('-o %s is not possible: %s' % (text, NO_CONNECTION))

    # what does mean something

    def more_terminal(self) -> None:
        self._found.wished_terminal = min((self._found.wished_terminal or 0) + 1, 2)

    def no_terminal(self) -> None:
        self._found.wished_terminal = 0

    def no_stdin(self) -> None:
        self._found.use_stdin = False

    def subsystem(self) -> None:
        self._is_subsystem = True

    def request_tty(self, value: str) -> None:
        if value.lower() not in TERMINAL_WISHES:
            raise UsageError('-o RequestTTY=%s: expected one of %s' % (value, ', '.join(sorted(TERMINAL_WISHES))))
        self._found.wished_terminal = TERMINAL_WISHES[value.lower()]

    def session_type(self, value: str) -> None:
        if value.lower() not in ('default', 'subsystem'):
            raise UsageError('-o SessionType=%s is not possible: %s' % (value, NO_CONNECTION))
        self._is_subsystem = value.lower() == 'subsystem'

    def stdin_null(self, value: str) -> None:
        self._found.use_stdin = value.lower() != 'yes'

    def send_env(self, value: str) -> None:
        self._found.send_env += value.split()

    def set_env(self, value: str) -> None:
        try:
            pairs = [word.partition('=') for word in shlex.split(value)]
        except ValueError:      # a quote without its end
            pairs = []
        if not pairs or not all(name and equals for name, equals, _ in pairs):
            raise UsageError('-o SetEnv=%s: expected NAME=VALUE' % value)
        for name, _, text in pairs:
            self._found.set_env.setdefault(name, text)


FLAGS: 'Dict[str, Callable[[_Parser], None]]' = {
    't': _Parser.more_terminal, 'T': _Parser.no_terminal, 'n': _Parser.no_stdin, 's': _Parser.subsystem,
}

SETTINGS: 'Dict[str, Callable[[_Parser, str], None]]' = {
    'requesttty': _Parser.request_tty, 'sessiontype': _Parser.session_type, 'stdinnull': _Parser.stdin_null,
    'sendenv': _Parser.send_env, 'setenv': _Parser.set_env,
}
