"""Whatever a master has done is over when it is: calls, contexts and modules leave nothing in its memory and tables.

SOAK=1: 100,000 calls, 10,000 contexts one after another, 1,000 modules.
"""

import collections
import gc
import os
import sys
import threading

import pytest

import mitogen.modules.library
import support
import targets
import targets_imports
from mitogen.core import CallError
from soak import memory, tables

SOAK = 'SOAK' in os.environ
CALLS, FORKS, INTERPRETERS, MODULES = (100_000, 9_000, 1_000, 1_000) if SOAK else (3_000, 40, 14, 60)

#: Weak references that Python makes in a test of any length: it remembers which classes are of which abstract ones.
WEAK = 30

BLOCKS = 'blocks that Python has allocated'

#: MB by which memory may differ: what an allocator gives back is its own affair.
MEGABYTES = 4

pytestmark = pytest.mark.timeout(7200 if SOAK else 120)


class Growth:
    """Compares what there is with what there was when this was made."""

    def __init__(self, router):
        self._router = router
        self._before, self._memory = self._look(), memory()

    def _look(self):
        support.wait_for(lambda: not self._router.broker.busy or len(self._router.get_streams()) ==
                         len(self._router.broker.busy), what='the end of contexts')
        gc.collect()
        found = collections.Counter('object %s.%s' % (type(item).__module__, type(item).__qualname__)
                                    for item in gc.get_objects())
        found.update(tables(self._router))
        found[BLOCKS] = sys.getallocatedblocks()
        return found

    def check(self, what, slack):
        """Fail when there is more of something, and name it.

        :param slack: objects of one kind that may have come: what Python, and the tests, keep for themselves.
        """
        after = self._look()
        print('%s: %.1f MB before, %.1f MB after; %d blocks more' % (
            what, self._memory, memory(), after[BLOCKS] - self._before[BLOCKS]))
        assert after[BLOCKS] < self._before[BLOCKS] + 1000       # of which the two looks are half
        grown = {name: (self._before[name], size) for name, size in after.items()
                 if name != BLOCKS and size > self._before[name] + slack + WEAK * name.startswith('object weakref.')}
        assert grown == {}
        for name in 'descriptors', 'threads', 'children', 'known contexts', 'Router._handlers', 'Router._awaiting':
            assert after[name] <= self._before[name], name
        assert memory() < self._memory + MEGABYTES


def call_in_every_way(context, number):
    """Six calls, of which two are answered when nobody listens any more, or by an error."""
    assert context.call(targets.echo, number) == number
    assert [call.get().unpickle() for call in [context.call_async(targets.echo, i) for i in range(2)]] == [0, 1]
    context.call_async(targets.echo, number).close()
    context.call_no_reply(targets.echo, number)
    with pytest.raises(CallError):
        context.call(targets.fail, 'as it shall')


def test_calls(router):
    contexts = [router.fork(), router.local()]
    contexts.append(router.local(via=contexts[1]))

    def work(number):
        for context in contexts:
            call_in_every_way(context, number)

    def in_threads(rounds):
        threads = [threading.Thread(target=lambda: [work(number) for number in range(rounds)]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    in_threads(5)
    growth = Growth(router)
    in_threads(CALLS // (6 * len(contexts) * 2))
    for context in contexts:
        context.call(targets.echo, 'all that nobody listens to has been answered before')
    growth.check('%d calls' % CALLS, 20)


def one_after_another(router, number, start):
    for _ in range(number):
        context = start()
        context.call(targets.echo, 1)
        context.call(print, 'something for the log')
        context.shutdown(wait=True)


@pytest.mark.parametrize('method, number', [('fork', FORKS), ('local', INTERPRETERS)])
def test_contexts_one_after_another(router, method, number):
    start = getattr(router, method)
    one_after_another(router, 5, start)
    growth = Growth(router)
    one_after_another(router, number, start)
    growth.check('%d contexts by %s' % (number, method), 20)


def test_contexts_behind_another(router):
    """Their ids are given back, and with them what the master knew of who started whom."""
    between = router.local()
    start = lambda: router.local(via=between)       # noqa: E731
    one_after_another(router, 2, start)
    growth = Growth(router)
    one_after_another(router, INTERPRETERS, start)
    growth.check('%d contexts behind another' % INTERPRETERS, 10)


def package(write, number=MODULES):
    """Make a package of so many modules, each of which imports the one before; return the name of the last."""
    sources = {'x_many/__init__.py': '', 'x_many/m0.py': 'VALUE = 0\n'}
    for i in range(1, number):
        sources['x_many/m%d.py' % i] = 'from x_many import m%d\nVALUE = %r\n' % (i - 1, 'x' * 1000 + str(i))
    write(sources)
    return 'x_many.m%d' % (number - 1)


def import_all(router, number=MODULES):
    """Have a new context import each."""
    context = router.local()
    for i in range(number):
        assert context.call(targets_imports.why_not, 'x_many.m%d' % i) is None
    context.shutdown(wait=True)


def test_modules_sent_again_and_again(router, write):
    package(write)
    import_all(router)
    growth = Growth(router)
    for _ in range(3):
        import_all(router)
    growth.check('%d modules, three times' % MODULES, 20)


def test_modules_beyond_what_is_kept(router, write, monkeypatch):
    """There is a limit: what was not wanted for longest goes, and is read again when it is."""
    number = 60     # each looks at all that it imports, which is all before
    monkeypatch.setattr(mitogen.modules.library, 'MAX_CACHE', number * 500)
    package(write, number)
    import_all(router, number)
    library = router.responder.library
    assert len(library) < number and library._size <= number * 500
