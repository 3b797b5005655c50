"""
What only the first process has: a broker that ends with the program, ids, modules to serve, logs to collect.

Ring 2: never sent to a child.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from _queue import Empty
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore  # signal.py makes enums of these
from collections.abc import Callable, Iterable
from types import TracebackType

import mitogen.broker
import mitogen.core
import mitogen.logs
import mitogen.modules.responder
import mitogen.parent
import mitogen.routes
from mitogen.broker import LOOK
from mitogen.core import ADD_ROUTE, ALLOCATE_ID, Error, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Ids that one child, and all below it, may have at a time; each costs memory here and on the way. A
#: hundred hosts behind one, with a thousand children each, take less.
MAX_HELD = 1 << 18

#: Contexts below each other. Each that is asked for costs a message to all above it, so that a long line of them would
#: keep the master busy. Jump hosts, accounts and containers make ten at most.
MAX_DEPTH = 100

#: There are no more than the header of a message has room for; none is used twice.
LAST_ID = (1 << 32) - 1


class _Attentive:
    """A queue that looks up every LOOK seconds while somebody waits there.

    A signal that comes when Python is about to fall asleep does not wake it: Ctrl-C would be seen only with the answer.
    """

    def __init__(self, queue: Any) -> None:
        self.empty, self._get = queue.empty, queue.get

    def get(self, block: bool, timeout: float | None) -> Any:
        """As that of queues."""
        while block and (timeout is None or timeout > LOOK):
            try:
                return self._get(True, LOOK)
            except Empty:
                timeout = timeout and timeout - LOOK
        return self._get(block, timeout)


class Broker(mitogen.broker.Broker):
    """The master's broker.

    :param install_watcher: shut down when the program ends, in case it forgets to; as its thread is a daemon, the
        program would otherwise end without a word to its children.
    """

    shutdown_timeout = 5.0

    def __init__(self, install_watcher: bool = True) -> None:
        mitogen.broker.Broker.__init__(self)
        if install_watcher:
            atexit.register(self._at_exit)
            mitogen.core.listen(self, 'exit', lambda: atexit.unregister(self._at_exit))

    def defer(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        me = threading.get_ident()
        if me == self._driver:
            fn(*args, **kwargs)
        elif me == self.coming:     # ask() is shielded as a whole
            mitogen.broker.Broker.defer(self, fn, *args, **kwargs)
        elif not self._join(fn, args, kwargs):
            self._shielded(mitogen.broker.Broker.defer, fn, *args, **kwargs)

    def _join(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> bool:
        """Add to what waits already, of which somebody knows: it takes one step, so Ctrl-C may strike before or behind
        it, where that does no more than raise KeyboardInterrupt.

        :returns: whether it could be done so.
        """
        with self._lock:
            if not self._deferred or self._closed or getsignal(SIGINT) is not default_int_handler:
                return False
            self._deferred.append((fn, args, kwargs))
            self._mine.deferred = self._rounds
            return True

    def wait_for(self, queue: Any, timeout: float | None) -> Any:
        return self._shielded(mitogen.broker.Broker.wait_for, _Attentive(queue), timeout)

    def ask(self, queue: Any, timeout: float | None, context: Any, msg: Message) -> Any:
        return self._shielded(mitogen.broker.Broker.ask, _Attentive(queue), timeout, context, msg)

    def _shielded(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a method of the broker; Ctrl-C strikes where it waits, or after it, not while it works."""
        handler = threading.get_ident() == threading.main_thread().ident and getsignal(SIGINT)
        if not callable(handler):
            return fn(self, *args, **kwargs)

        def on_interrupt(*signal_and_frame: Any) -> None:
            if not self.hold(lambda: handler(*signal_and_frame)):
                handler(*signal_and_frame)
        signal(SIGINT, on_interrupt)
        try:
            return fn(self, *args, **kwargs)
        finally:
            signal(SIGINT, handler)
            self.let_go()

    def _at_exit(self) -> None:
        self.shutdown()
        self.join()


