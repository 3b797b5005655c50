"""docs/drawings.py, docs/plots.py: what can go wrong in a picture without anybody looking at it."""

import itertools
import json
import sys
import xml.etree.ElementTree

import pytest

import support

sys.path.insert(0, str(support.checkout() / 'docs'))
try:
    import drawings
    import plots
finally:
    del sys.path[0]

CURVES = support.checkout() / 'docs' / 'curves.json'
PICTURES = {**drawings.DRAWINGS, **plots.plots(CURVES)}


@pytest.mark.parametrize('theme', drawings.THEMES)
@pytest.mark.parametrize('name', PICTURES)
def test_it_is_a_picture_with_a_title(name, theme):
    root = xml.etree.ElementTree.fromstring(PICTURES[name]().svg(theme))
    assert root.tag == '{http://www.w3.org/2000/svg}svg' and root.get('aria-label')
    assert '{' not in PICTURES[name]().svg(theme).partition('>')[2]


@pytest.mark.parametrize('name', PICTURES)
def test_texts_stay_in_the_picture_and_apart(name):
    drawing = PICTURES[name]()
    assert len(drawing.texts) > 5
    for left, top, right, bottom, text in drawing.texts:
        assert 0 <= left and right <= drawings.WIDTH and 0 <= top and bottom <= drawing.height, text
    for one, other in itertools.combinations(drawing.texts, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one[4], other[4])


@pytest.mark.parametrize('theme', range(len(drawings.THEMES)))
@pytest.mark.parametrize('colour', ['text', 'faint', 'down', 'up', 'side', 'no'])
def test_texts_can_be_read(colour, theme):
    """The contrast that WCAG asks for is 4.5."""
    def light(colour):
        parts = [int(colour[start:start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))
    dark, bright = sorted([light(drawings.COLOURS[colour][theme]), light(drawings.COLOURS['page'][theme])])
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_each_drawing_is_shown_on_both_kinds_of_page():
    pages = ''.join(page.read_text(encoding='utf-8') for page in (support.checkout() / 'docs').glob('*.rst'))
    for name, theme in itertools.product(PICTURES, drawings.THEMES):
        assert '/_build/drawings/%s-%s.svg\n   :class: drawing only-%s\n' % (name, theme, theme) in pages


def test_the_plots_show_all_points_of_both_libraries():
    assert set(plots.PLOTS) <= set(PICTURES)
    curves = json.loads(CURVES.read_text())['curves']
    for panel in [panel for _, panels in plots.PLOTS.values() for panel in panels]:
        lines = curves[panel.curve][panel.figure]
        assert set(lines) == {'ours', 'peer'}
        for line in lines.values():
            assert min(panel.x_labels) <= min(map(int, line)) and max(map(int, line)) <= max(panel.x_labels)


@pytest.mark.parametrize('values, labels', [
    ([0.3], ['0', '0.1', '0.2', '0.3']), ([1], ['0', '0.2', '0.4', '0.6', '0.8', '1']),
    ([3, 7], ['0', '2', '4', '6', '8']), ([101], ['0', '50', '100', '150']), ([600], ['0', '200', '400', '600'])])
def test_an_axis_from_zero_ends_at_or_just_above_the_largest_value(values, labels):
    assert list(plots.labels_from_zero(values).values()) == labels


def test_an_axis_of_decades_holds_all_values():
    labels = plots.labels_of_decades([0.00003, 0.2, 2])
    assert list(labels.values()) == ['10 µs', '100 µs', '1 ms', '10 ms', '100 ms', '1 s', '10 s']
    assert min(labels) <= 0.00003 and max(labels) >= 2
    assert list(plots.labels_of_decades([0.001]).values()) == ['1 ms', '10 ms']


def test_points_are_where_their_values_are():
    linear = plots.Axis({0: '0', 10: '10'}, (200, 100), False)
    assert [linear(value) for value in (0, 5, 10)] == [200, 150, 100]
    logarithmic = plots.Axis({1: '1', 100: '100'}, (0, 50), True)
    assert [logarithmic(value) for value in (1, 10, 100)] == [0, 25, 50]
