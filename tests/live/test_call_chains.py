"""Call chains: what a failure does to the calls behind it, and how a chain recovers."""

import pytest

import mitogen.core
import targets
import targets_calls
from mitogen.core import CALL_FUNCTION, CallError, Message
from mitogen.parent import CallChain


@pytest.fixture
def chain(child):
    with CallChain(child, pipelined=True) as chain:
        yield chain


def error_of(receiver):
    with pytest.raises(CallError) as caught:
        receiver.get(30).unpickle()
    return caught.value


def send_unreadable(chain):
    """A call of this chain with an argument that no context accepts, as a faulty program might send it."""
    function = mitogen.core.encode((chain.chain_id, 'targets', 'echo'))
    return chain.context.send_async(Message(handle=CALL_FUNCTION, data=function + b'\x80\x04cos\nsystem\n.'))


def fail_by_exception(chain):
    return chain.call_async(targets.fail, 'first')


def fail_by_exit(chain):
    return chain.call_async(targets_calls.leave, 5)


def fail_for_lack_of_a_function(chain):
    return chain.call_async(('targets', 'no_such_function'))


def fail_for_lack_of_a_module(chain):
    return chain.call_async(('no_such_module', 'function'))


def fail_by_a_result_that_cannot_be_sent(chain):
    return chain.call_async(targets_calls.return_lock)


FAILURES = {
    fail_by_exception: 'ValueError',
    fail_by_exit: 'SystemExit',
    fail_for_lack_of_a_function: 'AttributeError',
    fail_for_lack_of_a_module: 'ModuleNotFoundError',
    fail_by_a_result_that_cannot_be_sent: 'TypeError',
    send_unreadable: 'TypeError',
}


@pytest.mark.parametrize('fail', FAILURES, ids=lambda fail: fail.__name__)
def test_after_any_failure_the_rest_of_the_chain_fails_with_it_and_does_not_run(chain, fail):
    first = fail(chain)
    others = [chain.call_async(targets_calls.keep, number) for number in range(5)]
    error = error_of(first)
    assert error.type_name == FAILURES[fail]
    assert {str(error_of(other)) for other in others} == {str(error)}
    assert chain.context.call(targets_calls.get_kept) == []


def test_calls_before_the_failure_are_not_touched_by_it(chain):
    before = [chain.call_async(targets.echo, number) for number in range(5)]
    fail_by_exception(chain)
    assert [receiver.get().unpickle() for receiver in before] == list(range(5))


def test_calls_that_await_no_reply_fail_the_chain_too(chain):
    chain.call_no_reply(targets.fail, 'unseen')
    assert error_of(chain.call_async(targets.echo, 1)).message == 'unseen'


def test_reset_lets_the_chain_begin_anew(chain):
    error_of(fail_by_exception(chain))
    chain.reset()
    assert chain.call(targets.echo, 'again') == 'again'


def test_calls_from_before_a_reset_still_fail(chain):
    fail_by_exception(chain)
    old = chain.call_async(targets.echo, 'old')
    chain.reset()
    new = chain.call_async(targets.echo, 'new')
    assert error_of(old).message == 'first'
    assert new.get().unpickle() == 'new'


def test_the_end_of_the_with_block_resets(child):
    with CallChain(child, pipelined=True) as chain:
        error_of(fail_by_exception(chain))
    assert chain.call(targets.echo, 'after') == 'after'


def test_other_chains_do_not_notice(chain):
    fail_by_exception(chain)
    other = CallChain(chain.context, pipelined=True)
    assert other.call(targets.echo, 'other') == 'other'
    assert chain.context.call(targets.echo, 'default') == 'default'


def test_a_chain_that_is_not_pipelined_goes_on(child):
    chain = CallChain(child)
    error_of(fail_by_exception(chain))
    assert chain.call(targets.echo, 1) == 1
    assert child.default_call_chain.call(targets.echo, 2) == 2


def test_an_argument_that_cannot_be_sent_does_not_fail_the_chain(chain):
    # Nothing was sent, so nothing in the chain has failed: the program was told at once.
    with pytest.raises(TypeError):
        chain.call_async(targets.echo, object())
    assert chain.call(targets.echo, 1) == 1
