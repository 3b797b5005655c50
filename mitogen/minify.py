"""Make Python source smaller without moving any of it to another line.

What is sent to a child is read by a compiler and by nobody else, except for one thing: tracebacks name lines. So
all that a compiler ignores goes, and every token that stays keeps its line number.

What goes:

* comments, blanks, the width of indentation;
* statements that are nothing but a string: docstrings, and notes beneath assignments;
* annotations of parameters, results and variables;
* blocks under ``if TYPE_CHECKING:`` that have no ``else``, where nothing in the source can make that name true.

Annotations that somebody reads at run time stay:

* in the body of a class that has a base, a keyword or a decorator: they name the fields of a NamedTuple, a
  dataclass, a ctypes-like structure. Annotations of such a class's methods do go;
* of a function with a decorator, which may dispatch on them; ``property``, ``staticmethod``, ``classmethod`` and
  ``x.setter`` do not count, they never look.

So a program that reads its own docstrings, or the annotations of a plain function, must not be sent through here.

This file decides and returns text: it reads no file, imports and runs nothing of what it is given, and keeps nothing
between calls. Any thread may use it; megabytes of source take seconds, so never the broker's.
"""

import ast
import io
import tokenize
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Position = tuple[int, int]      # line from 1, character from 0, as tokenize counts them


def _kinds(*names: str) -> set[int]:
    """Numbers of those kinds of tokens that this Python knows: 3.12 brought f-strings in parts, 3.14 t-strings."""
    return {getattr(tokenize, name) for name in names if hasattr(tokenize, name)}


INVISIBLE = _kinds('COMMENT', 'NL', 'ENCODING', 'ENDMARKER')
TEMPLATE_START = _kinds('FSTRING_START', 'TSTRING_START')
TEMPLATE_END = _kinds('FSTRING_END', 'TSTRING_END')

BRACKETS = {'(': 1, '[': 1, '{': 1, ')': -1, ']': -1, '}': -1}

# Parts of a function in whose own scope a name is not bound by what happens inside them.
INNER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
                ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

BLIND_DECORATORS = {'property', 'staticmethod', 'classmethod'}
BLIND_METHODS = {'getter', 'setter', 'deleter'}


def minimize_source(source: str) -> str:
    """Return `source` with all taken out that a compiler does not need; every token stays on its line.

    Line ends become ``\\n``, a byte order mark goes, and so does a coding cookie: encode the result as UTF-8. A
    second pass changes nothing more.

    >>> minimize_source('def f(x: int) -> int:\\n    # twice\\n    return x * 2\\n')
    'def f(x):\\n\\n return x*2\\n'

    :raises SyntaxError: this interpreter cannot parse it. It may still be right for another one, as it is.
    """
    source = source.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    tree = ast.parse(source)
    cutter = _Cutter(_Text(source), _may_type_check(tree))
    cutter.walk(tree)
    return _write(_without_idle_semicolons(cutter.remaining()))


# ---- reading: tokens, and where ast means them to be


class Token(NamedTuple):
    """A token that shows. Line structure is in it, so that tokens can be taken out anywhere and none is missed."""

    kind: int
    text: str
    start: Position
    end: Position
    level: int      # of indentation
    row: int        # counts logical lines; tokens of one logical line have the same


class _Text:
    """The tokens of a source, to be found by the positions of nodes."""

    def __init__(self, source: str) -> None:
        self._lines = source.split('\n')
        self.tokens = list(_number(_joined_templates(self._lines, source)))
        self._starts = [token.start for token in self.tokens]

    def span(self, node: ast.stmt | ast.expr | ast.arg) -> range:
        """Indexes of the tokens that make up a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return range(self._index(node.lineno, node.col_offset), self._index(node.end_lineno, node.end_col_offset))

    def _index(self, line: int, column: int) -> int:
        # ast counts bytes of UTF-8 and tokenize characters: taken for one another, any line with an accent before
        # the place in question is cut in the wrong spot.
        before = self._lines[line - 1].encode()[:column].decode()
        return bisect_left(self._starts, (line, len(before)))


def _joined_templates(lines: list[str], source: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of `source`, an f-string being one of them in every version of Python.

    Its text is taken from the source, since in the middle parts that tokenize reports ``{{`` has become ``{``.
    """
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in TEMPLATE_START:
            start = start if depth else token.start
            depth += 1
        elif token.type in TEMPLATE_END:
            depth -= 1
            if not depth:
                text = _between(lines, start, token.end)
                yield tokenize.TokenInfo(tokenize.STRING, text, start, token.end, '')
        elif not depth:
            yield token


