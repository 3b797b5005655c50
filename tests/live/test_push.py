"""mitogen.push: small files, brought to contexts before they ask."""

import os
import threading

import pytest

import mitogen.core
import mitogen.push
import mitogen.service
import support
import targets_files
from mitogen.service import PushFileService


@pytest.fixture
def pusher(router):
    pool = mitogen.service.Pool(router, size=2)
    yield pool.get_service(PushFileService)
    pool.stop()


@pytest.fixture
def grandchild(router, child):
    return router.local(via=child)


@pytest.fixture
def paths(tmp_path):
    """Twenty files, of up to twice what goes in one message."""
    paths = []
    for number in range(20):
        (tmp_path / str(number)).write_bytes(os.urandom(number * mitogen.push.PUSH_AT_ONCE // 10))
        paths.append(str(tmp_path / str(number)))
    return paths


@pytest.fixture
def stored(router, monkeypatch):
    """The names in each message that the master sends with files: (context's id, new ones, known ones)."""
    calls = []
    send = PushFileService._send

    def listening(self, hop, context, new, known):
        calls.append((hop.context_id, new, known))
        send(self, hop, context, new, known)
    monkeypatch.setattr(PushFileService, '_send', listening)
    return calls


def content(path):
    with open(path, 'rb') as fp:
        return fp.read()


@pytest.mark.parametrize('where', ['child', 'grandchild'])
def test_one(request, pusher, paths, where):
    context = request.getfixturevalue(where)
    pusher.propagate_to(context, paths[3])
    assert context.call(targets_files.pushed, paths[3]) == content(paths[3])


@pytest.mark.parametrize('where', ['child', 'grandchild'])
def test_many(request, pusher, paths, where):
    context = request.getfixturevalue(where)
    pusher.propagate_paths_and_modules(context, paths, [])
    assert context.call(targets_files.pushed_digest, paths) == targets_files.digest(b''.join(map(content, paths)))


def test_modules_come_along(pusher, child, write, asked):
    write({'brought_a/__init__.py': 'X = 1', 'brought_b.py': 'X = 2'})
    child.call(os.getpid)
    pusher.propagate_paths_and_modules(child, [], ['brought_a', 'brought_b'])
    del asked[:]
    assert [child.call(eval, "__import__(%r).X" % name) for name in ('brought_a', 'brought_b')] == [1, 2]
    assert asked == []


def test_get_waits(pusher, child, paths):
    waiting = child.call_async(targets_files.pushed, paths[1])
    pusher.propagate_to(child, paths[1])
    assert waiting.get(20).unpickle() == content(paths[1])


def test_get_does_not_wait_for_ever(child):
    with pytest.raises(mitogen.core.CallError, match='nobody has pushed /nothing within 0.01 seconds'):
        child.call(targets_files.pushed, '/nothing', 0.01)


def test_get_ends_with_the_pool(router):
    pool = mitogen.service.Pool(router)
    pusher = pool.get_service(PushFileService)
    failed = mitogen.core.Latch()

    def wait():
        try:
            pusher.get('/nothing')
        except mitogen.core.ChannelError as exc:
            failed.put(str(exc))
    thread = threading.Thread(target=wait)
    thread.start()
    support.wait_for(lambda: pusher._waiting)
    pool.stop()
    assert 'ended' in failed.get(10)
    thread.join()
    with pytest.raises(mitogen.core.ChannelError):
        pusher.get('/nothing')


def test_each_hop_is_sent_a_file_once(router, pusher, child, grandchild, paths, stored):
    other = router.local(via=child)
    few = paths[:3]
    pusher.propagate_paths_and_modules(grandchild, few, [])
    pusher.propagate_paths_and_modules(grandchild, few, [])
    pusher.propagate_paths_and_modules(other, few, [])
    assert other.call(targets_files.pushed_digest, few) == grandchild.call(targets_files.pushed_digest, few)
    assert child.call(targets_files.pushed_digest, few)
    assert stored == [(child.context_id, few, []), (child.context_id, [], few), (child.context_id, [], few)]


def test_what_was_sent_to_the_lost_is_forgotten(router, pusher, child, paths):
    pusher.propagate_to(child, paths[1])
    assert pusher._sent
    child.shutdown(wait=True)
    support.wait_for(lambda: not pusher._sent and not pusher._busy)
    with pytest.raises(mitogen.service.Error, match='is not below'):
        pusher.propagate_to(child, paths[1])


def test_it_is_lost_meanwhile(router, pusher, child, paths, monkeypatch):
    batches = PushFileService._batches

    def losing(self, names):
        router.disconnect(child)
        return batches(self, names)
    pusher.propagate_to(child, paths[0])
    monkeypatch.setattr(PushFileService, '_batches', losing)
    with pytest.raises(mitogen.core.ChannelError):
        pusher.propagate_paths_and_modules(child, paths, [])


def test_refusals(pusher, child, tmp_path):
    with pytest.raises(OSError):
        pusher.propagate_to(child, tmp_path / 'missing')
    with pytest.raises(mitogen.service.Error, match='not a regular file'):
        pusher.propagate_to(child, tmp_path)
    with open(tmp_path / 'large', 'wb') as fp:
        fp.truncate(mitogen.push.MAX_PUSHED + 1)
    with pytest.raises(mitogen.service.Error, match='use FileService'):
        pusher.propagate_to(child, tmp_path / 'large')


def test_a_child_cannot_push(router, pusher, child):
    with pytest.raises(mitogen.core.CallError, match='may not call'):
        child.call(push_up, router.myself())


def push_up(context):
    context.call_service(PushFileService, 'store', context=context, files=[('/etc/passwd', b'')], known=[])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_files_to_twenty_children(router, pusher, tmp_path):
    paths = [str(tmp_path / str(number)) for number in range(10000)]
    for number, path in enumerate(paths):
        with open(path, 'w') as fp:
            fp.write('file %d\n' % number * 10)
    expected = targets_files.digest(b''.join(b'file %d\n' % number * 10 for number in range(10000)))
    children = [router.fork() for _ in range(20)]
    for child in children:
        pusher.propagate_paths_and_modules(child, paths, [])
    answers = [child.call_async(targets_files.pushed_digest, paths) for child in children]
    assert {answer.get().unpickle() for answer in answers} == {expected}
