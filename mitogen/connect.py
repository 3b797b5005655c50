"""
How a context starts children: here or in the name of another, one or many at a time.

Ring 1. Methods run on any thread but the broker's; results come on the broker thread.
"""

import os
import queue
import threading
import time

import mitogen.boot.connection
import mitogen.boot.dialogue
import mitogen.boot.payload
import mitogen.boot.process
import mitogen.call
import mitogen.core
import mitogen.method
from mitogen.core import Kwargs, Latch, LatchError, Later, Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

#: Queued children that are starting at a time. More only compete for the processor, and an ssh server with default
#: settings begins to drop connections (MaxStartups) once ten have not logged in yet.
MAX_STARTING = 16

#: Why a start fails that nobody waits for any more.
UNWANTED = 'the connection was given up'

#: Attributes of a router, and some of a method, that make a child do something of mitogen.debug.
DEBUGGING = 'debug', 'profiling', 'stack_dumps'


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
    """What connect_async() returns: get() waits for the Outcome, cancel() does without it.

    :param context_id: id of the context that it will be.
    :param via: the Context that starts it; None: the one here.
    """

    _cancelled = False

    def __init__(self, router: 'Any', context_id: int, via: 'Any') -> None:
        Receiver.__init__(self, router)
        self._context_id, self._via = context_id, via

    def finish(self, result: 'Any') -> None:
        """There it is. Any thread."""
        try:
            self.router.del_handler(self.handle)
        except KeyError:
            pass            # closed, or the broker has ended and said so
        else:
            self._on_receive(Outcome(result))
        if self._cancelled:
            _end_unwanted(result)

    def get(self, timeout: 'Optional[float]' = None, block: bool = True, throw_dead: bool = True) -> Message:
        try:
            return Receiver.get(self, timeout, block, throw_dead)
        except LatchError:
            raise LatchError(UNWANTED if self._cancelled else 'latch is closed') from None

    def cancel(self) -> None:
        """Give up: what still waits for its turn will not start, and what has been started ends. Any thread.

        Whoever waits in get() gets LatchError.
        """
        self._cancelled = True
        try:
            _end_unwanted(self.get(block=False).unpickle(throw=False))
        except mitogen.core.Error:      # nothing has come yet; or nothing will, as the broker has ended
            self._give_up()
        self.close()

    def _give_up(self) -> None:
        try:
            if self._via is None:
                self.router.cancel_child(self._context_id)
            else:
                self._via.call_no_reply(cancel_for_other, self._context_id)
        except mitogen.core.Error:
            pass            # it ends with the broker


def _end_unwanted(result: 'Any') -> None:
    """End a child that nobody waits for any more, if it is one and not an error."""
    if isinstance(result, mitogen.core.Context):
        try:
            result.send(Message(handle=mitogen.core.SHUTDOWN))
        except mitogen.core.Error:
            pass            # it ends with the broker


