"""The bytes that are really sent, run by every Python that is found: a child boots, calls and imports."""

import ast
import collections
import contextlib
import datetime
import decimal
import inspect
import logging
import os
import pathlib
import re
import uuid

import pytest

import mitogen.core
import mitogen.master
import mitogen.method
import support
import targets
import targets_boot
from mitogen.boot.dialogue import ConnectError
from mitogen.core import Blob, CallError, Kwargs, Secret

PYTHONS = support.find_pythons()

VERSIONS = sorted(PYTHONS, key=support.as_numbers)

METHODS = ['local', 'carrying']

mitogen.method.register('carrying', 'payload.carrying')


@pytest.fixture(scope='module')
def router():
    """One for all tests here: a child is started once for each interpreter and way to start it."""
    with mitogen.master.Router() as router:
        # A thread of the router's starts when it is first asked for a module: not to be taken for one test's.
        with contextlib.suppress(CallError):
            router.local().call(('no_such_module', 'x'))
        yield router


@pytest.fixture(scope='module', params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope='module', params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope='module')
def child(router, method, version):
    return router.connect(method, python_path=PYTHONS[version])


def test_it_boots_and_calls(child, version):
    assert child.call(os.getpid) not in (os.getpid(), os.getppid())
    assert '%d.%d' % tuple(child.call(targets.python_version)[:2]) == version


VALUES = [
    None, True, -1, 1 << 200, 0.5, 1 + 2j, 'Grüße\0\udcff', b'\x00\xff', bytearray(b'ab'), bytearray(), range(1, 9, 3),
    [1, [2]], (1,), {1: {'a': ()}}, {1, 'a'}, frozenset([1]), collections.OrderedDict([('b', 1), ('a', 2)]),
    decimal.Decimal('1.10'), uuid.UUID(int=5),
    pathlib.PurePosixPath('/a'), pathlib.PureWindowsPath('c:/a'), pathlib.Path('/a'),
    datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4), datetime.timedelta(days=-1, microseconds=5),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone.utc),
    datetime.timezone(datetime.timedelta(hours=2), 'here'), Blob(b'\xff'), Secret('hunter2'), Kwargs({'a': 1}),
]


def test_values_there_and_back(child):
    found = child.call(targets.echo, VALUES)
    assert found == VALUES
    assert [type(value) for value in found] == [type(value) for value in VALUES]


def test_what_was_one_object_is_one_object(child):
    part = [bytearray(b'a')]
    first, second = child.call(targets.echo, [part, part])
    assert first is second


@pytest.mark.parametrize('kind, name', [
    ('function', 'builtins.function'), ('class', 'builtins.type'), ('lock', 'lock'), ('object', 'builtins.object'),
    ('generator', 'builtins.generator'), ('builtin', 'builtins.builtin_function_or_method')])
def test_a_result_that_cannot_be_sent(child, kind, name):
    with pytest.raises(CallError, match='%s cannot be sent' % name) as caught:
        child.call(targets_boot.what_cannot_be_sent, kind)
    assert caught.value.type_name == 'TypeError'


def test_a_package_that_only_the_master_has(child):
    assert not child.call(targets.has_of_its_own, 'homegrown')
    assert child.call(targets.describe_square, 3)


# ---- Lines of tracebacks


def line_of(fn, text):
    lines, first = inspect.getsourcelines(fn)
    return next(first + number for number, line in enumerate(lines) if text in line)


def test_a_traceback_of_user_code_names_file_and_line(child):
    with pytest.raises(CallError) as caught:
        child.call(targets_boot.through_others, 'oops')
    frames = re.findall(r'File "(.*)", line (\d+), in (.*)\n    (.*)', caught.value.remote_traceback)
    path = 'master:' + targets_boot.__file__
    assert (path, str(line_of(targets_boot.raise_here, 'raise ValueError')), 'raise_here',
            'raise ValueError(text)      # the line that a traceback has to name') == frames[-1]
    assert any(frame[0] == path and frame[1] == str(line_of(targets_boot.through_others, 'return')) for frame in frames)


