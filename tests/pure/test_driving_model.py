"""tools/driving_model.py: no order of the threads that do the broker's work leaves something undone."""

import os
import sys

import pytest

import mitogen.core

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'tools'))
import driving_model  # noqa: E402

LARGE = 4       # of the cases; takes half a minute


@pytest.mark.parametrize('number', range(len(driving_model.CASES)))
def test_nothing_is_forgotten(number):
    if number == LARGE and 'SOAK' not in os.environ:
        pytest.skip('two threads that call twice have 431,000 states: SOAK=1')
    count, wrong, path = driving_model.explore(driving_model.CASES[number])
    assert not wrong, '%s:\n%s' % (wrong, '\n'.join(path))
    assert count > 40


def rest_without_a_look(state, name, thread):
    after = driving_model.go(state, name, 'rest_look')
    after.driver = 0
    yield 'rest', after


def leave_without_a_look(state, name, thread):
    after = driving_model.go(state, name, 'leave')
    after.driver = 0
    yield 'leave', after


def leave_without_a_call(state, name, thread):
    after = driving_model.go(state, name, 'leave')
    after.driver = after.driver if after.deferred else 0
    yield 'leave', after


def send_without_a_call(state, name, thread):
    after = driving_model.go(state, name, 'defer_idle')
    if not after.deferred and after.driver:
        after.waker = True
    elif not after.deferred and not after.sent:
        after.sent, after.driver = True, name
    after.deferred.append(thread['what'])
    yield 'defer', after


def wait_and_be_coming_still(state, name, thread, wait=driving_model.at_wait_for):
    for label, after in wait(state, name, thread):
        after.coming = state.coming
        yield label, after


@pytest.mark.parametrize('step, fault', [('at_rest', rest_without_a_look), ('at_leave_locked', leave_without_a_look),
                                         ('at_leave_locked', leave_without_a_call), ('at_defer', send_without_a_call),
                                         ('at_wait_for', wait_and_be_coming_still)])
def test_it_finds_what_was_wrong_once(monkeypatch, step, fault):
    monkeypatch.setattr(driving_model, step, fault)
    found = [driving_model.explore(programs)[1] for programs in driving_model.CASES[1:4] + driving_model.CASES[7:10]]
    assert any(found)


def test_its_steps_are_those_of_the_broker():
    for name in 'defer', 'wait_for', '_leave', '_rest', '_settle', '_turn':
        assert callable(getattr(mitogen.core.Broker, name))
