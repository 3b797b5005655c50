"""The connection method that the documentation shows how to add: examples/chroot_method.py, on a real root."""

import os
import sys

import pytest

import mitogen.method
import support
import targets
from hosts import rootfs
from mitogen.boot.dialogue import ConnectError


@pytest.fixture(scope='module', autouse=True)
def chroot_method():
    """The module of the example, importable as a program's own is; and forgotten again."""
    folder = str(support.checkout() / 'examples')
    sys.path.insert(0, folder)
    before = dict(mitogen.method.MODULES)
    yield __import__('chroot_method')
    sys.path.remove(folder)
    del sys.modules['chroot_method']
    mitogen.method.MODULES.clear()
    mitogen.method.MODULES.update(before)


@pytest.fixture(scope='session')
def root(machine):
    """The folder that becomes the root: a Debian of another release than most."""
    return str(rootfs.root_file_system('trixie'))


@pytest.mark.parametrize('hops', ['direct', 'via'])
def test_it_is_a_method_like_any_other(hops, router, root, ssh):
    via = ssh('root') if hops == 'via' else None
    context = router.connect('chroot', via=via, folder=root)
    assert context.name == 'chroot.' + root
    assert '%d.%d' % tuple(context.call(targets.python_version)) == rootfs.PYTHONS['trixie']
    assert context.call(os.listdir, '/home') == []
    assert context.call(targets.describe_square, 3) == 'a green square of 9'


def test_its_own_option(router, root):
    context = router.connect('chroot', folder=root, username='guest')
    assert context.call(targets.whoami) == 'guest'


@pytest.mark.parametrize('options, reason, hint', [
    ({'folder': '/nonexistent'}, 'cannot change root directory', 'folder='),
    ({'username': 'mtgnobody'}, 'no such user', 'username='),
    ({'python_path': '/nonexistent/python'}, 'no such interpreter', 'python_path='),
])
def test_its_own_refusals(options, reason, hint, router, root):
    with pytest.raises(ConnectError) as caught:
        router.connect('chroot', **{'folder': root, **options})
    assert reason in caught.value.reason and hint in caught.value.hint


def test_somebody_who_may_not(router, root, ssh):
    with pytest.raises(ConnectError) as caught:
        router.connect('chroot', via=ssh('mtgkey'), folder=root)
    assert 'only root' in caught.value.reason and 'via=' in caught.value.hint


def test_its_name_is_taken():
    with pytest.raises(ValueError, match='already'):
        mitogen.method.register('chroot', 'another_module')
