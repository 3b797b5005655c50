"""mitogen.aio: contexts in asyncio programs."""

import asyncio
import os
import pathlib
import signal
import threading
import time

import pytest

import mitogen.boot.dialogue
import mitogen.core
import mitogen.select
import support
import targets
import targets_calls
from mitogen import aio
from mitogen.core import Receiver

HANGS = ['/bin/sh', '-c', 'exec sleep 77']


def handlers(router):
    return len(router._handlers)


async def until(condition, timeout=20):
    """As support.wait_for(), but let the loop run meanwhile."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(support.POLL_INTERVAL)


def hanging_programs():
    return [pid for pid in support.descendants(os.getpid()) if b'sleep\x0077' in command_line(pid)]


def command_line(pid):
    """Empty once the process has ended."""
    try:
        return pathlib.Path('/proc/%d/cmdline' % pid).read_bytes()
    except OSError:
        return b''


# ---- calls


def test_a_call_returns_its_result(child):
    assert asyncio.run(aio.call(child, targets.echo, {'a': 1})) == {'a': 1}


def test_a_call_raises_what_the_function_did(child):
    with pytest.raises(mitogen.core.CallError, match='no luck'):
        asyncio.run(aio.call(child, targets.fail, 'no luck'))


def test_a_call_that_cannot_be_sent_leaves_nothing(router, child):
    before = handlers(router)
    with pytest.raises(TypeError, match='object cannot be sent'):
        asyncio.run(aio.call(child, targets.echo, object()))
    assert handlers(router) == before


def test_the_loss_of_the_context_is_told(child):
    with pytest.raises(mitogen.core.ChannelError, match='exit status 3'):
        asyncio.run(aio.call(child, os._exit, 3))


def test_three_hundred_forks_started_and_called_without_a_thread_for_each(router):
    async def one(number):
        context = await aio.connect(router.fork)
        most.append(threading.active_count())
        assert await aio.call(context, targets.echo, number) == number
        return await aio.call(context, os.getpid)

    async def main():
        return await asyncio.gather(*(one(number) for number in range(300)))
    before, most = threading.active_count(), []
    assert len(set(asyncio.run(main()))) == 300
    assert max(most) <= before + 1


def test_a_cancelled_call_leaves_no_handler_and_the_late_answer_disturbs_nobody(router, child, tmp_path):
    os.mkfifo(tmp_path / 'gate')

    async def main():
        task = asyncio.create_task(aio.call(child, read, str(tmp_path / 'gate')))
        await until(lambda: handlers(router) > before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handlers(router) == before
        with open(tmp_path / 'gate', 'w') as gate:
            gate.write('late')
        return await aio.call(child, targets.echo, 'next')
    child.call(read, os.devnull)
    before = handlers(router)
    assert asyncio.run(main()) == 'next'


def read(path):
    with open(path) as fp:
        return fp.read()


def test_a_timeout_cancels(router, child):
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.call(child, targets.wait_for_ever), 0.05)
    child.call(targets.echo, 1)
    before = handlers(router)
    asyncio.run(main())
    assert handlers(router) == before


def test_a_loop_that_closes_while_calls_wait_does_not_harm_the_broker(child, tmp_path, caplog):
    os.mkfifo(tmp_path / 'gate')
    loop = asyncio.new_event_loop()
    waiting = aio.call(child, read, str(tmp_path / 'gate'))
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with open(tmp_path / 'gate', 'w') as gate:
        gate.write('late')
    assert child.call(targets.echo, 'alive') == 'alive'     # behind the late answer
    assert not [record for record in caplog.records if record.levelname == 'ERROR']
    task._log_destroy_pending = False       # this end is what the test is about
    del task
    waiting.close()


def test_the_end_of_the_broker_ends_what_is_awaited(router, child):
    async def main():
        task = asyncio.create_task(aio.call(child, targets.wait_for_ever))
        await asyncio.sleep(0)
        router.broker.shutdown()
        with pytest.raises(mitogen.core.ChannelError):
            await task
    asyncio.run(main())


# ---- receivers


def test_iteration_ends_when_the_other_end_closes(router, child):
    async def main():
        child.call_no_reply(targets_calls.send_each, receiver.to_sender(), [1, 2, 3])
        return [msg.unpickle() async for msg in aio.iterate(receiver)]
    receiver = Receiver(router)
    assert asyncio.run(main()) == [1, 2, 3]
    receiver.close()


def test_iteration_over_a_lost_context_raises(router, child):
    async def main():
        child.call_no_reply(os._exit, 4)
        return [msg async for msg in aio.iterate(receiver)]
    receiver = Receiver(router, respondent=child)
    with pytest.raises(mitogen.core.ChannelError, match='exit status 4'):
        asyncio.run(main())
    receiver.close()


def test_several_tasks_share_a_receiver_and_none_loses_a_message(router):
    async def main():
        tasks = [asyncio.create_task(aio.get(receiver)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        for number in range(10):
            receiver.to_sender().send(number)
        return [(await task).unpickle() for task in tasks[1::2]]
    receiver = Receiver(router)
    assert sorted(asyncio.run(main())) == list(range(10))
    receiver.close()


def test_two_loops_share_a_receiver(router):
    def work():
        results.append(asyncio.run(aio.get(receiver)).unpickle())
    receiver, results = Receiver(router), []
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in 1, 2:
        receiver.to_sender().send(number)
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [1, 2]
    receiver.close()


def test_after_a_cancelled_get_the_receiver_is_free_for_others(router):
    async def main():
        task = asyncio.create_task(aio.get(receiver))
        await asyncio.sleep(0)
        with pytest.raises(mitogen.select.Error, match='already'):
            mitogen.select.Select([receiver])
        task.cancel()
        await asyncio.wait([task])
    receiver = Receiver(router)
    asyncio.run(main())
    with mitogen.select.Select([receiver]) as select:
        receiver.to_sender().send('still whole')
        assert select.get(10).unpickle() == 'still whole'
    receiver.close()


def test_a_receiver_in_a_select_is_refused(router):
    receiver = Receiver(router)
    with mitogen.select.Select([receiver]):
        with pytest.raises(mitogen.select.Error, match='select'):
            asyncio.run(aio.get(receiver))
    receiver.close()


def test_a_closed_receiver_raises(router):
    receiver = Receiver(router)
    receiver.close()
    with pytest.raises(mitogen.core.LatchError):
        asyncio.run(aio.get(receiver))


# ---- connections


def test_an_error_is_what_connect_raises(router):
    before = handlers(router)
    with pytest.raises(mitogen.boot.dialogue.ConnectError, match='/nonexistent'):
        asyncio.run(aio.connect(router.local, python_path='/nonexistent'))
    assert handlers(router) == before


def test_connect_takes_the_name_of_a_method_too(router):
    context = asyncio.run(aio.connect(router.connect, 'local', name='mine'))
    assert context.name == 'mine'


@pytest.mark.parametrize('what', ['disconnect', None])
def test_what_is_no_way_to_connect_is_refused(router, what):
    with pytest.raises(TypeError, match='router.ssh'):
        asyncio.run(aio.connect(getattr(router, what) if what else print))


@pytest.mark.parametrize('through', [False, True])
def test_a_cancelled_start_ends_the_program_at_once(router, through):
    async def main():
        task = asyncio.create_task(aio.connect(router.local, python_path=HANGS, connect_timeout=300, via=via))
        await until(hanging_programs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not hanging_programs())
    via = router.local() if through else None
    if via:
        via.call(targets.echo, 1)
    before = handlers(router)
    asyncio.run(main())
    support.wait_for(lambda: handlers(router) == before)


def test_a_child_that_is_there_when_its_task_is_cancelled_ends(router):
    async def main():
        task = asyncio.create_task(aio.connect(router.local))
        await asyncio.sleep(0)
        support.wait_for(lambda: router.get_streams())      # the loop stands still: the result waits for it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    asyncio.run(main())
    support.wait_for(lambda: not router.get_streams())


def test_of_many_cancelled_starts_those_in_the_queue_never_begin(router):
    async def main():
        tasks = [asyncio.create_task(aio.connect(router.local, python_path=HANGS)) for _ in range(40)]
        await until(hanging_programs)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: not hanging_programs())
        return await aio.connect(router.local)
    assert asyncio.run(main()).call(targets.echo, 1) == 1
    assert not hanging_programs()


def test_a_forked_child_does_not_hear_its_signals_in_the_parents_loop(router):
    async def main():
        heard = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.append, 1)
        context = await aio.connect(router.fork)
        await aio.call(context, signal_itself, int(signal.SIGUSR1))
        await aio.call(context, targets.echo, 1)
        return heard
    assert asyncio.run(main()) == []


def signal_itself(number):
    signal.signal(number, lambda *args: None)
    os.kill(os.getpid(), number)


# ---- routers


def test_a_router_for_a_block():
    async def main():
        async with aio.router(max_message_size=1 << 20) as router:
            assert router.max_message_size == 1 << 20
            pid = await aio.call(await aio.connect(router.local), os.getpid)
            assert support.is_running(pid)
        assert not support.is_running(pid)
        with pytest.raises(mitogen.core.Error):
            router.broker.defer(print)
    asyncio.run(main())


def test_other_tasks_run_while_a_router_ends():
    async def main():
        async with aio.router() as router:
            child = await aio.connect(router.local)
            child.call_no_reply(time.sleep, 0.5)        # so that its end takes a while
            ticks = asyncio.create_task(count())
        return ticks.cancel() and len(turns)

    async def count():
        while True:
            turns.append(1)
            await asyncio.sleep(0.001)
    turns = []
    assert asyncio.run(main()) > 1


def test_a_router_that_the_block_has_shut_down():
    async def main():
        async with aio.router() as router:
            router.broker.shutdown()
            router.broker.join()
    asyncio.run(main())


def test_a_receiver_that_is_closed_wakes_who_waits(router):
    receiver = Receiver(router)

    async def main():
        waiting = [asyncio.ensure_future(aio.get(receiver)) for _ in range(2)]
        await asyncio.sleep(0.01)
        receiver.close()
        for task in waiting:
            with pytest.raises(mitogen.core.LatchError):
                await asyncio.wait_for(task, 10)

    asyncio.run(main())
