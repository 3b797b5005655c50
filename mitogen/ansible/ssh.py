"""
Connection method `ansible_ssh`: OpenSSH's client with the arguments of Ansible's own plugin. Ring 1, data only.

ssh takes the first of options that contradict each other. So they stand in the order of Ansible's plugin, and what a
user has written in an inventory means the same here.
"""

import re
import shlex

import mitogen.ssh
from mitogen.boot.dialogue import Prompt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.ssh.Method):
    """`ssh` with the arguments of Ansible's plugin.

    :param arguments: all of them, in order.
    :param passphrase: of the private key, where it is not the password.
    :param prompt: another way in which the password is asked for: text, anything, a colon.
    """

    def __init__(self, arguments: 'Sequence[str]' = (), passphrase: 'Optional[str]' = None, prompt: str = '',
                 **options: 'Any') -> None:
        mitogen.ssh.Method.__init__(self, **options)
        self._arguments, self._passphrase, self._prompt = list(arguments), passphrase, prompt
        self.terminal = self.terminal or passphrase is not None

    def prompts(self) -> 'List[Prompt]':
        special = []
        if self._prompt:
            special.append(Prompt(re.escape(self._prompt.encode()) + br'[^\n]{0,200}:\s*$', self.password))
        if self._passphrase is not None:
            special.append(Prompt(br"passphrase for key '.*':\s*$", self._passphrase, 'passphrase'))
        return special + mitogen.ssh.Method.prompts(self)

    def argv(self, command: 'List[str]') -> 'List[str]':
        bits = [self.ssh_path] + self._arguments + ['-T', '-o', 'LogLevel=ERROR']
        bits += [] if self.terminal else ['-o', 'BatchMode=yes']
        for option in 'ServerAliveInterval=15', 'ServerAliveCountMax=3':
            bits += ['-o', option]
        return bits + ['--', self.hostname, ' '.join(shlex.quote(word) for word in command)]
