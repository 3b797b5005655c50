"""
The drawings of the topic pages, as SVG, for a light and for a dark page.

``python docs/drawings.py FOLDER`` writes them; Sphinx does the same before each build (conf.py). A drawing is a list of
texts, boxes and lines with coordinates; tests check that texts neither overlap nor leave the picture.
"""

import pathlib
import sys
from xml.sax.saxutils import escape, quoteattr

#: Units of a picture's width: with 13 for the letters it can still be read on a telephone.
WIDTH = 560
FONT, LINE = 13, 16
#: Width of a letter on average, as a part of its size: an upper bound: DejaVu Sans, which is wide, has 0.47.
LETTER = 0.5

#: What a colour is for -> the colour, on a light and on a dark page.
COLOURS = {
    'text': ('#1b2330', '#e6e9ee'), 'faint': ('#566070', '#a9b3c1'), 'line': ('#8a95a3', '#76828f'),
    'box': ('#f1f4f8', '#222a35'), 'down': ('#0b5cb8', '#7db9ff'), 'up': ('#17703a', '#74d190'),
    'side': ('#7a4b00', '#e8b766'), 'no': ('#b3261e', '#ff8f85'), 'work': ('#bcd7f5', '#27527f'),
    'rest': ('#e3e7ec', '#333c48'), 'page': ('#ffffff', '#131416'),
}
THEMES = 'light', 'dark'


class Drawing:
    """A picture of a given height; `title` is what somebody hears who cannot see it."""

    def __init__(self, title, height):
        self.title, self.height = title, height
        self.texts = []         # (left, top, right, bottom, text), for tests
        self._shapes = []

    def text(self, x, y, text, colour='text', anchor='middle', bold=False, boxed=False):
        """Write lines of text; `y` is the base line of the first."""
        for number, line in enumerate(text.split('\n')):
            below = y + number * LINE
            width = len(line) * FONT * LETTER * (1.06 if bold else 1)
            left = {'start': x, 'middle': x - width / 2, 'end': x - width}[anchor]
            self.texts.append((left, below - FONT + 2, left + width, below + 2, line))
            # Lines that would run through the letters end before them.
            halo = '' if boxed else ' stroke="{page}" stroke-width="4" paint-order="stroke"'
            self._shapes.append('<text x="%g" y="%g" fill="{%s}" text-anchor="%s"%s%s>%s</text>' % (
                x, below, colour, anchor, halo, ' font-weight="600"' if bold else '', escape(line)))

    def box(self, x, y, width, height, text='', fill='box', bold=False):
        """Draw a box with lines of text in its middle."""
        self._shapes.append('<rect x="%g" y="%g" width="%g" height="%g" rx="5" fill="{%s}" stroke="{line}"/>' % (
            x, y, width, height, fill))
        if text:
            lines = text.count('\n') + 1
            self.text(x + width / 2, y + height / 2 - (lines - 1) * LINE / 2 + 4.5, text, bold=bold, boxed=True)

    def line(self, points, colour='line', dashed=False, arrow=False):
        """Draw a line through points, with a point at its end if it is an arrow."""
        path = ' '.join('%g,%g' % point for point in points)
        self._shapes.append('<polyline points="%s" fill="none" stroke="{%s}" stroke-width="1.5"%s/>' % (
            path, colour, ' stroke-dasharray="5 4"' if dashed else ''))
        if arrow:
            self._head(points[-2], points[-1], colour)

    def dot(self, x, y, colour):
        """Draw a point of a curve."""
        self._shapes.append('<circle cx="%g" cy="%g" r="3" fill="{%s}"/>' % (x, y, colour))

    def _head(self, start, end, colour):
        length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
        along = (end[0] - start[0]) / length * 9, (end[1] - start[1]) / length * 9
        corners = [end] + [(end[0] - along[0] + side * along[1] / 2, end[1] - along[1] - side * along[0] / 2)
                           for side in (1, -1)]
        points = ' '.join('%g,%g' % point for point in corners)
        self._shapes.append('<polygon points="%s" fill="{%s}"/>' % (points, colour))

    def svg(self, theme):
        """Return the picture for a theme."""
        colours = {name: pair[THEMES.index(theme)] for name, pair in COLOURS.items()}
        head = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" '
                'aria-label=%s font-family="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif" '
                'font-size="%d">' % (WIDTH, self.height, WIDTH, self.height, quoteattr(self.title), FONT))
        return '\n'.join([head] + [shape.format(**colours) for shape in self._shapes] + ['</svg>', ''])


