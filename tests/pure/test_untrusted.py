"""untrusted: what this library writes passes; what costs more to build than to send does not."""

import collections
import datetime
import decimal
import pathlib
import random
import struct
import uuid

import pytest
from hypothesis import given, settings, strategies as st

import mitogen.core
import mitogen.testing
import mitogen.untrusted
import programs
import support
from mitogen.core import Blob, CallError, Kwargs, Message, Secret, StreamError, encode
from mitogen.untrusted import LARGE, MAX_COPIED, MAX_DEPTH, MAX_HASHED, PROTOCOL, Survey, decode, framed, inspect

#: A key of a few bytes: twice the same tuple, 60 times over.
HEAVY = b'N\x94' + b''.join(b'h%c\x86\x94' % n for n in range(60))

MAKER = b'\x8c\x0cmitogen.core\x8c\x06_value\x93'


def text(value):
    return b'X' + len(value).to_bytes(4, 'little') + value


def make(tag, *args):
    return MAKER + b'(' + text(tag) + b''.join(args) + b'tR'


def assert_refused(data, reason='cannot read'):
    with pytest.raises(StreamError, match=reason):
        inspect(PROTOCOL + data + b'.')


# ---- What may pass


SHARED, LONG = ('a', 1), 'x' * 1000
ITSELF_IN_A_LIST = ([],)
ITSELF_IN_A_LIST[0].append(ITSELF_IN_A_LIST)
ITSELF_IN_A_LONG_ONE = ([], 1, 2, 3)
ITSELF_IN_A_LONG_ONE[0].append(ITSELF_IN_A_LONG_ONE)

VALUES = [
    None, True, 5, -5, 70000, 1 << 40, 1 << 5000, 2.5, 1j, '', 'a', LONG, 'x' * 70000, b'', b'a', bytes(300),
    bytes(70000), bytearray(b'a'), [], (), {}, set(), frozenset(), [1], (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {1},
    {1: 2}, {1: 2, 3: 4},
    frozenset([1, (2, 3)]), {(1, (2, 3)): 4}, {(1, 2): 3, (4, 5): 6}, {frozenset([1]), frozenset([2])},
    [SHARED, SHARED, (SHARED, SHARED)], [LONG] * 1000, {(LONG, number): LONG for number in range(1000)},
    [[number] for number in range(400)] * 2, ITSELF_IN_A_LIST, ITSELF_IN_A_LONG_ONE, collections.OrderedDict(),
    collections.OrderedDict([(1, 2), ((1, 2), [3, {}])]), Kwargs(a=1, b=[{}], c=((1, 2), (3, 4))), Secret('a'),
    Blob(b'a'), Blob(bytes(100000)), bytearray(), decimal.Decimal('1.5'), decimal.Decimal('1' * 2000),
    {decimal.Decimal(1): 1}, uuid.UUID(int=5), pathlib.PurePosixPath('/a'), range(5), range(1 << 100),
    datetime.date(2000, 1, 1), datetime.timedelta(1),
    datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), 'x')), datetime.time(1),
    CallError('a', 'b', 'c'), [(str(number), number) for number in range(3000)], {str(n): (n, n) for n in range(3000)},
]


@pytest.mark.parametrize('value', VALUES, ids=lambda value: type(value).__name__)
def test_what_this_library_writes(value):
    data = encode(value)
    inspect(data)
    Survey(data).run()
    inspect(encode([value, value, {'value': (value, [value])}]))


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
KEYS = st.recursive(NUMBERS, lambda part: st.lists(part).map(tuple) | st.frozensets(part), max_leaves=6)
ANY = st.recursive(
    KEYS, lambda part: st.one_of(st.lists(part), st.lists(part).map(tuple), st.dictionaries(KEYS, part), st.sets(KEYS),
                                 st.dictionaries(KEYS, part).map(collections.OrderedDict),
                                 st.tuples(part, st.integers(1, 5)).map(lambda pair: [pair[0]] * pair[1])),
    max_leaves=20)


@settings(max_examples=100)
@given(ANY)
def test_any_value(value):
    data = encode(value)
    inspect(data)
    Survey(data).run()


@pytest.mark.parametrize('size', [31, 32, 33, 255, 256, 65535, 65536, 100_000])
@pytest.mark.parametrize('kind', [str, bytes])
def test_text_of_instructions(kind, size):
    """What is inside of text is no instruction."""
    for letter in 'r', 'p', 't', '.':
        value = letter * size
        inspect(encode([value if kind is str else value.encode(), 5]))


REHEARSED = """
import mitogen.untrusted
from mitogen.core import encode

mitogen.untrusted.Survey = None
shared = ('a', 1)
for value in (
        [('host%d' % number, {'size': number}) for number in range(30000)],
        {'a': (1, 2, ('b', shared)), 'b': [shared] * 9}, [{'x' * size: (), 'y': ('z' * size,)} for size in range(300)],
        {'a': ('x' * 70000, b'x' * 70000, {1, 2})}):
    mitogen.untrusted.inspect(encode(value))
print('all passed')
"""


