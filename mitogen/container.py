"""
What connection methods for containers have in common. Ring 1, data only.

A program of the host starts the interpreter inside and connects its streams to ours. Whoever may do that is root of the
container, so nothing asks for passwords.
"""

import mitogen.boot.dialogue
import mitogen.method
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence

#: What those programs say when the interpreter is not there: runc, crun, lxc-attach, lxd, a shell, jexec.
NO_PYTHON = (br'executable file [^\n]{0,200}not found|exec(vp|ute)?[ :/][^\n]{0,200}(not found|no such file)'
             br'|exec "[^"\n]*"$|Command not found')


class Container(mitogen.method.Method):
    """A method that runs ``program ... container ... python``.

    Subclasses call their last parameter NAME_path, and give it to us as `program`.

    :param container: name or id of a running container.
    :param username: user inside; default: as the program has it, which is root for most.
    :param program: name or path of the program.
    """

    def __init__(self, container: str, username: 'Optional[str]', program: str, **common: 'Any') -> None:
        self.container = mitogen.method.word('container', container)
        self.username = None if username is None else mitogen.method.word('username', username)
        self.program = mitogen.method.word('the path of the program', program)
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return self.container

    def refusals(self) -> 'List[Refusal]':
        return self.own_refusals() + [
            Refusal(NO_PYTHON, 'there is no %s in the container' % self.python[0],
                    hint="python_path=, if Python 3 is elsewhere there ('/usr/local/bin/python3' in many images); if "
                         'it is not, install it (apk add python3, apt-get install python3): nothing else is needed'),
        ]

    @staticmethod
    def words(what: str, value: 'Optional[Sequence[str]]') -> 'List[str]':
        """Return an argument that is a list of words for the command line.

        :raises TypeError: it is one text, which would have to be split.
        """
        if isinstance(value, str):
            raise TypeError('%s must be a list of words, not one text: %r' % (what, value))
        return list(value or ())

    def own_refusals(self) -> 'List[Refusal]':
        """What this program says when it refuses."""
        return []
