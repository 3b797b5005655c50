"""Values of each kind that may travel, there and back through a real child."""

import collections
import datetime
import decimal
import pathlib
import uuid

import pytest

import mitogen.core
import targets
import targets_calls
from mitogen.core import Blob, CallError, Kwargs, Secret

ZONE = datetime.timezone(datetime.timedelta(hours=2), 'here')

# Name of the type in the child -> values.
VALUES = {
    'builtins.NoneType': [None],
    'builtins.bool': [True, False],
    'builtins.int': [0, -1, 1 << 31, 1 << 200],
    'builtins.float': [0.5, float('inf'), -0.0],
    'builtins.complex': [1 + 2j],
    'builtins.str': ['', 'Grüße', '\0', '\U0001f600', '\udcff'],
    'builtins.bytes': [b'', b'\x00\xff'],
    'builtins.list': [[], [1, [2, [None]]]],
    'builtins.tuple': [(), (1, ('a',))],
    'builtins.set': [set(), {1, 'a'}],
    'builtins.frozenset': [frozenset([1, 'a'])],
    'builtins.dict': [{}, {1: 'a', ('b', 2): {'c': []}}],
    'builtins.range': [range(1, 10, 3)],
    'collections.OrderedDict': [collections.OrderedDict([('b', 1), ('a', 2)])],
    'datetime.date': [datetime.date(2024, 2, 29)],
    'datetime.datetime': [datetime.datetime(2024, 2, 29, 23, 59, 58, 7), datetime.datetime(2024, 1, 1, tzinfo=ZONE)],
    'datetime.time': [datetime.time(23, 59, 58, 7)],
    'datetime.timedelta': [datetime.timedelta(days=-1, microseconds=5)],
    'datetime.timezone': [ZONE, datetime.timezone.utc],
    'decimal.Decimal': [decimal.Decimal('1.10'), decimal.Decimal('-Infinity')],
    'uuid.UUID': [uuid.UUID(int=5)],
    'pathlib.PurePosixPath': [pathlib.PurePosixPath('/a/b')],
    'pathlib.PureWindowsPath': [pathlib.PureWindowsPath('c:/a')],
    'pathlib.PosixPath': [pathlib.Path('/a/b')],
    'mitogen.core.Blob': [Blob(b'\x00\xff')],
    'mitogen.core.Secret': [Secret('hunter2')],
    'mitogen.core.Kwargs': [Kwargs({'a': 1})],
}
CASES = [(name, value) for name, values in VALUES.items() for value in values]


def test_each_value_keeps_its_type_both_ways(other):
    for name, value in CASES:
        assert other.call(targets_calls.is_of_type, value, name), (name, value)
        back = other.call(targets.echo, value)
        assert (type(back), back) == (type(value), value)
        assert repr(back) == repr(value) or isinstance(value, (set, frozenset))     # whose order is any


@pytest.mark.parametrize('value', [bytearray(), bytearray(b'\x00\xff'), [bytearray(b'within')]])
def test_a_bytearray(other, value):
    assert other.call(targets.echo, value) == value


def test_all_of_them_in_one_value(other):
    everything = [value for _, value in CASES]
    assert other.call(targets.echo, everything) == everything


def test_a_value_that_holds_itself(child):
    value = [1]
    value.append(value)
    back = child.call(targets.echo, value)
    assert back[1] is back


def test_text_and_bytes_arrive_as_they_left(child):
    assert child.call(targets_calls.describe, 'a', b'a') == "(('a', b'a'), [])"


def test_a_secret_is_readable_there_and_masked_in_print(child):
    assert child.call(targets_calls.describe, Secret('hunter2')) == '(([secret],), [])'
    assert child.call(len, Secret('hunter2')) == 7


def test_an_error_as_a_value_is_raised(child):
    with pytest.raises(CallError) as caught:
        child.call(targets.echo, CallError('a.B', 'text', 'traceback'))
    error = caught.value
    assert (error.type_name, error.message, error.remote_traceback) == ('a.B', 'text', 'traceback')


def test_a_context_is_the_same_object_when_it_comes_back(router, child):
    assert child.call(targets.echo, child) is child
    assert child.call(targets.echo, router.myself()) == router.myself()


def test_a_sender_comes_back_and_still_leads_here(router, child):
    receiver = mitogen.core.Receiver(router)
    child.call(targets.echo, receiver.to_sender()).send('here')
    assert receiver.get(10).unpickle() == 'here'
    receiver.close()
