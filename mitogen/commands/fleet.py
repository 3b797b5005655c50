"""
One thing done in many places, a few at a time: what all commands have in common.

Ring 2. Each place has its turn on one of a few threads. The main thread prints, asks for passwords and hears Ctrl-C;
the others send it what they want printed or asked. So lines stay whole, and a question that is interrupted leaves the
terminal as it was.
"""

import argparse
import json
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import mitogen.core
import mitogen.master
from mitogen.commands import target
from mitogen.core import Message

#: Places at a time, unless --jobs tells. An ssh server with default settings drops some of more (MaxStartups 10).
DEFAULT_JOBS = 16

#: After Ctrl-C, seconds for programs to clean up, for connections to end, and for threads to notice. Together below 2.
STOP_WAIT, SHUTDOWN_WAIT, THREADS_WAIT = 1.0, 0.4, 0.2

#: Between two looks at a progress that nobody reports.
TICK = 0.1

#: Seconds that the main thread waits at a time otherwise: a signal that comes as it begins is seen when it looks up.
LOOK = 0.5

#: What can go wrong in one place without being a bug of ours.
FAILURES = mitogen.core.Error, OSError, TypeError, ValueError

WAITING, CONNECTING, RUNNING, DONE, FAILED = 'not started', 'connecting', 'running', 'done', 'failed'


class Place:
    """A chain of hops and what happens there.

    :ivar hops: as on the command line.
    :ivar state: one of the words above.
    :ivar status: its share in the exit status.
    :ivar context: once connected.
    """

    def __init__(self, number: int, hops: str) -> None:
        self.number, self.hops = number, hops
        self.state, self.status = WAITING, 0
        self.context: Any = None
        self.result: Any = None
        self.error = ''


class Failure(mitogen.core.Error):
    """Something cannot be done; the text says it all."""


def describe(exc: BaseException) -> str:
    """Return an error as people are shown it."""
    return str(exc) if isinstance(exc, Failure) else '%s: %s' % (type(exc).__name__, exc)


class Stopped(Exception):
    """Ctrl-C, or a signal that asks for the same."""


class Fleet:
    """Places, and the threads that work for them.

    :param places: hops of each.
    :param options: those of add_options().
    :param work: ``work(fleet, place)``, on one of the threads; returns the result, sets ``place.status`` if it is bad.
    :param show: ``show(place)``, on the main thread, in the order of the places, once each is done or has failed.
    """

    def __init__(self, places: list[str], options: argparse.Namespace, work: Callable[['Fleet', Place], Any],
                 show: Callable[[Place], None]) -> None:
        self.places = [Place(number, hops) for number, hops in enumerate(places)]
        self._json = options.json
        self.several = len(places) > 1
        self.router = mitogen.master.Router()
        self.passwords: Any = None
        self.tick: Callable[[], None] | None = None         # called on the main thread from time to time
        self.untick: Callable[[], None] = lambda: None      # undoes what that has left on the terminal
        self._work, self._show = work, show
        self._jobs = min(options.jobs or DEFAULT_JOBS, len(places))
        self._events: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._todo = iter(self.places)
        self._lock = threading.Lock()                       # of the iterator
        self._stopping = False
        self._shown = 0
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._jobs)]

    # any thread

    def post(self, fn: Callable[..., Any], *args: Any) -> None:
        """Have the main thread call a function: whatever prints."""
        self._events.put(lambda: fn(*args))

    def ask(self, fn: Callable[[str], str], question: str) -> str:
        """Have the main thread ask somebody, and return the answer."""
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.post(lambda: answer.put(fn(question)))
        return answer.get()

    # the threads

    def _serve(self) -> None:
        while True:
            with self._lock:
                place = None if self._stopping else next(self._todo, None)
            if place is None:
                return
            place.state = CONNECTING
            try:
                place.result = self._work(self, place)
                place.state = DONE
            except FAILURES as exc:
                place.state, place.status = FAILED, place.status or 1
                place.error = describe(exc)
            except BaseException as exc:        # a bug: it must not leave the main thread waiting
                place.state, place.status, place.error = FAILED, 1, 'internal error: %r' % exc
                raise
            finally:
                self.post(self._on_done)

    def arrived(self, place: Place, context: Any) -> Any:
        """A place is connected: from here on it can be stopped. Returns its context."""
        place.context = context
        context.call_no_reply(target.prepare)
        place.state = RUNNING
        return context

    # the main thread

    def run(self) -> int:
        """Do it all; return the exit status."""
        with catching_signals(), self.router:
            try:
                for thread in self._threads:
                    thread.start()
                while self._shown < len(self.places):
                    self._handle(TICK if self.tick else LOOK)
            except (KeyboardInterrupt, Stopped) as exc:
                self._stop()
                return exc.args[0] if exc.args else 130
            except BrokenPipeError:         # `mitogen run ... | head`
                self._stop()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                return 141
        self.untick()
        return max(place.status for place in self.places)

    def _handle(self, timeout: float) -> None:
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            event = lambda: None        # noqa: E731
        event()
        if self.tick:
            self.tick()

    def _on_done(self) -> None:
        """Show what is ready, in order: nothing before all that stands before it on the command line."""
        for place in self.places[self._shown:]:
            if self._stopping or place.state not in (DONE, FAILED):
                break
            self._shown += 1
            self._show(place)

    def _stop(self) -> None:
        """Stop all that runs, say what was left. A second Ctrl-C ends the patience, not the order."""
        with self._lock:
            self._stopping = True
        left = [place for place in self.places if place.state in (CONNECTING, RUNNING)]
        ready = [place for place in self.places[self._shown:] if place.state in (DONE, FAILED)]
        try:
            self._interrupt(left)
        except (KeyboardInterrupt, Stopped, BrokenPipeError):
            pass
        self.router.broker.shutdown_timeout = SHUTDOWN_WAIT
        self.router.broker.shutdown()
        self.router.broker.join()
        give_up = time.monotonic() + THREADS_WAIT
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, give_up - time.monotonic()))
        self.untick()
        for place in self.places[self._shown:]:
            if place in left or place.state == WAITING:
                place.error = 'stopped' if place in left else place.state
            if place in ready or self._json:
                self._show(place)
        say_what_is_left(self.places, left)

    def _interrupt(self, left: list[Place]) -> None:
        """Pass the Ctrl-C on, and give what runs time to say its last words."""
        for place in left:
            if place.context is not None:
                place.context.send(Message(handle=target.STOP))
        give_up = time.monotonic() + STOP_WAIT
        while any(place.state == RUNNING for place in left) and time.monotonic() < give_up:
            self._handle(TICK)


