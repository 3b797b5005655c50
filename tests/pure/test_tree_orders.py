"""Any tree, whatever happens in it in whatever order: who waits for an answer gets one, or hears why there is none."""

import random

from hypothesis import given, settings, strategies as st

import mitogen.core
import mitogen.testing
from mitogen.core import Message

#: Handles: one is answered at once, the other never.
ECHO, SILENCE = 500, 501

NUMBERS = st.integers(0, 30)

STEPS = st.lists(st.one_of(
    st.tuples(st.just('add'), NUMBERS),
    st.tuples(st.just('ask'), NUMBERS, NUMBERS, st.sampled_from([ECHO, SILENCE])),
    st.tuples(st.just('ask'), NUMBERS, NUMBERS, st.sampled_from([ECHO, SILENCE])),
    st.tuples(st.just('cut'), NUMBERS),
    st.tuples(st.just('some'), st.integers(1, 6)),
), max_size=40)


class World:
    """Carries out the steps, and keeps account of the questions."""

    def __init__(self, seed, chunk):
        self.tree = mitogen.testing.Tree(random=random.Random(seed), chunk=chunk)
        self.questions = []
        self.prepare(self.tree.master)
        for number in range(3):
            self.add(number)

    def prepare(self, node):
        node.router.add_handler(lambda msg: msg.reply(msg.unpickle()), ECHO)
        node.router.add_handler(lambda msg: None, SILENCE)

    def pick(self, number):
        nodes = list(self.tree.nodes.values())
        return nodes[number % len(nodes)]

    def add(self, number):
        parent = self.pick(number)
        if not parent.broker.stopping:
            self.tree.settle()      # a parent that is about to be lost cannot start anybody
        if not parent.broker.stopping:
            self.prepare(self.tree.add(parent))

    def ask(self, one, other, handle):
        one, other = self.pick(one), self.pick(other)
        value = len(self.questions)
        try:
            receiver = one.context_of(other).send_async(Message.pickled(value, handle=handle))
        except mitogen.core.Error:
            assert one.broker.stopping
        else:
            self.questions.append((one, other, handle, value, receiver))

    def cut(self, number):
        node = self.pick(number)
        if node.link and node.link.is_open():
            self.tree.cut(node, 'lost number %d' % node.context_id)

    def some(self, rounds):
        self.tree.settle(rounds)


def outcome(receiver):
    """What has come: nothing, a value or a reason."""
    if receiver.empty():
        return 'nothing'
    assert receiver.size() == 1
    msg = receiver.get(block=False, throw_dead=False)
    return msg.reason if msg.is_dead else msg.unpickle()


def is_expected(one, other, handle, value, found):
    if one.broker.stopping:
        return found != 'nothing'
    if not other.broker.stopping:
        return found == (value if handle == ECHO else 'nothing')
    return found == value and handle == ECHO or 'gone' in str(found)


@settings(max_examples=150)
@given(STEPS, st.integers(0, 1000), st.sampled_from([None, 1, 40]))
def test_nobody_waits_in_vain(steps, seed, chunk):
    world = World(seed, chunk)
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.tree.settle()
    for one, other, handle, value, receiver in world.questions:
        found = outcome(receiver)
        assert is_expected(one, other, handle, value, found), (one, other, handle, value, found)
    world.tree.close()


@settings(max_examples=60)
@given(STEPS, st.integers(0, 1000))
def test_the_end_is_the_end_for_all(steps, seed):
    world = World(seed, None)
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.tree.close()
    assert all(node.broker.stopping for node in world.tree.nodes.values())
    assert all(question[-1].size() for question in world.questions)


def test_routes_shrink_with_the_tree():
    """What a router knows of contexts that are gone is nothing, however many have come and gone."""
    world = World(1, None)
    world.tree.settle()
    before = {node: set(node.router.routes._links) for node in world.tree.nodes.values()}
    for number in range(20):
        child = world.tree.add(world.pick(number % 4))
        world.tree.cut(child)
        world.tree.settle()
    for node, links in before.items():
        assert set(node.router.routes._links) == links
        assert not set(node.router.routes._acquainted) - links
