"""
Connection method `podman`: an interpreter in a container of Podman. Ring 1, data only.

Podman takes the command lines of Docker. Its texts are those of versions 4.3 with runc, and of crun's.
"""

import mitogen.docker
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.docker.Method):
    """`podman exec` in a container that runs, or `podman run` of a new one, which is removed when the connection ends.

    Every user has containers of their own: those of root are seen by root only.

    :param container: name or id of a running container.
    :param image: instead of it: image for the temporary container. What it would start by itself is not started.
    :param username: user inside; default: the one that the image names, usually root.
    :param podman_path: the program.
    :param podman_args: more arguments for it: ``['--remote']``.
    :param exec_args: more arguments for its command ``exec``, or ``run``: ``['--workdir', '/srv']``.
    """

    name = 'podman'

    def __init__(self, container: 'Optional[str]' = None, image: 'Optional[str]' = None,
                 username: 'Optional[str]' = None, podman_path: str = 'podman',
                 podman_args: 'Optional[Sequence[str]]' = None, exec_args: 'Optional[Sequence[str]]' = None,
                 **common: 'Any') -> None:
        mitogen.docker.Method.__init__(self, container, image, username, podman_path, podman_args, exec_args, **common)

    def own_refusals(self) -> 'List[Refusal]':
        return mitogen.docker.Method.own_refusals(self) + [
            Refusal(br'Error: [^\n]{0,200}permission denied', 'this user may not use Podman here',
                    hint='via= a context of the user whose container it is'),
        ]
