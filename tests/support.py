"""What more than one test file needs: waiting with a deadline, finding interpreters, seeing what a test left behind.

Nothing in here knows of mitogen, so that a broken library cannot break the tools that measure it.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import re
import resource
import shutil
import subprocess
import threading
import time

# Between two looks at a condition: short enough not to slow a test down, long enough to leave the processor to
# what is being waited for.
POLL_INTERVAL = 0.01

# How long an ending child, thread or descriptor may outlive the test that made it.
LEAK_GRACE = 5.0

VERSIONS = ['3.%d' % minor for minor in range(6, 30)]

# In words that Python 2.7 understands too. The third line is true outside of virtual environments.
REPORT_VERSION = """
import sys
print('%d.%d' % sys.version_info[:2])
print(sys.executable)
print(sys.prefix == getattr(sys, 'base_prefix', sys.prefix))
"""


def wait_for(condition, timeout=30, what=''):
    """Return the first true value of `condition()`, asked again and again for `timeout` seconds.

    :raises AssertionError: it never became true; `what` says what was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('%s: not within %s seconds' % (what or condition, timeout))
        time.sleep(POLL_INTERVAL)


# ---- Interpreters


def as_numbers(version):
    """`'3.10'` -> `(3, 10)`: versions sort as numbers, not as text."""
    return tuple(int(part) for part in version.split('.'))


def find_pythons():
    """Every Python 3 of this machine that really runs: `{'3.6': '/path/bin/python3.6', ...}`, oldest first.

    Looks on PATH, then among pyenv's versions. Virtual environments are left out: what is installed in one
    belongs to the master, and a child that found it there would prove nothing about imports.
    """
    return dict(_found_pythons())


def find_python2():
    """Path of a Python 2.7 that runs, or None. It is there to be refused with a good message."""
    return _first_that_runs('2.7')


def version_of(interpreter):
    """`'3.11'` for the interpreter at that path, or None where it does not run."""
    reported = _ask(interpreter)
    return reported and reported[0]


@functools.lru_cache(maxsize=None)
def _found_pythons():
    found = [(version, _first_that_runs(version)) for version in VERSIONS]
    return tuple((version, path) for version, path in found if path)


def _first_that_runs(version):
    for candidate in _candidates(version):
        reported = _ask(candidate)
        if reported and reported[0] == version and reported[2]:
            return reported[1]
    return None