class IdAllocator:
    """Gives out the ids of contexts, and remembers who starts whom, so that routes can be granted.

    Any thread.
    """

    def __init__(self, router: 'Router') -> None:
        self._router = router
        self._lock = threading.Lock()
        self._next = 1
        self._owners: dict[int, int] = {}       # id -> id of the context that it was given to
        self._held: dict[int, int] = {}         # id of a child of ours -> how many ids it and those below it have
        router.add_handler(self._on_request, ALLOCATE_ID)

    def allocate(self, owner: int = 0, count: int = 1) -> int:
        """Return the first of `count` ids for children of `owner`, with routes to it everywhere on the way.

        :raises Error: that would be too many.
        """
        with self._lock:
            above = [owner, *self.ancestors(owner)]
            first, top = self._next, above[-1]
            if first + count - 1 > LAST_ID:
                raise Error('all ids are used up')
            if len(above) >= MAX_DEPTH:
                raise Error('context %d has %d others above it already', owner, len(above))
            if owner and self._held.get(top, 0) + count > MAX_HELD:
                raise Error('context %d and those below it have %d ids already', top, self._held[top])
            if owner:
                self._held[top] = self._held.get(top, 0) + count
            self._next += count
            for context_id in range(first, first + count):
                self._owners[context_id] = owner
        if owner:
            self._router.broker.defer(self._grant, first, count, owner)
        return first

    def ancestors(self, context_id: int) -> list[int]:
        """Ids above a context, nearest first, without the master's."""
        found = []
        while self._owners.get(context_id):
            context_id = self._owners[context_id]
            found.append(context_id)
        return found

    def _top(self, context_id: int) -> int:
        return [context_id, *self.ancestors(context_id)][-1]

    def _grant(self, first: int, count: int, owner: int) -> None:
        if not self._router.routes.grant(first, count, owner):
            self.forget(range(first, first + count))        # it is gone: nobody would ever report the loss of these
            return
        # From the top down: the message to each hop is delivered by those that have heard already.
        for hop in reversed(self.ancestors(owner)):
            self._router.route(Message.pickled((first, count, owner), dst_id=hop, handle=ADD_ROUTE))

    def _on_request(self, msg: Message) -> None:
        owner, count, refusal = mitogen.routes.id_request(msg)
        if not count or not {msg.src_id, msg.auth_id} & {0, owner, *self.ancestors(owner)}:
            msg.reply(refusal)
            return
        try:
            msg.reply(self.allocate(owner, count))
        except Error as exc:
            msg.reply(Message.dead(str(exc)))

    def forget(self, ids: Iterable[int]) -> None:
        """Contexts are gone; so are those that were to be started by them."""
        with self._lock:
            for top in [self._top(context_id) for context_id in ids if self._owners.get(context_id)]:
                if top in self._held:       # else it has gone before
                    self._held[top] -= 1
                    if not self._held[top]:
                        del self._held[top]
            for context_id in ids:
                self._owners.pop(context_id, None)
                self._held.pop(context_id, None)


def no_services(msg: Message) -> None:
    """Answer a call of a service as long as there is no pool."""
    msg.reply(Message.dead('context %d offers no services or files: it must make a mitogen.service.Pool(router)'
                           % msg.dst_id))


class Router(mitogen.parent.Router):
    """The root of a tree of contexts. Its methods start children and return their Contexts.

    :param broker: default: one of its own.
    :param max_message_size: bytes; larger messages are refused, here and in all children.

    Use it as context manager, or call ``router.broker.shutdown()`` and ``join()``, or leave it to the program's end.
    """

    def __init__(self, broker: mitogen.core.Broker | None = None, max_message_size: int | None = None) -> None:
        mitogen.parent.Router.__init__(self, broker or Broker())
        if max_message_size is not None:
            self.max_message_size = max_message_size
        self.id_allocator = IdAllocator(self)
        self.add_handler(lambda msg: mitogen.logs.take(self, msg), mitogen.core.FORWARD_LOG)
        self.add_handler(no_services, mitogen.core.CALL_SERVICE)
        if mitogen.logs.wants_messages():
            mitogen.logs.MessageLog(self)
        self._profiles: Any = None
        if self.profiling:
            self.enable_profiling()

    def __enter__(self) -> 'Router':
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.broker.shutdown()
        self.broker.join()
        if self._profiles is not None:
            self._profiles.stop()

    def _make_relay(self) -> mitogen.modules.responder.Responder:
        self.responder = mitogen.modules.responder.Responder(self)
        return self.responder

    def allocate_id(self, via: mitogen.core.Context | None = None) -> int:
        """Return an unused id for a child of `via`, or of the master."""
        return self.id_allocator.allocate(via.context_id if via else 0)

    def _lost(self, ids: list[int], reason: str) -> None:
        self.id_allocator.forget(ids)
        mitogen.parent.Router._lost(self, ids, reason)

    def bring_code(self, context: Any, module: str, fn: Any = None) -> None:
        if context.lacks(module):
            self.responder.push_call(context, module, fn)

    def child_log_level(self) -> int:
        return logging.getLogger().getEffectiveLevel()

    def enable_debug(self) -> None:
        """Log everything, from level DEBUG on, here and in all children that are started from now on.

        Each writes a file of its own, in a private folder that the log names; and children send all to the log here.
        """
        if not self.debug:
            import mitogen.debug  # late, as below: most programs never do
            self.debug = True
            mitogen.logs.debug_to_file(self.broker, os.path.join(mitogen.debug.folder(), 'log'))

    def enable_profiling(self) -> None:
        """Profile the thread that calls and the broker's until the end, and those of all children that are started
        from now on; see mitogen.debug."""
        import mitogen.debug
        self.profiling = True
        self._profiles = mitogen.debug.Profiles(self.broker)

    def get_streams(self) -> list[mitogen.core.Stream]:
        """Return the streams to the direct children. Any thread."""
        return self.routes.below()

    def get_stats(self) -> dict[str, int]:
        """Return figures: streams open, contexts behind them, modules kept and requests for some served. Any thread."""
        streams = self.get_streams()
        return {'streams': len(streams), 'contexts': sum(len(self.routes.behind(stream)) for stream in streams),
                'modules': len(self.responder.library), 'module_requests': self.responder.requests_served}
