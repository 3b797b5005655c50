"""
Connection method `su`: an interpreter as another user of this machine, with that user's password. Ring 1, data only.

Facts about su are from su(1) of util-linux, misc_conv(3) of Linux-PAM, busybox, and the texts of util-linux 2.38,
shadow 4.8 and busybox 1.35.

Where it asks: on a system with PAM, su writes the question to standard error and reads the answer from standard input,
whatever that is; busybox asks on standard output; FreeBSD's and old ones of shadow use the terminal. So it gets pipes,
through which messages pass unchanged later, and a controlling terminal beside them, and is answered where it has asked.
Standard input is not Python's until su has read its answer: the payload waits until Python says that it is there.

su runs the login shell of the user, which may read start-up files (~/.zshenv, ~/.cshrc, config.fish). What they print
does no harm; one that waits for input makes the start fail at connect_timeout.
"""

import shlex

import mitogen.boot.dialogue
import mitogen.boot.prompts
import mitogen.method
from mitogen.boot.dialogue import Prompt, Refusal
from mitogen.boot.process import UNTRANSLATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence, Union


class PasswordError(mitogen.boot.dialogue.PasswordError):
    """su asked for a password and none was given, or it was refused."""


#: What su says of a wrong password: util-linux and shadow, sudo-rs, busybox, FreeBSD.
INCORRECT = 'Authentication failure', 'Authentication failed', 'incorrect password', 'su: Sorry'


class Method(mitogen.method.Method):
    """`su`. Unlike sudo it wants the password of the user to become; root is asked for none.

    :param username: account to become.
    :param password: typed when su asks.
    :param su_path: the program.
    :param password_prompt: how su asks, literally; default: any of the usual ways, in any language.
    :param incorrect_prompts: what su says of a wrong password, literally; default: what is known.
    """

    name = 'su'
    terminal = True
    at_once = False
    asks_on = {'tty': 'tty', 'stderr': 'stdin', 'stdout': 'stdin'}
    environment = UNTRANSLATED
    password_error = PasswordError

    def __init__(self, username: 'Optional[str]' = None, password: 'Optional[str]' = None, su_path: str = 'su',
                 password_prompt: 'Union[str, bytes, None]' = None,
                 incorrect_prompts: 'Optional[Sequence[Union[str, bytes]]]' = None, **common: 'Any') -> None:
        self.username = mitogen.method.word('username', 'root' if username is None else username)
        self.su_path, self.password = mitogen.method.word('su_path', su_path), password
        self._prompt = mitogen.boot.prompts.pattern(password_prompt)
        self._incorrect = mitogen.boot.prompts.any_of(
            'incorrect_prompts', INCORRECT if incorrect_prompts is None else incorrect_prompts)
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return self.username

    def argv(self, command: 'List[str]') -> 'List[str]':
        return [self.su_path, self.username, '-c', ' '.join(shlex.quote(word) for word in command)]

    def prompts(self) -> 'List[Prompt]':
        return [Prompt(self._prompt, self.password)]

    def refusals(self) -> 'List[Refusal]':
        return [
            Refusal(self._incorrect, 'the password was refused', kind=PasswordError,
                    hint='the password of %s, not of the user who runs su' % self.username),
            Refusal(br"(user \S+ (does not exist|not found)|unknown user|unknown login|No passwd entry)[^\n]*",
                    hint='the spelling of username='),
            Refusal(br'(required to change|password has expired|New password)[^\n]*', 'the password has expired',
                    kind=PasswordError, hint='change it there first'),
            Refusal(br'su: Permission denied', 'this user may not become %s with su' % self.username,
                    hint='whether PAM wants membership of a group (wheel) for su'),
            Refusal(br'(must be run from a terminal|Cannot determine your user name)[^\n]*', hint='sudo() instead'),
            Refusal(br'(must be suid to work|cannot set (user|group)|setgid|setuid)[^\n]*',
                    hint='whether %s is setuid root' % self.su_path),
            Refusal(br'This account is currently not available', 'the account has no shell that runs commands',
                    hint='sudo() instead: it needs no shell'),
        ]
