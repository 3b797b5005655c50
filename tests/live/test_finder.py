"""finder: every way in which a module can exist in the master, and that looking for it imports nothing."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import types
import zipfile

import pytest

import mitogen.modules.finder
import mitogen.modules.main_guard  # noqa: F401   by the tests, as the finder does it when it is first needed
import support
from mitogen.modules.finder import Finder, NotFound, NotSendable, code_of

EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on sys.path. Names in it begin with x_, so that nothing else has them."""
    path = tmp_path / 'path'
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    return path


@pytest.fixture
def hooks(monkeypatch):
    """sys.meta_path, to put a hook in front of the others for the length of a test."""
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    return sys.meta_path


def write(folder, *names, source='x = 1\n'):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
    importlib.invalidate_caches()


def write_zip(path, *names, source='x = 1\n'):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, '' if name.endswith('/') else source)


class Found(mitogen.modules.finder.Found):
    """What find() returns, if one does not look at its `spec`."""

    def __eq__(self, other):
        return self._replace(spec=None)[:] == other._replace(spec=None)[:]


def find(fullname, finder=None):
    """Find a module, and make sure that nothing was imported for it."""
    before = set(sys.modules)
    try:
        return (finder or Finder()).find(fullname)
    finally:
        # Parts of the standard library load others when they are first used: a codec, for one.
        assert not {name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names}


def refusal(fullname, kind=NotSendable):
    with pytest.raises(kind) as caught:
        find(fullname)
    assert type(caught.value) is kind
    return str(caught.value)


def loaded(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, name, module)
    return module


# ---- Files and folders


def test_a_file(folder):
    write(folder, 'x_a.py', source='# é\n')
    assert find('x_a') == Found('x_a', str(folder / 'x_a.py'), '# é\n'.encode(), False, '')


def test_the_bytes_are_those_of_the_file(folder):
    source = '# coding: latin-1\r\nx = "é"\r\n'.encode('latin-1')
    write(folder, 'x_a.py', source=source)
    assert find('x_a').source == source


def test_a_package(folder):
    write(folder, 'x_a/__init__.py', 'x_a/b.py')
    found = find('x_a')
    assert (found.path, found.is_pkg, found.package) == (str(folder / 'x_a/__init__.py'), True, 'x_a')
    assert found.submodules == ('b',)


def test_a_module_in_packages_that_are_not_loaded(folder):
    write(folder, 'x_a/__init__.py', 'x_a/b/__init__.py', 'x_a/b/c.py', source='raise SystemExit\n')
    found = find('x_a.b.c')
    assert (found.path, found.is_pkg, found.package) == (str(folder / 'x_a/b/c.py'), False, 'x_a.b')
    assert (find('x_a.b').package, find('x_a.b').submodules) == ('x_a.b', ('c',))


def test_the_list_of_submodules_misses_nothing(folder):
    write(folder, *('x_a/' + name for name in [
        '__init__.py', '__main__.py', 'b.py', 'c/__init__.py', 'namespace/deep/d.py', 'e' + EXTENSION, 'f.pyc',
        'text.txt', '__pycache__/b.cpython-313.pyc', '.hidden/g.py', 'not-a-name/h.py']))
    assert find('x_a').submodules == ('__main__', 'b', 'c', 'e', 'f', 'namespace')


def test_a_package_whose_folder_is_gone(folder, monkeypatch):
    write(folder, 'x_a/__init__.py', 'x_a/b.py')
    loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(importlib.util.find_spec('x_a')))
    finder = Finder()
    finder.override('x_a', 'x_a.py', '', True)
    assert find('x_a', finder).submodules == ('b',)
    shutil.rmtree(folder / 'x_a')
    assert find('x_a', finder).submodules == ()


