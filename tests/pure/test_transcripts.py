"""What real programs have said (tests/transcripts), and what the dialogue of each method makes of it.

A transcript begins with lines ``name: value``, then has a line ``---- channel`` before what was said on each channel.
Line ends are those of this file system; the tests try those of a terminal as well. Names of hosts, people and folders
were replaced; <PROMPT> stands for the prompt that we had asked for.
"""

import pytest

import mitogen.local
import mitogen.ssh
import mitogen.sudo
import support
from mitogen.boot.dialogue import ConnectError, Dialogue, Fail, Plan, Write

FOLDER = support.checkout() / 'tests' / 'transcripts'

HOST_KEY, SSH_PASSWORD, SUDO_PASSWORD = mitogen.ssh.HostKeyError, mitogen.ssh.PasswordError, mitogen.sudo.PasswordError

#: Name of the transcript -> (kind of the error, words of its reason, words of its hint); without a password.
WITHOUT = {
    'ssh-publickey-denied': (ConnectError, 'does not let deploy in (', 'identity_file='),
    'ssh-password-needed': (SSH_PASSWORD, 'does not let deploy in without a password', 'password='),
    'ssh-keyboard-needed': (SSH_PASSWORD, 'does not let deploy in without a password', 'password='),
    'ssh-password-needed-old': (SSH_PASSWORD, 'does not let deploy in without a password', 'password='),
    'ssh-password-refused': (SSH_PASSWORD, 'is asked for, and none was given', 'password='),
    'ssh-keyboard-refused': (SSH_PASSWORD, 'is asked for, and none was given', 'password='),
    'ssh-passphrase-refused': (SSH_PASSWORD, 'is asked for, and none was given', 'password='),
    'ssh-no-identity-file': (ConnectError, 'does not let deploy in (', 'identity_file='),
    'ssh-unknown-host': (HOST_KEY, 'not known', "check_host_keys='accept'"),
    'ssh-changed-host': (HOST_KEY, 'another key than before', 'ssh-keygen -R web1'),
    'ssh-no-such-host': (ConnectError, 'Could not resolve hostname web1', 'spelling'),
    'ssh-refused': (ConnectError, 'connect to host web1 port 22: Connection refused', ''),
    'ssh-bad-option': (ConnectError, 'Bad configuration option: nosuchoption', 'ssh_args='),
    'ssh-bad-value': (ConnectError, 'unsupported option "accept-new"', 'a newer ssh'),
    'ssh-closed-at-once': (ConnectError, 'Connection reset by peer', 'MaxStartups'),
    'ssh-closed-at-once-old': (ConnectError, 'Connection reset by peer', 'MaxStartups'),
    'ssh-not-an-ssh-server': (ConnectError, 'Connection closed by remote host', 'MaxStartups'),
    'ssh-silent-server': (ConnectError, 'Connection timed out during banner exchange', ''),
    'ssh-nothing-said': (ConnectError, 'ended too early (exit status 255', ''),
    'ssh-no-python-bash': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-no-python-bash-old': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-no-python-dash': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-no-python-tcsh': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-no-python-fish': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-no-python-at-path': (ConnectError, 'no such interpreter', 'python_path='),
    'ssh-account-without-shell': (ConnectError, 'ended too early (exit status 1', ''),
    'ssh-password-expired': (ConnectError, 'ended too early (exit status 1', ''),
    'sudo-password-refused': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-not-in-sudoers': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-command-not-allowed': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-unknown-user': (ConnectError, 'unknown user nosuchuser', ''),
    'sudo-unknown-user-old': (ConnectError, 'unknown user: nosuchuser', ''),
    'sudo-password-needed': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-no-terminal': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-terminal-demanded': (ConnectError, 'you must have a tty', ''),
    'sudo-no-python': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-lecture': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'sudo-prompt-of-its-own': (SUDO_PASSWORD, 'is asked for, and none was given', 'password='),
    'python-too-old': (ConnectError, 'too old', 'version 3.6 or later'),
    'python-without-zlib': (ConnectError, 'lacks zlib', 'complete interpreter'),
}

