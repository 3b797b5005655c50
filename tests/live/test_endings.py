"""How contexts end: killed, shut down, disconnected. Whoever waits learns it; nothing stays behind."""

import os
import signal
import sys
import threading

import pytest

import mitogen.core
import mitogen.master
import support
import targets
import targets_bad
import targets_calls
from mitogen.core import ChannelError, Error, Latch

# What the issue gives a child whose master is lost.
GONE_WITHIN = 5


def pid_of(context):
    return context.call(os.getpid)


def wait_until_gone(*pids):
    support.wait_until_gone(pids, GONE_WITHIN)


def reason_of(receiver):
    with pytest.raises(ChannelError) as caught:
        receiver.get(10).unpickle()
    return str(caught.value)


# ---- A child that is lost


def test_killed_while_100_calls_wait(child):
    pid = pid_of(child)
    calls = [child.call_async(targets.wait_for_ever) for _ in range(100)]
    os.kill(pid, signal.SIGKILL)
    reasons = [reason_of(call) for call in calls]
    assert all('signal 9, SIGKILL' in reason for reason in reasons)
    assert all(child.name in reason for reason in reasons)


def test_killed_while_100_threads_wait(child):
    pid, errors = pid_of(child), Latch()

    def wait():
        try:
            child.call(targets.wait_for_ever)
        except ChannelError as exc:
            errors.put(str(exc))
    threads = [threading.Thread(target=wait) for _ in range(100)]
    for thread in threads:
        thread.start()
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(20)
    assert errors.size() == 100


def test_a_call_after_the_end_fails_at_once(child):
    pid = pid_of(child)
    os.kill(pid, signal.SIGTERM)
    reason_of(child.call_async(targets.wait_for_ever))
    for _ in range(3):
        assert 'gone' in reason_of(child.call_async(targets.echo, 1))


def test_those_who_wait_for_a_grandchild_hear_that_the_child_was_killed(router, child):
    grandchild = router.local(via=child)
    pids = pid_of(child), pid_of(grandchild)
    call = grandchild.call_async(targets.wait_for_ever)
    os.kill(pids[0], signal.SIGKILL)
    assert 'signal 9' in reason_of(call)
    wait_until_gone(*pids)


def test_a_grandchild_that_is_killed(router, child):
    grandchild = router.local(via=child)
    pid = pid_of(grandchild)
    call = grandchild.call_async(targets.wait_for_ever)
    os.kill(pid, signal.SIGKILL)
    assert 'signal 9' in reason_of(call)
    assert child.call(targets.children) == []


def test_a_child_that_waits_for_a_grandchild_hears_of_its_end(router, child):
    grandchild, receiver = router.local(via=child), mitogen.core.Receiver(router)
    pid = pid_of(grandchild)
    call = child.call_async(targets_calls.call_in, grandchild, 'offer_receiver', receiver.to_sender())
    receiver.get(10)        # now the call has begun
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(mitogen.core.CallError) as caught:
        call.get(10).unpickle()
    assert caught.value.type_name == 'mitogen.core.ChannelError'
    assert 'signal 9' in caught.value.message
    receiver.close()


def test_siblings_that_ever_talked_hear_of_the_end(router):
    # The one that waits did not ask for an answer itself: it only knows the other as its respondent.
    first, second = router.local(), router.local()
    receiver = mitogen.core.Receiver(router)
    call = first.call_async(targets_calls.wait_for_loss_of, second, receiver.to_sender())
    assert receiver.get(10).unpickle() == 'waits'
    os.kill(pid_of(second), signal.SIGKILL)
    assert 'signal 9' in call.get(10).unpickle()
    receiver.close()


def test_the_signal_disconnect_is_fired_once(router, child):
    seen = Latch()
    mitogen.core.listen(child, 'disconnect', lambda: seen.put(router.broker.on_thread()))
    os.kill(pid_of(child), signal.SIGKILL)
    assert seen.get(10) is True
    router.broker.defer_sync(lambda: None)
    assert seen.empty()


