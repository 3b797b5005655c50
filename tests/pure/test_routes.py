"""routes: where a message goes next, what may come from there, and who must hear that a context is gone."""

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import mitogen.routes
from mitogen.core import Message
from mitogen.routes import Routes

UP, LEFT, RIGHT = 'up', 'left', 'right'


@pytest.fixture
def routes():
    """Of context 5: parents 2 and 0; children 10 and 20; 11 behind 10; 21 and 22 behind 20."""
    routes = Routes(5, [2, 0])
    routes.parent_link = UP
    routes.add(10, LEFT)
    routes.add(20, RIGHT)
    assert routes.grant(11, 1, 10)
    assert routes.grant(21, 2, 20)
    return routes


def message(dst, src=5, auth=None):
    return Message(dst, src, src if auth is None else auth)


# ---- Where


@pytest.mark.parametrize('context_id, link', [
    (10, LEFT), (11, LEFT), (20, RIGHT), (21, RIGHT), (22, RIGHT), (23, UP), (2, UP), (0, UP), (4711, UP)])
def test_what_is_not_below_is_above(routes, context_id, link):
    assert routes.link_to(context_id) == link


def test_above_the_master_is_nothing():
    assert Routes().link_to(1) is None


def test_a_grant_through_one_who_was_granted_himself(routes):
    assert routes.grant(30, 2, 21)
    assert [routes.link_to(i) for i in (29, 30, 31, 32)] == [UP, RIGHT, RIGHT, UP]


def test_a_grant_for_one_who_is_gone(routes):
    assert not routes.grant(30, 2, 4711)
    assert not routes.grant(30, 2, 5)
    assert routes.link_to(30) == UP


def test_children_and_those_behind_them(routes):
    assert routes.below() == [LEFT, RIGHT]
    assert routes.behind(LEFT) == [10, 11]
    assert routes.behind(RIGHT) == [20, 21, 22]
    assert routes.behind(UP) == routes.behind('nobody') == []


# ---- May it come from there


@pytest.mark.parametrize('src, auth, link', [
    (10, 10, LEFT), (11, 11, LEFT), (11, 10, LEFT), (21, 22, RIGHT), (0, 0, UP), (2, 0, UP), (4711, 4711, UP)])
def test_source_and_authority_that_are_behind_the_link(routes, src, auth, link):
    assert routes.forgery(message(0, src, auth), link) is None


@pytest.mark.parametrize('src, auth, link, wrong', [
    (10, 10, RIGHT, 'authority 10'), (10, 10, UP, 'authority 10'), (0, 0, LEFT, 'authority 0'),
    (2, 2, LEFT, 'authority 2'), (5, 5, LEFT, 'authority 5'), (4711, 4711, LEFT, 'authority 4711'),
    (20, 10, LEFT, 'source 20'), (10, 20, LEFT, 'authority 20'), (10, 0, LEFT, 'authority 0'),
    (0, 10, LEFT, 'source 0'),
    (10, 5, LEFT, 'authority 5'), (10, 10, 'stranger', 'authority 10')])
def test_source_and_authority_that_are_not(routes, src, auth, link, wrong):
    assert routes.forgery(message(0, src, auth), link) == wrong + ' cannot come from there'


def test_nothing_above_the_master_can_speak(routes):
    routes = Routes()
    routes.add(1, LEFT)
    assert routes.forgery(message(1, 0), LEFT) and routes.forgery(message(1, 2), LEFT)


def test_who_is_gone_cannot_speak(routes):
    routes.remove([10, 11])
    assert routes.forgery(message(0, 10), LEFT)


# ---- Where next


@pytest.mark.parametrize('dst, link, out', [
    (10, None, LEFT), (0, None, UP), (4711, None, UP), (10, UP, LEFT), (21, UP, RIGHT), (0, LEFT, UP),
    (21, LEFT, RIGHT), (10, RIGHT, LEFT)])
def test_up_down_and_across(routes, dst, link, out):
    assert routes.egress(message(dst), link) == (out, '')


