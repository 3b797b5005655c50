"""
A limit for what waits to be written to one that does not read.

Ring 1. A stream queues what the pipe does not take, and whoever sends goes on: faster than the other end reads, until
the memory is full. So each stream here counts what waits. Beyond the limit, which is two of the largest messages,

* threads of this context that send there wait for room: see Crowd.wait_for_room(). One that sends large messages has
  them counted before each;
* what others send there through this context is refused (mitogen.parent);
* a child is not heard until it reads again, so that its questions do not call forth answers that nobody takes.

The broker thread itself never waits: what it has to say are answers, to one that is heard. Nor does a thread that runs
an event loop of asyncio: `mitogen.aio` awaits room.
"""

import os
import select
import stat
import sys
import threading

import mitogen.core
from mitogen.core import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence


#: Bytes of a message that is worth a look at the broker's work before. A thread that sends one behind the other would
#: else, on a busy machine, be a hundred ahead before anybody counts them.
LARGE = 1 << 16


class Pipe(mitogen.core.Side):
    """A side that counts.

    :ivar lock: held by whoever writes, or closes.
    :ivar whole: bytes that are written all at once or not at all, as pipe(7) has it; 0: it is no pipe.
    """

    written = 0

    def __init__(self, fd: int) -> None:
        mitogen.core.Side.__init__(self, fd)
        self.lock = threading.RLock()       # the garbage collector may send something in between
        self.whole = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(fd).st_mode) else 0

    def close(self) -> None:
        with self.lock:
            mitogen.core.Side.close(self)

    def write(self, buffers: 'Sequence[Any]') -> 'Optional[int]':
        sent = mitogen.core.Side.write(self, buffers)
        self.written += sent or 0
        return sent


class BoundedStream(mitogen.core.Stream):
    """A stream that knows how much waits. Broker thread.

    :cvar answers: the other end is below. Only then may we not listen to it: of two ends that both did so, none would
        ever read again.
    """

    answers = True

    got = 0                 # bytes that came last, as far as somebody notes that
    _queued = 0             # bytes that were to be written, ever
    _is_crowded = False     # so much of it waits that nobody shall add to it

    def __init__(self, router: 'Any', remote_id: int, name: str, reader: int, writer: int) -> None:
        mitogen.core.Stream.__init__(self, router, remote_id, name, reader, writer)
        self._begin_to_count(writer)

    def _begin_to_count(self, writer: int) -> None:
        self.transmit_side = self._pipe = Pipe(writer)
        self._queued = sum(map(len, self._unsent))
        mitogen.core.listen(self, 'disconnect', lambda: self.router.crowd.disperse(self))

    def pass_on(self, msg: mitogen.core.Message, got: int) -> bool:
        """Send a message that goes the way of an earlier one: at once, if it came alone. Others go on together.

        :param got: how many bytes came, when it did.
        :returns: whether there was room for it.
        """
        if self._unsent and self.answers and self.is_full():
            return False
        if got != mitogen.core.HEADER.size + len(msg.data) or not self.send_now(msg):
            self.send(msg)
        return True

    def send(self, msg: mitogen.core.Message) -> None:
        self._queued += mitogen.core.HEADER.size + len(msg.data)
        mitogen.core.Stream.send(self, msg)

    def on_blocked(self) -> None:
        """The pipe is full."""

    def is_full(self) -> bool:
        """Whether so much waits for the other end that nobody may add to it: two of the largest messages."""
        return self._queued - self._pipe.written > 2 * self.router.max_message_size     # type: ignore[no-any-return]

    def send_now(self, msg: mitogen.core.Message) -> bool:
        """Write a message past the broker, if nothing else waits to be written and the pipe takes it whole. Any thread
        that no signal can strike while it has the lock.

        :returns: whether it was.
        """
        pipe, buffers = self._pipe, (msg.pack(), msg.data)
        if mitogen.core.HEADER.size + len(msg.data) > pipe.whole:
            return False
        with pipe.lock:
            if self._unsent or pipe.fd is None:
                return False
            try:
                return mitogen.core.Side.write(pipe, buffers) is not None       # not counted: it never waits
            except BlockingIOError:
                return False

    def on_transmit(self, broker: mitogen.core.Broker) -> None:
        with self._pipe.lock:
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

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        data = self.receive_side.read()         # type: ignore[union-attr]
        self.got = len(data)
        if data:
            self.receive(data)
        else:
            self.on_disconnect(broker)

    @classmethod
    def adopt(cls, stream: 'Any') -> None:
        """Make one of a leaf's stream to its parent, while it is in use. Broker thread."""
        if type(stream) is mitogen.core.Stream and stream.is_open():
            # First, as other threads ask one of this class for what it counts.
            cls._begin_to_count(stream, stream.transmit_side.fd)        # type: ignore
            stream.__class__ = cls


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

    def is_plain(self, msg: mitogen.core.Message) -> bool:
        """Whether a message is small, in this context's own name, and nobody waits for room: then it can do without
        what Context.send() looks at. Any thread."""
        limit = min(self._router.max_message_size, select.PIPE_BUF)
        return (len(msg.data) <= limit and not self.waiting and not (msg.dst_id | (msg.handle or 0)) >> 32
                and (msg.src_id, msg.auth_id) == (None, None))

    def send_now(self, msg: mitogen.core.Message) -> bool:
        """Send a plain message at once, on this thread: see BoundedStream.send_now()."""
        router = self._router
        stream = router.stream_by_id(msg.dst_id)
        if not isinstance(stream, BoundedStream) or msg.dst_id == router.context_id:
            return False
        msg.src_id = msg.auth_id = router.context_id
        return stream.send_now(msg)

    def send_first(self, msg: mitogen.core.Message) -> None:
        """Send a plain message: at once, if nothing else waits. Broker thread."""
        if not self.send_now(msg):
            self._router.route(msg)

    def wait_for_room(self, context_id: int) -> None:
        """Wait while it does. Any thread; those that must not wait do not.

        :raises mitogen.core.Error: the broker has ended.
        """
        if self._router.broker.on_thread() or _runs_loop():
            return
        self._router.broker.catch_up()
        if self.is_full(context_id):
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