def test_namespace_packages_over_several_folders(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / 'other'))
    write(folder, 'x_a/b.py', 'x_a/deep/c.py')
    write(tmp_path, 'other/x_a/d.py', 'other/x_a/deep/e.py')
    assert find('x_a') == Found('x_a', '', b'', True, 'x_a', ('b', 'd', 'deep'))
    assert find('x_a.deep') == Found('x_a.deep', '', b'', True, 'x_a.deep', ('c', 'e'))
    assert find('x_a.deep.c').path == str(folder / 'x_a/deep/c.py')
    assert find('x_a.deep.e').path == str(tmp_path / 'other/x_a/deep/e.py')


def test_a_namespace_package_that_is_loaded(folder, monkeypatch):
    write(folder, 'x_a/deep/b.py')
    monkeypatch.setattr(sys, 'modules', sys.modules.copy())
    importlib.import_module('x_a.deep')
    assert find('x_a.deep') == Found('x_a.deep', '', b'', True, 'x_a.deep', ('b',))
    assert find('x_a.deep.b').package == 'x_a.deep'


def test_a_namespace_package_within_a_plain_one(folder):
    write(folder, 'x_a/__init__.py', 'x_a/data/b.py')
    assert find('x_a.data').path == ''
    assert find('x_a.data.b').package == 'x_a.data'


def test_a_package_wins_over_folders_before_it(folder, tmp_path, monkeypatch):
    write(tmp_path, 'other/x_a/__init__.py')
    write(folder, 'x_a/b.py')
    monkeypatch.setattr(sys, 'path', [str(folder), str(tmp_path / 'other')])
    assert find('x_a').path == str(tmp_path / 'other/x_a/__init__.py')


def test_the_current_folder(tmp_path, monkeypatch):
    write(tmp_path / 'ignored', 'x_a.py')
    for name in 'one', 'two':
        write(tmp_path / name, 'x_a.py')
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr(sys, 'path', [tmp_path / 'ignored', '', 'missing'])
        assert find('x_a').path == str(tmp_path / name / 'x_a.py')
    (tmp_path / 'two/x_a.py').unlink()
    (tmp_path / 'two').rmdir()
    refusal('x_a', NotFound)


# ---- Zip files


def test_zip_files(tmp_path, monkeypatch):
    archive = tmp_path / 'all.zip'
    # Folders as entries of their own: until Python 3.13 an import sees no namespace package in a zip file without.
    write_zip(archive, 'x_a.py', 'x_b/__init__.py', 'x_b/c.py', 'x_b/space/', 'x_b/space/d.py', 'x_e/', 'x_e/f.py',
              source='# é\n')
    monkeypatch.syspath_prepend(str(archive))
    assert find('x_a') == Found('x_a', f'{archive}/x_a.py', '# é\n'.encode(), False, '')
    assert find('x_b').submodules == ('c', 'space')
    assert find('x_b.c').path == f'{archive}/x_b/c.py'
    assert find('x_e') == Found('x_e', '', b'', True, 'x_e', ('f',))
    assert find('x_b.space.d').package == 'x_b.space'


def test_a_zip_file_with_source_and_code(tmp_path, monkeypatch):
    write(tmp_path, 'x_a.py', 'x_b.py')
    with zipfile.ZipFile(tmp_path / 'all.zip', 'w') as archive:
        for name in 'x_a', 'x_b':
            py_compile.compile(str(tmp_path / (name + '.py')), cfile=str(tmp_path / 'code'))
            archive.write(tmp_path / 'code', name + '.pyc')
        archive.write(tmp_path / 'x_a.py', 'x_a.py')
    monkeypatch.syspath_prepend(str(tmp_path / 'all.zip'))
    found = find('x_a')
    assert (found.path, found.source) == (f'{tmp_path}/all.zip/x_a.py', b'x = 1\n')
    assert 'there is no source of it, only' in refusal('x_b')


