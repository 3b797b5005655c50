"""Modules that only the master has: how many questions they cost, and who is served what."""

import importlib
import itertools
import os
import py_compile

import pytest

import mitogen.modules.finder
import targets
import targets_imports
from mitogen.core import CallError

# In a package: three packages in each package, three levels below the top, and modules in the last of them.
LEVELS = ['a', 'b', 'c']


def deep_package():
    """{file: source} of a package of 121 modules, 4 levels deep, of which each import loads all."""
    sources = {}
    for depth in range(4):
        for path in itertools.product(LEVELS, repeat=depth):
            below = LEVELS if depth < 3 else ['m0', 'm1', 'm2']
            sources['/'.join(['x_deep', *path, '__init__.py'])] = ''.join('from . import %s\n' % name for name in below)
    for path in itertools.product(LEVELS, repeat=3):
        for name in 'm0', 'm1', 'm2':
            sources['/'.join(['x_deep', *path, name + '.py'])] = COUNT
    return sources


COUNT = """
    import sys

    def count():
        return sum(name.split('.')[0] == 'x_deep' for name in sys.modules)
    """


def function(module, name):
    return getattr(importlib.import_module(module), name)


def why_not(child, name):
    return child.call(targets_imports.why_not, name)


@pytest.fixture
def warm(child):
    """A child that has the tests' own functions already, so that what follows is not theirs."""
    child.call(targets_imports.current_folder)
    return child


# ---- What it costs


def test_the_first_call_into_a_package_of_120_modules_asks_nothing(write, child, asked):
    sources = deep_package()
    write(sources)
    assert len(sources) >= 120
    count = function('x_deep.b.a.c.m1', 'count')
    assert child.call(count) == len(sources)
    assert asked == []


def test_importing_it_by_name_asks_once(write, warm, asked):
    write(deep_package())
    assert warm.call(targets_imports.import_by_name, 'x_deep.c.c.a.m2')
    assert warm.call(targets_imports.loaded_below, 'x_deep') == len(deep_package())
    assert asked == ['x_deep']


def test_what_functions_import_when_they_run_comes_with_the_call(write, child, asked):
    write({'x_late/__init__.py': '', 'x_late/start.py': """
        def run():
            from . import helper
            import x_late.sub.other
            return helper.VALUE + x_late.sub.other.VALUE
        """, 'x_late/helper.py': 'VALUE = 1\n', 'x_late/sub/__init__.py': '', 'x_late/sub/other.py': 'VALUE = 10\n'})
    assert child.call(function('x_late.start', 'run')) == 11
    assert asked == []


TWO_MODULES = {'x_p/__init__.py': '', 'x_p/b.py': 'x = 5', 'x_p/a.py': """
    def f():
        import x_p.b
        return x_p.b.x
    """}


def test_a_compiled_file_that_was_cut_off(write, child):
    folder = write(TWO_MODULES)
    os.truncate(py_compile.compile(str(folder / 'x_p/b.py')), 20)
    assert child.call(function('x_p.a', 'f')) == 5


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_a_push_that_was_interrupted_is_no_reason_to_wait(write, child, monkeypatch, error):
    """What was not sent after all is sent when it is asked for."""
    write(TWO_MODULES)
    code_of, failed = mitogen.modules.finder.code_of, []

    def fail_once(found):
        if found.fullname.startswith('x_p') and not failed:
            failed.append(found.fullname)
            raise error
        return code_of(found)
    monkeypatch.setattr(mitogen.modules.finder, 'code_of', fail_once)
    f = function('x_p.a', 'f')
    with pytest.raises(error):
        child.call(f)
    assert child.call_async(f).get(20).unpickle() == 5 and failed


def test_modules_beside_the_called_one_come_with_it(write, child, asked):
    write({'x_one.py': 'import x_two\ndef run():\n    return x_two.VALUE\n',
           'x_two.py': 'import x_three.sub as x\nVALUE = x.V\n',
           'x_three/__init__.py': '', 'x_three/sub.py': 'V = 5\n'})
    assert child.call(function('x_one', 'run')) == 5
    assert asked == []


