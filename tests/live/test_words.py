"""What the library says, in the words that somebody reads who meets it for the first time."""

import dataclasses
import enum
import io
import logging
import os
import re

import pytest

import mitogen.core
import mitogen.service
import mitogen.utils
import support
import targets
import targets_calls
import targets_services
from commands import mitogen as command
from mitogen.service import FileService


@dataclasses.dataclass
class Point:
    x: int


class Colour(enum.Enum):
    RED = 1


# ---- values


@pytest.mark.parametrize('fn, args', [(os.uname, ()), (os.stat, ('/',)), (os.times, ()), (os.statvfs, ('/',))])
def test_what_system_calls_return_arrives_as_a_tuple(child, fn, args):
    result = child.call(fn, *args)
    assert type(result) is tuple
    assert len(result) == len(fn(*args))
    assert child.call(targets.echo, [os.uname()]) == [tuple(os.uname())]


def test_and_so_does_it_from_any_python(router):
    for path in support.find_pythons().values():
        assert router.local(python_path=path).call(os.uname)[0] == os.uname()[0]


@pytest.mark.parametrize('args, kwargs, words', [
    ((1, [Point(2)]), {}, 'argument 2: .*Point cannot be sent: .*vars'),
    ((1,), {'colour': Colour.RED}, r'argument colour: .*Colour cannot be sent: .*\.value'),
    (((x for x in ()),), {}, 'argument 1: .*generator cannot be sent: use its list')])
def test_which_argument_cannot_be_sent(child, args, kwargs, words):
    with pytest.raises(TypeError, match=words):
        child.call(targets.echo, *args, **kwargs)


def test_a_method_of_a_built_in_type_can_be_called(child):
    assert child.call(str.upper, 'x') == 'X'


# ---- contexts


def vanish():
    os._exit(3)


def ask_itself():
    return mitogen.core.child_router.myself().call(os.getpid)


def ask_itself_later():
    return mitogen.core.child_router.myself().call_async(os.getpid).handle > 0


def test_a_context_that_is_gone_is_gone_for_the_same_reason_each_time(router, child):
    for via in None, child:
        other = router.local(name='x', via=via)
        for _ in range(3):
            with pytest.raises(mitogen.core.ChannelError, match='x is gone: exit status 3'):
                other.call(vanish)


def test_a_call_to_oneself_would_wait_for_ever(child):
    with pytest.raises(mitogen.core.CallError, match='runs one call at a time, so Context.*self'):
        child.call(ask_itself)
    assert child.call(ask_itself_later)
    assert child.call(os.getpid)


@pytest.mark.parametrize('connect', ['connect', 'connect_async'])
def test_via_is_a_context(router, connect):
    with pytest.raises(TypeError, match="via must be a context, .* not 'web1'"):
        getattr(router, connect)('local', via='web1')


def test_forks_have_names_of_their_own(router):
    assert len({router.fork().name for _ in range(3)}) == 3


def test_errors_of_local_show_the_whole_path(router):
    with pytest.raises(mitogen.core.StreamError, match='local to /nonexistent/python3 failed'):
        router.local(python_path='/nonexistent/python3')


def test_something_else_that_is_missing_is_not_python(router, tmp_path):
    script = tmp_path / 'python3'
    script.write_text('#!/bin/sh\ncat /etc/nothing.conf\nexit 1\n')
    script.chmod(0o755)
    with pytest.raises(mitogen.core.StreamError, match='ended too early .*exit status 1') as caught:
        router.local(python_path=str(script))
    assert 'nothing.conf: No such file' in caught.value.said
    assert not caught.value.hint


def test_a_start_that_was_given_up_says_so(router):
    starting = router.connect_async('local', python_path=['sh', '-c', 'exec sleep 60', 'sh'])
    starting.cancel()
    with pytest.raises(mitogen.core.Error, match='the connection was given up'):
        starting.get(10).unpickle()
        starting.get(10)


# ---- services


@mitogen.core.takes_econtext
def fetch_from_master(path, econtext):
    return FileService.get(econtext.router.context_by_id(0), path, io.BytesIO())[0]


