"""method, local, fork, ssh, sudo: options -> command line, prompts and refusals; wrong options are refused at once."""

import functools
import inspect
import os
import re
import shlex
import sys

import pytest

import mitogen.boot.dialogue
import mitogen.boot.start
import mitogen.core
import mitogen.fork
import mitogen.local
import mitogen.method
import mitogen.ssh
import mitogen.sudo

COMMAND = ['python3', '-c', 'print("it is $HOME")', 'mitogen:ann@control:1', '123']

METHODS = {
    'local': mitogen.local.Method, 'fork': mitogen.fork.Method, 'sudo': mitogen.sudo.Method,
    'ssh': functools.partial(mitogen.ssh.Method, 'web1'),
}


# ---- What all methods have


@pytest.mark.parametrize('name', METHODS)
def test_the_common_options(name):
    method = METHODS[name](remote_name='me', python_path='/opt/python', debug=True, unidirectional=False,
                           connect_timeout=2.5, profiling=True)
    assert (method.remote_name, method.python, method.debug, method.unidirectional, method.connect_timeout,
            method.profiling) == ('me', ['/opt/python'], True, False, 2.5, True)


@pytest.mark.parametrize('name', METHODS)
def test_what_they_are_by_default(name):
    method = METHODS[name]()
    assert (method.remote_name, method.debug, method.unidirectional, method.connect_timeout, method.profiling) == (
        None, False, None, 30.0, False)


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize('option, text', [
    ({'remote_name': 'a/b'}, 'slash'), ({'connect_timeout': 0}, 'more than 0 seconds'),
    ({'connect_timeout': -1}, 'more than 0 seconds')])
def test_a_wrong_value_of_a_common_option(name, option, text):
    with pytest.raises(ValueError, match=text):
        METHODS[name](**option)


@pytest.mark.parametrize('name', METHODS)
def test_an_option_that_there_is_not(name):
    with pytest.raises(TypeError, match='no_such_option'):
        METHODS[name](no_such_option=1)


def test_no_timeout_is_the_default_timeout():
    assert mitogen.local.Method(connect_timeout=None).connect_timeout == 30.0


@pytest.mark.parametrize('given, python', [
    (None, ['python3']), ('/opt/python', ['/opt/python']), (['nice', 'python3'], ['nice', 'python3']),
    (('env', 'python3'), ['env', 'python3']), ([], ['python3'])])
def test_the_interpreter_and_what_runs_it(given, python):
    assert mitogen.ssh.Method('web1', python_path=given).python == python


@pytest.mark.parametrize('name', METHODS)
def test_a_method_is_registered_by_its_name(name):
    kind = mitogen.method.load(name)
    assert kind is type(METHODS[name]())
    assert kind.name == name


@pytest.mark.parametrize('name', sorted(set(mitogen.method.MODULES) - {'ansible_ssh', 'ansible_become'}))
def test_every_registered_method_has_a_name_and_errors_of_its_own_kind(name):
    kind = mitogen.method.load(name)
    assert kind.name == name and issubclass(kind, mitogen.method.Method)
    assert issubclass(kind.password_error, mitogen.boot.dialogue.ConnectError)
    assert kind.__doc__ and 'remote_name' not in inspect.getdoc(kind).split(), 'the common options are described once'


@pytest.mark.parametrize('options, text', [
    ({}, r"ssh\(\) missing 1 required positional argument: 'hostname'"),
    ({'hostname': 'web1', 'bogus': 1}, r"ssh\(\) got an unexpected keyword argument 'bogus'"),
    ({'hostname': 3}, 'hostname must be text')])
def test_a_wrong_option_is_one_of_the_method(options, text):
    with pytest.raises(TypeError, match=text) as caught:
        mitogen.method.make('ssh', options)
    assert '__init__' not in str(caught.value)


def test_a_method_that_there_is_not():
    with pytest.raises(mitogen.core.StreamError, match=r"no connection method 'carrier-pigeon'; there are .*fork.*ssh"):
        mitogen.method.load('carrier-pigeon')


def test_registering(monkeypatch):
    monkeypatch.setattr(mitogen.method, 'MODULES', dict(mitogen.method.MODULES))
    mitogen.method.register('pigeon', 'mitogen.local')
    mitogen.method.register('pigeon', 'mitogen.local')
    assert mitogen.method.load('pigeon') is mitogen.local.Method
    with pytest.raises(ValueError, match="'pigeon' is mitogen.local already"):
        mitogen.method.register('pigeon', 'mitogen.ssh')


