"""core, messages: the header, bytes cut into messages wherever they are cut, and what a message does."""

import os

import pytest
from hypothesis import given, strategies as st

import mitogen.core
import mitogen.testing
import programs
from mitogen.core import HEADER, CallError, ChannelError, Framer, Message, StreamError

FIELDS = 'dst_id', 'src_id', 'auth_id', 'handle', 'reply_to', 'data'

SMALL = Message(1, 2, 3, 4, 5, b'hello')
EMPTY = Message(0, 0, 0, 0, 0, b'')
LARGE = Message(0xffffffff, 0xfffffffe, 0xfffffffd, 0xfffffffc, 0xfffffffb, bytes(range(256)) * 1000)


def packed(*messages):
    return b''.join(msg.pack() + msg.data for msg in messages)


def fields(messages):
    return [tuple(getattr(msg, name) for name in FIELDS) for msg in messages]


# ---- The wire


def test_the_header():
    """Two versions of this library that are in one tree must agree on these bytes."""
    assert Message(0x01020304, 0x11121314, 0x21222324, 0x31323334, 0x41424344, b'abcde').pack() == (
        b'\x4d\x54'             # magic
        b'\x01\x02\x03\x04'     # destination
        b'\x11\x12\x13\x14'     # source
        b'\x21\x22\x23\x24'     # authority
        b'\x31\x32\x33\x34'     # handle
        b'\x41\x42\x43\x44'     # reply handle
        b'\x00\x00\x00\x05')    # length of what follows


def test_the_numbers():
    assert {name: value for name, value in vars(mitogen.core).items()
            if name.isupper() and isinstance(value, int) and 100 <= value <= 1000} == {
        'GET_MODULE': 100, 'CALL_FUNCTION': 101, 'FORWARD_LOG': 102, 'ADD_ROUTE': 103, 'DEL_ROUTE': 104,
        'ALLOCATE_ID': 105, 'SHUTDOWN': 106, 'LOAD_MODULE': 107, 'FORWARD_MODULE': 108, 'DETACHING': 109,
        'CALL_SERVICE': 110, 'GET_RESOURCE': 111, 'IS_DEAD': 999, 'FIRST_FREE_HANDLE': 1000}


# ---- Framer


@pytest.mark.parametrize('messages', [[SMALL], [EMPTY], [LARGE], [SMALL, EMPTY, LARGE, SMALL]],
                         ids=['small', 'empty', 'large', 'several'])
def test_whole(messages):
    assert fields(Framer().receive(packed(*messages))) == fields(messages)


@pytest.mark.parametrize('messages', [[SMALL], [EMPTY], [EMPTY, SMALL, EMPTY, EMPTY]], ids=len)
def test_byte_by_byte(messages):
    framer = Framer()
    data = packed(*messages)
    found = [framer.receive(data[i:i + 1]) for i in range(len(data))]
    assert fields(sum(found, [])) == fields(messages)
    ends = [len(packed(*messages[:i + 1])) for i in range(len(messages))]
    assert [i + 1 for i, messages in enumerate(found) if messages] == ends, 'each as soon as its last byte is there'


