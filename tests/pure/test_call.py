"""call: by which name another interpreter finds a function, and chains of calls."""

import datetime
import functools
import operator
import os
import threading

import pytest

import mitogen.core
import mitogen.testing
from mitogen.call import CallChain, function_name
from pure import callables
from pure.callables import Heir, Kind

HERE = 'pure.callables'

NAMES = {
    'plain': (callables.plain, (HERE, 'plain')),
    'decorated': (callables.decorated, (HERE, 'decorated')),
    'cached': (callables.cached, (HERE, 'cached')),
    'context manager': (callables.managed, (HERE, 'managed')),
    'coroutine': (callables.coroutine, (HERE, 'coroutine')),
    'class': (Kind, (HERE, 'Kind')),
    'inner class': (Kind.Inner, (HERE, 'Kind.Inner')),
    'class method': (Kind.by_class, (HERE, 'Kind.by_class')),
    'inherited class method': (Heir.by_class, (HERE, 'Heir.by_class')),
    'decorated class method': (Kind.decorated, (HERE, 'Kind.decorated')),
    'class method through an object': (Kind().by_class, (HERE, 'Kind.by_class')),
    'static method': (Kind.static, (HERE, 'Kind.static')),
    'static method through an object': (Kind().static, (HERE, 'Kind.static')),
    'static method of an inner class': (Kind.Inner.deep, (HERE, 'Kind.Inner.deep')),
    'function of a class': (Kind.method, (HERE, 'Kind.method')),
    'builtin': (len, ('builtins', 'len')),
    'builtin type': (dict, ('builtins', 'dict')),
    'builtin of a module': (os.getpid, ('posix', 'getpid')),
    'class method in C': (dict.fromkeys, ('builtins', 'dict.fromkeys')),
    'method of a type in C': (str.upper, ('builtins', 'str.upper')),
    'another class method in C': (datetime.datetime.now, ('datetime', 'datetime.now')),
}


@pytest.mark.parametrize('fn, name', NAMES.values(), ids=NAMES.keys())
def test_the_name_leads_to_the_function(fn, name):
    assert function_name(fn) == name
    found = __import__(name[0], fromlist=['x'])
    for part in name[1].split('.'):
        found = getattr(found, part)
    assert found == fn


NAMELESS = {
    'lambda': (callables.nameless, '<lambda>', 'move it to the top level'),
    'closure': (callables.closure(), '<locals>.inner', 'not what it closes over'),
    'decorated without wraps': (callables.badly_decorated, 'losing_the_name.<locals>.wrapper', 'functools.wraps'),
    'bound method': (Kind().method, 'method', 'an object that exists here only'),
    'bound method in C': ([].append, 'append', 'an object that exists here only'),
    'bound method of a lock': (threading.Lock().acquire, 'acquire', 'an object that exists here only'),
    'partial': (functools.partial(callables.plain, 1), 'functools.partial', 'not a function'),
    'object that can be called': (Kind(), 'Kind object', 'not a function'),
    'object of the library': (operator.itemgetter(1), 'itemgetter', 'not a function'),
    'text': ('os.getpid', 'os.getpid', 'not a function'),
    'nothing': (None, 'None', 'not a function'),
}


@pytest.mark.parametrize('fn, names, advice', NAMELESS.values(), ids=NAMELESS.keys())
def test_what_has_no_name_elsewhere_is_refused_with_advice(fn, names, advice):
    with pytest.raises(TypeError) as caught:
        function_name(fn)
    assert names in str(caught.value) and advice in str(caught.value)


def test_a_class_inside_a_function():
    class Local:
        @classmethod
        def make(cls):
            pass
    for fn in Local, Local.make:
        with pytest.raises(TypeError, match='<locals>.Local'):
            function_name(fn)


# ---- Chains


@pytest.fixture
def tree():
    with mitogen.testing.Tree() as tree:
        yield tree


@pytest.fixture
def context(tree):
    return tree.context(tree.add(name='web'))


def outcomes(tree, *receivers):
    tree.settle()
    return [receiver.get(block=False).unpickle(throw=False) for receiver in receivers]


def messages(found):
    return [getattr(value, 'message', value) for value in found]


