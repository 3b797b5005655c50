"""core, values: what may travel arrives as it left, what may not is refused before it leaves."""

import collections
import datetime
import decimal
import enum
import functools
import io
import operator
import pathlib
import sys
import threading
import uuid

import pytest
from hypothesis import given, strategies as st

import mitogen.core
import mitogen.testing
import mitogen.utils
from mitogen.core import Blob, CallError, Kwargs, Secret, Sender, StreamError, decode, decoder, encode

ZONE = datetime.timezone(datetime.timedelta(hours=2), 'here')

PLAIN = [None, True, False, 0, -1, 1 << 31, -1 << 63, 1 << 1000, 0.0, -0.5, 1e308, float('inf'), '', 'a\0b', 'Grüße',
         '\U0001f600', '\udcff', 'x' * 70000, b'', b'\x00\xff', b'x' * 70000]

CONTAINERS = [[], [1, [2]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {'a': 1, 2: [3], (4, 5): None}, set(),
              {1, 2.5}, frozenset(), frozenset({1, (2,)}), [list(range(2000))], dict.fromkeys(range(2000))]

OTHERS = [
    1 + 2j, bytearray(), bytearray(b'\x00\xff'), range(0), range(1, 10, 3), range(10, 0, -1),
    collections.OrderedDict([('b', 1), ('a', 2)]),
    decimal.Decimal('1.10'), decimal.Decimal('-Infinity'), decimal.Decimal('1E+1000'),
    uuid.UUID(int=5), uuid.UUID(int=(1 << 128) - 1),
    pathlib.PurePosixPath('/a/b'), pathlib.PurePosixPath('.'), pathlib.PureWindowsPath('c:/a'), pathlib.Path('/a'),
    datetime.date(2024, 2, 29), datetime.time(23, 59, 58, 7), datetime.time(1, tzinfo=ZONE),
    datetime.datetime(2024, 2, 29, 23, 59, 58, 7), datetime.datetime(2024, 1, 1, tzinfo=ZONE),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1), datetime.datetime.min, datetime.datetime.max,
    datetime.timedelta(days=-1, microseconds=5), datetime.timezone.utc, ZONE,
    Blob(b'\x00\xff'), Blob(), Secret('hunter2'), Secret(''), Kwargs({'a': 1}), Kwargs(),
]


@pytest.mark.parametrize('value', PLAIN + CONTAINERS + OTHERS, ids=lambda value: repr(value)[:40])
def test_a_value_arrives_as_it_left(value):
    arrived = decode(encode(value))
    assert type(arrived) is type(value)
    assert arrived == value
    assert repr(arrived) == repr(value)


@pytest.mark.parametrize('value', OTHERS, ids=repr)
def test_a_value_inside_others(value):
    arrived = decode(encode([value, {'a': (value, [value])}, Kwargs({'b': value}), collections.OrderedDict(c=value)]))
    assert arrived == [value, {'a': (value, [value])}, {'b': value}, {'c': value}]
    assert type(arrived[3]['c']) is type(value)


def test_the_fold_of_a_time():
    assert decode(encode(datetime.time(2, 30, fold=1))).fold == 1


def test_not_a_number():
    assert repr(decode(encode([float('nan'), decimal.Decimal('sNaN')]))) == "[nan, Decimal('sNaN')]"


def test_all_types_of_the_table_were_tried():
    tried = {mitogen.core._tag(type(value)) for value in OTHERS}
    assert set(mitogen.core.VALUE_TYPES) - tried == {
        'mitogen.core.CallError', 'mitogen.core.Context', 'mitogen.core.Sender'}     # below


def test_a_call_error():
    error = CallError('some.Kind', 'text', 'Traceback ...')
    arrived = decode(encode(error))
    assert type(arrived) is CallError
    assert (arrived.type_name, arrived.message, arrived.remote_traceback) == ('some.Kind', 'text', 'Traceback ...')
    assert str(arrived) == str(error)


def test_contexts_and_senders():
    with mitogen.testing.Tree() as tree:
        web = tree.add(name='web')
        context = tree.context(web)
        here, there = tree.master.router, web.router
        for value in context, Sender(context, 1234):
            data = encode([value, value])
            first, second = decode(data, there)
            assert first is second
            arrived = first if value is context else first.context
            assert arrived is web.context
            assert decode(encode(first), here) in (value, [value]) or first.dst_handle == 1234


