"""The fixtures themselves, tried with the plain programs: a broken fixture shall not look like a broken library."""

import os
import socket
import subprocess

import pytest

import support
from hosts import accounts as accounts_module, lab


def ssh(server, user, *command, check=True, env=None, **options):
    return lab.run(server.command(user, *command, **options), check=check, env={**os.environ, **(env or {})}).stdout


def ssh_with_password(server, user, password, folder):
    askpass = folder / 'askpass'
    askpass.write_text('#!/bin/sh\necho %s\n' % password)
    askpass.chmod(0o700)
    argv = ['ssh', *server.ssh_args(), '-o', 'PreferredAuthentications=password', '-o', 'NumberOfPasswordPrompts=1',
            '-p', server.port, '%s@%s' % (user, server.host), 'id -un']
    return lab.run(argv, check=False, env={**os.environ, 'SSH_ASKPASS': str(askpass), 'SSH_ASKPASS_REQUIRE': 'force'})


# ---- ssh


@pytest.mark.parametrize('name', ['root', *sorted(set(accounts_module.NAMES) - {'mtgpw'})])
def test_the_key_gets_in(name, accounts, sshd):
    if name not in accounts and name in accounts_module.SHELLS:
        pytest.skip('the shell %s is not installed' % accounts_module.SHELLS[name])
    assert name in ssh(sshd, name, 'id -un').split()


def test_the_key_does_not_get_in_where_a_password_is_wanted(sshd):
    assert 'Permission denied (publickey,password)' in ssh(sshd, 'mtgpw', 'true', check=False)


def test_the_password_is_right_and_others_are_wrong(accounts, sshd, tmp_path):
    assert ssh_with_password(sshd, 'mtgpw', accounts['mtgpw'].password, tmp_path).stdout == 'mtgpw\n'
    assert 'Permission denied' in ssh_with_password(sshd, 'mtgpw', 'wrong', tmp_path).stdout


def test_a_strangers_key_is_refused(sshd):
    assert 'Permission denied' in ssh(sshd, 'mtgkey', 'true', identity=sshd.identity_refused, check=False)


def test_the_agent_opens_what_the_passphrase_closes(sshd, ssh_agent):
    assert 'Permission denied' in ssh(sshd, 'mtgkey', 'true', identity=sshd.identity_encrypted, check=False)
    output = ssh(sshd, 'mtgkey', 'id -un', identity=sshd.identity_encrypted, env={'SSH_AUTH_SOCK': ssh_agent})
    assert output == 'mtgkey\n'


@pytest.mark.parametrize('known_hosts, complaint', [
    (lambda sshd: sshd.known_hosts_wrong, 'REMOTE HOST IDENTIFICATION HAS CHANGED'),
    (lambda sshd: sshd.known_hosts_empty(), 'Host key verification failed'),
])
def test_unknown_and_changed_host_keys_are_noticed(known_hosts, complaint, sshd):
    assert complaint in ssh(sshd, 'mtgkey', 'true', known_hosts=known_hosts(sshd), check=False)


@pytest.mark.parametrize('name, size', [('mtgbanner', 50), ('mtgloud', 5000)])
def test_login_scripts_talk(name, size, sshd):
    output = ssh(sshd, name, 'echo the end')
    assert len(output) > size and 'the end\n' in output


@pytest.mark.parametrize('name, question, answer', [
    ('mtgdash', 'echo $0', 'dash'),
    ('mtgtcsh', 'echo $version', 'tcsh'),
    ('mtgfish', 'status fish-path', 'fish'),
])
def test_shells_are_what_they_are_called(name, question, answer, accounts, sshd):
    if name not in accounts:
        pytest.skip('the shell %s is not installed' % answer)
    assert answer in ssh(sshd, name, question)


# ---- sudo


def sudo(sshd, account, password=None):
    command = "echo '%s' | sudo -S -p '' id -un" % (password or account.password)
    return ssh(sshd, account.name, command, check=False)


def test_sudo_with_a_password(accounts, sshd):
    assert 'root' in sudo(sshd, accounts['mtgsudo']).split()
    assert 'a password is required' in ssh(sshd, 'mtgsudo', 'sudo -n id -un', check=False)


