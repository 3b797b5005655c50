"""mitogen.debug: logs, profiles and stacks, all in private folders."""

import os
import pathlib
import pstats
import re
import signal
import stat
import subprocess

import pytest

import programs
import support

PREAMBLE = """
import json, os, sys
import mitogen.debug, mitogen.master, mitogen.utils, targets, targets_trees
from mitogen.core import Latch
mitogen.utils.log_to_file(level='WARNING')

def say(value):
    print(json.dumps(value), flush=True)

"""


@pytest.fixture
def run(tmp_path):
    """Runs a program whose temporary files go to a folder of the test."""
    def run(code):
        return programs.run('-c', PREAMBLE + code, env=programs.environment(TMPDIR=str(tmp_path)))
    return run


def folders_named(text):
    return [pathlib.Path(path) for path in re.findall(r'debug files of process \d+ are in (\S+)', text)]


def is_private(folder):
    return stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_written_unless_asked_for(run, tmp_path):
    done = run('with mitogen.master.Router() as router: router.local().call(os.getpid)')
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


# ---- logs


def test_debug_logs_of_the_whole_tree(run):
    done = run("""
with mitogen.master.Router() as router:
    router.enable_debug()
    child = router.local()
    for context in child, router.local(via=child), router.fork():
        context.call(print, 'words of', context.context_id)
        context.call(mitogen.debug.folder)
""")
    assert done.returncode == 0, done.stderr
    folders = folders_named(done.stderr)
    assert len(folders) == len(set(folders)) == 4
    assert all(map(is_private, folders))
    logs = [(folder / 'log').read_text() for folder in folders]
    assert sum('words of' in log for log in logs[1:]) == 3
    assert logs[0].count('words of') == 3        # and all of it comes to the master


def test_one_child_alone(run):
    done = run("""
with mitogen.master.Router() as router:
    router.local().call(print, 'quiet')
    router.local(debug=True).call(print, 'loud')
""")
    [folder] = folders_named(done.stderr)
    assert 'loud' in (folder / 'log').read_text()
    assert 'quiet' not in (folder / 'log').read_text()


# ---- profiles


CALLS = """
    child = router.local()
    for context in child, router.local(via=child), router.fork():
        context.call(targets.echo, 1)
"""


@pytest.mark.parametrize('start', [
    'with mitogen.master.Router() as router:\n    router.enable_profiling()',
    'mitogen.master.Router.profiling = True\nwith mitogen.master.Router() as router:'])
def test_profiles_of_the_whole_tree(run, start):
    done = run(start + CALLS + "print(sys.getprofile())")
    assert (done.returncode, done.stdout) == (0, 'None\n'), done.stderr
    folders = folders_named(done.stderr)
    assert len(set(folders)) == 4
    assert all(map(is_private, folders))
    for folder in folders:
        # Either thread does the broker's work; its own may never have.
        profiles = [path for path in (folder / 'broker.pstats', folder / 'main.pstats') if path.exists()]
        assert '_turn' in set().union(*map(functions_in, profiles))
    assert functions_in(folder_with(folders, 'connect') / 'main.pstats') >= {'local', 'fork'}
    assert sum('echo' in functions_in(folder / 'main.pstats') for folder in folders) == 3


def functions_in(path):
    return {name for _, _, name in pstats.Stats(str(path)).stats}


def folder_with(folders, function):
    return next(folder for folder in folders if function in functions_in(folder / 'main.pstats'))


def test_the_decorator_profiles(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import mitogen, os\n\n@mitogen.main(profiling=True)\ndef main(router):\n'
                      '    router.local().call(os.getpid)\n')
    done = programs.run(script, env=programs.environment(TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    folders = folders_named(done.stderr)
    assert len(folders) == 2
    assert 'call' in functions_in(folder_with(folders, 'connect') / 'main.pstats')


# ---- stacks


HANGING = """
def hang_here():
    say(folders)
    Latch().get()

with mitogen.master.Router() as router:
    mitogen.debug.enable_stack_dumps(router)
    child = router.local()
    below = router.local(via=child)
    forked = router.fork()
    folders = ([context.call(mitogen.debug.folder) for context in (child, below, forked)] + [mitogen.debug.folder()])
    for context in child, below, forked:
        context.call_async(targets_trees.append_pid_and_wait, sys.argv[1])
    hang_here()
"""


@pytest.fixture
def hanging(tmp_path):
    """A tree of four processes of which each hangs: (program, folders: of the master last)."""
    trace = tmp_path / 'trace'
    code = PREAMBLE + 'sys.argv.append(%r)\n' % str(trace) + HANGING
    with programs.running(code, env=programs.environment(TMPDIR=str(tmp_path)), stderr=subprocess.DEVNULL) as program:
        folders = [pathlib.Path(path) for path in programs.next_line(program)]
        support.wait_for(lambda: trace.exists() and len(trace.read_text().splitlines()) == 3)
        yield program, folders


def dumped(folder):
    return (folder / 'stacks').read_text()


def test_a_signal_dumps_the_stacks_of_the_whole_tree(hanging):
    program, folders = hanging
    assert all(map(is_private, folders))
    os.kill(program.pid, signal.SIGUSR2)
    for folder in folders[:3]:
        support.wait_for(lambda folder=folder: '--- context' in dumped(folder))
        assert 'append_pid_and_wait' in dumped(folder)
        assert '_broker_main' in dumped(folder)
    support.wait_for(lambda: 'waiting for an answer of context' in dumped(folders[3]))
    assert 'hang_here' in dumped(folders[3])
    assert program.poll() is None


def test_each_signal_dumps_once(hanging):
    program, folders = hanging
    for count in 1, 2, 3:
        os.kill(program.pid, signal.SIGUSR2)
        support.wait_for(lambda count=count: dumped(folders[0]).count('--- context') == count)
    assert dumped(folders[3]).count('in hang_here') == 3


def test_one_process_can_be_asked_alone(hanging):
    program, folders = hanging
    pids = support.descendants(program.pid)
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    for folder in folders[:3]:
        support.wait_for(lambda folder=folder: 'append_pid_and_wait' in dumped(folder))
    assert all(map(support.is_running, pids))
    assert dumped(folders[3]) == ''


def test_without_it_nothing_listens_to_the_signal(run):
    done = run("""
import signal
with mitogen.master.Router() as router:
    router.local().call(os.getpid)
    say(signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL)
""")
    assert done.stdout == 'true\n'
