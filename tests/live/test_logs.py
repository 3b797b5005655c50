"""What children log and print arrives in the master's log, whole, in order, and harmless."""

import io
import logging
import sys
import time

import pytest

import mitogen.core
import support
import targets
import targets_calls
import targets_logs
from mitogen.core import Secret

MANY = 100000


@pytest.fixture(autouse=True)
def master_level(caplog):
    """The master's level, which its children take over when they start."""
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def web(router, master_level):
    return router.local(name='web')


@pytest.fixture
def arrived(caplog):
    """Waits for records of one logger of a child; returns them."""
    def wait(name, number=1, context='web'):
        def look():
            if len(caplog.records) < number:
                return None     # to look through a hundred thousand, again and again, would disturb what we wait for
            found = [record for record in caplog.records
                     if record.name == 'mitogen.ctx.' + context and record.mitogen_name == name]
            return found if len(found) >= number else None
        return support.wait_for(look, 30)
    return wait


def texts(records):
    return [record.mitogen_message for record in records]


# ---- Records of logging


def test_a_record_arrives_with_what_is_known_of_it(web, arrived):
    web.call(targets_logs.log, 'app.db', 'ERROR', 'lost %d of %s', 3, 'all')
    record, = arrived('app.db')
    assert (record.name, record.levelname, record.levelno) == ('mitogen.ctx.web', 'ERROR', logging.ERROR)
    assert record.getMessage() == 'app.db: lost 3 of all'
    assert record.mitogen_message == 'lost 3 of all'
    assert record.mitogen_context is web
    assert isinstance(record.mitogen_msg, mitogen.core.Message)
    assert record.mitogen_msg.src_id == web.context_id


def test_a_logger_that_the_program_has_for_a_context_decides(web, arrived, monkeypatch):
    monkeypatch.setattr(logging.getLogger('mitogen.ctx.web'), 'level', logging.ERROR)
    for level in 'INFO', 'ERROR':
        web.call(targets_logs.log, 'app', level, level)
    assert texts(arrived('app')) == ['ERROR']


def test_what_a_program_has_decided_for_all_contexts(web, arrived, monkeypatch):
    monkeypatch.setattr(logging.getLogger('mitogen.ctx'), 'level', logging.ERROR)
    for level in 'INFO', 'ERROR':
        web.call(targets_logs.log, 'app', level, level)
    assert texts(arrived('app')) == ['ERROR']


def test_a_child_without_name_logs_under_the_one_that_it_got(child, arrived):
    child.call(targets_logs.log, 'app', 'INFO', 'text')
    assert texts(arrived('app', context=child.name)) == ['text']


def test_a_record_of_a_grandchild(router, web, arrived):
    router.local(via=web, name='below').call(targets_logs.log, 'app', 'INFO', 'from below')
    assert texts(arrived('app', context='below')) == ['from below']


def test_a_record_of_a_context_that_the_master_did_not_start(web, arrived):
    grandchild = web.call(targets_calls.start_child)
    grandchild.call(targets_logs.log, 'app', 'INFO', 'from somewhere')
    name = grandchild.name or 'context-%d' % grandchild.context_id
    assert texts(arrived('app', context=name)) == ['from somewhere']


@pytest.mark.parametrize('level, seen', [('DEBUG', 5), ('INFO', 4), ('WARNING', 3), ('ERROR', 2)])
def test_the_level_of_the_child_is_that_of_the_master(router, caplog, arrived, level, seen):
    caplog.set_level(level)
    web = router.local(name='web')
    web.call(targets_logs.log_each_level)
    web.call(targets_logs.log, 'last', 'CRITICAL', 'end')
    arrived('last')
    assert [record.levelname for record in arrived('each', seen)] == targets_logs.LEVELS[-seen:]
    assert web.call(targets_logs.is_enabled, level)
    assert seen == 5 or not web.call(targets_logs.is_enabled, targets_logs.LEVELS[4 - seen])


