"""
Services: methods that other contexts may call while the main thread is busy, on a pool of threads.

Ring 1. Calls arrive on the broker thread, which only queues them; everything else runs on the pool's threads.
A call names a service by its dotted class name. One that is not there yet is imported and made, if whoever calls has
parental authority. Who else may call what is told by the policies of each method.
"""

import functools
import sys
import threading
from collections import OrderedDict

import mitogen.core
import mitogen.waiting
from mitogen.core import CALL_SERVICE, CallError, Latch, LatchError, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Type, Union
    Function = Callable[..., Any]
    from mitogen.files import FileService as FileService
    from mitogen.push import PushFileService as PushFileService

#: Threads of a pool that is made because a call came.
DEFAULT_SIZE = 4

#: Longest name of a service, or of a method. Errors name them.
MAX_NAME = 500

#: Results that a DeduplicatingInvoker remembers.
MAX_REMEMBERED = 1000

#: A method returns this when it will reply itself, later.
NO_REPLY = object()


class Error(mitogen.core.Error):
    """A service was called that is not there, or in a way that it does not allow."""


# ---- what a method of a service says of itself -----------------------------------------------------

class Policy:
    """Who may call a method."""

    def is_authorized(self, service: 'Service', msg: Message) -> bool:
        """Whether the sender of `msg` may."""
        raise NotImplementedError


class AllowAny(Policy):
    """Every context of the tree may call."""

    def is_authorized(self, service: 'Service', msg: Message) -> bool:
        return True


class AllowParents(Policy):
    """Only this context and those above it may call."""

    def is_authorized(self, service: 'Service', msg: Message) -> bool:
        return mitogen.core.has_parent_authority(msg)


def expose(policy: Policy) -> 'Callable[[Function], Function]':
    """Decorate a method that other contexts may call.

    :param policy: who may. When there are several, all must agree.
    """
    def decorate(fn: 'Function') -> 'Function':
        fn.mitogen_policies = getattr(fn, 'mitogen_policies', []) + [policy]    # type: ignore[attr-defined]
        return fn
    return decorate


def arg_spec(spec: 'Dict[str, Any]') -> 'Callable[[Function], Function]':
    """Decorate a method to have its arguments checked.

    :param spec: name of each argument that must be given -> the type, or types, that it must have.
    """
    def decorate(fn: 'Function') -> 'Function':
        fn.mitogen_arg_spec = spec      # type: ignore[attr-defined]
        return fn
    return decorate


def no_reply() -> 'Callable[[Function], Function]':
    """Decorate a method whose result nobody shall get."""
    def decorate(fn: 'Function') -> 'Function':
        fn.mitogen_no_reply = True      # type: ignore[attr-defined]
        return fn
    return decorate


# ---- invokers: when a method runs ------------------------------------------------------------------

class Invoker:
    """Runs calls of one service as they come, on as many threads as the pool has."""

    def __init__(self, service: 'Service') -> None:
        self.service = service

    def invoke(self, name: str, kwargs: 'Dict[str, Any]', msg: Message) -> None:
        """Answer a call."""
        try:
            method = self._method(name, kwargs, msg)
        except Exception as exc:
            msg.reply(CallError.of(exc))
            return
        self._schedule(method, name, kwargs, msg)

    def _method(self, name: str, kwargs: 'Dict[str, Any]', msg: Message) -> 'Function':
        """Return the method that may be called so.

        :raises Error: there is none.
        """
        method: 'Any' = getattr(type(self.service), name, None)
        policies = getattr(method, 'mitogen_policies', None)
        if not policies:
            raise Error('%s exposes no method %r', self.service.name(), name)
        if not all(policy.is_authorized(self.service, msg) for policy in policies):
            raise Error('context %s may not call %s.%s', msg.src_id, self.service.name(), name)
        check_arguments(getattr(method, 'mitogen_arg_spec', {}), kwargs)
        return method       # type: ignore[no-any-return]

    def _schedule(self, method: 'Function', name: str, kwargs: 'Dict[str, Any]', msg: Message) -> None:
        self._reply(method, msg, self._run(method, kwargs, msg))

    def _run(self, method: 'Function', kwargs: 'Dict[str, Any]', msg: Message) -> 'Any':
        """Return the result of the method, or what it raised."""
        if 'msg' in method.__code__.co_varnames[:method.__code__.co_argcount]:
            kwargs = dict(kwargs, msg=msg)
        try:
            return method(self.service, **kwargs)
        except Exception as exc:
            return CallError.of(exc)

    def _reply(self, method: 'Function', msg: Message, result: 'Any') -> None:
        if getattr(method, 'mitogen_no_reply', False):
            if isinstance(result, CallError):
                mitogen.core.log(mitogen.core.WARNING, 'a service call without reply failed: %s', result)
        elif result is not NO_REPLY:
            try:
                msg.reply(result)
            except TypeError as exc:
                msg.reply(CallError.of(exc))


