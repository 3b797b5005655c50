"""mitogen.service: methods that other contexts call while the main thread is busy."""

import os

import pytest

import mitogen.core
import mitogen.service
import support
import targets_services
from targets_services import Desk, Serial, Shared, SharedToo

SIZE = 4


@pytest.fixture
def child(router):
    return router.local()


@pytest.fixture
def pool(router):
    pool = mitogen.service.Pool(router, [Desk(router)], size=SIZE)
    yield pool
    pool.stop()


def test_a_service_in_a_child(child):
    result, pid = child.call_service(Desk, 'double', number=21)
    assert result == 42
    assert pid == child.call(os.getpid)


def test_it_keeps_its_state(child):
    child.call_service_async(Desk, 'note', what='a')
    support.wait_for(lambda: child.call_service(Desk, 'notes') == ['a'])


def test_while_the_main_thread_is_busy(child, tmp_path):
    busy = child.call_async(targets_services.busy_until, str(tmp_path / 'go'))
    assert child.call_service(Desk, 'double', number=1)[0] == 2
    waiting = child.call_service_async(Desk, 'wait')
    child.call_service(Desk, 'open')
    assert waiting.get(10).unpickle() is True
    (tmp_path / 'go').write_text('')
    assert busy.get(10).unpickle() == 'done'


@pytest.mark.parametrize('method, kwargs, words', [
    ('hidden', {}, 'exposes no method'),
    ('nothing', {}, 'exposes no method'),
    ('__init__', {}, 'exposes no method'),
    ('double', {}, "'number' is missing"),
    ('double', {'number': 'one'}, 'is str, expected'),
    ('fail', {}, 'ValueError: not today'),
    ('unsendable', {}, 'lock'),
    ('secret', {'more': 1}, 'unexpected keyword'),
])
def test_refusals_say_why(child, method, kwargs, words):
    with pytest.raises(mitogen.core.CallError, match=words):
        child.call_service(Desk, method, **kwargs)
    assert child.call_service(Desk, 'secret') == 'for parents'


@pytest.mark.parametrize('name', ['os.path', 'no.such.Service', 'targets_services.os', 'bare'])
def test_only_services_can_be_activated(child, name):
    with pytest.raises(mitogen.core.CallError):
        child.call_service(name, 'run')


def test_a_child_calls_its_parent(child, pool):
    master = child.router.myself()
    assert child.call(targets_services.call_service_of, master, Desk.name(), 'caller', {}) == child.context_id


def test_policies_hold_for_children(child, pool):
    with pytest.raises(mitogen.core.CallError, match='may not call'):
        child.call(targets_services.call_service_of, child.router.myself(), Desk.name(), 'secret', {})


def test_a_child_cannot_activate_a_service_above_it(child, pool):
    with pytest.raises(mitogen.core.CallError, match='may not start one'):
        child.call(targets_services.call_service_of, child.router.myself(), Serial.name(), 'report', {})


def test_siblings(router, child):
    child.call_service(Desk, 'notes')
    sibling = router.local()
    assert sibling.call(targets_services.call_service_of, child, Desk.name(), 'double', {'number': 2})[0] == 4
    with pytest.raises(mitogen.core.CallError, match='may not call'):
        sibling.call(targets_services.call_service_of, child, Desk.name(), 'secret', {})


def test_serialized(child):
    calls = [child.call_service_async(Serial, 'run', number=number) for number in range(8)]
    assert [call.get(10).unpickle() for call in calls] == list(range(8))
    most, runs, order = child.call_service(Serial, 'report')
    assert (most, runs) == (1, 8)


@pytest.mark.parametrize('service', [Shared, SharedToo])
def test_deduplicated(child, service):
    calls = [child.call_service_async(service, 'run', number=number % 2) for number in range(8)]
    assert [call.get(10).unpickle() for call in calls] == [0, 1] * 4
    assert child.call_service(service, 'report')[1] == 2


def test_concurrent_by_default(router, pool):
    waiting = [router.myself().call_service_async(Desk, 'wait') for _ in range(SIZE - 1)]
    router.myself().call_service(Desk, 'open')
    assert [call.get(10).unpickle() for call in waiting] == [True] * (SIZE - 1)


def test_pool_methods(router, pool):
    assert isinstance(pool.get_service(Desk), Desk)
    assert pool.get_service(Serial.name()) is pool.get_service(Serial)
    with pytest.raises(mitogen.service.Error, match='already'):
        pool.add(Desk(router))
    with pytest.raises(mitogen.core.Error, match='has a service pool'):
        mitogen.service.Pool(router)
    with pytest.raises(ValueError, match='thread'):
        mitogen.service.Pool(router, size=0)
    done = mitogen.core.Latch()
    pool.defer(done.put, 'deferred')
    assert done.get(10) == 'deferred'
    assert mitogen.service.get_or_create_pool(router=router) is pool


def test_calls_after_the_end_are_refused(router):
    pool = mitogen.service.Pool(router, [Desk(router)])
    pool.stop()
    with pytest.raises(mitogen.core.ChannelError, match='closed'):
        router.myself().call_service(Desk, 'notes')


def test_a_lost_child_fails_the_calls_that_wait(router, child):
    waiting = child.call_service_async(Desk, 'wait')
    child.call_service(Desk, 'notes')
    router.disconnect(child)
    with pytest.raises(mitogen.core.ChannelError):
        waiting.get(10).unpickle()
