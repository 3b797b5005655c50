"""
``mitogen copy``: files and folders, to places or back.

Ring 2. In both directions a file is written beside its final name, made safe on the disk, and renamed. Its data are
calls to mitogen.commands.target, several under way at a time, so that a long line is kept full.
"""

import argparse
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import mitogen.cli
import mitogen.commands.fleet as fleets
import mitogen.commands.target as target
import mitogen.core
from mitogen.call import CallChain
from mitogen.commands.fleet import Failure, Fleet, Place
from mitogen.core import Blob, Receiver

#: Bytes in one call, and calls under way: 4 MiB on the line, enough for 300 Mbit/s at 100 ms.
CHUNK, WINDOW = 256 << 10, 16

#: Seconds between two pictures of the progress.
REDRAW = 0.1

_numbers = itertools.count(1)

Entries = list[tuple[str, str, Any]]


class Calls:
    """Calls to a context that do not wait for each other; after the first failure none of them runs."""

    def __init__(self, context: Any) -> None:
        self._chain = CallChain(context, pipelined=True)
        self._under_way: deque[tuple[Receiver, Callable[[Any], None]]] = deque()

    def call(self, fn: Any, *args: Any, then: Callable[[Any], None] = lambda result: None) -> None:
        """Call a function; ``then(result)`` is called here, some calls later."""
        self._under_way.append((self._chain.call_async(fn, *args), then))
        if len(self._under_way) >= WINDOW:
            self._take()

    def finish(self) -> None:
        """Wait for all."""
        while self._under_way:
            self._take()

    def _take(self) -> None:
        receiver, then = self._under_way.popleft()
        try:
            then(receiver.get().unpickle())
        finally:
            receiver.close()

    def __enter__(self) -> 'Calls':
        return self

    def __exit__(self, kind: Any, exc: Any, traceback: Any) -> None:
        for receiver, _ in self._under_way:
            receiver.close()
        try:
            self._chain.reset()
        except mitogen.core.Error:
            pass            # interrupted: the broker has ended
        if isinstance(exc, mitogen.core.CallError):     # our own code there: its traceback helps nobody
            raise Failure('%s: %s', exc.type_name, exc.message) from None


