"""What a module is like in a child that got it from the master: as any other, down to its source lines."""

import importlib

import pytest

import mitogen
import targets_imports
from mitogen.core import CallError

ATTRIBUTES = targets_imports.attributes


def why_not(child, name):
    return child.call(targets_imports.why_not, name)


MOD = '''"""Text."""

from . import VALUE


def fail():
    raise ValueError("from far away")   # here
'''


@pytest.fixture
def package(write):
    """A package with a module, a subpackage and a namespace package in it; returns its folder."""
    return write({
        'x_pkg/__init__.py': 'VALUE = 1\n',
        'x_pkg/mod.py': MOD,
        'x_pkg/sub/__init__.py': 'from .. import mod\nfrom ..mod import VALUE as V\n',
        'x_pkg/sub/deep.py': 'from .. import VALUE\nfrom ..mod import fail\n',
        'x_pkg/space/inner.py': 'VALUE = 2\n',
    }) / 'x_pkg'


# ---- Attributes


def test_the_library_itself(other):
    """A child's `mitogen` is no file, but has all names of ours."""
    assert other.call(targets_imports.library) == (mitogen.__version__, False, other.context_id, 0, [0])


def test_attributes_of_a_package(package, child):
    found = child.call(ATTRIBUTES, 'x_pkg')
    origin = 'master:%s/__init__.py' % package
    assert found == {'name': 'x_pkg', 'file': origin, 'package': 'x_pkg', 'path': [], 'loader': 'Importer',
                     'spec': ('x_pkg', origin, 'x_pkg', True, True)}


def test_attributes_of_a_module(package, other):
    found = other.call(ATTRIBUTES, 'x_pkg.sub.deep')
    origin = 'master:%s/sub/deep.py' % package
    assert found == {'name': 'x_pkg.sub.deep', 'file': origin, 'package': 'x_pkg.sub', 'path': None,
                     'loader': 'Importer', 'spec': ('x_pkg.sub.deep', origin, 'x_pkg.sub', False, True)}


def test_attributes_of_a_module_that_is_in_no_package(write, child):
    folder = write({'x_top.py': ''})
    found = child.call(ATTRIBUTES, 'x_top')
    assert (found['package'], found['file']) == ('', 'master:%s/x_top.py' % folder)


def test_a_spec_is_found_without_running_anything(write, child):
    write({'x_runs.py': 'raise RuntimeError\n'})
    assert child.call(targets_imports.find_spec, 'x_runs') is True
    assert child.call(targets_imports.find_spec, 'x_does_not_exist') is False


def test_reload(package, child):
    assert child.call(targets_imports.reload, 'x_pkg.mod') == 'x_pkg.mod'


# ---- Source


def test_inspect_shows_the_source(package, other):
    text = (package / 'mod.py').read_text()
    assert other.call(targets_imports.source_of, 'x_pkg.mod') == text
    assert other.call(targets_imports.source_of, 'x_pkg.mod', 'fail') == text[text.index('def fail'):]


def test_a_traceback_has_the_source_lines(package, other):
    text = other.call(targets_imports.traceback_of, 'x_pkg.mod', 'fail')
    assert 'File "master:%s/mod.py", line 7, in fail' % package in text
    assert 'raise ValueError("from far away")   # here' in text


def test_the_error_of_a_call_has_them_too(package, other):
    with pytest.raises(CallError) as caught:
        other.call(importlib.import_module('x_pkg.mod').fail)
    assert 'raise ValueError("from far away")   # here' in caught.value.remote_traceback


def test_source_in_another_encoding(write, child):
    write({'x_latin.py': '# -*- coding: latin-1 -*-\nVALUE = "\xe9"\n'.encode('latin-1')})
    assert child.call(targets_imports.value_of, 'x_latin', 'VALUE') == '\xe9'
    assert 'VALUE = "\xe9"' in child.call(targets_imports.source_of, 'x_latin')


def test_source_with_a_byte_order_mark_and_windows_line_ends(write, child):
    write({'x_windows.py': b'\xef\xbb\xbfVALUE = "\xc3\xa9"\r\n\r\ndef f():\r\n    return 1\r\n'})
    assert child.call(targets_imports.value_of, 'x_windows', 'VALUE') == '\xe9'
    assert child.call(targets_imports.source_of, 'x_windows', 'f') == 'def f():\n    return 1\n'


def test_an_empty_module(write, child):
    write({'x_empty.py': ''})
    assert child.call(targets_imports.attributes, 'x_empty')['name'] == 'x_empty'


def test_a_module_whose_code_is_too_deep_for_the_compiler(write, child):
    write({'x_deep_code.py': 'VALUE = ' + '+'.join(['1'] * 20000) + '\n'})
    error = why_not(child, 'x_deep_code')
    assert error is None or error[0] in ('RecursionError', 'MemoryError', 'SyntaxError')


def test_a_big_module(write, child):
    write({'x_big.py': 'VALUES = [\n' + '    "some text",\n' * 100000 + ']\n'})
    assert len(child.call(targets_imports.value_of, 'x_big', 'VALUES')) == 100000


# ---- How modules import each other


