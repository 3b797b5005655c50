"""
Calls: a function's name for another interpreter, and chains of calls to one context.

Ring 1. Runs on the threads of whoever calls.
"""

import itertools
import os
import threading
from types import ModuleType

import mitogen.core
from mitogen.core import CALL_FUNCTION, TOO_LARGE, ChannelError, Kwargs, Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple


def function_name(fn: 'Any') -> 'Tuple[str, str]':
    """Return (module, qualified name) by which another interpreter finds a function.

    :raises TypeError: it cannot be found by name; the text says what to do instead.
    """
    owner = getattr(fn, '__self__', None)
    if owner is not None and not isinstance(owner, (type, ModuleType)):
        raise TypeError('%r is a method of an object that exists here only: call a function that takes what the object '
                        'knows as arguments' % (fn,))
    # The second: of methods in C, such as str.upper, the class is known only.
    module = getattr(fn, '__module__', None) or getattr(getattr(fn, '__objclass__', None), '__module__', None)
    path = getattr(fn, '__qualname__', None)
    if owner is not None and isinstance(owner, type):
        module, path = owner.__module__, owner.__qualname__ + '.' + fn.__name__
    if not module or not path:
        raise TypeError('%r is not a function, so it has no name by which it could be found' % (fn,))
    if '<' in path:
        raise TypeError('%s.%s exists only while the code around it runs: move it to the top level of a module; pass '
                        'it arguments, not what it closes over; a decorator needs functools.wraps' % (module, path))
    return module, path


def check_size(router: 'Any', msg: Message) -> None:
    """Raise ChannelError when a message is too large, for one that nobody awaits an answer to: nobody would be told."""
    if len(msg.data) > router.max_message_size:
        raise ChannelError(TOO_LARGE, len(msg.data), router.max_message_size)


def encoded(head: 'Tuple[Any, ...]', args: 'Tuple[Any, ...]', kwargs: 'Dict[str, Any]') -> bytes:
    """Return what tells which function is called, and its arguments, ready to be sent.

    :raises TypeError: one may not travel; the text tells which.
    """
    try:
        return mitogen.core.encode(head, (args, Kwargs(kwargs) if kwargs else kwargs))
    except TypeError:
        for name, value in list(enumerate(args, 1)) + list(kwargs.items()):
            try:
                mitogen.core.encode(value)
            except TypeError as exc:
                raise TypeError('argument %s: %s' % (name, exc)) from None
        raise


class CallChain:
    """Calls to one context. Any thread.

    :param context: the context.
    :param pipelined: once a call fails, in whatever way, all later ones of this chain fail with the same error and
        do not run, until reset(). So calls can be sent without waiting for each other.
    """

    _numbers = itertools.count()

    def __init__(self, context: 'Any', pipelined: bool = False) -> None:
        self.context = context
        self.chain_id = self._new_id() if pipelined else None

    def __enter__(self) -> 'CallChain':
        return self

    def __exit__(self, *error: 'Any') -> None:
        self.reset()

    def _new_id(self) -> str:
        return '%d.%d.%d' % (self.context.router.context_id, os.getpid(), next(self._numbers))

    def reset(self) -> None:
        """Forget an earlier failure."""
        if self.chain_id is not None:
            self.context.send(Message(handle=CALL_FUNCTION, data=mitogen.core.encode((self.chain_id, '', ''))))
            self.chain_id = self._new_id()

    def _message(self, fn: 'Any', args: 'Any', kwargs: 'Any') -> Message:
        module, path = fn if isinstance(fn, tuple) else function_name(fn)
        data = encoded((self.chain_id, module, path), args, kwargs)
        self.context.router.bring_code(self.context, module, fn)
        before = getattr(fn, 'mitogen_before_call', None)
        if before is not None:      # what must be done here, with our authority, for it to work there
            before(self.context, *args, **kwargs)
        return Message(handle=CALL_FUNCTION, data=data)

    def call_no_reply(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> None:
        """Call a function and do not wait for it; if it fails, the log says so. Errors as of call_async(), and:

        :raises mitogen.core.ChannelError: the arguments are larger than what may be sent.
        """
        msg = self._message(fn, args, kwargs)
        check_size(self.context.router, msg)
        self.context.send(msg)

    def call_async(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> Receiver:
        """Call a function; ``get().unpickle()`` of the Receiver that is returned gives its result.

        :param fn: function of a module, decorated or not; class or static method. It is found by name, and its
            module sent over if the context lacks it.
        :raises TypeError: `fn` has no such name, or an argument may not travel.
        """
        return self.context.send_async(self._message(fn, args, kwargs))     # type: ignore[no-any-return]

    def call(self, fn: 'Any', *args: 'Any', **kwargs: 'Any') -> 'Any':
        """Call a function and return its result. Arguments and errors as of call_async(), and:

        :raises mitogen.core.CallError: it raised.
        :raises mitogen.core.ChannelError: the context is gone; the text says why.
        :raises mitogen.core.Error: the context is this one, and waits here: it would never come to run the call.
        """
        router = self.context.router
        if (self.context.context_id == router.context_id and router.econtext is not None
                and threading.current_thread() is threading.main_thread()):
            raise mitogen.core.Error('a context runs one call at a time, so %s cannot wait for a call of its own: '
                                     'call the function itself, or from another thread', self.context)
        return self.context.send_await(self._message(fn, args, kwargs))


def when_arrived(receiver: Receiver, then: 'Callable[[Message], None]') -> None:
    """Call ``then(msg)`` with the one message of `receiver`, on the broker thread or, when it is there already, now."""
    def arrived(receiver: Receiver) -> None:
        try:
            msg = receiver.get(block=False, throw_dead=False)
        except (mitogen.core.TimeoutError, mitogen.core.LatchError):
            return          # the other of the two calls below has taken it
        then(msg)
    receiver.notify = arrived
    arrived(receiver)
