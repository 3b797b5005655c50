"""
What a connection method is: options, a command line, prompts and refusals. Data, no behaviour of its own.

Ring 1, pure. Each method is a module with a class `Method`; `mitogen.boot.connection` does the rest, for all alike.
A new one is a subclass of `Method` here, in a module that `register` names.
"""

import sys

import mitogen.boot.dialogue
import mitogen.boot.start
import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Type, Union

#: Name of a method -> the module that has it.
MODULES: 'Dict[str, str]' = {name: 'mitogen.' + name for name in (
    'local', 'fork', 'ssh', 'sudo', 'su', 'doas', 'docker', 'podman', 'buildah', 'kubectl', 'lxc', 'lxd', 'incus',
    'jail', 'machinectl', 'setns')}

#: Python's name where nothing else is known.
DEFAULT_PYTHON = 'python3'


def register(name: str, module: str) -> None:
    """Add a connection method: ``router.connect(name, ...)`` will use the class `Method` of `module`.

    :raises ValueError: there is another of that name.
    """
    if MODULES.setdefault(name, module) != module:
        raise ValueError('connection method %r is %s already' % (name, MODULES[name]))


def load(name: str, module: 'Optional[str]' = None) -> 'Type[Method]':
    """Return the class of a method.

    :param module: where it is, when it was registered in another context than this one.
    :raises mitogen.core.StreamError: there is no such method.
    """
    module = module or MODULES.get(name)
    if module is None:
        raise mitogen.core.StreamError('no connection method %r; there are %s', name, ', '.join(sorted(MODULES)))
    __import__(module)
    return sys.modules[module].Method       # type: ignore[no-any-return]


def make(name: str, options: 'Dict[str, Any]', module: 'Optional[str]' = None) -> 'Method':
    """Return a method with its options; `module` and errors as for load().

    :raises TypeError, ValueError: one of the options is wrong, or missing; the text names the method.
    """
    kind = load(name, module)
    try:
        return kind(**options)
    except TypeError as exc:        # Python speaks of a constructor, nobody else does
        raise TypeError(str(exc).replace('Method.__init__', '__init__').replace('__init__', name)) from None


def word(what: str, value: 'Any') -> str:
    """Return an argument that becomes a word of its own on a command line.

    :param what: what it is, for errors.
    :raises TypeError: it is no text.
    :raises ValueError: it is empty, or a program would take it for an option.
    """
    if not isinstance(value, str):
        raise TypeError('%s must be text, not %r' % (what, value))
    if not value or value.startswith('-') or '\0' in value:
        raise ValueError('%s must not be empty, begin with "-" or hold a zero byte: %r' % (what, value))
    return value


class Method:
    """How to start a child. Subclasses take their own options in __init__ and pass the common ones on.

    :param remote_name: what ps shows behind ``mitogen:``; default user@host:pid of the parent.
    :param python_path: the interpreter, or a list: the interpreter and what runs it.
    :param debug: send debug logs, whatever the level here.
    :param unidirectional: as Router.unidirectional, for the child and all below it; None: as here.
    :param connect_timeout: seconds for the whole start, until the child answers.
    :param profiling: reserved for profiles of the child's threads.
    """

    name = ''                   # for errors and context names
    terminal = False            # it wants a controlling terminal, for prompts
    at_once = True              # standard input reaches Python unread
    #: Channel on which the program asks -> channel on which it reads the answer.
    asks_on: 'Dict[str, str]' = {'tty': 'tty'}
    forks = False               # it is a copy of the process that calls
    carries_core = False        # the command line may hold the core: one round trip less
    environment: 'Dict[str, str]' = {}
    password_error: 'Type[mitogen.boot.dialogue.ConnectError]' = mitogen.boot.dialogue.PasswordError

    def __init__(self, remote_name: 'Optional[str]' = None, python_path: 'Union[str, Sequence[str], None]' = None,
                 debug: bool = False, unidirectional: 'Optional[bool]' = None,
                 connect_timeout: 'Optional[float]' = 30.0, profiling: bool = False) -> None:
        if remote_name is not None and '/' in remote_name:
            raise ValueError('remote_name must not contain a slash: %r' % remote_name)
        if connect_timeout is not None and connect_timeout <= 0:
            raise ValueError('connect_timeout must be more than 0 seconds: %r' % connect_timeout)
        self.remote_name, self.debug, self.unidirectional = remote_name, debug, unidirectional
        self.profiling = profiling
        self.connect_timeout = 30.0 if connect_timeout is None else connect_timeout
        self.python = [python_path] if isinstance(python_path, str) else list(python_path or [self.default_python()])

    def default_python(self) -> str:
        return DEFAULT_PYTHON

    def has_our_python(self) -> bool:
        """Whether the child is certain to run the interpreter that runs here."""
        return False

    def target(self) -> str:
        """What it connects to, for people."""
        raise NotImplementedError

    def context_name(self) -> str:
        return '%s.%s' % (self.name, self.target())

    def argv(self, command: 'List[str]') -> 'List[str]':
        """Wrap the child's command line into the one to run here."""
        raise NotImplementedError

    def spawn(self, router: 'Any', config: 'Dict[str, Any]') -> 'Any':
        """Start it; see mitogen.boot.start.spawn()."""
        return mitogen.boot.start.spawn(self, router.payload, config)

    def prompts(self) -> 'List[mitogen.boot.dialogue.Prompt]':
        return []

    def refusals(self) -> 'List[mitogen.boot.dialogue.Refusal]':
        return []

    def endings(self) -> 'Dict[int, str]':
        """See mitogen.boot.dialogue.Plan."""
        return {}

    def errors(self) -> 'List[Type[mitogen.boot.dialogue.ConnectError]]':
        """The classes of this method's errors, so that one can be raised again in another context."""
        return [self.password_error, mitogen.boot.dialogue.ConnectError]