#: The same with a password, where that makes a difference. None: no error, the password is typed.
WITH = {
    'ssh-publickey-denied': (SSH_PASSWORD, 'does not let deploy in (', 'another password='),
    'ssh-password-needed': (SSH_PASSWORD, 'does not let deploy in (', 'another password='),
    'ssh-keyboard-needed': (SSH_PASSWORD, 'does not let deploy in (', 'another password='),
    'ssh-password-needed-old': (SSH_PASSWORD, 'does not let deploy in (', 'another password='),
    'ssh-no-identity-file': (SSH_PASSWORD, 'does not let deploy in (', 'another password='),
    'ssh-password-refused': (SSH_PASSWORD, 'refused', ''),
    'ssh-keyboard-refused': (SSH_PASSWORD, 'refused', ''),
    'ssh-passphrase-refused': (SSH_PASSWORD, 'refused', ''),
    'sudo-password-refused': (SUDO_PASSWORD, 'refused', ''),
    'sudo-not-in-sudoers': (ConnectError, 'deploy is not in the sudoers file', 'no rule'),
    'sudo-command-not-allowed': (ConnectError, 'is not allowed to execute', 'no rule'),
    'sudo-no-python': (ConnectError, 'no such interpreter', 'python_path='),
    'sudo-lecture': None,
    'sudo-prompt-of-its-own': None,
}


def read(name):
    """(status, [(channel, text)]) of a transcript."""
    head, *parts = (FOLDER / (name + '.txt')).read_text(encoding='utf-8').split('---- ')
    fields = dict(line.split(': ', 1) for line in head.splitlines())
    prompt = mitogen.sudo.PROMPT.replace('%p', 'deploy')
    return int(fields['status']), [part.rstrip('\n').replace('<PROMPT>', prompt).split('\n', 1) for part in parts]


def method_of(name, password):
    kind = name.split('-')[0]
    if kind == 'ssh':
        return mitogen.ssh.Method('web1', 'deploy', password=password)
    return mitogen.sudo.Method(password=password) if kind == 'sudo' else mitogen.local.Method()


def play(name, password, newline, step):
    """Feed a transcript to the dialogue; return (the error or None, what was typed)."""
    method = method_of(name, password)
    talk = Dialogue(Plan(method.name, method.target(), '', b'', 'token', 30.0, method.at_once, method.prompts(),
                         method.refusals(), method.password_error), 0.0)
    status, said = read(name)
    actions = []
    for channel, text in said:
        data = text.replace('\n', newline).encode()
        for start in range(0, len(data), step):
            actions += talk.receive(channel, data[start:start + step], 1.0)
    if status:
        actions += talk.exited(status, 2.0)
    errors = [action.error for action in actions if isinstance(action, Fail)]
    assert len(errors) <= 1
    return (errors or [None])[0], b''.join(action.data for action in actions if isinstance(action, Write))


@pytest.mark.parametrize('newline', ['\n', '\r\n'], ids=['lf', 'crlf'])
@pytest.mark.parametrize('name', WITHOUT)
def test_without_a_password(name, newline):
    error, typed = play(name, None, newline, step=1)
    check(error, *WITHOUT[name])
    assert typed == b''


@pytest.mark.parametrize('newline', ['\n', '\r\n'], ids=['lf', 'crlf'])
@pytest.mark.parametrize('name', WITHOUT)
def test_with_a_password(name, newline):
    error, typed = play(name, 'hunter2', newline, step=1)
    expected = WITH.get(name, WITHOUT[name])
    if expected is None:
        assert (error, typed) == (None, b'hunter2\n')
    else:
        check(error, *expected)
        assert typed.count(b'hunter2') <= 1
        assert 'hunter2' not in str(error)


@pytest.mark.parametrize('step', [7, 100000])
@pytest.mark.parametrize('name', WITHOUT)
def test_however_it_is_cut(name, step):
    error, _ = play(name, None, '\r\n', step)
    if step < 1000:
        check(error, *WITHOUT[name])
    else:
        assert type(error) is WITHOUT[name][0]


def check(error, kind, reason, hint):
    assert type(error) is kind, error
    assert reason in error.reason, error
    assert hint in error.hint, error


def test_every_transcript_is_played():
    assert {path.stem for path in FOLDER.glob('ssh-*.txt')} | {path.stem for path in FOLDER.glob('sudo-*.txt')} | {
        path.stem for path in FOLDER.glob('python-*.txt')} == set(WITHOUT)
