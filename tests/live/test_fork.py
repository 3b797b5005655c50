"""Forked children: copies of this process that share nothing with it that could do harm."""

import atexit
import importlib
import logging
import os
import random
import signal
import ssl
import sys
import threading

import pytest

import mitogen.boot.dialogue
import mitogen.core
import mitogen.master
import support
import targets
import targets_bad
import targets_fork
import targets_imports
from mitogen.core import CallError


@pytest.fixture
def child(router):
    return router.fork()


# ---- A child as any other


def test_it_serves_calls(child):
    assert child.call(os.getppid) == os.getpid()
    assert child.call(targets.echo, [1, 'a']) == [1, 'a']


def test_it_knows_who_it_is(child, router):
    assert child.call(targets_fork.who) == (False, child.context_id, [0])
    assert router.fork(via=child).call(targets_fork.who)[2] == [child.context_id, 0]


def test_it_has_what_the_program_has_in_memory(router):
    targets_fork.happened.append('before the fork')
    try:
        assert router.fork().call(targets_fork.get_happened) == ['before the fork']
    finally:
        targets_fork.happened.clear()


def test_errors_in_calls(child):
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets.fail, 'text')
    assert caught.value.type_name == 'ValueError'
    with pytest.raises(mitogen.core.CallError):
        child.call(targets_bad.exit_call, 3)
    assert child.call(targets.echo, 1) == 1


def test_the_end_of_it_has_a_reason(child):
    pid = child.call(os.getpid)
    call = child.call_async(targets.wait_for_ever)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(mitogen.core.ChannelError, match='signal 9, SIGKILL'):
        call.get(10).unpickle()


def test_forks_of_forks_and_of_others(router, child):
    contexts = [child, router.fork(via=child), router.local(via=child), router.fork(via=router.local())]
    contexts.append(router.fork(via=contexts[1]))
    pids = [context.call(os.getpid) for context in contexts]
    assert len(set(pids)) == 5
    assert [context.call(os.getppid) for context in contexts[1:3]] == [pids[0]] * 2
    assert contexts[4].call(os.getppid) == pids[1]


def test_it_imports_from_the_master_what_it_lacks(child, write):
    write({'x_late.py': 'VALUE = 5\n'})     # in a folder that was not on the path yet when it was forked
    assert child.call(targets.has_of_its_own, 'x_late') is False
    assert child.call(targets_imports.value_of, 'x_late', 'VALUE') == 5


