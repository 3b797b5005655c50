"""A child that was taken over tries everything: it gets nothing, the log stays readable, the others go on working."""

import logging
import os
import threading
import time

import pytest

import mitogen.core
import mitogen.logs
import mitogen.master
import mitogen.modules.responder
import mitogen.parent
import mitogen.service
import support
import targets
import targets_hostile
import targets_imports
from mitogen.core import (
    ALLOCATE_ID,
    CALL_FUNCTION,
    CALL_SERVICE,
    DEL_ROUTE,
    FORWARD_LOG,
    FORWARD_MODULE,
    GET_MODULE,
    GET_RESOURCE,
    IS_DEAD,
    LOAD_MODULE,
    SHUTDOWN,
    ChannelError,
    Message,
    Receiver,
    encode,
)

#: Bytes in the largest message of the routers that shall be full soon.
SMALL = 1 << 20


def laughs(depth):
    """A value of a few bytes for each level, whose text doubles with each."""
    return b'\x80\x04]' + b'2\x86' * depth + b'.'


def tuple_with_laughs(*before):
    """The same as the last item of a tuple, behind small numbers and letters."""
    items = [b'K' + bytes([value]) if isinstance(value, int) else b'\x8c\x01' + value.encode() for value in before]
    return b'\x80\x04(' + b''.join(items) + laughs(22)[2:-1] + b't.'


@pytest.fixture
def bystander(router):
    """Another child, which must not notice anything, and whose answer is awaited meanwhile."""
    context = router.local()
    wanted = Receiver(router, respondent=context)
    yield context
    assert context.call(targets.echo, 'undisturbed') == 'undisturbed'
    assert wanted.empty()
    wanted.close()


@pytest.fixture
def small():
    router = mitogen.master.Router(max_message_size=SMALL)
    yield router
    router.broker.shutdown()
    router.broker.join()


# ---- Handles


def test_every_handle_of_the_master(router, child, bystander, caplog):
    """Values, dead messages and rubbish to each number that may be in use; one is where the bystander's answer goes."""
    messages = [({'handle': handle, 'reply_to': reply_to}, data)
                for handle in range(1200) if handle not in (FORWARD_LOG, mitogen.core.DETACHING)
                for reply_to, data in ((0, encode('guessed')), (IS_DEAD, b'guessed'), (77, b'rubbish'))]
    child.call(targets_hostile.say, messages)
    assert child.call(targets.echo, 1) == 1
    assert 'guessed' not in caplog.text


def test_every_handle_of_a_sibling(child, bystander):
    messages = [({'dst_id': bystander.context_id, 'handle': handle}, data) for handle in range(1100)
                for data in (encode(('x', 'os', 'abort')), encode([[1], 'x']))]
    child.call(targets_hostile.say, messages)


def test_an_answer_to_the_call_of_a_sibling(child, bystander):
    """A call is under way, and every handle is tried, in both names."""
    call = bystander.call_async(time.sleep, 1)
    messages = [({'handle': handle, 'src_id': src_id}, encode('stolen'))
                for handle in range(1000, 1100) for src_id in (child.context_id, bystander.context_id)]
    child.call(targets_hostile.say, messages)
    assert call.get(20).unpickle() is None


def test_answers_to_calls_never_made(child, bystander):
    child.call(targets_hostile.say, [({'handle': handle}, encode('x')) for handle in range(1000, 30000)])
    assert child.call(targets.echo, 1) == 1


def test_forgeries_do_not_fill_the_log(child, bystander, caplog):
    forged = [({field: bystander.context_id, 'handle': SHUTDOWN}, b'') for field in ('src_id', 'auth_id')]
    child.call(targets_hostile.say, forged, times=5000)
    assert child.call(targets.echo, 1) == 1
    assert caplog.text.count('cannot come from there') == mitogen.parent.MAX_WARNINGS


# ---- Routes and ids


def test_a_loss_for_a_reason_that_is_no_text(router, child, bystander):
    """Whoever waits for what is said to be lost must wake all the same."""
    grandchild = router.local(via=child)
    call = grandchild.call_async(time.sleep, 60)
    child.call(targets_hostile.say, [({'handle': DEL_ROUTE}, encode(([grandchild.context_id], 5)))])
    with pytest.raises(ChannelError, match='no reason'):
        call.get(10)