PROMISES = """
import support
from mitogen.core import Framer, Message

framers, header = [Framer() for _ in range(50)], Message(src_id=1, auth_id=1, data=bytes(100 << 20)).pack()
addresses, resident = support.memory_of_this_process()
for framer in framers:
    assert framer.receive(header + b'x' * 1000) == []
addresses_then, resident_then = support.memory_of_this_process()
print(addresses_then - addresses >> 20, resident_then - resident >> 20)
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='how much memory this process takes is unknown here')
def test_what_is_only_promised_takes_few_addresses_and_hardly_any_memory():
    """In a process of its own: of addresses that have been in use before, the C library clears the memory first."""
    addresses, resident = map(int, programs.run('-c', PROMISES).stdout.split())
    assert addresses < 50 * 32 and resident < 3 * mitogen.core.ROOM >> 20


@pytest.mark.parametrize('size', [mitogen.core.ROOM + more for more in (-1, 0, 1, 1 << 20)])
def test_more_than_there_is_room_for_at_first(size):
    msg, framer = Message(1, 2, 3, 4, 5, b'0123456789abcdef' * (size // 16) + b'x' * (size % 16)), Framer()
    data, found = packed(msg), []
    for start in range(0, len(data), 1 << 22):
        found += framer.receive(data[start:start + (1 << 22)])
    assert [one.data == msg.data for one in found] == [True]


def test_bytes_behind_belong_to_the_next():
    framer = Framer()
    second = packed(LARGE)
    assert fields(framer.receive(packed(SMALL) + second[:1])) == fields([SMALL])
    assert framer.receive(second[1:HEADER.size + 1]) == []
    assert fields(framer.receive(second[HEADER.size + 1:] + packed(EMPTY))) == fields([LARGE, EMPTY])


def test_nothing_is_nothing():
    framer = Framer()
    assert framer.receive(b'') == framer.receive(b'') == []


def test_a_message_of_exactly_the_limit():
    assert len(Framer(5).receive(packed(SMALL))) == 1


@pytest.mark.parametrize('step', [1, 100])
def test_a_message_that_is_too_large_is_refused_with_its_header(step):
    """Before its data is there: nobody waits for gigabytes to find out."""
    framer = Framer(4)
    header = SMALL.pack()
    with pytest.raises(StreamError, match='message of 5 bytes is too large, the limit is 4'):
        for i in range(0, len(header), step):
            framer.receive(header[i:i + step])


@pytest.mark.parametrize('data', [b'\x54\x4d' + bytes(24), bytes(26), b'bash: python3: command not found'])
def test_what_is_no_message(data):
    with pytest.raises(StreamError, match='not a message') as caught:
        Framer().receive(data)
    assert repr(data[:10])[2:-1] in str(caught.value)


def test_rubbish_behind_a_message():
    framer = Framer()
    assert len(framer.receive(packed(SMALL))) == 1
    with pytest.raises(StreamError):
        framer.receive(b'x' * 26)


def test_data_that_looks_like_a_message():
    inner = packed(SMALL, SMALL)
    assert fields(Framer().receive(packed(Message(1, 2, 3, 4, 5, inner)))) == [(1, 2, 3, 4, 5, inner)]


def test_a_large_message_in_small_pieces_is_joined_once():
    """Joining at each piece would move 32 MiB 8192 times: minutes, where this takes a fraction of a second."""
    data = bytes(32 << 20)
    framer = Framer()
    framer.receive(Message(1, 2, 3, 4, 5, data).pack())
    found = [framer.receive(data[i:i + 4096]) for i in range(0, len(data), 4096)]
    assert not any(found[:-1]) and found[-1][0].data == data


NUMBERS = st.integers(0, 0xffffffff)

MESSAGES = st.lists(st.builds(Message, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.binary(max_size=60)), max_size=6)


@given(MESSAGES, st.lists(st.integers(0, 500)))
def test_any_messages_cut_anywhere(messages, cuts):
    framer = Framer()
    data = packed(*messages)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [msg for start, end in zip(edges, edges[1:]) for msg in framer.receive(data[start:end])]
    assert fields(found) == fields(messages)


@given(st.binary(), st.lists(st.integers(0, 100)))
def test_any_bytes(data, cuts):
    """Messages or a StreamError, and the same ones wherever they are cut."""
    def outcome(edges):
        framer = Framer()
        found = []
        try:
            for start, end in zip(edges, edges[1:]):
                found += framer.receive(data[start:end])
        except StreamError as exc:
            return type(exc)
        return fields(found)

    whole = outcome([0, len(data)])
    assert outcome([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]) == whole


# ---- Message


def test_a_message_says_what_it_is():
    assert repr(Message(1, 2, 3, 4, 5, b'x' * 100)) == 'Message(1, 2, 3, 4, 5, %r)' % (b'x' * 40)


def test_data_is_not_copied():
    data = bytes(1000)
    assert Message(data=data).data is data
    assert len(Message(1, 2, 3, data=data).pack()) == HEADER.size == 26


def test_a_value():
    msg = Message.pickled({'a': [1]}, dst_id=1, handle=2)
    assert (msg.dst_id, msg.handle, msg.is_dead, msg.unpickle()) == (1, 2, False, {'a': [1]})


@pytest.mark.parametrize('reason, text', [
    ('because', 'because'), ('Grüße', 'Grüße'), ('\udcff', '?'),
    (None, 'no reason'), ('', 'no reason')])
def test_a_dead_message(reason, text):
    msg = Message.dead(reason, dst_id=1, handle=2)
    assert (msg.dst_id, msg.handle, msg.is_dead, msg.reply_to) == (1, 2, True, 999)
    assert msg.reason == text
    with pytest.raises(ChannelError) as caught:
        msg.unpickle()
    assert str(caught.value) == text
    assert msg.unpickle(throw_dead=False) is None


def test_a_reason_that_is_not_text():
    assert Message(reply_to=999, data=b'a\xff').reason == 'a\N{REPLACEMENT CHARACTER}'


def test_an_error_inside_is_raised_or_returned():
    msg = Message.pickled(CallError('Kind', 'text'))
    with pytest.raises(CallError, match='Kind: text'):
        msg.unpickle()
    assert msg.unpickle(throw=False).message == 'text'


def test_an_error_within_a_value_is_a_value():
    assert Message.pickled([CallError('Kind')]).unpickle()[0].type_name == 'Kind'


def test_data_that_is_no_value():
    with pytest.raises(StreamError, match='cannot read 4 bytes'):
        Message(data=b'xyz.').unpickle()


class Recorder:
    """Stands where a message expects its router."""

    def __init__(self):
        self.routed = []

    def route(self, msg):
        self.routed.append((msg.dst_id, msg.handle, msg.unpickle(throw_dead=False)))


def arrived(**kwargs):
    msg = Message(0, 7, 7, 500, **kwargs)
    msg.router = Recorder()
    return msg


def test_a_reply_goes_where_it_is_awaited():
    msg = arrived(reply_to=1234)
    msg.reply('answer')
    msg.reply(Message.pickled('message'))
    msg.reply(Message.dead('no'))
    assert msg.router.routed == [(7, 1234, 'answer'), (7, 1234, 'message'), (7, 1234, None)]


def test_a_reply_through_another_router_and_to_another_handle():
    msg = arrived(reply_to=1234)
    other, msg.router = Recorder(), None
    msg.reply('answer', router=other, handle=77)
    assert other.routed == [(7, 77, 'answer')]


@pytest.mark.parametrize('reply_to', [0, 999])
def test_a_reply_that_nobody_awaits(reply_to):
    msg = arrived(reply_to=reply_to)
    msg.reply('answer')
    msg.reply(lambda: 0)        # not even looked at
    assert msg.router.routed == []


def test_a_reply_that_cannot_be_sent():
    msg = arrived(reply_to=1234)
    with pytest.raises(TypeError, match='cannot be sent'):
        msg.reply(lambda: 0)
    assert msg.router.routed == []


def test_a_reply_to_the_master_itself():
    with mitogen.testing.Tree() as tree:
        router = tree.master.router
        router.add_handler(lambda msg: msg.reply('answer'), 500)
        receiver = router.myself().send_async(Message(handle=500))
        tree.settle()
        assert receiver.get(block=False).unpickle() == 'answer'


# ---- CallError


class Inner:
    class Kind(Exception):
        pass


def test_what_an_error_tells():
    try:
        raise Inner.Kind('some text') from ValueError('the cause')
    except Inner.Kind as exc:
        error = CallError.of(exc)
    assert error.type_name == __name__ + '.Inner.Kind'
    assert error.message == 'some text'
    assert error.remote_traceback.startswith('ValueError: the cause\n')
    assert "raise Inner.Kind('some text') from" in error.remote_traceback
    assert str(error).startswith(error.type_name + ': some text\nValueError: the cause')


def test_an_error_that_has_crossed_a_context_already():
    error = CallError('Kind', 'text', 'first traceback')
    assert CallError.of(error) is error


def test_an_error_that_cannot_be_printed():
    class Mute(Exception):
        def __str__(self):
            raise ValueError('no')
    assert CallError.of(Mute()).message == '<unprintable>'


def test_an_error_whose_text_is_of_a_class_of_its_own():
    class Text(str):
        pass

    class Odd(Exception):
        def __str__(self):
            return Text('odd')
    assert mitogen.core.decode(mitogen.core.encode(CallError.of(Odd()))).message == 'odd'


@pytest.mark.parametrize('module, name', [
    ('builtins', 'Kind'), ('some.builtins', 'some.builtins.Kind'), ('builtins_of_mine', 'builtins_of_mine.Kind'),
    (None, 'None.Kind')])
def test_the_name_of_a_kind(module, name):
    kind = type('Kind', (Exception,), {'__module__': module})
    assert CallError.of(kind()).type_name == name


@pytest.mark.parametrize('arguments, text', [
    (('Kind',), 'Kind'), (('Kind', 'text'), 'Kind: text'), (('Kind', '', 'traceback\n'), 'Kind\ntraceback'),
    (('%s %d', '%'), '%s %d: %')])
def test_the_text_of_an_error(arguments, text):
    assert str(CallError(*arguments)) == text


def test_texts_of_errors_of_ours():
    assert str(mitogen.core.Error()) == ''
    assert str(mitogen.core.Error('100 %')) == '100 %'
    assert str(mitogen.core.Error('%s of %d', 'a', 2)) == 'a of 2'


def test_the_tree_of_errors():
    for kind in ChannelError, StreamError, CallError, mitogen.core.LatchError, mitogen.core.TimeoutError:
        assert kind.__bases__ == (mitogen.core.Error,)
