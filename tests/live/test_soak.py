"""Calls, imports, files, services, connects and losses, mixed, for long: every call is accounted for, and neither the
memory nor any table grows.

SOAK=1: half an hour, 50 contexts. SOAK_SECONDS=N: so long. SEED=N: the same choices again.
"""

import gc
import logging
import os
import random

import pytest

from soak import SLACK, Soak, memory

LONG = 'SOAK' in os.environ or 'SOAK_SECONDS' in os.environ
SECONDS = float(os.environ.get('SOAK_SECONDS', 1800 if LONG else 12))
CONTEXTS, THREADS = (50, 8) if LONG else (10, 4)

#: MB by which memory may differ from one look to another: what an allocator gives back is its own affair.
GROWTH = 12


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
def test_nothing_is_lost_and_nothing_grows(tmp_path, caplog):
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print('SEED=%d' % seed)
    soak, looks = Soak(seed, tmp_path, CONTEXTS, THREADS), []
    try:
        for part in 0.2, 0.4, 0.4:
            soak.run(SECONDS * part)
            assert soak.problems == []
            soak.settle()
            gc.collect()
            looks.append((memory(), soak.tables()))
            print('%.1f MB' % looks[-1][0], looks[-1][1], flush=True)
    finally:
        soak.close()
    sent, answered, failed = (sum(number for (_, ending), number in soak.count.items() if ending == what)
                              for what in ('sent', 'answered', 'failed'))
    print('sent %d, answered %d, failed with a reason %d' % (sent, answered, failed), dict(soak.count))
    assert sent == answered + failed and answered > 20 * CONTEXTS
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    before, after = looks[0][1], looks[-1][1]
    grown = {name: (before.get(name, 0), size) for name, size in after.items() if size > before.get(name, 0) + SLACK}
    assert grown == {}
    assert looks[-1][0] < looks[0][0] + GROWTH
