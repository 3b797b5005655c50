"""Seven routers joined in memory: what arrives, what is refused, and who is told."""

import operator

import pytest

import mitogen.core
import mitogen.parent
from mitogen.core import Message, Sender
from pure.seven import MAILBOX, NAMES, PAIRS, Seven, above, ask, below, listen, related, taken, why


@pytest.fixture
def tree():
    with Seven() as tree:
        yield tree


# ---- Delivery


@pytest.mark.parametrize('chunk', [None, 1, 29])
def test_everyone_reaches_everyone(chunk):
    with Seven(chunk=chunk) as tree:
        receivers = {name: listen(tree[name]) for name in NAMES}
        for one, other in PAIRS:
            tree[one].context_of(tree[other]).send(Message.pickled((one, other), handle=MAILBOX))
        tree.settle()
        for name, receiver in receivers.items():
            assert sorted(taken(receiver)) == sorted((one, other) for one, other in PAIRS if other == name)


@pytest.mark.parametrize('one, other', PAIRS)
def test_a_message_arrives_as_it_was_sent(tree, one, other):
    receiver = listen(tree[other])
    data = bytes(range(256)) * 1000
    tree[one].context_of(tree[other]).send(Message(handle=MAILBOX, reply_to=77, data=data))
    tree.settle()
    msg = receiver.get(block=False)
    assert (msg.src_id, msg.auth_id, msg.dst_id) == (tree[one].context_id, tree[one].context_id, tree[other].context_id)
    assert (msg.reply_to, msg.data, msg.router) == (77, data, tree[other].router)


@pytest.mark.parametrize('one, other', PAIRS)
def test_an_answer_comes_back(tree, one, other):
    tree[other].router.add_handler(lambda msg: msg.reply(msg.unpickle() + '!'), MAILBOX)
    receiver = ask(tree[one], tree[other])
    tree.settle()
    assert taken(receiver) == ['question!']


def test_the_order_of_a_sender_is_kept(tree):
    receiver = listen(tree.disk)
    for number in range(50):
        tree.job.context_of(tree.disk).send(Message.pickled(number, handle=MAILBOX))
    tree.settle()
    assert taken(receiver) == list(range(50))


def test_a_message_passes_only_those_on_the_way(tree):
    before = {name: (tree[name].stream.sent, tree[name].link.sent) for name in NAMES[1:]}
    listen(tree.cache)
    tree.job.context_of(tree.cache).send(Message(handle=MAILBOX))
    tree.settle()
    now = {name: (tree[name].stream.sent, tree[name].link.sent) for name in NAMES[1:]}
    moved = {name: (now[name][0] - before[name][0], now[name][1] - before[name][1]) for name in before}
    assert {name: counts for name, counts in moved.items() if any(counts)} == {
        'job': (1, 0), 'app': (1, 0), 'cache': (0, 1)}


def test_a_sender_that_was_sent_leads_back(tree):
    receiver = listen(tree.disk)
    tree.disk.context_of(tree.job).send(Message.pickled(receiver.to_sender(), handle=MAILBOX))
    inbox = listen(tree.job)
    tree.settle()
    sender = inbox.get(block=False).unpickle()
    assert isinstance(sender, Sender)
    sender.send('here')
    sender.close()
    tree.settle()
    assert [msg.unpickle() for msg in receiver] == ['here']


def test_contexts_arrive_as_the_receivers_own(tree):
    inbox = listen(tree.job)
    tree.master.context_of(tree.job).send(Message.pickled([tree.context(tree.disk)] * 2, handle=MAILBOX))
    tree.settle()
    one, same = inbox.get(block=False).unpickle()
    assert one is same and one.router is tree.job.router and one == tree.job.context_of(tree.disk)


@pytest.mark.parametrize('name', NAMES[1:])
def test_a_call(tree, name):
    receiver = tree.context(tree[name]).call_async(operator.add, 2, 3)
    tree.settle()
    assert taken(receiver) == [5]


