"""mitogen.fanout: what needs no children to be decided."""

import pytest
from hypothesis import given, strategies as st

import mitogen.core
from mitogen.core import CallError, Message
from mitogen.fanout import collected_answers, numbers, runs


@given(st.sets(st.integers(1, 300)))
def test_runs_and_back(ids):
    found = runs(ids)
    assert numbers(found) == sorted(ids)
    assert len(found) == len([number for number in ids if number - 1 not in ids])


def test_siblings_are_one_run():
    assert runs([7, 5, 6, 9]) == [(5, 3), (9, 1)]


def answer(value, missing=(1, 2, 3)):
    return collected_answers(Message.pickled(value), set(missing))


def test_answers_are_for_whom_they_name():
    pickled = mitogen.core.encode('x')
    assert answer([(pickled, False, [(1, 2)]), (b'gone', True, [(3, 1)])]) == [
        (pickled, False, [1, 2]), (b'gone', True, [3])]


def test_answers_for_others_are_ignored():
    assert answer([(b'', False, [(8, 2)])]) == [(b'', False, [])]


def test_a_dead_message_is_everybodys_answer():
    assert collected_answers(Message.dead('why'), {2, 1}) == [(b'why', True, [1, 2])]


def test_an_error_of_the_context_between_is_everybodys_answer():
    [(pickled, is_dead, ids)] = answer(CallError('ValueError', 'x'))
    assert isinstance(mitogen.core.decode(pickled), CallError)
    assert (is_dead, ids) == (False, [1, 2, 3])


@pytest.mark.parametrize('value', [
    None, 5, 'x', [5], [(b'', False)], [(5, False, [(1, 1)])], [('x', False, [(1, 1)])], [(b'', False, 5)],
    [(b'', False, [(1, 10 ** 15)])], [(b'', False, [('a', 1)])], [(b'', False, [(1, -1)])], [(b'', False, [(1,)])],
    [(b'', False, [(1, 10 ** 12), (1, -10 ** 12)])], [(b'', False, [(1, True)])], [(b'', False, [(10 ** 30, 3)])],
    [(b'', False, [(1, 1.5)])]])
def test_nonsense_is_everybodys_error_or_nobodys_answer(value):
    for _, is_dead, ids in answer(value):
        assert (is_dead, ids) == (True, [1, 2, 3]) or ids == []


def test_what_is_no_pickle_is_everybodys_error():
    [(text, is_dead, ids)] = collected_answers(Message(data=b'rubbish'), {1})
    assert (is_dead, ids) == (True, [1])
    assert b'cannot be read' in text
