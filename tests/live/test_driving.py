"""Who waits, drives: threads that wait for an answer do the broker's work. Nothing is lost when they come and go."""

import gc
import os
import random
import signal
import sys
import threading
import time

import pytest

import mitogen.core
import mitogen.master
import mitogen.pressure
import support
import targets
import targets_calls
from mitogen.core import Latch, Message, Receiver


@pytest.fixture
def nervous():
    """Threads are switched after each few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def heard(router):
    """(handle, list of the threads on which messages to it are handled)."""
    threads = []
    handle = router.add_handler(lambda msg: threads.append(threading.current_thread()))
    yield handle, threads
    router.del_handler(handle)


def test_who_calls_again_and_again_does_the_work(child, heard):
    handle, threads = heard
    sender = mitogen.core.Sender(child.router.myself(), handle)
    for _ in range(50):
        child.call(targets_calls.send_each, sender, [1])
    assert len(threads) == 100      # a value and the end, each time
    assert threads.count(threading.main_thread()) > 50


def test_when_nobody_waits_the_brokers_own_thread_does_it(child, heard):
    handle, threads = heard
    sender = mitogen.core.Sender(child.router.myself(), handle)
    child.call(targets.echo, 1)
    child.call_no_reply(targets_calls.send_each, sender, [1])
    support.wait_for(lambda: threads)
    assert threads[0].name == 'mitogen.broker'


def test_who_waits_for_long_serves_another(router, child):
    never = Receiver(router)
    waiting = threading.Thread(target=lambda: pytest.raises(mitogen.core.LatchError, never.get))
    waiting.start()
    assert [child.call(targets.echo, number) for number in range(200)] == list(range(200))
    never.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_what_is_sent_goes_out_at_once_though_nobody_waits(router, child):
    stream, gone = router.stream_by_id(child.context_id), 0
    for _ in range(50):
        child.call(targets.echo, 1)
        child.call_no_reply(targets.echo, 1)
        gone += not stream._unsent and not router.broker._deferred
    assert gone > 40        # else the broker's own thread was at work


def test_calls_that_nobody_waits_for_yet_go_together(router, child, monkeypatch):
    side, writes = router.stream_by_id(child.context_id).transmit_side, []
    write = side.write
    monkeypatch.setattr(side, 'write', lambda buffers: writes.append(len(buffers)) or write(buffers))
    receivers = [child.call_async(targets.echo, number) for number in range(1000)]
    assert [receiver.get().unpickle() for receiver in receivers] == list(range(1000))
    assert len(writes) < 500        # 10 or so; each takes a few buffers per message


def test_what_follows_leaves_too_though_nobody_waits(router, child, tmp_path):
    for number in range(30):
        for name in 'abc':
            child.call_no_reply(os.mkdir, str(tmp_path / (name + str(number))))
        support.wait_for(lambda number=number: (tmp_path / ('c%d' % number)).exists())


@pytest.mark.parametrize('close', [Receiver.close, lambda receiver: receiver._on_receive(Message())])
def test_who_drives_wakes_for_what_comes_from_another_thread(router, child, close):
    receivers, woken = [Receiver(router) for _ in range(20)], []

    def wait():
        for receiver in receivers:
            try:
                woken.append(receiver.get())
            except mitogen.core.LatchError as exc:
                woken.append(exc)
    waiting = threading.Thread(target=wait)
    waiting.start()
    for number, receiver in enumerate(receivers):
        support.wait_for(lambda number=number: len(woken) == number)
        time.sleep(0.03 * (number % 2))         # until the broker's own thread rests, or not
        close(receiver)
    waiting.join(20)
    assert len(woken) == 20


def test_who_leaves_does_not_leave_another_without(router, child):
    """One waits while another drives, who goes away and does not come back."""
    other = router.local()
    slow = other.call_async(time.sleep, 0.3)
    for _ in range(50):
        child.call(targets.echo, 1)
    answered = []
    waiting = threading.Thread(target=lambda: answered.append(slow.get(20)))
    waiting.start()
    child.call(time.sleep, 0.1)
    waiting.join(20)
    assert answered


def test_a_handler_cannot_wait(router, child):
    errors = []

    def handle(msg):
        try:
            Latch(router.broker).get()
        except mitogen.core.Error as exc:
            errors.append(str(exc))
    handle = router.add_handler(handle)
    router.route(Message(handle=handle))
    support.wait_for(lambda: errors)
    assert errors == ['the broker thread cannot wait']


def test_a_wait_that_is_too_long_ends_in_time(router, child):
    receiver = child.call_async(targets.wait_for_ever)
    for timeout in 0, 0.01, 0.1:
        with pytest.raises(mitogen.core.TimeoutError):
            receiver.get(timeout)
    receiver.close()


def in_threads(count, work):
    """Call ``work(number)`` in so many threads at once; return what each has raised, or None."""
    outcomes = [None] * count

    def run(number):
        try:
            work(number)
        except Exception as exc:
            outcomes[number] = exc
    workers = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    return outcomes


@pytest.mark.parametrize('threads', [2, 8])
def test_many_threads_come_and_go(router, nervous, threads):
    """Each answer reaches the one that waits for it, whoever reads it."""
    children = [router.local() for _ in range(2)]
    failures = []

    def work(seed):
        rng = random.Random(seed)
        for number in range(60):
            child, value = rng.choice(children), (seed, number)
            kind = rng.random()
            if kind < 0.7:
                answer = child.call(targets.echo, value)
            elif kind < 0.9:
                receivers = [child.call_async(targets.echo, value) for _ in range(5)]
                answer = [receiver.get(30).unpickle() for receiver in receivers][-1]
            else:
                receiver = child.call_async(targets.echo, value)
                try:
                    receiver.get(rng.random() / 1000)
                except mitogen.core.TimeoutError:
                    pass
                answer = child.call(targets.echo, value)
            if answer != value:
                failures.append((value, answer))
    assert in_threads(threads, work) == [None] * threads
    assert not failures


@pytest.fixture
def past_the_broker(monkeypatch):
    """Messages that threads wrote themselves while another slept at the broker's work."""
    sent, send_now = [], mitogen.pressure.BoundedStream.send_now

    def counted(stream, msg):
        done = send_now(stream, msg)
        if done and not stream.router.broker.on_thread():
            sent.append(msg)
        return done
    monkeypatch.setattr(mitogen.pressure.BoundedStream, 'send_now', counted)
    return sent


