"""
Connection method `ansible_become`: another user, by the command line that a become plugin builds. Ring 1, data only.

The plugin is given mitogen.ansible.wrapping.MARKER to wrap, and the interpreter's command line then takes its place.
"""

import re
import shlex

import mitogen.boot.dialogue
import mitogen.boot.prompts
import mitogen.method
from mitogen.ansible.wrapping import MARKER, levels, quoted
from mitogen.boot.dialogue import Prompt, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.method.Method):
    """Another user, by whatever command a become plugin builds.

    :param plugin: name of the plugin.
    :param username: account to become, for names.
    :param shell: what runs the command.
    :param wrapped: the command, around MARKER.
    :param password: typed when it asks.
    :param prompt: how it asks, literally; None: any of the usual ways, in any language.
    :param fail, missing: what it says of a wrong password, and of one that is missing.
    """

    name = 'become'
    terminal = True
    at_once = False
    asks_on = {'tty': 'tty', 'stderr': 'stdin', 'stdout': 'stdin'}

    def __init__(self, plugin: str, username: str, shell: str, wrapped: str, password: 'Optional[str]' = None,
                 prompt: 'Optional[str]' = None, fail: 'Sequence[str]' = (), missing: 'Sequence[str]' = (),
                 **common: 'Any') -> None:
        self.plugin, self.username, self.shell, self.wrapped = plugin, username, shell, wrapped
        self.password, self._prompt = password, prompt
        self._fail, self._missing = [text for text in fail if text], [text for text in missing if text]
        self._levels = levels(wrapped)
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return '%s with %s' % (self.username or 'another user', self.plugin)

    def context_name(self) -> str:
        return 'become.%s' % self.username

    def argv(self, command: 'List[str]') -> 'List[str]':
        text = 'exec ' + ' '.join(shlex.quote(word) for word in command)
        return [self.shell, '-c', self.wrapped.replace(quoted(MARKER, self._levels), quoted(text, self._levels))]

    def prompts(self) -> 'List[Prompt]':
        pattern = mitogen.boot.prompts.pattern(self._prompt)
        return [Prompt(pattern, self.password)]

    def refusals(self) -> 'List[Refusal]':
        kind = mitogen.boot.dialogue.PasswordError
        found = [Refusal(re.escape(text.encode()), 'Missing %s password' % self.plugin, kind=kind)
                 for text in self._missing]
        return found + [Refusal(re.escape(text.encode()), 'Incorrect %s password' % self.plugin, kind=kind)
                        for text in self._fail]
