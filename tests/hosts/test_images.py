"""Docker beyond one container that runs: images of four releases of Debian, chains of hops, and who cleans up."""

import os

import pytest

import mitogen.core
import support
import targets
from hosts import rootfs
from mitogen.boot.dialogue import ConnectError


@pytest.fixture(scope='session', params=rootfs.PYTHONS)
def suite(request, docker):
    """Name of a release of Debian of which there is an image."""
    docker.add_image(request.param)
    return request.param


@pytest.fixture
def run_image(router, docker):
    """`run_image(name)` -> a context in a new container of that image."""
    return lambda name, **options: router.docker(image='mtg:' + name, docker_path=docker.program, **options)


def test_each_release_of_debian(run_image, suite):
    context = run_image(suite)
    assert '%d.%d' % tuple(context.call(targets.python_version)) == rootfs.PYTHONS[suite]
    assert context.call(targets.describe_square, 3) == 'a green square of 9'
    assert context.call(targets.echo, bytes(range(256)) * 4096) == bytes(range(256)) * 4096


def test_a_temporary_container_is_removed(run_image, router, docker):
    before = set(docker.containers())
    context = run_image('bookworm')
    assert len(set(docker.containers()) - before) == 1
    context.call_async(targets.wait_for_ever)
    router.disconnect(context)
    support.wait_for(lambda: set(docker.containers()) == before, 20, 'removal of the temporary container')


def test_a_temporary_container_is_removed_when_it_did_not_start(run_image, docker):
    before = set(docker.containers())
    with pytest.raises(ConnectError):
        run_image('busybox')
    support.wait_for(lambda: set(docker.containers()) == before, 20, 'removal of the temporary container')


def test_an_image_that_nobody_has(run_image):
    with pytest.raises(ConnectError) as caught:
        run_image('nosuch')
    assert 'no such image' in caught.value.reason and 'docker pull' in caught.value.hint


def test_podman_makes_temporary_containers_too(router, podman):
    before = set(podman.containers())
    context = router.podman(image='mtg:bookworm', podman_path=podman.program)
    assert context.call(os.getuid) == 0
    router.disconnect(context)
    support.wait_for(lambda: set(podman.containers()) == before, 20, 'removal of the temporary container')


@pytest.fixture
def chain(router, ssh, sshd, python, docker):
    """Contexts: ssh, from there sudo, from there ssh as root, from there docker."""
    login = ssh('mtgnopw')
    root = router.sudo(via=login, python_path=python)
    second = router.ssh(via=root, hostname=sshd.host, port=sshd.port, username='root', python_path=python,
                        identity_file=sshd.identity, ssh_args=sshd.ssh_args())
    return [login, root, second, router.docker(via=second, **docker.options(docker.running))]


def test_docker_inside_ssh_inside_sudo(chain):
    assert [context.call(targets.whoami) for context in chain] == ['mtgnopw', 'root', 'root', 'root']
    assert chain[-1].call(os.readlink, '/proc/self/ns/mnt') != chain[-2].call(os.readlink, '/proc/self/ns/mnt')
    assert chain[-1].call(targets.describe_square, 3) == 'a green square of 9'


def test_a_chain_through_a_container(router, docker):
    """The children of a context in a container are in the container."""
    inside = router.docker(**docker.options(docker.running))
    child = router.fork(via=inside)
    assert child.call(os.readlink, '/proc/self/ns/mnt') == inside.call(os.readlink, '/proc/self/ns/mnt')


def test_errors_come_through_a_chain(chain, router, docker):
    with pytest.raises(ConnectError) as caught:
        router.docker(via=chain[-2], container='mtg-nobody', docker_path=docker.program)
    assert 'no such container' in caught.value.reason


def test_losing_the_way_to_a_container(chain, router):
    reply = chain[-1].call_async(targets.wait_for_ever)
    router.disconnect(chain[0])
    with pytest.raises(mitogen.core.ChannelError):
        reply.get(timeout=10).unpickle()
