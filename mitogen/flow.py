"""
A stream of bytes between a descriptor here and a descriptor in another context, with no more of it under way than the
other end has asked for.

Ring 1, broker thread. `Source` reads a descriptor and sends messages; `Sink` receives them and writes. `Exchange` is
one end of several such streams between two contexts. How much may be sent, and when to say so, is decided by `Credit`
and `Debt`.
"""

from collections import deque

import mitogen.core
from mitogen.core import CHUNK_SIZE, BasicStream, Message, Side
from mitogen.descriptors import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional

#: Bytes of one stream that may be under way. As much as OpenSSH allows, so that a long way is no slower than with that;
#: not more, because messages of others, on the same connection, wait behind them.
WINDOW = 2 << 20

#: Bytes after which a sink tells the source that there is room again. A quarter of the window: the source then never
#: waits for news while the other three quarters are on their way, and news are rare.
NEWS_AFTER = WINDOW // 4


class Violation(mitogen.core.Error):
    """The other end did not keep to the rules of a stream."""


# ---- decisions -------------------------------------------------------------------------------------

class Credit:
    """What a source may send. Pure.

    :ivar left: bytes.
    """

    def __init__(self) -> None:
        self.left = WINDOW

    def spend(self, size: int) -> None:
        self.left -= size

    def refund(self, size: 'Any') -> None:
        """The sink has room for `size` more.

        :raises Violation: it cannot have.
        """
        if type(size) is not int or not 0 < size <= WINDOW - self.left:
            raise Violation('room for %r bytes more than were sent', size)
        self.left += size


class Debt:
    """What a sink has taken and not yet told the source. Pure."""

    def __init__(self) -> None:
        self._received = self._unsaid = 0

    def receive(self, size: int) -> None:
        """Bytes have come.

        :raises Violation: more than there was room for.
        """
        self._received += size
        if self._received > WINDOW:
            raise Violation('more bytes than there is room for')

    def settle(self, size: int) -> int:
        """Bytes have been written; return how many to tell the source of, now; 0: not yet."""
        self._unsaid += size
        if self._unsaid < NEWS_AFTER:
            return 0
        told, self._unsaid = self._unsaid, 0
        self._received -= told
        return told


# ---- streams ---------------------------------------------------------------------------------------

class Source(BasicStream):
    """Reads a descriptor to its end and sends what it reads, as far as there is room; an empty message is the end.

    :param exchange: what it belongs to.
    :param handle: where the sink listens.
    :ivar is_last: no more is expected than can be read now, though the descriptor may not have an end.
    """

    is_last = False

    def __init__(self, exchange: 'Exchange', side: Side, handle: int) -> None:
        self._exchange, self._handle = exchange, handle
        self.receive_side = side
        self._credit = Credit()

    def __repr__(self) -> str:
        return 'Source(%r)' % self._handle

    def begin(self) -> None:
        self._exchange.broker._watch(self.receive_side, 0, self)

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        try:
            data = self.receive_side.read(min(CHUNK_SIZE, self._credit.left))       # type: ignore[union-attr]
        except BlockingIOError:
            if not self.is_last:
                return
            data = b''
        if not data:
            self.end()
            return
        self._exchange.send(self._handle, data)
        self._credit.spend(len(data))
        if not self._credit.left:
            broker._watch(self.receive_side, 0, None)

    def refund(self, size: 'Any') -> None:
        """The sink has room for more."""
        paused = not self._credit.left
        self._credit.refund(size)
        if paused and self.is_open():
            self.begin()
            if self.is_last:
                self.finish()

    def finish(self) -> None:
        """Take what can be read now for the rest."""
        self.is_last = True
        while self._credit.left and self.is_open():
            self.on_receive(self._exchange.broker)

    def end(self) -> None:
        """Say that nothing more will come."""
        if self.is_open():
            self.on_disconnect(self._exchange.broker)
            self._exchange.send(self._handle, b'')
            self._exchange.progress()


