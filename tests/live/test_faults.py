"""Whatever happens to contexts, pipes, memory and networks, at whatever moment: each call has an answer, or an error
that names the cause, within `faults.LIMIT` seconds; nothing is left behind; the other contexts go on.

SOAK=1: 500 faults. SEED=N: the same ones again. A clock that jumps cannot be tried where others use it too: that
nothing here waits by it is seen from the source.
"""

import os
import random
import re

import pytest

import support
from faults import FAULTS, Field

SOAK = 'SOAK' in os.environ
NUMBER = int(os.environ.get('FAULTS', 500 if SOAK else len(FAULTS) + 2))


@pytest.mark.slow
@pytest.mark.timeout(4000 if SOAK else 60)
def test_faults_at_random_moments():
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print('SEED=%d' % seed)
    field = Field(seed)
    chosen = FAULTS + field.random.choices(FAULTS, k=max(0, NUMBER - len(FAULTS)))
    field.random.shuffle(chosen)
    try:
        for number, name in enumerate(chosen):
            print(number, name, flush=True)
            field.strike(name)
    finally:
        field.close()
    calls = [sum(counts) for counts in zip(*((m.sent, m.answered, m.failed) for m in field.members))]
    print('calls %d, answered %d, failed %d' % tuple(calls), field.happened)


def test_nothing_waits_by_a_clock_that_jumps():
    """The time of day is for logs. What waits does so by time.monotonic(), which only goes on."""
    found = {(path.name, line.strip()) for path in (support.checkout() / 'mitogen').rglob('*.py')
             for line in path.read_text().split('\n') if re.search(r'\btime\.time\(|\bnow\(\)|utcnow', line)}
    assert {name for name, line in found} == {'debug.py'}
    assert all('write(' in line for _, line in found)
