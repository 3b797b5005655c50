#!/usr/bin/env python3
"""Measure how the library grows with what it is given, beside mitogen 0.3.54; write the figures and draw the plots.

    bench/curves.py docs/curves.json                # all curves, as the documentation shows them: some ten minutes
    bench/curves.py --curve size FILE               # one, into a file whose others stay
    bench/curves.py --quick --alone FILE            # a few points, in seconds, to see that all works

Each point is measured in a process of its own, by bench/points.py; the two libraries take turns, under the same
interpreter, and the median of the rounds counts. What the other one cannot do is missing in its curve. Linux only; the
curve `delay` needs root, sshd and the programs ip and nsenter, and is left out, which is said, where these are missing.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from target import Held, Network, make_keys, sshd

ROOT = pathlib.Path(__file__).resolve().parent.parent
POINTS = ROOT / 'bench' / 'points.py'
sys.path.insert(0, str(ROOT / 'docs'))

import plots  # noqa: E402    (its folder has just been added)

PEER = 'mitogen==0.3.54'

#: Seconds that a point may take: some times what the slowest one does, to start 300 contexts of the peer.
TIMEOUT = 180

#: Seconds that short operations are repeated for; with --quick.
REPEAT, REPEAT_QUICK = 0.5, 0.05


class Curve(NamedTuple):
    """What is measured for which values, and for which with --quick."""

    points: 'list[int]'
    quick: 'list[int]'
    what: str


CURVES = {
    'size': Curve([4 ** power for power in range(3, 14)], [64, 4 ** 10], 'bytes of a call'),
    'contexts': Curve([1, 3, 10, 30, 100, 200, 300], [2], 'contexts: start, calls, memory, descriptors'),
    'threads': Curve([1, 2, 4, 8, 16, 32], [2], 'threads that call'),
    'busy': Curve([0, 1, 2, 4, 8], [1], 'programs that compute meanwhile'),
    'imports': Curve([1, 10, 30, 100, 200, 300], [3], 'modules of a package'),
    'delay': Curve([0, 10, 50], [1], 'milliseconds each way to the machine that imports 100 modules'),
}

#: curve -> figure -> library -> value on the X axis -> figure. Seconds, calls per second, MB, numbers.
Figures = dict[str, dict[str, dict[str, dict[str, float]]]]


class Point(NamedTuple):
    """One library at one value of X."""

    curve: str
    library: str
    x: int


class Failure(Exception):
    """A point could not be measured."""


def environment(**more: str) -> 'dict[str, str]':
    """Return an environment in which an interpreter finds what is installed for it, and nothing of here."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'MITOGEN'))}, **more}


class Bench:
    """Measures points.

    :param folder: for what is written.
    :param python: interpreter of both libraries.
    :param repeat: seconds that short operations are repeated for.
    """

    def __init__(self, folder: pathlib.Path, python: str, repeat: float) -> None:
        self._folder, self._python, self._repeat = folder, python, repeat
        #: Point -> what its rounds have given; what has gone wrong.
        self.samples: 'dict[Point, list[dict[str, float]]]' = {}
        self.failed: 'dict[Point, str]' = {}

    def take_turns(self, wanted: 'list[tuple[str, int]]', libraries: 'list[str]', rounds: int) -> None:
        """Measure curves at values of X, and tell of each as it is done."""
        for number in range(rounds):
            for curve, x in wanted:
                print('round %d, %s %d:' % (number + 1, curve, x), end='', flush=True)
                # Who comes first, changes: what a run leaves to be written down costs the next one.
                for library in libraries if number % 2 == 0 else libraries[::-1]:
                    print('  %s: %s' % (library, self._try(Point(curve, library, x))), end='', flush=True)
                print()

    def _try(self, point: Point) -> str:
        if point not in self.failed:
            try:
                found = self.measure(point)
            except Failure as error:
                self.failed[point] = str(error)
            else:
                self.samples.setdefault(point, []).append(found)
                return ' '.join('%s %.3g' % item for item in found.items())
        return 'failed'

    def measure(self, point: Point) -> 'dict[str, float]':
        """Return the figures of a point.

        :raises Failure: with the last line of what the program said.
        """
        with contextlib.ExitStack() as stack:
            prefix, target = [], ''     # type: list[str], str
            if point.curve == 'delay':
                prefix, target = stack.enter_context(self._far_machine(point.x))
            env = environment(TARGET=target, TMPDIR=str(self._folder))
            if point.library == 'ours':
                env['PYTHONPATH'] = str(ROOT)
            command = [*prefix, self._python, POINTS, point.curve, point.x, self._repeat]
            output, errors = self._folder / 'output', self._folder / 'errors'
            with open(output, 'w') as out, open(errors, 'w') as err:
                held = Held(self._folder / 'report.json', command, env=env, cwd=self._folder, stdout=out, stderr=err)
                try:
                    status = held.wait(TIMEOUT)['status']
                except subprocess.TimeoutExpired:
                    raise Failure('no answer in %d s' % TIMEOUT) from None
        if status:
            raise Failure((errors.read_text().strip().splitlines() or ['exit status %d' % status])[-1])
        return json.loads(output.read_text())       # type: ignore[no-any-return]

    @contextlib.contextmanager
    def _far_machine(self, delay: int) -> 'Iterator[tuple[list[str], str]]':
        """Yields what commands on the near side begin with, and TARGET."""
        network = Network(delay)
        try:
            if not (self._folder / 'key').exists():
                make_keys(self._folder)
            with sshd(self._folder, network) as port:
                yield network.near, '%s %d %s' % (network.host, port, self._folder / 'key')
        finally:
            network.close()


