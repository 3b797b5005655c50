"""
Requests that wait for a thread, and answers that wait for whoever has asked: how much of them one child may cause.

Ring 1. What is asked for in a few bytes may take many megabytes to answer. Any thread.
"""

import functools
import threading

from mitogen.core import Error, LatchError, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List

#: Requests of one child, and all behind it, that wait. Whoever sends more than can be done is told so, rather than fill
#: the memory; and others have room for theirs.
MAX_REQUESTS = 10000

DEAF = 'it does not read, and too much waits for it already'


#: Requests of one child that wait, up to which it is no flood.
FEW = 8


def reads(stream: 'Any', broker: 'Any' = None) -> bool:
    """Whether there is room for an answer that goes to `stream`: more than a child may have unread is not made.

    :param broker: what other threads have answered, and it has not seen yet, shall count too. Not on its thread then.
    :raises mitogen.core.Error: it has ended.
    """
    is_full = getattr(stream, 'is_full', None)      # a parent's, or a client's, is not limited
    if is_full is None:
        return True
    return not (broker.defer_sync(is_full) if broker else is_full())


class Waiting:
    """Counts requests, for each stream.

    :param max_size: bytes in those of one stream.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._lock = threading.Lock()
        self._held: 'Dict[Any, List[int]]' = {}     # under the lock: stream -> [requests, bytes]

    def submit(self, msg: Message, put: 'Callable[[Any], None]', serve: 'Callable[[Message], None]') -> None:
        """Have ``serve(msg)`` called, later, by what ``put(function)`` takes; or answer that it cannot be.

        :param put: may raise LatchError: there is nobody any more who could.
        """
        refusal = self.refusal(msg)
        if not refusal:
            try:
                put(functools.partial(self._go_on, msg, serve))
                return
            except LatchError as exc:
                self.leave(msg)
                refusal = str(exc)
        msg.reply(Message.dead(refusal))

    def _go_on(self, msg: Message, serve: 'Callable[[Message], None]') -> None:
        others = self.leave(msg)
        try:
            if reads(msg.stream, msg.router.broker if others > FEW else None):
                serve(msg)
            else:
                msg.reply(Message.dead(DEAF))
        except Error:
            pass            # the broker has ended

    def refusal(self, msg: Message) -> str:
        """Say why a request may not wait; if it may, count it and return ''."""
        with self._lock:
            number, size = held = self._held.setdefault(msg.stream, [0, 0])
            if number >= MAX_REQUESTS:
                return '%d service calls are waiting already' % number
            # One is let in, whatever its size.
            if number and size + len(msg.data) > self._max_size:
                return '%d bytes of service calls are waiting already' % size
            held[:] = number + 1, size + len(msg.data)
        return ''

    def leave(self, msg: Message) -> int:
        """A request waits no more; return how many others of that stream do."""
        with self._lock:
            held = self._held[msg.stream]
            held[:] = held[0] - 1, held[1] - len(msg.data)
            if not held[0]:
                del self._held[msg.stream]
            return held[0]