def test_twenty_at_once_from_threads(router):
    contexts, errors = [], []

    def fork():
        try:
            contexts.append(router.fork())
        except Exception as exc:
            errors.append(exc)
    threads = [threading.Thread(target=fork) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert len({context.call(os.getpid) for context in contexts}) == 20
    assert all(context.call(targets.echo, n) == n for n, context in enumerate(contexts))


def test_a_fork_from_a_thread_serves_calls_in_that_thread(router):
    made = mitogen.core.Latch()
    thread = threading.Thread(target=lambda: made.put(router.fork()), name='forker')
    thread.start()
    thread.join()
    child = made.get(10)
    assert len(child.call(targets_fork.thread_names)) == 2
    assert child.call(targets.echo, 1) == 1


def test_beside_other_children_that_start(router):
    contexts = mitogen.core.Latch()
    threads = [threading.Thread(target=lambda method=method: contexts.put(router.connect(method)))
               for method in ['fork', 'local'] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({contexts.get(1).call(os.getpid) for _ in threads}) == 8


# ---- Hooks


def test_on_fork_runs_in_the_child_only_and_first(router):
    child = router.fork(on_fork=lambda: targets_fork.note('fork'), on_start=targets_fork.note_start)
    pid = child.call(os.getpid)
    assert child.call(targets_fork.get_happened) == [('fork', pid), ('start', child.context_id, child.context_id)]
    assert targets_fork.happened == []


HOOKS_THAT_FAIL = pytest.mark.parametrize('hook', [targets_fork.raise_in_hook, targets_fork.exit_in_hook])


@HOOKS_THAT_FAIL
def test_an_on_fork_that_fails_fails_the_start(router, hook):
    with pytest.raises(mitogen.boot.dialogue.ConnectError) as caught:
        router.fork(on_fork=hook)
    assert 'exit status 1' in caught.value.reason
    assert router.fork().call(targets.echo, 1) == 1


@HOOKS_THAT_FAIL
def test_an_on_start_that_fails_ends_the_child_and_the_log_says_why(router, hook, caplog):
    child = router.fork(on_start=hook)
    with pytest.raises(mitogen.core.ChannelError, match='exit status 1'):
        child.call(targets.echo, 1)
    assert 'in ' + hook.__name__ in caplog.text
    assert router.fork().call(targets.echo, 1) == 1


def test_hooks_cannot_be_sent_to_another_context(router, child):
    with pytest.raises(TypeError, match='sent'):
        router.fork(via=child, on_fork=targets_fork.get_happened)


def test_nothing_that_waits_in_the_program_happens_twice(router, tmp_path):
    # Neither the rest of the function that forks, nor its finally, nor what atexit has.
    log = tmp_path / 'log'

    def write(word):
        with open(log, 'a') as fp:
            fp.write('%s %d\n' % (word, os.getpid()))
    atexit.register(write, 'atexit')
    try:
        child = router.fork()
        child.shutdown(wait=True)
    finally:
        write('finally')
        atexit.unregister(write)
    assert log.read_text() == 'finally %d\n' % os.getpid()


# ---- What is put right


def test_random_numbers_differ(router):
    random.seed(5)
    mine = [random.Random(5).random() for _ in range(1)]
    found = [router.fork().call(targets_fork.random_numbers) for _ in range(2)]
    assert found[0] != found[1]
    assert mine[0] not in found[0] + found[1]
    assert random.random() == mine[0]       # and the program's own are not disturbed


def test_random_numbers_differ_on_an_old_python(router, oldest):
    # Since 3.7 Python sees to that itself.
    oldest.call(targets_fork.random_numbers)
    found = [router.fork(via=oldest).call(targets_fork.random_numbers) for _ in range(2)]
    found.append(oldest.call(targets_fork.random_numbers))
    assert len({tuple(numbers) for numbers in found}) == 3


def test_random_bytes_of_ssl_differ(router):
    first, second = router.fork(), router.fork()
    assert len({first.call(targets_fork.ssl_bytes), second.call(targets_fork.ssl_bytes), ssl.RAND_bytes(16)}) == 3


def test_threads_of_the_program_are_not_there(router):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name='of the program')
    thread.start()
    try:
        names = router.fork().call(targets_fork.thread_names)
        assert len(names) == 2
        assert 'of the program' not in names
    finally:
        stop.set()
        thread.join()


def test_it_leads_a_session_of_its_own(child):
    # A Ctrl-C on the terminal is for the program alone.
    assert child.call(targets_fork.session) == child.call(os.getpid)


def ours():
    """What this library's descriptors lead to, here."""
    return {target for number, target in targets_fork.descriptor_targets().items()
            if number in mitogen.core.Side.all_open}


def test_descriptors_of_siblings_are_closed(router):
    siblings = [router.local(), router.fork()]
    with mitogen.master.Router() as second:
        siblings.append(second.local())
        before = ours() - {'anon_inode:[eventpoll]'}
        assert len(before) >= 8
        child = router.fork()
        theirs = set(child.call(targets_fork.descriptor_targets).values())
        assert not before & theirs
        grandchild = router.fork(via=child)
        assert not before & set(grandchild.call(targets_fork.descriptor_targets).values())


def test_contexts_of_the_process_that_forked_are_not_ours(router):
    child = router.local()
    child.call(targets_fork.keep)
    fork = router.fork(via=child)
    for _ in range(3):
        with pytest.raises(CallError, match='broker is shut down'):
            fork.call(targets_fork.call_kept)
    assert child.call(targets_fork.call_kept) != child.call(os.getpid)


def test_a_traceback_in_a_fork_has_lines_of_what_was_loaded_before(write, router):
    child = router.local()
    write({'x_fails.py': 'def fail():\n    raise ValueError(1)  # here\n'})
    fail = importlib.import_module('x_fails').fail
    child.call(targets_imports.import_by_name, 'x_fails')
    for fork in router.fork(via=child), router.fork(via=router.fork(via=child)):
        with pytest.raises(CallError) as caught:
            fork.call(fail)
        assert '# here' in caught.value.remote_traceback
        assert fork.call(os.getpid) != child.call(os.getpid)


def test_a_sibling_sees_its_connection_end(router):
    # Descriptors that the fork kept would hold it open.
    sibling = router.local()
    pid = sibling.call(os.getpid)
    fork = router.fork()
    router.disconnect(sibling)
    support.wait_for(lambda: not support.is_running(pid), 0.9, 'end of the sibling by itself')
    assert fork.call(targets.echo, 1) == 1


def test_a_second_router_of_the_program_is_unharmed():
    with mitogen.master.Router() as first, mitogen.master.Router() as second:
        other = second.local()
        fork = first.fork()
        fork.shutdown(wait=True)
        assert other.call(targets.echo, 1) == 1
        assert first.fork().call(targets.echo, 2) == 2


# ---- Logging


@pytest.fixture
def noise(tmp_path):
    """Threads that log all the time, so that a fork often finds the locks of logging taken."""
    logger, stop = logging.getLogger('noise'), threading.Event()
    handler = logging.FileHandler(tmp_path / 'noise.log')
    logger.addHandler(handler)
    logger.propagate = False

    def work():
        while not stop.is_set():
            logger.warning('noise')
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()
    logger.removeHandler(handler)
    logger.propagate = True
    handler.close()


def test_logging_works_while_other_threads_log(router, noise, caplog):
    for number in range(10):
        child = router.fork()
        assert child.call_async(targets_fork.log, 'number %d' % number).get(20).unpickle()
        assert child.call_async(targets_fork.log_to_noise).get(20).unpickle()
    support.wait_for(lambda: sum('number' in record.getMessage() for record in caplog.records) == 10)


@pytest.mark.parametrize('propagate', [True, False])
@pytest.mark.parametrize('name', ['', 'after', 'after.fork'])
def test_records_go_to_the_master_and_not_to_the_handlers_of_the_program(router, caplog, tmp_path, name, propagate):
    handler, logger = logging.FileHandler(tmp_path / 'program.log'), logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = propagate
    try:
        router.fork(name='logging').call(targets_fork.log, 'once')
        support.wait_for(lambda: [r for r in caplog.records if r.name == 'mitogen.ctx.logging'])
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        handler.close()
    # To the root's it comes as the master's own record, from the master.
    assert (tmp_path / 'program.log').read_text() == '' if name else 'after.fork: once\n'


def test_an_old_python_forks_while_other_threads_log(router, oldest):
    oldest.call(targets_fork.start_logging_threads, 3)
    for _ in range(10):
        fork = router.fork(via=oldest)
        assert fork.call_async(targets_fork.log, 'number').get(20).unpickle() == 'number'
    oldest.call(targets_fork.stop_logging_threads)


def test_what_was_buffered_is_written_once(router, tmp_path):
    out = tmp_path / 'out'
    with open(out, 'w') as fp:
        old, sys.stdout = sys.stdout, fp
        try:
            fp.write('buffered')
            router.fork().shutdown(wait=True)
        finally:
            sys.stdout = old
    assert out.read_text() == 'buffered'
