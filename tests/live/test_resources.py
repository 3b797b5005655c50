"""importlib.resources in a child, of packages that only the master has; and nothing that lies outside of them."""

import os

import pytest

import support
import targets_imports
import targets_resources
from mitogen.core import GET_RESOURCE, CallError, Message

PICTURE = bytes(range(256)) * 1000


@pytest.fixture
def package(write):
    """A package with data in it, and a secret beside it; returns its folder."""
    return write({
        'x_data/__init__.py': '', 'x_data/notes.txt': 'first\nsecond \u00e9\n'.encode(), 'x_data/picture.png': PICTURE,
        'x_data/empty.txt': b'', 'x_data/folder/inner.txt': b'inner', 'x_data/folder/deeper/deep.txt': b'deep',
        'x_data/sub/__init__.py': '', 'x_data/sub/own.txt': b'of the subpackage',
        'x_data/__pycache__/junk.pyc': b'junk', 'secret.txt': b'secret',
    }) / 'x_data'


PYTHONS = [version for version in support.find_pythons() if support.as_numbers(version) > (3, 6)]


@pytest.mark.parametrize('version', PYTHONS)
def test_each_python_that_has_importlib_resources_reads_a_file(package, router, version):
    child = router.local(python_path=support.find_pythons()[version])
    assert child.call(targets_resources.read_text, 'x_data', 'notes.txt') == 'first\nsecond \u00e9\n'
    assert child.call(targets_resources.read_text, 'x_data.sub', 'own.txt') == 'of the subpackage'
    assert child.call(targets_resources.why_not, 'x_data', 'missing.txt') == 'FileNotFoundError'


@pytest.mark.filterwarnings('default::DeprecationWarning')
def test_the_older_functions(package, child):
    text, data, streamed, there, names = child.call(targets_resources.read_old, 'x_data', 'notes.txt')
    assert text == 'first\nsecond \u00e9\n'
    assert data == streamed == text.encode()
    assert there is True
    assert {'notes.txt', 'picture.png', '__init__.py'} <= set(names)


def test_a_folder_is_listed(package, child):
    assert child.call(targets_resources.list_folder, 'x_data') == [
        ('__init__.py', True, False), ('empty.txt', True, False), ('folder', False, True), ('notes.txt', True, False),
        ('picture.png', True, False), ('sub', False, True)]
    assert child.call(targets_resources.list_folder, 'x_data', 'folder') == [
        ('deeper', False, True), ('inner.txt', True, False)]


def test_all_files_of_a_package(package, child):
    assert child.call(targets_resources.walk, 'x_data') == {
        '__init__.py': 0, 'empty.txt': 0, 'folder/inner.txt': 5, 'folder/deeper/deep.txt': 4, 'notes.txt': 16,
        'picture.png': len(PICTURE), 'sub/__init__.py': 0, 'sub/own.txt': 17}


def test_a_file_is_opened_in_each_mode(package, child):
    lines, data, latin, as_file, named = child.call(targets_resources.open_modes, 'x_data', 'notes.txt')
    assert lines == ['first\n', 'second \u00e9\n']
    assert data == as_file == (package / 'notes.txt').read_bytes()
    assert latin == data.decode('latin-1')
    assert named


def test_a_file_in_nested_folders(package, child):
    assert child.call(targets_resources.read_text, 'x_data', 'folder', 'deeper', 'deep.txt') == 'deep'
    assert child.call(targets_resources.read_text, 'x_data', 'folder/deeper/deep.txt') == 'deep'


def test_what_is_not_there(package, child):
    assert child.call(targets_resources.why_not, 'x_data', 'missing') == 'FileNotFoundError'
    assert child.call(targets_resources.why_not, 'x_data', 'folder') == 'IsADirectoryError'
    assert child.call(targets_resources.why_not, 'x_data', 'folder', 'missing') == 'FileNotFoundError'
    assert child.call(targets_resources.is_there, 'x_data', 'missing') is False