@pytest.mark.parametrize('version', support.find_pythons())
def test_what_has_tuples_that_are_no_keys_is_rehearsed_only(version):
    """By the unpickler of each Python that may look at what comes from below."""
    done = programs.run('-c', REHEARSED, python=support.find_pythons()[version])
    assert (done.stdout, done.stderr) == ('all passed\n', '')


# A frame of two bytes, that ends within the argument of an instruction. CPython forgets the other byte of the two and
# takes four from behind them, so that the next instruction is in what is the length of a text.
HIDDEN = b'000\x8c\x06hidden.'
TORN = PROTOCOL + b'\x95' + struct.pack('<Q', 2) + b'Jaaaa' + text(HIDDEN.ljust(0x14d4e, b'.')) + b'.'


@pytest.mark.parametrize('read', [
    decode, lambda data: mitogen.untrusted.Message(data=data).unpickle()], ids=['value', 'message'])
def test_frames_hide_nothing(read):
    assert mitogen.core.decode(TORN) == 'hidden', 'on this Python there is nothing to be hidden behind'
    inspect(TORN)
    with pytest.raises(StreamError, match="can't decode"):
        read(TORN)


@pytest.mark.parametrize('value', VALUES, ids=lambda value: type(value).__name__)
def test_a_frame_around_all_changes_nothing(value):
    data = encode(value)
    whole = framed(data)
    assert len(whole) in (len(data), len(data) + 9) and framed(whole) is whole and (whole is data or b'\x95' in data)
    assert encode(mitogen.core.decode(whole)) == encode(mitogen.core.decode(data))


@pytest.mark.parametrize('data', [b'N\x85\x94(Ne', b'N\x85\x94Na', b'N\x85\x94(K\x00Nu', b'](N\x85(NeNe'])
def test_a_tuple_is_no_list_after_all(data, monkeypatch):
    """In the rehearsal it grows. Whoever builds it then comes as far as that, and no further."""
    monkeypatch.setattr(mitogen.untrusted, 'Survey', None)
    data = PROTOCOL + b'](}(NNu' + data + b'e.'
    inspect(data)
    with pytest.raises(StreamError, match='cannot read'):
        mitogen.core.decode(data)


# ---- What may not


TEXTS = ['u' * size for size in range(300)]


@pytest.mark.parametrize('more', [0, 1000])
@pytest.mark.parametrize('value', [
    TEXTS, {text: text.encode() for text in TEXTS[:200]}, [(text, {}) for text in TEXTS]], ids=['1', '2', '3'])
def test_texts_of_all_lengths_hide_nothing(value, more):
    """In small values and in large ones, which another pattern goes over."""
    data = encode([value, ['%d %s' % (number, 'x' * 100) for number in range(more)]])
    assert (len(data) > LARGE) == bool(more)
    inspect(data)
    assert_refused(data[len(PROTOCOL):-1] + b'}N' + b'\x85' * 5000 + b'Ns')


@pytest.mark.parametrize('data', [
    b'Nr' + struct.pack('<I', 10_000_000), b'p1000000000\n', b'Nq\x01', b'N2', b'cos\nsystem\n', b'Pname\n', b'NQ',
    b'\x97', b'I1\n', b'}}b', MAKER + b')\x81', b'(' + MAKER + b'o', b'\x96' + bytes(8)])
@pytest.mark.parametrize('before', [b'', b'}(N\x85Nu'])
def test_instructions_that_nobody_writes(data, before):
    assert_refused(before + data, 'is not accepted')


@pytest.mark.parametrize('data', [
    b'', b'\x80', b'\x80\x03N.', b'\x80\x05N.', b'N.',
    *(PROTOCOL + body for body in (
        b'', b'N', b'h', b'h\x00.', b't.', b'a.', b'\x8c\x05a.', b'}(N\x86u.', b'N\x85R.', b'1.', b'0.'))])
def test_what_is_no_value_at_all(data):
    with pytest.raises(StreamError):
        decode(data)


def test_a_key_of_tuples_in_each_other():
    for inner in b'\x85', b'N\x86', b'NN\x87':
        inspect(PROTOCOL + b'}N' + inner * (MAX_DEPTH - 10) + b'Ns.')
        assert_refused(b'}N' + inner * (MAX_DEPTH + 10) + b'Ns', 'too deep')
    for depth in MAX_DEPTH - 10, MAX_DEPTH + 10:
        data = b'}' + b'(' * depth + b'N' + b't' * depth + b'Ns'
        inspect(PROTOCOL + data + b'.') if depth < MAX_DEPTH else assert_refused(data, 'too deep')


@pytest.mark.parametrize('use', [b'}%sNs', b'}(%sNu', b'\x8f(%s\x90', b'(%s\x91', b'}(NN%sNu', b'}](%se\x94Ns',
                                 make(b'collections.OrderedDict', b'](%sN\x86e')])
@pytest.mark.parametrize('key', [HEAVY, b'N' + b'\x85' * 5000])
def test_wherever_a_key_is_hashed(use, key):
    data = use.replace(b'%s', key)
    if b'](' in use and use.startswith(b'}'):
        inspect(PROTOCOL + data.replace(b'\x94Ns', b'').replace(b'}]', b']') + b'.')    # in a list nobody hashes it
    else:
        assert_refused(data, 'too large, or too deep')


