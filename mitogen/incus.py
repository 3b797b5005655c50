"""
Connection method `incus`: an interpreter in a container of Incus. Ring 1, data only.

Incus began as a copy of LXD: it takes the same command lines and says the same. Its texts are those of version 6.0.
"""

import mitogen.lxd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence


class Method(mitogen.lxd.Method):
    """`incus exec`, as root of the container.

    :param container: its name; ``REMOTE:NAME`` for one of another server.
    :param incus_path: the program.
    :param incus_args: more arguments for it: ``['--project', 'shop']``.
    """

    name = 'incus'
    server = 'Incus'

    def __init__(self, container: str, incus_path: str = 'incus', incus_args: 'Optional[Sequence[str]]' = None,
                 **common: 'Any') -> None:
        mitogen.lxd.Method.__init__(self, container, incus_path, incus_args, **common)
