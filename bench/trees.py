#!/usr/bin/env python3
"""What many contexts cost the master when they are children of children: messages and bytes through its own streams.

usage: trees.py [PARENTS [CHILDREN]]; default 20 parents with 50 children each, which needs some 5 GB of memory that
the forks share.

Prints one line of JSON for each way to do a thing: how many messages and bytes the master sent and received for it, and
how many seconds it took. ``one by one`` is what it costs without mitogen.fanout.
"""

import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen.fanout  # noqa: E402
import mitogen.utils  # noqa: E402

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tests'))

import targets_trees  # noqa: E402    (its folder has just been added)
from meter import Meter  # noqa: E402


def plant(router, parents, children, connect=None):
    """Return (contexts of the first level, those of the second, seconds)."""
    began = time.perf_counter()
    first = [(connect or router.local)() for _ in range(parents)]
    starting = [parent.call_async(targets_trees.start_forks, children) for parent in first]
    second = [child for receiver in starting for child in receiver.get().unpickle()]
    return first, second, time.perf_counter() - began


def one_by_one(contexts, fn, *args):
    """The same as mitogen.fanout.call(), without it."""
    return [receiver.get().unpickle() for receiver in [context.call_async(fn, *args) for context in contexts]]


def broadcast(router, contexts, fn):
    """Return once it is on its way."""
    mitogen.fanout.call_no_reply(contexts, fn)
    router.broker.defer_sync(lambda: None)


def make_module(folder, name):
    """A module that no context has yet, of a usual size."""
    with open(os.path.join(folder, name + '.py'), 'w') as fp:
        fp.write('ANSWER = 42\n' + ''.join('NAME_%d = %r\n' % (number, os.urandom(8).hex()) for number in range(500)))
    return name


def measure(meter, what, fn, *args):
    """Do it, print what it cost, and return its result."""
    meter.take()
    began = time.perf_counter()
    result = fn(*args)
    took = time.perf_counter() - began
    print(json.dumps(dict(what=what, seconds=round(took, 3), **meter.take())), flush=True)
    return result


@mitogen.utils.with_router
def main(router, parents=20, children=50):
    first, second, took = plant(router, parents, children)
    print(json.dumps(dict(what='start', contexts=len(first) + len(second), seconds=round(took, 3))), flush=True)
    meter = Meter(router)
    together = mitogen.fanout.call
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for name, fn in ('one by one', one_by_one), ('fanout', together):
            fn(second, targets_trees.nothing)       # what is needed to do it at all
            measure(meter, 'call, different answers: ' + name, fn, second, targets_trees.identity)
            measure(meter, 'call, equal answers: ' + name, fn, second, targets_trees.nothing)
            module = make_module(folder, 'module_for_' + name.replace(' ', '_'))
            measure(meter, 'import of a module: ' + name, fn, second, targets_trees.answer_of, module)
        measure(meter, 'broadcast without answers: fanout', broadcast, router, second, targets_trees.nothing)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
