"""The code of the tutorial and the recipes: it compiles, names what exists, and runs where this machine is enough.

Before each block of Python stands a comment: ``.. runs here``, or ``.. runs with a stub of: `` and programs that are
replaced by ones that stay on this machine, or ``.. needs: `` and what is missing here.
"""

import ast
import importlib
import inspect
import os
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
COMMENT = re.compile(r'^\.\. (runs here|runs with a stub of: \S.*|needs: \S.*)\n\n\Z', re.M)

#: Programs that lead elsewhere -> shell scripts that do not: they run the command that they are given right here.
STUBS = {
    'ssh': 'for last; do :; done; exec sh -c "$last"',
    'sudo': 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    'docker': 'while [ "$1" != -c ]; do shift; done; exec python3 "$@"',
}


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
    if block.comment.startswith('needs'):
        pytest.skip(block.comment)
    for program in block.comment.partition(': ')[2].split():
        stub = tmp_path / program
        stub.write_text('#!/bin/sh\n%s\n' % STUBS[program])
        stub.chmod(0o755)
    script = tmp_path / 'test_block.py'
    script.write_text(block.source)
    run = ['-m', 'pytest', '-q', '-p', 'no:cacheprovider'] if '\ndef test_' in block.source else []
    # The last: where there is no python3 but the one that runs this.
    path = [str(tmp_path), '/usr/bin', '/bin', os.path.dirname(sys.executable)]
    environment = {'PYTHONPATH': str(ROOT), 'PATH': ':'.join(path), 'TMPDIR': str(tmp_path)}
    done = subprocess.run([sys.executable, *run, str(script)], cwd=tmp_path, input='a password\n',
                          env=environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


# ---- the catalogue of errors

ERRORS = ROOT / 'docs' / 'errors.rst'
#: Texts of others that the page explains as well.
FOREIGN = {'got multiple values for argument', 'got an unexpected keyword argument', 'No such file or directory',
           'object has no attribute'}


def listed_messages():
    """Yield what stands before an explanation."""
    for line in re.findall(r'^(``.*)\n    \S', ERRORS.read_text(), re.M):
        yield from re.findall(r'``(.+?)``', line)


def texts_of_the_library():
    """Return all literals in the source but docstrings, those that are put together of several pieces as one."""
    found = []
    for path in (ROOT / 'mitogen').rglob('*.py'):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in docstrings:
                found.append(node.value if isinstance(node.value, str) else node.value.decode('latin-1'))
    return '\0'.join(found)


def test_every_message_of_the_catalogue_is_one_of_ours():
    texts, messages = texts_of_the_library(), list(listed_messages())
    assert len(messages) > 80
    for message in messages:
        for part in filter(None, (part.strip(" ,;:.'") for part in message.split('...'))):
            if not any(foreign in part for foreign in FOREIGN):
                assert part in texts, message


def reasons_of(method):
    """Yield the words for each failure that a connection method knows."""
    source = pathlib.Path(importlib.import_module(method).__file__).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'Refusal':
            words = node.args[1:2] + [keyword.value for keyword in node.keywords if keyword.arg == 'reason']
            yield from (value.value for word in words for value in ast.walk(word)
                        if isinstance(value, ast.Constant) and isinstance(value.value, str))


@pytest.mark.parametrize('method', sorted({*mitogen.method.MODULES.values(), 'mitogen.container',
                                           'mitogen.ansible.become', 'mitogen.ansible.ssh'}))
def test_every_reason_of_a_method_is_in_the_catalogue(method):
    page = ERRORS.read_text()
    for reason in reasons_of(method):
        start = re.split('%[sdr]', reason)[0].strip()
        short = re.sub('(may not enter|may not use) .*', r'\1 ...', start)
        assert start in page or short in page, reason


LIMIT = re.compile(r'^``(mitogen\.[\w.]+)`` +([\d.]+)(?: (s|KiB|MiB))?  ', re.M)
UNITS = {'': 1, 's': 1, 'KiB': 1 << 10, 'MiB': 1 << 20}


def test_limits_are_those_of_the_source():
    limits = LIMIT.findall(ERRORS.read_text())
    assert len(limits) > 30
    for name, number, unit in limits:
        assert resolve(name) == float(number) * UNITS[unit], name


def test_variables_and_loggers_are_those_of_the_source():
    source = '\n'.join(path.read_text() for path in (ROOT / 'mitogen').rglob('*.py'))
    names = re.findall(r"environ(?:\.get\(|\[)'(\w+)'", source) + re.findall(r"getLogger\('([\w.]+)'\)", source)
    assert {'MITOGEN_LOG_LEVEL', 'mitogen.io'} <= set(names)
    for name in names:
        assert '``%s``' % name in ERRORS.read_text(), name
