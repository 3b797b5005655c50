"""
What a worker is told when something cannot be done. Ring 2, in the broker process; pure.

Failures are of kinds, each of which the worker turns into an error of Ansible:

* ``unreachable``: the host cannot be reached, or was lost;
* ``password``: a password is missing or wrong; ``become``: that of a become plugin;
* ``python``: there is no interpreter to begin with, so another way has to be found;
* ``file``: a file cannot be read or written; ``folder``, ``mode``: a temporary folder cannot be made, or given a mode,
  which the worker was told had been done; ``bug``: anything else.
"""

import mitogen.boot.dialogue
import mitogen.core

#: What Ansible says when a temporary folder cannot be made.
NO_FOLDER = ('Failed to create temporary directory. In some cases, you may have been able to authenticate and did not '
             'have permissions on the target directory. Consider changing the remote tmp path in ansible.cfg to a path '
             'rooted in "/tmp", for more error information use -vvv. Failed command was: %s, exited with result %d')


class Failure(Exception):
    """It cannot be done; see above for `kind`."""

    def __init__(self, kind: str, text: str) -> None:
        Exception.__init__(self, text)
        self.kind = kind


class Abandoned(Exception):
    """The worker is gone."""


def failure_of(exc: Exception) -> Failure:
    """What to tell a worker of an error."""
    if isinstance(exc, Failure):
        return exc
    if isinstance(exc, mitogen.boot.dialogue.ConnectError):
        if exc.method == 'become':
            if exc.kind != 'password':
                return Failure('become', '%s\n%s' % (exc.reason, exc.said))
            plugin = exc.target.rpartition(' ')[2]
            missing = 'none was given' in exc.reason or exc.reason.startswith('Missing')
            return Failure('become', '%s %s password' % ('Missing' if missing else 'Incorrect', plugin))
        refused = exc.kind == 'password' and 'without a password' not in exc.reason
        kind = 'password' if refused else 'python' if 'python_path' in exc.hint else 'unreachable'
        return Failure(kind, str(exc))
    if isinstance(exc, mitogen.core.CallError):
        return Failure('bug', str(exc))
    if isinstance(exc, mitogen.core.Error):
        return Failure('unreachable', str(exc))
    return Failure('bug', '%s: %s' % (type(exc).__name__, exc))


def failure_of_step(kind: str, text: str, status: int, out: bytes, err: bytes) -> Failure:
    """What to tell a worker of a step that has not worked, though it was told so: what Ansible would say of it.

    :param text: the command.
    """
    errors, output = (data.decode('utf-8', 'replace') for data in (err, out))
    if kind != 'folder':
        return Failure('mode', 'Failed to set execute bit on remote files (rc: %s, err: %s)' % (status, errors))
    if 'No space left on device' in errors:
        return Failure('folder', errors)
    return Failure('folder', NO_FOLDER % (text, status) + (', stdout output: %s' % output if output else ''))
