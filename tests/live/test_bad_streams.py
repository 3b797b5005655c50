"""A child that does not keep to the protocol, by accident or on purpose: it loses its own connection at most."""

import os
import sys

import pytest

import mitogen.core
import support
import targets
import targets_bad
import targets_faults
import targets_imports
import wire
from mitogen.core import HEADER, MAGIC, ChannelError, Message

GARBAGE = b'print() of some user, who found a descriptor\n' * 3


@pytest.fixture
def bystander(router):
    """Another child, which must not notice anything."""
    context = router.local()
    yield context
    assert context.call(targets.echo, 'undisturbed') == 'undisturbed'


def pid_of(context):
    return context.call(os.getpid)


# ---- What ends the connection


def test_garbage_between_two_messages(child, bystander, caplog):
    pid = pid_of(child)
    calls = [child.call_async(targets_bad.write_raw, GARBAGE)] + [child.call_async(targets.echo, 1) for _ in range(3)]
    for call in calls:
        with pytest.raises(ChannelError, match='not a message: .*print'):
            call.get(10).unpickle()
    support.wait_for(lambda: not support.is_running(pid))
    assert 'not a message' in caplog.text


def test_user_code_that_writes_to_every_descriptor(child, bystander):
    pid = pid_of(child)
    with pytest.raises(ChannelError, match='not a message'):
        child.call(targets_bad.write_everywhere, GARBAGE)
    support.wait_for(lambda: not support.is_running(pid))


def test_user_code_that_closes_every_descriptor(child, bystander):
    pid = pid_of(child)
    receiver = child.call_async(targets_bad.close_everything)
    with pytest.raises(ChannelError):
        receiver.get(10).unpickle()
    support.wait_for(lambda: not support.is_running(pid))


@pytest.mark.parametrize('loss, is_parent', [
    (targets_faults.lose_link, False), (targets_faults.lose_link, True), (targets_faults.stop_hearing, True),
    (targets_bad.close_everything, False), (targets_bad.close_everything, True),
    (targets_bad.close_everything_later, False), (targets_bad.close_everything_later, True)])
def test_descriptors_that_are_closed_while_user_code_hangs(router, bystander, loss, is_parent):
    """What finds out is the broker's own thread; the second close of a descriptor must not be the end of that alone."""
    # As over ssh: what is started here, and gets our signals, is not the child.
    child = router.local(python_path=[sys.executable, wire.__file__, '0', sys.executable])
    pid = pid_of(child)
    if is_parent:
        child.call(targets_faults.grow)
    child.call_no_reply(loss)
    receiver = child.call_async(targets.wait_for_ever)

    def has_found_out():
        child.call_no_reply(targets.echo, 1)        # who closed the reading one alone finds out by what comes next
        return not receiver.empty()
    support.wait_for(has_found_out, 10)
    with pytest.raises(ChannelError, match='is gone'):
        receiver.get(10)
    support.wait_for(lambda: not support.is_running(pid), 10)


def test_a_header_that_promises_more_than_anyone_may_send(child, bystander):
    header = HEADER.pack(MAGIC, 0, child.context_id, child.context_id, 1000, 0, 0xFFFFFFFF)
    with pytest.raises(ChannelError, match='of 4294967295 bytes is too large'):
        child.call(targets_bad.write_raw, header)


def test_half_a_message_and_then_the_end(child, bystander):
    child.call(targets.echo, 1)
    header = HEADER.pack(MAGIC, 0, child.context_id, child.context_id, 1000, 0, 5000)
    child.call_no_reply(targets_bad.write_raw, header + b'only this')
    with pytest.raises(ChannelError, match='exit status 7'):
        child.call(targets_bad.exit_process, 7)


def test_the_same_in_a_grandchild_costs_the_child_nothing(router, child):
    grandchild = router.local(via=child)
    with pytest.raises(ChannelError, match='not a message'):
        grandchild.call(targets_bad.write_raw, GARBAGE)
    assert child.call(targets.echo, 1) == 1


# ---- What is dropped, or refused with an answer