@pytest.mark.parametrize('dst, link', [(10, LEFT), (11, LEFT), (0, UP), (4711, UP), (23, UP)])
def test_never_back(routes, dst, link):
    assert routes.egress(message(dst), link) == (None, 'context %d is unknown or gone (says context 5)' % dst)


def test_nowhere():
    routes = Routes()
    routes.add(1, LEFT)
    for link in None, LEFT:
        assert routes.egress(message(4711), link) == (None, 'context 4711 is unknown or gone (says context 0)')


@pytest.mark.parametrize('dst, link, out', [
    (10, UP, LEFT), (21, UP, RIGHT), (0, LEFT, UP), (0, RIGHT, UP), (10, None, LEFT), (21, None, RIGHT), (0, None, UP)])
def test_unidirectional_lets_pass_what_goes_up_or_down(routes, dst, link, out):
    assert routes.egress(message(dst), link, unidirectional=True) == (out, '')


@pytest.mark.parametrize('src, dst, link', [(10, 21, LEFT), (20, 11, RIGHT)])
def test_unidirectional_refuses_siblings(routes, src, dst, link):
    assert routes.egress(message(dst, src), link, unidirectional=True) == (
        None, 'context %d may not talk to its sibling %d' % (src, dst))


def test_unidirectional_in_the_master():
    routes = Routes()
    routes.add(1, LEFT)
    routes.add(2, RIGHT)
    assert routes.egress(message(2, 1), LEFT, unidirectional=True)[0] is None
    assert routes.egress(message(2, 0), None, unidirectional=True)[0] == RIGHT


@pytest.mark.parametrize('src, dst, link', [(10, 21, LEFT), (20, 11, RIGHT)])
def test_unidirectional_does_not_bind_a_link_that_is_trusted(routes, src, dst, link):
    routes.trusted.add(LEFT)
    assert routes.egress(message(dst, src), link, unidirectional=True)[1] == ''
    routes.forget_link(LEFT)
    assert 'sibling' in routes.egress(message(dst, src), link, unidirectional=True)[1]


# ---- Who must hear of it


def test_both_ends_of_a_conversation_hear(routes):
    routes.egress(message(21, 11), LEFT)
    assert routes.remove([21]) == {LEFT: [21]}
    assert routes.remove([11]) == {RIGHT: [11]}


def test_those_above_hear(routes):
    routes.egress(message(0, 11), LEFT)
    routes.egress(message(21, 2), UP)
    assert routes.remove([11, 21]) == {UP: [11, 21]}


def test_each_hears_of_those_it_knows(routes):
    routes.egress(message(21, 11), LEFT)
    routes.egress(message(22, 11), LEFT)
    routes.egress(message(21, 2), UP)
    assert routes.remove([20, 21, 22]) == {LEFT: [21, 22], UP: [21]}


def test_nobody_hears_twice(routes):
    routes.egress(message(21, 11), LEFT)
    routes.remove([21])
    assert routes.remove([21]) == {}


def test_what_was_refused_introduced_nobody(routes):
    routes.egress(message(21, 11), LEFT, unidirectional=True)
    routes.egress(message(4711, 11), UP)
    assert routes.remove([11, 21]) == {}


def test_our_own_conversations_need_no_news(routes):
    routes.egress(message(21), None)
    assert routes.remove([21]) == {}


def test_who_is_cut_off_needs_no_news(routes):
    routes.egress(message(21, 11), LEFT)
    routes.forget_link(LEFT)
    assert routes.remove([21]) == {}


def test_who_is_removed_is_not_below_any_more(routes):
    assert routes.remove([10, 4711]) == {}
    assert routes.link_to(10) == UP
    assert routes.behind(LEFT) == [11]


def test_a_message_without_source(routes):
    """Only from here, before a router has signed it."""
    assert routes.egress(Message(21), LEFT, unidirectional=True)[1] == 'context 0 may not talk to its sibling 21'
    assert routes.egress(Message(21), LEFT) == (RIGHT, '')


# ---- What is remembered


@pytest.fixture
def remembering(routes):
    routes.remember(message(21, 11), LEFT, RIGHT)
    assert routes.flows == {(LEFT, 21, 11, 11): RIGHT}
    return routes


