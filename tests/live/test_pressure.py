"""Who sends to one that does not read waits, once a limit is reached: its memory does not grow. Others go on."""

import asyncio
import os
import signal
import threading

import pytest

import mitogen.aio
import mitogen.core
import mitogen.master
import mitogen.pressure
import mitogen.unix
import support
import targets
import targets_hostile
import targets_pressure
from mitogen.core import Blob, Error, Receiver

#: Bytes in the largest message here, and in those that are sent; and how many go before the limit is reached, at most:
#: two of the largest, what the pipe holds, and what comes before the broker's own thread, which other threads keep from
#: running for some milliseconds each, has counted.
LARGEST, SIZE, ENOUGH = 1 << 20, 1 << 19, 60

#: As many would be 100 MB.
NUMBER = 200


@pytest.fixture
def small():
    router = mitogen.master.Router(max_message_size=LARGEST)
    yield router
    router.broker.shutdown()
    router.broker.join()


def test_a_stream_that_begins_to_count_can_be_asked_at_once(small, monkeypatch):
    """Threads of a context that has its first child may ask while the broker thread makes its stream one of these."""
    (reader, other), (another, writer) = os.pipe(), os.pipe()
    stream = mitogen.core.Stream(small, 1, 'parent', reader, writer)
    kinds = []

    class Pipe(mitogen.pressure.Pipe):
        def __init__(self, fd):
            kinds.append(type(stream))
            super().__init__(fd)
    monkeypatch.setattr(mitogen.pressure, 'Pipe', Pipe)
    mitogen.pressure.UpwardStream.adopt(stream)
    assert kinds == [mitogen.core.Stream] and not stream.is_full()
    for side in stream.receive_side, stream.transmit_side:
        side.close()
    for fd in other, another:
        os.close(fd)


class Crowding:
    """A thread that sends messages until all have gone, and counts them."""

    def __init__(self, send, number=NUMBER):
        self.sent, self.error, self.results = 0, None, []
        self._send, self._number = send, number
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            for _ in range(self._number):
                self.results.append(self._send())
                self.sent += 1
        except Error as exc:
            self.error = exc

    def join(self):
        self.thread.join(60)
        assert not self.thread.is_alive()


def wait_for_crowd(router, number=1):
    """Until so many threads wait for room."""
    support.wait_for(lambda: sum(map(len, list(router.crowd.waiting.values()))) >= number, what='somebody who waits')