@pytest.mark.parametrize('field', ['src_id', 'auth_id'])
@pytest.mark.parametrize('claimed', [0, 2, 12345])
def test_a_message_in_the_name_of_another_is_dropped_and_logged(router, child, bystander, caplog, field, claimed):
    receiver = mitogen.core.Receiver(router)
    assert bystander.context_id == 2
    child.call(targets_bad.send_message, {field: claimed, 'handle': receiver.handle}, mitogen.core.encode('forged'))
    child.call(targets_bad.send_message, {'handle': receiver.handle}, mitogen.core.encode('honest'))
    assert receiver.get(10).unpickle() == 'honest'
    assert receiver.empty()
    assert 'cannot come from there' in caplog.text
    receiver.close()


def test_an_answer_in_the_name_of_the_one_that_was_asked(router, child, bystander):
    wanted = mitogen.core.Receiver(router, respondent=bystander)
    reason = child.call(targets_bad.ask_with, {'handle': wanted.handle}, mitogen.core.encode('stolen'))
    assert reason == 'refused by policy'
    assert wanted.empty()
    wanted.close()


@pytest.mark.parametrize('fields, reason', [
    ({'handle': 4242}, 'does not listen to handle 4242'),
    ({'handle': mitogen.core.CALL_FUNCTION}, 'does not listen to handle 101'),
    ({'handle': mitogen.core.SHUTDOWN}, 'does not listen to handle 106'),
    ({'handle': mitogen.core.ADD_ROUTE}, 'refused by policy'),
    ({'handle': mitogen.core.ALLOCATE_ID}, 'refused'),
    ({'dst_id': 99, 'handle': 1}, 'context 99 is unknown or gone'),
    ({'dst_id': 2, 'handle': mitogen.core.CALL_FUNCTION}, 'refused by policy'),
    ({'dst_id': 2, 'handle': mitogen.core.SHUTDOWN}, 'refused by policy'),
    ({'dst_id': 2, 'handle': mitogen.core.LOAD_MODULE}, 'refused by policy'),
])
def test_what_a_child_may_not_do_is_refused_with_a_reason(child, bystander, fields, reason):
    data = mitogen.core.encode((0, 1))
    assert reason in child.call(targets_bad.ask_with, fields, data)


def test_a_child_does_not_get_ids_for_others_or_all_of_them(child, bystander):
    for owner, count in (bystander.context_id, 1), (0, 1), (child.context_id, 1 << 30), (child.context_id, -1):
        reason = child.call(targets_bad.ask_with, {'handle': mitogen.core.ALLOCATE_ID},
                            mitogen.core.encode((owner, count)))
        assert 'refused' in reason, (owner, count)


SERVICES = [mitogen.core.GET_MODULE, mitogen.core.FORWARD_LOG, mitogen.core.DEL_ROUTE, mitogen.core.ALLOCATE_ID,
            mitogen.core.ADD_ROUTE, mitogen.core.GET_RESOURCE, mitogen.core.CALL_SERVICE, mitogen.core.LOAD_MODULE]
RUBBISH = [b'', b'rubbish', b'\x80\x04cos\nsystem\n.'] + [mitogen.core.encode(value) for value in (
    None, 5, (), ('a',), ('a', 'b'), (1, 2, 3), ('targets', 5), ('../x', '/etc/passwd'), ('x', 10 ** 9, b'y'),
    ([1, 2, 3], None), ([['a']], {}))]


@pytest.mark.parametrize('handle', SERVICES)
def test_rubbish_for_a_service_of_the_master_disturbs_nobody(child, bystander, handle):
    for data in RUBBISH:
        child.call(targets_bad.send_message, {'handle': handle}, data)
    assert child.call(targets_imports.import_by_name, 'homegrown.colours') == 'homegrown.colours'
    assert child.call(targets.echo, 'still here') == 'still here'


def test_a_child_cannot_declare_others_lost(router, child, bystander):
    receiver = mitogen.core.Receiver(router, respondent=bystander)
    for lost in [bystander.context_id, 0], [bystander.context_id], [12345]:
        child.call(targets_bad.send_message, {'handle': mitogen.core.DEL_ROUTE}, mitogen.core.encode((lost, 'a lie')))
    assert bystander.call(targets.echo, 1) == 1
    assert receiver.empty()
    receiver.close()


def test_a_master_ignores_an_answer_that_nobody_awaits(router, child):
    for handle in range(3000, 3100):
        child.call(targets_bad.send_message, {'handle': handle}, b'')
    router.route(Message(dst_id=child.context_id, handle=5000))
    assert child.call(targets.echo, 1) == 1
