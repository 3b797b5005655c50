"""ssh to a real sshd: every way in, and every way in which it fails."""

import concurrent.futures
import os
import time

import pytest

import mitogen.core
import mitogen.ssh
import support
import targets
from hosts import accounts as accounts_module, lab

# ---- Getting in


def test_with_a_key(ssh):
    assert ssh('mtgkey').call(targets.whoami) == 'mtgkey'


def test_the_oldest_python_is_served_too(ssh, oldest_python):
    context = ssh('mtgkey', python_path=oldest_python)
    version = context.call(targets.python_version)
    assert 'python%d.%d' % tuple(version) in oldest_python


def test_with_a_password(ssh, accounts):
    context = ssh('mtgpw', identity_file=None, password=accounts['mtgpw'].password)
    assert context.call(targets.whoami) == 'mtgpw'


def test_a_password_is_seen_by_nobody(ssh, accounts):
    password = accounts['mtgpw'].password
    context = ssh('mtgpw', identity_file=None, password=password)
    assert password.encode() not in everything_in_process_lists()
    assert password not in repr(context)


def everything_in_process_lists():
    seen = b''
    for pid in support.processes():
        for name in 'cmdline', 'environ':
            try:
                with open('/proc/%d/%s' % (pid, name), 'rb') as fp:
                    seen += fp.read()
            except OSError:
                pass    # it ended meanwhile, or it is a thread of the kernel's
    return seen


def test_with_a_key_that_an_agent_holds(ssh, ssh_agent, monkeypatch):
    monkeypatch.setenv('SSH_AUTH_SOCK', ssh_agent)
    assert ssh('mtgkey', identity_file=None).call(targets.whoami) == 'mtgkey'


def test_ten_at_once(ssh):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        contexts = list(pool.map(ssh, ['mtgkey'] * 10))
    assert len({context.call(os.getpid) for context in contexts}) == 10


# ---- Not getting in


def refusal(connect, *args, error=mitogen.core.StreamError, **options):
    """The error with which connecting fails."""
    with pytest.raises(error) as caught:
        connect(*args, **options)
    return caught.value


def test_a_wrong_password(ssh):
    error = refusal(ssh, 'mtgpw', identity_file=None, password='not-my-password', error=mitogen.ssh.PasswordError)
    assert 'not-my-password' not in str(error)


def test_no_password_where_one_is_wanted(ssh):
    refusal(ssh, 'mtgpw', identity_file=None, error=mitogen.ssh.PasswordError)


def test_a_refused_key(ssh, sshd):
    assert 'Permission denied' in refusal(ssh, 'mtgkey', identity_file=sshd.identity_refused).said


def test_an_encrypted_key_that_no_agent_holds(ssh, sshd, monkeypatch):
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    assert 'Permission denied' in refusal(ssh, 'mtgkey', identity_file=sshd.identity_encrypted).said


def test_nobody_of_that_name(ssh):
    assert 'Permission denied' in refusal(ssh, 'mtgnobody').said


def test_a_port_where_nobody_listens(ssh):
    assert 'refused' in refusal(ssh, 'mtgkey', port=lab.free_port()).said


def test_a_host_whose_name_means_nothing(ssh):
    # RFC 6761 keeps this domain from ever existing.
    assert 'host.invalid' in refusal(ssh, 'mtgkey', hostname='host.invalid').said


def test_a_server_that_says_nothing(ssh, silent_server):
    began = time.monotonic()
    refusal(ssh, 'mtgkey', hostname=silent_server.host, port=silent_server.port, connect_timeout=2)
    assert 1.9 < time.monotonic() - began < 5


def test_a_server_that_says_nothing_to_somebody_with_a_password(ssh, silent_server):
    began = time.monotonic()
    refusal(ssh, 'mtgkey', hostname=silent_server.host, port=silent_server.port, connect_timeout=2,
            identity_file=None, password='any')
    assert 1.9 < time.monotonic() - began < 5


def test_a_server_that_breaks_off(ssh, closing_server):
    refusal(ssh, 'mtgkey', hostname=closing_server.host, port=closing_server.port)


def test_an_ssh_that_is_not_there(ssh):
    assert '/nonexistent/ssh' in str(refusal(ssh, 'mtgkey', ssh_path='/nonexistent/ssh'))


def test_a_failure_costs_the_others_nothing(ssh):
    good = ssh('mtgkey')
    refusal(ssh, 'mtgkey', python_path='/nonexistent/python')
    assert good.call(targets.whoami) == 'mtgkey'


# ---- Host keys


def known_hosts_of(sshd, kind):
    return {'known': lambda: sshd.known_hosts, 'unknown': sshd.known_hosts_empty,
            'changed': lambda: sshd.known_hosts_wrong}[kind]()


