"""
The plots of performance.rst, as SVG, drawn from the figures in curves.json, which bench/curves.py measures.

``python docs/plots.py docs/curves.json FOLDER`` draws them; Sphinx does the same before each build (conf.py).
"""

import functools
import json
import math
import pathlib
import sys
from typing import NamedTuple

import drawings

HEIGHT = 262
TOP, BOTTOM = 72, 212       # of the fields where the lines are

#: Library -> colour of its line.
COLOURS = {'ours': 'down', 'peer': 'side'}


class Panel(NamedTuple):
    """One field: a figure of a curve. On the Y axis everything is divided by `unit`, and from 0 on if not `log_y`."""

    title: str
    curve: str
    figure: str
    x_title: str
    x_labels: 'dict[int, str]'
    unit: float = 1
    log_x: bool = False
    log_y: bool = False


HUNDREDS = {0: '0', 100: '100', 200: '200', 300: '300'}
CONTEXTS = {1: '1', 10: '10', 100: '100', 300: '300'}
THREADS = {1: '1', 2: '2', 4: '4', 8: '8', 16: '16', 32: '32'}
SIZES = {64: '64 B', 1 << 10: '1 KB', 1 << 14: '16 KB', 1 << 18: '256 KB', 1 << 22: '4 MB', 1 << 26: '64 MB'}

#: Name -> (title, panels).
PLOTS = {
    'latency': ('Time of a call against the bytes of its argument', [
        Panel('time of a call', 'size', 'seconds', 'argument', SIZES, log_x=True, log_y=True)]),
    'rates': ('Calls per second against the number of contexts and of threads', [
        Panel('thousand calls per second', 'contexts', 'calls', 'contexts, one thread', CONTEXTS, 1000, log_x=True),
        Panel('thousand calls per second', 'threads', 'calls', 'threads, a context each', THREADS, 1000, log_x=True)]),
    'busy': ('Time of a call against the number of programs that compute meanwhile', [
        Panel('time of a call', 'busy', 'seconds', 'programs that compute', {0: '0', 1: '1', 2: '2', 4: '4', 8: '8'},
              log_y=True)]),
    'starts': ('Time to start contexts against their number', [
        Panel('seconds until all have answered', 'contexts', 'start', 'contexts', HUNDREDS)]),
    'costs': ('Memory and descriptors against the number of contexts', [
        Panel('master, MB', 'contexts', 'master', 'contexts', HUNDREDS),
        Panel('one child, MB', 'contexts', 'child', 'contexts', HUNDREDS),
        Panel("master's descriptors", 'contexts', 'descriptors', 'contexts', HUNDREDS)]),
    'imports': ('Time of an import against the number of modules and the distance', [
        Panel('first child, s', 'imports', 'first', 'modules', HUNDREDS),
        Panel('a later child, s', 'imports', 'later', 'modules', HUNDREDS),
        Panel('100 over ssh, s', 'delay', 'seconds', 'ms each way', {0: '0', 10: '10', 50: '50'})]),
}


def tick_step(top):
    """The least of 1, 2, 5, 10, 20 ... that divides an axis up to `top` into five parts at most."""
    power = 10.0 ** math.floor(math.log10(top / 5))
    return next(step * power for step in (1, 2, 5, 10) if step * power * 5 >= top)


def labels_from_zero(values):
    """Values on the axis -> their labels, up to the first one above all."""
    step = tick_step(max(values))
    return {number * step: '%g' % (number * step) for number in range(math.ceil(max(values) / step) + 1)}


def labels_of_decades(seconds):
    """The same for powers of ten."""
    powers = range(math.floor(math.log10(min(seconds))), math.floor(math.log10(max(seconds))) + 2)
    units = {-6: '%g µs', -3: '%g ms', 0: '%g s'}
    return {10.0 ** power: units[power // 3 * 3] % 10 ** (power % 3) for power in powers}


class Axis:
    """Where a value is between two ends in the picture."""

    def __init__(self, labels, ends, is_log):
        self._scale = math.log if is_log else float
        self.labels, self._ends = labels, ends
        self._low, self._high = self._scale(min(labels)), self._scale(max(labels))

    def __call__(self, value):
        part = (self._scale(value) - self._low) / (self._high - self._low)
        return round(self._ends[0] + part * (self._ends[1] - self._ends[0]), 1)


def draw_panel(drawing, panel, lines, left, right):
    """Draw lines, {library: {x: figure}}, into a part of a picture."""
    lines = {library: {int(x): value / panel.unit for x, value in line.items()} for library, line in lines.items()}
    values = [value for line in lines.values() for value in line.values()]
    y_labels = (labels_of_decades if panel.log_y else labels_from_zero)(values)
    field = left + 10 + max(map(len, y_labels.values())) * drawings.FONT * drawings.LETTER
    x_axis, y_axis = Axis(panel.x_labels, (field, right), panel.log_x), Axis(y_labels, (BOTTOM, TOP), panel.log_y)
    drawing.text(left, TOP - 16, panel.title, anchor='start', bold=True)
    for value, label in y_axis.labels.items():
        drawing.line([(field, y_axis(value)), (right, y_axis(value))], 'rest')
        drawing.text(field - 6, y_axis(value) + 4.5, label, 'faint', 'end')
    for value, label in x_axis.labels.items():
        drawing.line([(x_axis(value), BOTTOM), (x_axis(value), BOTTOM + 5)])
        drawing.text(x_axis(value), BOTTOM + 19, label, 'faint')
    drawing.text((field + right) / 2, BOTTOM + 40, panel.x_title, 'faint')
    for library in sorted(lines, reverse=True):         # ours above the other
        points = [(x_axis(x), y_axis(value)) for x, value in sorted(lines[library].items())]
        drawing.line(points, COLOURS[library])
        for point in points:
            drawing.dot(*point, COLOURS[library])


def draw(data, name):
    """Draw one of PLOTS from what curves.json holds."""
    title, panels = PLOTS[name]
    drawing = drawings.Drawing(title, HEIGHT)
    x = 8
    for library, label in ('ours', 'this version'), ('peer', data['peer']):
        if label:
            drawing.line([(x, 16), (x + 24, 16)], COLOURS[library])
            drawing.dot(x + 12, 16, COLOURS[library])
            drawing.text(x + 32, 20.5, label, COLOURS[library], 'start')
            x += 150
    width = drawings.WIDTH / len(panels)
    for number, panel in enumerate(panels):
        # Half a label is right of the field.
        draw_panel(drawing, panel, data['curves'][panel.curve][panel.figure], number * width + 4,
                   (number + 1) * width - 20)
    return drawing


def plots(path):
    """Name -> function that draws it, as drawings.DRAWINGS, for all of PLOTS whose curves are in a file."""
    data = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
    return {name: functools.partial(draw, data, name) for name, (_, panels) in PLOTS.items()
            if all(panel.curve in data['curves'] for panel in panels)}


def write(path, folder):
    """Draw the figures of a file into a folder, as NAME-light.svg and NAME-dark.svg."""
    drawings.write(folder, plots(path))


if __name__ == '__main__':
    write(*sys.argv[1:])