def test_a_leaf_grows_with_its_first_child(tree):
    assert type(tree.disk.router) is mitogen.core.LeafRouter
    listening = listen(tree.disk)
    tree.add(tree.disk)
    assert type(tree.disk.router) is mitogen.parent.Router
    tree.context(tree.disk).send(Message.pickled('still there', handle=MAILBOX))
    tree.settle()
    assert taken(listening) == ['still there']


# ---- Policies and respondents


AUTHORITY = [mitogen.core.CALL_FUNCTION, mitogen.core.LOAD_MODULE, mitogen.core.SHUTDOWN, mitogen.core.ADD_ROUTE,
             mitogen.core.FORWARD_MODULE]


@pytest.mark.parametrize('one, other', PAIRS)
def test_only_a_context_and_those_above_it_have_authority(tree, one, other):
    receiver = listen(tree[other], policy=mitogen.core.has_parent_authority)
    answer = ask(tree[one], tree[other])
    tree.settle()
    if one in [other, *above(other)]:
        assert taken(receiver) == ['question']
    else:
        assert receiver.empty()
        assert why(answer) == 'refused by policy'


@pytest.mark.parametrize('handle', AUTHORITY)
@pytest.mark.parametrize('one, other', [pair for pair in PAIRS if pair[1] in ('web', 'app')
                                        and pair[0] not in [pair[1], *above(pair[1])]])
def test_built_in_handles_are_for_those_above(tree, handle, one, other):
    answer = ask(tree[one], tree[other], handle)
    tree.settle()
    assert why(answer) == 'refused by policy'
    assert not tree[other].broker.stopping


def test_authority_goes_with_the_message_and_not_with_its_source(tree):
    """A context may pass on what it was told to do; it cannot lend an authority that is not behind it."""
    receiver = listen(tree.job, policy=mitogen.core.has_parent_authority)
    tree.app.router.route(Message.pickled('lent', dst_id=tree.job.context_id, handle=MAILBOX,
                                          auth_id=tree.app.context_id, src_id=tree.app.context_id))
    tree.app.router.route(Message.pickled('low', dst_id=tree.job.context_id, handle=MAILBOX,
                                          auth_id=tree.cache.context_id))
    tree.settle()
    assert taken(receiver) == ['lent']


def test_a_policy_sees_message_and_stream(tree):
    seen = []
    listen(tree.web, policy=lambda msg, stream: seen.append((msg.src_id, stream)))
    for sender in tree.job, tree.master, tree.web:
        sender.context_of(tree.web).send(Message(handle=MAILBOX))
        tree.settle()
    assert seen == [(tree.job.context_id, tree.app.link), (0, tree.web.stream), (tree.web.context_id, None)]


@pytest.mark.parametrize('impostor', ['cache', 'web', 'job', 'disk', 'db'])
def test_only_the_one_that_was_asked_can_answer(tree, impostor):
    listen(tree.app)
    answer = ask(tree.master, tree.app)
    tree.settle()
    tree[impostor].context_of(tree.master).send(Message.pickled('lie', handle=answer.handle))
    tree.settle()
    assert answer.empty()
    tree.app.context_of(tree.master).send(Message.pickled('truth', handle=answer.handle))
    tree.settle()
    assert taken(answer) == ['truth']


def test_a_second_answer_is_too_late(tree):
    listen(tree.app)
    answer = ask(tree.master, tree.app)
    for text in 'one', 'two':
        tree.app.context_of(tree.master).send(Message.pickled(text, handle=answer.handle))
    tree.settle()
    assert taken(answer) == ['one']


# ---- Refusals


@pytest.mark.parametrize('name', NAMES)
def test_a_handle_that_nobody_listens_to(tree, name):
    answer = ask(tree[name], tree.app, 4711)
    tree.settle()
    assert why(answer) == 'context %d does not listen to handle 4711' % tree.app.context_id


@pytest.mark.parametrize('name', NAMES)
def test_a_context_that_there_is_not(tree, name):
    answer = tree[name].router.context_by_id(4711).send_async(Message(handle=MAILBOX))
    tree.settle()
    assert why(answer).startswith('context 4711 is unknown or gone')