def test_a_master_without_a_pool(router, child, tmp_path):
    with pytest.raises(mitogen.core.CallError, match=r'context 0 offers no services or files: .*Pool\(router\)'):
        child.call(fetch_from_master, str(tmp_path))
    (tmp_path / 'file').write_text('x')
    with_pool = mitogen.service.Pool(router).get_service(FileService)
    with_pool.register(str(tmp_path / 'file'))
    assert child.call(fetch_from_master, str(tmp_path / 'file'))


def test_a_second_pool(router):
    first = mitogen.service.Pool(router)
    with pytest.raises(mitogen.core.Error, match=r'has a service pool, see get_or_create_pool\(\)'):
        mitogen.service.Pool(router)
    assert mitogen.service.get_or_create_pool(router=router) is first
    assert mitogen.service.get_or_create_pool(router=router) is not mitogen.service.Pool(router, overwrite=True)


@pytest.mark.parametrize('kind, words', [(int, 'is str, expected int$'), ((int, bytes), 'expected int or bytes$')])
def test_types_of_arguments_by_their_names(kind, words):
    with pytest.raises(mitogen.service.Error, match=words):
        mitogen.service.check_arguments({'number': kind}, {'number': 'one'})


def test_a_service_still_checks_its_arguments(child):
    with pytest.raises(mitogen.core.CallError, match='is str, expected int'):
        child.call_service(targets_services.Desk, 'double', number='one')


# ---- logs


def broken_handler(msg):
    raise ValueError('not today')


def test_the_handler_that_failed_is_named(router, child, caplog):
    handle = router.add_handler(broken_handler)
    mitogen.core.Sender(router.myself(), handle).send('x')
    support.wait_for(lambda: 'not today' in caplog.text)
    assert 'error in (<function broken_handler' in caplog.text


@pytest.fixture
def message_log(caplog):
    logger = logging.getLogger('mitogen.io')
    before = logger.level, logging.getLogger().level, list(logging.getLogger().handlers)
    mitogen.utils.log_to_file(os.devnull, io=True)
    yield caplog
    logging.getLogger().handlers[0].close()
    logger.setLevel(before[0])
    logging.getLogger().setLevel(before[1])
    logging.getLogger().handlers[:] = before[2]


def test_each_message_can_be_logged_without_what_is_in_it(message_log):
    mitogen.utils.run_with_router(lambda router: router.local().call(targets.echo, 'a secret'))
    records = [record.getMessage() for record in message_log.records if record.name == 'mitogen.io']
    assert any(re.match(r'0 to \d+, handle 101, \d+ bytes', text) for text in records)
    assert not any('a secret' in text for text in records)


class Failing(logging.Handler):
    def emit(self, record):
        raise ValueError('no space left')


def test_a_message_that_cannot_be_logged_goes_its_way(message_log, monkeypatch):
    def main(router):
        child = router.local()
        monkeypatch.setattr(logging.getLogger('mitogen.io'), 'handlers', [Failing()])
        return child.call(targets.echo, 1)
    assert mitogen.utils.run_with_router(main) == 1


def test_of_messages_that_pass_through_each_is_logged(message_log):
    def main(router):
        one, other = router.local(), router.local()
        offered = mitogen.core.Receiver(router)
        end = other.call_async(targets_calls.offer_receiver, offered.to_sender())
        one.call(targets_calls.send_each, offered.get().unpickle(), [1, 2, 3])
        end.get()
        return '%d to %d, ' % (one.context_id, other.context_id)
    way = mitogen.utils.run_with_router(main)
    assert len([record for record in message_log.records if record.getMessage().startswith(way)]) == 4


# ---- the command


def test_only_what_is_missing_is_said_to_be_required():
    done = command('call')
    assert done.returncode == 2
    assert 'required: MODULE:FUNCTION\n' in done.stderr


@pytest.mark.parametrize('args', [['run', '/nonexistent.py'], ['copy', '/nonexistent', '--on', 'local', '/tmp/'],
                                  ['call', '--hosts', '/nonexistent', 'os:getpid']])
def test_a_file_that_is_missing_here_is_status_2(args):
    done = command(*args)
    assert done.returncode == 2
    assert 'No such file' in done.stderr
