"""mitogen.select: whichever comes first, of receivers, latches and other selects."""

import threading

import pytest

import mitogen.core
import mitogen.select
import targets
from mitogen.core import Latch, LatchError
from mitogen.select import Select


@pytest.fixture
def latches():
    return [Latch(), Latch(), Latch()]


def test_the_first_to_arrive_comes_first(latches):
    select = Select(latches)
    latches[2].put('c')
    latches[0].put('a')
    events = [select.get_event(), select.get_event()]
    assert [(event.source, event.data) for event in events] == [(latches[2], 'c'), (latches[0], 'a')]


def test_oneshot_lets_go_of_what_has_given(latches):
    select = Select(latches[:1])
    latches[0].put(1)
    assert select.get() == 1
    assert not select
    with pytest.raises(mitogen.select.Error, match='nothing'):
        select.get()


def test_without_oneshot_sources_stay(latches):
    select = Select(latches, oneshot=False)
    for value in 1, 2, 3:
        latches[1].put(value)
    assert [select.get() for _ in range(3)] == [1, 2, 3]
    assert select


def test_what_was_there_before_counts(latches):
    latches[0].put('early')
    assert Select(latches).get(timeout=1) == 'early'


def test_nothing_in_time(latches):
    with pytest.raises(mitogen.core.TimeoutError):
        Select(latches).get(timeout=0.01)
    with pytest.raises(mitogen.core.TimeoutError):
        Select([Latch()]).get(block=False)


def test_what_another_has_taken_is_not_given_twice(latches):
    select = Select(latches, oneshot=False)
    latches[0].put('taken')
    assert latches[0].get() == 'taken'
    latches[1].put('left')
    assert select.get(timeout=1) == 'left'


def test_nested(latches):
    inner = Select(latches[:2], oneshot=False)
    outer = Select([inner, latches[2]], oneshot=False)
    latches[1].put('deep')
    event = outer.get_event(timeout=1)
    assert (event.source, event.data) == (latches[1], 'deep')


def test_size_and_empty(latches):
    select = Select(latches)
    assert select.empty()
    latches[0].put(1)
    latches[1].put(2)
    assert not select.empty()
    assert select.size() == 2


def test_loops_and_double_use_are_refused(latches):
    select = Select(latches)
    with pytest.raises(mitogen.select.Error, match='itself'):
        select.add(select)
    outer = Select([select])
    with pytest.raises(mitogen.select.Error, match='itself'):
        select.add(outer)
    with pytest.raises(mitogen.select.Error, match='already'):
        Select(latches)
    with pytest.raises(mitogen.select.Error, match='not in'):
        outer.remove(latches[0])


def test_close_frees_the_sources_and_wakes_who_waits(latches):
    select = Select(latches)
    woken = Latch()

    def wait():
        try:
            select.get()
        except (mitogen.core.LatchError, mitogen.select.Error):     # it may come too late to wait
            woken.put()
    thread = threading.Thread(target=wait)
    thread.start()
    select.close()
    woken.get(10)
    thread.join(10)
    Select(latches).close()


def test_answers_of_contexts(router):
    contexts = [router.fork() for _ in range(5)]
    receivers = {context.call_async(targets.echo, number): number for number, context in enumerate(contexts)}
    with Select(receivers) as select:
        answers = {msg.receiver: msg.unpickle() for msg in select}
    assert answers == receivers
    assert sorted(Select.all(context.call_async(targets.echo, 7) for context in contexts)) == [7] * 5


def test_a_lost_context_is_a_dead_message_among_the_others(router):
    contexts = [router.fork(), router.fork()]
    with Select([context.call_async(targets.wait_for_ever) for context in contexts]) as select:
        router.disconnect(contexts[0])
        msg = select.get(timeout=10)
        assert msg.is_dead
        router.disconnect(contexts[1])


def test_a_source_that_is_closed_leaves(latches):
    first, second, third = latches
    select = Select(latches, oneshot=False)
    second.put('b')
    for latch in first, second:
        latch.close()
    assert select.get(1) == 'b'
    third.put('c')
    assert select.get(1) == 'c'
    threading.Timer(0.05, third.close).start()
    with pytest.raises(LatchError, match='all that this select waits for'):
        select.get(10)
    assert not select and list(select) == []


def test_a_source_that_was_closed_before(latches):
    first, second, _ = latches
    first.close()
    second.put('b')
    assert list(Select([first, second])) == ['b']


def test_a_receiver_that_is_closed_elsewhere(router):
    receiver = mitogen.core.Receiver(router)
    threading.Timer(0.05, receiver.close).start()
    with pytest.raises(LatchError):
        Select([receiver]).get(10)
