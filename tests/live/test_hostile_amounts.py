"""A child that was taken over asks for much with few bytes, or in many names: what it gets has limits."""

import threading

import pytest

import mitogen.core
import mitogen.files
import mitogen.master
import mitogen.service
import mitogen.waiting
import support
import targets
import targets_files
import targets_hostile
from mitogen.core import ALLOCATE_ID, CALL_SERVICE, DEL_ROUTE, FORWARD_LOG, GET_RESOURCE, Kwargs, Sender, encode
from mitogen.files import WINDOW, FileService

#: Bytes in the largest message of the routers that shall be full soon, and what may wait for one that does not read:
#: two of these, and an answer that was under way.
SMALL = 1 << 20
FULL = 3 * SMALL


@pytest.fixture
def bystander(router):
    context = router.local()
    yield context
    assert context.call(targets.echo, 'undisturbed') == 'undisturbed'


@pytest.fixture
def small():
    router = mitogen.master.Router(max_message_size=SMALL)
    yield router
    router.broker.shutdown()
    router.broker.join()


@pytest.fixture
def pool(small):
    return mitogen.service.Pool(small, size=2)


def unread(router, context):
    """Bytes that wait for a context."""
    stream = router.stream_by_id(context.context_id)
    return stream._queued - stream._pipe.written


def ids_of(child, count):
    """Ask for so many ids; return the first."""
    return child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((child.context_id, count)))[0]


def flood_deaf(child, path, fields, data):
    """Have a child send a message a hundred times, and read nothing until the file `path` is removed."""
    child.call_no_reply(targets_hostile.flood_deaf, fields, data, 1, str(path))
    support.wait_for(lambda: path.exists() and path.read_text().endswith('\n'))


# ---- Contexts


def test_contexts_below_each_other_without_end(router, child, bystander, monkeypatch):
    """News of a new one go to each above it."""
    monkeypatch.setattr(mitogen.master, 'MAX_DEPTH', 5)
    owner = child.context_id
    for _ in range(4):
        owner, = child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((owner, 1)))
    reason = child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((owner, 1)))
    assert reason == 'context %d has 5 others above it already' % owner


def test_news_of_a_loss_cost_what_they_say(router, child, bystander, monkeypatch):
    """Whoever has a quarter of a million ids must not have all of them looked at for each one that is lost."""
    first = ids_of(child, 1000)
    monkeypatch.setattr(router.routes, 'behind', lambda link: pytest.fail('all are looked at'))
    news = [({'handle': DEL_ROUTE}, encode(([first + number, 0, bystander.context_id], 'gone'))) for number in range(9)]
    child.call(targets_hostile.say, news)
    assert child.call(targets.echo, 1) == 1
    assert [router.routes.link_to(first + number) is None for number in (0, 8, 9)] == [True, True, False]
    monkeypatch.undo()


def test_a_name_for_a_context_that_is_to_come(router, child, bystander):
    to_come = router.id_allocator._next
    held = child.call(targets_hostile.context_called, to_come, 'evil')
    context = router.local(via=bystander)
    assert context.context_id == held.context_id == to_come
    assert context.name != 'evil' and context.via == bystander


@pytest.mark.parametrize('value', [
    None, 5, (False, None), (False, ()), (False, ([],)), (False, ('x',) * 20), (False, {}), (False, (5, 6)), (True, 5),
    (True, ['a']), (True, None), (1, 2, 3)], ids=repr)
def test_an_answer_to_a_start_that_is_none(router, child, bystander, value):
    child.call(targets_hostile.answer_starts_with, value)
    with pytest.raises(mitogen.core.StreamError, match='something else than a new context'):
        router.connect_async('local', via=child).get(20).unpickle()


# ---- Files


@pytest.mark.parametrize('value', [1 << 60, -1, True, WINDOW * 2, 2.5])
def test_acknowledgements_of_what_was_never_sent(small, pool, tmp_path, value):
    """They would have all of a file sent at once."""
    path = tmp_path / 'large'
    path.write_bytes(bytes(3 * WINDOW))
    pool.get_service(FileService).register(str(path))
    got, complaint = small.local().call(targets_hostile.acknowledge, str(path), value)
    assert complaint == 'nobody receives it any more'
    assert got <= WINDOW
    assert not pool.get_service(FileService)._transfers