def test_a_method_that_was_registered_elsewhere():
    assert mitogen.method.load('unheard-of', 'mitogen.local') is mitogen.local.Method


def test_a_method_must_say_what_it_is():
    for question in 'target', 'context_name':
        with pytest.raises(NotImplementedError):
            getattr(mitogen.method.Method(), question)()
    with pytest.raises(NotImplementedError):
        mitogen.method.Method().argv([])
    assert mitogen.method.Method().prompts() == mitogen.method.Method().refusals() == []


@pytest.mark.parametrize('value, error', [
    ('', ValueError), ('-x', ValueError), ('a\0b', ValueError), (b'a', TypeError), (None, TypeError), (5, TypeError)])
def test_what_is_no_word_of_its_own_on_a_command_line(value, error):
    with pytest.raises(error, match='container'):
        mitogen.method.word('container', value)
    assert mitogen.method.word('container', 'web-1') == 'web-1'


@pytest.mark.parametrize('name', METHODS)
def test_errors_can_be_told_apart_after_a_journey(name):
    kinds = [error.kind for error in METHODS[name]().errors()]
    assert len(kinds) == len(set(kinds)) and {'password', 'connect'} <= set(kinds)


@pytest.mark.parametrize('name', METHODS)
def test_endless_lines_are_searched_in_no_time(name):
    """Refusals are looked for on the broker thread; a regular expression that looks back would stop it for hours."""
    methods = [METHODS[name]()] + ([METHODS[name](password='a')] if METHODS[name]().prompts() else [])
    for word in b'x', b"'", b'password ', b'is not allowed to ', b'command-line ', b'Permission denied ', b'for key ':
        for refusal in [refusal for method in methods for refusal in method.refusals()]:
            refusal.search(word * (65536 // len(word)))
        for prompt in methods[-1].prompts():
            prompt.pattern.search(word * (1024 // len(word)))


# ---- local, fork


def test_local():
    method = mitogen.local.Method()
    assert method.python == [sys.executable]
    assert method.argv(COMMAND) == COMMAND
    assert method.context_name() == 'local.' + os.path.basename(sys.executable)
    assert mitogen.local.Method(python_path=['nice', '/usr/bin/python3.9']).target() == '/usr/bin/python3.9'


def test_local_where_python_does_not_know_itself(monkeypatch):
    monkeypatch.setattr(sys, 'executable', '')
    assert mitogen.local.Method().python == ['python3']


def test_fork():
    method = mitogen.fork.Method(on_fork=int, on_start=str)
    assert (method.on_fork, method.on_start) == (int, str)
    another = mitogen.fork.Method()
    assert method.context_name() != another.context_name()
    assert all(fork.context_name().startswith('fork.%d.' % os.getpid()) for fork in (method, another))
    assert method.argv(COMMAND) == ['fork']


# ---- what ps and errors show


def test_the_name_in_ps(monkeypatch):
    assert re.fullmatch(r'mitogen:[^@]+@.+:%d' % os.getpid(), mitogen.boot.start.process_name(mitogen.local.Method()))
    assert mitogen.boot.start.process_name(mitogen.local.Method(remote_name='me')) == 'mitogen:me'
    monkeypatch.setattr(os, 'getuid', lambda: 4_000_000_000)
    assert '4000000000@' in mitogen.boot.start.process_name(mitogen.local.Method())


def test_commands_are_shown_without_the_core():
    assert mitogen.boot.start.shown(['ssh', '-o', 'A=b c', 'x' * 1000]) == "ssh -o 'A=b c' " + 'x' * 40 + '...'


# ---- ssh


def ssh_words(hostname='web1', **options):
    """The command line without what is there by default; the last word is the remote command."""
    words = mitogen.ssh.Method(hostname, **options).argv(COMMAND)
    assert shlex.split(words[-1]) == COMMAND
    return words[:-1]


def ssh_options(**options):
    words = ssh_words(**options)
    return [words[i + 1] for i, word in enumerate(words) if word == '-o']


def test_ssh():
    assert ssh_words() == [
        'ssh', '-T', '-o', 'LogLevel=ERROR', '-o', 'StrictHostKeyChecking=yes', '-o', 'Compression=yes',
        '-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=3', '-o', 'BatchMode=yes', '--', 'web1']


def test_ssh_with_everything():
    assert ssh_words(
        'web1', username='deploy', ssh_path='/opt/ssh', ssh_args=['-F', '/dev/null'], port=2222, compression=False,
        check_host_keys='accept', identity_file='/home/ann/id', ssh_debug_level=5, keepalive_enabled=False) == [
        '/opt/ssh', '-T', '-o', 'StrictHostKeyChecking=accept-new', '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes',
        '-v', '-v', '-v', '-l', 'deploy', '-p', '2222', '-i', '/home/ann/id', '-F', '/dev/null', '--', 'web1']


TYPED_PASSWORDS = 'PreferredAuthentications=keyboard-interactive,password'


@pytest.mark.parametrize('options, there, absent', [
    ({'password': 'a'}, ['IdentitiesOnly=yes', TYPED_PASSWORDS], 'BatchMode=yes'),
    ({'password': 'a', 'identity_file': 'b'}, ['IdentitiesOnly=yes'], TYPED_PASSWORDS),
    ({'password': 'a', 'identities_only': False}, [], 'IdentitiesOnly=yes'),
    ({'identity_file': 'b', 'identities_only': False}, ['BatchMode=yes'], 'IdentitiesOnly=yes'),
    ({}, ['BatchMode=yes'], 'IdentitiesOnly=yes'),
    ({'check_host_keys': 'ignore'}, ['UserKnownHostsFile=/dev/null', 'GlobalKnownHostsFile=/dev/null'],
     'StrictHostKeyChecking=yes'),
    ({'keepalive_count': 7, 'keepalive_interval': 9}, ['ServerAliveInterval=9', 'ServerAliveCountMax=7'], ''),
    ({'ssh_debug_level': 1}, [], 'LogLevel=ERROR'),
])
def test_options_of_ssh(options, there, absent):
    found = ssh_options(**options)
    assert set(there) <= set(found) and absent not in found


def test_what_ssh_means_by_its_exit_status():
    silence = 'or the server gave no sign of life for 60 seconds (keepalive_interval, keepalive_count)'
    assert mitogen.ssh.Method('web1').endings() == {255: 'the connection broke, ' + silence}
    assert mitogen.ssh.Method('web1', keepalive_enabled=False).endings() == {255: 'the connection broke'}


@pytest.mark.parametrize('options, text', [
    ({'check_host_keys': 'maybe'}, "one of enforce, accept, ignore, not 'maybe'"),
    ({'hostname': ''}, 'hostname must not be empty'),
    ({'hostname': '-oProxyCommand=reboot'}, 'hostname must not be empty')])
def test_wrong_options_of_ssh(options, text):
    with pytest.raises(ValueError, match=text):
        mitogen.ssh.Method(**{'hostname': 'web1', **options})


def test_a_host_name_cannot_become_an_option():
    assert ssh_words('web1')[-2:] == ['--', 'web1']


def test_who_ssh_connects_to():
    method = mitogen.ssh.Method('web1', username='deploy', port=2222)
    assert (method.target(), method.context_name()) == ('web1:2222', 'ssh.web1:2222')
    assert mitogen.ssh.Method('web1').context_name() == 'ssh.web1'


def test_ssh_has_a_terminal_only_for_a_password():
    for password, terminal in (None, False), ('', True), ('a', True):
        assert mitogen.ssh.Method('web1', password=password).terminal is terminal


def test_ssh_carries_the_core_unless_told_otherwise():
    assert mitogen.ssh.Method('web1').carries_core
    assert not mitogen.ssh.Method('web1', carry_core=False).carries_core


def test_a_password_is_on_no_command_line():
    for method in mitogen.ssh.Method('web1', password='hunter2'), mitogen.sudo.Method(password='hunter2'):
        assert 'hunter2' not in ' '.join(method.argv(COMMAND)) + repr(method) + repr(method.environment)


def test_hints_of_ssh_name_host_and_user():
    refusals = mitogen.ssh.Method('web1', 'deploy').refusals()
    assert any('ssh-keygen -R web1' in refusal.hint for refusal in refusals)
    assert any('does not let deploy in' in refusal.reason for refusal in refusals)
    assert any('the default user' in refusal.reason for refusal in mitogen.ssh.Method('web1').refusals())


# ---- sudo


def sudo_words(**options):
    words = mitogen.sudo.Method(**options).argv(COMMAND)
    assert words[:3] == ['sudo', '-p', mitogen.sudo.PROMPT]
    assert words[-len(COMMAND) - 1:] == ['--', *COMMAND]
    return words[3:-len(COMMAND) - 1]


def test_sudo():
    assert sudo_words() == ['-u', 'root']
    assert mitogen.sudo.Method(sudo_path='/opt/sudo').argv(COMMAND)[0] == '/opt/sudo'


def test_sudo_with_everything():
    words = sudo_words(username='ann', set_home=True, preserve_env=True, login=True, selinux_type='t', selinux_role='r')
    assert words == ['-u', 'ann', '-H', '-E', '-i', '-t', 't', '-r', 'r']


@pytest.mark.parametrize('words, meant', [
    ([], {}), (['-u', 'ann'], {'username': 'ann'}), (['-uann'], {'username': 'ann'}),
    (['--user=ann'], {'username': 'ann'}), (['--user', 'ann'], {'username': 'ann'}),
    (['-H'], {'set_home': True}), (['--set-home'], {'set_home': True}),
    (['-E'], {'preserve_env': True}), (['--preserve-env'], {'preserve_env': True}), (['-i'], {'login': True}),
    (['--login'], {'login': True}), (['-HEi'], {'set_home': True, 'preserve_env': True, 'login': True}),
    (['-Hu', 'ann'], {'set_home': True, 'username': 'ann'}), (['-Huann'], {'set_home': True, 'username': 'ann'}),
    (['-r', 'r', '-t', 't'], {'selinux_role': 'r', 'selinux_type': 't'}),
    (['--role=r', '--type=t'], {'selinux_role': 'r', 'selinux_type': 't'}),
    (['-n', '-S', '--non-interactive', '--stdin'], {}), (['-u', '-H'], {'username': '-H'}),
    (['-u', 'ann', '-u', 'bob'], {'username': 'bob'}),
])
def test_arguments_as_sudo_reads_them(words, meant):
    assert mitogen.sudo.parse_args(words) == meant


@pytest.mark.parametrize('words, text', [
    (['-A'], "'-A' is not supported"), (['-HA'], "'-A' is not supported"), (['-e', 'file'], "'-e' is not supported"),
    (['--askpass'], "'--askpass' is not supported"),
    (['id'], "'id' is not supported"), (['--'], "'--' is not supported"),
    (['-'], "'-' is not supported"), ([''], "'' is not supported"), (['-g', 'wheel'], "'-g' is not supported"),
    (['--set-home=yes'], "'--set-home' is not supported"), (['-p', 'prompt'], "'-p' is not supported"),
    (['-u'], "'-u' needs a value"), (['--user'], "'--user' needs a value"), (['-Hu'], "'-u' needs a value")])
def test_arguments_that_are_refused(words, text):
    with pytest.raises(mitogen.core.StreamError, match=re.escape('sudo_args: ' + text)):
        mitogen.sudo.Method(sudo_args=words)


def test_parameters_win_over_arguments():
    assert sudo_words(username='ann', sudo_args=['-u', 'bob', '-H', '-t', 'a'], selinux_type='b') == [
        '-u', 'ann', '-H', '-t', 'b']


def test_arguments_alone():
    assert sudo_words(sudo_args=['-Eiu', 'bob', '-r', 'a', '-t', 'b']) == [
        '-u', 'bob', '-E', '-i', '-t', 'b', '-r', 'a']


def test_who_sudo_becomes():
    assert mitogen.sudo.Method().context_name() == 'sudo.root'
    assert mitogen.sudo.Method(username='ann').target() == 'ann'


def test_sudo_has_a_terminal_and_never_carries_the_core():
    """Its command lines are written to the system log."""
    method = mitogen.sudo.Method()
    assert method.terminal and not method.carries_core
    assert method.environment == {'LANGUAGE': 'C', 'LC_MESSAGES': 'C'}
    assert any('as ann' in refusal.hint for refusal in mitogen.sudo.Method(username='ann').refusals())


@pytest.mark.parametrize('kind, text, asks', [
    ('ssh', b"deploy@web1's password: ", True), ('ssh', b'(deploy@web1) Password: ', True), ('ssh', b'password:', True),
    ('ssh', b"Enter passphrase for key '/home/ann/.ssh/id': ", True), ('ssh', b"deploy@web1's password: \r\n", True),
    ('ssh', b'Permission denied, please try again.\r\n', False), ('ssh', b'password: x', False), ('ssh', b'', False),
    ('sudo', mitogen.sudo.PROMPT.replace('%p', 'ann').encode(), True), ('sudo', b'[sudo] password for ann: ', True),
    ('sudo', b'Password: ', True), ('sudo', b'Passwort: ', True), ('sudo', b'Sorry, try again.\r\n', False),
    ('sudo', b'the password you type will not be visible.\r\n\r\n', False),
    ('sudo', b'It usually boils down to these three things:\r\n', False),
])
def test_what_is_a_prompt(kind, text, asks):
    prompt, = METHODS[kind](password='a').prompts()
    assert bool(prompt.pattern.search(text)) is asks
    assert prompt.answer == 'a'
