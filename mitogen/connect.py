"""
How a context starts children: here or in the name of another, one or many at a time.

Ring 1. Methods run on any thread but the broker's; results come on the broker thread.
"""

import queue
import random
import threading
import time

import mitogen.boot.connection
import mitogen.boot.dialogue
import mitogen.boot.payload
import mitogen.core
import mitogen.method
from mitogen.core import Kwargs, Latch, LatchError, Later, Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

#: Queued children that are starting at a time. More only compete for the processor, and an ssh server with default
#: settings begins to drop connections (MaxStartups) once ten have not logged in yet.
MAX_STARTING = 16


class Outcome(Message):
    """What came of connect_async(): the context, or the error. Not a message that travels."""

    __slots__ = ('_result',)

    def __init__(self, result: 'Any') -> None:
        Message.__init__(self)
        self._result = result

    def unpickle(self, throw: bool = True, throw_dead: bool = True) -> 'Any':
        """Return the Context, or raise the error (or return that, without `throw`)."""
        if throw and isinstance(self._result, Exception):
            raise self._result
        return self._result


class OutcomeReceiver(Receiver):
    """What connect_async() returns: get() waits for the Outcome."""

    def finish(self, result: 'Any') -> None:
        """There it is. Any thread."""
        try:
            self.router.del_handler(self.handle)
        except KeyError:
            return          # closed, or the broker has ended and said so
        self._on_receive(Outcome(result))


class Starter:
    """Starts children from a queue, MAX_STARTING at a time, on one thread that exists once it is needed."""

    def __init__(self, router: 'Any') -> None:
        self._router = router
        self._queue: 'queue.Queue[Any]' = queue.Queue()
        self._slots = threading.Semaphore(MAX_STARTING)
        self._thread: 'Optional[threading.Thread]' = None
        self._lock = threading.Lock()

    def submit(self, method: 'mitogen.method.Method', name: 'Optional[str]', context_id: int,
               done: 'Callable[[Any], None]') -> None:
        """Start a child when its turn comes. Arguments as of Connector.start_child(); errors go to `done` too."""
        self._queue.put((method, name, context_id, done))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name='mitogen.starter', daemon=True)
                self._thread.start()
                mitogen.core.listen(self._router.broker, 'exit', self._end)

    def _end(self) -> None:
        self._queue.put(None)
        self._slots.release()

    def _work(self) -> None:
        for job in iter(self._queue.get, None):
            self._slots.acquire()
            self._start(*job)

    def _start(self, method: 'mitogen.method.Method', name: 'Optional[str]', context_id: int,
               done: 'Callable[[Any], None]') -> None:
        def finished(result: 'Any') -> None:
            self._slots.release()
            done(result)
        try:
            if self._router.broker.stopping:
                raise mitogen.core.ChannelError(mitogen.boot.connection.SHUTTING_DOWN)
            self._router.start_child(method, name, context_id, finished)
        except Exception as exc:
            finished(exc)