def _between(lines: list[str], start: Position, end: Position) -> str:
    rows = lines[start[0] - 1:end[0]]
    rows[-1] = rows[-1][:end[1]]        # first the end: both may be in one row
    rows[0] = rows[0][start[1]:]
    return '\n'.join(rows)


def _number(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[Token]:
    """Turn the tokens that stand for line structure into numbers on those that show."""
    level = row = 0
    for kind, text, start, end, _ in tokens:
        level += (kind == tokenize.INDENT) - (kind == tokenize.DEDENT)
        row += kind == tokenize.NEWLINE
        if kind not in INVISIBLE and kind not in (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE):
            yield Token(kind, text, start, end, level, row)


# ---- deciding: what goes


class _Cutter:
    """Collects the tokens that need not be sent."""

    def __init__(self, text: _Text, may_type_check: bool) -> None:
        self._text = text
        self._may_type_check = may_type_check
        self._gone: set[int] = set()
        self._instead: dict[int, str] = {}

    def walk(self, tree: ast.Module) -> None:
        # A list of what is left to do, not recursion: to ast each `elif` is one level deeper than the one before,
        # and a thousand of them are legal.
        todo: list[tuple[ast.AST, ast.AST]] = [(tree, tree)]
        while todo:
            node, scope = todo.pop()
            for body in _bodies(node):
                staying = self._cut_idle(body, scope, may_be_empty=isinstance(node, ast.Module))
                todo.extend((statement, self._cut_inside(statement, scope)) for statement in staying)

    def remaining(self) -> Iterator[Token]:
        for index, token in enumerate(self._text.tokens):
            if index in self._instead:
                yield token._replace(text=self._instead[index])
            elif index not in self._gone:
                yield token

    def _cut_idle(self, body: list[ast.stmt], scope: ast.AST, may_be_empty: bool) -> list[ast.stmt]:
        """Cut the statements of a block that do nothing; the others are returned."""
        idle = {statement for statement in body if self._is_idle(statement, scope)}
        for statement in idle:
            self._cut_statement(statement)
        if len(idle) == len(body) and not may_be_empty:
            self._instead[self._text.span(body[0]).start] = '0'
        return [statement for statement in body if statement not in idle]

    def _is_idle(self, node: ast.stmt, scope: ast.AST) -> bool:
        match node:
            # Not the first of a body alone: with it gone the next one would become the docstring.
            case ast.Expr(value=ast.Constant(value=str())):
                return True
            case ast.AnnAssign(value=None):
                return not _has_fields(scope) and not _makes_local(node, scope)
            case ast.If(test=ast.Name(id='TYPE_CHECKING'), orelse=[]):
                return not self._may_type_check and not self._is_elif(node)
        return False

    def _is_elif(self, node: ast.If) -> bool:
        return self._text.tokens[self._text.span(node).start].text == 'elif'

    def _cut_statement(self, node: ast.stmt) -> None:
        span = self._text.span(node)
        self._gone.update(span)
        if [token.text for token in self._text.tokens[span.stop:span.stop + 1]] == [';']:
            self._gone.add(span.stop)

    def _cut_inside(self, node: ast.stmt, scope: ast.AST) -> ast.AST:
        """Cut the annotations of a statement itself. Return the scope that the statements within it belong to."""
        if isinstance(node, ast.AnnAssign) and not _has_fields(scope):
            self._cut_variable(node)
        elif isinstance(node, FunctionNode) and all(map(_is_blind, node.decorator_list)):
            self._cut_signature(node)
        return node if isinstance(node, FunctionNode | ast.ClassDef) else scope

    def _cut_variable(self, node: ast.AnnAssign) -> None:
        colon = self._find(':', self._text.span(node.target).stop)
        annotation = self._text.span(node.annotation)
        if node.value:
            self._gone.update(range(colon, self._find('=', annotation.stop)))
        else:
            self._gone.update(range(colon + 1, self._text.span(node).stop))
            self._instead[colon + 1] = '0'

    def _cut_signature(self, node: FunctionNode) -> None:
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                # The name is one token; with the brackets around an annotation, all the rest is the annotation.
                self._gone.update(self._text.span(argument)[1:])
        if node.returns:
            span = self._text.span(node.returns)
            self._gone.update(range(self._find_back('->', span.start), self._find(':', span.stop)))

    # Brackets around an expression are not part of its node. So the sign before or after it is searched for, with
    # nothing in between that could look like it.

    def _find(self, text: str, index: int) -> int:
        while self._text.tokens[index].text != text:
            index += 1
        return index

    def _find_back(self, text: str, index: int) -> int:
        while self._text.tokens[index].text != text:
            index -= 1
        return index


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every block of statements right beneath a statement or module."""
    for part in (node, *getattr(node, 'handlers', ()), *getattr(node, 'cases', ())):
        for name in ('body', 'orelse', 'finalbody'):
            body = getattr(part, name, None)
            if body:
                yield body


def _has_fields(scope: ast.AST) -> bool:
    """Whether somebody may read the annotations in the body of this scope."""
    return isinstance(scope, ast.ClassDef) and bool(scope.bases or scope.keywords or scope.decorator_list)


def _is_blind(decorator: ast.expr) -> bool:
    """Whether this decorator is known not to look at annotations."""
    match decorator:
        case ast.Name(id=name):
            return name in BLIND_DECORATORS
        case ast.Attribute(attr=name):
            return name in BLIND_METHODS
    return False


def _makes_local(node: ast.AnnAssign, scope: ast.AST) -> bool:
    """Whether it is only by this declaration that its name is a local one of a function.

    Taken away, the function would read a global of that name, or an inner `nonlocal` would be a syntax error.
    """
    name = node.target
    return isinstance(name, ast.Name) and isinstance(scope, FunctionNode) and name.id not in _assigned(scope)


def _assigned(function: FunctionNode) -> Iterator[str]:
    """Names that assignments of all kinds in a function's own scope bind."""
    todo: list[ast.AST] = [*function.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, INNER_SCOPES) and not (isinstance(node, ast.AnnAssign) and not node.value):
            todo.extend(ast.iter_child_nodes(node))


def _may_type_check(tree: ast.Module) -> bool:
    """Whether `TYPE_CHECKING` could be true: it is bound to something else than False and typing's own, or nowhere."""
    bound = harmless = 0
    for node in ast.walk(tree):
        match node:
            case ast.Name(id='TYPE_CHECKING', ctx=ast.Store() | ast.Del()):
                bound += 1
            case ast.alias(name=name, asname=asname):
                bound += 'TYPE_CHECKING' == (asname or name)
            case ast.Assign(targets=[ast.Name(id='TYPE_CHECKING')], value=ast.Constant(value=False)):
                harmless += 1
            case ast.ImportFrom(module='typing' | 'typing_extensions', names=names):
                harmless += sum('TYPE_CHECKING' == alias.name == (alias.asname or alias.name) for alias in names)
    return not bound or bound > harmless


# ---- writing


def _without_idle_semicolons(tokens: Iterable[Token]) -> Iterator[Token]:
    """Leave out each semicolon that no statement follows any more."""
    ahead: list[Token] = []
    for token in tokens:
        if ahead and (ahead[0].text != ';' or ahead[0].row == token.row):
            yield ahead[0]
        ahead = [token]
    yield from (token for token in ahead if token.text != ';')


def _write(tokens: Iterable[Token]) -> str:
    """Lay the tokens out again: each on its line, one space per level in front, and between two where they'd merge."""
    parts = ['']
    line, depth = 1, 0
    previous: Token | None = None
    for token in tokens:
        parts += [_gap(previous, token, token.start[0] - line, depth), token.text]
        line = token.start[0] + token.text.count('\n')
        depth += BRACKETS.get(token.text, 0)
        previous = token
    return ''.join(parts) + '\n' * bool(previous)


def _gap(previous: Token | None, token: Token, lines: int, depth: int) -> str:
    """What to write in front of a token that starts so many lines further down than the one before it ended."""
    if previous is None or previous.row != token.row:
        return '\n' * lines + ' ' * token.level
    if lines:
        # Outside of brackets a line break ends the statement, unless it is escaped.
        return ('\n' if depth else '\\\n') * lines
    return ' ' if _would_merge(previous, token) else ''


def _would_merge(left: Token, right: Token) -> bool:
    if left.end == right.start:
        return False    # they stood like this; it also keeps whole what old tokenizers tear apart, such as `℘1`
    before, after = left.text[-1], right.text[0]
    if left.kind == tokenize.NUMBER:
        return after == '.' or _is_wordlike(after)      # `1 .real`; and `1. if` is deprecated without its space
    # An empty string beside another one would open a triple quote.
    return _is_wordlike(before) and _is_wordlike(after) or before == after and after in '"\''


def _is_wordlike(character: str) -> bool:
    return character.isalnum() or character == '_' or character > '\x7f'
