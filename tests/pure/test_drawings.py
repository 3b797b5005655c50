"""docs/drawings.py: what can go wrong in a drawing without anybody looking at it."""

import itertools
import sys
import xml.etree.ElementTree

import pytest

import support

sys.path.insert(0, str(support.checkout() / 'docs'))
try:
    import drawings
finally:
    del sys.path[0]


@pytest.mark.parametrize('theme', drawings.THEMES)
@pytest.mark.parametrize('name', drawings.DRAWINGS)
def test_it_is_a_picture_with_a_title(name, theme):
    root = xml.etree.ElementTree.fromstring(drawings.DRAWINGS[name]().svg(theme))
    assert root.tag == '{http://www.w3.org/2000/svg}svg' and root.get('aria-label')
    assert '{' not in drawings.DRAWINGS[name]().svg(theme).partition('>')[2]


@pytest.mark.parametrize('name', drawings.DRAWINGS)
def test_texts_stay_in_the_picture_and_apart(name):
    drawing = drawings.DRAWINGS[name]()
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
    for name, theme in itertools.product(drawings.DRAWINGS, drawings.THEMES):
        assert '/_build/drawings/%s-%s.svg\n   :class: drawing only-%s\n' % (name, theme, theme) in pages