def test_the_reason_of_a_loss_cannot_command_a_terminal(router, child):
    grandchild = router.local(via=child)
    call = grandchild.call_async(time.sleep, 60)
    lost = [grandchild.context_id], 'gone\x1b[2J' + 'x' * 100000
    child.call(targets_hostile.say, [({'handle': DEL_ROUTE}, encode(lost))])
    with pytest.raises(ChannelError, match=r'gone\\x1b\[2J') as caught:
        call.get(10)
    assert len(str(caught.value)) < 5000


def test_a_child_holds_only_so_many_ids(router, child, bystander, monkeypatch):
    monkeypatch.setattr(mitogen.master, 'MAX_HELD', 2500)
    request = {'handle': ALLOCATE_ID}, encode((child.context_id, 1000))
    answers = [child.call(targets_hostile.ask, *request) for _ in range(4)]
    assert [type(answer) for answer in answers] == [tuple, tuple, str, str]
    assert answers[3] == 'context %d and those below it have 2000 ids already' % child.context_id
    # Nor do those help that it got: they count as its own.
    below = encode((answers[0][0], 1000))
    assert 'ids already' in child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, below)
    assert bystander.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((bystander.context_id, 1000)))
    child.shutdown(wait=True)
    assert child.context_id not in router.id_allocator._held
    assert not [owner for owner in router.id_allocator._owners.values() if owner == child.context_id]


def test_ids_that_are_given_back_count_no_more(router, child, monkeypatch):
    monkeypatch.setattr(mitogen.master, 'MAX_HELD', 1500)
    for _ in range(3):
        first, = child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((child.context_id, 1000)))
        child.call(targets_hostile.say, [({'handle': DEL_ROUTE}, encode((list(range(first, first + 1000)), 'used')))])


def test_all_ids_used_up(router, child, bystander):
    router.id_allocator._next = mitogen.master.LAST_ID - 10
    request = {'handle': ALLOCATE_ID}, encode((child.context_id, 12))
    assert child.call(targets_hostile.ask, *request) == 'all ids are used up'
    assert router.local().call(targets.echo, 1) == 1


def test_a_request_for_ids_whose_text_would_fill_the_memory(child, bystander):
    for data in (laughs(22), b'\x80\x04' + laughs(22)[2:-1] + b'K\x01\x86.'):
        assert len(child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, data)) < 100


# ---- Code


def test_code_is_taken_from_nobody_below(router, child, bystander, tmp_path):
    """Modules travel as marshalled code, which whoever loads it must trust: so never upwards, never across."""
    evil = router.local(via=child)
    path = str(tmp_path / 'executed')
    names = ['targets', 'homegrown.colours', '__main__', 'mitogen.parent']
    evil.call(targets_hostile.send_code, [0, child.context_id, bystander.context_id], names, path)
    for context in child, bystander:
        assert context.call(targets_imports.import_by_name, 'homegrown.colours') == 'homegrown.colours'
    reason = evil.call(targets_hostile.ask, {'dst_id': child.context_id, 'handle': LOAD_MODULE}, encode(('a',) * 7))
    assert reason == 'refused by policy'
    reason = evil.call(targets_hostile.ask, {'handle': LOAD_MODULE}, encode(('a',) * 7))
    assert reason == 'context 0 does not listen to handle 107'
    assert not os.path.exists(path)


def test_the_source_of_a_module_is_sent_once(router, child, bystander):
    child.call(targets_imports.import_by_name, 'homegrown.colours')
    sent = []
    stream = router.stream_by_id(child.context_id)
    stream.send = lambda msg, send=stream.send: (sent.append(msg), send(msg))
    request = [({'handle': GET_MODULE}, encode(('homegrown.colours', None)))]
    child.call(targets_hostile.say, request, times=500)
    assert child.call(targets.echo, 1) == 1
    router.responder.library.module('homegrown.colours')
    support.wait_for(lambda: not router.responder._waiting)
    assert len([msg for msg in sent if msg.handle == LOAD_MODULE and b'homegrown.colours' in msg.data]) == 1