def test_a_zip_file_that_goes_away(tmp_path, monkeypatch):
    """It is replaced while the program runs, and what was loaded from it is still known."""
    write_zip(tmp_path / 'all.zip', 'x_b/__init__.py', 'x_b/c.py')
    monkeypatch.syspath_prepend(str(tmp_path / 'all.zip'))
    loaded(monkeypatch, 'x_b', importlib.util.module_from_spec(importlib.util.find_spec('x_b')))
    finder = Finder()
    finder.override('x_b', 'x_b.py', '', True)
    assert find('x_b', finder).submodules == ('c',)
    (tmp_path / 'all.zip').unlink()
    assert find('x_b', finder).submodules == ()
    assert 'its source cannot be read' in refusal('x_b')


# ---- Import hooks


class Hook:
    """Finds one module, in the way of an editable install, and fails where that is asked for."""

    def __init__(self, spec=None, error=None):
        self._spec, self._error = spec, error

    def find_spec(self, fullname, path=None, target=None):
        if self._error and fullname.startswith('x_'):
            raise self._error
        return self._spec if self._spec and self._spec.name == fullname else None


def test_an_editable_install(tmp_path, hooks):
    write(tmp_path, 'src/x_a/__init__.py', 'src/x_a/b.py')
    hooks.insert(0, Hook(importlib.util.spec_from_file_location('x_a', str(tmp_path / 'src/x_a/__init__.py'))))
    assert find('x_a').submodules == ('b',)
    assert find('x_a.b').path == str(tmp_path / 'src/x_a/b.py')


def test_a_hook_that_fails_hides_nothing(folder, hooks):
    write(folder, 'x_a.py')
    hooks.insert(0, Hook(error=KeyError('x_parent')))
    assert find('x_a').package == ''
    assert 'KeyError' in refusal('x_b')


def test_a_hook_that_forbids(folder, hooks):
    write(folder, 'x_a.py')
    hooks.insert(0, Hook(error=ImportError('not in this program')))
    assert 'not in this program' in refusal('x_a', NotFound)


def test_a_hook_of_old(folder, hooks):
    write(folder, 'x_a.py')
    hooks.insert(0, object())
    assert find('x_a').package == ''


class TextLoader:
    """Has modules in memory, as programs do that were packed into one file."""

    def __init__(self, text):
        self._text = text

    def get_source(self, fullname):
        if isinstance(self._text, Exception):
            raise self._text
        return self._text


def text_spec(text, origin=None):
    return importlib.machinery.ModuleSpec('x_a', TextLoader(text), origin=origin)


@pytest.mark.parametrize('text, source', [
    ('x = "é"\n', 'x = "é"\n'.encode()),
    ('\ufeffx = 1\n', b'x = 1\n'),
    ('# coding: latin-1\nx = "é"\n', '# coding: latin-1\nx = "é"\n'.encode('latin-1')),
    ('# coding: nonsense\n', b'# coding: nonsense\n'),
    ('# coding: ascii\nx = "é"\n', '# coding: ascii\nx = "é"\n'.encode()),
])
def test_a_loader_that_has_text(hooks, text, source):
    hooks.insert(0, Hook(text_spec(text)))
    assert find('x_a') == Found('x_a', '<x_a>', source, False, '')


def test_where_the_text_is_from(hooks):
    hooks.insert(0, Hook(text_spec('x = 1\n', origin='memory:x_a')))
    assert find('x_a').path == 'memory:x_a'


@pytest.mark.parametrize('error', [ImportError('lost'), OSError('lost'), SyntaxError('lost'),
                                   UnicodeDecodeError('utf-8', b'', 0, 0, 'lost')])
def test_a_loader_that_cannot_read(hooks, error):
    hooks.insert(0, Hook(text_spec(error)))
    assert 'its source cannot be read: ' in refusal('x_a')
    assert 'lost' in refusal('x_a')


def test_a_loader_without_source(hooks):
    hooks.insert(0, Hook(text_spec(None)))
    assert 'there is no source of it, only what <' in refusal('x_a')


