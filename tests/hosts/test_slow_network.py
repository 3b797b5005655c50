"""How often a user waits for a far machine: round trips, from times with and without delay on the wire."""

import json
import pathlib
import sys

import pytest

FAR_CALLS = pathlib.Path(__file__).parents[2] / 'bench' / 'far_calls.py'
DELAY = 50      # milliseconds each way


def runs(network, keys, python):
    """Return what far_calls.py prints, three times."""
    sshd = network.sshd
    argv = [sys.executable, FAR_CALLS, sshd.host, sshd.port, 'mtgkey', keys.identity, python, *sshd.ssh_args()]
    return [json.loads(network.run_near([str(word) for word in argv], check=True).stdout) for _ in range(3)]


def best(found):
    """The best of several runs: whatever is slower was another's doing."""
    return {what: min(run[what] for run in found) for what in found[0]}


def excess(near, far):
    """What takes more round trips than it should."""
    trips = {what: (far[what] - near[what]) / (2 * DELAY / 1000) for what in near}
    print('round trips:', {what: round(count, 1) for what, count in trips.items()})
    # 500 KB do not fit the first windows of TCP, but the child runs the first modules while the last are under way. How
    # much that hides is a question of how long it runs: two round trips are left on a slow Python, three on a fast one.
    limits = {'connect': trips['ssh'] + 1.1, 'connect by stdin': trips['ssh'] + 2.1, 'call': 1.5, 'first call': 1.5,
              'django': 3.5}
    return {what: trips[what] for what, limit in limits.items() if not 0.5 < trips[what] <= limit}


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_round_trips(slow_network, accounts, keys, python):
    near, far, close, distant = [], [], slow_network(0), slow_network(DELAY)
    for _ in range(3):      # twice more on a machine that has much else to do
        near += runs(close, keys, python)
        far += runs(distant, keys, python)
        if not excess(best(near), best(far)):
            break
    assert not excess(best(near), best(far))
    assert best(far)['django requests'] == 1