@pytest.mark.parametrize('change', [
    lambda routes: routes.add(30, LEFT), lambda routes: routes.grant(31, 1, 10), lambda routes: routes.remove([22]),
    lambda routes: routes.forget_link(RIGHT)], ids=['add', 'grant', 'remove', 'forget_link'])
def test_nothing_is_remembered_across_a_change(remembering, change):
    change(remembering)
    assert remembering.flows == {}


def test_what_a_trusted_link_brings_is_looked_at_each_time(routes):
    routes.trusted.add(LEFT)
    routes.remember(message(21, 11), LEFT, RIGHT)
    assert routes.flows == {}


def test_nothing_is_remembered_where_that_is_not_wanted(routes):
    routes.remembers = False
    routes.remember(message(21, 11), LEFT, RIGHT)
    assert routes.flows == {}


def test_what_is_remembered_has_an_end(routes, monkeypatch):
    monkeypatch.setattr(mitogen.routes, 'MAX_FLOWS', 10)
    for number in range(100):
        routes.remember(message(1000 + number, 11), LEFT, UP)
        assert len(routes.flows) <= 10
    assert routes.flows[LEFT, 1099, 11, 11] == UP


# ---- Any tree


class Place:
    """A context in the model: links are named by the place at the other end."""

    def __init__(self, context_id, parent):
        self.context_id, self.parent, self.children = context_id, parent, []
        self.above = [] if parent is None else [parent, *parent.above]
        self.routes = Routes(context_id, [place.context_id for place in self.above])
        self.routes.parent_link = parent
        self.known = {}         # id below -> those at whose links it is known

    def subtree(self):
        return [self] + [place for child in self.children for place in child.subtree()]

    def towards(self, other):
        """The neighbour on the way to another place that exists."""
        if self in other.above:
            line = [other, *other.above]
            return line[line.index(self) - 1]
        return self.parent

    def distance(self, other):
        steps, place = 0, self
        while place is not other:
            place = place.towards(other)
            steps += 1
        return steps


class Trees(RuleBasedStateMachine):
    """Contexts come and go, messages travel hop by hop as the tables say."""

    places = Bundle('places')

    @initialize(target=places)
    def begin(self):
        self.master = Place(0, None)
        self.last_id = 0
        return self.master

    def alive(self, place):
        return place is self.master or place in self.master.subtree()

    @rule(target=places, parent=places)
    def start(self, parent):
        self.last_id += 1
        place = Place(self.last_id, parent)
        if self.alive(parent):
            parent.children.append(place)
            parent.routes.add(place.context_id, place)
            for above in reversed(parent.above):        # the master first
                assert above.routes.grant(place.context_id, 1, parent.context_id)
        return place

    @rule(place=places)
    def lose(self, place):
        if place is self.master or not self.alive(place):
            return
        gone = [lost.context_id for lost in place.subtree()]
        assert place.parent.routes.behind(place) == sorted(gone)
        place.parent.children.remove(place)
        place.parent.routes.forget_link(place)
        for above in place.above:
            for known in above.known.values():
                known.discard(place)
            expected = {}
            for context_id in gone:
                for neighbour in above.known.pop(context_id, ()):
                    expected.setdefault(neighbour, []).append(context_id)
            assert above.routes.remove(gone) == expected

    @rule(one=places, other=places, unidirectional=st.booleans())
    def send(self, one, other, unidirectional):
        if self.alive(one) and one is not other:
            path = self.travel(one, message(other.context_id, one.context_id), unidirectional)
            related = one in other.above or other in one.above
            if self.alive(other) and (related or not unidirectional):
                assert path[-1] is other
                assert len(path) - 1 == one.distance(other)
            else:
                assert path[-1] is not other

    @rule(one=places, unknown=st.integers(1000, 2000))
    def send_to_nobody(self, one, unknown):
        if self.alive(one):
            assert self.travel(one, message(unknown, one.context_id))[-1] is self.master

    @rule(liar=places, other=places, src=places, auth=places)
    def forge(self, liar, other, src, auth):
        if liar is self.master or not self.alive(liar):
            return
        own = set(liar.subtree())
        passes = liar.parent.routes.forgery(message(other.context_id, src.context_id, auth.context_id), liar) is None
        assert passes == (src in own and auth in own)

    @rule(liar=places, victim=places, src=places)
    def forge_from_above(self, liar, victim, src):
        """Those above may say anything, but not in the name of those whom the receiver itself leads to."""
        if victim is not self.master and self.alive(victim) and victim.parent is liar:
            passes = victim.routes.forgery(message(victim.context_id, src.context_id), liar) is None
            assert passes == (src not in victim.subtree() or src is victim)

    def travel(self, place, msg, unidirectional=False):
        """Follow a message; return the places that it has passed."""
        path, link = [place], None
        while place.context_id != msg.dst_id:
            out, why = place.routes.egress(msg, link, unidirectional)
            if out is None:
                assert str(msg.dst_id) in why
                return path
            if link is not None:
                self.introduce(place, msg.dst_id, link)
                self.introduce(place, msg.src_id, out)
                place.routes.remember(msg, link, out)
            place, link = out, place
            assert place not in path, 'a loop'
            assert place.routes.forgery(msg, link) is None
            path.append(place)
        return path

    @staticmethod
    def introduce(place, context_id, neighbour):
        if context_id in {below.context_id for below in place.subtree()[1:]}:
            place.known.setdefault(context_id, set()).add(neighbour)

    @invariant()
    def tables_agree_with_the_tree(self):
        for place in self.master.subtree():
            below = {lower.context_id: place.towards(lower) for lower in place.subtree()[1:]}
            assert {context_id: place.routes.link_to(context_id) for context_id in range(self.last_id + 1)} == {
                context_id: below.get(context_id, place.parent) for context_id in range(self.last_id + 1)}
            assert set(place.routes.below()) == set(place.children)

    @invariant()
    def what_is_remembered_is_what_would_be_decided(self):
        for place in self.master.subtree():
            for (link, dst, src, auth), out in place.routes.flows.items():
                msg = message(dst, src, auth)
                assert place.routes.forgery(msg, link) is None
                assert place.routes.egress(msg, link) == (out, '')