def test_what_it_said_last_is_part_of_the_reason(router, tmp_path):
    # On the real standard error: user code's own is a log by then.
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\n%s "$@"\necho "kernel: out of memory" >&2\nexit 99\n' % targets_bad.sys.executable)
    script.chmod(0o755)
    child = router.local(python_path=str(script))
    reason = reason_of(child.call_async(targets_bad.exit_process, 0))
    assert 'exit status 99' in reason
    assert 'kernel: out of memory' in reason


# ---- A child that is asked to end


def test_shutdown_and_wait(child):
    pid = pid_of(child)
    child.shutdown(wait=True)
    assert 'gone' in reason_of(child.call_async(targets.echo, 1))
    wait_until_gone(pid)


def test_shutdown_ends_grandchildren_too(router, child):
    contexts = [child, router.local(via=child), router.fork(via=child)]
    contexts.append(router.local(via=contexts[1]))
    pids = [pid_of(context) for context in contexts]
    child.shutdown(wait=True)
    wait_until_gone(*pids)
    for context in contexts:
        assert 'gone' in reason_of(context.call_async(targets.echo, 1))


def test_shutdown_of_a_grandchild_leaves_the_child(router, child):
    grandchild = router.local(via=child)
    pid = pid_of(grandchild)
    grandchild.shutdown(wait=True)
    wait_until_gone(pid)
    assert child.call(targets.echo, 1) == 1


def test_shutdown_without_waiting(child):
    pid = pid_of(child)
    assert child.shutdown() is None
    wait_until_gone(pid)


def test_shutdown_of_what_is_gone_returns(child):
    child.shutdown(wait=True)
    child.shutdown(wait=True)
    child.shutdown()


def test_shutdown_while_calls_wait(child):
    calls = [child.call_async(targets.wait_for_ever) for _ in range(10)]
    child.shutdown(wait=True)
    for call in calls:
        reason_of(call)


@pytest.mark.parametrize('fn', [targets_bad.spin, targets_bad.ignore_signals])
def test_shutdown_of_user_code_that_does_not_come_back(child, fn):
    pid = pid_of(child)
    call = child.call_async(fn)
    child.shutdown(wait=True)
    reason_of(call)
    wait_until_gone(pid)


# ---- A connection that is cut


def test_disconnect_ends_the_child(router, child):
    pid = pid_of(child)
    call = child.call_async(targets.wait_for_ever)
    router.disconnect(child)
    reason_of(call)
    wait_until_gone(pid)
    router.disconnect(child)    # again: nothing happens


def test_disconnect_leaves_the_others(router, child):
    other = router.local()
    router.disconnect(other)
    assert child.call(targets.echo, 1) == 1


def test_disconnect_stream_and_disconnect_all(router):
    children = [router.local() for _ in range(3)]
    pids = [pid_of(context) for context in children]
    router.disconnect_stream(router.stream_by_id(children[0].context_id))
    wait_until_gone(pids[0])
    assert children[1].call(targets.echo, 1) == 1
    router.disconnect_all()
    wait_until_gone(*pids)


def test_disconnect_of_a_child_whose_user_code_does_not_come_back(router, child):
    pid = pid_of(child)
    child.call_no_reply(targets_bad.ignore_signals)
    router.disconnect(child)
    wait_until_gone(pid)


def test_disconnect_of_a_child_that_stands_still(router, child):
    # It hears nothing, not even SIGTERM.
    pid = pid_of(child)
    os.kill(pid, signal.SIGSTOP)
    call = child.call_async(targets.echo, 1)
    router.disconnect(child)
    reason_of(call)
    wait_until_gone(pid)


