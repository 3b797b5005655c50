"""library: in which forms modules are kept, and what is done for each."""

import marshal
import sys
import zlib

import pytest

from mitogen.modules import library
from mitogen.modules.library import CODE, FOUND, TEXT, Library

SOURCE = b'# a comment\nx = 5\ndef f():\n    return x\n'


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a module to a folder on sys.path. Names begin with y_, so that nothing else has them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, source=SOURCE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
        return str(path)
    return write


def test_the_forms_of_a_module(write):
    path, served = write('y_a.py'), Library()
    found, text, code = (served.module('y_a', form) for form in (FOUND, TEXT, CODE))
    assert found.source == zlib.decompress(text.source) == SOURCE
    assert (found.compiled, text.compiled, code.compiled) == (False, False, True)
    assert {(one.fullname, one.path, one.submodules, one.package) for one in (found, text, code)} == {
        ('y_a', path, None, '')}
    names = {}
    exec(marshal.loads(zlib.decompress(code.source)), names)
    assert names['f']() == 5 and names['f'].__code__.co_filename == 'master:' + path


def test_text_is_not_compressed_for_those_who_take_code(write, monkeypatch):
    write('y_a.py')
    compressed = []
    compress = zlib.compress
    monkeypatch.setattr(zlib, 'compress', lambda data, level: compressed.append(data) or compress(data, level))
    served = Library()
    assert [served.module('y_a', CODE).compiled for _ in range(2)] == [True, True]
    assert len(compressed) == 1 and SOURCE not in compressed
    assert served.module('y_a', TEXT) is served.module('y_a', TEXT)
    assert compressed[1:] == [SOURCE]


@pytest.mark.parametrize('source', [b'x =', b'\0', b'print 1'])
def test_what_is_no_python_here_goes_as_text(write, source):
    write('y_a.py', source)
    module = Library().module('y_a', CODE)
    assert not module.compiled and zlib.decompress(module.source) == source


def test_what_optimized_python_would_make_is_no_code_for_a_child(write, monkeypatch):
    monkeypatch.setattr(library, 'sys', type('flags', (), {'flags': type('', (), {'optimize': 2})}))
    write('y_a.py', b'"""Words."""\nassert False\n')
    code = marshal.loads(zlib.decompress(Library().module('y_a', CODE).source))
    assert code.co_consts[0] == 'Words.'
    with pytest.raises(AssertionError):
        exec(code, {})


def test_it_is_served_as_it_was_found_first(write):
    write('y_a.py')
    served = Library()
    served.module('y_a')
    write('y_a.py', b'x = 6\n')
    assert zlib.decompress(served.module('y_a', TEXT).source) == SOURCE


def test_an_override_replaces_all_forms(write):
    write('y_a/__init__.py')
    write('y_a/b.py')
    served = Library()
    for form in FOUND, TEXT, CODE:
        assert served.module('y_a.b', form).source and served.module('y_a', form).source
    served.override('y_a', 'elsewhere', b'y = 1', is_pkg=True)
    assert served.module('y_a').source == zlib.decompress(served.module('y_a', TEXT).source) == b'y = 1'
    assert b'elsewhere' in zlib.decompress(served.module('y_a', CODE).source)


def test_a_package_is_looked_for_once(write, monkeypatch):
    for name in 'y_a/__init__.py', 'y_a/b/__init__.py', 'y_a/b/c.py', 'y_a/b/d.py':
        write(name)
    asked = []

    class Hook:
        @staticmethod
        def find_spec(fullname, path=None):
            asked.append(fullname)
    monkeypatch.setattr(sys, 'meta_path', [Hook, *sys.meta_path])
    served = Library()
    names = ['y_a', 'y_a.b', 'y_a.b.c', 'y_a.b.d']
    assert all(served.module(name, CODE).compiled for name in names)
    assert sorted(asked) == names


def test_modules_come_as_soon_as_they_are_found(write):
    write('y_a.py', b'import y_b')
    modules = Library().closure(['y_a'], [], lacking=True)
    assert next(module for module in modules if module.source is not None).fullname == 'y_a'
    write('y_b.py')
    assert 'y_b' in [module.fullname for module in modules if module.source is not None]