def functions_of_the_core():
    """{name: lines of all functions of that name}"""
    found = collections.defaultdict(set)
    for node in ast.walk(ast.parse(inspect.getsource(mitogen.core))):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            found[getattr(node, 'name', '<lambda>')] |= set(range(node.lineno, node.end_lineno + 1))
    return found


def test_a_traceback_of_the_core_names_its_lines(child):
    with pytest.raises(CallError) as caught:
        child.call(targets_boot.what_cannot_be_sent, 'lock')
    frames = re.findall(r'File "mitogen\.core", line (\d+), in (\w+)', caught.value.remote_traceback)
    functions, lines = functions_of_the_core(), inspect.getsource(mitogen.core).split('\n')
    assert [name for _, name in frames][-1] == '_refuse_value'
    assert all(int(number) in functions[name] for number, name in frames), frames
    number = int(frames[-1][0])
    assert 'raise TypeError(' in ''.join(lines[number - 2:number])      # old Pythons name a statement's last line


# ---- What the process looks like


@pytest.mark.skipif(not os.path.exists('/proc/self/mem'), reason='only Linux lets a process change its command line')
def test_the_name_in_ps(child):
    """And neither the first stage nor the core."""
    name = b'mitogen:%s@%s:%d' % (targets.whoami().encode(), os.uname().nodename.encode(), os.getpid())
    assert child.call(targets_boot.command_line).rstrip(b'\0') == name


def test_what_is_printed_arrives_as_log_records(child, caplog):
    with caplog.at_level(logging.INFO):
        child.call(targets_boot.write, 'Grüße', 'Fehler')
        found = support.wait_for(lambda: said(caplog) if len(said(caplog)) >= 4 else None)
    assert set(found) == {
        ('stdout', 'Grüße'), ('stdout', 'Grüße of sh'), ('stderr', 'Fehler'), ('stderr', 'Fehler of sh')}


def said(caplog):
    return [(record.mitogen_name, record.mitogen_message) for record in caplog.records
            if getattr(record, 'mitogen_name', None) in ('stdout', 'stderr')]


def test_standard_input_is_empty(child):
    assert child.call(targets_boot.standard_input) == ('', b'')


def test_the_current_folder_is_not_searched_for_modules(child):
    assert '' not in child.call(targets_boot.search_path)


def test_a_fresh_child_has_loaded_little(router, method, version):
    """Each of these would cost every child time and memory."""
    child = router.connect(method, python_path=PYTHONS[version])
    loaded = child.call(eval, "list(__import__('sys').modules)")
    child.shutdown(wait=True)
    assert not {'logging', 'pickle', 'socket', 'ssl', 'selectors', 'inspect', 'json'} & set(loaded)


# ---- Children of children


@pytest.mark.parametrize('other', [VERSIONS[0], VERSIONS[-1]])
def test_a_child_of_another_version(router, child, version, other):
    """It gets the core from a parent that has itself got it that way."""
    below = router.local(via=child, python_path=PYTHONS[other])
    assert '%d.%d' % tuple(below.call(targets.python_version)[:2]) == other
    assert below.call(targets.describe_square, 3)
    assert below.call(targets.echo, VALUES) == VALUES
    assert child.call(os.getpid) == below.call(os.getppid)
    below.shutdown(wait=True)


# ---- Pythons that are too old


@pytest.mark.skipif(support.find_python2() is None, reason='there is no Python 2.7 here')
@pytest.mark.parametrize('name', METHODS)
def test_a_python_that_is_too_old_says_so(router, name):
    with pytest.raises(ConnectError) as caught:
        router.connect(name, python_path=support.find_python2())
    assert caught.value.reason.startswith('the Python there is too old (exit status 1')
    assert 'needs Python 3.6, is 2.7' in caught.value.said and 'python_path' in caught.value.hint
