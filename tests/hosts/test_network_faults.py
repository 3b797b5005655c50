"""A real sshd behind a network that drops, delays, freezes and is cut; a server that dies. After each: the answer, or
an error that names the cause within the time that docs/howitworks.rst states; nothing left; other contexts unhurt.

SOAK=1: also a network that freezes for a minute, by ssh's keep-alive as it is by default.
"""

import contextlib
import os
import re
import signal
import time

import pytest

import faults
import hosts.slow_network
import mitogen.core
import support
import targets
from mitogen.core import Blob, ChannelError

#: ssh's keep-alive here: questions unanswered, seconds between them. Lost is what is silent for one interval more.
COUNT, INTERVAL = 2, 1
SILENCE = (COUNT + 1) * INTERVAL

#: Of the sshd: it looks for its clients as often.
SERVER = 'ClientAliveInterval %d\nClientAliveCountMax %d\n' % (INTERVAL, COUNT)

#: Seconds for what is not the network's: exit statuses (0.5), user code that hangs (`core.EXIT_GRACE`), a busy machine.
SLACK = 10


class Far:
    """A context behind a slow network, a local one that must not notice anything, and what the master has for them."""

    def __init__(self, network, router, python, folder):
        self.network, self.router = network, router
        self._settings = dict(
            hostname=network.sshd.host, port=network.sshd.port, username='mtgkey', identity_file=network.sshd.identity,
            python_path=python, ssh_args=network.sshd.ssh_args(), ssh_path=network.near_ssh(folder),
            keepalive_interval=INTERVAL, keepalive_count=COUNT)
        self.bystander = router.local()
        self.bystander.call(targets.echo, 1)
        self._before = faults.belongings()

    def connect(self, **options):
        """Another context over there."""
        return self.router.ssh(**{**self._settings, **options})

    def begin(self):
        """The context, its pid, and a call under way that never returns."""
        context = self.connect()
        return context, context.call(os.getpid), context.call_async(targets.wait_for_ever)

    def expect_loss(self, call, seconds, *words):
        """See that a call fails in so many seconds, saying why, and that the master has nothing more than before.

        :param words: patterns, each of which the error has.
        """
        began = time.monotonic()
        while call.empty() and time.monotonic() - began < seconds:
            assert self.bystander.call(targets.echo, 5) == 5
            time.sleep(0.01)
        with pytest.raises(ChannelError) as caught:
            call.get(0)
        for word in words:
            assert re.search(word, str(caught.value)), str(caught.value)
        self.expect_nothing_left()

    def expect_nothing_left(self):
        """See that the master has nothing more than before there was a far one."""
        with contextlib.suppress(AssertionError):
            support.wait_for(lambda: faults.belongings() == self._before, SLACK)
        assert faults.belongings() == self._before
        assert self.bystander.call(targets.echo, 5) == 5


@pytest.fixture(scope='module')
def network(keys):
    found = hosts.slow_network.SlowNetwork(5, keys, SERVER)
    yield found
    found.stop()


@pytest.fixture
def far(network, python, router, tmp_path):
    yield Far(network, router, python, tmp_path)
    network.lose(0)


def wait_for_end(pid, seconds=SLACK):
    support.wait_for(lambda: not support.is_running(pid), seconds, 'the end of the far process')


# ---- The network


def test_a_network_that_drops_and_delays(far):
    context = far.connect(keepalive_count=30)
    context.call(targets.echo, 0)
    far.network.lose(10)
    calls = [context.call_async(targets.echo, number) for number in range(50)]
    assert context.call(len, Blob(bytes(200_000))) == 200_000
    assert [call.get(60).unpickle() for call in calls] == list(range(50))


def test_a_network_that_freezes_and_comes_back(far):
    context = far.connect(keepalive_count=30)
    context.call(targets.echo, 0)
    with far.network.frozen():
        calls = [context.call_async(len, Blob(bytes(100_000))) for _ in range(20)]
        with pytest.raises(mitogen.core.TimeoutError):
            calls[0].get(1)
        assert far.bystander.call(targets.echo, 5) == 5
    assert [call.get(60).unpickle() for call in calls] == [100_000] * 20


