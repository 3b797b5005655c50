"""mitogen.flow: how much of a stream may be under way, and who says so."""

import pytest
from hypothesis import given, strategies as st

from mitogen.flow import NEWS_AFTER, WINDOW, Credit, Debt, Violation


@pytest.mark.parametrize('size', [0, -1, 101, 'one', 1.0, None, True])
def test_more_room_than_was_used_is_a_lie(size):
    credit = Credit()
    credit.spend(100)
    with pytest.raises(Violation):
        credit.refund(size)
    assert credit.left == WINDOW - 100


def test_more_bytes_than_there_is_room_for():
    debt = Debt()
    debt.receive(WINDOW)
    with pytest.raises(Violation):
        debt.receive(1)


def test_what_is_settled_makes_room():
    debt = Debt()
    debt.receive(WINDOW)
    assert debt.settle(NEWS_AFTER - 1) == 0
    assert debt.settle(1) == NEWS_AFTER
    debt.receive(NEWS_AFTER)
    with pytest.raises(Violation):
        debt.receive(1)


@given(st.lists(st.tuples(st.integers(1, WINDOW), st.integers(1, WINDOW)), max_size=50))
def test_neither_end_ever_waits_for_the_other(steps):
    """Whatever the pace: once all is written the source may send again."""
    credit, debt, unwritten = Credit(), Debt(), 0
    for read, write in steps:
        read = min(read, credit.left)
        if read:
            credit.spend(read)
            debt.receive(read)
            unwritten += read
        write = min(write, unwritten)
        unwritten -= write
        told = debt.settle(write)
        if told:
            credit.refund(told)
        assert credit.left or unwritten
