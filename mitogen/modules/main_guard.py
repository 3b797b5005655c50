"""Make a main script fit to be loaded by a child, or say why it must not be.

Functions of the master's own main script can be called elsewhere. The child then loads the script under the name
``__main__``, because that is where its functions and classes say that they are from. So the test
``if __name__ == '__main__':`` would be true there as well, and the program would start again in the child: at best it
fails, at worst it connects to the next machine. Here that test is made a false one. A script that has no such test
and does something as soon as it is loaded is refused.

Nothing is run, read or imported here, and nothing is kept between calls. Any thread may use it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from mitogen.modules.finder import NotSendable

NO_GUARD = """\
line {} of the main script does something whenever the script is loaded, and would do it in every child. Put what \
starts the program beneath a line "if __name__ == '__main__':", or into a function decorated with @mitogen.main()"""

# Statements that may run in a child for what they are. What is inside of an `if` or `try` is looked at by itself.
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass, ast.Try)

# What expressions without consequences are made of: above all not of calls.
PLAIN = (ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Set, ast.Dict,
         ast.Starred, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare,
         ast.unaryop, ast.operator, ast.boolop, ast.cmpop, ast.expr_context)

# And what only gives values names.
PLAIN_TARGET = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)


def main_source(source: bytes) -> bytes:
    """Return a main script as a child may load it: with its guard made false, all else where it was.

    The guard is each ``if`` (or ``elif``) outside of functions and classes that compares ``__name__`` with
    ``'__main__'``, alone or as part of an ``and``. What is beneath it never runs; an ``else`` does. Lines and their
    numbers, encoding, byte order mark and line ends stay what they are.

    :raises NotSendable: the script has neither a guard nor `mitogen.main`, and consists of more than imports,
        definitions and plain values; or it is no Python source.
    """
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(source).readline)[0]
        text, tree = source.decode(encoding), ast.parse(source)
    except (SyntaxError, ValueError) as exc:
        raise NotSendable('__main__', f'the main script cannot be read as Python source: {exc}') from exc
    guards = [node.test for node in _statements(tree) if isinstance(node, ast.If) and _is_guard(node.test)]
    if not guards and not _uses_decorator(tree):
        _refuse_unless_harmless(tree)
    return _with_false_tests(text, guards).encode(encoding)


# ---- deciding


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """All statements that run when a module does, in their order: those in bodies of functions and classes do not.

    Strictly, bodies of classes run as well. But nobody starts a program there.
    """
    todo = tree.body[::-1]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo.extend(reversed([*_inner(node)]))


def _inner(node: ast.stmt) -> Iterator[ast.stmt]:
    for part in (node, *getattr(node, 'handlers', ()), *getattr(node, 'cases', ())):
        for name in ('body', 'orelse', 'finalbody'):
            yield from getattr(part, name, ())


def _is_guard(test: ast.expr) -> bool:
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            return any(map(_is_guard, values))
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return {ast.unparse(left), ast.unparse(right)} == {'__name__', "'__main__'"}
    return False


def _uses_decorator(tree: ast.Module) -> bool:
    """Whether `mitogen.main`, which does nothing in a child, starts this program: as a decorator or by a call."""
    names = set(_names_of_main(tree))
    return any(ast.unparse(node) in names
               for statement in _statements(tree)
               for expression in _calls_at(statement)
               for node in ast.walk(expression) if isinstance(node, ast.Name | ast.Attribute))


def _names_of_main(tree: ast.Module) -> Iterator[str]:
    """What `mitogen.main` is called in this script."""
    for node in _statements(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                if (node.module, alias.name) == ('mitogen', 'main'):
                    yield alias.asname or 'main'
            elif alias.name == 'mitogen' or alias.name.startswith('mitogen.') and not alias.asname:
                yield (alias.asname or 'mitogen') + '.main'


def _calls_at(node: ast.stmt) -> list[ast.expr]:
    match node:
        case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
            return decorators
        case ast.Expr(value=value):
            return [value]
    return []


def _refuse_unless_harmless(tree: ast.Module) -> None:
    harmful = [node.lineno for node in _statements(tree) if not _is_harmless(node)]
    if harmful:
        # The last of them: programs define things first and start at the end.
        raise NotSendable('__main__', NO_GUARD.format(harmful[-1]))


def _is_harmless(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=targets, value=value):
            return all(_is_made_of(PLAIN_TARGET, target) for target in targets) and _is_plain(value)
        case ast.AnnAssign(target=target, value=value):
            return _is_made_of(PLAIN_TARGET, target) and (value is None or _is_plain(value))
        case ast.If(test=value) | ast.Expr(value=value):
            return _is_plain(value)
    return isinstance(node, DEFINITIONS)


def _is_plain(value: ast.expr) -> bool:
    return isinstance(value, ast.Lambda) or _is_made_of(PLAIN, value)


def _is_made_of(kinds: tuple[type[ast.AST], ...], expression: ast.expr) -> bool:
    return all(isinstance(part, kinds) for part in ast.walk(expression))


# ---- editing


def _with_false_tests(text: str, tests: list[ast.expr]) -> str:
    # Line ends are left as they are; a script may have any kind, and a mixture.
    lines = list(io.StringIO(text, newline=''))
    for test in tests:
        assert test.end_lineno is not None and test.end_col_offset is not None
        start = _index(lines, test.lineno, test.col_offset)
        stop = _index(lines, test.end_lineno, test.end_col_offset)
        text = _with_zero(text, start, stop)
    return text


def _index(lines: list[str], line: int, column: int) -> int:
    """Where in the text a position of ast is, which counts lines from 1 and bytes of UTF-8."""
    return sum(map(len, lines[:line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _with_zero(text: str, start: int, stop: int) -> str:
    """Replace an expression by 0 and as many blanks as it takes to fill its place."""
    blank = re.sub(r'[^\r\n]', ' ', text[start:stop])
    # A line break in there was escaped, in brackets or in a string: escaped it is right in any of these places.
    text = text[:start] + re.sub(r' (?=[\r\n])', r'\\', blank) + text[stop:]
    # `if"__main__"==__name__` is legal, and `if0` a name.
    match = re.compile(r'(?<!\w) ').search(text, start)
    assert match, 'a guard is far wider than two characters'
    return text[:match.start()] + '0' + text[match.end():]
