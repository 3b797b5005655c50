"""docs/security.rst: each attack names the tests that try it, and they exist."""

import re

import pytest

import support

TEXT = (support.checkout() / 'docs' / 'security.rst').read_text()
NAMED = sorted(set(re.findall(r'``(tests/[\w/]+\.py)::(\w+)``', TEXT)))
ROWS = [row for row in re.split(r'\n   \* - ', TEXT.partition('It gets')[2]) if '``tests/' in row]


def test_there_is_a_table():
    assert len(ROWS) > 40
    assert TEXT.count('::test_') == len(re.findall(r'``tests/[\w/]+\.py::test_\w+``', TEXT))


@pytest.mark.parametrize('path, name', NAMED)
def test_each_test_that_is_named_exists(path, name):
    assert re.search(r'^def %s\(' % name, (support.checkout() / path).read_text(), re.M)


def test_each_test_of_a_hostile_child_is_named():
    source = (support.checkout() / 'tests/live/test_hostile_child.py').read_text()
    named = {name for path, name in NAMED if path == 'tests/live/test_hostile_child.py'}
    assert set(re.findall(r'^def (test_\w+)\(', source, re.M)) - named == set()
