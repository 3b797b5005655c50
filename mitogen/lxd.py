"""
Connection method `lxd`: an interpreter in a container of LXD. Ring 1, data only.

Facts about `lxc`, the program of LXD, are from its help of ``exec`` and the texts of version 5.0. It ignores SIGTERM.
"""

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.container.Container):
    """`lxc exec`, as root of the container.

    :param container: its name; ``REMOTE:NAME`` for one of another server.
    :param lxc_path: the program.
    :param lxc_args: more arguments for it: ``['--project', 'shop']``.
    """

    name = 'lxd'
    server = 'LXD'

    def __init__(self, container: str, lxc_path: str = 'lxc', lxc_args: 'Optional[Sequence[str]]' = None,
                 **common: 'Any') -> None:
        self.lxc_args = self.words('%s_args' % ('lxc' if self.name == 'lxd' else self.name), lxc_args)
        mitogen.container.Container.__init__(self, container, None, lxc_path, **common)

    def argv(self, command: 'List[str]') -> 'List[str]':
        # Told so: it decides by the look of its standard streams whether to put a terminal in between.
        return [self.program] + self.lxc_args + ['exec', '--mode=non-interactive', self.container, '--'] + command

    def own_refusals(self) -> 'List[Refusal]':
        tool = self.program.rpartition('/')[2]
        return [
            Refusal(br'(Instance|Container) not found|Error: not found', 'there is no such container',
                    hint='the spelling of container=, its project; %s list shows them' % tool),
            Refusal(br'(Instance|Container) is (not running|frozen)', 'the container is not running',
                    hint='%s start %s' % (tool, self.container)),
            Refusal(br'unix\.socket: connect: permission denied|You don\'t have the needed permissions[^\n]*',
                    'this user may not talk to %s' % self.server,
                    hint='via= a context of root (sudo), or of a user who may use %s' % self.server),
            Refusal(br'unix\.socket: connect: [^\n]*|unix socket not accessible[^\n]*',
                    '%s does not answer' % self.server, hint='whether %s runs there' % self.server),
        ]