def test_calls_of_a_plain_chain_do_not_mind_each_other(tree, context):
    chain = CallChain(context)
    assert chain.chain_id is None
    found = outcomes(tree, chain.call_async(callables.plain, 1), chain.call_async(callables.fail, 'a'),
                     chain.call_async(callables.plain, value=2))
    assert messages(found) == [1, 'a', 2]
    chain.reset()


def test_a_pipelined_chain_fails_as_its_first_failure(tree, context):
    chain = CallChain(context, pipelined=True)
    found = outcomes(tree, chain.call_async(callables.plain, 1), chain.call_async(callables.fail, 'a'),
                     chain.call_async(callables.plain, 2), chain.call_async(callables.fail, 'b'))
    assert messages(found) == [1, 'a', 'a', 'a']
    chain.reset()
    assert outcomes(tree, chain.call_async(callables.plain, 3)) == [3]


def test_two_chains(tree, context):
    one, other = CallChain(context, pipelined=True), CallChain(context, pipelined=True)
    assert one.chain_id != other.chain_id
    found = outcomes(tree, one.call_async(callables.fail, 'a'), other.call_async(callables.plain, 1))
    assert messages(found) == ['a', 1]


def test_a_chain_forgets_what_failed_when_its_block_ends(tree, context):
    with CallChain(context, pipelined=True) as chain:
        before = chain.chain_id
        outcomes(tree, chain.call_async(callables.fail, 'a'))
        assert tree.nodes[1].dispatcher._failed
    tree.settle()
    assert chain.chain_id != before
    assert not tree.nodes[1].dispatcher._failed


def test_a_call_that_nobody_waits_for(tree, context, caplog):
    chain = CallChain(context, pipelined=True)
    chain.call_no_reply(callables.fail, 'quietly')
    assert messages(outcomes(tree, chain.call_async(callables.plain, 1))) == ['quietly']
    assert 'call failed: ValueError: quietly' in caplog.text


@pytest.mark.parametrize('call', ['call', 'call_async', 'call_no_reply'])
@pytest.mark.parametrize('fn, args', [(callables.nameless, ()), (callables.plain, (threading.Lock(),))])
def test_what_cannot_be_sent_is_not(tree, context, call, fn, args):
    link = tree.nodes[1].link
    before, handlers = link.sent, len(tree.master.router._handlers)
    with pytest.raises(TypeError):
        getattr(CallChain(context, pipelined=True), call)(fn, *args)
    tree.settle()
    assert link.sent == before and len(tree.master.router._handlers) == handlers


def test_a_function_may_need_something_done_here_first(tree, context):
    assert outcomes(tree, CallChain(context).call_async(callables.prepared, 1, b=2)) == ['prepared']
    assert callables.PREPARATIONS == [(context, (1,), {'b': 2})]


def test_a_call_that_waits(tree):
    """Contexts of a tree in memory settle it while they wait."""
    context = tree.context(tree.add())
    assert context.call(callables.plain, 5) == 5
    with pytest.raises(mitogen.core.CallError, match='ValueError: a'):
        context.call(callables.fail, 'a')
    assert not [handle for handle in tree.master.router._handlers if handle >= mitogen.core.FIRST_FREE_HANDLE]


def test_a_function_given_by_name(tree, context):
    assert outcomes(tree, CallChain(context).call_async((HERE, 'Kind.static'))) == ['static']


@pytest.mark.parametrize('name, text', [
    ((HERE, 'absent'), "has no attribute 'absent'"), ((HERE, 'Kind.absent'), "has no attribute 'absent'"),
    (('pure.absent', 'x'), "No module named 'pure.absent'")])
def test_a_name_that_leads_nowhere(tree, context, name, text):
    found, = outcomes(tree, CallChain(context, pipelined=True).call_async(name))
    assert text in found.message


def test_a_call_to_a_context_that_is_gone(tree, context):
    tree.cut(tree.nodes[1])
    tree.settle()
    receiver = CallChain(context).call_async(callables.plain)
    tree.settle()
    with pytest.raises(mitogen.core.ChannelError, match='was cut|is gone|unknown or gone'):
        receiver.get(block=False)