class SerializedInvoker(Invoker):
    """Runs the calls of a service one at a time, in order of arrival. None of them makes a thread wait."""

    def __init__(self, service: 'Service') -> None:
        Invoker.__init__(self, service)
        self._lock = threading.Lock()
        self._waiting: 'List[Any]' = []     # under the lock; its first is the one that runs

    def _schedule(self, method: 'Function', name: str, kwargs: 'Dict[str, Any]', msg: Message) -> None:
        with self._lock:
            self._waiting.append((method, name, kwargs, msg))
            if len(self._waiting) > 1:
                return          # whoever runs the first will come to it
        while True:
            Invoker._schedule(self, *self._waiting[0])
            with self._lock:
                self._waiting.pop(0)
                if not self._waiting:
                    return


class DeduplicatingInvoker(Invoker):
    """Runs equal calls (same method, same arguments) once, and gives all of them that result."""

    def __init__(self, service: 'Service') -> None:
        Invoker.__init__(self, service)
        self._lock = threading.Lock()
        self._waiting: 'Dict[Any, List[Message]]' = {}              # under the lock, as is the next
        self._results: 'OrderedDict[Any, Any]' = OrderedDict()

    def _schedule(self, method: 'Function', name: str, kwargs: 'Dict[str, Any]', msg: Message) -> None:
        key = name, mitogen.core.encode(sorted(kwargs.items()))
        with self._lock:
            known = key in self._results
            first = not known and key not in self._waiting
            if not known:
                self._waiting.setdefault(key, []).append(msg)
        if first:
            self._share(method, key, self._run(method, kwargs, msg))
        elif known:
            self._reply(method, msg, self._results[key])

    def _share(self, method: 'Function', key: 'Any', result: 'Any') -> None:
        with self._lock:
            messages = self._waiting.pop(key)
            if not isinstance(result, CallError):       # a failure may be another's next success
                self._results[key] = result
                while len(self._results) > MAX_REMEMBERED:
                    self._results.popitem(last=False)
        for msg in messages:
            self._reply(method, msg, result)


def check_arguments(spec: 'Dict[str, Any]', kwargs: 'Dict[str, Any]') -> None:
    """Raise Error unless every argument in `spec` is there and of its type."""
    for name, kind in spec.items():
        if name not in kwargs:
            raise Error('argument %r is missing', name)
        if not isinstance(kwargs[name], kind):
            kinds = ' or '.join(getattr(one, '__name__', str(one)) for one in (kind if type(kind) is tuple else [kind]))
            raise Error('argument %r is %s, expected %s', name, type(kwargs[name]).__name__, kinds)


class Service:
    """Base of services. One object of each serves a router.

    :ivar router: the router.
    """

    #: When calls run; see the invokers.
    invoker_class: 'Type[Invoker]' = Invoker

    def __init__(self, router: 'Any') -> None:
        self.router = router

    @classmethod
    def name(cls) -> str:
        """What calls name it by."""
        return '%s.%s' % (cls.__module__, cls.__qualname__)

    def on_shutdown(self) -> None:
        """The pool has ended."""


# ---- pools -----------------------------------------------------------------------------------------

