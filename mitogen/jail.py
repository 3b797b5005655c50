"""
Connection method `jail`: an interpreter in a FreeBSD jail. Ring 1, data only.

Facts about jexec are from jexec(8) and its source in FreeBSD 13 and 14.
"""

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


class Method(mitogen.container.Container):
    """`jexec`.

    :param container: name or number of a running jail.
    :param username: user of the jail; default: root.
    :param jexec_path: the program.
    """

    name = 'jail'

    def __init__(self, container: str, username: 'Optional[str]' = None, jexec_path: str = '/usr/sbin/jexec',
                 **common: 'Any') -> None:
        mitogen.container.Container.__init__(self, container, username, jexec_path, **common)

    def argv(self, command: 'List[str]') -> 'List[str]':
        user = ['-U', self.username] if self.username else []
        return [self.program] + user + [self.container] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'jail "[^"]*" not found', 'there is no running jail of that name', hint='jls lists them'),
            Refusal(br'jexec: [^\n]{0,200}: no such user', 'there is no such user in the jail', hint='username='),
            Refusal(br'(jail_attach|setgid|initgroups|setuid)[^\n]{0,200}Operation not permitted',
                    'this user may not enter jails', hint='via= a context of root (sudo, doas)'),
        ]
