"""Many short lives of routers on a machine that is busy with other things, with threads that lose the processor between
any two instructions: each call ends, with an answer or a reason, and nothing is left behind.

SOAK=1: for ten minutes. RACES_SECONDS=N: so long. SEED=N: the same choices again, if not the same order of events.
"""

import contextlib
import json
import os
import random
import subprocess
import sys

import pytest

import programs
import support

SECONDS = float(os.environ.get('RACES_SECONDS', 600 if 'SOAK' in os.environ else 3))

#: Seconds after which a life of milliseconds hangs, on the slowest of machines.
LIMIT = 90


@contextlib.contextmanager
def load():
    """As many programs as there are processors, each of which could keep one busy."""
    busy = [subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass']) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for program in busy:
            program.kill()
            program.wait()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 3 * LIMIT)
@pytest.mark.parametrize('number', range(2))
def test_short_lives(number):
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print('SEED=%d' % seed)
    with load():
        done = programs.run(support.checkout() / 'tests' / 'races.py', seed, SECONDS / 2, LIMIT,
                            timeout=SECONDS + 2 * LIMIT)
    assert done.returncode == 0, done.stderr[-20000:]
    found = json.loads(done.stdout)
    print(found)
    assert found.get('answered', 0) + found.get('failed', 0) > found['lives'] > 0
