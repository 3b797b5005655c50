"""scan: which imports code contains and which modules they may load, with every interpreter that a master runs on."""

import ast
import inspect
import json
import pathlib
import subprocess
import sys
import sysconfig
import textwrap
import warnings

import pytest

import mitogen.modules.scan
import support
from mitogen.modules.scan import Import, candidates, imports

# Larger ones show nothing more.
LARGEST = 15_000


def scan(source, deep=False):
    return list(imports(compile(textwrap.dedent(source), 'm.py', 'exec'), deep))


# ---- Statements


@pytest.mark.parametrize('source, expected', [
    ('', []),
    ('import a', [(0, 'a', ())]),
    ('import a.b.c', [(0, 'a.b.c', ())]),
    ('import a.b as c', [(0, 'a.b', ())]),
    ('import a, b', [(0, 'a', ()), (0, 'b', ())]),
    ('from a import b, c as d', [(0, 'a', ('b', 'c'))]),
    ('from a import *', [(0, 'a', ('*',))]),
    ('from . import a', [(1, '', ('a',))]),
    ('from ...a.b import c', [(3, 'a.b', ('c',))]),
    ('import b\nimport a\nimport b', [(0, 'b', ()), (0, 'a', ())]),
    ('x = "import a"\ny = 1, None', []),
])
def test_statements(source, expected):
    assert scan(source) == expected


@pytest.mark.parametrize('block', [
    'if x:\n    import a\nelse:\n    import b',
    'try:\n    import a\nexcept ImportError:\n    import b',
    'try:\n    import a\nfinally:\n    import b',
    'for x in y:\n    import a\nelse:\n    import b',
    'while x:\n    import a\n    import b',
    'with x:\n    import a\n    import b',
    'match x:\n    case 1:\n        import a\n    case _:\n        import b',
    'class A:\n    import a\n    class B:\n        import b',
    'import a\nclass A(x):\n    y = [z for z in x]\n    import b',
    'class A:\n    x = 1\n    class B:\n        y = 2\n        import a\n    class C:\n        import b',
])
def test_blocks_that_run_with_the_module(block):
    assert scan(block) == [(0, 'a', ()), (0, 'b', ())]


FUNCTIONS = '''
    import a
    def f(x=1):
        import b
        async def g():
            from .c import d
            return [lambda: x for y in x]
    class A:
        import e
        @property
        def h(self):
            import i
    import j
'''


def test_functions_are_left_out():
    assert [found.module for found in scan(FUNCTIONS)] == ['a', 'e', 'j']


def test_functions_are_looked_into_on_demand():
    assert [found.module for found in scan(FUNCTIONS, deep=True)] == ['a', 'b', 'c', 'e', 'i', 'j']


@pytest.mark.skipif(sys.version_info < (3, 12), reason='type parameters came with Python 3.12')
def test_type_parameters():
    source = 'class A[T]:\n    import a\n    def f[S](self):\n        import b\n'
    assert scan(source) == [(0, 'a', ())]
    assert scan(source, deep=True) == [(0, 'a', ()), (0, 'b', ())]


@pytest.mark.parametrize('count', [1, 255, 256, 257, 70_000])
def test_more_constants_and_names_than_a_byte_counts(count):
    """Both tables are filled up first, so that the numbers of the import statement's own entries are large."""
    source = ''.join('x%d = %d.5\n' % (n, n) for n in range(count))
    assert scan(source + 'from ..a import b, c') == [(2, 'a', ('b', 'c'))]


def test_code_that_ran_hot():
    """Python 3.11 and later rewrite instructions of code that runs often; the ones seen here stay the old ones."""
    code = compile('def f(x):\n    from json import dumps\n    return [x + y for y in range(x)]', 'm.py', 'exec')
    namespace = {}
    exec(code, namespace)
    for _ in range(1000):
        namespace['f'](2)
    assert list(imports(namespace['f'].__code__)) == [(0, 'json', ('dumps',))]


# ---- Candidates


@pytest.mark.parametrize('found, package, expected', [
    ((0, 'a', ()), '', ['a']),
    ((0, 'a.b.c', ()), 'p.q', ['a', 'a.b', 'a.b.c']),
    ((0, 'a', ('b', 'c')), 'p', ['a', 'a.b', 'a.c']),
    ((0, 'a.b', ('*',)), 'p', ['a', 'a.b']),
    ((1, 'a', ('b', 'c')), 'p.q', ['p', 'p.q', 'p.q.a', 'p.q.a.b', 'p.q.a.c']),
    ((1, '', ('a',)), 'p.q', ['p', 'p.q', 'p.q.a']),
    ((1, '', ('*',)), 'p.q', ['p', 'p.q']),
    ((2, '', ('a',)), 'p.q', ['p', 'p.a']),
    ((2, 'a.b', ('c',)), 'p.q', ['p', 'p.a', 'p.a.b', 'p.a.b.c']),
    ((3, 'a', ('b',)), 'p.q', []),
    ((1, '', ('a',)), '', []),
])
def test_candidates(found, package, expected):
    assert candidates(Import(*found), package) == expected


# ---- Against a second opinion, read from sources. It is sent to other interpreters too, as its own source text.


def statements(tree, deep):
    """(level, module, names) of the import statements beneath a node, but for those that the compiler leaves out."""
    inner = () if deep else (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or '', tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Constant) and not node.test.value:
            yield from statements(ast.Module(node.orelse, []), deep)
        elif not isinstance(node, inner):
            yield from statements(node, deep)


def disagreements(scan, folder, largest):
    """Names of the modules in a folder about which the two opinions differ, with what each of them found."""
    warnings.simplefilter('ignore')     # the standard library has old escapes of its own
    found = {}
    for path in sorted(pathlib.Path(folder).glob('*.py')):
        source = path.read_bytes()
        for deep in (False, True) if len(source) < largest else ():
            one = sorted(map(list, scan(compile(source, path.name, 'exec'), deep)))
            other = sorted(map(list, set(statements(ast.parse(source), deep))))
            if one != other:
                found['%s, deep: %s' % (path.name, deep)] = one, other
    return found


def test_the_standard_library():
    with warnings.catch_warnings():
        assert not disagreements(imports, sysconfig.get_path('stdlib'), LARGEST)


PROGRAM = '''
import ast, json, pathlib, runpy, sys, sysconfig, warnings

%s
scan = runpy.run_path(sys.argv[1])['imports']
print(json.dumps(disagreements(scan, sysconfig.get_path('stdlib'), %d)))
''' % (inspect.getsource(statements) + inspect.getsource(disagreements), LARGEST)


@pytest.mark.parametrize('version', ['3.%d' % minor for minor in range(10, 15)])
def test_the_standard_library_of_every_interpreter(version):
    interpreter = support.find_pythons().get(version)
    if interpreter is None:
        pytest.skip('no Python %s on this machine' % version)
    command = [interpreter, '-c', PROGRAM, mitogen.modules.scan.__file__]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == {}
