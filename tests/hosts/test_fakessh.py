"""mitogen.fakessh over real connections: ssh, and from there sudo."""

import os
import subprocess
import uuid

import pytest

import mitogen.fakessh
import support
import targets
from hosts import lab


@pytest.fixture
def chain(router, ssh, python):
    """(a context in an ordinary account, root behind it)."""
    login = ssh('mtgnopw', python_path=python)
    return login, router.sudo(via=login, python_path=python)


@pytest.fixture
def site(tmp_path):
    path = tmp_path / 'site'
    path.mkdir()
    for number in range(20):
        (path / ('page %d' % number)).write_bytes(os.urandom(number * 1000))
    return path


def test_who_runs_the_command(router, chain, tmp_path):
    for context, name in zip(chain, ('mtgnopw', 'root')):
        script = 'ssh host "id -un; pwd" >"$0"'
        assert mitogen.fakessh.run(context, router, ['sh', '-c', script, str(tmp_path / 'out')]) == 0
        assert (tmp_path / 'out').read_text().split('\n')[0] == name
        assert context.call(targets.whoami) == name
    assert (tmp_path / 'out').read_text().split('\n')[1] == os.path.expanduser('~root')


def test_rsync_to_root_behind_an_account(router, chain, site, tmp_path):
    lab.program('rsync')
    copy = tmp_path / 'copy'
    assert mitogen.fakessh.run(chain[1], router, ['rsync', '-a', '%s/' % site, 'web:%s' % copy]) == 0
    assert subprocess.call(['diff', '-r', str(site), str(copy)]) == 0
    assert copy.stat().st_uid == 0


@pytest.fixture
def container(router, chain, docker):
    """A context in a container, behind root behind an account."""
    return router.docker(via=chain[1], **docker.options(docker.running))


@pytest.mark.parametrize('there, back', [
    ('rsync -a {site}/ web:{far}', 'rsync -a web:{far}/ {back}'),
    ('scp -Orpq {site} web:{far}', 'scp -Orpq web:{far} {back}'),
    ('scp -srpq {site} web:{far}', 'scp -srpq web:{far} {back}'),
    ('tar -C {site} -c . | ssh web "mkdir {far} && tar -C {far} -x"',
     'mkdir {back}; ssh web tar -C {far} -c . | tar -C {back} -x'),
], ids=['rsync', 'scp', 'scp by sftp', 'tar'])
def test_to_a_container_behind_sudo_behind_ssh(router, container, site, tmp_path, there, back):
    """There and back again, and nothing of it comes to lie on this machine meanwhile."""
    names = {'site': site, 'back': tmp_path / 'back', 'far': '/tmp/site-%s' % uuid.uuid4().hex}
    for command in there, back:
        assert mitogen.fakessh.run(container, router, ['sh', '-c', command.format(**names)]) == 0
        assert not os.path.exists(names['far'])
    assert subprocess.call(['diff', '-r', str(site), str(names['back'])]) == 0


def test_a_command_in_a_container(router, container, tmp_path):
    data = bytes(range(256)) * 1000
    (tmp_path / 'in').write_bytes(data)
    script = 'ssh -T web "cat; exit 7" <"$0/in" >"$0/out"'
    assert mitogen.fakessh.run(container, router, ['sh', '-c', script, str(tmp_path)]) == 7
    assert (tmp_path / 'out').read_bytes() == data


def test_rsync_from_one_context_to_another(router, chain, ssh, site):
    """`mtgkey` fetches what only root, in another account's tree of contexts, may read."""
    lab.program('rsync')
    site.chmod(0o700)
    near = ssh('mtgkey')
    assert near.call(mitogen.fakessh.run, chain[1], ['rsync', '-a', 'any:%s/' % site, 'fetched']) == 0
    fetched = os.path.expanduser('~mtgkey/fetched')
    assert subprocess.call(['diff', '-r', str(site), fetched]) == 0
    assert os.stat(fetched + '/page 7').st_uid == near.call(os.getuid)


def test_the_loss_of_the_first_hop(router, chain, tmp_path):
    """The status says so, and the command at the end of the chain is gone too."""
    login, root = chain
    pid_file = tmp_path / 'pid'
    script = 'ssh host "echo \\$\\$ >{0}.new; mv {0}.new {0}; while :; do sleep 1000; done" & ' \
             'until [ -e {0} ]; do sleep 0.01; done; kill -9 {1}; wait $!'.format(pid_file, login.call(os.getpid))
    assert mitogen.fakessh.run(root, router, ['sh', '-c', script]) == 255
    support.wait_for(lambda: not support.is_running(int(pid_file.read_text())), 10, 'end of the remote command')
