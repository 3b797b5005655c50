"""
``mitogen tree``: draws contexts, who they are and how far away.

Ring 2. Unlike in other commands, chains that begin alike share their contexts, or there would be nothing to draw.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import mitogen.cli
import mitogen.commands.fleet as fleets
import mitogen.commands.target as target
import mitogen.logs
from mitogen.commands.fleet import Fleet, Place

#: Calls whose median is the time to a context. The first, which brings the code, is not among them.
PINGS = 5


class Node:
    """A context of the tree: at the end of a chain of hops, or the master.

    :ivar hops: the whole chain.
    :ivar error: why there is none.
    """

    def __init__(self, hops: str) -> None:
        self.hops = hops
        self.children: dict[str, Node] = {}
        self.facts: dict[str, Any] = {}
        self.error = ''
        self.context: Any = None
        self.lock = threading.Lock()        # one thread connects, those behind it wait

    def add(self, hops: str) -> None:
        """Have a chain below this one."""
        node = self
        for hop in hops.split('/'):
            path = node.hops + '/' * bool(node.hops) + hop
            node = node.children.setdefault(hop, Node(path))

    def label(self) -> str:
        hop = self.hops.rpartition('/')[2] or 'master'
        if not self.facts:
            return '%s  %s' % (hop, self.error.partition('\n')[0] or fleets.WAITING)
        text = '%s  %s@%s pid %d  Python %s  %.1f MB' % (hop, *(self.facts[name] for name in (
            'user', 'host', 'pid', 'python')), self.facts['memory'] / 1e6)
        return text + ('  %.2f ms' % self.facts['ms'] if 'ms' in self.facts else '')

    def walk(self) -> Iterator['Node']:
        yield self
        for child in self.children.values():
            yield from child.walk()


def draw(node: Node, lines: tuple[str, str, str, str], indent: str = '') -> Iterator[str]:
    """Yield the lines of a tree.

    :param lines: what stands before a child, the last child, what is below a child, below the last.
    """
    children = list(node.children.values())
    for child in children:
        last = child is children[-1]
        yield indent + lines[last] + mitogen.logs.visible(child.label())
        yield from draw(child, lines, indent + lines[2 + last])


def lines_for(file: Any) -> tuple[str, str, str, str]:
    """Return the lines that a file can show."""
    try:
        '├└│─'.encode(getattr(file, 'encoding', None) or 'ascii')
    except UnicodeEncodeError:
        return '|- ', '`- ', '|  ', '   '
    return '├─ ', '└─ ', '│  ', '   '


def measure(context: Any) -> dict[str, Any]:
    """Return what there is to know about a context."""
    facts: dict[str, Any] = dict(context.call(target.facts))
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        context.call(target.ping)
        times.append(time.perf_counter() - began)
    facts['ms'] = round(statistics.median(times) * 1000, 3)
    return facts


def explore(fleet: Fleet, place: Place, root: Node, connect: Any) -> None:
    """Connect all hops of a place that nobody else has connected."""
    node, via = root, None
    for hop in place.hops.split('/'):
        node = node.children[hop]
        with node.lock:
            if node.context is None and not node.error:
                try:
                    node.context = fleet.arrived(place, connect(via, node.hops, hop))
                    node.facts = measure(node.context)
                except fleets.FAILURES as exc:
                    node.error = fleets.describe(exc)
        if node.error:
            raise fleets.Failure('%s', node.error)
        via = node.context


def run(options: argparse.Namespace) -> int:
    """Carry it out; return the exit status."""
    root = Node('')
    places = list(dict.fromkeys(options.on or ['local']))
    for hops in places:
        root.add(hops)
    root.facts = target.facts()

    def work(fleet: Fleet, place: Place) -> None:
        def connect(via: Any, path: str, hop: str) -> Any:
            return mitogen.cli.connect_hop(fleet.router, via, path, *mitogen.cli.parse_hop(hop),
                                           mitogen.cli.passwords_for(fleet))
        explore(fleet, place, root, connect)

    status = Fleet(places, options, work, lambda place: None).run()
    if options.json:
        for node in root.walk():
            print(json.dumps({'on': node.hops, **node.facts, **({'error': node.error} if node.error else {})}))
    else:
        print(root.label())
        print(*draw(root, lines_for(sys.stdout)), sep=os.linesep)
    return status