@pytest.mark.parametrize('via', [False, True])
def test_names_that_are_none(router, child, bystander, via):
    evil = router.local(via=child) if via else child
    parent = child.context_id if via else 0
    names = [5, None, b'os', ['a'], ('a',), 'x' * (1 << 20), '', '.', '..', 'a..b', '/etc/passwd', 'a./etc/x', '\0',
             '../../etc/passwd', 'os\n', '\ud800', '%s', 'targets;x']
    messages = [({'dst_id': parent, 'handle': GET_MODULE}, encode((name, wanted)))
                for name in names for wanted in ('', None, 5, [], 'x' * (1 << 20))]
    messages += [({'dst_id': parent, 'handle': GET_MODULE}, tuple_with_laughs('a'))]
    evil.call(targets_hostile.say, messages)
    assert evil.call(targets_imports.import_by_name, 'homegrown.colours') == 'homegrown.colours'


def test_names_without_end(router, child, bystander, monkeypatch):
    """Each that is asked for is remembered, and long ones are not."""
    monkeypatch.setattr(router.responder, 'max_asked', 300)
    messages = [({'handle': GET_MODULE}, encode(('x%d' % number, ''))) for number in range(900)]
    messages += [({'handle': GET_MODULE}, encode(('x' * 600 + str(number), ''))) for number in range(90)]
    child.call(targets_hostile.say, messages)
    support.wait_for(lambda: router.responder.requests_served and not router.responder._waiting)
    stream = router.stream_by_id(child.context_id)
    assert len(stream.modules_sent) <= 310
    assert max(map(len, stream.modules_sent)) < 100
    assert bystander.call(targets_imports.import_by_name, 'homegrown.colours') == 'homegrown.colours'


def test_a_flood_of_requests_for_modules(router, child, bystander, monkeypatch):
    """Those that wait are limited for each child, so another's import does not wait for all of them."""
    monkeypatch.setattr(mitogen.modules.responder, 'MAX_WAITING', 20)
    waiting = []
    serve = router.responder.serve

    def slowly(msg):
        waiting.append(router.responder._requests.qsize())
        time.sleep(0.001)
        serve(msg)
    monkeypatch.setattr(router.responder, 'serve', slowly)
    child.call(targets_hostile.say, [({'handle': GET_MODULE}, encode(('x%d' % number, ''))) for number in range(3000)])
    assert bystander.call(targets_imports.import_by_name, 'homegrown.colours') == 'homegrown.colours'
    assert max(waiting) < 30


def test_a_whitelist_keeps_secrets(router, write):
    write({'x_public/__init__.py': '', 'x_secret.py': 'PASSWORD = 5', 'x_public_too.py': '',
           'x_vault/__init__.py': '', 'x_vault/key.txt': 'secret'})
    router.responder.whitelist_prefix = ['x_public', 'targets', 'targets_hostile', 'targets_imports']
    child = router.local()
    assert child.call(targets_imports.import_by_name, 'x_public') == 'x_public'
    for name in 'x_secret', 'x_vault', 'x_public_too':
        kind, text = child.call(targets_imports.why_not, name)
        assert 'is not served' in text
    for package, path in ('x_vault', 'key.txt'), ('x_public', '../x_vault/key.txt'), ('x_public', '../x_secret.py'):
        assert child.call(targets_hostile.ask, {'handle': GET_RESOURCE}, encode((package, path))) == (None,)


def test_paths_that_take_long_to_follow(router, child, bystander):
    for path in '/.' * 5000, 'a/../' * 5000, '../' * 3000, 'x' * 50000:
        assert child.call(targets_hostile.ask, {'handle': GET_RESOURCE}, encode(('homegrown', path))) == (None,)
    too_large = child.call(targets_hostile.ask, {'handle': GET_RESOURCE}, encode(('homegrown', '/.' * (1 << 20))))
    assert 'too large' in too_large