def medians(samples: 'dict[Point, list[dict[str, float]]]') -> Figures:
    """Return the medians of all rounds, three digits of each."""
    figures: Figures = {}
    for (curve, library, x), found in samples.items():
        for figure in found[0]:
            value = statistics.median(sample[figure] for sample in found)
            line = figures.setdefault(curve, {}).setdefault(figure, {}).setdefault(library, {})
            line[str(x)] = float('%.3g' % value)
    return figures


def show(figures: Figures) -> None:
    """Print how many times as long, as often, as much as the other library."""
    for curve, per_figure in figures.items():
        for figure, lines in per_figure.items():
            peer = lines.get('peer', {})
            ratios = ['%s: %.2f' % (x, value / peer[x]) for x, value in lines.get('ours', {}).items() if peer.get(x)]
            if ratios:
                print('%-8s %-12s ours / peer at %s' % (curve, figure, ', '.join(ratios)))


def make_peer() -> str:
    """Return the interpreter of an environment with the other library; make it if need be."""
    folder = ROOT / '.venv-peer'
    python = str(folder / 'bin' / 'python')
    if not (folder / 'complete').exists():
        subprocess.run([sys.executable, '-m', 'venv', '--clear', folder], check=True)
        subprocess.run([python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', PEER], check=True)
        (folder / 'complete').touch()
    return python


def version_of_peer(python: str) -> str:
    """Return `mitogen X.Y.Z` of what is installed for an interpreter.

    :raises Failure: there is none, or it is no interpreter.
    """
    program = 'import mitogen; print("mitogen %d.%d.%d" % mitogen.__version__[:3])'
    try:
        done = subprocess.run([python, '-c', program], env=environment(), cwd='/', capture_output=True, text=True)
    except OSError as error:
        raise Failure('%s: %s' % (python, error.strerror)) from None
    if done.returncode:
        raise Failure('%s: %s' % (python, (done.stderr.strip().splitlines() or ['exit %d' % done.returncode])[-1]))
    return done.stdout.strip()


def missing_for_delay() -> str:
    """Return why there can be no far machine here, or nothing."""
    if os.geteuid():
        return 'only root can make networks'
    path = os.environ.get('PATH', os.defpath) + ':/usr/sbin:/usr/local/sbin'
    lacking = [name for name in ('ip', 'nsenter', 'ssh', 'ssh-keygen', 'sshd') if not shutil.which(name, path=path)]
    return 'not installed: ' + ', '.join(lacking) if lacking else ''


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', type=pathlib.Path, help='where the figures are written, as JSON')
    parser.add_argument('--curve', action='append', choices=CURVES, help='measure only this one; may be repeated')
    parser.add_argument('--rounds', type=int, help='how often each point is measured; default 3, with --quick 1')
    parser.add_argument('--plots', type=pathlib.Path, default=ROOT / 'docs' / '_build' / 'drawings', metavar='FOLDER',
                        help='where the plots are written, as SVG; default %(default)s')
    parser.add_argument('--quick', action='store_true', help='few and small points, little repeated')
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--peer', metavar='PYTHON', help='interpreter that has the other library; default: one that is '
                       'made here, with pip, in .venv-peer')
    group.add_argument('--alone', action='store_true', help='measure this library only')
    args = parser.parse_args()
    args.rounds = (1 if args.quick else 3) if args.rounds is None else args.rounds
    if args.rounds < 1:
        parser.error('--rounds: at least 1')
    if not args.file.parent.is_dir():
        parser.error('%s: no such folder' % args.file.parent)
    if not sys.platform.startswith('linux'):
        parser.error('only on Linux')
    try:
        args.data = json.loads(args.file.read_text()) if args.file.exists() else {'curves': {}}
        args.data['curves'].update()
    except (ValueError, LookupError, TypeError, AttributeError):
        parser.error('%s: not written by this program' % args.file)
    try:
        args.python = sys.executable if args.alone else args.peer or make_peer()
        args.peer_name = '' if args.alone else version_of_peer(args.python)
    except Failure as error:
        parser.error('--peer: %s' % error)
    return args


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    curves = args.curve or list(CURVES)
    missing = missing_for_delay() if 'delay' in curves else ''
    if missing:
        print('curve delay left out: %s' % missing)
        curves.remove('delay')
    wanted = [(name, x) for name in curves for x in (CURVES[name].quick if args.quick else CURVES[name].points)]
    with tempfile.TemporaryDirectory(prefix='mitogen-bench-') as folder:
        bench = Bench(pathlib.Path(folder), args.python, REPEAT_QUICK if args.quick else REPEAT)
        bench.take_turns(wanted, ['ours'] if args.alone else ['ours', 'peer'], args.rounds)
    figures = medians(bench.samples)
    show(figures)
    args.data['curves'].update(figures)
    args.data['peer'] = args.peer_name or args.data.get('peer', '')
    args.data['machine'] = '%d processors, %s, %s %s' % (
        len(os.sched_getaffinity(0)), platform.system(), platform.python_implementation(), platform.python_version())
    args.file.write_text(json.dumps(args.data, indent=1) + '\n')
    plots.write(args.file, args.plots)
    for point, error in bench.failed.items():
        print('failed: %s, %s %d: %s' % (point.library, point.curve, point.x, error))
    return 1 if any(point.library == 'ours' for point in bench.failed) else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print('\ninterrupted: nothing was written', file=sys.stderr)
        sys.exit(130)