@pytest.mark.parametrize('mode, kind', [
    ('enforce', 'known'),
    ('accept', 'known'), ('accept', 'unknown'),
    ('ignore', 'known'), ('ignore', 'unknown'), ('ignore', 'changed'),
])
def test_host_keys_that_are_accepted(mode, kind, ssh, sshd):
    context = ssh('mtgkey', check_host_keys=mode, ssh_args=sshd.ssh_args(known_hosts_of(sshd, kind)))
    assert context.call(targets.whoami) == 'mtgkey'


@pytest.mark.parametrize('password', [None, 'pw-mtgkey'])
@pytest.mark.parametrize('mode, kind', [('enforce', 'unknown'), ('enforce', 'changed'), ('accept', 'changed')])
def test_host_keys_that_are_refused(mode, kind, password, ssh, sshd):
    refusal(ssh, 'mtgkey', check_host_keys=mode, ssh_args=sshd.ssh_args(known_hosts_of(sshd, kind)), password=password,
            error=mitogen.ssh.HostKeyError)


def test_an_accepted_host_key_is_remembered(ssh, sshd):
    known_hosts = sshd.known_hosts_empty()
    ssh('mtgkey', check_host_keys='accept', ssh_args=sshd.ssh_args(known_hosts))
    context = ssh('mtgkey', check_host_keys='enforce', ssh_args=sshd.ssh_args(known_hosts))
    assert context.call(targets.whoami) == 'mtgkey'


@pytest.mark.parametrize('mode, kind', [('accept', 'unknown'), ('ignore', 'unknown'), ('ignore', 'changed')])
def test_the_password_is_asked_for_behind_an_accepted_host_key(mode, kind, ssh, sshd, accounts):
    # ssh by itself refuses passwords where a host key has changed, even when told not to mind.
    context = ssh('mtgpw', check_host_keys=mode, ssh_args=sshd.ssh_args(known_hosts_of(sshd, kind)),
                  identity_file=None, password=accounts['mtgpw'].password)
    assert context.call(targets.whoami) == 'mtgpw'


# ---- What the other end is like


@pytest.mark.parametrize('password', [False, True])
@pytest.mark.parametrize('name', ['mtgbanner', 'mtgloud', *accounts_module.SHELLS])
def test_login_scripts_and_shells(name, password, ssh, accounts):
    if name not in accounts:
        pytest.skip('the shell %s is not installed' % accounts_module.SHELLS[name])
    way_in = {'identity_file': None, 'password': accounts[name].password} if password else {}
    context = ssh(name, **way_in)
    assert context.call(targets.whoami) == name
    assert context.call(targets.echo, b'\x00\r\n\x03' * 50000) == b'\x00\r\n\x03' * 50000


@pytest.mark.parametrize('name', ['mtgkey', *accounts_module.SHELLS])
def test_a_missing_interpreter(name, ssh, accounts):
    if name not in accounts:
        pytest.skip('the shell %s is not installed' % accounts_module.SHELLS[name])
    error = refusal(ssh, name, python_path='/nonexistent/python')
    assert 'python_path' in error.hint
    assert '/nonexistent/python' in error.said


def test_what_a_login_script_said_is_part_of_the_error(ssh):
    assert 'Authorised use only' in refusal(ssh, 'mtgbanner', python_path='/nonexistent/python').said


def test_a_python_that_is_too_old(ssh, public_pythons):
    if '2.7' not in public_pythons:
        pytest.skip('there is no Python 2.7 here')
    error = refusal(ssh, 'mtgkey', python_path=public_pythons['2.7'])
    assert '3.6' in error.said and '2.7' in error.said
    assert 'python_path' in error.hint


def test_a_program_that_is_no_python(ssh):
    refusal(ssh, 'mtgkey', python_path='/bin/true')


# ---- Losing it again


def test_a_child_is_killed_while_100_calls_wait(ssh):
    context = ssh('mtgkey')
    pid = context.call(os.getpid)
    replies = [context.call_async(targets.wait_for_ever) for _ in range(100)]
    began = time.monotonic()
    lab.kill(pid)
    for reply in replies:
        with pytest.raises(mitogen.core.ChannelError):
            reply.get(timeout=10).unpickle()
    assert time.monotonic() - began < 5
    with pytest.raises(mitogen.core.ChannelError):
        context.call(os.getpid)


def test_nothing_is_left_on_the_other_side(ssh, router):
    context = ssh('mtgkey')
    pid = context.call(os.getpid)
    context.call_async(targets.wait_for_ever)
    router.disconnect(context)
    support.wait_for(lambda: not support.is_running(pid), 5, 'end of the child')
