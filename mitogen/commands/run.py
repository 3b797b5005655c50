"""
``mitogen run``: a whole local script in some places.

Ring 2. Output is printed as it comes, each line with the name of its place before it, those of one place in their
order. A script waits while what it wrote has not been printed: a pager that stands still stops it, as it would here.
"""

import argparse
import os
import sys
from typing import Any, BinaryIO

import mitogen.cli
import mitogen.commands.fleet as fleets
import mitogen.commands.script
import mitogen.core
from mitogen.commands.fleet import Fleet, Place
from mitogen.core import Blob, Receiver


class Lines:
    """Turns pieces of output into whole lines with a prefix. Pure.

    :param prefix: put before each line.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._rest = b''

    def receive(self, data: bytes) -> bytes:
        """Return what can be printed. The beginning of a line waits for its end, unless that is far away."""
        *lines, rest = (self._rest + data).split(b'\n')
        if len(rest) > mitogen.core.MAX_LINE:
            lines.append(rest)
            rest = b''
        self._rest = rest
        return b''.join(self._prefix + line + b'\n' for line in lines)

    def finish(self) -> bytes:
        """Return a last line that has no end."""
        rest, self._rest = self._rest, b''
        return self._prefix + rest + b'\n' if rest else b''


class Printer:
    """Prints what the scripts write. Main thread.

    :param several: whether a line must tell where it is from.
    """

    def __init__(self, several: bool) -> None:
        self._several = several
        self._lines: dict[tuple[int, str], Lines] = {}

    def receive(self, place: Place, name: str, data: bytes) -> None:
        """Print a piece of a stream (`name`: stdout or stderr)."""
        if self._several:
            data = self._lines_of(place, name).receive(data)
        self._write(name, data)

    def finish(self, place: Place) -> None:
        """A script has ended."""
        for name in 'stdout', 'stderr':
            self._write(name, self._lines_of(place, name).finish())

    def _lines_of(self, place: Place, name: str) -> Lines:
        return self._lines.setdefault((place.number, name), Lines(place.hops.encode() + b': '))

    def _write(self, name: str, data: bytes) -> None:
        if data:
            file: BinaryIO = (sys.stderr if name == 'stderr' else sys.stdout).buffer
            file.write(data)
            file.flush()

    def show(self, place: Place) -> None:
        if place.error:
            fleets.show_error(place, self._several)


class Collector(Printer):
    """For --json: keeps all until a script has ended."""

    def __init__(self, several: bool) -> None:
        Printer.__init__(self, several)
        self._kept: dict[tuple[int, str], list[bytes]] = {}

    def receive(self, place: Place, name: str, data: bytes) -> None:
        self._kept.setdefault((place.number, name), []).append(data)

    def finish(self, place: Place) -> None:
        """Nothing: show() has it all."""

    def show(self, place: Place) -> None:
        output = {name: b''.join(self._kept.pop((place.number, name), ())).decode('utf-8', 'replace')
                  for name in ('stdout', 'stderr')}
        fleets.show_json(place, **({} if place.error else {'status': place.status}), **output)


def listen(fleet: Fleet, place: Place, printer: Printer) -> Receiver:
    """Return a Receiver whose messages the main thread prints and then answers."""
    def take(receiver: Receiver) -> None:
        msg = receiver.get(block=False, throw_dead=False) if receiver.size() else None
        if msg and not msg.is_dead:
            for name, data in msg.unpickle():
                printer.receive(place, str(name), data)
            msg.reply(None)

    receiver = Receiver(fleet.router, respondent=place.context)
    receiver.notify = lambda receiver: fleet.post(take, receiver)
    return receiver


def load(path: str) -> tuple[str, bytes]:
    """Return (name, source) of a script; ``-`` is standard input."""
    if path == '-':
        return '<stdin>', sys.stdin.buffer.read()
    with open(path, 'rb') as fp:
        source = fp.read()
    # As for any script: what lies beside it can be imported. The contexts get it from here.
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    return path, source


def run(options: argparse.Namespace) -> int:
    """Carry it out; return the exit status: the largest of all scripts, 1 for a place that could not be reached."""
    try:
        path, source = load(options.script)
    except OSError as exc:
        print('mitogen run: %s' % exc, file=sys.stderr)
        return 2

    def work(fleet: Fleet, place: Place) -> Any:
        context = mitogen.cli.connect_place(fleet, place)
        receiver = listen(fleet, place, printer)
        try:
            place.status = context.call(mitogen.commands.script.run, path, Blob(source), options.args,
                                        receiver.to_sender())
        finally:
            receiver.close()
            fleet.post(printer.finish, place)

    places = options.on or ['local']
    printer = (Collector if options.json else Printer)(len(places) > 1)
    return Fleet(places, options, work, printer.show).run()
