"""Who waits for answers that come fast stays awake, unless others want the processor. With a clock that obeys."""

import itertools
import types

import pytest

import mitogen.core

QUICK = 2e-6        # seconds of a look that finds nothing, when nobody else wants the processor
SLICE = 3e-3        # of one that had to wait until a program that computes was done
RESTS = 1000        # waits that are spent asleep, at most, after which it is tried again
SOON = [(-1, mitogen.core.POLLIN)]


class Broker(mitogen.core.Broker):
    """Waits for answers that come after `answer` seconds; a look in between takes the next of `looks`."""

    def __init__(self, clock):
        self.clock, self.answer, self.looks = clock, 50e-6, itertools.repeat(QUICK)
        mitogen.core.Broker.__init__(self)

    def _broker_main(self):
        """The test does the work."""

    def _ready(self, timeout):
        if timeout != 0:
            self.asleep = True
            self.clock.now = max(self.due, self.clock.now)
        return SOON if self.clock.now >= self.due else []

    def sleeps(self):
        """Wait once; return whether that was asleep."""
        self.asleep, self.due = False, self.clock.now + self.answer
        self._turn()
        return self.asleep


@pytest.fixture
def broker(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0)
    broker = Broker(clock)
    monkeypatch.setattr(mitogen.core, 'time', types.SimpleNamespace(monotonic=lambda: clock.now))

    def sched_yield():
        clock.now += next(broker.looks)
    monkeypatch.setattr(mitogen.core.os, 'sched_yield', sched_yield)
    yield broker
    broker._end()


def naps(broker, waits):
    """How many of the next waits are spent asleep."""
    return sum(broker.sleeps() for _ in range(waits))


def test_short_waits_are_spent_awake_from_the_second_on(broker):
    assert broker.sleeps() and naps(broker, 1000) == 0


def test_after_a_long_wait_the_next_is_spent_asleep(broker):
    naps(broker, 10)
    broker.answer = 10 * mitogen.core.BRISK
    assert naps(broker, 3) == 3
    broker.answer = 50e-6
    assert naps(broker, 10) == 1


def test_a_delay_once_in_a_while_changes_little(broker):
    delays = itertools.cycle([SLICE] + [QUICK] * 5000)      # each two hundredth wait
    naps(broker, 10)
    broker.looks = delays
    assert 0 < naps(broker, 10000) < 500


def test_beside_a_program_that_computes_waits_are_spent_asleep(broker):
    naps(broker, 10)
    broker.looks = itertools.repeat(SLICE)
    assert naps(broker, 10 * RESTS) >= 9.9 * RESTS


def test_once_that_program_has_ended_waits_are_spent_awake_again(broker):
    broker.looks = itertools.repeat(SLICE)
    naps(broker, 2 * RESTS)
    broker.looks = itertools.repeat(QUICK)
    naps(broker, RESTS + 1)
    assert naps(broker, 1000) == 0
