"""mitogen.aio.Executor: concurrent.futures over contexts."""

import asyncio
import concurrent.futures
import os
import threading

import pytest

import mitogen.core
import support
import targets
from mitogen.aio import Executor
from mitogen.executor import NoContexts


@pytest.fixture
def contexts(router):
    return [router.fork() for _ in range(3)]


@pytest.fixture
def executor(contexts):
    with Executor(contexts) as executor:
        yield executor


def read(path):
    with open(path) as fp:
        return fp.read()


def open_gate(path):
    with open(path, 'w') as fp:
        fp.write('open')


@pytest.fixture
def gate(tmp_path):
    """A pipe that a call waits at until somebody writes to it."""
    os.mkfifo(tmp_path / 'gate')
    return str(tmp_path / 'gate')


def test_map_keeps_the_order_and_uses_all(executor, contexts):
    assert list(executor.map(targets.echo, range(50))) == list(range(50))
    pids = {future.result() for future in [executor.submit(os.getpid) for _ in range(9)]}
    assert pids == {context.call(os.getpid) for context in contexts}


def test_the_one_that_was_idle_longest_has_the_next(executor, contexts):
    found = [executor.submit(os.getpid).result() for _ in range(6)]
    assert found == [context.call(os.getpid) for context in contexts] * 2


def test_one_call_at_a_time_in_each(executor, gate):
    held = executor.submit(read, gate)
    others = [executor.submit(os.getpid) for _ in range(20)]
    assert len({future.result(20) for future in others}) == 2
    open_gate(gate)
    assert held.result(20) == 'open'


def test_an_exception_arrives(executor):
    with pytest.raises(mitogen.core.CallError, match='bad luck'):
        executor.submit(targets.fail, 'bad luck').result()


def test_what_cannot_be_sent_is_the_futures_exception_and_costs_no_context(executor):
    for future in [executor.submit(targets.echo, object()) for _ in range(5)] + [executor.submit(lambda: 1)]:
        assert isinstance(future.exception(20), TypeError)
    assert executor.submit(targets.echo, 1).result() == 1


def test_keyword_arguments(executor):
    assert executor.submit(dict, one=1, two=2).result() == {'one': 1, 'two': 2}


def test_a_waiting_call_can_be_cancelled(contexts, gate):
    with Executor(contexts[:1]) as executor:
        held, waiting = executor.submit(read, gate), executor.submit(targets.echo, 1)
        support.wait_for(held.running)
        assert waiting.cancel()
        assert not held.cancel()
        open_gate(gate)
        assert executor.submit(targets.echo, 2).result() == 2


def test_shutdown_can_cancel_what_waits(contexts, gate):
    executor = Executor(contexts[:1])
    held, waiting = executor.submit(read, gate), executor.submit(targets.echo, 1)
    support.wait_for(held.running)
    executor.shutdown(wait=False, cancel_futures=True)
    support.wait_for(waiting.cancelled)
    open_gate(gate)
    assert held.result(20) == 'open'
    executor.shutdown()


def test_shutdown_waits_for_what_was_submitted(contexts):
    executor = Executor(contexts)
    futures = [executor.submit(targets.echo, number) for number in range(30)]
    executor.shutdown()
    assert [future.result(0) for future in futures] == list(range(30))
    with pytest.raises(RuntimeError, match='shutdown'):
        executor.submit(targets.echo, 1)


def test_a_lost_context_costs_the_call_that_it_had(executor):
    with pytest.raises(mitogen.core.ChannelError, match='exit status 3'):
        executor.submit(os._exit, 3).result()
    assert len({executor.submit(os.getpid).result() for _ in range(6)}) == 2


def test_when_all_are_lost_what_waits_fails_and_nothing_hangs(executor):
    futures = [executor.submit(os._exit, 3) for _ in range(5)]
    kinds = [type(future.exception(20)) for future in futures]
    assert kinds == [mitogen.core.ChannelError] * 3 + [NoContexts] * 2
    with pytest.raises(concurrent.futures.BrokenExecutor):
        executor.submit(os.getpid)


def test_the_end_of_the_router_ends_what_runs(router, contexts):
    executor = Executor(contexts)
    futures = [executor.submit(targets.wait_for_ever) for _ in range(5)]
    support.wait_for(lambda: sum(future.running() for future in futures) == 3)
    router.broker.shutdown()
    assert all(isinstance(future.exception(20), (mitogen.core.Error, NoContexts)) for future in futures)
    executor.shutdown()


def test_an_event_loop_uses_it_like_any_executor(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, targets.echo, number) for number in range(10)))
    assert asyncio.run(main()) == list(range(10))


def test_one_thread_however_many_calls(contexts):
    before = threading.active_count()
    with Executor(contexts) as executor:
        list(executor.map(targets.echo, range(100)))
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_shutdown_from_a_callback_does_not_wait_for_itself(contexts):
    executor = Executor(contexts)
    done = threading.Event()
    executor.submit(targets.echo, 1).add_done_callback(lambda future: (executor.shutdown(), done.set()))
    assert done.wait(20)
    executor.shutdown()


def test_it_needs_contexts():
    with pytest.raises(ValueError, match='at least one'):
        Executor([])
