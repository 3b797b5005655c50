"""How often a user waits for a far machine: round trips, from times with and without delay on the wire."""

import json
import pathlib
import sys

import pytest

FAR_CALLS = pathlib.Path(__file__).parents[2] / 'bench' / 'far_calls.py'
DELAY = 50      # milliseconds each way


def seconds(network, keys, python):
    """Return what far_calls.py prints, each the best of three: whatever is slower was another's doing."""
    sshd = network.sshd
    argv = [sys.executable, FAR_CALLS, sshd.host, sshd.port, 'mtgkey', keys.identity, python, *sshd.ssh_args()]
    runs = [json.loads(network.run_near([str(word) for word in argv], check=True).stdout) for _ in range(3)]
    return {what: min(run[what] for run in runs) for what in runs[0]}


@pytest.mark.alone
@pytest.mark.slow
def test_round_trips(slow_network, accounts, keys, python):
    near = seconds(slow_network(0), keys, python)
    far = seconds(slow_network(DELAY), keys, python)
    trips = {what: (far[what] - near[what]) / (2 * DELAY / 1000) for what in near}
    print('round trips:', {what: round(count, 1) for what, count in trips.items()})
    assert trips['connect'] - trips['ssh'] <= 1.1
    assert trips['connect by stdin'] - trips['ssh'] <= 2.1
    assert round(trips['call']) == 1
    assert round(trips['first call']) == 1
    # 500 KB do not fit the first windows of TCP, but the child runs the first modules while the last are under way. How
    # much that hides is a question of how long it runs: two round trips are left on a slow Python, three on a fast one.
    assert far['django requests'] == 1
    assert round(trips['django']) <= 3
