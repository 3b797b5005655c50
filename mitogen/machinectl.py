"""
Connection method `machinectl`: an interpreter in a container that systemd-machined knows and whose init is systemd.
Ring 1, data only.

What enters the container is ``systemd-run --machine --pipe``, not ``machinectl shell``: that one puts two terminals
in between, ends when it reads three 0x1d bytes within a second, as any long message will hold, and loses the exit
status; its manual page sends programs to systemd-run. The caller's pipes themselves are handed into the container, so
nothing happens to bytes.

A container without systemd inside (nspawn without --boot) has nobody to ask: `setns` with the kind ``machinectl``
enters those.
Facts are from machinectl(1), systemd-run(1) and the texts of version 252.
"""

import os

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


class Method(mitogen.container.Container):
    """`systemd-run` in a machine.

    :param container: its name, as `machinectl list` shows it.
    :param username: user inside; default: root.
    :param machinectl_path: the program; systemd-run is taken from the same folder.
    """

    name = 'machinectl'

    def __init__(self, container: str, username: 'Optional[str]' = None, machinectl_path: str = 'machinectl',
                 **common: 'Any') -> None:
        mitogen.container.Container.__init__(self, container, username, machinectl_path, **common)
        self.systemd_run = os.path.join(os.path.dirname(self.program), 'systemd-run')

    def argv(self, command: 'List[str]') -> 'List[str]':
        # The user is named also where it is root, or HOME would not be set. Processes that user code leaves behind live
        # on, as they do with the other methods: by default they end with the unit. The shell says when there is no
        # Python; systemd has only a number for that.
        return [self.systemd_run, '--quiet', '--collect', '--wait', '--pipe', '--property=KillMode=process',
                '--machine=' + self.container, '--uid=' + (self.username or 'root'), '--',
                '/bin/sh', '-c', 'exec "$@"', 'sh'] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(Host is down|No machine [^\n]{0,200} known)', 'there is no running machine of that name',
                    hint='machinectl list shows what runs'),
            Refusal(br'^exit status 217$', 'there is no such user in the container', hint='username='),
            Refusal(br'(connect to bus: No such file|no system bus in container|not been booted)[^\n]*',
                    'the container has no systemd inside', hint="setns(kind='machinectl')"),
            Refusal(br'Failed to [^\n]{0,200}(Permission denied|Access denied|authentication required)',
                    'this user may not enter machines', hint='via= a context of root (sudo)'),
            Refusal(br'systemd-run: (unrecognized|invalid|unknown) option[^\n]*', 'systemd here is too old for this',
                    hint="setns(kind='machinectl')"),
        ]
