"""mitogen.fanout: one call in many contexts; what a tree costs its master."""

import os
import threading

import pytest

import mitogen.core
import mitogen.fanout
import support
import targets
import targets_trees
from meter import Meter
from mitogen.core import CallError, ChannelError


def plant(router, parents, children):
    first = [router.local() for _ in range(parents)]
    starting = [parent.call_async(targets_trees.start_forks, children) for parent in first]
    return first, [child for receiver in starting for child in receiver.get(60).unpickle()]


@pytest.fixture
def tree(router):
    """(two contexts, the three children of each)."""
    return plant(router, 2, 3)


def one_by_one(contexts, fn, *args):
    return [receiver.get(60).unpickle() for receiver in [context.call_async(fn, *args) for context in contexts]]


# ---- what a tree costs


@pytest.mark.parametrize('parents, children', [(5, 10), pytest.param(20, 50, marks=pytest.mark.slow)])
def test_the_master_pays_for_parents_not_for_children(router, write, parents, children):
    write({'only_here.py': 'ANSWER = 42\n' + ''.join('NAME_%d = %d\n' % (n, n * n) for n in range(2000))})
    first, contexts = plant(router, parents, children)
    meter = Meter(router)

    def cost(fn, *args):
        meter.take()
        result = fn(*args)
        router.broker.defer_sync(lambda: None)
        return result, meter.take()
    # Calls: a message in each direction for each parent. Different answers have their bytes, equal ones travel once.
    pids, first_time = cost(mitogen.fanout.call, contexts, targets_trees.identity)
    assert len(set(pids)) == parents * children
    assert first_time['sent'] <= 10 * parents               # the code comes along, once for each of them
    pids, cheap = cost(mitogen.fanout.call, contexts, targets_trees.identity)
    assert (cheap['sent'], cheap['received']) == (parents, parents)
    one_by_one(contexts, targets_trees.nothing)     # the master announces the code to each of them, once
    before, dear = cost(one_by_one, contexts, targets_trees.identity)
    assert before == pids
    assert (dear['sent'], dear['received']) == (parents * children,) * 2
    assert cheap['bytes_sent'] * children / 4 < dear['bytes_sent']
    _, equal = cost(mitogen.fanout.call, contexts, targets_trees.nothing)
    assert equal['bytes_sent'] + equal['bytes_received'] < 600 * parents
    # Broadcasts: nothing comes back.
    _, silent = cost(mitogen.fanout.call_no_reply, contexts, targets_trees.nothing)
    assert (silent['sent'], silent['received']) == (parents, 0)
    # Imports: each parent gets the module once and asks for it once, whoever wants it.
    answers, imports = cost(mitogen.fanout.call, contexts, targets_trees.answer_of, 'only_here')
    assert set(answers) == {42}
    assert (imports['sent'], imports['received']) == (2 * parents, 2 * parents)
    module = len(router.responder.library.module('only_here', 'code').source)
    assert imports['bytes_sent'] < parents * (module + 1000)


# ---- calls


def test_results_in_the_order_of_the_contexts(tree):
    first, second = tree
    contexts = [second[4], first[1], second[0], first[0], second[1]]
    assert mitogen.fanout.call(contexts, os.getpid) == [context.call(os.getpid) for context in contexts]


def test_arguments_of_all_kinds(tree):
    assert mitogen.fanout.call(tree[1], dict, one=b'x', two=tree[0][0]) == [{'one': b'x', 'two': tree[0][0]}] * 6


def test_none_and_one(tree):
    assert mitogen.fanout.call([], os.getpid) == []
    assert mitogen.fanout.call(tree[1][:1], targets.echo, 1) == [1]


def test_a_context_twice_is_called_once(tree, tmp_path):
    results = mitogen.fanout.call([tree[1][0]] * 3, targets_trees.append_pid, str(tmp_path / 'trace'))
    assert results == [None] * 3
    assert len((tmp_path / 'trace').read_text().split()) == 1