class Sequence:
    """Lanes from left to right, time from top to bottom."""

    def __init__(self, title, lanes, height):
        self.drawing = Drawing(title, height)
        self._y = 64
        width = WIDTH / len(lanes)
        self._x = [width * (number + 0.5) for number in range(len(lanes))]
        for x, lane in zip(self._x, lanes):
            self.drawing.line([(x, 50), (x, height - 8)])
            self.drawing.box(x - width / 2 + 6, 8, width - 12, 42, lane, bold=True)

    def arrow(self, start, end, text, colour='text', dashed=False):
        """One lane tells another; the text stands above the line."""
        self._y += LINE * text.count('\n') + 12
        middle = (self._x[start] + self._x[end]) / 2
        lines = text.count('\n')
        self.drawing.text(middle, self._y - LINE * lines, text, colour)
        self._y += 8
        self.drawing.line([(self._x[start], self._y), (self._x[end], self._y)], colour, dashed, arrow=True)
        self._y += 10

    def note(self, lane, text, width=170):
        """What happens in a lane, in a box on its line."""
        height = LINE * (text.count('\n') + 1) + 10
        x = min(max(self._x[lane] - width / 2, 4), WIDTH - width - 4)
        self.drawing.box(x, self._y + 2, width, height, text)
        self._y += height + 12


def connection():
    """The life of a connection."""
    seq = Sequence('The life of a connection: start, calls, end',
                   ['parent', 'ssh, sshd, shell', 'Python on the target'], 632)
    seq.arrow(0, 1, 'runs: ssh web1 python3 -c …', 'down')
    seq.arrow(1, 2, 'starts it, once', 'down')
    seq.arrow(0, 2, 'core and configuration, 10 KB: sent at once, nothing awaited', 'down')
    seq.arrow(1, 0, 'banner, prompt, error', 'up', dashed=True)
    seq.note(0, 'answers a prompt once,\nkeeps the rest for an error', 190)
    seq.note(2, 'unpacks the core,\nruns it as mitogen.core', 180)
    seq.arrow(2, 0, 'ready: the token of the configuration, backwards', 'up')
    seq.arrow(0, 2, 'modules that the call needs, then CALL_FUNCTION', 'down')
    seq.note(2, 'runs the function in its\nmain thread', 180)
    seq.arrow(2, 0, 'result, or the description of an exception', 'up')
    seq.arrow(2, 0, 'log records, output: whenever there are some', 'up', dashed=True)
    seq.arrow(0, 2, 'SHUTDOWN', 'down')
    seq.note(2, 'ends its own children,\nthen itself', 180)
    seq.arrow(2, 0, 'end of file', 'up')
    seq.note(0, 'waits for the exit status, and tells\neveryone who knew the context', 240)
    return seq.drawing


def hops():
    """A call through three hops."""
    seq = Sequence('A call through three hops', ['master\n0', 'ssh: web1\n1', 'sudo: root\n2', 'docker: shop\n3'], 584)
    seq.arrow(0, 1, 'module', 'down')
    seq.arrow(1, 2, 'module', 'down')
    seq.arrow(2, 3, 'module', 'down')
    seq.note(1, 'each hop keeps a copy, for what it starts later', 330)
    seq.arrow(0, 1, 'CALL to 3', 'down')
    seq.note(1, 'from above, for 3:\nto the stream to 2', 150)
    seq.arrow(1, 2, 'CALL to 3', 'down')
    seq.arrow(2, 3, 'CALL to 3', 'down')
    seq.note(3, 'authority 0 is one\nof my parents: run it', 160)
    seq.arrow(3, 2, 'reply to 0', 'up')
    seq.note(2, 'source and authority are 3,\nwhich is behind that stream', 200)
    seq.arrow(2, 1, 'reply to 0', 'up')
    seq.arrow(1, 0, 'reply to 0', 'up')
    seq.note(0, 'handle 1000, asked of 3,\nanswered by 3: it wakes who waits', 250)
    return seq.drawing