@pytest.mark.parametrize('name', NAMES)
def test_a_message_that_is_too_large(name):
    with Seven(max_message_size=2000) as tree:
        receiver = listen(tree.app)
        answer = tree[name].context_of(tree.app).send_async(Message(handle=MAILBOX, data=b'x' * 2001))
        fits = ask(tree[name], tree.app)
        tree.settle()
        assert 'message of 2001 bytes is too large' in why(answer)
        assert taken(receiver) == ['question'] and fits.empty()


@pytest.mark.parametrize('name', NAMES)
def test_a_message_that_is_too_large_and_asks_for_no_answer(name):
    """Whoever waits for it must not wait for ever."""
    with Seven(max_message_size=2000) as tree:
        receiver = listen(tree.app)
        tree[name].context_of(tree.app).send(Message(handle=MAILBOX, data=b'x' * 2001))
        tree.settle()
        assert 'message of 2001 bytes is too large' in why(receiver)


def test_a_router_on_the_way_may_have_a_lower_limit():
    with Seven() as tree:
        tree.web.router.max_message_size = 2000
        answer = tree.context(tree.job).send_async(Message(handle=MAILBOX, data=b'x' * 2001))
        tree.settle()
        assert 'message of 2001 bytes is too large' in why(answer)


@pytest.mark.parametrize('dst, handle', [(1 << 40, MAILBOX), (1, 1 << 40), (-1, MAILBOX), (1, -1)])
def test_numbers_that_do_not_fit_the_header(tree, dst, handle):
    with pytest.raises(ValueError, match=str(dst)):
        tree.cache.router.context_by_id(dst).send_async(Message(handle=handle))


def test_refusals_never_answer_each_other(tree):
    """Everything that would be refused, with a reply handle that is itself refused: it ends after one exchange."""
    before = traffic(tree)
    for name in NAMES:
        for target in tree.nodes:
            tree[name].router.route(Message(target, handle=4711, reply_to=4712))
            tree[name].router.route(Message.dead('no', dst_id=target, handle=4711))
        tree[name].router.route(Message(4711, handle=4711, reply_to=4712))
    tree.settle()
    # There and back, over four links at most in each direction, for each of the seven to each of the eight; the dead
    # ones go there only.
    assert 0 < traffic(tree) - before <= 7 * 8 * (4 + 4 + 4)


def traffic(tree):
    return sum(node.stream.sent + node.link.sent for node in tree.nodes.values() if node.stream)


def test_a_message_that_wants_no_answer_gets_none(tree):
    before = tree.app.stream.sent
    tree.context(tree.app).send(Message(handle=4711))
    tree.settle()
    assert tree.app.stream.sent == before


# ---- One direction only


def test_unidirectional_lets_only_above_and_below_talk():
    with Seven(unidirectional=True) as tree:
        check_who_reaches_whom(tree, related)


def test_unidirectional_below_one_context():
    def allowed(one, other):
        return related(one, other) or not (one in below('web') and other in below('web'))

    with Seven(unidirectional_below='web') as tree:
        check_who_reaches_whom(tree, allowed)


def test_unidirectional_from_now_on():
    with Seven() as tree:
        before = ask(tree.web, tree.db)
        tree.settle()
        tree.master.router.unidirectional = True
        after = ask(tree.web, tree.db)
        tree.settle()
        assert 'does not listen' in why(before) and 'may not talk to its sibling' in why(after)


def check_who_reaches_whom(tree, allowed):
    receivers = {name: listen(tree[name]) for name in NAMES}
    answers = {pair: ask(tree[pair[0]], tree[pair[1]]) for pair in PAIRS}
    tree.settle()
    for pair, answer in answers.items():
        if allowed(*pair):
            assert answer.empty(), pair
        else:
            assert 'may not talk to its sibling' in why(answer), pair
    for name, receiver in receivers.items():
        assert receiver.size() == len([one for one in NAMES if allowed(one, name)])
