"""
Connection method `ansible_ssh`: OpenSSH's client with the arguments of Ansible's own plugin. Ring 1, data only.

ssh takes the first of options that contradict each other. So they stand in the order of Ansible's plugin, and what a
user has written in an inventory means the same here.
"""

import shlex

import mitogen.ssh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Sequence


class Method(mitogen.ssh.Method):
    """`ssh` with the arguments of Ansible's plugin.

    :param arguments: all of them, in order.
    :param shown: what errors name it by.
    """

    def __init__(self, arguments: 'Sequence[str]' = (), shown: str = '', **options: 'Any') -> None:
        mitogen.ssh.Method.__init__(self, **options)
        self._arguments, self._shown = list(arguments), shown

    def target(self) -> str:
        return self._shown or mitogen.ssh.Method.target(self)

    def argv(self, command: 'List[str]') -> 'List[str]':
        bits = [self.ssh_path] + self._arguments + ['-T', '-o', 'LogLevel=ERROR']
        bits += ['-o', 'BatchMode=yes'] if self.password is None else []
        for option in 'ServerAliveInterval=15', 'ServerAliveCountMax=3':
            bits += ['-o', option]
        return bits + ['--', self.hostname, ' '.join(shlex.quote(word) for word in command)]