@pytest.mark.parametrize('method', ['local', 'fork'])
def test_who_calls_one_that_stands_still_waits(small, method):
    child, bystander = getattr(small, method)(), small.fork()
    pid, before = child.call(os.getpid), support.memory_of_this_process()[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        calls = Crowding(lambda: child.call_async(len, Blob(bytes(SIZE))))
        wait_for_crowd(small)
        assert 2 < calls.sent < ENOUGH
        for number in range(50):
            assert bystander.call(targets.echo, number) == number
        assert calls.sent < ENOUGH and support.memory_of_this_process()[1] - before < 2 * ENOUGH * SIZE
    finally:
        os.kill(pid, signal.SIGCONT)
    calls.join()
    assert [call.get().unpickle() for call in calls.results] == [SIZE] * NUMBER
    assert not small.crowd.waiting


def test_several_threads(small):
    child = small.fork()
    pid = child.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    try:
        threads = [Crowding(lambda: child.call_no_reply(len, Blob(bytes(SIZE))), 60) for _ in range(4)]
        wait_for_crowd(small, 4)
        assert sum(thread.sent for thread in threads) < 2 * ENOUGH
    finally:
        os.kill(pid, signal.SIGCONT)
    for thread in threads:
        thread.join()
        assert (thread.sent, thread.error) == (60, None)
    assert child.call(targets.echo, 'done') == 'done'


def test_one_behind_another(small):
    between = small.local()
    child = small.local(via=between)
    pids = between.call(os.getpid), child.call(os.getpid)
    os.kill(pids[0], signal.SIGSTOP)
    try:
        calls = Crowding(lambda: child.call_async(len, Blob(bytes(SIZE))))
        wait_for_crowd(small)
        assert calls.sent < ENOUGH
    finally:
        os.kill(pids[0], signal.SIGCONT)
    calls.join()
    outcomes = []
    for call in calls.results:      # the one between does not wait, as others need it: it refuses
        try:
            outcomes.append(call.get().unpickle())
        except mitogen.core.ChannelError as exc:
            outcomes.append(str(exc))
    refusal = '%s does not read, and too much waits for it already' % child.name
    assert len(outcomes) == NUMBER and {SIZE} <= set(outcomes) <= {SIZE, refusal}


def test_it_is_lost_meanwhile(small):
    child = small.local()
    pid = child.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    calls = Crowding(lambda: child.call_async(len, Blob(bytes(SIZE))))
    wait_for_crowd(small)
    os.kill(pid, signal.SIGKILL)
    calls.join()
    assert calls.error is None
    for call in calls.results:
        with pytest.raises(mitogen.core.ChannelError, match='SIGKILL'):
            call.get(30).unpickle()
    assert not small.crowd.waiting


def test_the_end_of_the_broker_meanwhile(small):
    child = small.local()
    child.call_no_reply(targets_hostile.go_deaf)
    calls = Crowding(lambda: child.call_no_reply(len, Blob(bytes(SIZE))))
    wait_for_crowd(small)
    small.broker.shutdown()
    calls.join()
    assert calls.sent == NUMBER or 'shut down' in str(calls.error)


def test_its_end_can_be_asked_for(small):
    child = small.local()
    pid = child.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    calls = Crowding(lambda: child.call_no_reply(len, Blob(bytes(SIZE))))
    wait_for_crowd(small)
    child.shutdown()            # does not wait for room
    os.kill(pid, signal.SIGCONT)
    calls.join()
    support.wait_for(lambda: small.stream_by_id(child.context_id) is None, what='the end of the child')


def test_tasks_of_asyncio_wait_without_a_thread(small):
    child, bystander = small.fork(), small.fork()
    pid = child.call(os.getpid)

    async def main():
        os.kill(pid, signal.SIGSTOP)
        try:
            tasks = [asyncio.ensure_future(mitogen.aio.call(child, len, Blob(bytes(SIZE)))) for _ in range(NUMBER)]
            while not any(small.crowd.waiting.values()):
                assert await mitogen.aio.call(bystander, targets.echo, 1) == 1
            assert await mitogen.aio.call(bystander, targets.echo, 2) == 2
        finally:
            os.kill(pid, signal.SIGCONT)
        return await asyncio.gather(*tasks)
    assert asyncio.run(main()) == [SIZE] * NUMBER


# ---- Upwards


@pytest.mark.parametrize('method', ['local', 'fork'])
def test_a_child_that_could_have_children_waits_for_us(small, method, tmp_path):
    """The master does not read: it stands still, as far as the child can tell."""
    child, path = getattr(small, method)(), tmp_path / 'sent'
    child.call(targets_pressure.grow)
    receiver, stream = Receiver(small), small.stream_by_id(child.context_id)
    small.broker.defer_sync(lambda: small.broker.stop_receive(stream))
    child.call_no_reply(targets_pressure.send_all, receiver.to_sender(), SIZE, NUMBER, str(path))
    support.wait_for(path.exists, what='a child that waits')
    assert int(path.read_text().split()[-1]) < ENOUGH
    small.broker.start_receive(stream)
    assert [len(msg.unpickle()) for msg in receiver] == [SIZE] * NUMBER


def test_a_program_that_is_attached_waits_for_us(small):
    listener = mitogen.unix.Listener(small)
    router, context = mitogen.unix.connect(listener.path)
    receiver = Receiver(small)
    stream = small.stream_by_id(router.context_id)
    small.broker.defer_sync(lambda: small.broker.stop_receive(stream))
    sender = mitogen.core.Sender(context, receiver.handle)
    messages = Crowding(lambda: sender.send(Blob(bytes(SIZE))))
    wait_for_crowd(router)
    assert messages.sent < ENOUGH
    small.broker.start_receive(stream)
    messages.join()
    assert [len(receiver.get().unpickle()) for _ in range(NUMBER)] == [SIZE] * NUMBER
    router.broker.shutdown()
    router.broker.join()
