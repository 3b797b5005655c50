"""Which imports a piece of compiled code contains.

A call brings its code: before a function runs in a child, its module is sent there together with what that module is
going to import. This is read from the module's code object, which the import system has in a file already: to parse
the sources of 150 modules takes more than a second, to look through their code a few milliseconds.

So it reads the instructions themselves, and of those only the ones that matter. What it relies on holds for CPython
3.10 to 3.14: an instruction is two bytes, number and argument; an import statement pushes its level and its names,
both constants, right before IMPORT_NAME.

It says what code may import. It must not find, import or run anything: whether there is a module of that name is for
others to find out. It keeps nothing between calls, and any thread may use it.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterator
from opcode import opmap
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Of a function: its variables are no dictionary. As the module inspect documents it, which takes long to import.
CO_OPTIMIZED = 1

IMPORT_NAME = opmap['IMPORT_NAME']
EXTENDED_ARG = opmap['EXTENDED_ARG']
LOAD_CONST = opmap['LOAD_CONST']
LOAD_SMALL_INT = opmap.get('LOAD_SMALL_INT')    # Python 3.14; before, levels are constants like others

# Most instructions are others. Passing over them in C takes 25 ms for 120 modules with their functions; a loop that
# looks at each of them takes 75.
INTERESTING = re.compile(b'[%s]' % re.escape(bytes(filter(None, [LOAD_CONST, LOAD_SMALL_INT, IMPORT_NAME]))))

# Python 3.12 wraps what has type parameters in a function of this name and calls it at once.
WRAPPER_NAME = '<generic parameters of '


class Import(namedtuple('Import', 'level module names')):
    """One import statement.

    ``import a.b`` is ``Import(0, 'a.b', ())``, ``from ..a import b, c`` is ``Import(2, 'a', ('b', 'c'))``, and
    ``from . import *`` is ``Import(1, '', ('*',))``.
    """

    __slots__ = ()


def imports(code: CodeType, deep: bool = False) -> Iterator[Import]:
    """The different import statements in `code` that may run when it does, in the order in which they stand there.

    Those are the statements of the module and of the bodies of its classes. Where Python moves handlers of exceptions
    to the end of the code, imports in a handler come last. What the compiler leaves out, as it does beneath
    ``if False``, is not found; before Python 3.12 it keeps the classes that stand there.

    :param deep: also those in functions, which run when somebody calls them.
    """
    # Each once: the compiler writes down some blocks several times, such as `finally`.
    return iter(dict.fromkeys(_imports(code, deep)))


def candidates(imported: Import, package: str) -> list[str]:
    """Full names of the modules that an import statement loads, if they exist: parents first.

    Whether ``b`` in ``from a import b`` is a module or something within one cannot be seen here, so ``a.b`` is
    among them. Of ``*`` nothing is known. More dots than the package has levels are an error when it runs, and nothing
    here.

    >>> candidates(Import(1, 'a', ('b',)), 'p.q')
    ['p', 'p.q', 'p.q.a', 'p.q.a.b']

    :param package: ``__package__`` of the module in which the statement stands.
    """
    levels = package.split('.') if package else []
    if imported.level > len(levels):
        return []
    above = levels[:len(levels) - imported.level + 1] if imported.level else []
    path = above + imported.module.split('.') * bool(imported.module)
    parents = ['.'.join(path[:depth + 1]) for depth in range(len(path))]
    return parents + ['.'.join([*path, name]) for name in imported.names if name != '*']


def _imports(code: CodeType, deep: bool) -> Iterator[Import]:
    before: Any = None      # the last but one constant, and the last
    last: Any = None
    if IMPORT_NAME in code.co_code[::2]:
        instructions = _instructions(code.co_code)
    else:       # most classes; it loads what it has, one after the other
        instructions = ((LOAD_CONST, index) for index in range(len(code.co_consts)))
    for number, argument in instructions:
        if number == IMPORT_NAME:
            yield Import(before, code.co_names[argument], last or ())
            continue
        before, last = last, argument if number == LOAD_SMALL_INT else code.co_consts[argument]
        if isinstance(last, CodeType) and (deep or _runs_at_once(last)):
            yield from _imports(last, deep)


def _runs_at_once(code: CodeType) -> bool:
    """Whether inner code runs where it stands: the body of a class. Everything else with code is called later."""
    return not code.co_flags & CO_OPTIMIZED or code.co_name.startswith(WRAPPER_NAME)


def _instructions(code: bytes) -> Iterator[tuple[int, int]]:
    """Number and argument of each interesting instruction.

    :param code: `co_code`, in which inline caches are zeros and nothing is specialized, whatever ran before.
    """
    numbers, arguments = code[::2], code[1::2]
    for match in INTERESTING.finditer(numbers):
        yield numbers[match.start()], _argument(numbers, arguments, match.start())


def _argument(numbers: bytes, arguments: bytes, index: int) -> int:
    """The argument of one instruction; what does not fit into its byte stands in prefixes before it."""
    argument, shift = arguments[index], 8
    while index and numbers[index - 1] == EXTENDED_ARG:
        index -= 1
        argument |= arguments[index] << shift
        shift += 8
    return argument
