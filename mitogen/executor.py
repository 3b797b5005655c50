"""
`concurrent.futures` over contexts: code that is written for a ThreadPoolExecutor runs on other machines.

Ring 2. One thread of each executor hands out work and collects results, so that nothing slow happens on the broker
thread and nothing at all on those of the program. Futures are resolved on it.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor as BaseExecutor, Future
from typing import Any

import mitogen.call
import mitogen.core
from mitogen.core import Message


class NoContexts(BrokenExecutor):
    """All contexts of an executor are lost."""


class _Work:
    """A call that was submitted, and where its result goes."""

    def __init__(self, fn: Any, args: Any, kwargs: Any) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.future: Future[Any] = Future()


class Executor(BaseExecutor):
    """Runs calls in contexts: one at a time in each, and the one that has been idle longest has the next.

    Any thread; also from ``loop.run_in_executor()``. Functions, arguments and results are as for `CallChain.call()`.
    A context that is lost gets no more work; the call that it had fails with ChannelError, as nobody knows how far it
    came. The contexts stay the caller's: the executor does not end them.

    :param contexts: Contexts of one router.

    .. code-block:: python

        with mitogen.aio.Executor(contexts) as executor:
            print(list(executor.map(os.path.getsize, paths)))
    """

    def __init__(self, contexts: Iterable[Any]) -> None:
        self._idle = deque(contexts)            # this and the next two: the executor's thread
        self._waiting: deque[_Work] = deque()
        self._busy = 0
        self._lock = threading.Lock()
        self._closed = False                    # under the lock, as is the next
        self._broken = False
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        if not self._idle:
            raise ValueError('an executor needs at least one context')
        self._thread = threading.Thread(target=self._main, name='mitogen.executor', daemon=True)
        self._thread.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> 'Future[Any]':
        """Call ``fn(*args, **kwargs)`` in a context as soon as one is idle; return a Future of its result.

        What `CallChain.call()` raises becomes the Future's exception.

        :raises RuntimeError: the executor was shut down.
        :raises NoContexts: its contexts are lost.
        """
        work = _Work(fn, args, kwargs)
        with self._lock:
            if self._broken:
                raise NoContexts('all contexts of this executor are lost')
            if self._closed:
                raise RuntimeError('cannot submit work after shutdown')
            self._events.put(lambda: self._waiting.append(work))
        return work.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work.

        :param wait: return once all that was submitted is done.
        :param cancel_futures: cancel what no context has begun.
        """
        with self._lock:
            self._closed = True
            self._events.put(self._cancel_waiting if cancel_futures else lambda: None)
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    # the executor's thread

    def _main(self) -> None:
        while not (self._closed and self._events.empty() and not self._waiting and not self._busy):
            self._events.get()()
            self._hand_out()

    def _cancel_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().future.cancel()

    def _hand_out(self) -> None:
        """Give work to contexts, as far as there are both."""
        while self._waiting:
            context = self._next_context()
            if context is None:
                break
            work = self._waiting.popleft()
            if work.future.set_running_or_notify_cancel():
                self._begin(context, work)
            else:
                self._idle.appendleft(context)
        if not self._idle and not self._busy:
            self._give_up()

    def _next_context(self) -> Any:
        """Take the context that has been idle longest; None: there is none. Those that are lost are forgotten."""
        while self._idle:
            context = self._idle.popleft()
            if context.router.stream_by_id(context.context_id) is not None:
                return context
        return None

    def _begin(self, context: Any, work: _Work) -> None:
        try:
            receiver = context.call_async(work.fn, *work.args, **work.kwargs)
        except Exception as exc:        # it cannot be sent, or the broker has ended
            self._idle.append(context)
            work.future.set_exception(exc)
            return
        self._busy += 1
        mitogen.call.when_arrived(receiver, lambda msg: self._events.put(lambda: self._finish(context, work, msg)))

    def _finish(self, context: Any, work: _Work, msg: Message) -> None:
        self._busy -= 1
        self._idle.append(context)
        try:
            result = msg.unpickle()
        except Exception as exc:
            work.future.set_exception(exc)
        else:
            work.future.set_result(result)

    def _give_up(self) -> None:
        with self._lock:        # what submit() has taken is in the queue by now; nothing follows it
            self._broken = self._closed = True
        while not self._events.empty():
            self._events.get()()
        for work in self._waiting:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(NoContexts('all contexts of this executor are lost'))
        self._waiting.clear()