def test_the_same_large_key_again_and_again():
    wide = b'(' + b'N' * 10_000 + b't\x94'
    assert_refused(b'](' + wide + b'}(' + b'h\x00N' * 10_000 + b'ue', 'too large')
    assert 10_000 * 10_000 > MAX_HASHED


def test_the_same_large_number_again_and_again():
    number = b'\x8b' + (1_000_000).to_bytes(4, 'little') + b'a' * 1_000_000 + b'\x94'
    assert_refused(b'](' + number + b'}(' + b'h\x00N' * 10_000 + b'ue', 'too large')


@pytest.mark.parametrize('tag', [b'mitogen.core.Blob', b'decimal.Decimal', b'mitogen.core.CallError'])
def test_the_same_large_text_in_many_values(tag):
    large = text(b'9' * MAX_COPIED) + b'\x94'
    inspect(PROTOCOL + large + make(tag, b'h\x00') + b'.')
    assert_refused(large + make(tag, b'h\x00') * 10, 'in too many values')


@pytest.mark.parametrize('tag', [b'collections.OrderedDict', b'mitogen.core.Kwargs'])
def test_the_same_large_list_in_many_values(tag):
    large = b']\x94(' + b'NN\x86' * 100_000 + b'e'
    assert_refused(large + make(tag, b'h\x00') * 100, 'in too many values')


def test_pairs_that_change_after_they_were_looked_at():
    assert_refused(make(b'collections.OrderedDict', b']](NNea'), 'lists of lists')
    heavy = HEAVY.replace(b'h\x00', b'h\x01') + b'N\x86'
    later = MAKER + b'(' + text(b'collections.OrderedDict') + b']\x94th\x00' + heavy + b'a0R'
    assert_refused(later, 'instruction 82 is not accepted')


def test_what_the_survey_saw_is_what_is_called():
    """An instruction between the arguments and the call could bring others."""
    assert_refused(MAKER + MAKER + text(b'builtins.range') + b'\x85N\x850R', 'is not accepted')


def test_costs_that_double_without_end_cost_us_nothing():
    doubling = b'N\x94' + b''.join(b'j' + n.to_bytes(4, 'little') + b'\x86\x94' for n in range(100_000))
    inspect(PROTOCOL + b']' + doubling + b'a.')
    assert_refused(b'}' + doubling + b'Ns', 'too large')


# ---- Whose messages are looked at


FAR = PROTOCOL + b'}(Nr' + (1 << 20).to_bytes(4, 'little') + b'Nu.'


@pytest.fixture
def tree():
    with mitogen.testing.Tree() as tree:
        tree.web = tree.add(name='web')
        tree.disk = tree.add(tree.web, name='disk')
        tree.other = tree.add(name='other')
        tree.add(tree.other, name='below the other')        # now it has what looks
        yield tree


def arrived(tree, source, target, data):
    """Return what becomes of a value that one context sends to another."""
    receiver = mitogen.core.Receiver(target.router)
    source.say(Message(dst_id=target.context_id, handle=receiver.handle, data=data), source.stream or target.link)
    tree.settle()
    return receiver.get(block=False)


@pytest.mark.parametrize('source, target', [('web', 'master'), ('disk', 'master'), ('disk', 'web'), ('web', 'other'),
                                            ('disk', 'other')])
def test_values_from_below_and_from_beside(tree, source, target):
    source, target = (tree.master if name == 'master' else getattr(tree, name) for name in (source, target))
    msg = arrived(tree, source, target, FAR)
    with pytest.raises(StreamError, match='instruction 114 is not accepted'):
        msg.unpickle()
    assert arrived(tree, source, target, encode([5])).unpickle() == [5]


def test_values_from_above_are_taken_as_they_are(tree):
    assert arrived(tree, tree.master, tree.web, FAR).unpickle() == {None: None}


def test_a_dead_message_is_no_value(tree):
    receiver = mitogen.core.Receiver(tree.master.router)
    tree.web.say(Message.dead('because ' * 20, dst_id=0, handle=receiver.handle))
    tree.settle()
    with pytest.raises(mitogen.core.ChannelError, match='because'):
        receiver.get(block=False, throw_dead=False).unpickle()


def test_short_values_are_not_looked_at_unless_they_write_to_the_memo(tree):
    assert arrived(tree, tree.web, tree.master, PROTOCOL + b'N2\x86.').unpickle() == (None, None)
    with pytest.raises(StreamError):
        arrived(tree, tree.web, tree.master, PROTOCOL + b'Np1000000000\n.').unpickle()


@settings(max_examples=200)
@given(st.integers(0, 1 << 32))
def test_nothing_short_takes_long(seed):
    """The longest hash that so many bytes can ask for ends at once."""
    pieces = random.Random(seed).choices([b'2', b'2\x86', b'22\x87', b'N', b')', b'2\x85'], k=20)
    body = b''.join(pieces)[:30]
    try:
        mitogen.core.decode(PROTOCOL + b'})' + body + b'Ns.')
    except StreamError:
        pass
