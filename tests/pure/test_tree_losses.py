"""Seven routers joined in memory: a context is lost, and whoever waits for it or knows it is told why."""

import logging
import operator

import pytest

import mitogen.core
from mitogen.core import Message, Receiver
from pure.seven import MAILBOX, NAMES, PAIRS, Seven, ask, below, listen, taken, why


@pytest.fixture
def tree():
    with Seven() as tree:
        yield tree


def test_all_who_wait_for_a_lost_context_hear_why(tree):
    listen(tree.app)
    waiting = {name: ask(tree[name], tree.app) for name in NAMES if name not in ('app', 'job')}
    tree.settle()
    tree.cut(tree.app, 'killed by signal 9, SIGKILL')
    tree.settle()
    assert {name: why(receiver) for name, receiver in waiting.items()} == dict.fromkeys(
        waiting, 'app is gone: killed by signal 9, SIGKILL')


@pytest.mark.parametrize('target', ['web', 'app', 'cache', 'job'])
def test_a_lost_context_takes_those_behind_it_along(tree, target):
    listen(tree[target])
    waiting = {name: ask(tree[name], tree[target]) for name in ('master', 'db', 'disk')}
    tree.settle()
    tree.cut(tree.web, 'exit status 3')
    tree.settle()
    assert {why(receiver) for receiver in waiting.values()} == {'web is gone: exit status 3'}
    assert [name for name in NAMES if tree[name].broker.stopping] == ['web', *below('web')]


def test_who_is_cut_off_with_its_own_questions_wakes_too(tree):
    for name in NAMES:
        listen(tree[name])
    waiting = [ask(tree[name], tree[other]) for name in ('web', *below('web')) for other in NAMES]
    tree.settle()
    tree.cut(tree.web)
    tree.settle()
    assert all(receiver.size() for receiver in waiting)


def test_a_question_on_its_way_when_the_context_is_lost(tree):
    tree.cut(tree.app)
    waiting = [ask(tree[name], tree.job) for name in ('master', 'disk', 'cache', 'web')]
    tree.settle()
    assert all('gone' in why(receiver) for receiver in waiting)


def test_who_asks_later_is_told_that_it_is_gone(tree):
    tree.cut(tree.app)
    tree.settle()
    waiting = [ask(tree[name], tree.job) for name in ('master', 'disk', 'cache', 'web')]
    tree.settle()
    assert all('context %d is unknown or gone' % tree.job.context_id in why(receiver) for receiver in waiting)


def test_who_holds_its_context_is_told_why_each_time_and_others_are_not(tree):
    held = tree.master.context_of(tree.job)
    tree.cut(tree.job, 'its last words')
    tree.settle()
    for _ in range(2):
        again, other = ask(tree.master, tree.job), ask(tree.disk, tree.job)
        tree.settle()
        assert why(again) == held.lost == 'job is gone: its last words'
        assert 'unknown or gone' in why(other)


@pytest.mark.parametrize('name', ['cache', 'disk'])
def test_a_leaf_that_waits_hears_it_too(tree, name):
    context = tree[name].context_of(tree.app)
    receiver = Receiver(tree[name].router, respondent=context)
    context.send(Message(handle=4711))
    tree.settle()
    tree.cut(tree.app)
    tree.settle()
    assert type(tree[name].router) is mitogen.core.LeafRouter
    assert why(receiver) == 'app is gone: connection closed'


def test_contexts_fire_disconnect_wherever_they_were_known(tree):
    fired = []
    kept = []
    for name in 'master', 'web', 'cache', 'disk':
        context = tree[name].context_of(tree.app)
        kept.append(context)
        mitogen.core.listen(context, 'disconnect', lambda name=name: fired.append(name))
        context.send(Message(handle=4711))
    tree.settle()
    tree.cut(tree.app)
    tree.settle()
    assert sorted(fired) == ['cache', 'disk', 'master', 'web']


def test_who_never_spoke_to_it_is_not_told(tree):
    ask(tree.cache, tree.app)
    tree.settle()
    before = tree.db.link.sent
    tree.cut(tree.app)
    tree.settle()
    assert tree.db.link.sent == before


def test_the_others_go_on(tree):
    tree.cut(tree.app)
    tree.settle()
    for name in 'cache', 'disk':
        receiver = tree.context(tree[name]).call_async(operator.add, 2, 3)
        tree.settle()
        assert taken(receiver) == [5]


def test_routes_to_the_lost_are_forgotten_everywhere(tree):
    tree.cut(tree.app)
    tree.settle()
    for node in tree.master, tree.web:
        assert not {tree.app.context_id, tree.job.context_id} & set(node.router.routes._links)


def test_a_receiver_with_a_lost_respondent_that_persists(tree):
    """It hears of the loss once, and then is as it was: its owner may listen to the next context."""
    receiver = listen(tree.master, respondent=tree.context(tree.app))
    tree.app.context_of(tree.master).send(Message.pickled(1, handle=MAILBOX))
    tree.settle()
    tree.cut(tree.app)
    tree.settle()
    assert receiver.get(block=False).unpickle() == 1
    assert why(receiver) == 'app is gone: connection closed'


def test_a_context_that_is_asked_to_end_ends_with_those_below(tree):
    tree.context(tree.web).shutdown()
    tree.settle()
    assert [name for name in NAMES if tree[name].broker.stopping] == ['web', *below('web')]


def test_the_end_of_the_master_wakes_everyone(tree):
    for name in NAMES:
        listen(tree[name])
    waiting = [ask(tree[one], tree[other]) for one, other in PAIRS]
    tree.settle()
    tree.close()
    assert all(receiver.size() for receiver in waiting)
    with pytest.raises(mitogen.core.Error, match='shut down'):
        tree.context(tree.web).send(Message())


# ---- What is left of those that are gone


def test_nothing_is_kept_of_those_that_are_asked_when_they_are_gone(tree):
    """An entry for each would stay, as nobody is lost twice."""
    tree.cut(tree.web)
    tree.settle()
    for _ in range(3):
        ask(tree.master, tree.web).close()
    tree.settle()
    tree.cut(tree.add(name='another'))
    tree.settle()
    assert [handles for handles in tree.master.router._awaiting.values() if not handles] == []


def test_ids_for_children_of_one_that_is_gone_are_given_back(tree):
    ids = tree.master.router.id_allocator
    tree.cut(tree.web)
    tree.settle()
    before = dict(ids._owners), dict(ids._held)
    ids.allocate(tree.web.context_id, 5)
    tree.settle()
    assert (dict(ids._owners), dict(ids._held)) == before


def test_a_module_for_a_child_that_is_lost_meanwhile_goes_nowhere(tree, caplog):
    relay = tree.web.router.relay
    child_id = tree.app.context_id
    relay.answer(child_id, 'pure', '')
    tree.settle()
    assert relay._wanted['pure'] == {child_id}
    tree.cut(tree.app)
    tree.settle()
    relay.answer(child_id, 'pure.seven', '')
    relay._on_loaded(mitogen.core.Module('pure.more', source=b''))
    tree.settle()
    assert relay._wanted['pure'] == set()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