def test_a_loader_with_nothing_but_a_file_name(tmp_path, hooks):
    """Pytest's own is one, by which test modules are loaded."""
    write(tmp_path, 'x_a.py')
    hooks.insert(0, Hook(importlib.util.spec_from_file_location('x_a', str(tmp_path / 'x_a.py'), loader=object())))
    assert find('x_a').source == b'x = 1\n'
    hooks.insert(0, Hook(importlib.util.spec_from_file_location('x_a', str(tmp_path / 'x_a.bin'), loader=object())))
    assert f'only {tmp_path}/x_a.bin' in refusal('x_a')


def test_this_module():
    assert find(__name__).source == pathlib.Path(__file__).read_bytes()


class Shelf:
    """What finds modules in a place that is no folder, and does not tell what is there."""

    def __init__(self, entry):
        if not entry.startswith('shelf:'):
            raise ImportError

    def find_spec(self, fullname, target=None):
        return None


class OpenShelf(Shelf):
    def iter_modules(self, prefix=''):
        yield prefix + 'b', False


@pytest.fixture
def package_on_shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path_importer_cache', {})
    module = loaded(monkeypatch, 'x_a', types.ModuleType('x_a'))
    module.__spec__ = text_spec('')
    module.__spec__.submodule_search_locations = []
    module.__path__ = ['shelf:x_a', 'nowhere:x_a', str(tmp_path / 'missing')]


def test_submodules_of_which_only_a_hook_knows(package_on_shelf, monkeypatch):
    monkeypatch.setattr(sys, 'path_hooks', [OpenShelf, *sys.path_hooks])
    assert (find('x_a').submodules, find('x_a').complete) == (('b',), True)


def test_a_hook_that_does_not_tell_what_it_has(package_on_shelf, monkeypatch):
    monkeypatch.setattr(sys, 'path_hooks', [Shelf, *sys.path_hooks])
    assert (find('x_a').submodules, find('x_a').complete) == ((), False)


def test_what_is_loaded_is_listed(package_on_shelf, monkeypatch):
    monkeypatch.setattr(sys, 'path_hooks', [Shelf, *sys.path_hooks])
    for name in 'x_a.c', 'x_a.d':
        loaded(monkeypatch, name, types.ModuleType(name)).__spec__ = importlib.machinery.ModuleSpec('x_a.c', None)
    loaded(monkeypatch, 'x_a.e', None)
    assert find('x_a').submodules == ('c',)


# ---- What is loaded


def test_what_is_loaded_tells_where_it_is_from(folder, tmp_path, monkeypatch):
    write(folder, 'x_a.py')
    write(tmp_path, 'elsewhere.py', source='y = 2\n')
    spec = importlib.util.spec_from_file_location('x_a', str(tmp_path / 'elsewhere.py'))
    loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(spec))
    assert (find('x_a').path, find('x_a').source) == (str(tmp_path / 'elsewhere.py'), b'y = 2\n')


def test_a_path_that_was_changed_at_run_time(folder, tmp_path, monkeypatch):
    write(folder, 'x_a/__init__.py', 'x_a/b.py')
    write(tmp_path, 'plugins/c.py')
    module = loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(importlib.util.find_spec('x_a')))
    module.__path__ = [*module.__path__, str(tmp_path / 'plugins')]
    assert find('x_a.c').path == str(tmp_path / 'plugins/c.py')
    assert find('x_a').submodules == ('b', 'c')


def test_where_its_package_is_can_be_known(folder, tmp_path, monkeypatch):
    write(folder, 'x_a/__init__.py', 'x_a/b.py')
    write(tmp_path, 'known/b.py', 'loaded/b.py')
    known = [str(tmp_path / 'known')]
    assert Finder().find('x_a.b', known).path == str(tmp_path / 'known/b.py')
    assert Finder().find('x_a.b', Finder().find('x_a').folders).path == str(folder / 'x_a/b.py')
    module = loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(importlib.util.find_spec('x_a')))
    module.__path__ = [str(tmp_path / 'loaded')]
    assert Finder().find('x_a.b', known).path == str(tmp_path / 'loaded/b.py'), 'it has been loaded since then'