def test_a_resource_in_the_name_of_the_master(router, child, bystander, monkeypatch):
    """Handles can be guessed: what reads a data file takes it from the master alone, however long that takes."""
    lied = threading.Event()
    for context in child, bystander:        # what they need must be there, as nobody serves modules meanwhile
        context.call(targets_hostile.say, [])
        context.call(targets_hostile.resource, 'homegrown', 'data')
    monkeypatch.setattr(router.responder, 'resource', lambda package, path: lied.wait(20) and b'true')
    call = bystander.call_async(targets_hostile.resource, 'homegrown', 'data')
    support.wait_for(lambda: router.responder._waiting)
    child.call(targets_hostile.say, [({'dst_id': bystander.context_id, 'handle': handle}, encode(b'forged'))
                                     for handle in range(1000, 1100)])
    # Behind what has been said: the bystander has heard it all.
    assert child.call(targets_hostile.ask, {'dst_id': bystander.context_id, 'handle': SHUTDOWN}, b'')
    lied.set()
    assert call.get(20).unpickle() == b'true'


# ---- Services


def test_names_of_services_whose_text_would_fill_the_memory(router, child, bystander):
    pool = mitogen.service.Pool(router)
    for name, method in ((5, 'x'), ('x', 5), (None, None), (b'x', b'y'), (frozenset('a'), 'x')):
        reply = child.call(targets_hostile.ask, {'handle': CALL_SERVICE}, encode((name, method, {})))
        assert reply[0].message == 'the name of a service or method is no text'
    pool.stop()


# ---- Logs


def records(caplog, context):
    return [record for record in caplog.records if record.name.startswith('mitogen.ctx')]


@pytest.mark.parametrize('data', [
    encode(('a', 30)), encode(('a', 30, 'b', 'c')), encode((5, 30, 'text')), encode(('a', 'b', 'c')),
    encode(('a', 1 << 70, 'b')), encode(('a', -1, 'b')), encode(('a', 30, b'bytes')), encode(('a', 2.5, 'b')), b'',
    b'x', laughs(22), tuple_with_laughs('a', 30), encode(None), encode([1, 2, 3])])
def test_what_is_no_log_record(child, bystander, caplog, data):
    fields = {'handle': FORWARD_LOG}
    child.call(targets_hostile.say, [(fields, data), (dict(fields, reply_to=IS_DEAD), data)])
    child.call(targets.echo, 1)
    assert not records(caplog, child)
    assert 'error in' not in caplog.text


def test_a_log_record_of_many_megabytes(child, bystander, caplog):
    text = '\x1b[2J\n' + '\x07\u2028' * (4 << 20)
    began = time.monotonic()
    child.call(targets_hostile.say, [({'handle': FORWARD_LOG}, encode(('name' * 1000, 30, text)))])
    record, = support.wait_for(lambda: records(caplog, child))
    assert time.monotonic() - began < 20
    assert len(record.mitogen_name) == mitogen.logs.MAX_NAME
    assert len(record.mitogen_message) <= 8 * mitogen.logs.MAX_TEXT
    assert '\x1b' not in record.getMessage() and '\x07' not in record.getMessage()
    del caplog.records[:]


def test_a_name_of_a_context_cannot_command_a_terminal(router, child, bystander, caplog):
    """What a child says of its children is all that the master knows of them."""
    first, = child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((child.context_id, 20)))
    for number, name in enumerate(['\x1b[2J', 'a\nb', 'x' * 10000, 'plain']):
        evil = mitogen.core.Context(router, first + number, name)       # as it comes in a value
        child.call(targets_hostile.say, [({'handle': FORWARD_LOG, 'src_id': first + number, 'auth_id': first + number},
                                          encode((evil, 30, 'text')))])
        router._contexts[first + number] = evil
        child.call(targets_hostile.say, [({'handle': FORWARD_LOG, 'src_id': first + number, 'auth_id': first + number},
                                          encode(('name', 30, 'text')))])
        support.wait_for(lambda number=number: len(records(caplog, child)) == number + 1)
    assert [record.name for record in records(caplog, child)] == [
        'mitogen.ctx.\\x1b[2J', 'mitogen.ctx.a b', 'mitogen.ctx.' + 'x' * mitogen.logs.MAX_NAME, 'mitogen.ctx.plain']


