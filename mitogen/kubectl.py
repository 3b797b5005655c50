"""
Connection method `kubectl`: an interpreter in a container of a Kubernetes pod. Ring 1, data only.

Facts about kubectl are from its reference of ``exec``, and the texts of its versions 1.20 to 1.32.
"""

import mitogen.container
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence


class Method(mitogen.container.Container):
    """`kubectl exec`. The user inside is the one that the container runs as.

    :param pod: name of the pod; ``deployment/NAME`` and the like pick one.
    :param kubectl_path: the program.
    :param kubectl_args: more arguments for it: ``['--namespace', 'shop', '--container', 'web']``.
    """

    name = 'kubectl'

    def __init__(self, pod: str, kubectl_path: str = 'kubectl', kubectl_args: 'Optional[Sequence[str]]' = None,
                 **common: 'Any') -> None:
        self.kubectl_args = self.words('kubectl_args', kubectl_args)
        mitogen.container.Container.__init__(self, pod, None, kubectl_path, **common)

    def argv(self, command: 'List[str]') -> 'List[str]':
        return [self.program, 'exec', '--stdin'] + self.kubectl_args + [self.container, '--'] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(\(NotFound\): [^\n]{0,200} not found|pod \S+ not found)[^\n]*', 'there is no such pod',
                    hint='the spelling of pod=; the namespace, in kubectl_args='),
            Refusal(br'(completed pod|container not found|is not running|unable to upgrade connection)[^\n]*',
                    'the container is not running', hint='kubectl get pod %s' % self.container),
            Refusal(br'(\(Forbidden\)|\(Unauthorized\)|You must be logged in)[^\n]*', 'the cluster does not allow it',
                    hint='an account that may create pods/exec; the context, in kubectl_args='),
            Refusal(br'(connection to the server|Unable to connect to the server|couldn\'t get current server)',
                    'the cluster does not answer',
                    hint='whether it runs; KUBECONFIG, or the context in kubectl_args='),
            Refusal(br'(container \S+ is not valid for pod|context \S+ does not exist|unknown (shorthand )?flag)[^\n]*',
                    hint='kubectl_args='),
        ]
