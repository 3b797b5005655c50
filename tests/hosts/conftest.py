"""Fixtures for tests that connect to real programs. What they stand for is in the file that each is named after."""

import contextlib

import pytest

import support
from hosts import (
    accounts as accounts_module,
    ansible_core,
    bad_servers,
    disks,
    engines,
    interpreters,
    lab,
    locales,
    slow_network as network,
    ssh_server,
    ways,
)


def pytest_itemcollected(item):
    """Have a failure of buildah itself tried again: now and then the kernel still holds a page of the copy that it
    makes of its program, and refuses to seal that. By a mark, as the option would not go with --pdb."""
    item.add_marker(pytest.mark.flaky(reruns=3, only_rerun='Close_Fd sealing memfd copy'))


@pytest.fixture(scope='session')
def machine():
    """Leave to change this machine: the user is root, and no other run is at it."""
    lab.need_root()
    with lab.only_one_run():
        yield


@pytest.fixture(scope='session')
def lab_folder(machine):
    """A folder for keys, logs and sockets."""
    with lab.public_folder() as folder:
        yield folder


@pytest.fixture(scope='session')
def accounts(machine):
    """`{name: Account}`: see hosts/accounts.py for what is special about each."""
    with accounts_module.accounts() as found:
        yield found


@pytest.fixture(scope='session')
def german(machine):
    """Name of a German locale."""
    with locales.german() as name:
        yield name


@pytest.fixture(scope='session')
def public_pythons(machine):
    """`{'2.7': path, '3.6': path, ...}`, each usable by every account."""
    return interpreters.public_pythons()


@pytest.fixture(scope='session')
def python(public_pythons):
    """The newest of them: for tests where the version makes no difference."""
    return public_pythons[max(public_pythons, key=support.as_numbers)]


@pytest.fixture(scope='session')
def oldest_python(public_pythons):
    """The oldest of them that a child may run on."""
    return public_pythons[min(set(public_pythons) - {'2.7'}, key=support.as_numbers)]


@pytest.fixture(scope='session')
def keys(lab_folder, accounts):
    """Keys that every account accepts, root's too, except mtgpw's: it is for passwords."""
    return ssh_server.Keys(lab_folder, ['root', *(set(accounts) - {'mtgpw'})])


@pytest.fixture(scope='session')
def sshd(keys):
    """A private sshd on loopback: see hosts/ssh_server.py for its attributes."""
    with _stopping(ssh_server.Sshd(keys)) as server:
        yield server


@pytest.fixture(scope='session')
def ssh_agent(lab_folder, sshd):
    """SSH_AUTH_SOCK of an agent that holds the key with the passphrase."""
    with ssh_server.agent(lab_folder, sshd.identity_encrypted, sshd.passphrase) as path:
        yield path


@pytest.fixture
def silent_server():
    """Accepts connections and says nothing."""
    with _stopping(bad_servers.BadServer(bad_servers.say_nothing)) as server:
        yield server


@pytest.fixture
def closing_server():
    """Greets as an sshd does, then closes."""
    with _stopping(bad_servers.BadServer(bad_servers.close_half_way)) as server:
        yield server


@pytest.fixture
def slow_network(keys):
    """`slow_network(milliseconds)` -> a SlowNetwork with that delay each way."""
    with contextlib.ExitStack() as stack:
        yield lambda delay: stack.enter_context(_stopping(network.SlowNetwork(delay, keys)))


@pytest.fixture
def full_disk(python):
    """A `python_path` for a target, as root, on which every file system is full."""
    disks.need_mounts()
    return disks.full_disk(python)


@pytest.fixture
def read_only_fs(python):
    """A `python_path` for a target, as root, on which every file system is read-only."""
    disks.need_mounts()
    return disks.read_only_disk(python)


@contextlib.contextmanager
def _stopping(thing):
    try:
        yield thing
    finally:
        thing.stop()


@pytest.fixture
def ssh(router, sshd, python):
    """`ssh('mtgkey', **options)` -> a context in that account, by way of the private sshd and the key."""
    def connect(username, **options):
        settings = dict(hostname=sshd.host, port=sshd.port, python_path=python, identity_file=sshd.identity,
                        ssh_args=sshd.ssh_args())
        settings.update(options)
        return router.ssh(username=username, **settings)
    return connect


def _containers(name):
    @pytest.fixture(scope='session', name=name)
    def fixture(lab_folder):
        with _stopping(ways.HOSTS[name](_subfolder(lab_folder, name))) as host:
            yield host
    return fixture


def _subfolder(folder, name):
    (folder / name).mkdir(mode=0o755)
    return folder / name


# What runs containers, each under the name that it has in hosts/ways.py, and started when the first test wants it.
docker, podman, lxc, lxd, nspawn, namespaces, user_namespace = map(_containers, ways.HOSTS)


@pytest.fixture(scope='session')
def buildah(lab_folder, podman):
    """Working containers, of the images that Podman has."""
    with _stopping(engines.Buildah(_subfolder(lab_folder, 'buildah'), podman)) as host:
        yield host


@pytest.fixture(scope='session', params=ways.WAYS)
def way(request):
    """Every way into a container, one after the other: see hosts/ways.py."""
    return ways.Way(request.param, request.getfixturevalue(ways.WAYS[request.param][0]))


# ---- Ansible

@pytest.fixture(scope='session', params=ansible_core.VERSIONS)
def programs(request, machine):
    """Folder of the programs of an ansible-core."""
    return ansible_core.environment(request.param)


@pytest.fixture
def ansible(programs, tmp_path, sshd):
    found = ansible_core.Ansible(programs, tmp_path, sshd)
    yield found
    support.wait_for(lambda: not found.brokers(), what='end of the broker processes')


@pytest.fixture
def target(ansible, python):
    """An inventory with two hosts, of which the second is there to delegate to."""
    return ansible.inventory({'target': {'ansible_user': 'mtgnopw'}, 'other': {'ansible_user': 'mtgkey'}},
                             ansible_python_interpreter=python)


@pytest.fixture
def newest_ansible(machine, tmp_path, sshd):
    """As `ansible`, of the newest version only: for tests where that makes no difference."""
    found = ansible_core.Ansible(ansible_core.environment('newest'), tmp_path, sshd)
    yield found
    support.wait_for(lambda: not found.brokers(), what='end of the broker processes')
