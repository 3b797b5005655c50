"""The code of the tutorial and the recipes: it compiles, names what exists, and runs where this machine is enough.

Before each block of Python stands a comment: ``.. runs here``, or ``.. needs: `` and what is missing here.
"""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

import mitogen.core
import mitogen.master
import mitogen.method

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / 'docs' / 'tutorial.rst', ROOT / 'docs' / 'howto.rst'
BLOCK = re.compile(r'^\.\. code-block:: python\n\n((?:(?: {4}.*)?\n)+)', re.M)
COMMENT = re.compile(r'^\.\. (runs here|needs: \S.*)\n\n\Z', re.M)


class Block:
    """One block of code of a page."""

    def __init__(self, page, line, source, comment):
        self.page, self.line, self.source, self.comment = page, line, source, comment
        # As many lines above it as in the page: a traceback then names the line there.
        self.tree = ast.parse('\n' * line + source, '%s' % page)

    @property
    def id(self):
        return '%s:%d' % (self.page.name, self.line + 1)


def blocks_of(page):
    text = page.read_text()
    found = list(BLOCK.finditer(text))
    assert len(found) == text.count('code-block:: python'), 'a block that is not recognised in %s' % page
    for match in found:
        comment = COMMENT.search(text[:match.start()])
        yield Block(page, text.count('\n', 0, match.start(1)), textwrap.dedent(match.group(1)),
                    comment.group(1) if comment else '')


BLOCKS = [block for page in PAGES if page.exists() for block in blocks_of(page)]
every_block = pytest.mark.parametrize('block', BLOCKS, ids=[block.id for block in BLOCKS])


def exists(dotted):
    """Whether `a.b.c` is a module, or something in one."""
    try:
        importlib.import_module(dotted)
        return True
    except ImportError:
        parent, _, name = dotted.rpartition('.')
        return bool(parent) and exists(parent) and hasattr(resolve(parent), name)


def resolve(dotted):
    try:
        return importlib.import_module(dotted)
    except ImportError:
        parent, _, name = dotted.rpartition('.')
        return getattr(resolve(parent), name)


def mitogen_names(tree):
    """Yield the names of mitogen that code imports or uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith('mitogen'))
        elif isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mitogen'):
            yield from ('%s.%s' % (node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and re.match(r'mitogen[\w.]+\Z', ast.unparse(node)):
            yield ast.unparse(node)


def options_of(method):
    """Return the names of all options of a connection method."""
    kind = mitogen.method.load(method)
    return {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters} | {'via', 'name'}


def calls_of_router(tree):
    """Yield (attribute, call) for each call of a method of `router`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(
                node.func.value) == 'router':
            yield node.func.attr, node


def test_there_are_blocks():
    assert len(BLOCKS) > 5


@every_block
def test_block_says_whether_it_runs_here(block):
    assert block.comment


@every_block
def test_names_exist(block):
    compile(block.tree, str(block.page), 'exec')
    for name in mitogen_names(block.tree):
        assert exists(name), name


@every_block
def test_methods_and_their_options_exist(block):
    for name, call in calls_of_router(block.tree):
        assert hasattr(mitogen.master.Router, name), name
        if name in mitogen.method.MODULES:
            assert {keyword.arg for keyword in call.keywords if keyword.arg} <= options_of(name)


@every_block
def test_block_runs(block, tmp_path):
    if block.comment != 'runs here':
        pytest.skip(block.comment)
    script = tmp_path / 'test_block.py'
    script.write_text(block.source)
    run = ['-m', 'pytest', '-q', '-p', 'no:cacheprovider'] if '\ndef test_' in block.source else []
    environment = {'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin', 'TMPDIR': str(tmp_path)}
    done = subprocess.run([sys.executable, *run, str(script)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                          env=environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
