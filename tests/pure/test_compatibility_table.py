"""docs/compatibility.rst: each row names its tests, they exist, and every connection method has a row."""

import re

import pytest

import support

TEXT = (support.checkout() / 'docs' / 'compatibility.rst').read_text(encoding='utf-8')
ROWS = [row for table in TEXT.split('.. list-table::')[1:] for row in re.split(r'\n   \* - ', table)[2:]]
NAMED = sorted(set(re.findall(r'``(tests/[\w/]+\.py)::(\w+)``', TEXT)))


def test_there_are_tables():
    assert len(ROWS) > 25
    assert len(NAMED) > 25
    assert TEXT.count('::test_') == len(re.findall(r'``tests/[\w/]+\.py::test_\w+``', TEXT))


@pytest.mark.parametrize('row', ROWS, ids=[row.split('\n')[0] for row in ROWS])
def test_each_row_names_a_test_or_says_that_there_is_none(row):
    assert '``tests/' in row or '``.ci/run``' in row or 'Not tested.' in row


@pytest.mark.parametrize('path, name', NAMED)
def test_each_test_that_is_named_exists(path, name):
    assert re.search(r'^def %s\(' % name, (support.checkout() / path).read_text(encoding='utf-8'), re.M)


def test_each_method_has_a_row():
    ways = TEXT.partition('Ways in\n')[2].partition('What works through it')[0]
    assert set(re.findall(r'^   \* - ``(\w+)``$', ways, re.M)) == set(support.methods())


def test_containers_are_entered_by_each_method_that_says_so():
    source = (support.checkout() / 'tests/hosts/ways.py').read_text(encoding='utf-8')
    for row in ROWS:
        if 'test_containers.py::test_it_is_inside' in row:
            assert re.search("^    '%s[-']" % row.split('``')[1], source, re.M), row
