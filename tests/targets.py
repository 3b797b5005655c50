"""Functions that tests call in other contexts.

Children fetch this file from the master and run it on any Python from 3.6 on. So it imports nothing but what
every interpreter has, and nothing at all of the tests.
"""

import errno
import importlib.machinery
import os
import pwd
import sys
import tempfile
import threading


def whoami():
    """Name of the account that the context runs as."""
    return pwd.getpwuid(os.geteuid()).pw_name


def python_version():
    """`(3, 6)`."""
    return sys.version_info[:2]


def echo(value):
    """What was sent."""
    return value


def wait_for_ever():
    """Never returns; nothing but the end of the process ends it."""
    threading.Event().wait()


def fail(text):
    """Raises ValueError."""
    raise ValueError(text)


def has_of_its_own(module):
    """Whether the interpreter finds that top-level module without help."""
    return importlib.machinery.PathFinder.find_spec(module) is not None


def describe_square(side):
    """Imports, in the middle of a call, a package that only the master has."""
    from homegrown.shapes import square
    return square.describe(side)


def why_not_writable(folder):
    """Name of the error that creating a file there meets, or None."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as exc:
        return errno.errorcode[exc.errno]


def children():
    """Pids of the context's own children, ended ones that were not reaped included."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir('/proc'))) if _parent_of(pid) == os.getpid()]


def _parent_of(pid):
    try:
        with open('/proc/%d/stat' % pid, 'rb') as fp:
            return int(fp.read().rpartition(b')')[2].split()[1])
    except OSError:
        return None


def is_running(pid):
    """Whether a process of the context's own pid namespace lives; an ended one that nobody reaped does not."""
    try:
        with open('/proc/%d/stat' % pid, 'rb') as fp:
            return fp.read().rpartition(b')')[2].split()[0] not in (b'Z', b'X')
    except OSError:
        return False


def set_environment(**variables):
    """Sets environment variables, for what the context starts from now on."""
    os.environ.update(variables)