def test_what_a_thread_sends_past_the_broker_keeps_its_order(child, past_the_broker):
    def work(thread):
        for number in range(0, 300, 3):
            child.call_no_reply(targets_calls.remember, (thread, number))
            child.call(targets_calls.remember, (thread, number + 1))
            child.call(targets_calls.remember, (thread, number + 2))
    assert in_threads(8, work) == [None] * 8
    remembered = child.call(targets_calls.remembered)
    assert len(past_the_broker) > 100
    for thread in range(8):
        assert [number for other, number in remembered if other == thread] == list(range(300))


def test_large_and_small_messages_do_not_mix(child, past_the_broker):
    """The large ones go in pieces, as the pipe takes them; none that is sent past the broker gets in between."""
    def work(thread):
        for number in range(100 if thread % 2 else 5):
            value = bytes([number]) * (5 if thread % 2 else 3 << 20)
            assert child.call(targets.echo, value) == value
    assert in_threads(6, work) == [None] * 6


@pytest.mark.parametrize('ids', [{'auth_id': 7}, {'src_id': 7}, {'src_id': 7, 'auth_id': 7}])
def test_what_is_in_the_name_of_another_keeps_that(router, child, ids):
    msg = Message(dst_id=child.context_id, handle=1, **ids)
    assert not router.crowd.is_plain(msg)
    assert (msg.src_id, msg.auth_id) == (ids.get('src_id'), ids.get('auth_id'))


def test_what_is_too_large_is_refused_though_a_thread_could_write_it():
    with mitogen.master.Router(max_message_size=1000) as router:
        child = router.local()
        assert not router.crowd.is_plain(Message(dst_id=child.context_id, handle=1, data=bytes(1001)))
        for outcome in in_threads(4, lambda thread: child.call(len, bytes(2000))):
            assert isinstance(outcome, mitogen.core.ChannelError) and 'is too large' in str(outcome)
        assert child.call(len, 'abc') == 3


def test_arguments_of_any_name_can_be_deferred(child):
    """In a child, where parameters of private functions have names of one letter."""
    assert child.call(targets_calls.defer_all_names)


def test_who_fails_to_ask_is_not_taken_for_one_who_waits(router, child):
    with pytest.raises(ValueError):
        child.send_await(Message(handle=1 << 40))
    assert not router.broker.coming
    errors = []

    def handle(msg):
        try:
            child.call(targets.echo, 1)
        except mitogen.core.Error as exc:
            errors.append(str(exc))
    handle = router.add_handler(handle)
    router.route(Message(handle=handle))
    support.wait_for(lambda: errors)
    assert not router.broker.coming


