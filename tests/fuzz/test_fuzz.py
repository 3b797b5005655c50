"""Whatever bytes arrive: what tests/fuzz/invariants.py says holds. SOAK=1: for an hour in all."""

import os
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fuzz.invariants import INVARIANTS, read_corpus

each = pytest.mark.parametrize('name', INVARIANTS)

#: Seconds for each, beside the corpus.
SECONDS = 3600 / len(INVARIANTS) if 'SOAK' in os.environ else 1.5


@each
def test_what_was_found_before(name):
    for data in read_corpus(name):
        INVARIANTS[name](data)


@each
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300))
def test_any_bytes(name, data):
    INVARIANTS[name](data)


@each
@pytest.mark.timeout(SECONDS + 120)
def test_what_was_found_before_with_changes(name):
    """Parts of the corpus cut, joined and changed: nearer to what gets far than bytes by chance."""
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print('SEED=%d' % seed)
    chance, known, count, end = random.Random(seed), read_corpus(name), 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        data = bytearray(chance.choice(known))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(data) + 1)
            change = chance.choice([bytes([chance.randrange(256)]), b'', chance.choice(known)[:20], bytes(4),
                                    b'\xff' * 4, data[place:][:10]])
            data[place:place + chance.choice([0, 1, 1, 4])] = change
        count += 1
        try:
            INVARIANTS[name](bytes(data))
        except BaseException:
            print('after %d: %r' % (count, bytes(data)))
            raise
    assert count > 10