def test_a_missing_submodule_costs_no_question(write, warm, asked):
    write({'x_pkg/__init__.py': '', 'x_pkg/mod.py': '', 'x_pkg/sub/__init__.py': ''})
    assert warm.call(targets_imports.import_by_name, 'x_pkg.mod')
    del asked[:]
    assert why_not(warm, 'x_pkg.missing')[0] == 'ModuleNotFoundError'
    assert why_not(warm, 'x_pkg.mod.missing')[0] == 'ModuleNotFoundError'
    assert asked == []
    assert why_not(warm, 'x_pkg.sub.missing')[0] == 'ModuleNotFoundError'
    assert len(asked) <= 1      # for x_pkg.sub itself, which nobody has wanted before


def test_an_optional_import_that_fails_is_no_question(write, child, asked):
    write({'x_opt/__init__.py': """
        try:
            from . import _speedups
        except ImportError:
            _speedups = None
        try:
            import x_nowhere
        except ImportError:
            x_nowhere = None

        def run():
            return _speedups, x_nowhere
        """})
    assert child.call(function('x_opt', 'run')) == (None, None)
    assert asked == []


def test_what_python_itself_looks_for_in_vain_is_no_question(write, child, asked):
    # copy, and so dataclasses and pickle, look for a package of Jython.
    write({'x_record.py': 'import argparse\nimport dataclasses\nimport pickle\n\ndef f():\n    return 1\n'})
    assert child.call(function('x_record', 'f')) == 1
    assert asked == []


def test_an_extension_in_a_served_package_is_no_question(write, child, asked):
    write({'x_half/__init__.py': """
        try:
            import x_half._fast
        except ImportError as exc:
            why = str(exc)

        def run():
            return why
        """, 'x_half/_fast' + importlib.machinery.EXTENSION_SUFFIXES[0]: b''})
    assert 'install it on the target' in child.call(function('x_half', 'run'))
    assert asked == []


def test_a_module_is_asked_for_once_whether_it_exists_or_not(write, warm, asked):
    write({'x_here.py': ''})
    for _ in range(3):
        assert why_not(warm, 'x_here') is None
        assert why_not(warm, 'x_not_here')[0] == 'ModuleNotFoundError'
    assert sorted(asked) == ['x_here', 'x_not_here']


def test_modules_of_the_standard_library_are_not_asked_for(warm, asked):
    assert why_not(warm, 'colorsys') is None
    assert why_not(warm, 'xml.no_such_module')[0] == 'ModuleNotFoundError'
    assert asked == []


def test_a_standard_module_that_an_old_python_lacks_is_refused_at_once(older, asked):
    name, text = why_not(older, 'dataclasses')
    assert name == 'ModuleNotFoundError'
    assert 'standard library' in text
    assert set(asked) <= {'dataclasses'}


def test_a_standard_module_that_a_new_python_has_lost(newest, asked):
    if newest.call(targets.has_of_its_own, 'imp') or importlib.util.find_spec('imp') is None:
        pytest.skip('needs a master with, and a child without, the module imp')
    name, text = why_not(newest, 'imp')
    assert name == 'ModuleNotFoundError'
    assert 'standard library' in text
    assert set(asked) <= {'imp'}


def test_threads_of_a_child_ask_once_together(write, warm, asked):
    write({'x_slow.py': 'VALUE = 1\n'})
    assert warm.call(targets_imports.import_in_threads, 'x_slow', 12) == 1
    assert asked == ['x_slow']


def test_threads_import_different_modules_of_a_package(write, warm):
    """Of packages that import each other, in several threads, Python itself now and then finds a deadlock."""
    files = {'x_wide/%s/%s.py' % pair: '' for pair in itertools.product(LEVELS, ['__init__', *LEVELS])}
    write({'x_wide/__init__.py': '', **files})
    names = ['x_wide.%s.%s' % pair for pair in itertools.product(LEVELS, repeat=2)]
    assert warm.call(targets_imports.import_many_in_threads, names) == names


