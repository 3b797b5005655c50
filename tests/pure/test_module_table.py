"""core, modules: import from here, ask the parent, or know that there is nothing."""

import sys

import pytest

import mitogen.core
from mitogen.core import Module, ModuleTable

#: What `__path__` is, by who made the package.
TOP_LEVEL, INSTALLED, OURS = None, ['/usr/lib/python3/dist-packages/pkg'], []


class NamespacePath:
    """What the import system gives a namespace package: no list, and it may be extended from elsewhere."""

    def __iter__(self):
        return iter(['/somewhere'])


@pytest.fixture
def table():
    table = ModuleTable()
    for module in [
        Module('pkg', 'pkg/__init__.py', b'x', ['mod', 'sub'], 'pkg'),
        Module('pkg.mod', 'pkg/mod.py', b'x', None, 'pkg'),
        Module('empty', 'empty/__init__.py', b'x', [], 'empty'), Module('plain', 'plain.py', b'x'), Module('missing'),
        Module('hidden', reason='hidden is not served'), Module('odd', 'odd/__init__.py', b'x', ['mod', '*'], 'odd'),
    ]:
        table.modules[module.fullname] = module
    return table


@pytest.mark.parametrize('name, path, answer', [
    # Known by name.
    ('pkg', TOP_LEVEL, True), ('pkg.mod', OURS, True), ('plain', TOP_LEVEL, True),
    ('missing', TOP_LEVEL, False), ('hidden', TOP_LEVEL, False),
    # Known by its package, which came with the list of what is in it.
    ('pkg.sub', OURS, None), ('pkg.other', OURS, False), ('empty.mod', OURS, False), ('plain.mod', OURS, False),
    ('missing.mod', OURS, False), ('pkg.mod.sub', OURS, False),
    # The list may be incomplete, and says so.
    ('odd.mod', OURS, None), ('odd.other', OURS, None),
    # Never heard of.
    ('other', TOP_LEVEL, None), ('other.mod', OURS, None), ('pkg.sub.deep', OURS, None),
    # A package that is installed here must not be completed with modules of another version.
    ('installed.mod', INSTALLED, False), ('pkg.mod', INSTALLED, False), ('pkg.sub', INSTALLED, False),
    # A namespace has no owner.
    ('space.mod', NamespacePath(), None), ('pkg.mod', NamespacePath(), True), ('pkg.other', NamespacePath(), False),
])
def test_decisions(table, name, path, answer):
    assert table.exists(name, path) is answer


def test_a_name_of_the_standard_library_is_not_asked_for():
    """Where the interpreter tells which they are. Elsewhere it costs a question."""
    assert ModuleTable().exists('msvcrt', TOP_LEVEL) is False
    assert ModuleTable().exists('msvcrt_of_mine', TOP_LEVEL) is None


def test_an_interpreter_that_does_not_tell_what_is_standard(monkeypatch):
    monkeypatch.delattr(sys, 'stdlib_module_names')
    assert ModuleTable().exists('msvcrt', TOP_LEVEL) is None


def test_a_standard_module_that_the_master_sends_all_the_same(table):
    """It may be overridden there."""
    table.modules['msvcrt'] = Module('msvcrt', 'x.py', b'x')
    assert table.exists('msvcrt', TOP_LEVEL) is True


def test_a_module_is_what_it_was_sent_as():
    fields = ('pkg.mod', 'pkg/mod.py', b'source', ['a'], 'pkg', 'reason', True)
    module = Module(*mitogen.core.decode(mitogen.core.encode(fields)))
    assert (module.fullname, module.source, module.compiled) == ('pkg.mod', b'source', True)
    assert tuple(vars(module).values()) == fields


def test_nothing_is_known_of_a_name_alone():
    assert list(vars(Module('a')).values()) == ['a', '', None, None, '', '', False]