TestTrees = Trees.TestCase
TestTrees.settings = settings(max_examples=60, stateful_step_count=40)


def test_so_many_acquaintances_behind_one_link(monkeypatch):
    """One that speaks in the name of many ids, to everybody; whoever it has spoken to hears it further on."""
    monkeypatch.setattr(mitogen.routes, 'MAX_PAIRS', 10)
    routes = Routes()
    for number in range(20):
        routes.add(number + 1, 'liar')
    routes.add(101, 'a')
    routes.add(102, 'b')
    passed = [routes.egress(Message(dst, src), 'liar')[0] for src in range(1, 21) for dst in (101, 102)]
    assert passed == ['a', 'b'] * 5 + [None] * 30
    assert routes.egress(Message(101, 1), 'liar') == ('a', '')
    assert 'talk with too many others' in routes.egress(Message(101, 11), 'liar')[1]
    assert routes.egress(Message(1, 102), 'b') == ('liar', '')      # others are no worse off
    # Whoever is gone, at either end, makes room.
    assert routes.remove([1]) == {'a': [1], 'b': [1]}
    assert routes.egress(Message(101, 11), 'liar')[0] == 'a'
    routes.remove([102])
    routes.forget_link('b')
    assert [routes.egress(Message(101, src), 'liar')[0] for src in range(12, 19)] == ['a'] * 5 + [None] * 2


def test_acquaintances_that_come_and_go(monkeypatch):
    monkeypatch.setattr(mitogen.routes, 'MAX_PAIRS', 10)
    routes = Routes()
    routes.add(1, 'stays')
    for number in range(2, 50):
        routes.add(number, number)
        assert routes.egress(Message(number, 1), 'stays') == (number, '')
        routes.remove([number])
        routes.forget_link(number)


def test_those_above_are_no_acquaintances_to_count(monkeypatch):
    monkeypatch.setattr(mitogen.routes, 'MAX_PAIRS', 3)
    routes = Routes(1, [0])
    routes.parent_link = 'up'
    for number in range(2, 20):
        routes.add(number, 'below')
        assert routes.egress(Message(0, number), 'below') == ('up', '')