def test_two_grandchildren_cost_the_master_one_question(write, router, child, asked):
    write(deep_package())
    grandchildren = [router.local(via=child), router.local(via=child)]
    for grandchild in grandchildren:
        grandchild.call(targets_imports.current_folder)
    del asked[:]
    for grandchild in grandchildren:
        grandchild.call(targets_imports.import_by_name, 'x_deep.a.a.a.m0')
        assert grandchild.call(targets_imports.loaded_below, 'x_deep') == len(deep_package())
    assert asked == ['x_deep']


def test_a_first_call_of_a_grandchild_asks_nothing(write, router, child, asked):
    write(deep_package())
    grandchild = router.local(via=router.local(via=child))
    del asked[:]
    assert grandchild.call(function('x_deep.b.a.c.m1', 'count')) == len(deep_package())
    assert asked == []


def test_a_fork_has_what_its_parent_had(write, router, child, asked):
    write({'x_had.py': ''})
    child.call(targets_imports.import_by_name, 'x_had')
    fork = router.fork(via=child)
    del asked[:]
    assert fork.call(targets_imports.loaded_below, 'x_had') == 1
    assert fork.call(targets_imports.import_by_name, 'x_had')
    assert 'x_had' not in asked


def test_an_on_fork_has_what_is_there_and_was_not_imported(write, child):
    write({'x_late.py': 'HERE = True\n', 'x_forks.py': """
import os
import mitogen.core

if os.environ.get('NEVER'):
    import x_late

def hook():
    import x_late
    assert x_late.HERE

@mitogen.core.takes_router
def fork(router):
    return router.fork(on_fork=hook).call(os.getpid) != os.getpid()
"""})
    assert child.call(function('x_forks', 'fork'))


# ---- Who is served what


def test_the_childs_own_module_wins(write, child, tmp_path):
    write({'x_both.py': 'WHERE = "master"\n'})
    own = tmp_path / 'own'
    own.mkdir()
    (own / 'x_both.py').write_text('WHERE = "child"\n')
    child.call(targets_imports.add_path, str(own))
    assert child.call(targets_imports.value_of, 'x_both', 'WHERE') == 'child'


def test_a_package_of_the_child_is_not_completed_from_the_master(write, child, tmp_path, asked):
    write({'x_both/__init__.py': '', 'x_both/extra.py': ''})
    own = tmp_path / 'own' / 'x_both'
    own.mkdir(parents=True)
    (own / '__init__.py').write_text('')
    child.call(targets_imports.add_path, str(own.parent))
    del asked[:]
    assert why_not(child, 'x_both.extra')[0] == 'ModuleNotFoundError'
    assert asked == []


def test_this_library_always_comes_from_the_master(child, tmp_path):
    own = tmp_path / 'mitogen'
    own.mkdir()
    (own / '__init__.py').write_text('raise RuntimeError("the wrong one")\n')
    (own / 'utils.py').write_text('raise RuntimeError("the wrong one")\n')
    child.call(targets_imports.add_path, str(tmp_path))
    assert why_not(child, 'mitogen.utils') is None
    assert why_not(child, 'mitogen.select_of_another_version')[0] == 'ModuleNotFoundError'


def test_an_override_is_served_instead_of_the_file(write, router):
    write({'x_file.py': 'VALUE = "file"\n'})
    router.responder.add_source_override('x_file', 'made/up.py', 'VALUE = "override"\n', False)
    router.responder.add_source_override('x_made', '/made/x_made/__init__.py', 'VALUE = "package"\n', True)
    router.responder.add_source_override('x_made.sub', '/made/x_made/sub.py', 'from . import VALUE\n', False)
    child = router.local()
    values = [child.call(targets_imports.value_of, name, 'VALUE') for name in ('x_file', 'x_made', 'x_made.sub')]
    assert values == ['override', 'package', 'package']
    assert child.call(targets_imports.attributes, 'x_file')['file'] == 'master:made/up.py'


