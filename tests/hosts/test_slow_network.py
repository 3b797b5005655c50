"""How often a user waits for a far machine: round trips, from times with and without delay on the wire."""

import json
import pathlib
import sys

import pytest

FAR_CALLS = pathlib.Path(__file__).parents[2] / 'bench' / 'far_calls.py'
DELAY = 200     # milliseconds each way: so long that what a busy machine takes longer is little of it


def run(network, keys, python):
    """Return what far_calls.py prints."""
    sshd = network.sshd
    argv = [sys.executable, FAR_CALLS, sshd.host, sshd.port, 'mtgkey', keys.identity, python, *sshd.ssh_args()]
    return json.loads(network.run_near([str(word) for word in argv], check=True).stdout)


def best(found):
    """The best of several runs: whatever is slower was another's doing."""
    return {what: min(one[what] for one in found) for what in found[0]}


def excess(near, far):
    """What takes more round trips than it should."""
    trips = {what: (far[what] - near[what]) / (2 * DELAY / 1000) for what in near}
    print('round trips:', {what: round(count, 1) for what, count in trips.items()})
    # The 500 KB of django are one answer, but do not fit the first windows of TCP: five flights, of which the child's
    # work hides up to three where a round trip is shorter than here.
    limits = {'connect': trips['ssh'] + 1.1, 'connect by stdin': trips['ssh'] + 2.1, 'call': 1.5, 'first call': 1.5,
              'django': 6.5}
    return {what: trips[what] for what, limit in limits.items() if not 0.5 < trips[what] <= limit}


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_round_trips(slow_network, accounts, keys, python):
    near, far, close, distant = [], [], slow_network(0), slow_network(DELAY)
    for _ in range(3):      # twice more on a machine that has much else to do
        near.append(run(close, keys, python))
        far.append(run(distant, keys, python))
        if not excess(best(near), best(far)):
            break
    assert not excess(best(near), best(far))
    assert best(far)['django requests'] == 1
