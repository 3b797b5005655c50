"""
Connection method `doas`: an interpreter as another user of this machine. Ring 1, data only.

Facts about doas are from doas(1), doas.conf(5) and the texts of OpenBSD's and of OpenDoas 6.8. It asks on its
terminal only, so standard input is Python's from the start.
"""

import mitogen.boot.dialogue
import mitogen.boot.prompts
import mitogen.method
from mitogen.boot.dialogue import Prompt, Refusal
from mitogen.boot.process import UNTRANSLATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence, Union


class PasswordError(mitogen.boot.dialogue.PasswordError):
    """doas asked for a password and none was given, or it was refused."""


#: What doas says of a wrong password: OpenDoas and new ones of OpenBSD, old ones.
INCORRECT = 'Authentication failed', 'Authorization failed'


class Method(mitogen.method.Method):
    """`doas`. It wants the password of the user who runs it, or none where doas.conf says ``nopass``.

    :param username: account to become.
    :param password: typed when doas asks.
    :param doas_path: the program.
    :param password_prompt: how doas asks, literally; default: any of the usual ways, in any language.
    :param incorrect_prompts: what doas says of a wrong password, literally; default: what is known.
    """

    name = 'doas'
    terminal = True
    environment = UNTRANSLATED
    password_error = PasswordError

    def __init__(self, username: 'Optional[str]' = None, password: 'Optional[str]' = None, doas_path: str = 'doas',
                 password_prompt: 'Union[str, bytes, None]' = None,
                 incorrect_prompts: 'Optional[Sequence[Union[str, bytes]]]' = None, **common: 'Any') -> None:
        self.username = mitogen.method.word('username', 'root' if username is None else username)
        self.doas_path, self.password = mitogen.method.word('doas_path', doas_path), password
        self._prompt = mitogen.boot.prompts.pattern(password_prompt)
        self._incorrect = mitogen.boot.prompts.any_of(
            'incorrect_prompts', INCORRECT if incorrect_prompts is None else incorrect_prompts)
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return self.username

    def argv(self, command: 'List[str]') -> 'List[str]':
        return [self.doas_path, '-u', self.username, '--'] + command

    def prompts(self) -> 'List[Prompt]':
        return [Prompt(self._prompt, self.password)]

    def refusals(self) -> 'List[Refusal]':
        return [
            Refusal(self._incorrect, 'the password was refused', kind=PasswordError,
                    hint='the password of the user who runs doas'),
            Refusal(br'(Authentication required|a tty is required)', 'a password is asked for, and none was given',
                    kind=PasswordError, hint='password=...'),
            Refusal(br'doas: unknown user', 'there is no such user', hint='the spelling of username='),
            Refusal(br'doas: Operation not permitted', 'doas.conf has no rule that lets this user',
                    hint='a rule in doas.conf: permit USER as %s' % self.username),
            Refusal(br'(doas is not enabled|not installed setuid)[^\n]*', hint='whether doas is set up there'),
        ]
