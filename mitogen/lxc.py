"""
Connection method `lxc`: an interpreter in a classic LXC container. Ring 1, data only.

Facts about lxc-attach are from lxc-attach(1) and the texts of version 5.0. (`lxc`, the program, belongs to LXD.)
"""

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List


class Method(mitogen.container.Container):
    """`lxc-attach`, as root of the container, with a clean environment.

    :param container: its name.
    :param lxc_attach_path: the program.
    """

    name = 'lxc'

    def __init__(self, container: str, lxc_attach_path: str = 'lxc-attach', **common: 'Any') -> None:
        mitogen.container.Container.__init__(self, container, None, lxc_attach_path, **common)

    def argv(self, command: 'List[str]') -> 'List[str]':
        return [self.program, '--clear-env', '--name', self.container, '--'] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'Failed to get init pid', 'there is no running container of that name',
                    hint='lxc-ls --fancy as the user whose container it is; lxc-start --name %s' % self.container),
            Refusal(br'(You lack access to|Insuffici?ent privileges|Operation not permitted)',
                    'this user may not attach to the container',
                    hint='via= a context of root (sudo), or of the user whose container it is'),
        ]