class Connector:
    """The part of mitogen.parent.Router that starts children."""

    if TYPE_CHECKING:
        context_id: int
        allocate_id: Any
        bring_code: Any
        payload: Any

    debug = False
    #: Whether children write profiles; children inherit it.
    profiling = False

    def _prepare_connector(self) -> None:
        self._starter = Starter(self)

    def connect(self: 'Any', method_name: str, name: 'Optional[str]' = None, **kwargs: 'Any') -> 'Any':
        """Start a child and return its Context.

        :param method_name: such as ``ssh``; other arguments are that method's.
        :param name: for logs.
        :param via: the Context that shall start it; default: this one.
        :raises mitogen.core.StreamError: it did not start: a ConnectError, with what there is to know about it.
        """
        via = kwargs.pop('via', None)
        if via is not None and via.context_id != self.context_id:
            return self.proxy_connect(via, method_name, name, **kwargs)
        outcome = Latch()
        method = mitogen.method.load(method_name)(**kwargs)
        self.start_child(method, name, self.allocate_id(), outcome.put)
        return Outcome(outcome.get()).unpickle()

    def connect_async(self: 'Any', method_name: str, name: 'Optional[str]' = None, **kwargs: 'Any') -> OutcomeReceiver:
        """Begin to start a child; arguments as of connect(). Hundreds can be under way, without a thread for each.

        Those of this context are started MAX_STARTING at a time, in order.

        :returns: a Receiver: ``get().unpickle()`` returns the Context, or raises as connect() does.
        """
        via = kwargs.pop('via', None)
        method = mitogen.method.load(method_name)(**kwargs)
        receiver = OutcomeReceiver(self)
        if via is not None and via.context_id != self.context_id:
            context_id = self.allocate_id(via)
            reply = self._ask_other(via.call_async, via, method, method_name, name, context_id, kwargs)
            when_arrived(reply, lambda msg: receiver.finish(self._answer_of_other(via, method, context_id, msg)))
        else:
            self.begin_child(method, name, self.allocate_id(), receiver.finish)
        return receiver

    def proxy_connect(self: 'Any', via: 'Any', method_name: str, name: 'Optional[str]' = None,
                      **kwargs: 'Any') -> 'Any':
        """Have another context start a child of its own. Arguments and errors as of connect()."""
        return self.connect_async(method_name, name, via=via, **kwargs).get().unpickle()

    def _ask_other(self: 'Any', call: 'Any', via: 'Any', method: 'Any', method_name: str, name: 'Optional[str]',
                   context_id: int, kwargs: 'Any') -> 'Any':
        module = type(method).__module__
        self.bring_code(via, module)
        return call(start_for_other, method_name, module, name, context_id, Kwargs(kwargs))

    def _answer_of_other(self: 'Any', via: 'Any', method: 'mitogen.method.Method', context_id: int,
                         msg: Message) -> 'Any':
        """Make the Context, or the error, of what start_for_other() replied."""
        try:
            fine, result = msg.unpickle()
        except mitogen.core.Error as exc:
            return exc
        if not fine:
            errors = {error.kind: error for error in method.errors()}
            return errors.get(result[0], mitogen.boot.dialogue.ConnectError)(*result[1:])
        context = self.context_class(self, context_id, result)
        context.via = via
        return self._contexts.setdefault(context_id, context)

    def begin_child(self, method: 'mitogen.method.Method', name: 'Optional[str]', context_id: int,
                    done: 'Callable[[Any], None]') -> None:
        """Start a child when its turn comes; arguments as of start_child(), and errors too go to `done`."""
        if not method.forks:
            self._starter.submit(method, name, context_id, done)
            return
        try:                    # the child would have the starter's thread as its main one, in the middle of anything
            self.start_child(method, name, context_id, done)
        except Exception as exc:
            done(exc)

    def start_child(self: 'Any', method: 'mitogen.method.Method', name: 'Optional[str]', context_id: int,
                    done: 'Callable[[Any], None]') -> None:
        """Start a child now.

        :param done: called once, on the broker thread, with its Context or the error.
        :raises mitogen.boot.dialogue.ConnectError: there is no such program here; then `done` is not called.
        """
        context = self.context_class(self, context_id, name or method.context_name())
        config = mitogen.boot.payload.configuration(
            context_id, [self.context_id] + list(self.parent_ids), '%032x' % random.SystemRandom().getrandbits(128),
            self._router_config(method))
        plan, child = method.spawn(self, config)
        dialogue = mitogen.boot.dialogue.Dialogue(plan, time.monotonic())
        stream = mitogen.boot.connection.ChildStream(self, context, child, dialogue, done)
        try:
            self.broker.defer(stream.begin)
        except mitogen.core.Error:
            stream.abandon()

    def _router_config(self: 'Any', method: 'mitogen.method.Method') -> 'Dict[str, Any]':
        return {
            'max_message_size': self.max_message_size,
            'unidirectional': self.unidirectional if method.unidirectional is None else method.unidirectional,
            'log_level': mitogen.core.DEBUG if self.debug or method.debug else self.child_log_level(),
        }

    # one method for each connection method

    def local(self, **kwargs: 'Any') -> 'Any':
        """Start another interpreter here; see mitogen.local."""
        return self.connect('local', **kwargs)

    def fork(self, **kwargs: 'Any') -> 'Any':
        """Fork this process; see mitogen.fork."""
        return self.connect('fork', **kwargs)

    def ssh(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter on another machine; see mitogen.ssh."""
        return self.connect('ssh', **kwargs)

    def sudo(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter as another user; see mitogen.sudo."""
        return self.connect('sudo', **kwargs)


def when_arrived(receiver: Receiver, then: 'Callable[[Message], None]') -> None:
    """Call ``then(msg)`` with the one message of `receiver`, on the broker thread or, when it is there already, now."""
    def arrived(receiver: Receiver) -> None:
        try:
            msg = receiver.get(block=False, throw_dead=False)
        except (mitogen.core.TimeoutError, LatchError):
            return          # the other of the two calls below has taken it
        then(msg)
    receiver.notify = arrived
    arrived(receiver)


@mitogen.core.takes_router
def start_for_other(method_name: str, module: str, name: 'Optional[str]', context_id: int, kwargs: 'Dict[str, Any]',
                    router: 'Any') -> Later:
    """In a `via` context: start a child. The result comes later, so other calls, and other starts, go on meanwhile.

    :returns: (True, the context's name) or (False, (kind of error, its fields)).
    """
    def start(reply: 'Callable[[Any], None]') -> None:
        def done(outcome: 'Any') -> None:
            if isinstance(outcome, mitogen.boot.dialogue.ConnectError):
                reply((False, (outcome.kind,) + outcome.fields()))
            elif isinstance(outcome, Exception):
                reply(mitogen.core.CallError.of(outcome))
            else:
                reply((True, outcome.name))
        router.begin_child(mitogen.method.load(method_name, module)(**kwargs), name, context_id, done)
    return Later(start)
