"""Starting and stopping the programs that tests connect to.

Nothing here, or in the other files of fixtures beside it, uses mitogen. What this machine cannot do is skipped
with the reason; what it should be able to do and does not is an error.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest

import support

# Daemons live where ordinary accounts have no PATH to.
SYSTEM_PATH = os.pathsep.join([os.environ.get('PATH', os.defpath), '/usr/local/sbin', '/usr/sbin', '/sbin'])

# For one command of the set-up. None of them takes a second; this is for a machine that does other things too.
COMMAND_TIMEOUT = 60

# Another run on this machine uses the same accounts, for about as long as a run takes. It has to fit into the
# time that a test may take, as the fixture that waits is part of one.
LOCK_TIMEOUT = 100
LOCK_FILE = pathlib.Path(tempfile.gettempdir()) / 'mitogen-hosts-tests.lock'

FOLDER_PREFIX = 'mitogen-lab-'


def need_root():
    """Skip the test that asked unless it is root who runs it."""
    if os.geteuid() != 0:
        pytest.skip('only root can create accounts, mounts and networks')


def program(name):
    """Path of an installed program; skip the test that asked where there is none."""
    return find_program(name) or pytest.skip('the program %s is not installed' % name)


def find_program(name):
    """Path of an installed program, or None."""
    return shutil.which(name, path=SYSTEM_PATH)


def run(argv, check=True, **options):
    """Run a command to its end, its output and errors together as text in `.stdout`.

    :raises AssertionError: with that text, when `check` and the command failed.
    """
    if 'input' not in options:
        options.setdefault('stdin', subprocess.DEVNULL)
    options.setdefault('timeout', COMMAND_TIMEOUT)
    done = subprocess.run([str(argument) for argument in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, **options)
    if check and done.returncode:
        raise AssertionError('%s: exit status %d\n%s' % (argv, done.returncode, done.stdout))
    return done


def unavailable(why):
    """Skip the test that asked: what it needs cannot be had now. CI has to know, and fails."""
    if os.environ.get('CI') == 'true':
        raise AssertionError(why)
    pytest.skip(why)


def processes_about(path):
    """Pids of processes that have a path, or one below it, on their command line."""
    found = []
    for pid in support.processes():
        with contextlib.suppress(OSError), open('/proc/%d/cmdline' % pid, 'rb') as fp:
            if os.fsencode(path) in fp.read():
                found.append(pid)
    return found


def unmount_below(folder):
    """Take away all that is mounted in a folder: what containers had there, or a run that was killed has left."""
    with open('/proc/self/mounts') as fp:
        mounted = [line.split()[1] for line in fp]
    for path in reversed(mounted):
        if path.startswith('%s/' % folder):
            run(['umount', '--lazy', path], check=False)


def free_port(host='127.0.0.1'):
    """A port that nobody listens on now. Nothing keeps others from taking it, so use it at once."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def only_one_run():
    """Hold the lock that keeps two test runs on one machine from sharing accounts.

    :raises AssertionError: another run did not finish in LOCK_TIMEOUT seconds.
    """
    with open(LOCK_FILE, 'w') as fp:
        support.wait_for(lambda: _locked(fp), LOCK_TIMEOUT, 'end of the other run that holds %s' % LOCK_FILE)
        yield


def _locked(fp):
    try:
        fcntl.flock(fp, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def public_folder():
    """A folder under the system's temporary one that every account can look into, removed afterwards.

    Only for the run that holds the lock: it removes what another one has left.
    """
    for leftover in pathlib.Path(tempfile.gettempdir()).glob(FOLDER_PREFIX + '*'):
        unmount_below(leftover)
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


class Daemon:
    """A program in the background, its output in a log file. Ends with the test run, however that ends."""

    def __init__(self, argv, log):
        self._log = pathlib.Path(log)
        # A run that is killed tears nothing down, so the kernel is asked to: setpriv becomes the program itself.
        command = [program('setpriv'), '--pdeathsig', 'TERM', '--', *map(str, argv)]
        with open(self._log, 'w') as fp:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=fp, stderr=fp)
        self.pid = self._process.pid

    def wait_for_text(self, text, timeout=10):
        """Return when the program has printed `text`.

        :raises AssertionError: it ended first, or took too long; with all that it printed.
        """
        support.wait_for(lambda: text in self.output() or self._process.poll() is not None, timeout,
                         '%r from %s' % (text, self._process.args))
        if text not in self.output():
            raise AssertionError('%s ended: %s' % (self._process.args, self.output()))

    def output(self):
        """What the program has printed up to now."""
        return self._log.read_text(errors='replace')

    def stop(self):
        """End the program and what it has started."""
        offspring = support.descendants(self.pid)
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in offspring:
            kill(pid)


def kill(pid):
    """End a process at once, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