def test_deeper_trees(router):
    top = router.local()
    middle = [router.local(via=top) for _ in range(2)]
    leaves = [child for context in middle for child in context.call(targets_trees.start_forks, 2)]
    everybody = [top, *middle, *leaves]
    meter = Meter(router)
    assert len(set(mitogen.fanout.call(everybody, os.getpid))) == 7
    meter.take()
    assert len(set(mitogen.fanout.call(leaves, os.getpid))) == 4
    assert meter.take()['sent'] == 1


def test_some_fail_and_the_others_do_not(tree):
    results = mitogen.fanout.call(tree[1], targets_trees.fail_if, 0, 2)
    for context, result in zip(tree[1], results):
        pid = context.call(os.getpid)
        if pid % 2:
            assert result == pid
        else:
            assert isinstance(result, CallError)
            assert (result.type_name, result.message) == ('ValueError', str(pid))


def test_what_cannot_be_sent_is_refused_at_once(router, tree):
    handlers = len(router._handlers)
    with pytest.raises(TypeError, match='lambda'):
        mitogen.fanout.call(tree[1], lambda: 1)
    with pytest.raises(TypeError, match='cannot be sent'):
        mitogen.fanout.call(tree[1], targets.echo, object())
    assert len(router._handlers) == handlers


def test_the_loss_of_some(tree):
    lost = tree[1][:2]
    results = mitogen.fanout.call(lost, targets_trees.end)
    assert all(isinstance(result, ChannelError) and 'exit status 5' in str(result) for result in results)
    results = mitogen.fanout.call(tree[1], os.getpid)
    assert all(isinstance(result, ChannelError) for result in results[:2])
    assert len(set(results[2:])) == 4


def test_the_loss_of_a_parent_is_the_answer_of_its_children(tree, tmp_path):
    first, second = tree
    trace, calls = tmp_path / 'trace', []

    def call():
        calls.append(mitogen.fanout.call(second, targets_trees.append_pid_and_wait, str(trace)))
    thread = threading.Thread(target=call)
    thread.start()
    support.wait_for(lambda: trace.exists() and len(trace.read_text().splitlines()) == 6)
    for context in first:
        context.call_no_reply(targets_trees.end)
    thread.join(30)
    [results] = calls
    assert [str(result).splitlines()[0][-13:] for result in results] == ['exit status 5'] * 6


def test_large_answers_come_in_pieces(tree):
    size = 700000
    results = mitogen.fanout.call(tree[1], targets_trees.large, size)
    assert len(set(results)) == 6
    assert {len(result) for result in results} == {size}


def test_iteration_yields_what_is_there_and_can_be_left(router, tree):
    handlers = len(router._handlers)
    answers = mitogen.fanout.iterate(tree[1], os.getpid)
    context, pid = next(answers)
    assert context.call(os.getpid) == pid
    answers.close()
    assert len(router._handlers) == handlers


def test_nothing_is_left_of_calls(router, tree):
    mitogen.fanout.call(tree[1], os.getpid)
    handlers = len(router._handlers)
    for _ in range(5):
        mitogen.fanout.call(tree[1], os.getpid)
    assert len(router._handlers) == handlers


def test_no_reply_reaches_all(tree, tmp_path):
    trace = tmp_path / 'trace'
    mitogen.fanout.call_no_reply(tree[0] + tree[1], targets_trees.append_pid, str(trace))
    support.wait_for(lambda: trace.exists() and len(trace.read_text().splitlines()) == 8)


def test_the_end_of_the_router_ends_it(router, tree):
    calls = []
    thread = threading.Thread(target=lambda: calls.append(mitogen.fanout.call(tree[1], targets.wait_for_ever)))
    handlers = len(router._handlers)
    thread.start()
    support.wait_for(lambda: len(router._handlers) > handlers)
    router.broker.shutdown()
    thread.join(30)
    assert all(isinstance(result, mitogen.core.Error) for result in calls[0])