class Progress:
    """What has been copied, and how much there is. Numbers are changed by any thread, drawn by the main thread."""

    def __init__(self, places: int, file: Any = None) -> None:
        self._places, self._file = places, file or sys.stderr
        self._total: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._began = time.monotonic()
        self._next = 0.0
        self._width = 0

    def expect(self, place: Place, size: int) -> None:
        self._total[place.number] = self._total.get(place.number, 0) + size

    def add(self, place: Place, size: int) -> None:
        self._done[place.number] = self._done.get(place.number, 0) + size

    def draw(self) -> None:
        """Show it, if it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REDRAW
            text = self.text(now)
            print('\r' + text.ljust(self._width), end='', file=self._file, flush=True)
            self._width = len(text)

    def erase(self) -> None:
        """Make room for other text."""
        if self._width:
            print('\r' + ' ' * self._width + '\r', end='', file=self._file, flush=True)
        self._width, self._next = 0, 0.0

    def text(self, now: float) -> str:
        """Return one line. Places that are not connected yet count as large as the others."""
        done, known = sum(self._done.values()), sum(self._total.values())
        total = known * self._places // max(1, len(self._total))
        share = min(1.0, done / total) if total else 0.0
        rate = done / max(now - self._began, 0.001)
        bar = ('#' * round(share * 30)).ljust(30)
        return '[%s] %3d %%  %s of %s  %s/s' % (bar, share * 100, size_text(done), size_text(total), size_text(rate))


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in 'B', 'kB', 'MB', 'GB':
        if size < 999.5:
            return '%.3g %s' % (size, unit)
        size /= 1000
    return '%.3g TB' % size


# ---- to the places ---------------------------------------------------------------------------------

def send_all(context: Any, sources: list[tuple[str, Entries]], destination: str, count: Callable[[int], None]) -> None:
    """Copy files and folders of this machine to a context."""
    if len(sources) > 1:
        destination = destination.rstrip('/') + '/'
    for source, entries in sources:
        with Calls(context) as calls:
            root = context.call(target.place_for, destination, base_name(source))
            calls.call(target.make, entries, root)
            for kind, below, _ in entries:
                if kind == 'file':
                    send_file(context, calls, os.path.join(source, below) if below else source,
                              os.path.join(root, below) if below else root, count)
            calls.call(target.finish_folders, entries, root)
            calls.finish()


def send_file(context: Any, calls: Calls, source: str, path: str, count: Callable[[int], None]) -> None:
    number = next(_numbers)
    try:
        with open(source, 'rb', 0) as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            calls.call(target.begin_write, number, path)
            for data in iter(lambda: file.read(CHUNK), b''):
                calls.call(target.write, number, Blob(data), then=counting(count, len(data)))
        calls.call(target.end_write, number, mode)
    except BaseException:
        forget(context, number)
        raise


def counting(count: Callable[[int], None], size: int) -> Callable[[Any], None]:
    return lambda result: count(size)


def forget(context: Any, number: int) -> None:
    """Have a context close, and remove, what is not finished."""
    try:
        context.call_no_reply(target.drop, number)
    except mitogen.core.Error:
        pass                # it is gone; that has the same effect


# ---- and back --------------------------------------------------------------------------------------

def fetch_all(context: Any, sources: list[str], destination: str, recursive: bool, expect: Callable[[int], None],
              count: Callable[[int], None]) -> None:
    """Copy files and folders of a context to this machine."""
    if len(sources) > 1 and not os.path.isdir(destination):
        raise Failure('%s is not a folder', destination)
    for source in sources:
        with Calls(context) as calls:
            entries = checked(context.call(target.listing, source), source, recursive)
            expect(total_size(entries))
            root = target.place_for(destination, base_name(source))
            target.make(entries, root, follow=False)        # or a link that came before would lead us elsewhere
            for kind, below, _ in entries:
                if kind == 'file':
                    fetch_file(context, calls, source + '/' + below if below else source,
                               os.path.join(root, below) if below else root, count, follow=not below)
            target.finish_folders(entries, root)


def fetch_file(context: Any, calls: Calls, source: str, path: str, count: Callable[[int], None],
               follow: bool) -> None:
    number = next(_numbers)
    _, mode = context.call(target.begin_read, number, source)
    incoming = target.Incoming(path, follow)
    ended: list[bool] = []

    def take(data: bytes) -> None:
        incoming.write(data)
        count(len(data))
        if not data:
            ended.append(True)
    try:
        while not ended:
            calls.call(target.read, number, CHUNK, then=take)
        calls.finish()
        incoming.finish(int(mode) & 0o777)
    except BaseException:
        incoming.drop()
        raise
    finally:
        incoming.close()
        forget(context, number)


def checked(entries: Any, source: str, recursive: bool) -> Entries:
    """Return a listing() that is what it says. The context that it is from may be hostile.

    :raises Failure: it is a folder and nobody has asked for one, or would lead out of the folder that it is written to.
    """
    kinds: dict[str, str] = {}
    for kind, below, _ in entries:
        above, _, name = below.rpartition('/')
        inside = kinds.get(above) == 'folder' and name not in ('', '.', '..') if below else not kinds and kind != 'link'
        if kind not in ('file', 'folder', 'link') or below in kinds or not inside or '\0' in below:
            raise Failure('%s: the other side has sent a list that is none: %r', source, below)
        kinds[below] = kind
    if not kinds:
        raise Failure('%s: the other side has sent an empty list', source)
    if kinds[''] == 'folder' and not recursive:
        raise Failure('%s is a folder; -r copies it with all that it holds', source)
    return entries      # type: ignore[no-any-return]


def base_name(path: str) -> str:
    """Return the last part of a path, that of a folder with a slash behind it too."""
    return os.path.basename(os.path.normpath(path))


def total_size(entries: Entries) -> int:
    return sum(detail for kind, _, detail in entries if kind == 'file')


# ---- the command -----------------------------------------------------------------------------------

def local_sources(paths: list[str], recursive: bool) -> list[tuple[str, Entries]]:
    """Return what is to be sent.

    :raises OSError: or Failure: it cannot be.
    """
    return [(path, checked(target.listing(path), path, recursive)) for path in paths]


def folder_for(destination: str, hops: str) -> str:
    """Where the files of one of several places go: a folder of its own."""
    folder = os.path.join(destination, hops.replace('/', '_'))
    os.makedirs(folder, exist_ok=True)
    return folder


def run(options: argparse.Namespace) -> int:
    """Carry it out; return the exit status."""
    *paths, destination = options.paths
    places = options.source_on or options.on
    progress = Progress(len(places))
    try:
        sources = [] if options.source_on else local_sources(paths, options.recursive)
    except (OSError, mitogen.core.Error) as exc:
        print('mitogen copy: %s' % exc, file=sys.stderr)
        return 2

    def work(fleet: Fleet, place: Place) -> Any:
        context = mitogen.cli.connect_place(fleet, place)

        def count(size: int) -> None:
            progress.add(place, size)
        if not options.source_on:
            progress.expect(place, sum(total_size(entries) for _, entries in sources))
            send_all(context, sources, destination, count)
        else:
            fetch_all(context, paths, folder_for(destination, place.hops) if fleet.several else destination,
                      options.recursive, lambda size: progress.expect(place, size), count)

    def show(place: Place) -> None:
        fleet.untick()
        if options.json:
            fleets.show_json(place, bytes=progress._done.get(place.number, 0))
        elif place.error:
            fleets.show_error(place, fleet.several)

    fleet = Fleet(places, options, work, show)
    if sys.stderr.isatty():
        fleet.tick, fleet.untick = progress.draw, progress.erase
    return fleet.run()