def _candidates(version):
    for folder in os.environ.get('PATH', os.defpath).split(os.pathsep):
        yield from _programs_in(folder, version)
    pyenv = pathlib.Path(os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv'))
    micros = sorted(pyenv.glob('versions/%s.*' % version), key=_micro, reverse=True)
    for folder in micros:
        yield from _programs_in(folder / 'bin', version)


def _programs_in(folder, version):
    for name in ('python' + version, 'python3', 'python'):
        program = shutil.which(name, path=str(folder))
        if program:
            yield program


def _micro(folder):
    digits = re.findall(r'\d+', folder.name)
    return [int(number) for number in digits]


@functools.lru_cache(maxsize=None)
def _ask(interpreter):
    """(version, real path, whether it is no virtual environment); None where nothing sensible came back.

    A name on PATH may be a stand-in of pyenv for a version that is not selected, so it has to be run. It also says
    what it stands for, which is then used instead: the stand-in is a shell script and takes far longer to start.
    """
    try:
        done = subprocess.run([interpreter, '-c', REPORT_VERSION], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode().split('\n')
    if done.returncode or len(lines) < 3:
        return None
    return lines[0], lines[1], lines[2] == 'True'


# ---- Processes, as /proc shows them


def processes():
    """`{pid: (parent's pid, state letter, name)}` of every process there is."""
    found = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            status = process_status(int(entry))
            if status:
                found[int(entry)] = status
    return found


def shown(pid):
    """Command line and environment of a process, as far as they can be read."""
    found = []
    for name in 'cmdline', 'environ':
        with contextlib.suppress(OSError):
            found.append(pathlib.Path('/proc/%d/%s' % (pid, name)).read_bytes())
    return found


def process_status(pid):
    """(parent's pid, state letter, name) of one process, or None when it is gone."""
    try:
        with open('/proc/%d/stat' % pid, encoding='utf-8', errors='replace') as fp:
            text = fp.read()
    except OSError:
        return None
    # The name stands in parentheses and may hold any character, spaces and parentheses among them.
    name, _, rest = text.partition('(')[2].rpartition(')')
    state, parent = rest.split()[:2]
    return int(parent), state, name


def is_running(pid):
    """Whether the process lives. One that ended and was not reaped yet does not."""
    status = process_status(pid)
    return status is not None and status[1] not in 'ZX'


def wait_until_gone(pids, timeout=30):
    """Wait until none of these processes lives, for `timeout` seconds.

    :raises AssertionError: saying which, counted as they were given, live on, and in what state.
    """
    def left():
        return {number: process_status(pid) for number, pid in enumerate(pids) if is_running(pid)}
    try:
        wait_for(lambda: not left(), timeout)
    except AssertionError:
        raise AssertionError('after %s seconds there still is: %s' % (timeout, left() or 'none now')) from None


def memory_of_this_process():
    """`(its addresses, what of them is memory)`, in bytes."""
    with open('/proc/self/statm') as fp:
        addresses, resident = fp.read().split()[:2]
    return int(addresses) * resource.getpagesize(), int(resident) * resource.getpagesize()


def descendants(pid):
    """Pids of all children of a process and theirs, as far as their line of parents is whole."""
    table = processes()
    found, new = set(), {pid}
    while new:
        new = {child for child, (parent, _, _) in table.items() if parent in new} - found
        found |= new
    return found


# ---- What a test left behind


class Leftovers:
    """The descriptors, threads and children of this process at one moment, to compare with a later one."""

    def __init__(self):
        self._before = _belongings()

    def wait_until_gone(self):
        """Give new ones LEAK_GRACE seconds to go.

        :raises AssertionError: naming what is still there.
        """
        deadline = time.monotonic() + LEAK_GRACE
        while self._new() and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
        new = self._new()
        if new:
            raise AssertionError('left behind by the test:\n  ' + '\n  '.join(new))

    def _new(self):
        return [text for thing, text in sorted(_belongings().items()) if thing not in self._before]


def _belongings():
    """{what identifies it: words for it} of all that this process holds."""
    return dict(itertools.chain(_open_descriptors(), _live_threads(), _children()))


def _open_descriptors():
    for number in os.listdir('/proc/self/fd'):
        try:
            target = os.readlink('/proc/self/fd/' + number)
        except OSError:
            continue    # the one that listed the folder, closed again
        # The target is part of the identity: a number is given to another file as soon as it is free.
        yield ('descriptor', int(number), target), 'descriptor %s: %s' % (number, target)


def _live_threads():
    for thread in threading.enumerate():
        yield ('thread', id(thread), ''), 'thread %s' % thread.name


def _children():
    """A child that has ended and was not waited for is one too: its entry in the process table stays."""
    for pid, (parent, state, name) in processes().items():
        if parent == os.getpid():
            yield ('child', pid, ''), 'child process %d: %s%s' % (pid, name, ', never reaped' if state == 'Z' else '')


def checkout():
    """The folder that holds mitogen/ and tests/."""
    return pathlib.Path(__file__).resolve().parent.parent


def import_path():
    """PYTHONPATH for a program that a test starts, to find mitogen and the tests' own modules."""
    return os.pathsep.join([str(checkout()), str(checkout() / 'tests')])


def methods():
    """Connection method -> its module, of those that come with the library; plugins add theirs to the same table."""
    import mitogen.method  # not above: tests of the fixtures themselves run without the library
    return {name: module for name, module in mitogen.method.MODULES.items() if module == 'mitogen.' + name}
