"""The rules about files: who may import whom, what stays pure, how large things grow."""

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize

import pytest

import support
from rings import RING

ROOT = support.checkout() / 'mitogen'

FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py'))

#: Imports inside functions of what is in a higher ring, and why that is right.
LATE = {
    ('__init__.py', 'mitogen.utils'): 'main() runs a program in the master only',
    ('core.py', 'mitogen.logs'): 'fetched when somebody imports logging',
    ('utils.py', 'mitogen.master'): 'run_with_router() makes a master',
    ('unix.py', 'mitogen.master'): 'a process that attaches itself to a tree has the whole library',
    ('unix.py', 'mitogen.modules.responder'): 'a process that attaches itself to a tree has the whole library',
}

#: Modules that mean descriptors, threads or clocks.
IMPURE = {'os', 'socket', 'select', 'selectors', 'threading', 'time', 'logging', 'subprocess', 'fcntl'}

MAX_FILE, MAX_CORE, MAX_CORE_CODE, MAX_FUNCTION, USUAL_FUNCTION = 400, 1700, 1100, 60, 8


@functools.lru_cache(maxsize=None)
def source(name):
    return (ROOT / name).read_text(encoding='utf-8')


@functools.lru_cache(maxsize=None)
def tree(name):
    return ast.parse(source(name))


def file_of(module):
    """'boot/dialogue.py' of mitogen.boot.dialogue; None if there is no such file."""
    path = module.partition('.')[2].replace('.', '/')
    for candidate in path + '.py', (path + '/__init__.py').lstrip('/'):
        if candidate in FILES:
            return candidate
    return None


def imports(name):
    """(module, whether it is inside a function) of all own modules that a file imports when it runs."""
    found = []

    def walk(node, late):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == 'TYPE_CHECKING':
                continue        # read by type checkers only
            if isinstance(child, ast.Import):
                found.extend((alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                inside = ['%s.%s' % (child.module, alias.name) for alias in child.names]
                found.extend((module if file_of(module) else child.module, late) for module in inside)
            walk(child, late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))
    walk(tree(name), False)
    return [(module, late) for module, late in found if module.partition('.')[0] == 'mitogen']


def test_every_file_has_a_ring():
    assert set(RING) == set(FILES)


@pytest.mark.parametrize('name', sorted(RING))
def test_docstrings_agree(name):
    said = re.search(r'\bring ([012])\b', (ast.get_docstring(tree(name)) or '')[:1500], re.I)
    # core.py's and utils.py's speak of other rings than their own.
    assert said is None or int(said.group(1)) == RING[name] or name in ('core.py', 'utils.py')


@pytest.mark.parametrize('name', sorted(RING))
def test_a_file_imports_from_its_own_ring_or_a_lower_one(name):
    for module, late in imports(name):
        assert file_of(module) in RING, module
        if RING[file_of(module)] > RING[name]:
            assert late and (name, module) in LATE, '%s imports %s' % (name, module)


def test_the_exceptions_are_still_needed():
    assert set(LATE) <= {(name, module) for name in FILES for module, late in imports(name) if late}


@pytest.mark.parametrize('name', [name for name, ring in sorted(RING.items()) if ring <= 1])
def test_what_is_sent_to_children_is_written_for_python_3_6(name):
    ast.parse(source(name), feature_version=(3, 6))


# ---- What is pure


IO_LINE = '# ---- I/O below this line'


def test_the_upper_half_of_the_core_is_pure():
    end = 1 + next(number for number, line in enumerate(source('core.py').split('\n')) if line.startswith(IO_LINE))
    assert end > 300
    touched = set()
    for node in ast.walk(tree('core.py')):
        if getattr(node, 'lineno', end) < end:
            touched |= names_of(node) & (IMPURE | {'open', 'Latch', 'Broker', 'Stream', 'Side'})
    assert not touched


def names_of(node):
    """What a node of the syntax tree makes use of by name."""
    if isinstance(node, ast.Import):
        return {alias.name.partition('.')[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or '').partition('.')[0]}
    return {node.id} if isinstance(node, ast.Name) else set()


PURE = [name for name in FILES
        if name != 'core.py' and re.search(r'\bpure\b', (ast.get_docstring(tree(name)) or '')[:600])]


def test_there_are_pure_files():
    assert {'routes.py', 'boot/dialogue.py', 'boot/payload.py', 'method.py'} <= set(PURE)


@pytest.mark.parametrize('name', PURE)
def test_a_file_that_says_that_it_is_pure_is(name):
    touched = set().union(*(names_of(node) for node in ast.walk(tree(name))))
    assert not touched & (IMPURE | {'open'})


# ---- Sizes


def docstring_lines(node):
    """Line numbers of all docstrings, and other lone strings, within."""
    return {number for inner in ast.walk(node) if isinstance(inner, ast.Expr)
            and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str)
            for number in range(inner.lineno, inner.end_lineno + 1)}


@functools.lru_cache(maxsize=None)
def code_lines(name):
    """Numbers of the lines that a compiler reads."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source(name)).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(tree(name))


def functions(name):
    return [node for node in ast.walk(tree(name)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def size(name, function):
    """Lines of code of a function, without the line that names it."""
    return len(code_lines(name) & set(range(function.body[0].lineno, function.end_lineno + 1)))


@pytest.mark.parametrize('name', [name for name in FILES if name != 'core.py'])
def test_a_file_can_be_read_in_one_go(name):
    assert source(name).count('\n') <= MAX_FILE


def test_the_core_can_be_read_in_an_afternoon():
    assert source('core.py').count('\n') <= MAX_CORE
    assert len(code_lines('core.py')) <= MAX_CORE_CODE


def test_functions_are_short():
    sizes = {'%s:%s' % (name, node.name): size(name, node) for name in FILES for node in functions(name)}
    assert {function: lines for function, lines in sizes.items() if lines > MAX_FUNCTION} == {}
    assert sorted(sizes.values())[len(sizes) // 2] <= USUAL_FUNCTION


def test_these_measures_measure():
    """On a file whose sizes are plain to see."""
    by_name = {node.name: size('routes.py', node) for node in functions('routes.py')}
    assert by_name['link_to'] == 1 and by_name['add'] == 2
    assert by_name['forgery'] == 6
    assert len(code_lines('modules/__init__.py')) == 0


def test_a_master_starts_without_what_few_programs_need():
    """Each of these takes Python longer than most of our own files."""
    code = 'import sys; sys.path.insert(0, sys.argv[1]); import mitogen.master; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-I', '-S', '-c', code, str(ROOT.parent)], check=True, timeout=60,
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert not set(done.stdout.split()) & {'ast', 'asyncio', 'dataclasses', 'dis', 'inspect', 'json', 'pathlib',
                                           'shutil', 'socket', 'tempfile', 'zipfile'}
