"""Masters that end without a word, or live in strange surroundings: their children end with them, and soon."""

import json
import os
import signal
import subprocess

import pytest

import programs
import support

# What the issue gives children whose master is lost.
GONE_WITHIN = 5

START = """
import json, os, signal, sys, threading
import mitogen.master
import targets, targets_bad

def show(*values):
    print(json.dumps(values), flush=True)

def pids(*contexts):
    return [context.call(os.getpid) for context in contexts]

router = mitogen.master.Router()
"""

FAMILY = """
child = router.local()
grandchild = router.local(via=child)
forked = router.fork()
below = router.local(via=forked)
family = child, grandchild, forked, below
show(*pids(*family))
"""

BUSY = """
for context in family:
    context.call_no_reply(targets_bad.%s)
show('busy')
"""

WAIT = 'threading.Event().wait()\n'


@pytest.fixture(params=['idle', 'spin', 'ignore_signals', 'wait_in_call'])
def master(request):
    """(a program with children and grandchildren that are idle or busy, their pids)."""
    busy = {'idle': '', 'wait_in_call': 'show(1)\nchild.call(targets.wait_for_ever)\n'}
    code = START + FAMILY + busy.get(request.param, BUSY % request.param) + WAIT
    with programs.running(code) as program:
        family = programs.next_line(program)
        if request.param != 'idle':
            programs.next_line(program)
        yield program, family


def wait_until_gone(pids):
    support.wait_until_gone(pids, GONE_WITHIN)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_master_that_a_signal_ends(master, number):
    program, family = master
    assert len(set(family)) == 4 and all(map(support.is_running, family))
    program.send_signal(number)
    program.wait(GONE_WITHIN + 1)
    wait_until_gone(family)


@pytest.mark.parametrize('ending', [
    'os._exit(5)', 'sys.exit(5)', '1/0', 'os.abort()', 'pass',
    'threading.Thread(target=child.call, args=(os.getpid,)).start()',
    'router.broker.shutdown()', 'router.broker.shutdown(); router.broker.join()'])
def test_a_master_that_ends_by_itself(ending):
    with programs.running(START + FAMILY + ending, stderr=subprocess.DEVNULL) as program:
        family = programs.next_line(program)
        program.wait(20)
        wait_until_gone(family)


def test_a_child_that_stands_still_does_not_keep_the_master(tmp_path):
    # Stopped by SIGSTOP: it hears nothing, answers nothing, and only SIGKILL ends it.
    code = START + 'child = router.local(); pid = child.call(os.getpid); os.kill(pid, signal.SIGSTOP); show(pid)'
    with programs.running(code) as program:
        pid, = programs.next_line(program)
        program.wait(15)
        wait_until_gone([pid])


def test_a_daemon_thread_of_user_code_does_not_keep_a_child():
    stubborn = 'child.call(targets_bad.start_stubborn_thread)\nshow(1)\n'
    with programs.running(START + FAMILY + stubborn + WAIT) as program:
        family = programs.next_line(program)
        programs.next_line(program)
        program.kill()
        wait_until_gone(family)


# ---- Without standard input, output or error


REPORT = """
with open(%r, 'w') as fp:
    json.dump(pids(*family) + [child.call(targets.echo, 'x' * 100000)[:3]], fp)
router.broker.shutdown()
router.broker.join()
"""


@pytest.mark.parametrize('closed', [[0], [1], [2], [1, 2], [0, 1, 2]], ids=str)
def test_a_master_with_closed_standard_descriptors(tmp_path, closed):
    report = tmp_path / 'report'
    code = START + FAMILY.replace('show(', 'sorted(').replace('*pids', 'pids') + REPORT % str(report)
    done = programs.run('-c', code, preexec_fn=lambda: [os.close(number) for number in closed])
    assert done.returncode == 0, done.stderr
    pids = json.loads(report.read_text())
    assert len(set(pids)) == 5 and pids[4] == 'xxx'
    wait_until_gone(pids[:4])


def test_a_master_whose_output_is_a_full_disk(tmp_path):
    with open('/dev/full', 'w') as full, programs.running(START + FAMILY, stdout=full, stderr=full) as program:
        assert program.wait(30) != 0


def test_a_master_in_a_folder_that_was_removed(tmp_path):
    folder = tmp_path / 'gone'
    folder.mkdir()
    code = 'import os; os.rmdir(%r)\n' % str(folder) + START + FAMILY
    done = programs.run('-c', code, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(set(json.loads(done.stdout))) == 4
