"""Containers, by every way into them, with the real programs."""

import os
import time

import pytest

import mitogen.core
import support
import targets
from hosts import ways
from mitogen.boot.dialogue import ConnectError

# Both ways at once, in pieces, so that pipes are full in both directions.
PIECE, PIECES = bytes(range(256)) * 4096, 64

# A failure that the program reports takes no longer than it does, far from connect_timeout.
SOON = 15


def only(names):
    """Tries a test with these of the ways."""
    return pytest.mark.parametrize('way', names, indirect=True, scope='session')


@pytest.fixture
def connect(router, way):
    """`connect(**options)` -> a context in the container that runs, or in the one that is named."""
    return lambda via=None, **options: router.connect(way.method, via=via, **way.options(**options))


@pytest.fixture
def refusal(connect):
    """`refusal(**options)` -> the error with which connecting fails, soon."""
    def fail(**options):
        began = time.monotonic()
        with pytest.raises(ConnectError) as caught:
            connect(**options)
        assert time.monotonic() - began < SOON
        return caught.value
    return fail


# ---- Getting in


def test_it_is_inside(connect, way):
    context = connect()
    assert context.call(os.getuid) == 0
    assert context.call(os.readlink, '/proc/self/ns/mnt') != os.readlink('/proc/self/ns/mnt')
    assert context.call(os.getenv, 'HOME') in ('/root', '/', None)
    assert context.name.startswith(way.method + '.')


def test_it_imports_what_only_the_master_has(connect):
    assert connect().call(targets.describe_square, 3) == 'a green square of 9'


@only(ways.TRANSPORTS)
def test_64_mb_both_ways(connect):
    context = connect()
    replies = [context.call_async(targets.echo, PIECE) for _ in range(PIECES)]
    assert all(reply.get(timeout=60).unpickle() == PIECE for reply in replies)


def test_from_an_ssh_context(connect, ssh):
    context = connect(via=ssh('root'))
    assert context.call(os.getuid) == 0
    assert context.call(targets.describe_square, 2) == 'a green square of 4'


@only(ways.WITH_USERS)
def test_as_somebody_else(connect, way):
    context = connect(username=way.user)
    assert context.call(targets.whoami) == way.user
    assert context.call(os.getuid) == context.call(os.geteuid) != 0
    assert 0 not in context.call(os.getgroups)


def test_nothing_of_ours_is_in_the_environment(connect, monkeypatch):
    monkeypatch.setenv('MITOGEN_TEST_SECRET', 'hunter2')
    assert connect().call(os.getenv, 'MITOGEN_TEST_SECRET') is None


def test_it_ends_when_it_is_let_go(connect, router, way):
    context = connect()
    witness = connect()
    pid = context.call(os.getpid)
    context.call_async(targets.wait_for_ever)
    router.disconnect(context)
    support.wait_for(lambda: not witness.call(targets.is_running, pid), 10, 'end of the child in the container')


# ---- Not getting in


def test_a_name_that_nobody_has(refusal, way):
    error = refusal(container='4194305' if way.name.startswith('setns-pid') else 'mtg-nobody')
    assert 'container' in error.reason or 'machine' in error.reason
    assert error.hint


@only(ways.WITH_STOPPED)
def test_a_container_that_does_not_run(refusal, way):
    assert 'running' in refusal(container=way.stopped).reason


def test_a_container_without_python(refusal, way):
    error = refusal(container=way.busybox) if way.busybox else refusal(python_path='/nonexistent/python')
    assert 'there is no' in error.reason and 'in the container' in error.reason
    assert 'python_path=' in error.hint and 'install' in error.hint


@only(ways.WITH_PROGRAM)
def test_a_program_that_is_not_there(refusal, way):
    error = refusal(**{way.path_option(): '/nonexistent/folder/program'})
    assert '/nonexistent/folder' in str(error)
    assert error.hint


def test_somebody_who_may_not(refusal, way, ssh):
    error = refusal(via=ssh('mtgkey'))
    # The containers of root are not there for others, say two.
    assert 'may not' in error.reason or way.name in ('buildah', 'setns-lxc') and 'there is no' in error.reason
    assert error.hint


@only(ways.WITH_USERS)
def test_a_user_that_there_is_not(refusal, way):
    error = refusal(username='mtgnobody')
    assert 'no such user' in error.reason
    assert 'username=' in error.hint


# ---- Losing it again


@only(ways.MORTAL)
def test_a_container_is_killed_while_calls_wait(connect, way):
    name = way.host.start('mtg-doomed')
    context = connect(container=name)
    replies = [context.call_async(targets.wait_for_ever) for _ in range(20)]
    way.host.kill(name)
    for reply in replies:
        with pytest.raises(mitogen.core.ChannelError):
            reply.get(timeout=20).unpickle()
    with pytest.raises(mitogen.core.ChannelError):
        context.call(os.getpid)
