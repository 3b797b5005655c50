"""
Connection method `buildah`: an interpreter in a working container of Buildah. Ring 1, data only.

Facts about buildah are from buildah-run(1) and the texts of version 1.28.
"""

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


class Method(mitogen.container.Container):
    """`buildah run` in a working container: what `buildah from` has made, and `buildah commit` makes an image of.

    :param container: name or id of the working container.
    :param username: user inside; default: the one that its configuration names, usually root.
    :param buildah_path: the program.
    """

    name = 'buildah'

    def __init__(self, container: str, username: 'Optional[str]' = None, buildah_path: str = 'buildah',
                 **common: 'Any') -> None:
        mitogen.container.Container.__init__(self, container, username, buildah_path, **common)

    def argv(self, command: 'List[str]') -> 'List[str]':
        user = ['--user', self.username] if self.username else []
        return [self.program, 'run', '--terminal=false'] + user + ['--', self.container] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(no container with (this )?(name|ID)|container not known|no such container)[^\n]*',
                    'there is no such working container',
                    hint='the spelling of container=; buildah containers lists them'),
            Refusal(br'unknown user[^\n]*', 'there is no such user in the container', hint='username='),
            Refusal(br'Error: [^\n]{0,200}(permission denied|operation not permitted)',
                    'this user may not use Buildah here', hint='via= a context of the user whose container it is'),
        ]
