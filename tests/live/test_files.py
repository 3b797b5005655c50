"""mitogen.files: files on their way to whoever asks for them."""

import functools
import os
import stat
import threading

import pytest

import mitogen.core
import mitogen.files
import mitogen.service
import support
import targets_files
from mitogen.files import MAX_UNDER_WAY, PIECE, WINDOW
from mitogen.service import FileService
from targets_files import Hooked, digest

SIZES = [0, 1, PIECE, PIECE + 1, 2 * WINDOW + 7]

# What a transfer may cost any process, in MB, and how fast it must be, as a part of cat's speed.
MEMORY_LIMIT = 64


@pytest.fixture
def service(router):
    """The master's file service."""
    pool = mitogen.service.Pool(router, size=2)
    yield pool.get_service(FileService)
    pool.stop()


@pytest.fixture
def grandchild(router, child):
    return router.local(via=child)


@pytest.fixture
def make(tmp_path):
    """Writes a file of that many bytes that do not repeat; returns its path."""
    def make(size, name='file'):
        (tmp_path / name).write_bytes(os.urandom(size))
        return str(tmp_path / name)
    return make


@pytest.fixture
def big(make):
    return make(3 * WINDOW)


def content_digest(path):
    with open(path, 'rb') as fp:
        return digest(fp.read())


def all_gone(service):
    support.wait_for(lambda: not service._transfers, what='end of all transfers')


# ---- Whole files


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('where', ['child', 'grandchild'])
def test_a_file_of_the_master(request, router, service, make, where, size):
    path = make(size)
    service.register(path)
    ok, metadata, got = request.getfixturevalue(where).call(targets_files.fetch, router.myself(), path)
    assert ok and metadata['size'] == size and got == content_digest(path)
    assert 'error' not in metadata
    all_gone(service)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('where', ['child', 'grandchild'])
def test_a_file_of_a_child(request, make, where, size):
    path, out = make(size), Hooked(lambda: None)
    context = request.getfixturevalue(where)
    ok, metadata = FileService.get(context, path, out)
    assert ok and metadata['size'] == size and out.data.hexdigest() == content_digest(path)
    before = context.call(targets_files.open_descriptors)
    FileService.get(context, path, out)
    assert context.call(targets_files.open_descriptors) == before


def test_between_siblings(router, child, make):
    path, other = make(WINDOW), router.local()
    child.call_service(FileService, 'register', path=path)
    assert other.call(targets_files.fetch, child, path)[2] == content_digest(path)


def test_other_pythons(router, service, make, other):
    path = make(WINDOW + 1)
    service.register(path)
    assert other.call(targets_files.fetch, router.myself(), path)[2] == content_digest(path)
    out = Hooked(lambda: None)
    assert FileService.get(other, path, out)[0] and out.data.hexdigest() == content_digest(path)


def test_metadata_are_true(child, make):
    path = make(5)
    os.utime(path, (1000.5, 2000.25))
    os.chmod(path, 0o640)
    if not os.getuid():
        os.chown(path, 1, 2)
    status = os.stat(path)
    _, metadata = FileService.get(child, path, Hooked(lambda: None))
    import grp
    import pwd
    assert metadata == {'size': 5, 'mode': stat.S_IFREG | 0o640, 'owner': pwd.getpwuid(status.st_uid).pw_name,
                        'group': grp.getgrgid(status.st_gid).gr_name, 'mtime': 2000.25, 'atime': 1000.5}


@pytest.mark.skipif(os.getuid() != 0, reason='only root can give files away')
def test_an_owner_without_a_name(child, make):
    path = make(5)
    os.chown(path, 54321, 54322)
    _, metadata = FileService.get(child, path, Hooked(lambda: None))
    assert (metadata['owner'], metadata['group']) == (None, None)


def test_an_unbuffered_file_that_takes_little_at_a_time(child, make):
    class Slow:
        data = b''

        def write(self, data):
            self.data += bytes(data[:100000])
            return min(len(data), 100000)
    path, out = make(PIECE + 1), Slow()
    assert FileService.get(child, path, out)[0]
    assert digest(out.data) == content_digest(path)


