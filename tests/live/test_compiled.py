"""Modules that travel as code, between interpreters of the same version."""

import importlib
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import mitogen.core
import support
import targets_imports
from mitogen.core import CallError

SOURCES = {'x_code.py': """
    '''What it says of itself.'''

    def outer():
        def inner():
            raise ValueError('from within')
        return inner

    def fail():
        outer()()

    def sound():
        assert False
    """}


@pytest.fixture
def module(write):
    write(SOURCES)
    return importlib.import_module('x_code')


def test_the_same_python_gets_code(child, module):
    assert child.call(targets_imports.import_by_name, 'x_code')
    assert child.call(targets_imports.is_compiled, 'x_code')


def test_another_python_gets_source(older, module):
    assert older.call(targets_imports.import_by_name, 'x_code')
    assert not older.call(targets_imports.is_compiled, 'x_code')


def test_its_source_comes_when_somebody_reads_it(child, module):
    assert child.call(targets_imports.source_of, 'x_code') == textwrap.dedent(SOURCES['x_code.py'])
    assert not child.call(targets_imports.is_compiled, 'x_code')


def test_a_traceback_has_the_lines(child, module):
    with pytest.raises(CallError) as caught:
        child.call(module.fail)
    assert "raise ValueError('from within')" in caught.value.remote_traceback
    assert 'master:%s' % module.__file__ in caught.value.remote_traceback


def test_all_its_functions_say_where_they_come_from(child, module):
    assert child.call(targets_imports.file_names, 'x_code') == ['master:' + module.__file__]


def test_a_child_of_another_python_below_one_of_ours(router, child, older, module, asked):
    """What is between has code that is of no use to the other, and asks for the source of all it needs."""
    child.call(targets_imports.import_by_name, 'x_code')
    assert child.call(targets_imports.is_compiled, 'x_code')
    below = router.local(via=child, python_path=[*support.find_pythons().values()][0])
    assert below.call(targets_imports.import_by_name, 'x_code')
    assert not below.call(targets_imports.is_compiled, 'x_code')
    with pytest.raises(CallError, match='ValueError'):
        below.call(module.fail)


def test_a_child_of_our_python_below_another(router, older, module):
    below = router.local(via=older)
    with pytest.raises(CallError) as caught:
        below.call(module.fail)
    assert "raise ValueError('from within')" in caught.value.remote_traceback
    assert not below.call(targets_imports.is_compiled, 'x_code')


def test_a_grandchild_of_the_same_python_gets_what_its_parent_has(router, child, module):
    below = router.local(via=child)
    assert below.call(targets_imports.import_by_name, 'x_code')
    assert below.call(targets_imports.is_compiled, 'x_code')
    assert below.call(targets_imports.source_of, 'x_code') == textwrap.dedent(SOURCES['x_code.py'])


def test_an_override_replaces_the_code_too(router, child, module):
    child.call(targets_imports.import_by_name, 'x_code')
    router.responder.add_source_override('x_code', 'other.py', 'VALUE = 5\n', False)
    assert router.local().call(targets_imports.value_of, 'x_code', 'VALUE') == 5


def test_a_master_that_runs_without_assertions_sends_them(tmp_path):
    (tmp_path / 'x_sound.py').write_text('def sound():\n    """Words."""\n    assert False, "kept"\n')
    script = tmp_path / 'script.py'
    script.write_text(textwrap.dedent("""
        import mitogen.core
        import mitogen.utils
        import x_sound

        def main(router):
            try:
                router.local().call(x_sound.sound)
            except mitogen.core.CallError as exc:
                print(exc.type_name, exc.message)

        mitogen.utils.run_with_router(main)
        """))
    library = str(pathlib.Path(mitogen.core.__file__).parents[1])
    done = subprocess.run([sys.executable, '-OO', str(script)], stdout=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, PYTHONPATH=library))
    assert done.stdout == 'AssertionError kept\n'


def test_a_child_passes_on_what_it_is_made_of(router, child):
    grandchild = router.local(via=child)
    assert grandchild.call(os.getppid) == child.call(os.getpid)
    assert 'mitogen.core' not in router.stream_by_id(child.context_id).modules_sent     # nor compiled


def test_a_child_of_another_python_compiles_for_its_own(router, older):
    grandchild = router.local(via=older)
    assert grandchild.call(os.getppid) == older.call(os.getpid)