def test_a_grandchild_reads_too(package, router, child):
    assert router.local(via=child).call(targets_resources.read_text, 'x_data', 'folder', 'inner.txt') == 'inner'


def test_a_namespace_package_of_two_folders(write, child, tmp_path, monkeypatch):
    write({'x_space/one.txt': b'one'})
    (tmp_path / 'more' / 'x_space').mkdir(parents=True)
    (tmp_path / 'more' / 'x_space' / 'two.txt').write_text('two')
    monkeypatch.syspath_prepend(str(tmp_path / 'more'))
    assert child.call(targets_resources.read_text, 'x_space', 'one.txt') == 'one'
    assert child.call(targets_resources.read_text, 'x_space', 'two.txt') == 'two'


# ---- What is not served


@pytest.mark.parametrize('path', ['../secret.txt', 'folder/../../secret.txt', '/etc/passwd', '//etc/passwd', '..', '/',
                                  'folder/../../../..', './../secret.txt', 'link.txt', 'linked/secret.txt', 'linked'])
def test_nothing_outside_of_the_package(package, child, path):
    (package / 'link.txt').symlink_to('../secret.txt')
    (package / 'linked').symlink_to('..')
    assert child.call(targets_imports.import_by_name, 'x_data')
    assert child.call(targets_resources.why_not, 'x_data', path) is not None
    assert answer(child, 'x_data', path) is None


def answer(child, package, path):
    """What the master says to a child that asks without any library in between."""
    return child.call(targets_imports.ask_master, GET_RESOURCE, (package, path))


def test_a_symlink_within_the_package_is_followed(package, child):
    (package / 'inside.txt').symlink_to('folder/inner.txt')
    assert child.call(targets_resources.read_text, 'x_data', 'inside.txt') == 'inner'


@pytest.mark.parametrize('name', ['os', 'json', 'x_data.notes', 'x_nothing', '', '..', '/', 'x_data/..', None, 5,
                                  'mitogen.core'])
def test_nothing_of_what_is_no_package_that_the_master_serves(package, child, name):
    assert answer(child, name, '__init__.py') is None


def test_nothing_of_a_blacklisted_package(package, router):
    router.responder.blacklist_prefix = ['x_data']
    assert answer(router.local(), 'x_data', 'notes.txt') is None


@pytest.mark.parametrize('path', ['sub/own.txt', 'sub', 'sub/__init__.py', 'folder/../sub/own.txt', 'alias/own.txt'])
def test_nothing_of_a_blacklisted_package_by_way_of_the_one_above(package, router, path):
    (package / 'alias').symlink_to('sub')
    router.responder.blacklist_prefix = ['x_data.sub']
    child = router.local()
    assert answer(child, 'x_data', path) is None
    assert answer(child, 'x_data', 'folder/inner.txt') == b'inner'


@pytest.mark.parametrize('path', ['a\0b', 'x' * 5000, '\udcff', 'a\nb', None, 5, b'notes.txt', ['notes.txt']])
def test_strange_paths_are_answered(package, child, path):
    try:
        assert answer(child, 'x_data', path) is None
    except CallError as exc:
        assert 'the master failed to read it' in exc.message


def test_a_file_that_the_master_cannot_read(package, child):
    # A folder entry that is a file and cannot be opened; permissions would not stop root.
    (package / 'broken').symlink_to('/proc/self/mem')
    assert answer(child, 'x_data', 'broken') is None
    os.mkfifo(package / 'pipe')
    assert answer(child, 'x_data', 'pipe') is None      # and does not wait for a writer


def test_the_master_survives_it_all(package, router, child):
    for value in None, 5, (), ('x_data',), ('x_data', 'a', 'b'), 'x_data':
        router.route(Message.pickled(value, dst_id=0, handle=GET_RESOURCE))
    assert child.call(targets_resources.read_text, 'x_data', 'notes.txt').startswith('first')
