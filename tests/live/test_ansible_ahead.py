"""mitogen.ansible.ahead: results that are told before they are known, and what becomes of those that are not so."""

import os
import subprocess
import sys

import pytest

import mitogen.core
from mitogen.ansible import ahead, commands, failures, target
from mitogen.call import CallChain


@pytest.fixture
def child(router):
    return router.local()


@pytest.fixture
def steps():
    steps = ahead.Ahead(ahead.Pending())
    yield steps
    assert not any(steps._pending._counts.values())


def never():
    raise AssertionError('it has worked at once')


def append(steps, context, path, text):
    """What goes behind the steps, with a result of its own."""
    return steps.behind(lambda: steps.chain(context).call(target.write, str(path), text, False))


def test_what_is_behind_steps_that_work(child, steps, tmp_path):
    steps.add(child, never, target.write, str(tmp_path / 'a'), b'one ', True)
    steps.add(child, never, target.do_natively, ['chmod', 'x', [str(tmp_path / 'a')]])
    append(steps, child, tmp_path / 'a', b'two')
    assert (tmp_path / 'a').read_bytes() == b'one two' and os.access(tmp_path / 'a', os.X_OK)


def test_a_step_that_fails_is_done_again_with_those_behind_it(child, steps, tmp_path):
    done = []
    steps.add(child, never, target.write, str(tmp_path / 'a'), b'one ', True)
    steps.add(child, lambda: done.append(1), target.do_natively, ['chmod', 'x', [str(tmp_path / 'missing')]])
    steps.add(child, lambda: done.append(2), target.write, str(tmp_path / 'a'), b'wrong', True)
    append(steps, child, tmp_path / 'a', b'two')
    assert done == [1, 2] and (tmp_path / 'a').read_bytes() == b'one two'


def test_what_is_behind_one_that_fails_again_does_not_run(child, steps, tmp_path):
    def again():
        raise failures.Failure('mode', 'no')
    steps.add(child, again, target.do_natively, ['chmod', 'x', [str(tmp_path / 'missing')]])
    with pytest.raises(failures.Failure):
        append(steps, child, tmp_path / 'a', b'wrong')
    assert not (tmp_path / 'a').exists()
    append(steps, child, tmp_path / 'a', b'right')
    assert (tmp_path / 'a').read_bytes() == b'right'


def test_an_error_of_its_own_is_no_reason_to_try_again(child, steps, tmp_path):
    steps.add(child, never, target.write, str(tmp_path / 'a'), b'one', True)
    with pytest.raises(mitogen.core.CallError):
        append(steps, child, tmp_path / 'missing' / 'b', b'two')


def test_steps_are_waited_for_elsewhere(router, child, steps, tmp_path):
    """By the task itself, and by others that go on from there."""
    other = router.local(via=child)
    pause = 'import time; time.sleep(0.3); open(%r, "w")' % str(tmp_path / 'a')
    steps.add(child, never, subprocess_of, pause)
    assert CallChain(other).call(os.path.exists, str(tmp_path / 'a')) is False
    ahead.Ahead(steps._pending).chain(other)
    assert (tmp_path / 'a').exists()
    steps.add(child, never, target.do_natively, ['remove', str(tmp_path / 'a'), False])
    assert steps.chain(other).call(os.path.exists, str(tmp_path / 'a')) is False


def subprocess_of(code):
    subprocess.check_call([sys.executable, '-c', code])


def test_what_a_worker_is_told_of_steps_that_fail():
    folder = failures.failure_of_step('folder', '( umask 77 )', 1, b'', b'denied')
    assert folder.kind == 'folder' and str(folder).endswith('Failed command was: ( umask 77 ), exited with result 1')
    full = failures.failure_of_step('folder', '( umask 77 )', 1, b'', b'mkdir: No space left on device')
    assert str(full) == 'mkdir: No space left on device'
    mode = failures.failure_of_step('chmod', 'chmod u+x /x', 1, b'', b'denied')
    assert mode.kind == 'mode' and str(mode) == 'Failed to set execute bit on remote files (rc: 1, err: denied)'


def test_homes_are_known(child):
    found = child.call(target.describe)
    assert commands.foretold(['home', '~'], found['homes'], []) == os.path.expanduser('~') + '\n'
