"""A tree of contexts, and one call in all its leaves for the price of one to each branch.

usage: many.py [parents [children of each]]; default 3 and 4.
"""

import collections
import os
import sys

import mitogen.core
import mitogen.fanout
import mitogen.utils


@mitogen.core.takes_router
def start_children(count, router):
    return [router.fork() for _ in range(count)]


def parity():
    return 'odd' if os.getpid() % 2 else 'even'


@mitogen.utils.with_router
def main(router, parents=3, children=4):
    starting = [router.local().call_async(start_children, children) for _ in range(parents)]
    leaves = [leaf for receiver in starting for leaf in receiver.get().unpickle()]
    print(len(leaves), 'contexts:', dict(collections.Counter(mitogen.fanout.call(leaves, parity))))


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