def test_loggers_without_end(router, child, caplog):
    """Python keeps each for ever: none is made, whatever is said in whose name."""
    before = set(logging.root.manager.loggerDict)
    first, = child.call(targets_hostile.ask, {'handle': ALLOCATE_ID}, encode((child.context_id, 20)))
    child.call(targets_hostile.say, [({'handle': FORWARD_LOG, 'src_id': first + number, 'auth_id': first + number},
                                      encode(('name', 30, 'text'))) for number in range(20)])
    support.wait_for(lambda: len(records(caplog, child)) == 20)
    assert len({record.name for record in records(caplog, child)}) == 20
    assert set(logging.root.manager.loggerDict) == before


def test_a_flood_of_log_records(router, child, bystander, monkeypatch):
    """Written at the speed at which they are read; others have their turn in between."""
    monkeypatch.setattr(logging.getLogger('mitogen.ctx.' + child.name), 'disabled', True)
    began = time.monotonic()
    record = {'handle': FORWARD_LOG}, encode(('a', 30, '\x1b\n' * 100))
    call = child.call_async(targets_hostile.say, [record], times=20000)
    answered = 0
    while call.empty() and time.monotonic() - began < 60:
        assert bystander.call(targets.echo, answered) == answered
        answered += 1
    call.get(60).unpickle()
    assert answered > 10


# ---- Too much, too little, never


def test_half_a_message_for_ever(small):
    child, bystander = small.local(), small.local()
    child.call_no_reply(targets_hostile.begin, 1000, SMALL, b'x' * 1000)
    for number in range(100):
        assert bystander.call(targets.echo, number) == number
    call = child.call_async(targets.echo, 1)
    with pytest.raises(mitogen.core.TimeoutError):      # it has made itself dumb, no more
        call.get(0.2)
    began = time.monotonic()
    small.broker.shutdown()
    small.broker.join()
    assert time.monotonic() - began < 10


def test_a_child_that_never_reads_is_not_heard(small, tmp_path):
    """Each request has an answer, which nobody takes: they do not fill the memory of the master."""
    child, bystander = small.local(), small.local()
    before, path = support.memory_of_this_process()[1], tmp_path / 'sent'
    child.call_no_reply(targets_hostile.flood_deaf, {'dst_id': 4711, 'handle': 1, 'reply_to': 1}, b'', 200 << 20,
                       str(path))
    support.wait_for(lambda: path.exists() and path.read_text().endswith('\n'), 60)
    assert int(path.read_text()) < 20 << 20
    assert support.memory_of_this_process()[1] - before < 60 << 20
    for number in range(100):
        assert bystander.call(targets.echo, number) == number
    path.unlink()           # now it reads again, and is heard
    assert child.call(targets.echo, 'back') == 'back'


def test_nobody_fills_the_master_with_messages_for_one_that_never_reads(small):
    deaf, liar, bystander = small.local(), small.local(), small.local()
    deaf.call_no_reply(targets_hostile.go_deaf)
    before = support.memory_of_this_process()[1]
    flood = [({'dst_id': deaf.context_id, 'handle': 500}, bytes(SMALL // 2))]
    liar.call(targets_hostile.say, flood, times=100)
    reason = liar.call(targets_hostile.ask, {'dst_id': deaf.context_id, 'handle': 500}, b'')
    assert reason == '%s does not read, and too much waits for it already' % deaf.name
    assert support.memory_of_this_process()[1] - before < 40 << 20
    assert bystander.call(targets.echo, 1) == 1


def test_a_stopped_child_does_not_hold_up_the_end(small):
    child = small.local()
    child.call_no_reply(targets_hostile.go_deaf)
    for _ in range(10):
        small.route(Message(dst_id=child.context_id, handle=500, data=bytes(SMALL // 2)))
    began = time.monotonic()
    small.broker.shutdown()
    small.broker.join()
    assert time.monotonic() - began < 15


def test_a_child_that_makes_others_load_modules_for_it(child, bystander):
    data = encode((bystander.context_id, ['targets']))
    assert child.call(targets_hostile.ask, {'dst_id': bystander.context_id, 'handle': FORWARD_MODULE}, data) in (
        'refused by policy', 'context %d does not listen to handle %d' % (bystander.context_id, FORWARD_MODULE))
    assert child.call(targets_hostile.ask, {'dst_id': bystander.context_id, 'handle': CALL_FUNCTION}, data) == (
        'refused by policy')
