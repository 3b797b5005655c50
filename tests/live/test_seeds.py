"""A leaf's objects become those of a parent while other threads use them: each is whole before its class changes."""

import builtins
import os
import threading
import types

import pytest

import mitogen.broker
import mitogen.core
import mitogen.master
import mitogen.parent


@pytest.fixture
def leaf():
    """The router of a context without children, and the other ends of its pipes to the parent."""
    (reader, from_parent), (to_parent, writer) = os.pipe(), os.pipe()
    router = mitogen.core.LeafRouter(mitogen.core.LeafBroker(), 5, [0])
    router.econtext = types.SimpleNamespace(importer=types.SimpleNamespace())
    router.parent_stream = mitogen.core.Stream(router, 0, 'parent', reader, writer)
    router.broker.start_receive(router.parent_stream)
    yield router
    router.broker.shutdown()
    router.broker.join()
    for fd in from_parent, to_parent:
        os.close(fd)


def watched(kind, late):
    """A class like `kind`, whose objects note what they are given that they did not have, not even from the class."""
    def __setattr__(self, name, value):
        if name not in vars(self) and not hasattr(kind, name):
            late.append(name)
        kind.__setattr__(self, name, value)
    return type(kind.__name__, (kind,), {'__setattr__': __setattr__})


def test_nothing_is_missing_when_the_class_changes(leaf, monkeypatch):
    late = []
    for module, name in (mitogen.broker, 'Broker'), (mitogen.parent, 'Router'):
        monkeypatch.setattr(module, name, watched(getattr(module, name), late))
    context = leaf.context_by_id(7)
    mitogen.parent.grow(context)
    assert isinstance(leaf, mitogen.parent.Router) and isinstance(leaf.broker, mitogen.broker.Broker)
    assert isinstance(context, mitogen.parent.Context) and context.router is leaf
    assert not late


@pytest.mark.parametrize('which, name', [('router', 'allocate_id'), ('broker', 'timers'), ('context', 'call')])
def test_a_thread_that_was_about_to_do_what_another_has_done(leaf, monkeypatch, which, name):
    """Both begin to import; one has not come back from that when the other has changed the class."""
    seed = {'router': leaf, 'broker': leaf.broker, 'context': leaf.context_by_id(7)}[which]
    importing, begun, grown, found = builtins.__import__, threading.Event(), threading.Event(), []

    def slowly(module, *args, **kwargs):
        if threading.current_thread() is other and not begun.is_set():
            begun.set()
            grown.wait(10)
        return importing(module, *args, **kwargs)
    other = threading.Thread(target=lambda: found.append(getattr(seed, name)))
    monkeypatch.setattr(builtins, '__import__', slowly)
    other.start()
    assert begun.wait(10)
    assert getattr(seed, name)
    grown.set()
    other.join()
    assert len(found) == 1


def test_of_two_threads_that_want_more_one_changes_the_broker(leaf, monkeypatch):
    prepare, times, others = mitogen.broker._prepare, [], []

    def slowly(broker):
        times.append(threading.get_ident())
        if len(times) == 1:
            others.append(threading.Thread(target=mitogen.broker.grow, args=(broker,)))
            others[0].start()
            others[0].join(0.1)      # long enough for one that need not wait
        prepare(broker)
    monkeypatch.setattr(mitogen.broker, '_prepare', slowly)
    mitogen.broker.grow(leaf.broker)
    others[0].join()
    assert times == [threading.get_ident()]


@pytest.mark.parametrize('kind', [mitogen.master.Router, mitogen.parent.Router, mitogen.master.Broker,
                                  mitogen.broker.Broker])
def test_what_is_grown_finds_its_attributes_the_quick_way(kind):
    """With a __getattr__, even one that is never called, CPython looks up each attribute anew."""
    assert not hasattr(kind, '__getattr__') and kind.__getattribute__ is object.__getattribute__