class Starter:
    """Starts children from a queue, MAX_STARTING at a time, on one thread that exists once it is needed."""

    def __init__(self, router: 'Any') -> None:
        self._router = router
        self._queue: 'queue.Queue[Any]' = queue.Queue()
        self._slots = threading.Semaphore(MAX_STARTING)
        self._thread: 'Optional[threading.Thread]' = None
        self._lock = threading.Lock()
        self._unwanted: 'Dict[int, bool]' = {}      # under the lock: id, until it has started -> cancelled?

    def submit(self, method: 'mitogen.method.Method', name: 'Optional[str]', context_id: int,
               done: 'Callable[[Any], None]') -> None:
        """Start a child when its turn comes. Arguments as of Connector.start_child(); errors go to `done` too."""
        with self._lock:
            self._unwanted[context_id] = False
            self._queue.put((method, name, context_id, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name='mitogen.starter', daemon=True)
                self._thread.start()
                try:
                    self._router.broker.defer(mitogen.core.listen, self._router.broker, 'exit', self._end)
                except mitogen.core.Error:
                    self._end()     # it has ended already: after this job, so does the thread

    def cancel(self, context_id: int) -> None:
        """Do not start a child whose turn has not come yet, or undo it at once. Any thread."""
        with self._lock:
            if context_id in self._unwanted:
                self._unwanted[context_id] = True

    def _is_unwanted(self, context_id: int) -> bool:
        with self._lock:
            return self._unwanted.get(context_id, False)

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
            with self._lock:
                del self._unwanted[context_id]
            done(result)
        try:
            if self._router.broker.stopping:
                raise mitogen.core.ChannelError(mitogen.boot.connection.SHUTTING_DOWN)
            if self._is_unwanted(context_id):
                raise mitogen.core.ChannelError(UNWANTED)
            self._router.start_child(method, name, context_id, finished)
        except Exception as exc:
            finished(exc)
        if self._is_unwanted(context_id):       # cancelled when it was not among the broker's streams yet
            self._router.cancel_child(context_id)


class Connector:
    """The part of mitogen.parent.Router that starts children."""

    if TYPE_CHECKING:
        context_id: int
        allocate_id: Any
        bring_code: Any
        _starter: Starter

    #: What children inherit; see mitogen.debug.
    debug = profiling = stack_dumps = False

    def _take_via(self, kwargs: 'Dict[str, Any]') -> 'Any':
        via = kwargs.pop('via', None)
        if not (via is None or isinstance(via, mitogen.core.Context)):
            raise TypeError('via must be a context, as router.ssh() returns it, not %r' % (via,))
        return None if via is None or via.context_id == self.context_id else via

    def connect(self: 'Any', method_name: str, name: 'Optional[str]' = None, **kwargs: 'Any') -> 'Any':
        """Start a child and return its Context.

        :param method_name: such as ``ssh``; other arguments are that method's.
        :param name: for logs.
        :param via: the Context that shall start it; default: this one.
        :raises mitogen.core.StreamError: it did not start: a ConnectError, with what there is to know about it.
        """
        via = self._take_via(kwargs)
        if via is not None:
            return self.proxy_connect(via, method_name, name, **kwargs)
        outcome = Latch(self.broker)
        method = mitogen.method.make(method_name, kwargs)
        self.start_child(method, name, self.allocate_id(), outcome.put)
        return Outcome(outcome.get()).unpickle()

    def connect_async(self: 'Any', method_name: str, name: 'Optional[str]' = None, **kwargs: 'Any') -> OutcomeReceiver:
        """Begin to start a child; arguments as of connect(). Hundreds can be under way, without a thread for each.

        Those of this context are started MAX_STARTING at a time, in order.

        :returns: a Receiver: ``get().unpickle()`` returns the Context, or raises as connect() does.
        """
        via = self._take_via(kwargs)
        method = mitogen.method.make(method_name, kwargs)
        context_id = self.allocate_id(via)
        receiver = OutcomeReceiver(self, context_id, via)
        try:
            if via is not None:
                reply = self._ask_other(via.call_async, via, method, method_name, name, context_id, kwargs)
                mitogen.call.when_arrived(
                    reply, lambda msg: receiver.finish(self._answer_of_other(via, method, context_id, msg)))
            else:
                self.begin_child(method, name, context_id, receiver.finish)
        except BaseException:
            receiver.close()
            raise
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

    def _answer_of_other(self: 'Any', via: 'Any', method: 'Any', context_id: int, msg: Message) -> 'Any':
        """Make the Context, or the error, of what start_for_other() replied."""
        try:
            fine, result = msg.unpickle()
            if not fine:
                return mitogen.boot.dialogue.rebuilt(method.errors(), result)
            result = mitogen.boot.dialogue.only_text(result)
        except mitogen.core.Error as exc:
            return exc
        except (TypeError, ValueError, LookupError):        # whoever asked must hear something
            return mitogen.core.StreamError('%s has answered with something else than a new context', via.name)
        context = self._contexts.setdefault(context_id, self.context_class(self, context_id))
        context.name, context.via = result, via     # another may have named it, in a value that it has sent
        return context

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
        """Start a child now. `done` is called once, on the broker thread, with its Context or the error.

        :raises mitogen.boot.dialogue.ConnectError: there is no such program here; then `done` is not called.
        """
        context = self.context_class(self, context_id, name or method.context_name())
        config = mitogen.boot.payload.configuration(
            context_id, [self.context_id] + list(self.parent_ids), os.urandom(16).hex(),
            self._router_config(method))
        if any(config['router'].get(flag) for flag in DEBUGGING):
            config['on_start'] = mitogen.boot.payload.AtStart()
        with mitogen.boot.process.starting:
            plan, child = method.spawn(self, config)
            dialogue = mitogen.boot.dialogue.Dialogue(plan, time.monotonic())
            stream = mitogen.boot.connection.ChildStream(self, context, child, dialogue, done)
        try:
            self.broker.defer(stream.begin)
        except mitogen.core.Error:
            stream.abandon()

    def cancel_child(self: 'Any', context_id: int) -> None:
        """End a child of this context, or the attempt to start it. Any thread."""
        def cancel() -> None:
            for stream in self._living():
                if stream.remote_id == context_id:
                    stream.on_shutdown(UNWANTED)
        self._starter.cancel(context_id)
        self.broker.nudge(cancel)       # and with the broker its children end

    def _router_config(self: 'Any', method: 'mitogen.method.Method') -> 'Dict[str, Any]':
        flags = {flag: True for flag in DEBUGGING if getattr(self, flag) or getattr(method, flag, False)}
        return dict(flags, **{
            'max_message_size': self.max_message_size,
            'unidirectional': self.unidirectional if method.unidirectional is None else method.unidirectional,
            'log_level': mitogen.core.DEBUG if 'debug' in flags else self.child_log_level(),
        })

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

    def su(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter as another user, with that user's password; see mitogen.su."""
        return self.connect('su', **kwargs)

    def doas(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter as another user; see mitogen.doas."""
        return self.connect('doas', **kwargs)

    def docker(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a container of Docker; see mitogen.docker."""
        return self.connect('docker', **kwargs)

    def podman(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a container of Podman; see mitogen.podman."""
        return self.connect('podman', **kwargs)

    def buildah(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a working container of Buildah; see mitogen.buildah."""
        return self.connect('buildah', **kwargs)

    def kubectl(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a pod of Kubernetes; see mitogen.kubectl."""
        return self.connect('kubectl', **kwargs)

    def lxc(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a classic LXC container; see mitogen.lxc."""
        return self.connect('lxc', **kwargs)

    def lxd(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a container of LXD; see mitogen.lxd."""
        return self.connect('lxd', **kwargs)

    def incus(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a container of Incus; see mitogen.incus."""
        return self.connect('incus', **kwargs)

    def jail(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a FreeBSD jail; see mitogen.jail."""
        return self.connect('jail', **kwargs)

    def machinectl(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in a machine of systemd; see mitogen.machinectl."""
        return self.connect('machinectl', **kwargs)

    def setns(self, **kwargs: 'Any') -> 'Any':
        """Start an interpreter in the namespaces of a container; see mitogen.setns."""
        return self.connect('setns', **kwargs)


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
        router.begin_child(mitogen.method.make(method_name, kwargs, module), name, context_id, done)
    return Later(start)


@mitogen.core.takes_router
def cancel_for_other(context_id: int, router: 'Any') -> None:
    """In a `via` context: give up what start_for_other() was asked for."""
    router.cancel_child(context_id)