# ---- What may be read


def fails(words, context, router, path):
    with pytest.raises(mitogen.core.CallError, match=words):
        context.call(targets_files.fetch, router.myself(), str(path))


def test_only_what_is_registered(router, service, child, make, tmp_path):
    path = make(5)
    fails('is not registered', child, router, path)
    service.register_prefix(str(tmp_path / 'fil'))
    fails('is not registered', child, router, path)
    service.register_prefix(str(tmp_path))
    assert child.call(targets_files.fetch, router.myself(), path)[0]


def test_ways_out_of_a_prefix(router, service, child, make, tmp_path):
    make(5, 'outside')
    inside = tmp_path / 'inside'
    inside.mkdir()
    (inside / 'real').write_text('real')
    (inside / 'link').symlink_to('../outside')
    (inside / 'folder').symlink_to('..')
    (inside / 'fine').symlink_to('real')
    service.register_prefix(str(inside))
    for way in '../outside', 'link', 'folder/outside', './../outside', 'folder/inside/../outside':
        fails('is not registered', child, router, '%s/%s' % (inside, way))
    for way in 'real', 'fine', 'folder/inside/real':
        assert child.call(targets_files.fetch, router.myself(), '%s/%s' % (inside, way))[2] == digest(b'real')


def test_a_link_that_appears_between_check_and_open(make, tmp_path):
    path = make(5)
    (tmp_path / 'folder').symlink_to(tmp_path)
    (tmp_path / 'link').symlink_to(path)
    for name in 'folder/file', 'link':
        with pytest.raises(OSError):
            mitogen.files._open_exactly(str(tmp_path / name))
    os.close(mitogen.files._open_exactly(path))


def test_a_registered_prefix_may_be_the_root(router, service, child, make):
    service.register_prefix('/')
    assert child.call(targets_files.fetch, router.myself(), make(5))[0]


@pytest.mark.parametrize('what, words', [
    ('missing', 'No such file'), ('folder', 'not a regular file'), ('fifo', 'not a regular file')])
def test_what_is_no_file(child, tmp_path, what, words):
    (tmp_path / 'folder').mkdir()
    os.mkfifo(str(tmp_path / 'fifo'))
    with pytest.raises(mitogen.core.CallError, match=words):
        FileService.get(child, tmp_path / what, Hooked(lambda: None))


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_an_unreadable_file(router, make):
    path = make(5)
    os.chmod(path, 0o600)
    somebody = router.fork(on_fork=functools.partial(os.setuid, 65534))
    with pytest.raises(mitogen.core.CallError, match='PermissionError'):
        FileService.get(somebody, path, Hooked(lambda: None))


def test_a_child_cannot_register(router, service, child):
    with pytest.raises(mitogen.core.CallError, match='may not call'):
        child.call(call_register, router.myself())


def call_register(context):
    context.call_service(FileService, 'register', path='/etc/passwd')


def test_nobody_has_files_sent_to_others(router, service, child, make):
    path = make(PIECE + 1)
    service.register(path)
    with pytest.raises(mitogen.core.CallError, match='may not have a file sent to'):
        child.call(targets_files.send_elsewhere, router.myself(), path, router.local())


# ---- Files that change, transfers that stop


def append(path):
    with open(path, 'ab') as fp:
        fp.write(b'more')


@pytest.mark.parametrize('change, words', [
    (lambda path: os.truncate(path, 100), 'was truncated'),
    (append, 'has grown'),
    (lambda path: os.utime(path, (1, 1)), 'was changed')])
def test_a_file_that_changes(child, big, change, words):
    ok, metadata = FileService.get(child, big, Hooked(lambda: change(big)))
    assert not ok
    assert words in metadata['error']


