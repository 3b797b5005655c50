"""What a process that runs for months counts and schedules: it does not run out, and keeps nothing of what is over."""

import itertools

from mitogen.broker import MANY_TIMERS, Timers
from mitogen.core import FIRST_FREE_HANDLE
from mitogen.routes import END_OF_HANDLES, handles


def test_after_the_last_handle_comes_the_first_again():
    numbers = handles(END_OF_HANDLES - 2, {})
    assert list(itertools.islice(numbers, 4)) == [
        END_OF_HANDLES - 2, END_OF_HANDLES - 1, FIRST_FREE_HANDLE, FIRST_FREE_HANDLE + 1]


def test_a_handle_that_is_in_use_is_not_given_again():
    taken = {END_OF_HANDLES - 1: '', FIRST_FREE_HANDLE: ''}
    numbers = handles(END_OF_HANDLES - 1, taken)
    assert next(numbers) == FIRST_FREE_HANDLE + 1
    taken[FIRST_FREE_HANDLE + 2] = ''
    assert next(numbers) == FIRST_FREE_HANDLE + 3


def test_cancelled_timers_do_not_fill_the_memory():
    """Each start of a child has one, for half a minute, and cancels it after milliseconds."""
    timers = Timers()
    for number in range(20 * MANY_TIMERS):
        timers.schedule(30.0 + number, print).cancel()
    assert len(timers.heap) <= MANY_TIMERS


def test_timers_that_are_not_cancelled_stay_whatever_is_thrown_away():
    timers, called = Timers(), []
    for number in range(4 * MANY_TIMERS):
        timers.schedule(number / 10, lambda number=number: called.append(number))
        for _ in range(3):
            timers.schedule(number / 10, print).cancel()
    for fn in timers.due(MANY_TIMERS / 10):
        fn()
    assert called == list(range(MANY_TIMERS + 1))
    assert timers.wait(0.0) == (MANY_TIMERS + 1) / 10