def test_a_second_name(folder, monkeypatch):
    write(folder, 'x_a.py', 'x_b.py')
    loaded(monkeypatch, 'x_b', importlib.util.module_from_spec(importlib.util.find_spec('x_a')))
    loaded(monkeypatch, 'x_c', sys.modules['x_b'])
    assert find('x_b').path == str(folder / 'x_b.py')
    assert 'made it at run time' in refusal('x_c')


def test_an_object_in_place_of_a_module(folder, monkeypatch):
    write(folder, 'x_a.py')
    loaded(monkeypatch, 'x_a', 5)
    assert find('x_a').path == str(folder / 'x_a.py')


def test_none_in_place_of_a_module(folder, monkeypatch):
    write(folder, 'x_a.py')
    loaded(monkeypatch, 'x_a', None)
    assert 'sys.modules has None' in refusal('x_a', NotFound)


def test_a_lazy_module_is_not_woken(folder, monkeypatch):
    write(folder, 'x_a.py', source='raise SystemExit\n')
    spec = importlib.util.find_spec('x_a')
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    assert find('x_a').source == b'raise SystemExit\n'


# ---- Refusals


@pytest.mark.parametrize('name', ['x_nothing', 'x_nothing.a', '', '.', '.a', 'a.', 'a..b', 'x_a.b', 'x_a/b', 'x_a.\0'])
def test_what_is_not_there(folder, name):
    write(folder, 'x_a.py')
    assert 'the master has no module of this name' in refusal(name, NotFound)


@pytest.mark.parametrize('name', ['x_a./etc/x', 'x_a.../b', 'x_a.c/../../b', 'x_a.c\\b'])
def test_names_that_are_paths(folder, name):
    write(folder, 'x_a/__init__.py', 'x_a/c/__init__.py', 'x_a/c/b.py', 'b.py')
    refusal(name, NotFound)


def test_a_module_is_no_package(folder):
    write(folder, 'x_a.py')
    assert refusal('x_a.b', NotFound) == 'x_a: the master has no module of this name: x_a is not a package'


@pytest.mark.parametrize('name', ['os', 'os.path', 'json', 'sys', 'xml.dom.minidom', '_socket'])
def test_the_standard_library_is_never_served(name):
    assert 'standard library' in refusal(name)


def test_compiled_extensions(folder):
    write(folder, 'x_a' + EXTENSION)
    assert f'compiled extension ({folder}/x_a{EXTENSION})' in refusal('x_a')
    assert refusal('x_a').endswith('install it on the target')


def test_built_in_modules():
    assert 'built into the interpreter' in refusal('__hello__')


def test_code_without_source(folder):
    write(folder, 'x_a.py')
    py_compile.compile(str(folder / 'x_a.py'), cfile=str(folder / 'x_a.pyc'))
    (folder / 'x_a.py').unlink()
    importlib.invalidate_caches()
    assert f'there is no source of it, only {folder}/x_a.pyc' in refusal('x_a')


def test_a_file_that_is_gone(folder, monkeypatch):
    write(folder, 'x_a.py')
    loaded(monkeypatch, 'x_a', importlib.util.module_from_spec(importlib.util.find_spec('x_a')))
    (folder / 'x_a.py').unlink()
    assert 'its source cannot be read' in refusal('x_a')


# ---- Overrides


def test_overrides_come_first(folder):
    write(folder, 'x_a/__init__.py', 'x_a/b.py')
    finder = Finder()
    finder.override('x_a', '/tmp/x_a.py', 'x = "é"\n', True)
    finder.override('x_a.c', '<c>', b'y = 1\n', False)
    finder.override('x_a.d.e', '<e>', b'', False)
    assert find('x_a', finder) == Found('x_a', '/tmp/x_a.py', 'x = "é"\n'.encode(), True, 'x_a', ('b', 'c', 'd'))
    assert find('x_a.c', finder) == Found('x_a.c', '<c>', b'y = 1\n', False, 'x_a')
    assert find('x_a.b', finder).path == str(folder / 'x_a/b.py')


