"""Five hops: ssh, from there sudo, from there a local child, from there ssh again, from there a fork."""

import os

import pytest

import mitogen.core
import support
import targets


@pytest.fixture
def chain(router, ssh, sshd, python, oldest_python):
    """The contexts of the five hops, nearest first; interpreters differ."""
    login = ssh('mtgnopw', python_path=python)
    root = router.sudo(via=login, python_path=oldest_python)
    local = router.local(via=root, python_path=python)
    second = router.ssh(via=local, hostname=sshd.host, port=sshd.port, username='mtgkey', python_path=python,
                        identity_file=sshd.identity, ssh_args=sshd.ssh_args())
    return [login, root, local, second, router.fork(via=second)]


def pids_of(contexts):
    return [context.call(os.getpid) for context in contexts]


def test_each_hop_is_somebody(chain):
    assert [context.call(targets.whoami) for context in chain] == ['mtgnopw', 'root', 'root', 'mtgkey', 'mtgkey']
    assert len(set(pids_of(chain))) == 5


def test_values_pass_through_all_of_them(chain):
    value = {'text': 'é\x00', 'bytes': bytes(range(256)) * 4096, 'nested': [(1, None), {2.5}]}
    assert chain[-1].call(targets.echo, value) == value


def test_an_error_comes_all_the_way_back(chain):
    with pytest.raises(mitogen.core.CallError, match='ValueError: too far') as caught:
        chain[-1].call(targets.fail, 'too far')
    assert 'in fail' in caught.value.remote_traceback


def test_the_last_hop_imports_what_only_the_master_has(chain):
    assert not chain[-1].call(targets.has_of_its_own, 'homegrown')
    assert chain[-1].call(targets.describe_square, 3) == 'a green square of 9'


def test_every_hop_imports_it_at_the_same_time(chain):
    replies = [context.call_async(targets.describe_square, 3) for context in reversed(chain)]
    assert [reply.get(timeout=30).unpickle() for reply in replies] == ['a green square of 9'] * 5


def test_a_hop_can_be_asked_for_more_than_one_child(chain, router, python):
    local = chain[2]
    more = [router.local(via=local, python_path=python) for _ in range(3)]
    assert len(set(pids_of(more + chain))) == 8


def test_the_loss_of_a_middle_hop(chain, router, python):
    login, root, local, second, fork = chain
    pids = pids_of(chain)
    waiting = [context.call_async(targets.wait_for_ever) for context in (local, second, fork)]

    root.call(os.kill, pids[2], 9)

    for reply in waiting:
        with pytest.raises(mitogen.core.ChannelError):
            reply.get(timeout=10).unpickle()
    with pytest.raises(mitogen.core.ChannelError):
        fork.call(os.getpid)
    support.wait_until_gone(pids[2:], 10)
    assert pids_of([login, root]) == pids[:2]
    assert router.local(via=root, python_path=python).call(targets.whoami) == 'root'


def test_letting_the_first_hop_go_ends_all(chain, router):
    pids = pids_of(chain)
    chain[-1].call_async(targets.wait_for_ever)
    router.disconnect(chain[0])
    support.wait_until_gone(pids, 10)
