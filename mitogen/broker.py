"""
The rest of the broker: what a process with many streams needs.

Ring 1. `mitogen.core.Broker`, a leaf's, polls five descriptors and knows no time; this one has timers, epoll or
kqueue, and an end that waits for others. Everything here runs on the broker thread unless it says otherwise.
"""

import heapq
import itertools
import os
import select
import threading
import time

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

POLLIN, POLLOUT = mitogen.core.POLLIN, mitogen.core.POLLOUT

#: Timers that may wait before those that are cancelled are looked for: as many again when many are not.
MANY_TIMERS = 256

#: Seconds after which a broker looks up, if nothing has woken it: where user code closes all descriptors, and that of
#: epoll with them, who sleeps there sleeps on.
LOOK = 2.0


class Timer:
    """A function that will be called at its time."""

    def __init__(self, fn: 'Callable[[], Any]') -> None:
        self.fn: 'Optional[Callable[[], Any]]' = fn

    def cancel(self) -> None:
        """Do not call it any more. Any thread."""
        self.fn = None


class Timers:
    """Functions to be called at their times, in that order."""

    def __init__(self) -> None:
        self.heap: 'List[Tuple[float, int, Timer]]' = []
        self._count = itertools.count()
        self._much = MANY_TIMERS

    def schedule(self, when: float, fn: 'Callable[[], Any]') -> Timer:
        """Have `fn` called, on the broker thread.

        :param when: seconds, as time.monotonic() counts them.
        :returns: what cancels it.
        """
        if len(self.heap) >= self._much:        # most are cancelled: each start has one for 30 s, and takes less
            self.heap = [entry for entry in self.heap if entry[2].fn is not None]
            heapq.heapify(self.heap)
            self._much = max(MANY_TIMERS, 2 * len(self.heap))
        timer = Timer(fn)
        heapq.heappush(self.heap, (when, next(self._count), timer))
        return timer

    def wait(self, now: float) -> 'Optional[float]':
        """Seconds until the next is due; None: there is none."""
        while self.heap and self.heap[0][2].fn is None:
            heapq.heappop(self.heap)
        return max(0.0, self.heap[0][0] - now) if self.heap else None

    def due(self, now: float) -> 'Iterator[Callable[[], Any]]':
        """Take out, and yield, the functions whose time has come."""
        while self.heap and self.heap[0][0] <= now:
            fn = heapq.heappop(self.heap)[2].fn
            if fn is not None:
                yield fn


class Poller:
    """Waits for any number of descriptors, by poll(); its subclasses by what the system has that is better."""

    def __init__(self) -> None:
        self._masks: 'Dict[int, int]' = {}
        self._open()

    def _open(self) -> None:
        self._poll: 'Any' = select.poll()

    def watch(self, fd: int, read: bool, write: bool) -> None:
        """From now on report `fd` when it can be read, or written, as asked for; neither: forget it."""
        mask = POLLIN * read | POLLOUT * write
        old = self._masks.pop(fd, 0)
        if mask:
            self._masks[fd] = mask
        if mask != old:
            self._change(fd, old, mask)

    def _change(self, fd: int, old: int, mask: int) -> None:
        if not mask:
            self._poll.unregister(fd)
        elif old:
            self._poll.modify(fd, mask)
        else:
            self._poll.register(fd, mask)

    def poll(self, timeout: 'Optional[float]') -> 'List[Tuple[int, int]]':
        """Wait up to `timeout` seconds (None: for ever); return (descriptor, events)."""
        return self._poll.poll(timeout and timeout * 1000 + 1)      # type: ignore[no-any-return]

    def close(self) -> None:
        """Give back what the poller itself holds."""


class EpollPoller(Poller):
    """Linux: its cost does not grow with the descriptors that are silent."""

    def _open(self) -> None:
        self._poll = select.epoll()
        mitogen.core.Side.all_open.add(self._poll.fileno())     # a forked child must not share it

        self.poll = self._poll.poll             # type: ignore[method-assign]

    def close(self) -> None:
        mitogen.core.Side.all_open.discard(self._poll.fileno())
        self._poll.close()