def test_sudo_refuses_a_wrong_password(accounts, sshd):
    assert 'incorrect password' in sudo(sshd, accounts['mtgsudo'], password='wrong')


def test_sudo_without_a_password(sshd):
    # Before that it complains where the machine's own name cannot be looked up.
    assert ssh(sshd, 'mtgnopw', 'sudo -n id -un').endswith('root\n')


def test_sudo_to_somebody_who_does_not_exist(sshd):
    assert 'unknown user' in ssh(sshd, 'mtgnopw', 'sudo -n -u mtgnobody id -un', check=False)


def test_sudo_that_wants_a_terminal(accounts, sshd):
    assert 'must have a tty' in sudo(sshd, accounts['mtgtty'])
    argv = sshd.command('mtgtty', 'sudo -S -p "" id -un')
    argv.insert(1, '-tt')
    assert 'root' in lab.run(argv, input=accounts['mtgtty'].password + '\n').stdout.split()


def test_sudo_of_somebody_who_may_not(accounts, sshd):
    assert 'not in the sudoers file' in sudo(sshd, accounts['mtgnone'])


# ---- interpreters, servers, network, disks


def test_every_account_can_run_the_interpreters(public_pythons, sshd):
    script = '; '.join("%s -c 'import sys, ssl; print(\"%%d.%%d\" %% sys.version_info[:2])'" % path
                       for path in public_pythons.values())
    assert ssh(sshd, 'mtgkey', script).split() == list(public_pythons)


def test_the_copies_lack_what_people_install(python, sshd):
    assert 'No module named' in ssh(sshd, 'mtgkey', python, '-c', '"import django"', check=False)


def test_the_silent_server_accepts_and_says_nothing(silent_server):
    with socket.create_connection((silent_server.host, silent_server.port), timeout=0.2) as connection:
        with pytest.raises(socket.timeout):
            connection.recv(1)


def test_the_closing_server_breaks_off(closing_server):
    with socket.create_connection((closing_server.host, closing_server.port), timeout=5) as connection:
        assert connection.recv(100).startswith(b'SSH-2.0-')
        connection.sendall(b'SSH-2.0-me\r\n')
        assert connection.recv(100) == b''


ROUND_TRIP = '''
import socket, sys, time
began = time.monotonic()
socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(time.monotonic() - began)
'''


@pytest.mark.alone
@pytest.mark.parametrize('delay', [0, 50])
def test_the_slow_network_takes_its_time(delay, slow_network, python):
    slow = slow_network(delay)
    target = [slow.sshd.host, slow.sshd.port]
    # A connect() is one round trip. The first also has to find out who is there.
    took = min(float(slow.run_near([python, '-c', ROUND_TRIP, *target]).stdout) for _ in range(3))
    assert delay * 2 <= took * 1000 < delay * 2 + 20


def test_the_slow_network_leads_to_an_sshd(slow_network):
    slow = slow_network(10)
    assert slow.run_near(slow.sshd.command('mtgkey', 'id -un')).stdout == 'mtgkey\n'
    assert lab.run(slow.sshd.command('mtgkey', 'true'), check=False).returncode, 'it can be reached from outside'


@pytest.mark.parametrize('disk, complaint', [('full_disk', 'No space left'), ('read_only_fs', 'Read-only file system')])
def test_nothing_can_be_written(disk, complaint, request):
    for name in ('file', '/tmp/file', '/var/tmp/file', '/dev/shm/file'):
        done = lab.run([*request.getfixturevalue(disk), '-c', 'open(%r, "w").write("x")' % name], check=False)
        assert complaint in done.stdout


def test_what_the_disks_look_like_inside_is_not_seen_outside(full_disk):
    lab.run([*full_disk, '-c', 'pass'])
    assert not os.path.ismount('/tmp/full')


# ---- what the leak check sees


def test_leftovers_are_named(monkeypatch):
    monkeypatch.setattr(support, 'LEAK_GRACE', 0.1)
    before = support.Leftovers()
    before.wait_until_gone()
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE) as child:
        expected = r'child process %d: cat(.|\n)*descriptor %d: pipe' % (child.pid, child.stdin.fileno())
        with pytest.raises(AssertionError, match=expected):
            before.wait_until_gone()
    before.wait_until_gone()
