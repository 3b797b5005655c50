"""python3 -m mitogen call: arguments and results, errors, and the passwords that it asks for."""

import ast
import os

import pytest

import programs
import support
from commands import Terminal, mitogen

# Asks as sudo does, on the terminal, and goes on when it hears the right answer. Counts its questions in a file.
SUDO = r"""#!/bin/sh
for word; do
    shift
    case $last in -p) prompt=$word;; esac
    [ "$word" = -- ] && break
    last=$word
done
ask() {
    echo asked >> %(log)s
    printf '%%s' "$prompt" > /dev/tty
    read answer < /dev/tty
    echo > /dev/tty
    [ "$answer" = sesame ]
}
ask || { echo 'Sorry, try again.' > /dev/tty; ask; } || { echo 'sudo: 2 incorrect password attempts' >&2; exit 1; }
exec "$@"
"""


def succeeds(*args, **options):
    done = mitogen('call', *args, **options)
    assert (done.stderr, done.returncode) == ('', 0)
    return done.stdout


def fails(*args, status=1, **options):
    done = mitogen('call', *args, **options)
    assert (done.returncode, done.stdout) == (status, '')
    return done.stderr


# ---- Arguments and results


ARGUMENTS = {
    '5': 5, '-5': -5, '1.5': 1.5, 'None': None, 'True': True, "'5'": '5', 'text': 'text', 'two words': 'two words',
    "(1, [2, {'a': 3}])": (1, [2, {'a': 3}]), "b'raw'": b'raw', '': '', '1 +': '1 +', 'os.getpid()': 'os.getpid()',
    '-x': '-x', '--on': '--on', '\u00fc': '\u00fc', '/etc/passwd': '/etc/passwd', '{[]: 1}': '{[]: 1}'}


def test_arguments_are_literals_where_they_parse_as_such():
    shown = succeeds('targets_calls:describe', *ARGUMENTS)
    assert ast.literal_eval(ast.literal_eval(shown)) == (tuple(ARGUMENTS.values()), [])


def test_a_deep_argument_is_text():
    text = '[' * 5000
    assert succeeds('targets:echo', text) == repr(text) + '\n'


def test_results_that_are_no_plain_values_are_shown_as_they_look_there():
    assert succeeds('os:uname').startswith('posix.uname_result(')
    assert succeeds('threading:Lock').startswith('<unlocked _thread.lock')


def test_methods_of_classes():
    assert succeeds('targets_calls:Greeter.greet', 'Ann') == "'Hello Ann'\n"


def test_modules_of_the_current_folder(tmp_path):
    (tmp_path / 'mine.py').write_text('import other\n\ndef f(a, b):\n    return other.add(a, b)\n')
    (tmp_path / 'other.py').write_text('def add(a, b):\n    return a + b\n')
    assert succeeds('mine:f', '1', '2', cwd=tmp_path) == '3\n'


def test_it_runs_from_a_clone_without_being_installed(tmp_path):
    env = dict(programs.environment(), PYTHONPATH='')
    assert succeeds('os:getcwd', cwd=support.checkout(), env=env) == '%r\n' % str(support.checkout())


def test_without_on_a_child_of_this_machine_serves():
    pid, own = succeeds('os:getppid'), os.getpid()
    assert int(pid) != own


# ---- Errors


@pytest.mark.parametrize('args, said', [
    (['no_such_module:f'], 'no_such_module'), (['os:no_such_function'], 'no_such_function'),
    (['targets:echo'], 'TypeError'), (['targets:fail', 'a word'], 'ValueError: a word'),
    (['os:_exit', '3'], 'exit status 3'), (['sys:exit', '3'], 'SystemExit: 3')])
def test_errors_go_to_standard_error(args, said):
    assert said in fails(*args)


def test_a_place_that_cannot_be_reached(tmp_path):
    env = dict(programs.environment(), PATH=str(tmp_path))
    said = fails('--on', 'sudo', 'os:getpid', env=env)
    assert 'No such file' in said
    assert 'Traceback' not in said


def test_one_place_that_fails_among_others(tmp_path):
    env = dict(programs.environment(), PATH=str(tmp_path))
    done = mitogen('call', '--on', 'local', '--on', 'sudo', '--on', 'fork', 'targets:echo', '1', env=env)
    assert done.returncode == 1
    assert done.stdout == 'local: 1\nfork: 1\n'
    assert done.stderr.startswith('sudo: ')


