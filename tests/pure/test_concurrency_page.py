"""docs/concurrency.rst: names every lock and queue that an object or a module keeps, and none that there is not."""

import ast
import re

import pytest

import support

TEXT = (support.checkout() / 'docs' / 'concurrency.rst').read_text()
KINDS = {'Lock', 'RLock', 'Condition', 'Semaphore', 'BoundedSemaphore', 'Event', 'Barrier', 'Queue', 'SimpleQueue',
         'Latch'}


class Finder(ast.NodeVisitor):
    """Collects names of what is assigned one of KINDS: ``Class.attribute``, or that of a module."""

    def __init__(self):
        self.found, self._class, self._depth = set(), '', 0

    def visit_ClassDef(self, node):
        outside, self._class = (self._class, self._depth), node.name
        self._depth = 0
        self.generic_visit(node)
        self._class, self._depth = outside

    def visit_FunctionDef(self, node):
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_Lambda = visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node):
        for target in node.targets:
            self._take(target, node.value)

    def visit_AnnAssign(self, node):
        self._take(node.target, node.value)

    def _take(self, target, value):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for pair in zip(target.elts, value.elts):
                self._take(*pair)
        elif isinstance(value, ast.Call) and KINDS & {getattr(value.func, 'attr', ''), getattr(value.func, 'id', '')}:
            while isinstance(target, ast.Subscript):
                target = target.value
            if isinstance(target, ast.Attribute):
                self.found.add('%s.%s' % (self._class, target.attr))
            elif not self._depth:       # else it is a call's own
                self.found.add(target.id)


def locks(root):
    for path in root.rglob('*.py'):
        finder = Finder()
        finder.visit(ast.parse(path.read_text()))
        yield from ('%s: %s' % (path.relative_to(root), name) for name in finder.found)


def test_every_lock_is_there_and_no_other():
    named = re.findall(r'^   \* - ``([\w/]+\.py: [\w.]+)``$', TEXT, re.M)
    assert len(named) == len(set(named))
    assert set(named) == set(locks(support.checkout() / 'mitogen'))


def test_the_finder_finds():
    finder = Finder()
    finder.visit(ast.parse('a = threading.Lock()\nclass B:\n def f(self):\n  self.c, x = Latch(self), 1\n  d = Lock()\n'
                           '  self.e[1]: T = Queue()'))
    assert finder.found == {'a', 'B.c', 'B.e'}


@pytest.mark.parametrize('name', re.findall(r'``(\w+)\.(\w+)``(?:, ``\w+``)?\n     - ', TEXT))
def test_what_is_shared_without_a_lock_exists(name):
    kind, attribute = name
    source = '\n'.join(path.read_text() for path in (support.checkout() / 'mitogen').rglob('*.py'))
    assert 'class %s' % kind in source and re.search(r'\b%s\b' % attribute, source)
