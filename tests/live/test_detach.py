"""mitogen.detach: contexts that live on without those above them."""

import contextlib
import json
import os
import signal
import time

import pytest

import mitogen.core
import mitogen.unix
import programs
import support
import targets_detach

MASTER = """
import json, os, sys
import mitogen.core, mitogen.master
import targets_detach
router = mitogen.master.Router()
child = router.%s()
pids = child.call(targets_detach.keep_child)
try:
    child.call(targets_detach.detach_and_listen, %r)
except mitogen.core.ChannelError as exc:
    print(json.dumps([pids, str(exc)]), flush=True)
"""

WAIT = 'sys.stdin.read()\n'


def attached(path):
    """`mitogen.unix.connect(path)`, as soon as somebody listens there."""
    def attempt():
        with contextlib.suppress(mitogen.unix.Error):
            return mitogen.unix.connect(path)
    return support.wait_for(attempt)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'socket')


@pytest.fixture(params=['local', 'fork'])
def detached(request, path):
    """(pid of a context whose master has ended, pid of its child, router of a client, its context)."""
    done = programs.run('-c', MASTER % (request.param, path))
    assert done.returncode == 0 and not done.stderr, done.stderr
    (pid, child_pid), reason = json.loads(done.stdout)
    assert 'has detached itself' in reason
    try:
        client, context = attached(path)
        yield pid, child_pid, client, context
        client.broker.shutdown()
        client.broker.join()
    finally:
        for left in pid, child_pid:
            if support.is_running(left):
                os.kill(left, signal.SIGKILL)


def test_it_lives_on_with_its_child(detached):
    pid, child_pid, client, context = detached
    assert context.call(os.getpid) == pid
    assert context.call(targets_detach.call_kept) == child_pid
    ids, results = context.call(targets_detach.start_more)
    assert len(set(ids)) == 4 and results == ['b'] * 4
    assert client.context_by_id(ids[0]).call(os.getppid) == pid
    context.call_no_reply(targets_detach.leave)
    support.wait_for(lambda: not support.is_running(pid) and not support.is_running(child_pid))


def test_a_new_child_of_another_python(detached):
    pid, child_pid, client, context = detached
    assert context.call(targets_detach.start_on, [*support.find_pythons().values()][0]) == ['b', 'b']


def test_what_it_lacks_cannot_be_imported(detached):
    context = detached[3]
    start = time.monotonic()
    with pytest.raises(mitogen.core.CallError, match='has detached itself from those who have it'):
        context.call(targets_detach.import_module, 'nobody_has_brought_this')
    assert time.monotonic() - start < 10


def test_nobody_waits_for_those_above(detached):
    context = detached[3]
    with pytest.raises(mitogen.core.CallError, match='unknown or gone|detached'):
        context.call(targets_detach.wait_above, mitogen.core.CALL_SERVICE)


def test_the_master_lives_on_too(path):
    with programs.running(MASTER % ('local', path) + WAIT, stdin=-1) as program:
        (pid, child_pid), _ = programs.next_line(program)
        try:
            client, context = attached(path)
            assert context.call(os.getpid) == pid
            assert support.process_status(pid)[0] == program.pid
            context.call_no_reply(targets_detach.leave)
            # Reaped by the master, though it does not wait for it.
            support.wait_for(lambda: support.process_status(pid) is None)
            client.broker.shutdown()
            client.broker.join()
        finally:
            if support.is_running(pid):
                os.kill(pid, signal.SIGKILL)
        program.stdin.close()
        assert program.wait(20) == 0


def test_the_master_ends_at_once(path):
    """Though a detached child does not: nobody waits for it."""
    code = 'import time\n' + MASTER % ('local', path) + (
        'start = time.monotonic()\nrouter.broker.shutdown()\nrouter.broker.join()\n'
        'print(json.dumps(time.monotonic() - start), flush=True)\n')
    with programs.running(code) as program:
        (pid, _), _ = programs.next_line(program)
        try:
            assert programs.next_line(program) < 2
            assert program.wait(20) == 0
            assert support.is_running(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_call_from_below_to_those_above(router, path, child):
    grandchild = router.local(via=child)
    grandchild.call(os.getpid)
    pid = child.call(os.getpid)
    asked = mitogen.core.Latch()
    waiting = grandchild.call_async(targets_detach.wait_above, router.add_handler(asked.put))
    asked.get(10)
    try:
        with pytest.raises(mitogen.core.ChannelError, match='has detached itself'):
            child.call(targets_detach.detach_and_listen, path)
        client, _ = attached(path)
        with client:
            # Who it was that waited is no concern of the old master any more, but it was told why.
            with pytest.raises(mitogen.core.ChannelError, match='has detached itself'):
                waiting.get(10).unpickle()
            grandchild = client.context_by_id(grandchild.context_id)
            assert grandchild.call(os.path.basename, 'a/b') == 'b'
    finally:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)      # when the broker has not seen it


def test_without_a_parent(child):
    with pytest.raises(mitogen.core.CallError, match='has no attribute'):
        child.call(ask_nonsense)


@mitogen.core.takes_econtext
def ask_nonsense(econtext):
    return econtext.nonsense