@pytest.mark.parametrize('args', [['os'], ['os:'], [':uname'], ['os:uname()'], ['--on'], ['--on', '', 'os:uname'],
                                  ['--on', 'local/', 'os:uname'], ['--on', 'ssh:', 'os:uname'],
                                  ['--no-such', 'os:uname']])
def test_a_wrong_command_line_runs_nothing(args):
    assert 'usage:' in fails(*args, status=2)


@pytest.mark.parametrize('args', [['--help'], ['call', '--help']])
def test_help(args):
    done = mitogen(*args)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'python3 -m mitogen call' in done.stdout
    assert 'MODULE:FUNCTION' in mitogen('call', '--help').stdout


def test_results_that_nobody_reads(tmp_path):
    with open('/dev/full', 'w') as full:
        with_full = programs.subprocess.run([programs.sys.executable, '-m', 'mitogen', 'call', 'targets:echo', '1'],
                                            stdin=-3, stdout=full, stderr=-1, env=programs.environment(), timeout=60)
    assert with_full.returncode != 0


# ---- Passwords


@pytest.fixture
def sudo(tmp_path, monkeypatch):
    """A sudo first on PATH that takes `sesame`; calling it returns how often that has asked."""
    path, log = tmp_path / 'sudo', tmp_path / 'log'
    path.write_text(SUDO % {'log': log})
    path.chmod(0o755)
    log.write_text('')
    monkeypatch.setenv('PATH', '%s:%s' % (tmp_path, os.environ['PATH']))
    return lambda: log.read_text().count('asked')


@pytest.fixture
def on_terminal():
    """Starts the command on a terminal of its own."""
    terminals = []

    def start(*args):
        terminals.append(Terminal('call', *args))
        return terminals[-1]
    yield start
    for terminal in terminals:
        terminal.close()


def questions(terminal):
    return terminal.text.count('Password for ')


def test_a_password_is_asked_for_and_not_shown(sudo, on_terminal):
    terminal = on_terminal('--on', 'sudo', 'targets:echo', 'opened')
    support.wait_for(lambda: 'Password for sudo: ' in terminal.text)
    terminal.type('sesame\n')
    assert terminal.status() == 0
    assert "'opened'" in terminal.text
    assert 'sesame' not in terminal.text


def test_a_wrong_password_is_asked_for_again(sudo, on_terminal):
    terminal = on_terminal('--on', 'sudo', 'targets:echo', 'opened')
    for number, word in enumerate(['wrong', 'sesame'], 1):
        support.wait_for(lambda number=number: questions(terminal) == number, 20)
        terminal.type(word + '\n')
    assert terminal.status() == 0
    assert "'opened'" in terminal.text


def test_after_three_wrong_passwords_it_gives_up(sudo, on_terminal):
    terminal = on_terminal('--on', 'sudo', 'targets:echo', 'opened')
    for number in range(1, 4):
        support.wait_for(lambda number=number: questions(terminal) == number, 20)
        terminal.type('wrong%d\n' % number)
    assert terminal.status() == 1
    assert 'refused' in terminal.text
    assert 'wrong' not in terminal.text


def test_one_password_is_asked_for_once_for_all_places(sudo, on_terminal):
    terminal = on_terminal(*['--on', 'sudo'] * 3, 'targets:echo', 'opened')
    support.wait_for(lambda: questions(terminal) == 1)
    terminal.type('sesame\n')
    assert terminal.status() == 0
    assert terminal.text.count("sudo: 'opened'") == 3
    assert questions(terminal) == 1


def test_without_a_terminal_it_says_that_a_password_is_needed(sudo):
    done = programs.run('-m', 'mitogen', 'call', '--on', 'sudo', 'os:getpid', start_new_session=True)
    assert done.returncode == 1
    assert 'password' in done.stderr
    assert done.stdout == ''
    assert sudo() == 1


def test_the_installed_command_finds_modules_in_the_current_folder(tmp_path):
    """Python puts the folder of the command on its path, not the current one."""
    (tmp_path / 'lies_here.py').write_text('def double(number):\n    return 2 * number\n')
    code = 'import sys; sys.path[:] = filter(None, sys.path); import mitogen.cli; sys.exit(mitogen.cli.main())'
    done = programs.run('-c', code, 'call', 'lies_here:double', '21', cwd=tmp_path)
    assert (done.stdout, done.stderr) == ('42\n', '')
