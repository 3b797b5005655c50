"""Children that cannot be started, or start in strange ways: one error that says what happened, and nothing stays."""

import os
import shlex
import stat
import sys
import time

import pytest

import mitogen.core
import support
import targets
from mitogen.boot.dialogue import ConnectError

# Far less than the tests' own timeout, far more than a program takes to start here.
TIMEOUT = 20


@pytest.fixture
def program(tmp_path):
    """Makes an executable shell script of some lines; returns its path."""
    def make(*lines):
        path = tmp_path / 'program'
        path.write_text('#!/bin/sh\n' + '\n'.join(lines) + '\n')
        path.chmod(0o755)
        return str(path)
    return make


@pytest.fixture(params=['direct', 'via'])
def start(request, router):
    """Starts a child with an interpreter: from here, or from a child of ours. Returns its context."""
    via = router.local() if request.param == 'via' else None
    return lambda python, timeout=TIMEOUT: router.local(python_path=python, via=via, connect_timeout=timeout)


def failure(start, python, **kwargs):
    """The error of a start that fails, and soon."""
    began = time.monotonic()
    with pytest.raises(ConnectError) as caught:
        start(python, **kwargs)
    assert time.monotonic() - began < TIMEOUT
    assert (caught.value.method, caught.value.target) == ('local', python)
    return caught.value


def python_after(*lines):
    """A script that says something and then is the interpreter that it should be."""
    return [*lines, 'exec %s "$@"' % shlex.quote(sys.executable)]


# ---- No interpreter


def test_no_such_program(start, tmp_path):
    error = failure(start, str(tmp_path / 'nowhere'))
    assert 'No such file' in error.reason
    assert 'nowhere' in error.reason
    assert ' -c ' in error.command
    assert error.hint


def test_a_name_that_is_not_on_the_path(start):
    assert 'No such file' in failure(start, 'no-such-python').reason


def test_a_file_that_is_not_executable(start, tmp_path):
    path = tmp_path / 'data'
    path.write_text('just text')
    path.chmod(stat.S_IRUSR)
    assert 'Permission denied' in failure(start, str(path)).reason


def test_a_folder(start, tmp_path):
    assert 'Permission denied' in failure(start, str(tmp_path)).reason


def test_a_file_of_no_known_format(start, tmp_path):
    path = tmp_path / 'data'
    path.write_bytes(b'\0\1\2')
    path.chmod(0o755)
    assert 'format' in failure(start, str(path)).reason


def test_a_script_whose_interpreter_is_missing(start, program):
    path = program()
    with open(path, 'w') as fp:
        fp.write('#!/no/such/interpreter\n')
    assert 'No such file' in failure(start, path).reason


# ---- Programs that are no Python


def test_a_program_that_ends_at_once(start, program):
    error = failure(start, program('exit 0'))
    assert 'exit status 0' in error.reason
    assert error.stage == 'before Python started'


def test_a_program_that_ends_with_words(start, program):
    error = failure(start, program('echo "some words" >&2', 'echo "more words"', 'exit 9'))
    assert 'exit status 9' in error.reason
    assert 'some words' in error.said
    assert 'more words' in error.said


def test_a_program_that_repeats_what_it_is_given(start, program):
    # The command line and the core contain the marker in no form that would be taken for one.
    error = failure(start, program('echo "$@"', 'cat', 'exit 1'), timeout=1)
    assert 'exit status' in error.reason or 'no answer' in error.reason or 'more than' in error.reason


def test_a_program_that_is_killed(start, program):
    assert 'signal 9, SIGKILL' in failure(start, program('kill -9 $$')).reason


def test_a_program_that_closes_its_output_and_lives_on(start, program):
    error = failure(start, program('exec >&- 2>&-', 'while :; do :; done'))
    assert 'still running' in error.reason


def test_a_program_that_never_answers(start, program):
    began = time.monotonic()
    error = failure(start, program('while read line; do :; done', 'while :; do :; done'), timeout=0.7)
    assert time.monotonic() - began >= 0.7
    assert 'no answer within 0.7 seconds' in error.reason
    assert 'connect_timeout' in error.hint


