"""Calls into children: what can be called, with what, and what comes back in which order."""

import collections
import os
import threading

import pytest

import mitogen.core
import mitogen.routes
import support
import targets
import targets_calls

BIG = 64 << 20


# ---- What can be called


def test_a_result_comes_back(child):
    assert child.call(targets.echo, 42) == 42


def test_it_runs_in_another_process(child):
    assert child.call(os.getppid) == os.getpid()


def test_it_runs_in_the_main_thread_there(child):
    assert child.call(targets_calls.in_main_thread)


def test_arguments_arrive_in_place_and_by_name(child):
    assert child.call(targets_calls.describe, 1, 'b', x=3, y=[4]) == "((1, 'b'), [('x', 3), ('y', [4])])"


def test_arguments_that_are_left_out_have_their_defaults_there(child):
    assert child.call(targets_calls.defaults, 1) == [1, 'two', [], 'three']
    assert child.call(targets_calls.defaults, 1, 2, 3, third=4) == [1, 2, [3], 4]


def test_wrong_arguments_are_an_error_there(child):
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets.echo)
    assert caught.value.type_name == 'TypeError'
    assert 'value' in caught.value.message


def test_class_and_static_methods(child):
    assert child.call(targets_calls.Greeter.greet, 'Ann') == 'Hello Ann'
    assert child.call(targets_calls.GermanGreeter.greet, 'Ann') == 'Hallo Ann'
    assert child.call(targets_calls.Greeter.shout, 'ann') == 'ANN'
    assert child.call(targets_calls.Greeter.Inner.where) == 'inside'


def test_a_class_is_called_like_a_function(child):
    assert child.call(collections.OrderedDict, [('b', 1), ('a', 2)]) == collections.OrderedDict(b=1, a=2)


def test_a_decorated_function_runs_with_its_decorator(child):
    assert child.call(targets_calls.decorated, 'a') == ['A', 'A']


def test_a_function_can_ask_for_the_router(child):
    assert child.call(targets_calls.with_router, 'x') == ('x', child.context_id, [0])


def test_a_function_can_ask_for_its_context(child):
    assert child.call(targets_calls.with_econtext) == [child.context_id, child.context_id, 0, True, True]


def test_an_exception_comes_back_with_its_text_and_traceback(child):
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets.fail, 'too bad')
    error = caught.value
    assert (error.type_name, error.message) == ('ValueError', 'too bad')
    assert 'raise ValueError(text)' in error.remote_traceback
    assert 'targets.py' in error.remote_traceback


# ---- How


def test_results_of_async_calls_are_taken_in_any_order(child):
    receivers = [child.call_async(targets.echo, number) for number in range(50)]
    taken = [receiver.get().unpickle() for receiver in reversed(receivers)]
    assert taken == list(reversed(range(50)))


def test_calls_run_in_the_order_in_which_they_were_made(child):
    for number in range(300):
        (child.call_async, child.call_no_reply)[number % 2](targets_calls.keep, number)
    assert child.call(targets_calls.get_kept) == list(range(300))


def test_a_failed_call_without_reply_is_logged(child, caplog):
    child.call_no_reply(targets.fail, 'nobody waits')
    child.call(targets.echo, 'so that it has happened')
    records = support.wait_for(lambda: [r for r in caplog.records if r.name == 'mitogen.ctx.' + child.name])
    assert len(records) == 1
    assert records[0].levelname == 'WARNING'
    assert 'ValueError: nobody waits' in records[0].getMessage()


def test_eight_threads_call_at_once(child):
    found = collections.defaultdict(list)

    def work(number):
        for round_ in range(40):
            found[number].append(child.call(targets.echo, (number, round_)))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert dict(found) == {number: [(number, round_) for round_ in range(40)] for number in range(8)}


def test_threads_reach_different_children(router):
    children = [router.local(), router.fork(), router.local()]
    receivers = [(child, child.call_async(os.getpid)) for child in children * 10]
    pids = {(child.context_id, receiver.get().unpickle()) for child, receiver in receivers}
    assert len(pids) == 3
    assert os.getpid() not in {pid for _, pid in pids}


def test_64_megabytes_travel_both_ways(child):
    value = os.urandom(1 << 20) * (BIG >> 20)
    assert child.call(targets.echo, value) == value


def test_a_big_value_does_not_hold_up_what_is_sent_behind_it(child):
    big = child.call_async(targets.echo, bytes(BIG // 4))
    small = child.call_async(targets.echo, 1)
    assert small.get(60).unpickle() == 1
    assert len(big.get(60).unpickle()) == BIG // 4


# ---- Contexts below contexts


def test_a_function_starts_children_of_its_own(child):
    pid = child.call(os.getpid)
    assert child.call(targets_calls.start_children, 3) == [pid] * 3
    assert len(child.call(targets.children)) == 3


def test_a_line_of_descendants(child):
    pids = child.call(targets_calls.descend, 3)
    assert len(set(pids)) == 4
    assert set(pids) <= support.descendants(os.getpid())


def test_a_child_returns_the_context_that_it_started(child):
    grandchild = child.call(targets_calls.start_child)
    assert grandchild.call(targets_calls.parent_pid) == child.call(os.getpid)


def test_a_child_calls_a_context_below_it_that_it_was_given(router, child):
    grandchild = router.local(via=child)
    assert child.call(targets_calls.call_in, grandchild, 'parent_pid') == child.call(os.getpid)


def test_a_context_that_is_given_itself_knows_it(router, child):
    assert child.call(targets_calls.is_myself, child)
    assert not child.call(targets_calls.is_myself, router.myself())


def test_a_child_must_not_call_its_sibling(router, child):
    sibling = router.local()
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets_calls.call_in, sibling, 'pid')
    assert caught.value.type_name == 'mitogen.core.ChannelError'
    assert 'refused by policy' in caught.value.message


def test_a_child_must_not_call_its_parent(router, child):
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets_calls.call_in, router.myself(), 'pid')
    assert caught.value.type_name == 'mitogen.core.ChannelError'


def test_errors_come_through_two_contexts_as_they_were_in_the_first(router, child):
    grandchild = router.local(via=child)
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets_calls.call_in, grandchild, 'decorated', 5)
    assert caught.value.type_name == 'AttributeError'
    assert "return text.upper()" in caught.value.remote_traceback


def test_more_calls_than_a_message_has_numbers_for(router, child):
    """Four billion, of which the last few are made here: it begins again with those that nobody waits at."""
    call = child.call_async(targets.echo, 'first')
    waiting = mitogen.core.Receiver(router)
    router._handles = mitogen.routes.handles(mitogen.routes.END_OF_HANDLES - 3, router._handlers)
    assert [child.call(targets.echo, number) for number in range(40)] == list(range(40))
    assert call.get().unpickle() == 'first'
    waiting.to_sender().send('still there')
    assert waiting.get().unpickle() == 'still there'
