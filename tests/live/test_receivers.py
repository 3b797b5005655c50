"""Receivers, senders, channels and latches between this process and its children."""

import contextlib
import os
import signal
import sys
import threading
import traceback

import pytest

import mitogen.core
import support
import targets
import targets_calls
from mitogen.core import Broker, Channel, ChannelError, Latch, LatchError, Receiver, TimeoutError


@pytest.fixture
def receiver(router):
    receiver = Receiver(router)
    yield receiver
    receiver.close()


# ---- Values that a child sends when it likes


def test_iteration_yields_what_a_child_sends_and_ends_when_it_closes(child, receiver):
    child.call_no_reply(targets_calls.send_each, receiver.to_sender(), [1, 'two', [3]])
    assert [msg.unpickle() for msg in receiver] == [1, 'two', [3]]


def test_a_message_knows_who_sent_it(child, receiver):
    child.call(targets_calls.send_each, receiver.to_sender(), ['x'])
    assert receiver.get(10).src_id == child.context_id


def test_two_children_send_to_one_receiver(router, receiver):
    children = [router.local(), router.local()]
    for child in children:
        child.call_no_reply(targets_calls.send_each, receiver.to_sender(), [child.context_id] * 3)
    messages = [receiver.get(10, throw_dead=False) for _ in range(8)]
    assert sorted(msg.unpickle() for msg in messages if not msg.is_dead) == sorted(
        [child.context_id for child in children] * 3)


def test_iteration_over_what_a_lost_child_should_have_sent_raises(router, child):
    # With a respondent the loss of that context is news for the receiver, and no quiet end.
    receiver = Receiver(router, respondent=child)
    child.shutdown(wait=True)
    with pytest.raises(ChannelError):
        list(receiver)
    receiver.close()


def test_conversation_with_a_running_call(child, receiver):
    call = child.call_async(targets_calls.offer_receiver, receiver.to_sender())
    receiver.get(10).unpickle().send('an answer')
    assert call.get(10).unpickle() == 'an answer'


def test_siblings_talk_through_senders(router, receiver):
    first, second = router.local(), router.local()
    call = first.call_async(targets_calls.offer_receiver, receiver.to_sender())
    sender = receiver.get(10).unpickle()
    second.call(targets_calls.send_each, sender, ['from the other'])
    assert call.get(10).unpickle() == 'from the other'


def test_unidirectional_forbids_siblings_to_talk(router, receiver):
    router.unidirectional = True
    first, second = router.local(), router.local()
    call = first.call_async(targets_calls.offer_receiver, receiver.to_sender())
    sender = receiver.get(10).unpickle()
    second.call(targets_calls.send_each, sender, ['from the other'])
    sender.send('from above')
    assert call.get(10).unpickle() == 'from above'


def test_a_channel_is_both_ends(router, child, receiver):
    call = child.call_async(targets_calls.offer_receiver, receiver.to_sender())
    other_end = receiver.get(10).unpickle()
    channel = Channel(router, other_end.context, other_end.dst_handle)
    channel.send('through the channel')
    assert call.get(10).unpickle() == 'through the channel'
    channel.close()


def test_what_is_sent_to_a_closed_receiver_is_dropped(child, receiver):
    receiver.close()
    child.call(targets_calls.send_each, receiver.to_sender(), [1, 2])
    assert receiver.empty()
    with pytest.raises(LatchError):
        receiver.get(block=False)


def test_notify_is_called_after_each_arrival(child, receiver):
    sizes = []
    receiver.notify = lambda who: sizes.append(who.size())
    child.call(targets_calls.send_each, receiver.to_sender(), [1, 2])
    support.wait_for(lambda: len(sizes) == 3)
    assert sizes == [1, 2, 3]


# ---- Waits that end without a value


def test_get_gives_up_in_time(receiver):
    with pytest.raises(TimeoutError):
        receiver.get(timeout=0.05)
    with pytest.raises(TimeoutError):
        receiver.get(block=False)
    with pytest.raises(TimeoutError):
        receiver.get(timeout=0)


def test_a_reply_that_is_late_can_still_be_taken(child, receiver):
    call = child.call_async(targets_calls.offer_receiver, receiver.to_sender())
    with pytest.raises(TimeoutError):
        call.get(timeout=0.05)
    receiver.get(10).unpickle().send('late')
    assert call.get(10).unpickle() == 'late'


def test_send_await_gives_up_and_leaves_nothing_behind(router, child):
    child.call_no_reply(targets.wait_for_ever)
    with handles_are_given_back(router):
        with pytest.raises(TimeoutError):
            child.send_await(mitogen.core.Message.pickled(None, handle=mitogen.core.CALL_FUNCTION), deadline=0.05)


def test_close_wakes_every_thread_that_waits(receiver):
    woken = Latch()

    def wait():
        try:
            receiver.get()
        except LatchError as exc:
            woken.put(exc)
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    receiver.close()
    for thread in threads:
        thread.join(10)
    assert woken.size() == 3


def test_a_latch_is_first_in_first_out_and_refuses_when_closed():
    latch = Latch()
    for number in range(3):
        latch.put(number)
    latch.close()
    assert [latch.get() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LatchError):
        latch.get()
    with pytest.raises(LatchError):
        latch.put(4)


def test_a_latch_gives_up_in_time():
    latch = Latch()
    for wait in ({'timeout': 0.02}, {'timeout': 0}, {'block': False}):
        with pytest.raises(TimeoutError):
            latch.get(**wait)


# ---- Ctrl-C


class handles_are_given_back:
    """In its block: all reply handles that are made are given back at its end."""

    def __init__(self, router):
        self._router = router

    def _next_handle(self):
        handle = self._router.add_handler(lambda msg: None)
        self._router.del_handler(handle)
        return handle

    def __enter__(self):
        self._first = self._next_handle()

    def __exit__(self, *error):
        used = range(self._first + 1, self._next_handle())
        assert len(used) > 0
        for handle in used:
            with pytest.raises(KeyError):
                self._router.del_handler(handle)


@contextlib.contextmanager
def interrupted(condition=lambda: True):
    """Ctrl-C for this process as soon as its main thread waits, and that is true."""
    def waits():
        stack = traceback.walk_stack(sys._current_frames()[threading.main_thread().ident])
        return any(frame.f_code in (Latch.get.__code__, Broker.wait_for.__code__) for frame, _ in stack) and condition()

    def wait():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        support.wait_for(waits)
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=wait)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    thread.join()


def test_ctrl_c_ends_a_waiting_call_and_the_context_lives_on(router, child, receiver):
    with handles_are_given_back(router), interrupted(lambda: not receiver.empty()):
        child.call(targets_calls.offer_receiver, receiver.to_sender())
    receiver.get().unpickle().send('now it may end')
    assert child.call(targets.echo, 'still here') == 'still here'


@pytest.mark.parametrize('timeout', [None, 30])
def test_ctrl_c_ends_a_wait_for_a_receiver(receiver, timeout):
    with interrupted():
        receiver.get(timeout)


def test_ctrl_c_that_comes_just_before_the_wait(receiver):
    """Python has heard of it then, but nothing wakes the thread that sleeps. So it is when another thread is struck."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with interrupted():
            receiver.get()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def test_ctrl_c_ends_a_wait_for_a_latch():
    with interrupted():
        Latch().get()
