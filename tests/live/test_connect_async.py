"""Children that are started without waiting for each other, by one thread."""

import os
import threading

import pytest

import mitogen.boot.dialogue
import mitogen.connect
import mitogen.core
import support
import targets


def contexts_of(receivers):
    return [receiver.get(60).unpickle() for receiver in receivers]


class Census:
    """Counts the children of a router that are starting, and remembers the most there were."""

    def __init__(self, router):
        self.starting = self.most = 0
        self._lock = threading.Lock()
        self._start_child, router.start_child = router.start_child, self._counted

    def _counted(self, method, name, context_id, done):
        def finished(outcome):
            with self._lock:
                self.starting -= 1
            done(outcome)
        with self._lock:
            self.starting += 1
            self.most = max(self.most, self.starting)
        self._start_child(method, name, context_id, finished)


@pytest.mark.slow
def test_two_hundred_by_one_thread(router):
    census, threads = Census(router), threading.active_count()
    receivers = [router.connect_async('local') for _ in range(200)]
    assert threading.active_count() <= threads + 1
    pids = {context.call(os.getpid) for context in contexts_of(receivers)}
    assert len(pids) == 200
    assert 1 < census.most <= mitogen.connect.MAX_STARTING


def test_the_result_is_the_context(router):
    context = router.connect_async('local', name='mine').get(30).unpickle()
    assert context.name == 'mine'
    assert context.call(targets.echo, 1) == 1


def test_an_error_arrives_as_what_connect_raises(router):
    receiver = router.connect_async('local', python_path='/nonexistent')
    with pytest.raises(mitogen.boot.dialogue.ConnectError, match='/nonexistent'):
        receiver.get(30).unpickle()
    assert router.connect_async('local').get(30).unpickle().call(targets.echo, 2) == 2


def test_wrong_arguments_are_refused_at_once(router):
    with pytest.raises(ValueError, match='connect_timeout'):
        router.connect_async('local', connect_timeout=0)


def test_through_another_context_at_once(router):
    via = router.local()
    children = contexts_of([router.connect_async('local', via=via) for _ in range(5)])
    assert {child.via for child in children} == {via}
    assert len({child.call(os.getpid) for child in children}) == 5
    assert set(support.descendants(via.call(os.getpid))) >= {child.call(os.getpid) for child in children}


def test_errors_come_through_another_context(router):
    receiver = router.connect_async('local', via=router.local(), python_path='/nonexistent')
    with pytest.raises(mitogen.boot.dialogue.ConnectError) as caught:
        receiver.get(30).unpickle()
    assert caught.value.method == 'local'


def test_a_via_that_dies_meanwhile_is_the_error(router):
    via = router.local()
    receiver = router.connect_async('local', via=via, python_path=['/bin/sleep', '30'])
    via.call_no_reply(os._exit, 3)
    with pytest.raises(mitogen.core.ChannelError, match='exit status 3'):
        receiver.get(30).unpickle()


def test_a_fork_is_a_copy_of_the_thread_that_asks(router):
    context = router.connect_async('fork').get(30).unpickle()
    assert context.call(os.getppid) == os.getpid()


def test_the_end_of_the_router_ends_what_waits(router):
    receivers = [router.connect_async('local', python_path=['/bin/sh', '-c', 'sleep 60']) for _ in range(40)]
    router.broker.shutdown()
    router.broker.join()
    for receiver in receivers:
        with pytest.raises(mitogen.core.Error):
            receiver.get(30).unpickle()
