"""
A broker and a stream for tests: no thread, no descriptor, no clock. What is to be done waits until somebody says so.

Ring 2; used through `mitogen.testing`. Everything belongs to the one thread that runs the test, which is the broker
thread of each broker while that does something.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import mitogen.broker
import mitogen.core
from mitogen.core import Message


class MemoryBroker(mitogen.broker.Broker):
    """A broker without thread and descriptors: what is deferred is done, in order, when the tree says so.

    :param clock: says when timers are due.
    """

    def __init__(self, clock: Callable[[], float]) -> None:     # no super(): that would start a thread
        self.clock = clock
        self.timers = mitogen.broker.Timers()
        self.busy: set[Any] = set()
        self.streams: list[MemoryStream] = []
        self._work: deque[Callable[[], Any]] = deque()
        self.outgoing, self._deferred = [], []
        self._running = self._closed = False

    def work_alone(self) -> None:
        """There is no thread here."""

    def on_thread(self) -> bool:
        return self._running

    def defer(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if self._running:
            fn(*args, **kwargs)
        elif self._closed:
            raise mitogen.core.Error('the broker is shut down')
        else:
            self.later(fn, *args, **kwargs)

    def later(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """The same, but never at once, and without an error when the broker has ended."""
        if not self._closed:
            self._work.append(lambda: fn(*args, **kwargs))

    def wait_for(self, queue: Any, timeout: float | None) -> Any:
        return queue.get(True, timeout)

    def ask(self, queue: Any, timeout: float | None, context: Any, msg: Any) -> Any:
        context.send(msg)
        return self.wait_for(queue, timeout)

    def defer_sync(self, fn: Callable[[], Any]) -> Any:
        if self._running:
            return fn()
        while self.step():
            pass
        if self._closed:
            raise mitogen.core.Error('the broker is shut down')
        self._running = True
        try:
            return fn()
        finally:
            self._running = False

    def step(self) -> bool:
        """Do one thing; return whether there was one to do."""
        if self._closed:
            return False
        self._work.extend(self.timers.due(self.clock()))
        if self._work or self.stopping:
            self._run(self._work.popleft() if self._work else self._finish)
            return True
        return False

    def _run(self, fn: Callable[[], Any]) -> None:
        self._running = True
        try:
            self._guard(None, lambda broker: fn())
            self._settle()
        finally:
            self._running = False

    def _finish(self) -> None:
        for stream in list(self.streams):
            self._guard(stream, stream.on_disconnect)
        self._closed = True
        while self._work:
            self._guard(None, lambda broker: self._work.popleft()())
        mitogen.core.fire(self, 'exit')

    def join(self) -> None:
        """Carry out what is left, until the broker has ended."""
        while self.step():
            pass


class MemoryStream(mitogen.core.Stream):
    """One end of a link between two routers of a tree. What is sent is packed, cut and parsed as between processes.

    :param chunk: bytes that arrive at once; None: all that were sent at once.
    :ivar sent: how many messages went this way.
    """

    got = sent = 0

    def __init__(self, router: Any, remote_id: int, name: str, chunk: int | None = None) -> None:
        self.router, self.remote_id, self.name, self.chunk = router, remote_id, name, chunk
        self.peer: MemoryStream | None = None
        self.modules_sent: set[str] = set()
        self.sources_sent: set[str] = set()
        self.needs_code = self.takes_compiled = False      # all contexts of the tree share the modules of this process
        self._framer = mitogen.core.Framer(router.max_message_size)
        self._unsent = deque()
        self._open = True
        router.broker.streams.append(self)

    def is_open(self) -> bool:
        return self._open

    def send(self, msg: Message) -> None:
        self.sent += 1
        mitogen.core.Stream.send(self, msg)

    def pass_on(self, msg: Message, got: int) -> bool:
        self.send(msg)
        return True

    def on_transmit(self, broker: mitogen.core.Broker) -> None:
        data = b''.join(self._unsent)
        self._unsent.clear()
        if self._open and self.peer is not None:
            size = self.chunk or len(data) or 1
            for start in range(0, len(data), size):
                self.peer.router.broker.later(self.peer.arrive, data[start:start + size])

    def arrive(self, data: bytes) -> None:
        """Take bytes from the other end. Broker's turn."""
        if self._open:
            self.receive(data)

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        if self._open:
            if broker.stopping:
                self.on_transmit(broker)        # the last words; see mitogen.core.Stream
            self._open = False
            self.router.broker.streams.remove(self)
            mitogen.core.fire(self, 'disconnect')
            self.announce()
            if self.peer is not None:
                self.peer.router.broker.later(self.peer.on_disconnect, self.peer.router.broker)
