"""library: in which forms modules are kept, and what is done for each."""

import importlib
import marshal
import sys
import zlib

import pytest

from mitogen.modules import library
from mitogen.modules.library import CODE, FOUND, TEXT, Library

SOURCE = b'# a comment\nx = 5\ndef f():\n    return x\n'


def test_the_forms_of_a_module(write):
    path, served = str(write({'y_a.py': SOURCE}) / 'y_a.py'), Library()
    found, text, code = (served.module('y_a', form) for form in (FOUND, TEXT, CODE))
    assert found.source == zlib.decompress(text.source) == SOURCE
    assert (found.compiled, text.compiled, code.compiled) == (False, False, True)
    assert {(one.fullname, one.path, one.submodules, one.package) for one in (found, text, code)} == {
        ('y_a', path, None, '')}
    names = {}
    exec(marshal.loads(zlib.decompress(code.source)), names)
    assert names['f']() == 5 and names['f'].__code__.co_filename == 'master:' + path


def test_text_is_not_compressed_for_those_who_take_code(write, monkeypatch):
    write({'y_a.py': SOURCE})
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
    write({'y_a.py': source})
    module = Library().module('y_a', CODE)
    assert not module.compiled and zlib.decompress(module.source) == source


def test_what_optimized_python_would_make_is_no_code_for_a_child(write, monkeypatch):
    monkeypatch.setattr(library, 'sys', type('flags', (), {'flags': type('', (), {'optimize': 2})}))
    write({'y_a.py': b'"""Words."""\nassert False\n'})
    code = marshal.loads(zlib.decompress(Library().module('y_a', CODE).source))
    assert code.co_consts[0] == 'Words.'
    with pytest.raises(AssertionError):
        exec(code, {})


def test_the_text_is_that_which_was_found_first(write):
    write({'y_a.py': SOURCE})
    served = Library()
    served.module('y_a')
    write({'y_a.py': b'x = 6\n'})
    assert zlib.decompress(served.module('y_a', TEXT).source) == SOURCE


def test_an_override_replaces_all_forms(write):
    write({'y_a/__init__.py': '', 'y_a/b.py': 'x = 1'})
    served = Library()
    for form in FOUND, TEXT, CODE:
        assert served.module('y_a.b', form).source and served.module('y_a', form).source is not None
    served.override('y_a', 'elsewhere', b'y = 1', is_pkg=True)
    assert served.module('y_a').source == zlib.decompress(served.module('y_a', TEXT).source) == b'y = 1'
    assert b'elsewhere' in zlib.decompress(served.module('y_a', CODE).source)


def test_a_package_is_looked_for_once(write, monkeypatch):
    write(dict.fromkeys(['y_a/__init__.py', 'y_a/b/__init__.py', 'y_a/b/c.py', 'y_a/b/d.py'], SOURCE))
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
    write({'y_a.py': 'import y_b'})
    modules = Library().closure(['y_a'], [], lacking=True)
    assert next(module for module in modules if module.source is not None).fullname == 'y_a'
    write({'y_b.py': SOURCE})
    assert 'y_b' in [module.fullname for module in modules if module.source is not None]


def test_where_a_package_of_many_folders_was_does_not_depend_on_what_is_loaded(write):
    write({'y_a/b/c.py': SOURCE, 'y_a/b/d.py': SOURCE})
    importlib.import_module('y_a.b')
    served = Library()
    assert served.module('y_a.b').submodules == ['c', 'd'] and served.module('y_a.b.c').source == SOURCE
    del sys.modules['y_a.b'], sys.modules['y_a']
    assert served.module('y_a.b.d').source == SOURCE


def test_modules_are_counted_once_in_whatever_forms(write):
    write({'y_a.py': SOURCE})
    served = Library()
    assert [served.module('y_a', form).fullname for form in (FOUND, TEXT, CODE)] and len(served) == 1
