"""
For asyncio programs: contexts that are awaited.

Ring 2. Everything here runs on the event loop's thread; what the broker thread does for it is one
``loop.call_soon_threadsafe()`` for each arrival, so a thousand calls under way cost no thread at all. Nothing here
waits on that thread. The first call of a function does work on it: its module is searched for and compressed.

.. code-block:: python

    async def main():
        async with mitogen.aio.router() as router:
            web = await mitogen.aio.connect(router.ssh, hostname='web1')
            print(await mitogen.aio.call(web, os.getpid))

Cancelling a task lets go of what it waited on. A *call* that is cancelled is not stopped where it runs, as nothing can
stop a thread of another process; its result is ignored when it comes.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import mitogen.connect
import mitogen.core
import mitogen.master
import mitogen.method
from mitogen.core import CLOSED, ChannelError, Message, Receiver, TimeoutError
from mitogen.executor import Executor as Executor
from mitogen.select import Error

#: Held for moments only, by loops' threads: two loops may wait for one receiver.
_bells = threading.Lock()


class _Bell:
    """A receiver's `notify` while tasks wait for it: wakes them all, and who comes first takes what there is.

    To wake one would be to lose an arrival whenever that one has been cancelled meanwhile.
    """

    def __init__(self) -> None:
        self.waiting: set[asyncio.Future[None]] = set()     # changed under the lock

    def __call__(self, receiver: Receiver) -> None:
        with _bells:
            futures = list(self.waiting)
        for future in futures:
            _wake(future)


def _wake(future: 'asyncio.Future[None]') -> None:
    """Resume who awaits `future`. Any thread; nothing happens when its loop is closed."""
    try:
        future.get_loop().call_soon_threadsafe(_set, future)
    except RuntimeError:
        pass        # nobody waits there any more; and this is the broker's thread, which has others to serve


def _set(future: 'asyncio.Future[None]') -> None:
    if not future.done():
        future.set_result(None)


async def _arrival(receiver: Receiver) -> None:
    """Wait until `receiver` may have something."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with _bells:
        bell: Any = receiver.notify or _Bell()
        if not isinstance(bell, _Bell):
            raise Error('%r is in a select already', receiver)
        bell.waiting.add(future)
        receiver.notify = bell
    try:
        if receiver.empty() and not receiver._latch.closed:     # else it came before we listened
            await future
    finally:
        with _bells:
            bell.waiting.discard(future)
            if not bell.waiting and receiver.notify is bell:
                receiver.notify = None


async def get(receiver: Receiver, throw_dead: bool = True) -> Message:
    """Wait for the next message of a receiver; several tasks may. As `Receiver.get()`, which does so for threads.

    Cancelling leaves the receiver as it was: it is yours.

    :param throw_dead: False: return a dead message rather than raise.
    :raises mitogen.core.ChannelError: the other end is gone, closed or refused; the text says why.
    :raises mitogen.core.LatchError: the receiver is closed.
    :raises mitogen.select.Error: it is in a Select.
    """
    while True:
        try:
            return receiver.get(block=False, throw_dead=throw_dead)
        except TimeoutError:
            await _arrival(receiver)


async def iterate(receiver: Receiver) -> AsyncIterator[Message]:
    """Yield messages until the other end closes; a loss of any other kind raises ChannelError.

    .. code-block:: python

        async for msg in mitogen.aio.iterate(receiver):
            print(msg.unpickle())
    """
    while True:
        msg = await get(receiver, throw_dead=False)
        if msg.is_dead and msg.reason == CLOSED:
            return
        if msg.is_dead:
            raise ChannelError(msg.reason)
        yield msg


async def call(context: Any, fn: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function in a context and return its result. Arguments and errors as of `CallChain.call()`.

    Cancelled: its handler is removed, a late answer is ignored.
    """
    router = context.router
    while router.crowd.is_full(context.context_id):
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        router.broker.defer(router.crowd.when_room, context.context_id, functools.partial(_wake, room))
        await room
    receiver: Receiver = context.call_async(fn, *args, **kwargs)
    try:
        return (await get(receiver)).unpickle()
    finally:
        receiver.close()


async def connect(factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Start a child and return its Context. Any number can be under way; see `Router.connect_async()`.

    :param factory: a router's method that starts children: ``router.ssh``, ``router.local``, ``router.connect``.
    :param args: and keyword arguments: those of the method.
    :raises mitogen.core.StreamError: it did not start; which kind of it as the method documents.
    :raises TypeError: `factory` is no such method.

    Cancelled: a child that has not started yet will not, and one that has is ended.
    """
    router, name = getattr(factory, '__self__', None), getattr(factory, '__name__', '')
    if not isinstance(router, mitogen.connect.Connector) or name not in mitogen.method.MODULES and name != 'connect':
        raise TypeError('%r is no method of a router that starts children, such as router.ssh' % (factory,))
    receiver = router.connect_async(*(() if name == 'connect' else (name,)), *args, **kwargs)
    try:
        return (await get(receiver)).unpickle()
    except BaseException as exc:
        if not isinstance(exc, Exception):      # cancelled, or the loop is torn down
            receiver.cancel()
        raise
    finally:
        receiver.close()


@contextlib.asynccontextmanager
async def router(**kwargs: Any) -> AsyncIterator[mitogen.master.Router]:
    """A master's Router for an ``async with`` block; at its end all children are ended, while other tasks run on.

    :param kwargs: as for `mitogen.master.Router`.
    """
    router = mitogen.master.Router(**kwargs)
    try:
        yield router
    finally:
        await _end(router.broker)


async def _end(broker: mitogen.core.Broker) -> None:
    """Shut a broker down and wait for it. Cancelled: it ends all the same, unattended."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        broker.defer(mitogen.core.listen, broker, 'exit', lambda: _wake(over))
        broker.shutdown()
        await over
    except mitogen.core.Error:
        pass            # the program has shut it down already
    broker.join()       # its last word was said: this takes no time
