"""What is wrong in a call is an error for whoever calls; nothing is lost by it, and nobody hangs."""

import base64
import functools
import os
import time

import pytest

import mitogen.core
import mitogen.fanout
import support
import targets
import targets_bad
import targets_calls
import targets_imports
import targets_logs
import targets_resources
from mitogen.core import CALL_FUNCTION, CallError, ChannelError, Message, Receiver


@pytest.fixture
def alive(child):
    """The child must still serve calls when the test is over, and be the same process."""
    pid = child.call(targets_calls.pid)
    yield
    assert child.call(targets_calls.pid) == pid


def call_error(child, fn, *args):
    with pytest.raises(CallError) as caught:
        child.call(fn, *args)
    return caught.value


# ---- Values that cannot be sent


@pytest.mark.parametrize('what', targets_bad.UNSENDABLE)
def test_an_argument_that_cannot_be_sent(child, alive, what):
    with pytest.raises(TypeError) as caught:
        child.call(targets.echo, targets_bad.make_unsendable(what))
    assert 'sent' in str(caught.value)


@pytest.mark.parametrize('what', targets_bad.UNSENDABLE)
def test_a_result_that_cannot_be_sent(child, alive, what):
    error = call_error(child, targets_bad.make_unsendable, what)
    assert error.type_name == 'TypeError'
    assert 'sent' in error.message


@pytest.mark.parametrize('value, name', [
    (targets_bad.Own(), 'targets_bad.Own'), ([{'a': targets_bad.OwnDict()}], 'targets_bad.OwnDict')])
def test_the_error_names_the_type(child, value, name):
    with pytest.raises(TypeError, match=name):
        child.call(targets.echo, value)
    with pytest.raises(TypeError, match=name):
        child.call(targets.echo, value=value)


def test_a_value_that_an_old_python_refuses_to_send(oldest):
    for what in targets_bad.UNSENDABLE:
        error = call_error(oldest, targets_bad.make_unsendable, what)
        assert (error.type_name, 'sent' in error.message) == ('TypeError', True), what
    assert oldest.call(targets.echo, 1) == 1


def test_a_value_that_cannot_be_read_on_arrival(child, alive):
    function = mitogen.core.encode((None, 'targets', 'echo'))
    for data in b'', b'\x80\x04', b'\x80\x04cos\nsystem\n(X\x04\x00\x00\x00exitetR.', b'rubbish':
        receiver = child.send_async(Message(handle=CALL_FUNCTION, data=function + data))
        with pytest.raises(CallError):
            receiver.get(10).unpickle()


# ---- Calls that end in an unusual way


@pytest.mark.parametrize('args', [(), (0,), (3,), ('text',)])
def test_sys_exit_ends_the_call_and_not_the_child(child, alive, args):
    error = call_error(child, targets_bad.exit_call, *args)
    assert error.type_name == 'SystemExit'
    assert error.message == ''.join(map(str, args))


def test_os_exit_ends_the_child_and_the_error_says_how(child):
    with pytest.raises(ChannelError, match='exit status 3'):
        child.call(targets_bad.exit_process, 3)


def test_keyboard_interrupt_raised_in_a_call(child, alive):
    assert call_error(child, targets_bad.raise_keyboard_interrupt).type_name == 'KeyboardInterrupt'


def test_a_signal_interrupts_the_call_that_runs(child, alive):
    assert call_error(child, targets_bad.interrupt_myself).type_name == 'KeyboardInterrupt'


def test_signals_between_calls_lose_none(router, child, alive):
    """A signal hits the call that runs, if one does. Each call is answered."""
    receiver = Receiver(router)
    for _ in range(5):
        child.call(targets_bad.interrupt_when_idle, receiver.to_sender())
        calls = [child.call_async(targets.echo, number) for number in range(100)]
        for number, call in enumerate(calls):
            answer = call.get(10).unpickle(throw=False)
            assert answer == number or answer.type_name == 'KeyboardInterrupt'
        assert receiver.get(10).unpickle() == 'done'
    receiver.close()


def test_an_exception_text_of_a_megabyte(child, alive):
    error = call_error(child, targets_bad.raise_long, 1 << 20)
    assert error.message == 'x' * (1 << 20)


def test_an_exception_that_cannot_be_printed(child, alive):
    error = call_error(child, targets_bad.raise_unprintable)
    assert error.type_name == 'targets_bad.Unprintable'
    assert error.message == '<unprintable>'


def test_an_exception_of_a_class_of_the_users_own(child, alive):
    error = call_error(child, targets_bad.raise_own)
    assert (error.type_name, error.message) == ('targets_bad.OwnError', 'a=1 b=2')


def test_the_traceback_shows_the_cause(child, alive):
    error = call_error(child, targets_bad.raise_chained)
    assert error.message == 'the effect'
    assert "KeyError: 'the cause'" in error.remote_traceback


def test_endless_recursion(child, alive):
    assert call_error(child, targets_bad.recurse).type_name == 'RecursionError'


# ---- Things that cannot be called


def closure():
    secret = 5

    def inner():
        return secret
    return inner


class CallableObject:
    def __call__(self):
        pass