@pytest.mark.parametrize('how', ['argument', 'router'])
def test_debug_sends_everything(router, caplog, how):
    caplog.set_level(logging.ERROR)
    if how == 'router':
        router.enable_debug()
    child = router.local(debug=how == 'argument')
    assert child.call(targets_logs.is_enabled, 'DEBUG')


def test_an_exception_arrives_with_its_traceback(web, arrived):
    web.call(targets_logs.log_exception, 'it failed')
    record, = arrived('failing')
    assert record.mitogen_message.startswith('it failed\nTraceback (most recent call last):\n')
    assert "raise ValueError('the cause')" in record.mitogen_message
    assert record.mitogen_message.endswith('ValueError: the cause')


def test_a_dictionary_of_arguments(web, arrived):
    web.call(targets_logs.log_with_dictionary)
    assert texts(arrived('named')) == ['1 and 2']


def test_arguments_that_do_not_fit_disturb_nobody(web, arrived):
    web.call(targets_logs.log_wrongly)
    assert web.call(targets.echo, 1) == 1
    arrived('stderr')       # where logging says so


def test_a_secret_is_masked(web, arrived, caplog):
    web.call(targets_logs.log, 'auth', 'INFO', 'password %s of %r', Secret('hunter2'), Secret('swordfish'))
    web.call(targets_logs.print_each, [[Secret('tulip')]])
    web.call(targets_logs.log, 'dictionary', 'INFO', '%(word)s', {'word': Secret('rose')})
    web.call(targets_logs.log, 'text', 'INFO', Secret('lily'))
    assert texts(arrived('auth')) == ['password [secret] of [secret]']
    assert texts(arrived('stdout')) == ['[[secret]]']
    assert texts(arrived('dictionary')) == texts(arrived('text')) == ['[secret]']
    assert not [word for word in ('hunter2', 'swordfish', 'tulip', 'rose', 'lily') if word in caplog.text]


def test_a_program_that_configures_logging_for_itself(web, arrived):
    assert web.call(targets_logs.own_handler) == 1      # basicConfig() finds ours and leaves it at that
    assert texts(arrived('configured')) == ['still arrives']


def test_many_records_of_several_threads(web, arrived):
    web.call(targets_logs.log_lines, 2000, 4)
    found = texts(arrived('many', 8000))
    assert len(found) == 8000
    for thread in range(4):
        mine = [text for text in found if text.startswith('thread %d ' % thread)]
        assert mine == ['thread %d line %d' % (thread, line) for line in range(2000)]


def test_a_very_long_record_is_cut(web, arrived):
    web.call(targets_logs.log_long, 3 << 20)
    record, = arrived('long')
    assert len(record.mitogen_message) == 1 << 20


# ---- Standard output and error


def test_lines_that_are_printed(web, arrived):
    web.call(targets_logs.print_each, ['first', 'second', 'third'])
    records = arrived('stdout', 3)
    assert texts(records) == ['first', 'second', 'third']
    assert {record.levelname for record in records} == {'INFO'}


def test_standard_error(web, arrived):
    web.call(targets_logs.print_error, 'to the other one')
    assert texts(arrived('stderr')) == ['to the other one']


def test_what_is_written_below_python(web, arrived):
    web.call(targets_logs.write_raw, 1, b'one\ntwo\n\nthr')
    web.call(targets_logs.write_raw, 1, b'ee\n')
    web.call(targets_logs.write_raw, 2, b'error\n')
    assert texts(arrived('stdout', 3)) == ['one', 'two', 'three']
    assert texts(arrived('stderr')) == ['error']


def test_programs_that_a_function_starts(web, arrived):
    assert web.call(targets_logs.run_program, 'echo out; echo error >&2; exit 3') == 3
    assert texts(arrived('stdout')) == ['out']
    assert texts(arrived('stderr')) == ['error']


def test_a_line_without_end_arrives_when_the_child_ends(web, arrived):
    web.call(targets_logs.write_raw, 1, b'whole\nhalf')
    web.shutdown(wait=True)
    assert texts(arrived('stdout', 2)) == ['whole', 'half']