def test_a_blacklisted_package_is_not_served(write, router):
    write({'x_secret/__init__.py': '', 'x_secret/sub.py': '', 'x_secrets.py': ''})
    router.responder.blacklist_prefix = ['x_secret']
    child = router.local()
    for name in 'x_secret', 'x_secret.sub':
        assert why_not(child, name)[0] == 'ModuleNotFoundError'
    assert 'blacklist' in why_not(child, 'x_secret')[1]
    assert why_not(child, 'x_secrets') is None


def test_only_what_the_whitelist_names_is_served(write, router):
    write({'x_open/__init__.py': 'import x_closed\n', 'x_closed.py': '', 'x_open2.py': ''})
    router.responder.whitelist_prefix = ['x_open2', 'targets_imports', 'targets']
    child = router.local()
    assert why_not(child, 'x_open2') is None
    assert why_not(child, 'x_closed')[0] == 'ModuleNotFoundError'
    assert why_not(child, 'x_open')[0] == 'ModuleNotFoundError'


def test_a_function_of_a_blacklisted_module_cannot_be_called(write, router):
    write({'x_secret.py': 'def f():\n    return 1\n'})
    router.responder.blacklist_prefix = ['x_secret']
    with pytest.raises(CallError) as caught:
        router.local().call(function('x_secret', 'f'))
    assert caught.value.type_name == 'ModuleNotFoundError'


def test_the_source_beside_a_compiled_extension_is_served(write, child, asked):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    write({'x_pair.py': 'VALUE = "source"\n', 'x_pair' + suffix: b'\x7fELF',
           'x_pkg/__init__.py': '', 'x_pkg/__init__' + suffix: b'\x7fELF', 'x_pkg/sub.py': 'VALUE = "below"\n'})
    assert child.call(targets_imports.value_of, 'x_pair', 'VALUE') == 'source'
    assert child.call(targets_imports.value_of, 'x_pkg.sub', 'VALUE') == 'below'
    assert child.call(targets_imports.attributes, 'x_pair')['file'].endswith('/x_pair.py')


def test_a_compiled_extension_is_refused_with_advice(write, child):
    # Not really one: nobody may load it, neither here nor there.
    write({'x_fast' + importlib.machinery.EXTENSION_SUFFIXES[0]: b'\x7fELF'})
    name, text = why_not(child, 'x_fast')
    assert name == 'ModuleNotFoundError'
    assert 'compiled extension' in text
    assert 'install it on the target' in text


@pytest.mark.parametrize('name', ['x-y', 'x y', '.x', 'x..y', '../x', 'x/y', 'x' * 2000, 'ü', '__main__'])
def test_strange_names_are_answered_too(warm, name):
    error = why_not(warm, name)
    assert error is None if name == '__main__' else error[0] in ('ModuleNotFoundError', 'ValueError', 'TypeError')
    assert warm.call(targets.echo, 1) == 1


def test_an_import_on_the_broker_thread_fails_at_once(write, child):
    write({'x_module.py': ''})
    name, text = child.call(targets_imports.import_on_broker_thread, 'x_module')
    assert name == 'ImportError'
    assert 'x_module' in text and 'broker thread' in text


def test_a_module_in_the_childs_current_folder_is_not_taken(router, tmp_path, monkeypatch):
    # The child is started there, perhaps as root: what lies in a folder of others must not run.
    (tmp_path / 'x_trap.py').write_text('raise RuntimeError("trapped")\n')
    monkeypatch.chdir(tmp_path)
    trapped = router.local()
    assert trapped.call(targets_imports.current_folder) == str(tmp_path)
    assert why_not(trapped, 'x_trap')[0] == 'ModuleNotFoundError'
