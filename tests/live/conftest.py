"""Fixtures for tests with real children of this machine."""

import importlib
import sys
import textwrap

import pytest

import support
import targets


@pytest.fixture
def child(router):
    """A context on this machine: the same interpreter as here, as the same user."""
    return router.local()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the path of the master only. What is imported from there is forgotten after the test."""
    path = tmp_path / 'only here'
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    before = set(sys.modules)
    yield path
    # Found first, removed then: a namespace package shows itself only while those above it are there.
    for name in [name for name in set(sys.modules) - before if str(path) in repr(sys.modules[name])]:
        del sys.modules[name]


@pytest.fixture
def write(folder):
    """Writes modules into that folder: `write({'x/a.py': source})`."""
    def write(sources):
        for name, source in sources.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        importlib.invalidate_caches()
        return folder
    return write


@pytest.fixture
def asked(router, monkeypatch):
    """The names of all modules that the master is asked for and has not sent yet: somebody waits for each."""
    names = []
    answer = router.responder.answer

    def listening(child_id, fullname, wanted):
        if fullname not in router.stream_by_id(child_id).modules_sent:
            names.append(fullname)
        answer(child_id, fullname, wanted)
    monkeypatch.setattr(router.responder, 'answer', listening)
    return names


@pytest.fixture
def older(oldest):
    """The same, if that is older than what runs the tests."""
    if tuple(oldest.call(targets.python_version)) >= sys.version_info[:2]:
        pytest.skip('no older Python on this machine')
    return oldest


@pytest.fixture
def oldest(router):
    """A child on the oldest Python of this machine."""
    return router.local(python_path=[*support.find_pythons().values()][0])


@pytest.fixture
def newest(router):
    """A child on the newest."""
    return router.local(python_path=[*support.find_pythons().values()][-1])


@pytest.fixture(params=['oldest', 'newest'])
def other(request):
    """A child on another Python than the master's."""
    return request.getfixturevalue(request.param)