@pytest.mark.parametrize('streams', ['', '<&- >&- 2>&-'], ids=['holds its streams', 'closes them'])
def test_a_program_between_that_does_not_end_goes_with_the_context_that_started_it(router, child, tmp_path, streams):
    # As a `sudo` or `ssh` that hangs, after the interpreter behind it has ended.
    script, note = tmp_path / 'python', tmp_path / 'pid'
    script.write_text('#!/bin/sh\ntrap "" TERM HUP INT\necho $$ > %s\n%s "$@"\nexec sleep 60 %s\n'
                      % (note, sys.executable, streams))
    script.chmod(0o755)
    pids = [pid_of(router.local(via=child, python_path=str(script))), pid_of(child), int(note.read_text())]
    assert len(set(pids)) == 3 and all(map(support.is_running, pids))
    child.shutdown()
    wait_until_gone(*pids)


# ---- The router's own end


def test_shutdown_of_the_router_wakes_whoever_waits(router, child):
    errors = Latch()

    def wait(fn, *args):
        try:
            fn(*args)
        except Error as exc:
            errors.put(exc)
    receiver = mitogen.core.Receiver(router)
    threads = [threading.Thread(target=wait, args=(child.call, targets.wait_for_ever)) for _ in range(5)]
    threads.append(threading.Thread(target=wait, args=(receiver.get,)))
    for thread in threads:
        thread.start()
    router.broker.shutdown()
    router.broker.join()
    for thread in threads:
        thread.join(10)
    assert errors.size() == 6


def test_everything_after_shutdown_is_an_error(router, child):
    router.broker.shutdown()
    router.broker.join()
    router.broker.shutdown()
    router.broker.join()
    for use in (lambda: child.call(targets.echo, 1), lambda: child.call_no_reply(targets.echo, 1), child.shutdown,
                lambda: router.route(mitogen.core.Message()), lambda: router.broker.defer(print),
                lambda: child.call_async(targets.echo, 1)):
        with pytest.raises(Error):
            use()


@pytest.mark.parametrize('method', ['local', 'fork'])
def test_no_child_is_left_of_a_start_after_shutdown(router, method):
    router.broker.shutdown()
    router.broker.join()
    with pytest.raises(Error):
        router.connect(method)
    # the leak check sees the rest


def test_a_start_that_shutdown_overtakes(router, tmp_path):
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\nwhile :; do :; done\n')
    script.chmod(0o755)
    outcome = Latch()

    def start():
        try:
            router.local(python_path=str(script))
        except Error as exc:
            outcome.put(exc)
    thread = threading.Thread(target=start)
    thread.start()
    support.wait_for(lambda: support.descendants(os.getpid()))
    router.broker.shutdown()
    router.broker.join()
    thread.join(10)
    assert 'shutting down' in str(outcome.get(block=False))


def test_the_with_block_of_a_router_ends_it():
    with mitogen.master.Router() as router:
        pid = pid_of(router.local())
    wait_until_gone(pid)


def test_two_routers_in_one_process():
    with mitogen.master.Router() as first, mitogen.master.Router() as second:
        one, two = first.local(), second.local()
        assert one.context_id == two.context_id
        assert one != two
        assert pid_of(one) != pid_of(two)
        first.broker.shutdown()
        first.broker.join()
        assert two.call(targets.echo, 'still here') == 'still here'


def test_two_routers_with_one_broker():
    broker = mitogen.master.Broker()
    routers = [mitogen.master.Router(broker), mitogen.master.Router(broker)]
    pids = [pid_of(router.local()) for router in routers]
    assert len(set(pids)) == 2
    broker.shutdown()
    broker.join()
    wait_until_gone(*pids)


@pytest.mark.parametrize('persist', [True, False])
def test_who_begins_to_wait_when_it_is_lost_already(router, child, persist):
    os.kill(pid_of(child), signal.SIGKILL)
    support.wait_for(lambda: child.lost)
    receiver = mitogen.core.Receiver(router, persist=persist, respondent=child)
    assert 'SIGKILL' in reason_of(receiver)
    receiver.close()


def test_a_start_that_the_end_of_the_broker_overtakes():
    """The thread that starts children ends too, also when its first job comes too late."""
    router = mitogen.master.Router()
    router.fork()
    router.broker.shutdown()
    router.broker.join()
    with pytest.raises(Error, match='shut'):
        router.connect_async('local').get(30).unpickle()
