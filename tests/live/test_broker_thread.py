"""What belongs to the broker thread runs on no other: an assertion around all of it, while much is going on."""

import functools
import os
import signal
import threading

import pytest

import mitogen.boot.connection
import mitogen.broker
import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.pressure
import targets
import targets_calls
from mitogen.core import Error

#: (class, how to its broker, methods)
GUARDED = [
    (mitogen.core.Router, lambda router: router.broker, [
        '_forward', '_deliver', '_refuse', '_lost', '_bury', '_egress', '_on_stream_lost']),
    (mitogen.parent.Router, lambda router: router.broker, [
        '_async_route', '_egress', '_on_del_route', '_on_add_route', '_on_stream_lost', '_forget', '_lost',
        '_send_news', 'register', 'add_route']),
    (mitogen.core.Stream, lambda stream: stream.router.broker, [
        'on_receive', 'receive', 'send', 'on_transmit', 'on_disconnect', 'announce']),
    (mitogen.pressure.BoundedStream, lambda stream: stream.router.broker, ['send', 'on_transmit']),
    (mitogen.boot.connection.ChildStream, lambda stream: stream.router.broker, [
        'begin', 'on_blocked', 'on_receive', 'overhear', '_perform', '_on_ready', '_watch_exit', '_close',
        'on_disconnect', 'on_shutdown']),
    (mitogen.core.Broker, lambda broker: broker, [
        '_watch', 'drop', '_turn', '_settle', '_guard', 'run_deferred']),
    (mitogen.broker.Broker, lambda broker: broker, ['_turn', '_ready', '_begin_shutdown']),
]


@pytest.fixture
def violations(monkeypatch):
    """What was called on a wrong thread."""
    found = []

    def guard(kind, name, broker_of):
        method = vars(kind)[name]

        @functools.wraps(method)
        def guarded(self, *args, **kwargs):
            broker = broker_of(self)
            # Set last: before that, the broker is only its maker's.
            if hasattr(broker, '_thread') and not broker.on_thread():
                found.append('%s.%s on %s' % (kind.__name__, name, threading.current_thread().name))
            return method(self, *args, **kwargs)
        monkeypatch.setattr(kind, name, guarded)
    for kind, broker_of, names in GUARDED:
        for name in names:
            guard(kind, name, broker_of)
    return found


def test_only_on_the_broker_thread(violations):
    router = mitogen.master.Router()
    try:
        middle = router.local()
        contexts = [middle, router.local(), router.fork(), router.local(via=middle)]

        def use(context):
            for number in range(30):
                try:
                    assert context.call(targets.echo, number) == number
                    context.call_no_reply(targets.echo, number)
                    context.call_async(targets.echo, bytes(100_000)).get(20).unpickle()
                except Error:
                    return
        threads = [threading.Thread(target=use, args=(context,)) for context in contexts * 2]
        for thread in threads:
            thread.start()
        started = [router.connect_async('local') for _ in range(3)]
        os.kill(contexts[1].call(targets_calls.pid), signal.SIGKILL)
        router.disconnect(started[0].get(20).unpickle())
        started[1].get(20).unpickle().shutdown(wait=True)
        contexts[3].shutdown()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        router.broker.shutdown()
        router.broker.join()
    assert violations == []


def test_a_guard_sees_a_wrong_thread(violations, router):
    router._lost([], 'nobody')
    assert violations and 'Router._lost on MainThread' in violations[0]


@pytest.mark.parametrize('name, args', [
    ('register', 'context stream'), ('add_route', '5 stream'), ('del_route', '5'), ('cut_off', 'reason')])
def test_these_refuse_a_wrong_thread(router, name, args):
    things = [mitogen.core.Context(router, 5) if word == 'context' else word for word in args.split()]
    with pytest.raises(RuntimeError, match='not on the broker thread'):
        getattr(router, name)(*things)
    assert router.local().call(targets.echo, 1) == 1