class KqueuePoller(Poller):
    """The BSDs and macOS, whose poll() does not know terminals. Its descriptor is not inherited by a fork."""

    def _open(self) -> None:
        self._poll = select.kqueue()    # type: ignore[attr-defined]

    def _change(self, fd: int, old: int, mask: int) -> None:
        kinds = (POLLIN, select.KQ_FILTER_READ), (POLLOUT, select.KQ_FILTER_WRITE)          # type: ignore[attr-defined]
        for bit, kind in kinds:
            if (old ^ mask) & bit:
                action = select.KQ_EV_ADD if mask & bit else select.KQ_EV_DELETE            # type: ignore[attr-defined]
                self._poll.control([select.kevent(fd, kind, action)], 0, 0)                 # type: ignore[attr-defined]

    def poll(self, timeout: 'Optional[float]') -> 'List[Tuple[int, int]]':
        reading = select.KQ_FILTER_READ                                                     # type: ignore[attr-defined]
        return [(event.ident, POLLIN if event.filter == reading else POLLOUT)
                for event in self._poll.control(None, len(self._masks) * 2 + 1, timeout)]

    def close(self) -> None:
        self._poll.close()


def best_poller() -> Poller:
    """Return the poller that this system does best with."""
    if hasattr(select, 'epoll'):
        return EpollPoller()
    return KqueuePoller() if hasattr(select, 'kqueue') else Poller()


