"""Connection method `local`: another interpreter on this machine, as this user. Ring 1, data only."""

import os
import sys

import mitogen.method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


class Method(mitogen.method.Method):
    """A child process of this one. Options as for every method."""

    name = 'local'

    def default_python(self) -> str:
        return sys.executable or mitogen.method.DEFAULT_PYTHON

    def has_our_python(self) -> bool:
        return self.python == [sys.executable]

    def target(self) -> str:
        return self.python[-1]

    def context_name(self) -> str:
        return 'local.' + os.path.basename(self.python[-1])

    def argv(self, command: 'List[str]') -> 'List[str]':
        return command