def test_the_window(router, service, child, big):
    service.register(big)
    child.call_async(targets_files.fetch_and_stop, router.myself(), big)
    transfer = support.wait_for(lambda: list(service._transfers))[0]
    support.wait_for(lambda: transfer._sent == WINDOW)
    # The child's acknowledgement of nothing brings nothing more on its way.
    transfer.wake()
    support.wait_for(lambda: not transfer._running)
    assert transfer._sent == WINDOW


def test_a_receiver_that_fails_stops_the_sender(router, service, big):
    def fail():
        raise OSError('disk full')
    service.register(big)
    with pytest.raises(OSError, match='disk full'):
        FileService.get(router.myself(), big, Hooked(fail))
    all_gone(service)


def test_a_receiver_in_a_child_that_fails(router, service, child, big):
    service.register(big)
    with pytest.raises(mitogen.core.CallError, match='TypeError'):
        child.call(targets_files.fetch_with_nothing, router.myself(), big)
    all_gone(service)


@pytest.mark.parametrize('where', ['child', 'grandchild'])
def test_a_receiver_that_vanishes(request, router, service, child, where, big):
    service.register(big)
    context = request.getfixturevalue(where)
    context.call_async(targets_files.fetch_and_stop, router.myself(), big)
    support.wait_for(lambda: service._transfers)
    router.disconnect(child)
    all_gone(service)


def test_a_sender_that_vanishes(router, child, big):
    with pytest.raises(mitogen.core.ChannelError):
        FileService.get(child, big, Hooked(lambda: router.disconnect(child)))


def test_a_service_that_ends(router, big):
    pool = mitogen.service.Pool(router)
    service = pool.get_service(FileService)
    ok, metadata = FileService.get(router.myself(), big, Hooked(pool.stop))
    assert not ok and 'ended' in metadata['error']
    assert not service._transfers


def test_too_many_at_once(router, service, child, make):
    path = make(WINDOW + PIECE)
    go = threading.Event()
    threads = [threading.Thread(target=FileService.get, args=(router.myself(), path, Hooked(go.wait)))
               for _ in range(MAX_UNDER_WAY)]
    for thread in threads:
        thread.start()
    support.wait_for(lambda: len(service._transfers) == MAX_UNDER_WAY)
    ok, metadata = FileService.get(router.myself(), path, Hooked(lambda: None))
    assert not ok and 'under way already' in metadata['error']
    go.set()
    for thread in threads:
        thread.join()
    all_gone(service)


# ---- Much


@pytest.mark.parametrize('megabytes', [128, pytest.param(2048, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_memory(router, service, child, grandchild, make, tmp_path, megabytes):
    path, tiny = tmp_path / 'huge', make(1)
    block = os.urandom(1 << 20)
    with open(path, 'wb') as fp:
        for number in range(megabytes):
            fp.write(number.to_bytes(8, 'big') + block[8:])
    service.register_prefix(str(tmp_path))

    def there_and_back(path):
        ok, _, there = grandchild.call(targets_files.fetch, router.myself(), str(path))
        out = Hooked(lambda: None)
        assert ok and FileService.get(grandchild, path, out)[0] and out.data.hexdigest() == there

    def peaks():
        return [context.call(targets_files.peak_memory) for context in (child, grandchild)] + [
            targets_files.peak_memory()]
    there_and_back(tiny)        # what is imported for the first file is not counted
    before = peaks()
    there_and_back(path)
    path.unlink()
    assert max(new - old for new, old in zip(peaks(), before)) < MEMORY_LIMIT


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_files_to_twenty_children(router, service, tmp_path):
    paths = [str(tmp_path / str(number)) for number in range(10000)]
    for number, path in enumerate(paths):
        with open(path, 'w') as fp:
            fp.write('file %d\n' % number * 10)
    service.register_prefix(str(tmp_path))
    children = [router.fork() for _ in range(20)]
    answers = [(number, child.call_async(targets_files.fetch_many, router.myself(), paths[number::20]))
               for number, child in enumerate(children)]
    for number, answer in answers:
        expected = b''.join(b'file %d\n' % n * 10 for n in range(number, 10000, 20))
        assert answer.get().unpickle() == digest(expected)