def test_a_network_that_freezes_for_too_long(far):
    """All that is behind it is lost; when it is back, what was left over there hears of it and ends."""
    context = far.connect()
    below = far.router.local(via=context)
    pids = context.call(os.getpid), below.call(os.getpid)
    call = context.call_async(targets.wait_for_ever)
    with far.network.frozen():
        calls = [below.call_async(targets.wait_for_ever), context.call_async(len, Blob(bytes(20 << 20)))]
        far.expect_loss(call, SILENCE + SLACK, context.name, 'no sign of life for 3 seconds')
        for other in calls:
            far.expect_loss(other, 1, context.name, 'no sign of life for 3 seconds')
        with pytest.raises(ChannelError, match='no sign of life'):
            context.call(targets.echo, 1)
    for pid in pids:
        wait_for_end(pid)
    assert far.connect().call(targets.echo, 5) == 5


def test_a_network_that_is_cut_for_good(far):
    context, pid, call = far.begin()
    far.network.lose(100)
    far.expect_loss(call, SILENCE + SLACK, context.name, 'no sign of life for 3 seconds')
    wait_for_end(pid, SILENCE + SLACK)      # the server notices for itself


def test_a_network_that_is_cut_when_a_child_starts(far):
    far.network.lose(100)
    with pytest.raises(mitogen.core.StreamError, match='no answer within 2 seconds'):
        far.connect(connect_timeout=2)
    far.expect_nothing_left()


def test_the_end_of_a_program_does_not_wait_for_a_frozen_network(far):
    _, pid, call = far.begin()
    with far.network.frozen():
        far.router.broker.shutdown_timeout = 1.0
        began = time.monotonic()
        far.router.broker.shutdown()
        far.router.broker.join()
        assert time.monotonic() - began < 1 + SLACK
        with pytest.raises(ChannelError):
            call.get(0)
        assert not [pid for pid in support.descendants(os.getpid()) if support.process_status(pid)[2] == 'ssh']
    wait_for_end(pid)


@pytest.mark.skipif('SOAK' not in os.environ, reason='a network that freezes for a minute takes two; SOAK=1')
@pytest.mark.timeout(400)
def test_a_network_that_freezes_for_a_minute(slow_network, accounts, router, python, tmp_path):
    """15 seconds, three questions: 45 seconds of silence are survived, 60 are not. This sshd looks for nobody."""
    far = Far(slow_network(5), router, python, tmp_path)
    context = far.connect(keepalive_interval=15, keepalive_count=3)
    call = context.call_async(time.sleep, 5)
    with far.network.frozen():
        time.sleep(45)
    assert call.get(60).unpickle() is None
    call = context.call_async(targets.wait_for_ever)
    with far.network.frozen():
        far.expect_loss(call, 60 + SLACK, context.name, 'no sign of life for 60 seconds')


# ---- The server


def server_of(pid):
    """Pid of the sshd that serves a child."""
    while not support.process_status(pid)[2].startswith('sshd'):
        pid = support.process_status(pid)[0]
    return pid


def test_a_server_that_dies_in_the_middle_of_a_call(far):
    context, pid, call = far.begin()
    os.kill(server_of(pid), signal.SIGKILL)
    # What ssh says depends on what it was about to do.
    far.expect_loss(call, SLACK, context.name, 'exit status 255', 'closed by remote host|Broken pipe')
    wait_for_end(pid)


def test_a_server_that_stands_still(far):
    context, pid, call = far.begin()
    session = server_of(pid)
    os.kill(session, signal.SIGSTOP)
    try:
        far.expect_loss(call, SILENCE + SLACK, context.name, 'no sign of life for 3 seconds')
    finally:
        os.kill(session, signal.SIGCONT)
    wait_for_end(pid)


def test_a_server_that_dies_while_a_child_starts(far):
    with pytest.raises(mitogen.core.StreamError, match='closed by remote host'):
        far.connect(python_path=['sh', '-c', 'kill -9 $PPID; exec sleep 1'])
    far.expect_nothing_left()
