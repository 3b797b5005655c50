"""
What tests of programs that build on this library need: whole trees of contexts inside one process, and a check of
what a test has left behind.

Ring 2, public. A `Tree` joins real routers by memory links: the code that carries a message, refuses it or learns that
a context is gone is the one that runs between processes, but there is no child, descriptor, thread or clock, so nothing
has to be waited for and every failure happens again when the test is run again. Nothing moves by itself:
`Tree.settle()` carries all messages until none is left. Everything belongs to the thread that made the tree.

Example::

    def test_the_disk_is_asked_once():
        with mitogen.testing.Tree() as tree:
            web = tree.add(name='web')
            disk = tree.add(web, name='disk')
            answer = tree.context(disk).call_async(os.path.join, 'a', 'b')
            tree.settle()
            assert answer.get(block=False).unpickle() == 'a/b'

Because nobody else carries messages, what waits would wait for ever: send first, settle, then ``get(block=False)``.
Only ``call()`` and ``send_await()`` of contexts that `Tree.context()` returned settle the tree by themselves.
"""

import contextlib
import importlib
import itertools
import os
import random as random_module
import threading
import time
from collections.abc import Hashable, Iterator
from types import ModuleType
from typing import Any

import mitogen.core
import mitogen.master
import mitogen.method
import mitogen.modules.loader
import mitogen.modules.responder
import mitogen.parent
from mitogen.core import Message
from mitogen.memory import MemoryBroker, MemoryStream

#: Rounds that one settle() may take. A test needs some hundred; beyond this a message runs in circles.
MAX_ROUNDS = 20_000

#: Seconds that leaks() gives threads, descriptors and children to go, and seconds between two looks.
LEAK_GRACE, LEAK_INTERVAL = 5.0, 0.01


class ManualClock:
    """A clock that stands still until it is told otherwise, for whatever takes the time as an argument.

    >>> clock = ManualClock()
    >>> clock.advance(2.5)
    >>> clock()
    2.5
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


# ---- trees of routers ------------------------------------------------------------------------------

class _Responder(mitogen.modules.responder.Responder):
    """Answers at once instead of on a thread of its own."""

    def _on_request(self, msg: Message) -> None:
        self.serve(msg)


class _Context(mitogen.parent.Context):
    """Settles its tree instead of waiting."""

    def send_await(self, msg: Message, deadline: float | None = None) -> Any:
        receiver = self.send_async(msg)
        try:
            self.router.tree.settle()
            return receiver.get(block=False).unpickle()
        finally:
            receiver.close()


class _Master(mitogen.master.Router):
    context_class = _Context
    tree: 'Tree'

    def _make_relay(self) -> mitogen.modules.responder.Responder:
        self.responder = _Responder(self)
        return self.responder


class Node:
    """One context of a tree, with what an ExternalContext has.

    :ivar name: for people.
    :ivar context_id: its id.
    :ivar router: a `mitogen.master.Router` at the root; else a leaf's, which becomes a `mitogen.parent.Router` with its
        first child.
    :ivar broker: its MemoryBroker.
    :ivar parent: the Node above it, or None.
    :ivar stream: its end of the link to the parent, or None.
    :ivar link: the parent's end of it, or None.
    :ivar importer: what asks the parent for modules, for this context and those below; in children only.
    """

    def __init__(self, name: str, router: Any, parent: 'Node | None' = None) -> None:
        self.name, self.router, self.parent = name, router, parent
        self.broker: MemoryBroker = router.broker
        self.context_id: int = router.context_id
        self.context = router.myself()
        self.stream: MemoryStream | None = None
        self.link: MemoryStream | None = None

    def __repr__(self) -> str:
        return 'Node(%r, %d)' % (self.name, self.context_id)

    def live(self) -> None:
        """Become a child that serves calls."""
        self.config: dict[str, Any] = {'forked': True}      # as after a fork, all modules are here
        self.router.econtext = self
        self.router.add_handler(lambda msg: self.broker.shutdown(), mitogen.core.SHUTDOWN,
                                policy=mitogen.core.has_parent_authority)
        self.importer = mitogen.modules.loader.Importer(self.router)
        self.dispatcher = mitogen.core.Dispatcher(self)      # type: ignore[arg-type]

    def load_module(self, fullname: str) -> ModuleType:
        return importlib.import_module(fullname)

    def act(self) -> bool:
        """Do one thing, of the broker's or, when that has none, run a call; return whether there was one to do."""
        return self.broker.step() or self._serve()

    def _serve(self) -> bool:
        if self.stream is None or self.dispatcher._calls.empty():
            return False
        msg = self.dispatcher._calls.get()
        if not msg.is_dead:
            self.dispatcher._serve(msg)
        return True

    def context_of(self, other: 'Node') -> Any:
        """Return the Context by which this one knows another."""
        return self.router.context_by_id(other.context_id, name=other.name)

    def say(self, msg: Message, link: MemoryStream | None = None) -> None:
        """Put a message on a link (default: to the parent) past all checks of its own, as a hostile context would.

        Source and authority are its own where the message does not say otherwise.
        """
        msg.src_id = self.context_id if msg.src_id is None else msg.src_id
        msg.auth_id = self.context_id if msg.auth_id is None else msg.auth_id
        out: Any = link or self.stream
        self.broker.defer(out.send, msg)

    def say_bytes(self, data: bytes) -> None:
        """The same with bytes that need not be a message."""
        link: Any = self.link
        link.router.broker.later(link.arrive, data)


