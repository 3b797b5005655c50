"""
Makes source of this library as small as it gets: minified, with short names where nobody else sees them.

Ring 2, pure but for reading the core. Any thread, one at a time.
"""

import ast
import collections
import functools
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator
from typing import Any

import mitogen.minify

CORE = pathlib.Path(mitogen.minify.__file__).with_name('core.py')

#: Most frequent in source first: those are short in the compressed stream already.
LETTERS = 'etaoinsrhldcumfpgwybvkxjqz'

#: A function that calls one of these may look for its variables by name.
LOOKERS = {'locals', 'vars', 'dir', 'eval'}

#: What has a scope of its own, or, before Python 3.12, no true positions.
INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp,
         ast.GeneratorExp, ast.JoinedStr)

#: Private names, and those of them that are other modules', which are not ours to change.
PRIVATE = re.compile(r'_[a-zA-Z][a-zA-Z_]+$')
FOREIGN = {'_frozen_importlib_external', '_pickle', '_queue', '_signal', '_exit', '_getframe'}


def smallest(source: str) -> str:
    """Return source of this library with all its tokens on their lines."""
    text = shorten_locals(mitogen.minify.minimize_source(source))
    return shorten_private(text, private_names())


@functools.lru_cache(1)
def private_names() -> dict[str, str]:
    """Short names for private attributes in the core, most used first; the same in all modules, as some reach for them.

    Functions and classes keep theirs, for tracebacks. A module that is sent must not reach for such an attribute of
    anybody else's object: a test sees to it.
    """
    tokens = list(_tokens(mitogen.minify.minimize_source(CORE.read_text())))
    kept = {word for token in tokens if token.type == tokenize.STRING for word in re.findall(r'\w+', token.string)}
    kept.update(name.string for word, name in zip(tokens, tokens[1:]) if word.string in ('def', 'class'))
    uses = collections.Counter(token.string for token in tokens if PRIVATE.match(token.string))
    names = (name for name, _ in uses.most_common() if name not in kept and name not in FOREIGN)
    return {name: '_' + letter for name, letter in zip(names, LETTERS + LETTERS.upper())}


def shorten_private(source: str, names: dict[str, str]) -> str:
    """Return `source` with other names.

    >>> shorten_private('self._deferred=_text("_deferred")', {'_deferred': '_e'})
    'self._e=_text("_deferred")'
    """
    lines = source.split('\n')
    for token in reversed([token for token in _tokens(source) if token.type == tokenize.NAME]):
        row, column = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:column] + names.get(token.string, token.string) + line[token.end[1]:]
    return '\n'.join(lines)


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)


def shorten_locals(source: str) -> str:
    """Return `source` with names of one letter for local variables, except where something else could see them.

    Variables that an inner scope reads keep their names, and so do parameters, for whoever passes them by name, unless
    the function is private and nobody here does.

    >>> shorten_locals('def f(value):\\n twice=value*2\\n return twice\\n')
    'def f(value):\\n e=value*2\\n return e\\n'
    """
    lines = [line.encode() for line in source.split('\n')]      # ast counts bytes of UTF-8
    nodes = list(ast.walk(ast.parse(source)))
    keywords = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    found = [rename for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
             for rename in _renames(node, keywords)]
    for row, column, old, new in sorted(found, reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + new.encode() + line[column + len(old.encode()):]
    return b'\n'.join(lines).decode()


def _renames(function: ast.FunctionDef | ast.AsyncFunctionDef,
             keywords: set[str | None]) -> Iterator[tuple[int, int, str, str]]:
    """(line, column, old name, new name) of every place where a variable of a function is named."""
    uses: dict[str, list[Any]] = {}
    if PRIVATE.match(function.name):
        uses = {node.arg: [node] for node in function.args.args if node.arg not in keywords and node.arg != 'self'}
    fixed: set[str] = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)} - uses.keys()
    todo: list[tuple[ast.AST, bool]] = [(statement, False) for statement in function.body]
    while todo:
        node, inner = todo.pop()
        if isinstance(node, ast.Name):
            uses.setdefault(node.id, []).append(node)
            if inner:
                fixed.add(node.id)
        fixed.update(_other_names(node))
        inner = inner or isinstance(node, INNER)
        todo += [(child, inner) for child in ast.iter_child_nodes(node)]
    if LOOKERS & uses.keys():
        return
    letters = (letter for letter in LETTERS if letter not in uses and letter not in fixed)
    variables = [name for name, nodes in uses.items() if len(name) > 1 and name not in fixed
                 and any(isinstance(node, ast.arg) or isinstance(node.ctx, ast.Store) for node in nodes)]
    variables.sort(key=lambda name: (-len(uses[name]), name))
    for name, letter in zip(variables, letters):
        for node in uses[name]:
            yield node.lineno, node.col_offset, name, letter


def _other_names(node: ast.AST) -> Iterator[str]:
    """Names in a node that stand for variables without being a Name: of `except`, `import`, `def`, `global`, `case`."""
    if not isinstance(node, ast.Name | ast.Attribute | ast.keyword | ast.Constant):
        for _, value in ast.iter_fields(node):
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, str):
                    yield name.partition('.')[0]
