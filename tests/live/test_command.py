"""python3 -m mitogen: what is common to all commands, and `call`."""

import json
import os
import signal

import pytest

import support
from commands import Terminal, interrupt, mitogen, started

IDLE = 'targets:wait_for_ever'


@pytest.fixture
def hosts(tmp_path):
    """Writes a file for --hosts, and returns its path."""
    def write(text):
        (tmp_path / 'hosts').write_text(text)
        return str(tmp_path / 'hosts')
    return write


def children_of(program):
    """Pids of the contexts that it has started; they live in sessions of their own."""
    return [pid for pid in support.descendants(program.pid) if support.is_running(pid)]


# ---- call


def test_call_prints_the_result():
    done = mitogen('call', 'targets:echo', '[1, "x"]')
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 'x']\n", '', 0)


def test_call_in_several_places_prints_in_their_order():
    done = mitogen('call', '--on', 'local/local', '--on', 'fork', '--on', 'local', 'targets:echo', 'hello')
    assert done.stdout == "local/local: 'hello'\nfork: 'hello'\nlocal: 'hello'\n"


def test_call_tells_failures_and_goes_on():
    done = mitogen('call', '--on', 'local', '--on', 'fork', 'targets:fail', 'so it is')
    assert done.returncode == 1
    assert done.stdout == ''
    assert 'local: CallError: ValueError: so it is' in done.stderr
    assert 'fork: CallError: ValueError: so it is' in done.stderr


def test_call_as_json():
    done = mitogen('call', '--on', 'local', '--on', 'fork', '--json', 'targets:echo', '{"a": (1, None)}')
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {'on': 'local', 'ok': True, 'result': {'a': [1, None]}}, {'on': 'fork', 'ok': True, 'result': {'a': [1, None]}}]


def test_a_failure_as_json():
    done = mitogen('call', '--json', 'targets:fail', 'so it is')
    found = json.loads(done.stdout)
    assert (found['on'], found['ok'], done.returncode) == ('local', False, 1)
    assert 'so it is' in found['error']


# ---- where


def test_places_from_a_file(hosts):
    path = hosts('# all of them\n\nlocal   # this one\n  fork\n#local/local\n')
    done = mitogen('call', '--on', 'local/fork', '--hosts', path, 'targets:echo', '1')
    assert done.stdout == 'local/fork: 1\nlocal: 1\nfork: 1\n'


def test_places_from_standard_input(tmp_path):
    path = tmp_path / 'hosts'
    path.write_text('local\nfork\n')
    with open(path) as file:
        assert mitogen('call', '--hosts', '-', 'targets:echo', '1', stdin=file).stdout == 'local: 1\nfork: 1\n'


@pytest.mark.parametrize('text, said', [('local\nnonsense:x\n', 'line 2'), ('# nobody\n', 'nothing in')])
def test_a_file_that_is_wrong_runs_nothing(hosts, text, said):
    done = mitogen('call', '--hosts', hosts(text), 'targets:echo', '1')
    assert (done.returncode, done.stdout) == (2, '')
    assert said in done.stderr


def test_a_file_that_is_missing():
    done = mitogen('call', '--hosts', '/nonexistent', 'targets:echo', '1')
    assert done.returncode == 2
    assert '/nonexistent' in done.stderr


def test_jobs_bound_how_many_run_at_once():
    with started('call', '--jobs', '2', *['--on', 'local'] * 5, IDLE) as program:
        support.wait_for(lambda: len(children_of(program)) == 2)
        status, _, err = interrupt(program)
    assert status == 130
    assert err.count('local: stopped') == 2
    assert err.count('local: not started') == 3


@pytest.mark.parametrize('jobs', ['0', '-1', 'x'])
def test_jobs_must_be_a_number_above_zero(jobs):
    assert mitogen('call', '--jobs', jobs, 'os:getpid').returncode == 2


# ---- the end


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption_ends_everything_and_says_what_was_left(number):
    with started('call', '--on', 'local', '--on', 'fork', '--on', 'local/local', IDLE) as program:
        support.wait_for(lambda: len(children_of(program)) == 4)
        pids = children_of(program)
        status, out, err = interrupt(program, number)
        assert status == 128 + number
        assert err.splitlines() == ['interrupted: 0 of 3 done', '  local: stopped', '  fork: stopped',
                                    '  local/local: stopped']
    support.wait_until_gone(pids)


def test_interruption_of_a_start_that_hangs(tmp_path):
    ssh = tmp_path / 'ssh'
    ssh.write_text('#!/bin/sh\nexec sleep 78\n')
    ssh.chmod(0o755)
    path = os.environ['PATH']
    os.environ['PATH'] = '%s:%s' % (tmp_path, path)
    try:
        with started('call', '--on', 'ssh:nowhere', '--on', 'local', 'targets:echo', '1') as program:
            support.wait_for(lambda: any('sleep' in status[2] for pid in children_of(program)
                                         if (status := support.process_status(pid))))
            pids = children_of(program)
            status, _, err = interrupt(program)
    finally:
        os.environ['PATH'] = path
    assert status == 130
    assert 'ssh:nowhere: stopped' in err
    assert not any(map(support.is_running, pids))


def test_ctrl_c_at_a_question_leaves_the_terminal_as_it_was(tmp_path, monkeypatch):
    import termios
    sudo = tmp_path / 'sudo'
    sudo.write_text('#!/bin/sh\nfor word; do case $last in -p) prompt=$word;; esac; last=$word; done\n'
                    'printf "%s" "$prompt" >/dev/tty; read answer </dev/tty; echo "Sorry, try again." >/dev/tty\n'
                    'printf "%s" "$prompt" >/dev/tty; read answer </dev/tty; exit 1\n')
    sudo.chmod(0o755)
    monkeypatch.setenv('PATH', '%s:%s' % (tmp_path, os.environ['PATH']))
    terminal = Terminal('call', '--on', 'sudo', 'os:getpid')
    try:
        support.wait_for(lambda: 'Password for sudo' in terminal.text)
        support.wait_for(lambda: not termios.tcgetattr(terminal.slave)[3] & termios.ECHO)
        terminal.type('\x03')
        support.wait_for(lambda: 'sudo: stopped' in terminal.text)
        assert termios.tcgetattr(terminal.slave)[3] & termios.ECHO
        assert terminal.status() == 130
    finally:
        terminal.close()


@pytest.mark.parametrize('args', [[], ['nonsense'], ['call'], ['call', '--on', 'x:y', 'os:getpid'], ['run'],
                                  ['copy', 'a'], ['copy', 'a', 'b'], ['tree', 'extra'],
                                  ['copy', '--on', 'local', '--from', 'local', 'a', 'b']])
def test_a_wrong_command_line_is_status_2(args):
    done = mitogen(*args)
    assert (done.returncode, done.stdout) == (2, '')
    assert 'usage:' in done.stderr