def test_a_context_is_created_with_its_name():
    with mitogen.testing.Tree() as tree:
        stranger = mitogen.core.Context(tree.master.router, 77, 'stranger')
        arrived = decode(encode(stranger), tree.add().router)
        assert (arrived.context_id, arrived.name) == (77, 'stranger')


def test_contexts_mean_nothing_without_a_router():
    with mitogen.testing.Tree() as tree, pytest.raises(StreamError):
        decode(encode(tree.master.context))


# ---- Sharing and cycles


def test_what_was_one_object_is_one_object():
    part = [1]
    arrived = decode(encode([part, part, {'a': part}, Kwargs({'b': part})]))
    assert arrived[0] is arrived[1] is arrived[2]['a'] is arrived[3]['b']


@pytest.mark.parametrize('value', [uuid.UUID(int=1), bytearray(b'a'), collections.OrderedDict(), Kwargs(), Blob(b'a')],
                         ids=repr)
def test_objects_with_a_constructor_are_shared_too(value):
    first, second = decode(encode([value, value]))
    assert first is second


def test_a_list_that_holds_itself():
    value = []
    value += [value, {'me': value}, (value,)]
    arrived = decode(encode(value))
    assert arrived[0] is arrived[1]['me'] is arrived[2][0] is arrived


def test_a_dictionary_that_holds_itself():
    value = {}
    value['me'] = value
    arrived = decode(encode(value))
    assert arrived['me'] is arrived


def test_an_ordered_dictionary_that_holds_itself_is_refused():
    """Its constructor needs the whole of it first. That must be an error, not an endless loop."""
    value = collections.OrderedDict()
    value['me'] = value
    with pytest.raises(TypeError, match='nested too deeply'):
        encode(value)


# ---- Several values in one message


def test_a_bad_second_value_leaves_the_first_readable():
    load = decoder(encode(('chain', 'module', 'function')) + b'\x80\x04cos\nsystem\n.')
    assert load() == ('chain', 'module', 'function')
    with pytest.raises(TypeError, match='os.system'):
        load()


def test_objects_are_shared_among_the_values_of_one_message():
    part = [1]
    load = decoder(encode([part], {'a': part}))
    assert load()[0] is load()['a']


def test_there_is_no_more():
    load = decoder(encode(1))
    load()
    with pytest.raises(EOFError):
        load()


# ---- What may not travel


class Number(enum.IntEnum):
    ONE = 1


Point = collections.namedtuple('Point', 'x y')


class Text(str):
    pass


class Data(bytes):
    pass


class Real(float):
    pass


class Listing(list):
    pass


class Moment(datetime.datetime):
    pass


class Thing:
    pass


class Pretender:
    """Says that it is something else."""
    __class__ = int


class Reducible:
    """Knows how to be pickled, and would have a function called on arrival."""

    def __reduce__(self):
        raise AssertionError('asked')


def closure():
    def inner():
        return closure
    return inner


SUBCLASSES = {
    'Number': Number.ONE, 'Point': Point(1, 2), 'Text': Text('a'), 'Data': Data(b'a'), 'Real': Real(1),
    'Listing': Listing([1]), 'defaultdict': collections.defaultdict(list, a=[1]), 'Counter': collections.Counter('aab'),
}

REFUSED = {
    **SUBCLASSES, 'Moment': Moment(2024, 1, 1), 'object': object(), 'Thing': Thing(), 'Pretender': Pretender(),
    'Reducible': Reducible(), 'type': Thing, 'EnumType' if sys.version_info >= (3, 11) else 'EnumMeta': Number,
    'ABCMeta': collections.abc.Mapping, 'lock': threading.Lock(), 'RLock': threading.RLock(),
    'generator': (x for x in ()), 'function': closure, 'builtin_function_or_method': len,
    'method': threading.Event().set, 'partial': functools.partial(int),
    'itemgetter': operator.itemgetter(1), 'module': operator, 'ellipsis': ...,
    'NotImplementedType': NotImplemented, 'ValueError': ValueError('a'), 'memoryview': memoryview(b'a'),
    'slice': slice(1), 'Message': mitogen.core.Message(), 'Error': mitogen.core.Error('a'),
    'property': property(), 'deque': collections.deque(), 'StringIO': io.StringIO(), 'code': closure.__code__,
    'dict_keys': {}.keys(), 'mappingproxy': vars(Thing),
}