class Sink(BasicStream):
    """Writes to a descriptor what a source has sent, and closes it after the last.

    :param exchange: what it belongs to.
    :param name: of the stream, as the other end knows it.
    :param pump: what stands behind the side, or None.
    :ivar done: all has been written that will be.
    """

    #: Messages written in one system call. A window has sixteen full ones.
    MAX_BUFFERS = 64

    done = False

    def __init__(self, exchange: 'Exchange', name: str, side: Side, pump: 'Optional[Pump]' = None) -> None:
        self._exchange, self._name, self._pump = exchange, name, pump
        self.transmit_side = side
        self._debt = Debt()
        self._unwritten: 'Deque[Any]' = deque()
        self._ending = self._waiting = False

    def __repr__(self) -> str:
        return 'Sink(%r)' % self._name

    def receive(self, data: bytes) -> None:
        """Take bytes; b'': no more will come."""
        if not self.is_open():
            return
        if data:
            self._debt.receive(len(data))
            self._unwritten.append(data)
        else:
            self._ending = True
        if not self._waiting:
            self.on_transmit(self._exchange.broker)

    def on_transmit(self, broker: mitogen.core.Broker) -> None:
        try:
            while self._unwritten:
                self._write()
            wait = False
        except BlockingIOError:
            wait = True
        if wait is not self._waiting and self.is_open():
            self._waiting = wait
            broker._watch(self.transmit_side, 1, self if wait else None)
        if self._ending and not self._unwritten:
            self.at_end()

    def _write(self) -> None:
        buffers = [self._unwritten[i] for i in range(min(len(self._unwritten), self.MAX_BUFFERS))]
        written = self.transmit_side.write(buffers)         # type: ignore[union-attr]
        if written is None:
            self._unwritten.clear()
            self._exchange.tell('broken', self._name)       # or the source, which may be endless, would go on
            self.end()
            return
        told = self._debt.settle(written)
        if told:
            self._exchange.tell('room', self._name, told)
        while written:
            first = self._unwritten.popleft()
            if len(first) > written:
                self._unwritten.appendleft(memoryview(first)[written:])
            written -= min(written, len(first))

    def at_end(self) -> None:
        """The last byte was written."""
        self.end()

    def end(self) -> None:
        """Close the descriptor."""
        if self.is_open():
            self.on_disconnect(self._exchange.broker)
            if self._pump is None:
                self._finish()
            else:
                self._pump.when_ended(self._when_pumped)

    def _when_pumped(self) -> None:
        try:
            self._exchange.broker.defer(self._finish)
        except mitogen.core.Error:
            pass            # nobody is left to hear of it

    def _finish(self) -> None:
        self.done = True
        self._exchange.progress()


class Exchange:
    """One end of the streams between two contexts, and of a conversation beside them: short tuples, see tell().

    Either end learns when the other is lost. Broker thread.

    :param peer: the Context at the other end.
    :ivar control: handle for what the peer has to tell; `peer_control` is the peer's, once it is known.
    """

    def __init__(self, router: 'Any', peer: 'Any') -> None:
        self.router, self.broker, self.peer = router, router.broker, peer
        self.peer_control = 0
        self.sources: 'Dict[str, Source]' = {}
        self.sinks: 'Dict[str, Sink]' = {}
        self._handles: 'List[int]' = []
        self.control = self.listen(self._on_control)

    def listen(self, fn: 'Callable[[Message], Any]') -> int:
        """Have ``fn(msg)`` called for what the peer sends to a new handle, and return that."""
        def received(msg: Message) -> None:
            if msg.is_dead:
                self.lost(msg.reason)
                return
            try:
                fn(msg)
            except (mitogen.core.Error, TypeError, ValueError, KeyError, IndexError) as exc:
                self.lost('the other end broke the rules: %s' % exc)
        handle: int = self.router.add_handler(received, respondent=self.peer)
        self._handles.append(handle)
        return handle

    def add_sink(self, name: str, sink: Sink) -> int:
        """Add a stream from the peer; return the handle that its source needs."""
        self.sinks[name] = sink
        return self.listen(lambda msg: sink.receive(msg.data))

    def add_source(self, name: str, source: Source) -> None:
        """Add a stream to the peer."""
        self.sources[name] = source
        source.begin()

    def send(self, handle: int, data: bytes) -> None:
        self.peer.send(Message(handle=handle, data=data))

    def tell(self, *words: 'Any') -> None:
        """Have the peer's hear() called with `words`; those that streams tell each other are dealt with here."""
        self.peer.send(Message.pickled(words, handle=self.peer_control))

    def _on_control(self, msg: Message) -> None:
        words = msg.unpickle()
        if words[0] == 'room':
            self.sources[words[1]].refund(words[2])
        elif words[0] == 'broken':
            self.sources[words[1]].end()
        else:
            self.hear(*words)

    def hear(self, *words: 'Any') -> None:
        """The peer has told something."""
        raise NotImplementedError

    def progress(self) -> None:
        """A source or a sink has ended."""
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        """The peer is gone, or cannot be trusted."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all streams, and listen no more. Any number of times."""
        for handle in self._handles:
            try:
                self.router.del_handler(handle)
            except KeyError:
                pass        # the broker has ended, and taken it
        self._handles = []
        for stream in list(self.sources.values()) + list(self.sinks.values()):
            stream.on_disconnect(self.broker)