def test_relative_imports(package, child):
    assert child.call(targets_imports.value_of, 'x_pkg.sub', 'V') == 1
    assert child.call(targets_imports.value_of, 'x_pkg.sub.deep', 'VALUE') == 1


def test_a_relative_import_that_leaves_the_package(write, child):
    write({'x_pkg/__init__.py': '', 'x_pkg/mod.py': 'from ... import nothing\n'})
    assert why_not(child, 'x_pkg.mod')[0] in ('ImportError', 'ValueError')


def test_modules_that_import_each_other(write, child):
    write({'x_ring/__init__.py': '', 'x_ring/b.py': 'import x_ring.a\nB = 2\n',
           'x_ring/a.py': 'import x_ring.b\nA = 1\n\ndef total():\n    return A + x_ring.b.B\n'})
    assert child.call(importlib.import_module('x_ring.a').total) == 3


def test_a_circle_that_does_not_work_fails_as_it_does_here(write, child):
    write({'x_ring/__init__.py': '', 'x_ring/a.py': 'from x_ring.b import B\nA = 1\n',
           'x_ring/b.py': 'from x_ring.a import A\n'})
    with pytest.raises(ImportError) as here:
        importlib.import_module('x_ring.a')
    name, text = why_not(child, 'x_ring.a')
    assert name == 'ImportError'
    assert text.partition('(')[0] == str(here.value).partition('(')[0]


def test_star_imports(write, child):
    write({'x_star/__init__.py': '__all__ = ["mod"]\n', 'x_star/mod.py': 'VALUE = 3\n',
           'x_user.py': 'from x_star import *\nVALUE = mod.VALUE\n'})
    assert child.call(targets_imports.value_of, 'x_user', 'VALUE') == 3


def test_a_package_that_imports_lazily(write, child):
    # PEP 562, Python 3.7.
    write({'x_lazy/__init__.py': """
        def __getattr__(name):
            import importlib
            return importlib.import_module('x_lazy.' + name)
        """, 'x_lazy/part.py': 'VALUE = 4\n', 'x_user.py': 'import x_lazy\nVALUE = x_lazy.part.VALUE\n'})
    assert child.call(targets_imports.value_of, 'x_user', 'VALUE') == 4


def test_a_module_that_replaces_itself(write, child):
    write({'x_chameleon.py': """
        import sys

        class Thing:
            VALUE = 5
        sys.modules[__name__] = Thing()
        """})
    assert child.call(targets_imports.value_of, 'x_chameleon', 'VALUE') == 5


def test_a_module_found_by_a_name_made_up_at_run_time(write, child):
    write({'x_plugins/__init__.py': '', **{'x_plugins/p%d.py' % n: 'VALUE = %d\n' % n for n in range(5)},
           'x_user.py': """
        import importlib
        import pkgutil
        import x_plugins

        def values():
            return [importlib.import_module('x_plugins.p%d' % n).VALUE for n in range(5)]
        """})
    assert child.call(importlib.import_module('x_user').values) == [0, 1, 2, 3, 4]


# ---- Namespace packages


def test_a_namespace_package(write, other):
    write({'x_space/one/__init__.py': 'VALUE = 1\n', 'x_space/two.py': 'VALUE = 2\n',
           'x_space/three/inner.py': 'VALUE = 3\n'})
    values = [other.call(targets_imports.value_of, name, 'VALUE')
              for name in ('x_space.one', 'x_space.two', 'x_space.three.inner')]
    assert values == [1, 2, 3]
    assert other.call(targets_imports.attributes, 'x_space')['package'] == 'x_space'
    assert why_not(other, 'x_space.missing')[0] == 'ModuleNotFoundError'


def test_a_namespace_package_in_two_folders(write, child, tmp_path, monkeypatch):
    write({'x_space/one.py': 'VALUE = 1\n'})
    (tmp_path / 'more' / 'x_space').mkdir(parents=True)
    (tmp_path / 'more' / 'x_space' / 'two.py').write_text('VALUE = 2\n')
    monkeypatch.syspath_prepend(str(tmp_path / 'more'))
    assert child.call(targets_imports.value_of, 'x_space.one', 'VALUE') == 1
    assert child.call(targets_imports.value_of, 'x_space.two', 'VALUE') == 2


def test_a_namespace_package_of_which_the_child_has_a_part(write, child, tmp_path):
    write({'x_space/ours.py': 'VALUE = "master"\n'})
    own = tmp_path / 'own' / 'x_space'
    own.mkdir(parents=True)
    (own / 'theirs.py').write_text('VALUE = "child"\n')
    child.call(targets_imports.add_path, str(own.parent))
    assert child.call(targets_imports.value_of, 'x_space.theirs', 'VALUE') == 'child'
    assert child.call(targets_imports.value_of, 'x_space.ours', 'VALUE') == 'master'


def test_a_function_in_a_namespace_package_is_called(write, child, asked):
    write({'x_space/part/mod.py': 'from . import helper\n\ndef f():\n    return helper.VALUE\n',
           'x_space/part/helper.py': 'VALUE = 6\n'})
    assert child.call(importlib.import_module('x_space.part.mod').f) == 6
    assert asked == []