WRAPS = {
    'bare': lambda v: v, 'list': lambda v: [v], 'dict': lambda v: {'a': (v,)}, 'kwargs': lambda v: Kwargs({'a': v}),
    'ordered': lambda v: collections.OrderedDict(a=v),
}


@pytest.mark.parametrize('wrap', WRAPS.values(), ids=WRAPS.keys())
@pytest.mark.parametrize('name', REFUSED)
def test_a_refusal_names_the_type_and_the_way_out(name, wrap):
    with pytest.raises(TypeError) as caught:
        encode(wrap(REFUSED[name]))
    assert name in str(caught.value)
    assert 'cannot be sent' in str(caught.value) and 'mitogen.utils.cast' in str(caught.value)


@pytest.mark.parametrize('value', [lambda: 0, closure()], ids=['lambda', 'closure'])
def test_functions_without_a_name_of_their_own(value):
    with pytest.raises(TypeError, match='function'):
        encode(value)


def test_a_time_zone_of_the_users_own():
    class Zone(datetime.tzinfo):
        pass
    with pytest.raises(TypeError, match='Zone cannot be sent'):
        encode(datetime.datetime(2024, 1, 1, tzinfo=Zone()))


@pytest.mark.parametrize('name', SUBCLASSES)
def test_the_way_out(name):
    value = SUBCLASSES[name]
    cast = mitogen.utils.cast(value)
    assert decode(encode(cast)) == value
    assert type(cast) in (int, tuple, str, bytes, float, list, dict)


def nested(wrap, depth=100_000):
    value = None
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize('wrap', [lambda v: [v], lambda v: (v,), lambda v: {1: v}], ids=['list', 'tuple', 'dict'])
def test_a_value_that_is_nested_too_deeply(wrap):
    with pytest.raises(TypeError, match='nested too deeply to be sent'):
        encode(nested(wrap))
    assert decode(encode('the next one')) == 'the next one'


def test_values_with_a_constructor_that_are_nested_too_deeply():
    with pytest.raises(TypeError, match='nested too deeply to be sent'):
        encode(nested(lambda v: Kwargs({'a': v}), 2000))


def test_a_value_of_a_module_that_was_split():
    """Python 3.13 has PurePosixPath in pathlib._local; on the wire its name is that of all others."""
    kind = type('PurePosixPath', (), {'__module__': 'pathlib._local'})
    assert mitogen.core._tag(kind) == mitogen.core._tag(pathlib.PurePosixPath) == 'pathlib.PurePosixPath'


def test_secrets_are_masked():
    assert repr(Secret('hunter2')) == '[secret]'
    assert repr([decode(encode(Secret('hunter2')))]) == '[[secret]]'
    assert '%r' % Kwargs(password=Secret('hunter2')) == "{'password': [secret]}"


# ---- Any value


KEYS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.complex_numbers(allow_nan=False), st.text(),
    st.binary(), st.dates(), st.timedeltas(), st.datetimes(timezones=st.just(ZONE)), st.uuids(),
    st.decimals(allow_nan=False), st.binary().map(Blob), st.text().map(Secret))

VALUES = st.recursive(
    KEYS | st.binary().map(bytearray) | st.builds(range, st.integers(), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.sets(KEYS), st.frozensets(KEYS), st.dictionaries(KEYS, inner),
        st.dictionaries(KEYS, inner).map(collections.OrderedDict), st.dictionaries(st.text(), inner).map(Kwargs)))


@given(VALUES)
def test_any_value(value):
    arrived = decode(encode(value))
    assert arrived == value and type(arrived) is type(value)


@given(VALUES)
def test_what_cast_returns_can_be_sent(value):
    decode(encode(mitogen.utils.cast(value)))
