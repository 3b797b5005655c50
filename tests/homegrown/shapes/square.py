"""Needs two modules above it."""

from ..colours import FAVOURITE


def describe(side):
    """`'a green square of 9'` for 3."""
    return 'a %s square of %d' % (FAVOURITE, side ** 2)
