"""
Connection method `sudo`: an interpreter as another user of this machine. Ring 1, data only.

Facts about sudo are from sudo(8), sudoers(5) and the texts of its versions 1.8.23 to 1.9.13, and of sudo-rs 0.2.5.
"""

import re

import mitogen.boot.dialogue
import mitogen.boot.prompts
import mitogen.core
import mitogen.method
from mitogen.boot.dialogue import Prompt, Refusal
from mitogen.boot.process import UNTRANSLATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple


class PasswordError(mitogen.boot.dialogue.PasswordError):
    """sudo asked for a password and none was given, or it was refused."""


#: What sudo is told to print when it asks; recognised whatever the language. sudo-rs prints a question of its own
#: around it, which may come in pieces; so this must not look like a question that is complete.
PROMPT = '[mitogen asks on behalf of %p]'

#: Options of sudo that make sense here: (short, long) -> (our parameter, whether a value follows).
OPTIONS: 'Dict[Tuple[str, str], Tuple[str, bool]]' = {
    ('-u', '--user'): ('username', True),
    ('-H', '--set-home'): ('set_home', False),
    ('-E', '--preserve-env'): ('preserve_env', False),
    ('-i', '--login'): ('login', False),
    ('-r', '--role'): ('selinux_role', True),
    ('-t', '--type'): ('selinux_type', True),
    ('-n', '--non-interactive'): ('', False),
    ('-S', '--stdin'): ('', False),
}


def parse_args(words: 'Sequence[str]') -> 'Dict[str, Any]':
    """Read arguments as sudo would.

    :returns: our parameters that mean the same.
    :raises mitogen.core.StreamError: an option is unknown, or not for us.
    """
    found: 'Dict[str, Any]' = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if re.match('-[^-]{2,}$', word):        # -Hi is -H -i; -uroot is -u root
            takes_value = any(short == word[:2] and value for (short, _), (_, value) in OPTIONS.items())
            rest.insert(0, word[2:] if takes_value else '-' + word[2:])
            word = word[:2]
        word, equals, inline = word.partition('=')
        option = next((option for names, option in OPTIONS.items() if word in names), None)
        if option is None or (equals and not option[1]):
            raise mitogen.core.StreamError('sudo_args: %r is not supported', word)
        name, takes_value = option
        if takes_value and not equals and not rest:
            raise mitogen.core.StreamError('sudo_args: %r needs a value', word)
        if name:
            found[name] = (inline if equals else rest.pop(0)) if takes_value else True
    return found


class Method(mitogen.method.Method):
    """`sudo`, on a terminal of its own, so that `requiretty` is content and nothing mixes with the messages.

    :param username: account to become.
    :param sudo_path: the program.
    :param password: typed when sudo asks.
    :param set_home: set HOME to the account's.
    :param preserve_env: keep the environment.
    :param login: run through the account's login shell.
    :param selinux_type: SELinux type.
    :param selinux_role: SELinux role.
    :param sudo_args: the same as words for sudo; options that are unknown or make no sense are refused.
    """

    name = 'sudo'
    terminal = True
    environment = UNTRANSLATED
    password_error = PasswordError

    def __init__(self, username: 'Optional[str]' = None, sudo_path: str = 'sudo', password: 'Optional[str]' = None,
                 set_home: bool = False, preserve_env: bool = False, login: bool = False,
                 selinux_type: 'Optional[str]' = None, selinux_role: 'Optional[str]' = None,
                 sudo_args: 'Optional[Sequence[str]]' = None, **common: 'Any') -> None:
        given = parse_args(sudo_args or ())
        self.username = username or given.get('username', 'root')
        self.sudo_path, self.password = sudo_path, password
        self.set_home = set_home or given.get('set_home', False)
        self.preserve_env = preserve_env or given.get('preserve_env', False)
        self.login = login or given.get('login', False)
        self.selinux_type = selinux_type or given.get('selinux_type')
        self.selinux_role = selinux_role or given.get('selinux_role')
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return self.username

    def argv(self, command: 'List[str]') -> 'List[str]':
        bits = [self.sudo_path, '-p', PROMPT, '-u', self.username]
        bits += ['-H'] if self.set_home else []
        bits += ['-E'] if self.preserve_env else []
        bits += ['-i'] if self.login else []
        bits += ['-t', self.selinux_type] if self.selinux_type else []
        bits += ['-r', self.selinux_role] if self.selinux_role else []
        return bits + ['--'] + command

    def prompts(self) -> 'List[Prompt]':
        # The second is for sudo-rs, and PAM modules that insist on a text of their own (sudoers: passprompt_override).
        ours = br'(?<!sudo: )\[mitogen asks on behalf of [^\]]*\] *\Z'
        return [Prompt(ours + b'|' + mitogen.boot.prompts.PASSWORD, self.password)]

    def refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(incorrect (password|authentication) attempt|Sorry, try again|Authentication failed)',
                    'the password was refused', kind=PasswordError),
            Refusal(br'(a password is required|interactive authentication is required)',
                    'a password is asked for, and none was given', kind=PasswordError, hint='password=...'),
            Refusal(br"^[^\n]*(is not in the sudoers file|is not allowed to (execute|run)|afraid I can't do that).*",
                    hint='sudoers has no rule that lets this user run Python as %s' % self.username),
            Refusal(br"(unknown user:? [^\n]*|user '[^'\n]*' not found)"),
            Refusal(br'you must have a tty to run sudo'),
        ]