def test_a_program_that_reads_nothing_and_never_answers(start, program):
    assert 'no answer' in failure(start, program('while :; do :; done'), timeout=0.5).reason


@pytest.mark.parametrize('where', ['', '>&2'])
def test_a_program_that_talks_without_end(start, program, where):
    error = failure(start, program('while :; do echo "blah blah blah" %s; done' % where))
    assert 'said more than' in error.reason
    assert 'blah blah' in error.said
    assert len(error.said) < 5000


def test_a_program_that_talks_without_end_in_one_line(start, program):
    error = failure(start, program('exec tr "\\0" x < /dev/zero'))
    assert 'said more than' in error.reason
    assert len(error.said) < 5000


def test_what_it_says_cannot_command_a_terminal(start, program):
    error = failure(start, program(r"printf 'a\033[2Jb\007c\n'", 'exit 1'))
    assert '\033' not in str(error) and '\007' not in str(error)
    assert r'a\x1b[2Jb\x07c' in error.said


# ---- Wrong Pythons


def test_python_2_is_refused_with_its_version(start):
    python2 = support.find_python2()
    if python2 is None:
        pytest.skip('there is no Python 2.7 here')
    error = failure(start, python2)
    assert 'too old' in error.reason
    assert 'needs Python 3.6, is 2.7' in error.said
    assert 'python_path' in error.hint


def test_a_python_that_fails_while_it_starts(start, program):
    error = failure(start, program('exec %s -c "1/0"' % shlex.quote(sys.executable)))
    assert 'exit status 1' in error.reason
    assert 'ZeroDivisionError' in error.said


def test_a_python_that_ends_while_it_reads_the_core(start, program):
    # A limit on memory or time does that, or an administrator.
    error = failure(start, program('head -c 100 | ' + shlex.quote(sys.executable) + ' "$@"'))
    assert error.stage == 'while Python was starting'


# ---- Right ones, after all


def test_a_banner_before_is_survived(start, program):
    context = start(program(*python_after('echo "Welcome!"', 'echo "Be careful." >&2')))
    assert context.call(targets.echo, 1) == 1


def test_a_banner_of_fifty_kilobytes_is_survived(start, program):
    context = start(program(*python_after('head -c 50000 /dev/zero | tr "\\0" b', 'echo')))
    assert context.call(targets.echo, 1) == 1


def test_a_banner_that_looks_like_our_own_words_is_survived(start, program):
    context = start(program(*python_after('echo MITOGEN', 'echo "$@" | rev')))
    assert context.call(targets.echo, 1) == 1


def test_an_interpreter_that_is_slow_but_within_its_time(start, program):
    # Ten starts one after the other: slower than any, and no sleep.
    lines = ['%s -S -c pass' % shlex.quote(sys.executable)] * 10
    assert start(program(*python_after(*lines))).call(targets.echo, 1) == 1


def test_an_interpreter_with_what_runs_it(router):
    context = router.local(python_path=['/usr/bin/env', 'MARK=5', sys.executable, '-S'])
    assert context.call(os.getenv, 'MARK') == '5'


# ---- Arguments


@pytest.mark.parametrize('kwargs', [
    {'connect_timeout': 0}, {'connect_timeout': -1}, {'remote_name': 'a/b'}, {'no_such_option': 1}])
@pytest.mark.parametrize('via', [False, True])
def test_wrong_arguments_fail_here_and_at_once(router, kwargs, via):
    if via:
        kwargs = dict(kwargs, via=router.local())
    with pytest.raises((ValueError, TypeError)):
        router.local(**kwargs)


def test_an_unknown_method(router):
    with pytest.raises(mitogen.core.StreamError, match='local'):
        router.connect('telepathy')


def test_twenty_that_fail_and_two_that_do_not(router, program):
    bad = program('exit 4')
    for _ in range(10):
        with pytest.raises(ConnectError):
            router.local(python_path=bad)
    contexts = [router.local(), router.local()]
    for _ in range(10):
        with pytest.raises(ConnectError):
            router.local(python_path=bad, via=contexts[0])
    assert [context.call(targets.echo, 1) for context in contexts] == [1, 1]