def test_an_override_of_what_is_not_there():
    finder = Finder()
    finder.override('x_a', 'x_a/__init__.py', '', True)
    finder.override('x_a.b', 'x_a/b.py', '', False)
    assert find('x_a', finder).submodules == ('b',)


def test_overrides_may_replace_even_what_is_never_served():
    finder = Finder()
    for name in 'json', '__main__':
        finder.override(name, 'x.py', 'main()\n', False)
        assert find(name, finder).source == b'main()\n'


# ---- Code


def test_code_is_taken_from_the_file_that_has_it(folder):
    write(folder, 'x_a.py', source='old = 1\n')
    py_compile.compile(str(folder / 'x_a.py'), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    write(folder, 'x_a.py', source='new = 1\n')
    assert code_of(find('x_a')).co_names == ('old',)


def test_code_of_what_has_none_in_a_file(folder, hooks):
    finder = Finder()
    finder.override('x_b', 'b.py', b'x = 1\n', False)
    code = code_of(find('x_b', finder))
    assert (code.co_names, code.co_filename) == (('x',), 'b.py')
    hooks.insert(0, Hook(text_spec('y = 1\n')))
    assert code_of(find('x_a')).co_names == ('y',)
    write(folder, 'x_space/z.py')
    assert code_of(find('x_space')).co_names == ()


def test_code_of_a_file_that_is_gone(folder):
    write(folder, 'x_a.py')
    found = find('x_a')
    (folder / 'x_a.py').unlink()
    assert code_of(found).co_names == ('x',)


@pytest.mark.parametrize('source', ['def f(:\n', 'x = 1\0\n'])
def test_code_of_what_is_no_python(folder, source):
    write(folder, 'x_a.py', source=source)
    with pytest.raises(SyntaxError):
        code_of(find('x_a'))


# ---- The main program

REPORT = '''
import json, sys
from mitogen.modules.finder import Finder, NotSendable, code_of
try:
    found = Finder().find('__main__')
except NotSendable as exc:
    report = exc.reason
else:
    report = [found.path, found.package, found.is_pkg, found.source.decode(), code_of(found).co_names]
'''

SCRIPT = REPORT + '''
if __name__ == '__main__':
    print(json.dumps(report))
'''


def report_of(*arguments, cwd, stdin=''):
    """What a program that is started like this finds when it looks for itself."""
    environment = {**os.environ, 'PYTHONPATH': support.import_path(), 'PYTHONDONTWRITEBYTECODE': '1'}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, input=stdin,
                          stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize('arguments, path, package', [
    (['x_main.py'], 'x_main.py', ''),
    (['x_script'], 'x_script', ''),
    (['./x_pkg/x_mod.py'], 'x_pkg/x_mod.py', ''),
    (['-m', 'x_main'], 'x_main.py', ''),
    (['-m', 'x_pkg.x_mod'], 'x_pkg/x_mod.py', 'x_pkg'),
    (['-m', 'x_pkg'], 'x_pkg/__main__.py', 'x_pkg'),
    (['x_folder'], 'x_folder/__main__.py', ''),
    (['all.zip'], 'all.zip/__main__.py', ''),
])
def test_main_programs(tmp_path, arguments, path, package):
    write(tmp_path, 'x_main.py', 'x_script', 'x_pkg/__init__.py', 'x_pkg/x_mod.py', 'x_pkg/__main__.py',
          'x_folder/__main__.py', source=SCRIPT)
    write_zip(tmp_path / 'all.zip', '__main__.py', source=SCRIPT)
    found_path, found_package, is_pkg, source, names = report_of(*arguments, cwd=tmp_path)
    assert (pathlib.Path(tmp_path, found_path), found_package, is_pkg) == (tmp_path / path, package, False)
    assert source == SCRIPT.replace("__name__ == '__main__'", '0'.ljust(len("__name__ == '__main__'")))
    assert '__name__' not in names


@pytest.mark.parametrize('arguments, stdin', [(['-c', REPORT + 'print(json.dumps(report))'], ''),
                                              (['-'], REPORT + 'print(json.dumps(report))')])
def test_main_programs_without_a_file(tmp_path, arguments, stdin):
    assert 'there is no file to read it from' in report_of(*arguments, cwd=tmp_path, stdin=stdin)


def test_a_main_program_started_as_a_module(folder, monkeypatch):
    write(folder, 'x_a/__init__.py', 'x_a/b.py', source="if __name__ == '__main__': main()\n")
    main = loaded(monkeypatch, '__main__', types.ModuleType('__main__'))
    main.__spec__ = importlib.util.spec_from_file_location('x_a.b', str(folder / 'x_a/b.py'))
    found = find('__main__')
    assert found == Found('__main__', str(folder / 'x_a/b.py'), found.source, False, 'x_a')
    assert found.source == b'if 0                     : main()\n'


@pytest.mark.parametrize('name', ['timeit', 'json.tool'])
def test_a_main_program_of_the_standard_library(monkeypatch, name):
    main = loaded(monkeypatch, '__main__', types.ModuleType('__main__'))
    main.__spec__ = importlib.machinery.ModuleSpec(name, None)
    assert f'is {name} of the standard library' in refusal('__main__')


def test_a_main_script_without_guard(tmp_path):
    write(tmp_path, 'x_main.py', source=REPORT + 'print(json.dumps(report))')
    assert "if __name__ == '__main__':" in report_of('x_main.py', cwd=tmp_path)


@pytest.mark.parametrize('name', ['x_main.py', 'x_script'])
def test_a_main_script_that_is_gone(monkeypatch, tmp_path, name):
    module = loaded(monkeypatch, '__main__', types.ModuleType('__main__'))
    module.__file__ = str(tmp_path / name)
    assert 'its source cannot be read' in refusal('__main__')


def test_a_main_script_that_says_what_package_it_is_in(monkeypatch, folder):
    write(folder, 'x_a.py')
    module = loaded(monkeypatch, '__main__', types.ModuleType('__main__'))
    module.__file__, module.__package__ = str(folder / 'x_a.py'), 'x_pkg'
    assert find('__main__') == Found('__main__', str(folder / 'x_a.py'), b'x = 1\n', False, 'x_pkg')


# ---- Against a second opinion: what an import of the same names gives

COMPARE = '''
import importlib, json, sys
from mitogen.modules.finder import Finder, NotSendable, NotFound

def walk(name):
    try:
        found = finder.find(name)
    except (NotSendable, NotFound):
        return
    yield found
    for child in found.submodules:
        yield from walk(f'{name}.{child}')

finder = Finder()
before = set(sys.modules)
found = [found for name in sys.argv[1:] for found in walk(name)]
imported = sorted(set(sys.modules) - before)
wrong = []
for one in found:
    if one.fullname.endswith('__main__'):
        continue
    try:
        module = importlib.import_module(one.fullname)
    except Exception:
        continue
    facts = getattr(module, '__file__', None) or '', hasattr(module, '__path__'), module.__package__
    if facts != (one.path, one.is_pkg, one.package):
        wrong.append((one.fullname, facts, one.path, one.is_pkg, one.package))
print(json.dumps([len(found), imported, wrong]))
'''


def test_large_packages(tmp_path):
    count, imported, wrong = report_of('-c', COMPARE, '_pytest', 'hypothesis', 'homegrown', 'mitogen', cwd=tmp_path)
    assert count > 150
    assert not imported
    assert not wrong
