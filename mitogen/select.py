"""
Wait for whichever of many receivers, latches or other selects has something first.

Ring 1. A Select belongs to the threads of the program; only its `_arrived` runs on the broker thread, or on whatever
thread puts into a latch.
"""

import time

import mitogen.core
from mitogen.core import Latch, LatchError, Message, Receiver, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Union
    Source = Union[Receiver, Latch, 'Select']


class Error(mitogen.core.Error):
    """A select was used in a way that cannot work."""


class Event:
    """What get_event() returns.

    :ivar source: the receiver or latch that it came from, in a nested select too.
    :ivar data: the Message, or what was put into the latch.
    """

    def __init__(self, source: 'Any', data: 'Any') -> None:
        self.source, self.data = source, data


def _is_closed(source: 'Any') -> bool:
    return _latch_of(source).closed


def _latch_of(source: 'Any') -> Latch:
    """What a source's waiters wait in."""
    return source._latch if isinstance(source, Receiver) else source._ready if isinstance(source, Select) else source


class Select:
    """Several sources to wait on at once. True while it has any.

    :param receivers: sources to begin with.
    :param oneshot: remove each source once it has given something; iteration then ends after one from each.

    .. code-block:: python

        with mitogen.select.Select(context.call_async(platform.node) for context in contexts) as answers:
            for msg in answers:
                print(msg.receiver, msg.unpickle())
    """

    notify: 'Any' = None

    def __init__(self, receivers: 'Iterable[Source]' = (), oneshot: bool = True) -> None:
        self._oneshot = oneshot
        self._sources: 'Dict[int, Any]' = {}
        self._ready = Latch()       # sources, once for each thing that they may have
        for receiver in receivers:
            self.add(receiver)

    @classmethod
    def all(cls, receivers: 'Iterable[Receiver]') -> 'List[Any]':
        """Return the values of one message from each receiver, in the order of their arrival; raise as unpickle()."""
        with cls(receivers) as select:
            return [msg.unpickle() for msg in select]

    def __enter__(self) -> 'Select':
        return self

    def __exit__(self, *error: 'Any') -> None:
        self.close()

    def __bool__(self) -> bool:
        return bool(self._sources)

    def __iter__(self) -> 'Iterator[Any]':
        """Yield what get() returns until no source is left."""
        while self._sources:
            try:
                item = self.get()
            except LatchError:
                return
            yield item

    def _contains(self, other: 'Any') -> bool:
        return any(source is other or isinstance(source, Select) and source._contains(other)
                   for source in self._sources.values())

    def add(self, source: 'Source') -> None:
        """Wait for `source` too; what it already has counts. It leaves when it is closed and empty.

        :raises mitogen.select.Error: it is this select, contains it, or is in another.
        """
        if source is self or isinstance(source, Select) and source._contains(self):
            raise Error('a select cannot wait for itself')
        if source.notify is not None:
            raise Error('%r is in a select already', source)
        self._sources[id(source)] = source
        self._ready.broker = self._ready.broker or _latch_of(source).broker
        source.notify = self._arrived
        # Whatever came before notify was set is counted here; what came in between is counted twice, and get() knows.
        # Of one that is closed already, the end is all that will ever come.
        for _ in range(source.size() + _is_closed(source)):
            self._arrived(source)

    def remove(self, source: 'Source') -> None:
        """Stop to wait for `source`.

        :raises mitogen.select.Error: it is not in this select.
        """
        if self._sources.pop(id(source), None) is None:
            raise Error('%r is not in this select', source)
        source.notify = None

    def close(self) -> None:
        """Let go of all sources; they can be used elsewhere. Who waits here gets LatchError."""
        for source in list(self._sources.values()):
            self.remove(source)
        self._ready.close()

    def _arrived(self, source: 'Any') -> None:
        try:
            self._ready.put(source)
        except LatchError:
            return
        if self.notify:
            self.notify(self)

    def empty(self) -> bool:
        """Whether get() would have to wait; another thread may change that."""
        return all(source.empty() for source in self._sources.values())

    def size(self) -> int:
        """How many things wait in all sources."""
        return sum(source.size() for source in self._sources.values())

    def get_event(self, timeout: 'Optional[float]' = None, block: bool = True) -> Event:
        """Wait for the next thing from any source.

        :param timeout: seconds; None: for ever.
        :param block: False: do not wait.
        :raises mitogen.core.TimeoutError: nothing came in time.
        :raises mitogen.core.LatchError: the select was closed, or all that it waited for.
        :raises mitogen.select.Error: there is no source to wait for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._sources:
                raise Error('there is nothing in this select to wait for')
            source = self._ready.get(None if deadline is None else max(0.0, deadline - time.monotonic()), block)
            event = self._take(source) if id(source) in self._sources else None
            if event is not None:
                if self._oneshot:
                    self.remove(source)
                return event

    def _take(self, source: 'Any') -> 'Optional[Event]':
        """Return what a source has; None when its announcement was one too many."""
        try:
            if isinstance(source, Select):
                return source.get_event(block=False)
            if isinstance(source, Receiver):
                return Event(source, source.get(block=False, throw_dead=False))
            return Event(source, source.get(block=False))
        except LatchError:
            self.remove(source)
            if not self._sources:
                raise LatchError('all that this select waits for has been closed') from None
        except (TimeoutError, Error):
            pass
        return None

    def get(self, timeout: 'Optional[float]' = None, block: bool = True) -> 'Any':
        """As get_event(), but return the data: a Message has its `receiver` set."""
        event = self.get_event(timeout, block)
        if isinstance(event.data, Message):
            event.data.receiver = event.source
        return event.data
