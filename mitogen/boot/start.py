"""
A method and a configuration -> a running program, and what the dialogue with it has to know.

Ring 1. Runs on the thread that connects, so that the broker is not kept waiting by fork and exec.
"""

import functools
import os
import pwd
import shlex

import mitogen.boot.payload
import mitogen.boot.process
from mitogen.boot.dialogue import STARTING, ConnectError, Plan
from mitogen.boot.first_stage import CARRYING, COMPILED, READING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    import mitogen.method

#: Longest word of a command line that an error shows: the core itself helps nobody.
SHOWN_WORD = 60


def process_name(method: 'mitogen.method.Method') -> str:
    """What ps shows for a child: by default, who started it."""
    return 'mitogen:' + (method.remote_name or '%s@%s:%d' % (user_name(os.getuid()), os.uname()[1], os.getpid()))


@functools.lru_cache(1)
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:            # an account without a name, in a container for example
        return str(uid)


def shown(argv: 'List[str]') -> str:
    """Return a command line as text for people, without the long parts."""
    return ' '.join(shlex.quote(word if len(word) <= SHOWN_WORD else word[:SHOWN_WORD - 20] + '...') for word in argv)


def spawn(method: 'mitogen.method.Method', payload: 'mitogen.boot.payload.Payload',
          config: 'Dict[str, Any]') -> 'Tuple[Plan, mitogen.boot.process.Child]':
    """Start the program of a method.

    :returns: (plan for the dialogue, process and channels).
    :raises ConnectError: the program cannot be started.
    """
    stage = COMPILED if method.has_our_python() else CARRYING if method.carries_core else READING
    data = payload.build_compiled(config) if stage is COMPILED else payload.build(config)
    argv = method.argv(mitogen.boot.payload.command(method.python, stage, process_name(method), data))
    plan = Plan(method.name, method.target(), shown(argv), b'' if stage is CARRYING else data, config['token'],
                method.connect_timeout, method.at_once, method.prompts(), method.refusals(), method.password_error,
                method.asks_on)
    plan.endings = method.endings()
    try:
        return plan, mitogen.boot.process.start(argv, method.terminal, method.environment)
    except OSError as exc:
        raise not_started(method, plan.command, exc, 'whether %s is installed here, and on PATH' % argv[0]) from None


def not_started(method: 'mitogen.method.Method', command: str, exc: OSError, hint: str = '') -> ConnectError:
    """Return the error for a program that the system does not start.

    :param hint: what to try, unless the system lacks something.
    """
    hint = mitogen.boot.process.SHORTAGES.get(exc.errno or 0, hint)
    return ConnectError(method.name, method.target(), str(exc), STARTING, command, '', hint)
