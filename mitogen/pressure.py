"""
A limit for what waits to be written to one that does not read.

Ring 1. A stream queues what the pipe does not take, and whoever sends goes on: faster than the other end reads, until
the memory is full. So each stream here counts what waits. Beyond the limit, which is two of the largest messages,

* threads of this context that send there wait for room: see Crowd.wait_for_room();
* what others send there through this context is refused (mitogen.parent);
* a child is not heard until it reads again, so that its questions do not call forth answers that nobody takes.

The broker thread itself never waits: what it has to say are answers, to one that is heard. Nor does a thread that runs
an event loop of asyncio: `mitogen.aio` awaits room.
"""

import os
import sys

import mitogen.core
from mitogen.core import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence


class Pipe(mitogen.core.Side):
    """A side that counts."""

    written = 0

    def write(self, buffers: 'Sequence[Any]') -> 'Optional[int]':
        sent: 'Optional[int]' = mitogen.core.io_op(os.writev, self.fd, buffers)[0]
        self.written += sent or 0
        return sent


class BoundedStream(mitogen.core.Stream):
    """A stream that knows how much waits. Broker thread.

    :cvar answers: the other end is below. Only then may we not listen to it: of two ends that both did so, none would
        ever read again.
    """

    answers = True

    _queued = 0             # bytes that were to be written, ever
    _is_crowded = False     # so much of it waits that nobody shall add to it

    def __init__(self, router: 'Any', remote_id: int, name: str, reader: int, writer: int) -> None:
        mitogen.core.Stream.__init__(self, router, remote_id, name, reader, writer)
        self._begin_to_count(writer)

    def _begin_to_count(self, writer: int) -> None:
        self.transmit_side = self._pipe = Pipe(writer)
        self._queued = sum(map(len, self._unsent))
        mitogen.core.listen(self, 'disconnect', lambda: self.router.crowd.disperse(self))

    def send(self, msg: mitogen.core.Message) -> None:
        self._queued += mitogen.core.HEADER.size + len(msg.data)
        mitogen.core.Stream.send(self, msg)

    def on_blocked(self) -> None:
        """The pipe is full."""

    def is_full(self) -> bool:
        """Whether so much waits for the other end that nobody may add to it: two of the largest messages."""
        return self._queued - self._pipe.written > 2 * self.router.max_message_size

    def on_transmit(self, broker: mitogen.core.Broker) -> None:
        mitogen.core.Stream.on_transmit(self, broker)
        if self._blocked:
            self.on_blocked()
        if not self._unsent:        # or it is gone, and they were thrown away
            self._queued = self._pipe.written
            if not self._is_crowded:
                return
        if self.is_full() is not self._is_crowded and self.is_open():
            self._is_crowded = not self._is_crowded
            if self._is_crowded:
                self.router.crowd.waiting[self] = []
            else:
                self.router.crowd.disperse(self)
            if self.answers:
                broker._watch(self.receive_side, 0, None if self._is_crowded else self)


class UpwardStream(BoundedStream):
    """The same, to the parent."""

    answers = False

    @classmethod
    def adopt(cls, stream: 'Any') -> None:
        """Make one of a leaf's stream to its parent, while it is in use. Broker thread."""
        if type(stream) is mitogen.core.Stream and stream.is_open():
            stream.__class__ = cls
            stream._begin_to_count(stream.transmit_side.fd)     # type: ignore


class Crowd:
    """Who waits for room.

    :ivar waiting: stream that is full -> what to call when there is room. Broker thread; others may ask whether there
        is any.
    """

    def __init__(self, router: 'Any') -> None:
        self._router = router
        self.waiting: 'Dict[Any, List[Callable[[], Any]]]' = {}

    def disperse(self, stream: 'Any') -> None:
        """There is room, or the stream is closed. Broker thread."""
        for then in self.waiting.pop(stream, ()):
            then()

    def is_full(self, context_id: int) -> bool:
        """Whether too much waits already on the way to a context. Any thread."""
        return self._router.stream_by_id(context_id) in self.waiting

    def wait_for_room(self, context_id: int) -> None:
        """Wait while it does. Any thread; those that must not wait do not.

        :raises mitogen.core.Error: the broker has ended.
        """
        if self.is_full(context_id) and not self._router.broker.on_thread() and not _runs_loop():
            room = Latch(self._router.broker)
            self._router.broker.defer(self.when_room, context_id, room.put)
            room.get()

    def when_room(self, context_id: int, then: 'Callable[[], Any]') -> None:
        """Call ``then()`` once there is room, which may be now. Broker thread."""
        queue = self.waiting.get(self._router.stream_by_id(context_id))
        if queue is None:
            then()
        else:
            queue.append(then)


def _runs_loop() -> bool:
    """Whether the thread that calls runs an event loop, so that nothing else would go on while it waits."""
    asyncio: 'Any' = sys.modules.get('asyncio')
    return asyncio is not None and asyncio._get_running_loop() is not None