class Pool:
    """Threads that serve the service calls of a router.

    :param services: Service objects to begin with.
    :param size: threads.
    :param overwrite: take the place of another pool.
    :raises mitogen.core.Error: the router has a pool already.
    """

    def __init__(self, router: 'Any', services: 'Iterable[Service]' = (), size: int = 1,
                 overwrite: bool = False) -> None:
        if size < 1:
            raise ValueError('a pool needs at least one thread')
        self.router = router
        self.size = size
        self._lock = threading.Lock()
        self._work = Latch()
        self._waiting = mitogen.waiting.Waiting(2 * router.max_message_size)
        self._invokers: 'Dict[str, Invoker]' = {}       # under the lock
        for service in services:
            self.add(service)
        if router in _pools and not overwrite:
            raise mitogen.core.Error('the router has a service pool, see get_or_create_pool(); overwrite= replaces it')
        # A handler stands there that waits for the first pool, or says that there is none.
        router.add_handler(self._on_call, CALL_SERVICE, overwrite=True)
        _pools[router] = self
        mitogen.core.listen(router.broker, 'exit', self._on_exit)
        self._threads = [threading.Thread(target=self._main, name='mitogen.service.%d' % number, daemon=True)
                         for number in range(size)]
        for thread in self._threads:
            thread.start()

    def add(self, service: Service) -> None:
        """Offer a service. Any thread.

        :raises mitogen.service.Error: there is one of that name.
        """
        with self._lock:
            if service.name() in self._invokers:
                raise Error('there is a service %s already', service.name())
            self._invokers[service.name()] = service.invoker_class(service)

    def get_service(self, name: 'Union[str, Type[Service]]') -> Service:
        """Return the service of a name, or class; import and make it if need be. Any thread but the broker's."""
        return self._invoker(name if isinstance(name, str) else name.name()).service

    def _invoker(self, name: str) -> Invoker:
        with self._lock:
            if name not in self._invokers:
                service = load(name, self.router.econtext)(self.router)
                self._invokers[name] = service.invoker_class(service)
            return self._invokers[name]

    def defer(self, fn: 'Function', *args: 'Any', **kwargs: 'Any') -> None:
        """Run a function on a thread of the pool. Any thread.

        :raises mitogen.core.LatchError: the pool has ended.
        """
        self._work.put(functools.partial(fn, *args, **kwargs))

    def stop(self, join: bool = True) -> None:
        """End the threads once they have done what they do, and with `join` wait for that."""
        if _pools.get(self.router) is self:
            del _pools[self.router]
        self._work.close()
        if join:
            self.join()

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _on_exit(self) -> None:
        self.stop(join=False)       # on the broker thread, for which a service may be waiting

    def _on_call(self, msg: Message) -> None:
        self._waiting.submit(msg, self._work.put, self.serve)

    def serve(self, msg: Message) -> None:
        """Answer a call. Any thread but the broker's."""
        try:
            name, method, kwargs = msg.unpickle()
            # Of anything else the text could be larger than any memory.
            if not (type(name) is type(method) is str) or len(name) + len(method) > MAX_NAME:
                raise Error('the name of a service or method is no text')
            if name not in self._invokers and not mitogen.core.has_parent_authority(msg):
                raise Error('there is no service %s, and context %s may not start one', name, msg.src_id)
            invoker, kwargs = self._invoker(name), dict(kwargs)
        except Exception as exc:
            msg.reply(CallError.of(exc))
            return
        invoker.invoke(method, kwargs, msg)

    def _main(self) -> None:
        while True:
            try:
                work = self._work.get()
            except LatchError:
                break
            try:
                work()
            except Exception:
                mitogen.core.log(mitogen.core.ERROR, 'error on a thread of the service pool')
        if threading.current_thread() is self._threads[0]:
            for invoker in self._invokers.values():
                invoker.service.on_shutdown()


_pools: 'Dict[Any, Pool]' = {}      # router -> its pool
_making = threading.Lock()


def load(name: str, econtext: 'Any' = None) -> 'Type[Service]':
    """Import the class of a service; in a child, its main script is the master's. Raises Error if there is none."""
    module, _, path = name.rpartition('.')
    home = econtext.load_module(module) if econtext else __import__(module, fromlist=[path])
    kind = getattr(home, path, None)
    if not (isinstance(kind, type) and issubclass(kind, Service)):
        raise Error('%s is not a service', name)
    return kind


def get_or_create_pool(size: 'Optional[int]' = None, router: 'Any' = None) -> Pool:
    """Return the pool of a router; make one when there is none.

    :param size: threads of a new one.
    :param router: default, in a child: its own.
    """
    router = router or mitogen.core.child_router
    if router is None:
        raise ValueError('in a master, get_or_create_pool() must be told the router')
    with _making:
        return _pools.get(router) or Pool(router, size=size or DEFAULT_SIZE)


def activate(early: 'List[Message]') -> None:
    """In a child, on the broker thread: answer the first calls of services, and be ready for the next."""
    while early:
        get_or_create_pool(router=early[0].router)._on_call(early.pop(0))


def call(service: 'Any', method: str, call_context: 'Any' = None, **kwargs: 'Any') -> 'Any':
    """Call a method of a service and return its result.

    :param service: class or dotted name.
    :param call_context: the Context that has it; None: this one, on the thread that calls.
    """
    if call_context is not None:
        return call_context.call_service(service, method, **kwargs)
    return getattr(get_or_create_pool().get_service(service), method)(**kwargs)


class _Module(type(sys)):       # type: ignore[misc]
    """This module, and services that are imported when somebody first asks for them."""

    def __getattr__(self, name: str) -> 'Any':
        home = {'FileService': 'mitogen.files', 'PushFileService': 'mitogen.push'}.get(name)
        if not home:
            raise AttributeError(name)
        return getattr(__import__(home, fromlist=[name]), name)
sys.modules[__name__].__class__ = _Module       # Python 3.6 knows no __getattr__ of modules