def test_threads_that_send_past_the_broker_learn_of_a_loss(router, past_the_broker):
    doomed, other = router.local(), router.local()
    pid, killed = doomed.call(os.getpid), threading.Event()

    def work(thread):
        while len(past_the_broker) < 200:
            (doomed if thread % 2 else other).call(targets.echo, thread)
        if thread == 1:
            os.kill(pid, signal.SIGKILL)
            killed.set()
        killed.wait(30)
        for number in range(100):
            assert other.call(targets.echo, number) == number
        doomed.call(targets.echo, thread)
    outcomes = in_threads(6, work)
    assert [type(outcome) for outcome in outcomes] == [mitogen.core.ChannelError] * 6
    assert other.call(targets.echo, 1) == 1


@pytest.fixture
def struck():
    """Ctrl-C again and again while `struck.calling` is true; `struck.times`: how often."""
    class Struck:
        calling, times, ended = False, 0, False

    def on_interrupt(*args):
        if Struck.calling:
            Struck.calling = False
            Struck.times += 1
            raise KeyboardInterrupt

    def strike():
        rng = random.Random(11)
        while not Struck.ended:
            time.sleep(rng.random() / 500)
            os.kill(os.getpid(), signal.SIGINT)
    before = signal.signal(signal.SIGINT, on_interrupt)
    thread = threading.Thread(target=strike)
    gc.disable()        # what it calls back is not to be struck: Python ignores that, and says so
    thread.start()
    yield Struck
    Struck.ended = True
    thread.join()
    gc.enable()
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_at_any_moment_costs_one_call_at_most(child, struck):
    """Wherever it strikes in the main thread, which does the broker's work: no message is lost or doubled."""
    child.call(targets.echo, 0)     # reads source files, and says so when Ctrl-C keeps it from closing one
    for number in range(1000):
        try:
            struck.calling = True
            assert child.call(targets.echo, number) == number
        except KeyboardInterrupt:
            pass
        finally:
            struck.calling = False
    assert struck.times > 10
    assert child.call(targets.echo, 'still here') == 'still here'


def test_ctrl_c_at_any_moment_costs_one_message_at_most(child, struck, monkeypatch):
    """The same, of calls that nobody waits for yet: most of them go behind others that are to be sent."""
    monkeypatch.setattr(mitogen.master, 'default_int_handler', signal.getsignal(signal.SIGINT))
    child.call(targets.echo, 0)     # as above
    while struck.times < 50:
        receivers = []
        for number in range(100):
            try:
                struck.calling = True
                receivers.append((number, child.call_async(targets.echo, number)))
            except KeyboardInterrupt:
                pass
            finally:
                struck.calling = False
        assert [receiver.get().unpickle() for _, receiver in receivers] == [number for number, _ in receivers]


def test_a_signal_handler_may_call_the_library_at_any_moment(router, child):
    heard, ended = [], []
    handle = router.add_handler(heard.append)
    before = signal.signal(signal.SIGUSR1, lambda *_: router.route(Message(handle=handle)))

    def strike():
        while not ended:
            time.sleep(0.0005)
            os.kill(os.getpid(), signal.SIGUSR1)
    thread = threading.Thread(target=strike)
    thread.start()
    try:
        assert [child.call(targets.echo, number) for number in range(1000)] == list(range(1000))
    finally:
        ended.append(True)
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert len(heard) > 10


@pytest.mark.parametrize('sends', range(4))
def test_the_end_does_not_wait_for_its_time_limit(router, sends):
    router.broker.shutdown_timeout = 3600
    receiver = Receiver(router)
    for number in range(100):                       # until the broker's own thread rests
        receiver.to_sender().send(number)
        assert receiver.get().unpickle() == number
    for number in range(sends):
        receiver.to_sender().send(number)
    router.broker.shutdown()
    router.broker.join()


def test_the_end_comes_while_threads_drive():
    router = mitogen.master.Router()
    child = router.local()
    ended = []

    def work():
        try:
            while True:
                child.call(targets.echo, 1)
        except mitogen.core.Error as exc:
            ended.append(exc)
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.2)
    router.broker.shutdown()
    router.broker.join()
    for worker in workers:
        worker.join(10)
    assert len(ended) == 3