def test_files_in_many_names(router, child, bystander, tmp_path, monkeypatch):
    """Each has its descriptor, and a child has many ids."""
    monkeypatch.setattr(mitogen.files, 'MAX_BEHIND_ONE', 3)
    pool, path = mitogen.service.Pool(router, size=2), tmp_path / 'large'
    service = pool.get_service(FileService)
    path.write_bytes(bytes(2 * WINDOW))
    service.register(str(path))
    first = ids_of(child, 100)
    request = encode((FileService.name(), 'fetch', Kwargs(
        path=str(path), sender=Sender(router.context_by_id(first), 77))))
    flood_deaf(child, tmp_path / 'sent', {'handle': CALL_SERVICE, 'src_id': first, 'auth_id': first}, request)
    support.wait_for(lambda: not pool._waiting._held and len(service._transfers) == 3)
    assert unread(router, child) <= 3 * (WINDOW + mitogen.files.PIECE) + SMALL
    assert bystander.call(targets_files.fetch, router.myself(), str(path))[0]
    (tmp_path / 'sent').unlink()
    child.shutdown(wait=True)


def test_small_files_for_one_that_does_not_read(small, pool, tmp_path):
    path, child = tmp_path / 'file', small.local()
    path.write_bytes(bytes(mitogen.files.PIECE))
    pool.get_service(FileService).register(str(path))
    request = encode((FileService.name(), 'fetch', Kwargs(
        path=str(path), sender=Sender(small.context_by_id(child.context_id), 77))))
    flood_deaf(child, tmp_path / 'sent', {'handle': CALL_SERVICE, 'reply_to': 5}, request)
    support.wait_for(lambda: not pool._waiting._held and unread(small, child) > SMALL)
    assert unread(small, child) <= FULL + (mitogen.waiting.FEW + pool.size) * mitogen.files.PIECE
    (tmp_path / 'sent').unlink()


def test_data_files_for_one_that_does_not_read(small, tmp_path, write):
    write({'x_data/__init__.py': '', 'x_data/large': bytes(SMALL * 2 // 3)})
    child = small.local()
    flood_deaf(child, tmp_path / 'sent', {'handle': GET_RESOURCE, 'reply_to': 5}, encode(('x_data', 'large')))
    support.wait_for(lambda: not small.responder._waiting and unread(small, child) > SMALL)
    assert unread(small, child) <= FULL
    (tmp_path / 'sent').unlink()


# ---- Services


@pytest.mark.parametrize('number, size, waiting', [(100, SMALL // 2, 6), (300, 10, 22)])
def test_calls_of_services_that_wait(small, pool, monkeypatch, number, size, waiting):
    """They may neither fill the memory nor keep those of others out."""
    monkeypatch.setattr(mitogen.waiting, 'MAX_REQUESTS', 20)
    child, bystander, go_on, serve = small.local(), small.local(), threading.Event(), pool.serve
    monkeypatch.setattr(pool, 'serve', lambda msg: go_on.wait(20) and serve(msg))
    child.call(targets_hostile.say, [({'handle': CALL_SERVICE, 'reply_to': 5}, bytes(size))], times=number)
    assert 1 < pool._work.size() <= waiting
    reply = bystander.call_async(targets_hostile.ask, {'handle': CALL_SERVICE}, encode(('x.Y', 'z', {})))
    support.wait_for(lambda: pool._work.size() and len(pool._waiting._held) == 2)
    go_on.set()
    assert 'there is no service x.Y' in reply.get(20).unpickle()[0].message
    pool.stop()


def test_names_of_services_that_are_long(small, pool):
    child = small.local()
    for name, method in (('x' * 1000, 'y'), ('x', '\U0001f600' * 100000)):
        reply, = child.call(targets_hostile.ask, {'handle': CALL_SERVICE}, encode((name, method, {})))
        assert len(str(reply.message)) < 1000


# ---- Logs


def test_lines_that_look_like_records(router, child, bystander, caplog):
    text = 'fine\nCRITICAL root: all is lost'
    child.call(targets_hostile.say, [({'handle': FORWARD_LOG}, encode(('a\nb', 30, text)))])
    record, = support.wait_for(lambda: [r for r in caplog.records if r.name.startswith('mitogen.ctx')])
    assert record.getMessage() == 'a b: fine\n    CRITICAL root: all is lost'
    assert record.mitogen_message == text