def rights():
    """Who may send what to whom."""
    drawing = Drawing('Who may send what to whom', 400)
    drawing.box(205, 10, 150, 40, 'master', bold=True)
    drawing.box(40, 170, 130, 40, 'A', bold=True)
    drawing.box(390, 170, 130, 40, 'B', bold=True)
    drawing.box(40, 330, 130, 40, 'child of A', bold=True)
    drawing.line([(225, 50), (85, 170)], 'down', arrow=True)
    drawing.line([(115, 170), (255, 50)], 'up', arrow=True)
    drawing.line([(335, 50), (475, 170)], 'down', arrow=True)
    drawing.line([(445, 170), (305, 50)], 'up', arrow=True)
    drawing.line([(85, 210), (85, 330)], 'down', arrow=True)
    drawing.line([(125, 330), (125, 210)], 'up', arrow=True)
    drawing.line([(170, 180), (390, 180)], 'side', dashed=True, arrow=True)
    drawing.line([(390, 200), (170, 200)], 'side', dashed=True, arrow=True)
    drawing.text(280, 104, 'down: calls, modules,\nroutes, the end', 'down')
    drawing.text(280, 152, 'up: replies, questions\nfor code, logs, losses', 'up')
    drawing.text(280, 226, 'sideways: to receivers and services\nthat admit it; not if unidirectional', 'side')
    drawing.text(190, 284, 'never: calls, code, routes or the end,\nup or sideways', 'no', 'start')
    drawing.text(190, 338, 'never: in the name of a context that is not\nbehind the stream it came over', 'no', 'start')
    return drawing


def threads():
    """Who waits, drives."""
    drawing = Drawing('The threads of a master and of a child during two calls', 330)
    lanes = [('master: your thread', 46), ("master: broker's own", 96), ('child: main thread', 196),
             ("child: broker's own", 246)]
    for name, y in lanes:
        drawing.text(8, y + 4, name, 'text', 'start')
        drawing.line([(160, y), (552, y)])
    work = {46: [(178, 290), (450, 530)], 96: [(320, 440)], 196: [(160, 222), (262, 476), (506, 552)], 246: []}
    for y, bars in work.items():
        for left, right in bars:
            drawing.box(left, y - 12, right - left, 24, '', 'work')
    drawing.box(222, 184, 40, 24, 'f()', 'rest')
    drawing.box(476, 184, 30, 24, 'f()', 'rest')
    drawing.line([(190, 58), (218, 184)], 'down', arrow=True)
    drawing.line([(264, 184), (282, 58)], 'up', arrow=True)
    drawing.line([(456, 58), (474, 184)], 'down', arrow=True)
    drawing.line([(508, 184), (522, 58)], 'up', arrow=True)
    drawing.text(234, 28, 'call(f)', 'faint')
    drawing.text(490, 28, 'call(f)', 'faint')
    drawing.text(372, 138, 'nobody waits: it takes\nover after 10 to 20 ms', 'faint')
    drawing.box(160, 276, 24, 16, '', 'work')
    drawing.text(192, 289, 'does the broker’s work: polls, reads, routes, writes', 'text', 'start')
    drawing.box(160, 302, 24, 16, '', 'rest')
    drawing.text(192, 315, 'runs your function', 'text', 'start')
    return drawing


DRAWINGS = {'connection': connection, 'hops': hops, 'rights': rights, 'threads': threads}


def write(folder, functions=DRAWINGS):
    """Write all drawings into a folder, as NAME-light.svg and NAME-dark.svg."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in functions.items():
        for theme in THEMES:
            (folder / ('%s-%s.svg' % (name, theme))).write_text(draw().svg(theme), encoding='utf-8')


if __name__ == '__main__':
    write(sys.argv[1])