class Broker(mitogen.core.Broker):
    """The broker of a process that has children.

    :ivar timers: schedules functions; see Timers. Use it on the broker thread.
    :ivar busy: whatever is put in here keeps the broker, up to `shutdown_timeout`, from ending.
    """

    #: Seconds that streams have to end in good order once shutdown() was called. After EXIT_GRACE it would be too late
    #: to kill what is left.
    shutdown_timeout = mitogen.core.EXIT_GRACE - 0.5

    if TYPE_CHECKING:       # see _prepare()
        timers: 'Timers'
        busy: 'Set[Any]'
        _mine: 'Any'

    _rounds = 0             # how often what was deferred has been done
    _deadline: 'Optional[float]' = None
    _poller: 'Optional[Poller]' = None

    def __init__(self) -> None:
        _prepare(self)
        mitogen.core.Broker.__init__(self)

    def assert_on_thread(self) -> None:
        """Raise RuntimeError when the caller does not run on the broker thread."""
        if not self.on_thread():
            raise RuntimeError('not on the broker thread')

    def defer_sync(self, fn: 'Callable[[], Any]') -> 'Any':
        """Run `fn` on the broker thread and return, or raise, what it does. Any thread."""
        if self.on_thread():
            return fn()
        done = mitogen.core.Latch(self)

        def run() -> None:
            try:
                done.put((True, fn()))
            except Exception as exc:
                done.put((False, exc))
        self.defer(run)
        fine, result = done.get()
        if not fine:
            raise result
        return result

    def ask(self, queue: 'Any', timeout: 'Optional[float]', context: 'Any', msg: 'Any') -> 'Any':
        """Send a message, which asks for something, and return what comes into `queue` then. If nobody does the work it
        goes out when this thread begins to wait, not before; if another thread does, past that one, as to wake it takes
        longer. Any thread but the broker's.

        :param timeout: seconds, or None.
        :raises _queue.Empty: they have passed.
        """
        self.coming = threading.get_ident()
        try:
            crowd = context.router.crowd
            is_plain = crowd.is_plain(msg)
            if is_plain and not self._driver:
                self.defer(crowd.send_first, msg)
            elif not (is_plain and self._may_pass() and crowd.send_now(msg)):
                context.send(msg)
            return mitogen.core.Broker.wait_for(self, queue, timeout)
        except BaseException:       # Ctrl-C, or what keeps it from being sent: perhaps it does not come to wait
            self.coming, self._mine.deferred = 0, self._rounds
            self.work_alone()
            raise

    def _may_pass(self) -> bool:
        """Whether all that this thread has deferred was done, so that it can send something past it. Never the main
        thread: a signal's handler could want the lock that it holds meanwhile."""
        # The first round after may have begun before. When closed, what a descriptor's number stands for is not known.
        return (self._rounds > getattr(self._mine, 'deferred', -2) + 1 and not self._closed
                and threading.get_ident() != threading.main_thread().ident)

    def defer(self, fn: 'Callable[..., Any]', *args: 'Any', **kwargs: 'Any') -> None:
        mitogen.core.Broker.defer(self, fn, *args, **kwargs)
        if self.coming != threading.get_ident():        # that one waits until it is done
            self._mine.deferred = self._rounds

    def run_deferred(self) -> None:
        mitogen.core.Broker.run_deferred(self)
        self._rounds += 1

    def catch_up(self) -> None:
        """Return when what was deferred before has been done. Any thread but the broker's."""
        if self._deferred:
            self.defer_sync(bool)

    def work_alone(self) -> None:
        """Have the broker's own thread take the work, if nobody does it: who calls this will not for a while."""
        if not self._driver:        # else the call would lie there, and cost the own thread its next rest
            self._call.put(True)

    def disown(self) -> None:
        """In a forked child: this broker's thread is its parent's, and the numbers of its descriptors may belong to
        other files by now. Whoever still has it, by an old context for example, gets Error for what it asks."""
        self._lock = threading.RLock()      # the other may have been held when we were forked
        self._closed = self.stopping = True

    def stop_receive(self, stream: 'Any') -> None:
        """Undo start_receive(). Any thread."""
        self.defer(self._watch, stream.receive_side, 0, None)

    def keep_alive(self) -> bool:
        """Whether something is left that the broker should not end without."""
        return bool(self.busy)

    def _begin_shutdown(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self.shutdown_timeout
        mitogen.core.Broker._begin_shutdown(self)

    def _linger(self) -> bool:
        return self.keep_alive() and time.monotonic() < (self._deadline or 0)

    def _interest(self, fd: int, reader: 'Any', writer: 'Any') -> None:
        if self._poller is not None:
            self._poller.watch(fd, reader is not None, writer is not None)

    def _ready(self, timeout: 'Optional[float]') -> 'Sequence[Tuple[int, int]]':
        if self._poller is None:
            self._poller = best_poller()
            for fd, pair in self._watched.items():
                self._interest(fd, *pair)
        return self._poller.poll(LOOK if timeout is None else min(timeout, LOOK))

    def _turn(self, timeout: 'Optional[float]' = None) -> None:
        if self.timers.heap or self._deadline is not None:
            now = time.monotonic()
            waits = timeout, self.timers.wait(now), self._deadline and max(0.0, self._deadline - now)
            timeout = min((seconds for seconds in waits if seconds is not None), default=None)
        mitogen.core.Broker._turn(self, timeout)
        if self.timers.heap:
            for fn in self.timers.due(time.monotonic()):
                self._guard(None, lambda broker, fn=fn: fn())
            self._settle()

    def _end(self) -> None:
        mitogen.core.Broker._end(self)
        if self._poller is not None:
            self._poller.close()


def keep_watch(stream: 'Any') -> None:
    """epoll forgets a descriptor that user code closes, and we would never hear that our parent is gone. As long as the
    same pipe has another one, it goes on to tell, and what is then read finds out."""
    try:
        other = mitogen.core.Side(os.dup(stream.receive_side.fd))
    except (OSError, TypeError):        # closed already, or there are no more: then without
        return
    mitogen.core.listen(stream, 'disconnect', other.close)


def _prepare(broker: 'Any') -> None:
    broker.timers = Timers()
    broker.busy = set()
    broker._mine = threading.local()    # `deferred`: the round in which that thread last deferred something


def grow(broker: 'Any') -> None:
    """Turn a leaf's broker, while it runs, into the broker of a parent. Any thread."""
    if isinstance(broker, Broker):
        return
    with broker._lock:          # or of two that come at once, one would take away what the other has scheduled
        if not isinstance(broker, Broker):
            _prepare(broker)
            broker.__class__ = Broker
    # It may sleep in a poll that does not know of timers.
    broker.defer(lambda: None)
