"""
What a context needs to have children: a router that starts and reaches them, contexts that can be called.

Ring 1. A leaf fetches this file when it is first asked for something in it, and its router, contexts and broker then
become those defined here. Methods of Router run on any thread unless they say otherwise.
"""

import threading

import mitogen.boot.connection
import mitogen.boot.dialogue
import mitogen.boot.payload
import mitogen.broker
import mitogen.connect
import mitogen.core
import mitogen.modules.relay
import mitogen.pressure
import mitogen.routes
import mitogen.untrusted
from mitogen.call import CallChain
from mitogen.core import ADD_ROUTE, ALLOCATE_ID, DEL_ROUTE, Kwargs, Latch, Message, Receiver
from mitogen.untrusted import HARMLESS, LONG_PUT, PUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Tuple

#: Ids that a parent asks from the master at once. A tree that grows sideways asks once for each so many children.
IDS_AT_ONCE = 16

#: Forged messages of one child that are worth a line each. Without an end to it, 26 bytes would buy a line of the log.
MAX_WARNINGS = 100

#: Longest reason that a child may give for a loss; everybody who knew what was lost is sent it.
MAX_REASON = 4000

#: Seconds that a child waits for ids.
ID_TIMEOUT = 60.0


class Context(mitogen.core.Context):
    """An interpreter that can be called; see mitogen.core.Context."""

    _chain: 'Optional[CallChain]' = None
    _brought: 'FrozenSet[str]' = frozenset()
    #: Why it is gone, once it is and that is known.
    lost = ''

    @property
    def default_call_chain(self) -> CallChain:
        """The chain that the methods here use; not pipelined."""
        if self._chain is None:
            self._chain = CallChain(self)
        return self._chain

    def call(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> 'Any':
        """As CallChain.call()."""
        return self.default_call_chain.call(fn, *args, **kwargs)

    def call_async(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> Receiver:
        """As CallChain.call_async()."""
        return self.default_call_chain.call_async(fn, *args, **kwargs)

    def call_no_reply(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> None:
        """As CallChain.call_no_reply()."""
        self.default_call_chain.call_no_reply(fn, *args, **kwargs)

    def send(self, msg: Message) -> None:
        """Send `msg` to this context. Any thread; waits while too much waits on the way there: see mitogen.pressure.

        :raises ValueError: the number of the context or of the handle is none of 32 bits.
        :raises mitogen.core.Error: the broker has ended.
        """
        if (self.context_id | (msg.handle or 0)) >> 32:
            raise ValueError('no message can go to context %s, handle %s' % (self.context_id, msg.handle))
        if self.router.crowd.waiting or len(msg.data) > mitogen.pressure.LARGE:
            self.router.crowd.wait_for_room(self.context_id)
        msg.dst_id = self.context_id
        self.router.route(msg)

    def send_async(self, msg: Message, persist: bool = False) -> Receiver:
        """Send `msg` and return the Receiver of the reply. Any thread.

        :param persist: more than one reply may come.
        :raises ValueError: the number of the context or of the handle is none of 32 bits.
        """
        # The reply can overtake us, so the handle exists before the message goes.
        receiver = Receiver(self.router, persist=persist, respondent=self)
        msg.reply_to = receiver.handle
        try:
            self.send(msg)
        except BaseException:
            receiver.close()
            raise
        return receiver

    def send_await(self, msg: Message, deadline: 'Optional[float]' = None) -> 'Any':
        """Send `msg`, wait for the reply, and return the value in it. Any thread but the broker's.

        :param deadline: seconds to wait.
        :raises mitogen.core.TimeoutError: they have passed.
        :raises mitogen.core.CallError: and others, as Message.unpickle().
        """
        msg.dst_id = self.context_id
        queue: 'Any' = mitogen.core.SimpleQueue()       # type: ignore[attr-defined]
        msg.reply_to = handle = self.router.add_handler(queue.put, persist=False, respondent=self)
        timeout = deadline and max(0, min(deadline, threading.TIMEOUT_MAX))
        try:
            return self.router.broker.ask(queue, timeout, self, msg).unpickle()
        except BaseException as exc:
            try:
                self.router.del_handler(handle)         # Ctrl-C must not leave it behind
            except KeyError:
                pass
            if isinstance(exc, mitogen.core.Empty):     # type: ignore[attr-defined]
                raise mitogen.core.TimeoutError('nothing arrived') from None
            raise

    def call_service_async(self, service: 'Any', method: str, **kwargs: 'Any') -> Receiver:
        """Call a method of a service (a class or its dotted name) there; return the Receiver of the reply."""
        name = service if isinstance(service, str) else service.name()
        return self.send_async(Message.pickled((name, method, Kwargs(kwargs)), handle=mitogen.core.CALL_SERVICE))

    def call_service(self, service: 'Any', method: str, **kwargs: 'Any') -> 'Any':
        """The same, but wait and return the result."""
        receiver = self.call_service_async(service, method, **kwargs)
        try:
            return receiver.get().unpickle()
        finally:
            receiver.close()

    def lacks(self, module: str) -> bool:
        """Whether nobody has brought this context a module yet; from now on somebody has."""
        if module in self._brought:
            return False
        self._brought |= {module}
        return True

    def shutdown(self, wait: bool = False) -> None:
        """Ask the context to end, with its children.

        :param wait: return once it is gone.
        """
        gone = Latch(self.router.broker)
        if wait:
            mitogen.core.listen(self, 'disconnect', gone.put)
        self.router.route(Message(dst_id=self.context_id, handle=mitogen.core.SHUTDOWN))    # whatever waits there
        if wait and self.router.stream_by_id(self.context_id) is not None:
            gone.get()


# ---- router ----------------------------------------------------------------------------------------

def is_from_neighbour(msg: Message, stream: 'Any') -> bool:
    """A policy: sent by the context at the other end of the stream that it came over, not by one behind that."""
    return stream is not None and msg.src_id == stream.remote_id


class Router(mitogen.connect.Connector, mitogen.core.Router):
    """A router that has children: it starts them, and carries messages between them and to those above."""

    context_class = Context

    def __init__(self, broker: mitogen.core.Broker, context_id: int = 0, parent_ids: 'Iterable[int]' = ()) -> None:
        mitogen.core.Router.__init__(self, broker, context_id, list(parent_ids))
        self._lay_out(self._make_relay())
        self._begin()

    def _lay_out(self, relay: 'Any') -> None:
        """Make all that the methods, on any thread, find in `self`, which may be a leaf's that has none of them yet."""
        self.routes = mitogen.routes.Routes(self.context_id, self.parent_ids)
        self.routes.parent_link = self.parent_stream
        self.crowd, self.relay = mitogen.pressure.Crowd(self), relay
        self._starter = mitogen.connect.Starter(self)
        self._forgeries: 'Dict[Any, int]' = {}
        self._ids, self._ids_lock = [], threading.Lock()            # type: List[int], Any
        self.payload = mitogen.boot.payload.Payload(relay)

    def _begin(self) -> None:
        """Do what a router with children does, from now on. Of a leaf's: broker thread."""
        mitogen.pressure.UpwardStream.adopt(self.parent_stream)
        if self.parent_stream and self.parent_stream.receive_side:     # a tree in memory has none
            mitogen.broker.keep_watch(self.parent_stream)
        with self._lock:
            self._handles = mitogen.routes.handles(next(self._handles), self._handlers)     # type: ignore
        self.add_handler(self._on_add_route, ADD_ROUTE, policy=mitogen.core.has_parent_authority)
        self.add_handler(self._on_del_route, DEL_ROUTE, policy=is_from_neighbour, overwrite=True)
        self.add_handler(self._on_detaching, mitogen.core.DETACHING, policy=is_from_neighbour)
        mitogen.core.listen(self.broker, 'shutdown', self._on_shutdown)
        mitogen.core.listen(self.broker, 'exit', self._kill_what_is_left)

    def _make_relay(self) -> 'Any':
        return mitogen.modules.relay.Relay(self)

    def add_handler(self, fn: 'Any', handle: 'Optional[int]' = None, persist: bool = True, policy: 'Any' = None,
                    respondent: 'Any' = None, overwrite: bool = False) -> int:
        """As mitogen.core.Router.add_handler(), and one whose respondent is lost already is told so too."""
        handle = mitogen.core.Router.add_handler(self, fn, handle, persist, policy, respondent, overwrite)
        if getattr(respondent, 'lost', None):
            dead = Message.dead(respondent.lost, dst_id=self.context_id, handle=handle)
            # Not before whoever adds it is ready: on the broker thread to defer is to do it now.
            self.broker.nudge(lambda: self.broker.timers.schedule(0, lambda: self.route(dead)))
        return handle

    # the table of routes, carried out

    def stream_by_id(self, context_id: int) -> 'Optional[mitogen.core.Stream]':
        """Return the stream that leads to a context, or None."""
        return self.routes.link_to(context_id)      # type: ignore[no-any-return]

    def register(self, context: mitogen.core.Context, stream: mitogen.core.Stream) -> None:
        """Add a stream, and the context at its other end. Broker thread."""
        self.broker.assert_on_thread()
        self._contexts[context.context_id] = context
        self.add_route(context.context_id, stream)
        self.broker.start_receive(stream)

    def add_route(self, context_id: int, stream: mitogen.core.Stream) -> None:
        """Messages for a context go to `stream`. Broker thread."""
        self.broker.assert_on_thread()
        self.routes.add(context_id, stream)

    def del_route(self, context_id: int) -> None:
        """A context is gone: wake who waits for it, tell who knew it. Broker thread."""
        self.broker.assert_on_thread()
        self._forget([context_id], 'context %d is gone' % context_id)

    def _async_route(self, msg: Message, stream: 'Any') -> None:
        if msg.dst_id != self.context_id and len(msg.data) <= self.max_message_size and not self.unidirectional:
            out = self.routes.flows.get((stream, msg.dst_id, msg.src_id, msg.auth_id))
            if out is not None and out.pass_on(msg, stream.got):
                return
        why = self.routes.forgery(msg, stream)
        if why:
            # A refusal that was overtaken by the news that the context is gone has lost its way: no reason to alarm.
            self._forgeries[stream] = count = self._forgeries.get(stream, 0) + (not msg.is_dead)
            level = mitogen.core.DEBUG if msg.is_dead or count > MAX_WARNINGS else mitogen.core.WARNING
            mitogen.core.log(level, 'dropped %r from %s: %s', msg, stream.name, why)
        else:
            if stream in self.routes.trusted and msg.auth_id == stream.remote_id:
                msg.auth_id = self.context_id
            data = msg.data
            if (len(data) > HARMLESS or PUT in data or LONG_PUT in data) and msg.src_id not in self.parent_ids:
                msg.__class__ = mitogen.untrusted.Message       # here, or short answers would pay for it
            self._forward(msg, stream)

    def _egress(self, msg: Message, stream: 'Any') -> 'Tuple[Any, str]':
        out, why = self.routes.egress(msg, stream, self.unidirectional)
        if out is None and stream in (None, self.routes.parent_link):   # its last words are not for everybody
            why = getattr(self._contexts.get(msg.dst_id), 'lost', '') or why
        if stream is not None and isinstance(out, mitogen.pressure.BoundedStream) and out.answers and out.is_full():
            return None, '%s does not read, and too much waits for it already' % out.name
        if hasattr(stream, 'got') and hasattr(out, 'pass_on'):
            self.routes.remember(msg, stream, out)
        return out, why

    def _on_add_route(self, msg: Message) -> None:
        first, count, via = msg.unpickle()
        if not self.routes.grant(first, count, via):
            mitogen.core.log(mitogen.core.DEBUG, 'no route to %d: %d is gone', first, via)

    def _on_del_route(self, msg: Message) -> None:
        """A neighbour says that contexts are gone: the parent, of any; a child, of those behind it."""
        try:
            ids, reason = msg.unpickle()
            ids = [context_id for context_id in ids if type(context_id) is int]
        except (mitogen.core.Error, TypeError, ValueError):
            mitogen.core.log(mitogen.core.DEBUG, 'no news of a loss, from context %s', msg.src_id)
            return
        if type(reason) is not str:     # it goes on to all who knew them, and must wake them
            reason = 'no reason'
        if msg.stream is self.routes.parent_link:
            for stream in self.routes.below():
                self._send_news(stream, ids, reason)
            self._lost(ids, reason)
        else:
            reason = mitogen.boot.dialogue.visible(reason[:MAX_REASON].encode('utf-8', 'replace'))
            # One by one, not all that are behind it: those may be many, and the news short.
            lost = {number for number in ids if self.routes.leads_to(msg.stream, number)} - {msg.stream.remote_id}
            self._forget(sorted(lost), reason)

    def _on_stream_lost(self, stream: mitogen.core.Stream, reason: str) -> None:
        # Its own id too: one that never became ready has no route yet, but those above have been told of one.
        ids = sorted({stream.remote_id, *self.routes.behind(stream)} - set(self.parent_ids))
        self.routes.forget_link(stream)
        self._forgeries.pop(stream, None)
        if stream is self.routes.parent_link:
            self.parent_stream = self.routes.parent_link = None
        self._forget(ids, reason)

    def cut_off(self, reason: str) -> None:
        """Everyone above is gone: tell those here who wait for them, and those below. Broker thread."""
        self.broker.assert_on_thread()
        for stream in self.routes.below():
            self._send_news(stream, self.parent_ids, reason)
        with self._lock:
            above = [i for i in self._awaiting if i != self.context_id and self.routes.link_to(i) is None]
        self._lost(above, reason)

    def _lost(self, ids: 'List[int]', reason: str) -> None:
        for context in filter(None, map(self._contexts.get, ids)):
            context.lost = reason       # who calls it later shall hear that again
        mitogen.core.Router._lost(self, ids, reason)
        with self._lock:        # of those who were asked when they had been lost already, an entry is left
            for context_id in [number for number, handles in self._awaiting.items() if not handles]:
                del self._awaiting[context_id]

    def _forget(self, ids: 'List[int]', reason: str) -> None:
        news = self.routes.remove(ids)
        if self.routes.parent_link is not None:
            news[self.routes.parent_link] = ids
        for stream, lost in news.items():
            self._send_news(stream, lost, reason)
        self._lost(ids, reason)

    def _send_news(self, stream: mitogen.core.Stream, ids: 'List[int]', reason: str) -> None:
        if ids:
            msg = Message.pickled((ids, reason), dst_id=stream.remote_id, handle=DEL_ROUTE)
            msg.src_id = msg.auth_id = self.context_id
            stream.send(msg)

    # ids

    def allocate_id(self, via: 'Optional[mitogen.core.Context]' = None) -> int:
        """Return an unused id, routed to `via` (default: here), from the master's stock. Not on the broker thread."""
        if via is not None and via.context_id != self.context_id:
            return self._ask_ids(via.context_id, 1)
        with self._ids_lock:
            if not self._ids:
                first = self._ask_ids(self.context_id, IDS_AT_ONCE)
                self._ids = list(range(first, first + IDS_AT_ONCE))
            return self._ids.pop(0)

    def _ask_ids(self, owner: int, count: int) -> int:
        master: 'Any' = self.context_by_id(0)
        return master.send_await(Message.pickled((owner, count), handle=ALLOCATE_ID), ID_TIMEOUT)  # type: ignore

    # code

    def bring_code(self, context: 'Any', module: str, fn: 'Any' = None) -> None:
        """Before a call: send a context the modules that it will need, as far as they are known here."""
        if context.lacks(module):
            self.relay.push(context.context_id, [module])

    def child_log_level(self) -> int:
        """From which level on children send their log records."""
        return self.log_level

    # the end of connections

    def disconnect(self, context: mitogen.core.Context) -> None:
        """Cut the connection to a child, which then ends. Any thread."""
        stream = self.stream_by_id(context.context_id)
        if stream is not None and stream is not self.parent_stream:
            self.disconnect_stream(stream)

    def disconnect_stream(self, stream: mitogen.core.Stream) -> None:
        """The same, by its stream."""
        self.broker.defer(stream.on_disconnect, self.broker)

    def disconnect_all(self) -> None:
        """Cut the connections to all children."""
        for stream in self.routes.below():
            self.disconnect_stream(stream)

    def _on_detaching(self, msg: Message) -> None:
        """A child will live on without us: see mitogen.detach."""
        if isinstance(msg.stream, mitogen.boot.connection.ChildStream):
            msg.stream.let_go()
            msg.reply(None)

    def _living(self) -> 'List[mitogen.boot.connection.ChildStream]':
        return [stream for stream in self.broker.busy
                if isinstance(stream, mitogen.boot.connection.ChildStream) and stream.router is self]

    def _on_shutdown(self) -> None:
        for stream in self._living():
            stream.on_shutdown()

    def _kill_what_is_left(self) -> None:
        """Of programs whose connection is closed: they have had their time, and nobody will see to them any more."""
        for stream in self._living():
            stream.process.kill()


def grow(seed: 'Any') -> None:
    """Turn a leaf's router, or one of its contexts, into a parent's. Any thread."""
    router: 'Any' = seed if isinstance(seed, mitogen.core.Router) else seed.router
    mitogen.broker.grow(router.broker)

    def change() -> None:       # between two messages, not while one is on its way through
        if not isinstance(router, Router):
            Router._lay_out(router, Router._make_relay(router))
            router.__class__ = Router
            router._begin()
    router.broker.defer_sync(change)
    if isinstance(seed, mitogen.core.Context):
        seed.__class__ = Context
