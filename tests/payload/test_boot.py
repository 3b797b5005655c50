"""The bytes that are really sent, run by every Python that is found: a child boots and calls."""

import os

import pytest

import support
import targets


@pytest.fixture(params=sorted(support.find_pythons(), key=support.as_numbers))
def child(request, router):
    return router.local(python_path=support.find_pythons()[request.param]), request.param


def test_it_boots_and_calls(child):
    context, version = child
    assert context.call(os.getpid) != os.getpid()
    assert '%d.%d' % tuple(context.call(targets.python_version)[:2]) == version
