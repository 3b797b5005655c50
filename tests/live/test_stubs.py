"""kubectl, jail and incus, with programs that speak like theirs (tests/stubs): the real ones run in few places."""

import os
import shutil

import pytest

import mitogen.core
import support
import targets
from mitogen.boot.dialogue import ConnectError

STUBS = support.checkout() / 'tests' / 'stubs'

WAYS = {
    'kubectl': {'pod': 'web', 'kubectl_path': str(STUBS / 'kubectl')},
    'jail': {'container': 'web', 'jexec_path': str(STUBS / 'jexec')},
    'incus': {'container': 'web', 'incus_path': str(STUBS / 'incus')},
}


@pytest.fixture(params=WAYS)
def name(request):
    return request.param


@pytest.fixture(params=['direct', 'via'])
def via(request, router):
    return router.local() if request.param == 'via' else None


def refusal(router, name, **options):
    with pytest.raises(ConnectError) as caught:
        router.connect(name, **{**WAYS[name], **options})
    return caught.value


def test_connect_and_call(router, name, via):
    context = router.connect(name, via=via, **WAYS[name])
    assert context.name == name + '.web'
    assert context.call(targets.describe_square, 3) == 'a green square of 9'
    assert context.call(targets.echo, bytes(range(256)) * 4096) == bytes(range(256)) * 4096


def test_losing_it(router, name):
    context = router.connect(name, **WAYS[name])
    pid = context.call(os.getpid)
    reply = context.call_async(targets.wait_for_ever)
    os.kill(pid, 9)
    with pytest.raises(mitogen.core.ChannelError):
        reply.get(timeout=10).unpickle()


@pytest.mark.parametrize('name, option, value, reason, hint', [
    ('kubectl', 'pod', 'nosuch', 'no such pod', 'namespace'),
    ('kubectl', 'kubectl_args', ['--namespace', 'shop'], 'no such pod', 'namespace'),
    ('kubectl', 'kubectl_args', ['--context', 'far'], 'context "far" does not exist', 'kubectl_args='),
    ('kubectl', 'kubectl_args', ['--colour'], 'unknown flag', 'kubectl_args='),
    ('kubectl', 'pod', 'done', 'not running', 'kubectl get pod done'),
    ('kubectl', 'pod', 'secret', 'does not allow it', 'pods/exec'),
    ('jail', 'container', 'nosuch', 'no running jail', 'jls'),
    ('jail', 'container', 'locked', 'may not enter jails', 'via='),
    ('jail', 'username', 'nosuch', 'no such user', 'username='),
    ('incus', 'container', 'nosuch', 'no such container', 'incus list'),
    ('incus', 'container', 'idle', 'not running', 'incus start idle'),
    ('incus', 'container', 'locked', 'may not talk to Incus', 'via='),
])
def test_refusals(router, name, option, value, reason, hint):
    error = refusal(router, name, **{option: value})
    assert reason in error.reason and hint in error.hint, error


def test_no_python(router, name):
    error = refusal(router, name, python_path='nopython')
    assert 'there is no nopython in the container' in error.reason
    assert 'python_path=' in error.hint


def test_no_program(router, name):
    option = next(option for option in WAYS[name] if option.endswith('_path'))
    error = refusal(router, name, **{option: '/nonexistent/program'})
    assert '/nonexistent/program' in error.hint


def test_the_user_of_a_jail(router):
    context = router.jail(username='guest', **WAYS['jail'])
    assert context.call(os.getenv, 'JAIL_USER') == 'guest'


def test_a_real_kubectl_without_a_cluster(router, monkeypatch):
    if not shutil.which('kubectl'):
        pytest.skip('the program kubectl is not installed')
    monkeypatch.setenv('KUBECONFIG', '/dev/null')
    error = refusal(router, 'kubectl', kubectl_path='kubectl')
    assert 'does not answer' in error.reason and 'KUBECONFIG' in error.hint
