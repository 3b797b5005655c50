"""
Connection method `docker`: an interpreter in a container of Docker. Ring 1, data only.

Facts about docker are from its reference of ``exec`` and ``run``, and the texts of its versions 20.10 and 28.
"""

import mitogen.container
import mitogen.method
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.container.Container):
    """`docker exec` in a container that runs, or `docker run` of a new one, which is removed when the connection ends.

    :param container: name or id of a running container.
    :param image: instead of it: image for the temporary container. What it would start by itself is not started.
    :param username: user inside; default: the one that the image names, usually root.
    :param docker_path: the program.
    :param docker_args: more arguments for it: ``['--host', 'tcp://builder:2376']``.
    :param exec_args: more arguments for its command ``exec``, or ``run``: ``['--workdir', '/srv']``.
    """

    name = 'docker'

    def __init__(self, container: 'Optional[str]' = None, image: 'Optional[str]' = None,
                 username: 'Optional[str]' = None, docker_path: str = 'docker',
                 docker_args: 'Optional[Sequence[str]]' = None, exec_args: 'Optional[Sequence[str]]' = None,
                 **common: 'Any') -> None:
        if (container is None) == (image is None):
            raise ValueError('%s: exactly one of container= and image= must be given' % self.name)
        self.image = None if image is None else mitogen.method.word('image', image)
        self.docker_args = self.words('%s_args' % self.name, docker_args)
        self.exec_args = self.words('exec_args', exec_args)
        target = container if self.image is None else self.image
        mitogen.container.Container.__init__(self, target, username, docker_path, **common)   # type: ignore[arg-type]

    def argv(self, command: 'List[str]') -> 'List[str]':
        program = [self.program] + self.docker_args
        more = (['--user', self.username] if self.username else []) + self.exec_args
        if self.image is None:
            return program + ['exec', '--interactive'] + more + [self.container] + command
        # As its entry point, or an image that has another would take our command line for arguments of that.
        return (program + ['run', '--rm', '--interactive'] + more +
                ['--entrypoint', command[0], self.image] + command[1:])

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(No such container|no container with name or ID)[^\n]*', 'there is no such container',
                    hint='the spelling of container=; %s ps --all lists them' % self.name),
            Refusal(br'(Container \S+ is not running|exec sessions on running containers|container state improper)',
                    'the container is not running', hint='%s start %s' % (self.name, self.container)),
            Refusal(br'unable to find user [^\n]*', 'there is no such user in the container',
                    hint='username=, or a number: %s takes those as well' % self.name),
            Refusal(br'permission denied while trying to connect[^\n]*', 'this user may not talk to Docker',
                    hint='via= a context of root (sudo), or membership of the group docker'),
            Refusal(br'Cannot connect to the Docker daemon[^\n]*', hint='whether dockerd runs there; DOCKER_HOST'),
            Refusal(br'(pull access denied|manifest unknown|Unable to find image|short-name)[^\n]*',
                    'there is no such image', hint='the spelling of image=; %s pull %s' % (self.name, self.container)),
        ]