class Tree:
    """A master and the contexts below it, in this process.

    Use it as context manager, or call close(): that ends all contexts as the end of a program would.

    :param max_message_size: as of Router.
    :param unidirectional: as of Router.
    :param chunk: cut everything that is sent into pieces of so many bytes.
    :param random: chooses who is next to do something; default: each in turn. So rare orders can be tried, and a seed
        brings them back.
    """

    def __init__(self, max_message_size: int | None = None, unidirectional: bool = False, chunk: int | None = None,
                 random: random_module.Random | None = None) -> None:
        self.clock = ManualClock()
        self._chunk, self._random = chunk, random
        router = _Master(MemoryBroker(self.clock), max_message_size)
        router.tree, router.unidirectional = self, unidirectional
        self.master = Node('master', router)
        #: All contexts that were ever added, by id; the master first.
        self.nodes: dict[int, Node] = {0: self.master}

    def __enter__(self) -> 'Tree':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """End all contexts."""
        self.master.broker.shutdown()
        self.settle()

    def add(self, parent: Node | None = None, name: str | None = None, unidirectional: bool | None = None) -> Node:
        """Start a child of `parent` (default: the master) and return it. Settles.

        :param unidirectional: as of every connection method.
        """
        parent = parent or self.master
        mitogen.parent.grow(parent.router)
        via = None if parent is self.master else self.context(parent)
        context_id = self.master.router.allocate_id(via)
        router = mitogen.core.LeafRouter(MemoryBroker(self.clock), context_id,
                                         [parent.context_id] + parent.router.parent_ids)
        method = mitogen.method.Method(unidirectional=unidirectional)
        router.__dict__.update(parent.router._router_config(method))
        node = self.nodes[context_id] = Node(name or 'context-%d' % context_id, router, parent)
        node.live()
        self._join(parent, node)
        self.settle()
        return node

    def _join(self, parent: Node, child: Node) -> None:
        above = MemoryStream(parent.router, child.context_id, child.name, self._chunk)
        below = MemoryStream(child.router, parent.context_id, 'parent', self._chunk)
        above.peer, below.peer = below, above
        child.link, child.stream = above, below
        child.router.parent_stream = below
        mitogen.core.listen(below, 'disconnect', child.broker.shutdown)
        context = parent.router.context_class(parent.router, child.context_id, child.name)
        parent.broker.later(parent.router.register, context, above)

    def context(self, node: Node) -> Any:
        """Return the Context by which the master knows `node`."""
        return self.master.context_of(node)

    def cut(self, node: Node, reason: str = 'connection closed') -> None:
        """Lose the connection between a context and its parent, as when its process is killed. Does not settle.

        :param reason: what the parent finds out about it.
        """
        link: Any = node.link
        link.reason = '%s is gone: %s' % (node.name, reason)
        link.router.broker.later(link.on_disconnect, link.router.broker)

    def settle(self, rounds: int | None = None) -> None:
        """Carry messages and run calls until nothing is left to do.

        :param rounds: let everybody do so many things at most, and leave the rest as it is.
        :raises AssertionError: it does not come to an end.
        """
        for _ in range(MAX_ROUNDS if rounds is None else rounds):
            nodes = list(self.nodes.values())
            if self._random is not None:
                self._random.shuffle(nodes)
            if not any([node.act() for node in nodes]):
                return
        if rounds is None:
            raise AssertionError('still busy after %d rounds: something goes in circles' % MAX_ROUNDS)


# ---- what a test leaves behind ---------------------------------------------------------------------

@contextlib.contextmanager
def leaks(grace: float = LEAK_GRACE) -> Iterator[None]:
    """Fail when the block leaves behind a descriptor, a thread or a child process that was not there before.

    >>> with leaks():
    ...     mitogen.utils.run_with_router(main)

    Children and descriptors are looked for where the system shows them as files (Linux; descriptors elsewhere too).

    :param grace: seconds that they have to go after the block.
    :raises AssertionError: naming what is still there. Nothing is checked when the block itself raises.
    """
    before = belongings()
    yield
    deadline = time.monotonic() + grace
    while belongings().keys() - before.keys() and time.monotonic() < deadline:
        time.sleep(LEAK_INTERVAL)
    new = [text for key, text in belongings().items() if key not in before]
    if new:
        raise AssertionError('left behind: ' + ', '.join(sorted(new)))


def belongings() -> dict[Hashable, str]:
    """Return {what identifies it: words for it} of all descriptors, threads and children of this process."""
    return dict(itertools.chain(_descriptors(), _threads(), _children()))


def _descriptors() -> Iterator[tuple[Hashable, str]]:
    for name in os.listdir('/dev/fd'):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue        # the one that listed the folder
        # The number alone tells nothing: it is given to another file as soon as it is free.
        yield ('descriptor', name, status.st_dev, status.st_ino), 'descriptor %s' % name


def _threads() -> Iterator[tuple[Hashable, str]]:
    for thread in threading.enumerate():
        yield ('thread', id(thread)), 'thread %s' % thread.name


def _children() -> Iterator[tuple[Hashable, str]]:
    for name in os.listdir('/proc') if os.path.isdir('/proc/self') else ():
        try:
            with open('/proc/%d/stat' % int(name), 'rb') as fp:
                # The program's name stands in parentheses and may hold anything.
                program, _, rest = fp.read().partition(b'(')[2].rpartition(b')')
        except (OSError, ValueError):
            continue        # gone meanwhile, or not a process
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid():
            yield ('child', name), 'child %s (%s)%s' % (name, program.decode(errors='replace'),
                                                        ', never reaped' if state == b'Z' else '')