def test_what_is_printed_right_before_the_end_arrives(web, arrived):
    web.call(targets_logs.print_lines, 2000)
    web.shutdown(wait=True)
    assert texts(arrived('stdout', 2000)) == ['line %d' % line for line in range(2000)]


def test_a_hundred_thousand_lines_lose_nothing(web, arrived):
    began = time.monotonic()
    web.call(targets_logs.print_lines, MANY)
    records = arrived('stdout', MANY)
    assert texts(records) == ['line %d' % line for line in range(MANY)]
    assert time.monotonic() - began < 60


def test_calls_are_served_while_another_child_prints(router, web):
    noisy = web.call_async(targets_logs.print_lines, 20000)
    quiet = router.local()
    assert [quiet.call(targets.echo, number) for number in range(100)] == list(range(100))
    noisy.get(60).unpickle()


def test_a_very_long_line_is_cut_into_pieces(web, arrived):
    web.call(targets_logs.write_raw, 1, b'x' * 300000 + b'\n')
    web.call(targets_logs.print_each, ['end'])
    support.wait_for(lambda: 'end' in texts(arrived('stdout')))
    assert ''.join(texts(arrived('stdout'))) == 'x' * 300000 + 'end'


@pytest.mark.parametrize('data, shown', [
    (b'\x1b[31mred\x1b[0m', r'\x1b[31mred\x1b[0m'), (b'bell\x07', r'bell\x07'), (b'back\x08space', r'back\x08space'),
    (b'over\rwritten', r'over\x0dwritten'), (b'tab\tstays', 'tab\tstays'), ('\u00fc'.encode(), '\u00fc'),
    (b'\xff\xfe', '\ufffd\ufffd'), ('\u202eleft'.encode(), r'\x202eleft'), (b'nul\0', r'nul\x00')])
def test_nothing_in_it_can_command_a_terminal(web, arrived, data, shown):
    web.call(targets_logs.write_raw, 1, data + b'\n')
    record, = arrived('stdout')
    assert record.mitogen_message == shown
    assert record.getMessage() == 'stdout: ' + shown


def test_a_log_record_cannot_command_a_terminal(web, arrived):
    web.call(targets_logs.log, 'esc', 'INFO', 'a\x1b]0;title\x07b\nsecond line')
    assert texts(arrived('esc')) == ['a\\x1b]0;title\\x07b\nsecond line']


def test_text_that_has_no_encoding_does_not_fail(web, arrived):
    assert web.call(targets_logs.encoding_of_output).lower() == 'utf-8'
    assert texts(arrived('stdout')) == ['Gr\u00fc\u00dfe \\udcff']


def test_standard_input_is_empty(web):
    assert web.call(targets_logs.read_input) == ('', b'')


def test_a_function_that_closes_its_output(web):
    web.call(targets_logs.close_output)
    with pytest.raises(mitogen.core.CallError):
        web.call(targets_logs.print_each, ['x'])
    assert web.call(targets.echo, 1) == 1


def test_programs_inherit_standard_streams_only(web):
    assert web.call(targets_logs.descriptors) == [0, 1, 2]


def test_logging_is_not_imported_for_nothing(web):
    assert web.call(targets_calls.is_loaded, 'logging') is False


class Failing(logging.Handler):
    def emit(self, record):
        raise ValueError('no space left')


@pytest.mark.parametrize('stderr', ['open', 'closed', 'none'])
def test_a_handler_of_the_program_that_raises(web, monkeypatch, stderr):
    """Nor does it matter that there is nowhere to say so."""
    monkeypatch.setattr(logging.root, 'handlers', [Failing()])
    if stderr != 'open':
        monkeypatch.setattr(sys, 'stderr', io.StringIO() if stderr == 'closed' else None)
    if stderr == 'closed':
        sys.stderr.close()
    web.call(targets_logs.log, 'web', 'ERROR', 'words')
    assert web.call(targets.echo, 1) == 1
    mitogen.core.log(mitogen.core.ERROR, 'of our own')