def say_what_is_left(places: list[Place], left: list[Place]) -> None:
    """Tell on standard error what an interruption has cost."""
    undone = [place for place in places if place.state == WAITING or place in left]
    done = sum(place.state == DONE for place in places if place not in left)
    print('interrupted: %d of %d done' % (done, len(places)), file=sys.stderr)
    for place in undone:
        print('  %s: %s' % (place.hops, place.error), file=sys.stderr)


class catching_signals:
    """For a `with` block: what ends a program by default ends it as Ctrl-C does, in good order."""

    def __enter__(self) -> None:
        def stop(number: int, frame: Any) -> None:
            raise Stopped(128 + number)
        self._before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)
                        if signal.getsignal(number) == signal.SIG_DFL}

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


# ---- what the commands print -----------------------------------------------------------------------

def show_error(place: Place, several: bool) -> None:
    """Print why a place has failed."""
    prefix = place.hops + ': ' if several else ''
    print(prefix + place.error, file=sys.stderr, flush=True)


def show_json(place: Place, **more: Any) -> None:
    """Print one place as one line of JSON."""
    record = {'on': place.hops, 'ok': place.state == DONE and not place.status, **more}
    if place.error:
        record['error'] = place.error
    print(json.dumps(record), flush=True)


# ---- what the commands are told --------------------------------------------------------------------

def read_hosts(file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield (line number, hops) of a file: one chain of hops a line, ``#`` begins a comment."""
    for number, line in enumerate(file, 1):
        hops = re.sub(r'(^|\s)#.*', '', line).strip()
        if hops:
            yield number, hops


def add_options(parser: argparse.ArgumentParser, check: Callable[[str], str]) -> None:
    """Add what all commands take.

    :param check: raises argparse.ArgumentTypeError for hops that are none.
    """
    class Hosts(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                     option: str | None = None) -> None:
            try:
                with sys.stdin if values == '-' else open(values, encoding='utf-8') as file:
                    found = list(read_hosts(file))
            except (OSError, UnicodeError) as exc:
                parser.error('--hosts: %s' % exc)
            if not found:
                parser.error('--hosts: there is nothing in %s' % values)
            for number, hops in found:
                try:
                    namespace.on = (namespace.on or []) + [check(hops)]
                except argparse.ArgumentTypeError as exc:
                    parser.error('%s, line %d: %s' % (values, number, exc))

    parser.add_argument('--on', action='append', type=check, metavar='HOP/HOP...', help='where; several run at once')
    parser.add_argument('--hosts', action=Hosts, metavar='FILE',
                        help='more places: a file with one chain of hops a line, # begins a comment; - is stdin')
    parser.add_argument('--jobs', type=positive, metavar='N', help='places at a time; default %d' % DEFAULT_JOBS)
    parser.add_argument('--json', action='store_true', help='one JSON object a line')


def positive(text: str) -> int:
    """Return a number above 0; argparse makes an error message of the ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