@pytest.mark.parametrize('fn, advice', [
    (lambda: 1, 'top level of a module'),
    (closure(), 'top level of a module'),
    (targets_calls.Greeter().method, 'what the object knows'),
    ([].append, 'what the object knows'),
    (functools.partial(targets.echo, 1), 'no name'),
    (CallableObject(), 'no name'),
    ('targets.echo', 'no name'),
    (None, 'no name'),
], ids=['lambda', 'closure', 'bound', 'built-in bound', 'partial', 'object', 'text', 'none'])
def test_what_has_no_name_cannot_be_called_and_the_error_says_what_to_do(child, alive, fn, advice):
    with pytest.raises(TypeError, match=advice):
        child.call(fn)


def function_of(module, name='f'):
    """A function that says of itself that it is from that module."""
    def fn():
        raise AssertionError('runs only in children')
    fn.__module__, fn.__qualname__ = module, name
    return fn


def test_a_function_that_its_module_does_not_have(child, alive):
    error = call_error(child, function_of('targets', 'no_such_function'))
    assert error.type_name == 'AttributeError'
    assert 'no_such_function' in error.message


# ---- Modules that cannot be imported


def test_a_module_that_does_not_exist(child, alive):
    error = call_error(child, function_of('x_no_such_module'))
    assert error.type_name == 'ModuleNotFoundError'
    assert 'x_no_such_module' in error.message


def test_a_module_that_raises_when_it_is_imported(folder, child, alive):
    (folder / 'x_raises.py').write_text('before = 1\n\nraise RuntimeError("not today")\n')
    for _ in range(2):      # the second time as the first: nothing half made stays in sys.modules
        error = call_error(child, function_of('x_raises'))
        assert (error.type_name, error.message) == ('RuntimeError', 'not today')
        assert 'x_raises.py", line 3' in error.remote_traceback
        assert 'raise RuntimeError("not today")' in error.remote_traceback


def test_a_module_that_ends_the_program_when_it_is_imported(folder, child, alive):
    (folder / 'x_exits.py').write_text('import sys\nsys.exit("goodbye")\n')
    assert call_error(child, function_of('x_exits')).type_name == 'SystemExit'


def test_a_module_with_the_syntax_of_a_newer_python(folder, router):
    (folder / 'x_newer.py').write_text('if (n := 5) > 3:\n    pass\n')
    version, path = [*support.find_pythons().items()][0]
    if support.as_numbers(version) >= (3, 8):
        pytest.skip('needs a Python before 3.8, the oldest here is ' + version)
    old = router.local(python_path=path)
    error = call_error(old, targets_imports.import_by_name, 'x_newer')
    assert error.type_name == 'SyntaxError'
    assert 'in Python ' + version in error.message
    assert 'x_newer.py' in error.remote_traceback
    assert old.call(targets.echo, 1) == 1


@pytest.mark.parametrize('source', [b'def (:\n', b'x = "\xff"\n', b'x = 1\0\n', b'# coding: no-such\n'],
                         ids=['syntax', 'encoding', 'null', 'unknown encoding'])
def test_a_module_that_is_no_source(folder, child, alive, source):
    (folder / 'x_broken.py').write_bytes(source)
    error = call_error(child, targets_imports.import_by_name, 'x_broken')
    assert error.type_name in ('SyntaxError', 'ValueError')


# ---- Messages that are too large


@pytest.fixture
def small(router):
    """A child of a router that carries no more than 100,000 bytes at once."""
    router.max_message_size = 100000
    return router.local()


def test_arguments_that_are_too_large(small):
    with pytest.raises(ChannelError, match='too large, the limit is 100000'):
        small.call(targets.echo, bytes(200000))
    assert small.call(targets.echo, 1) == 1


@pytest.mark.parametrize('fn', [targets_bad.make_bytes, targets_bad.raise_long])
def test_an_answer_that_is_too_large(small, fn):
    receiver = small.call_async(fn, 200000)
    with pytest.raises((ChannelError, CallError), match='too large, the limit is 100000'):
        receiver.get(5).unpickle()
    assert small.call(targets.echo, 1) == 1


def test_a_call_without_reply_that_is_too_large(small):
    """Nobody waits for a reason; sent in the place of the call, it would be the end for the child."""
    for call in small.call_no_reply, functools.partial(mitogen.fanout.call_no_reply, [small]):
        with pytest.raises(ChannelError, match='too large, the limit is 100000'):
            call(targets.echo, bytes(200000))
    assert small.call_async(targets.echo, 1).get(10).unpickle() == 1


@pytest.mark.parametrize('character', ['x', '\U0001f600'])
def test_a_log_record_that_is_too_large_is_cut(small, caplog, character):
    small.call(targets_logs.log_long, 200000, character)
    record, = support.wait_for(lambda: [r for r in caplog.records if r.name == 'mitogen.ctx.' + small.name])
    assert record.mitogen_name == 'long'
    assert len(record.mitogen_message) == 20000


def test_a_module_that_is_too_large(write, small):
    write({'x_big.py': b'X = "%s"\n' % base64.b64encode(os.urandom(200000)), 'x_small.py': ''})
    began = time.monotonic()
    name, text = small.call(targets_imports.why_not, 'x_big')
    assert time.monotonic() - began < 10
    assert name == 'ModuleNotFoundError'
    assert 'too large' in text
    assert small.call(targets_imports.why_not, 'x_small') is None


def test_a_resource_that_is_too_large(write, small):
    write({'x_data/__init__.py': '', 'x_data/big': bytes(200000)})
    assert small.call(targets_resources.why_not, 'x_data', 'big') == 'OSError'


def test_a_result_that_just_fits(small):
    room = 100000 - len(mitogen.core.encode(bytes(50000))) + 50000
    assert len(small.call(targets_bad.make_bytes, room)) == room
