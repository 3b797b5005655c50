"""testing: trees in memory do what trees of processes do, and only when they are told to."""

import os
import random

import pytest

import mitogen.core
import mitogen.testing
from mitogen.core import Message, Receiver
from pure import callables

MAILBOX = 500


def test_a_clock_stands_still():
    clock = mitogen.testing.ManualClock(5.0)
    assert clock() == clock.now == 5.0
    clock.advance(2.5)
    assert clock() == 7.5


def test_nothing_moves_by_itself():
    with mitogen.testing.Tree() as tree:
        web = tree.add(name='web')
        receiver = Receiver(tree.master.router, MAILBOX)
        web.context_of(tree.master).send(Message(handle=MAILBOX))
        assert receiver.empty()
        tree.settle(rounds=1)       # the master had nothing to do yet when it was its turn
        assert receiver.empty()
        tree.settle()
        assert receiver.size() == 1


def test_contexts_have_the_ids_that_a_master_gives():
    with mitogen.testing.Tree() as tree:
        web = tree.add(name='web')
        disk = tree.add(web)
        assert [node.context_id for node in (tree.master, web, disk)] == [0, 1, 2] == list(tree.nodes)
        assert disk.router.parent_ids == [1, 0]
        assert (web.name, disk.name, repr(web)) == ('web', 'context-2', "Node('web', 1)")
        assert (disk.parent, disk.stream.peer, disk.link.peer) == (web, disk.link, disk.stream)
        assert tree.master.parent is tree.master.stream is tree.master.link is None


def test_options_reach_all_contexts():
    with mitogen.testing.Tree(max_message_size=5000, unidirectional=True) as tree:
        web = tree.add()
        disk = tree.add(web, unidirectional=False)
        assert [node.router.max_message_size for node in (tree.master, web, disk)] == [5000] * 3
        assert [node.router.unidirectional for node in (tree.master, web, disk)] == [True, True, False]


def test_a_chunk_is_what_arrives_at_once():
    with mitogen.testing.Tree(chunk=7) as tree:
        web = tree.add()
        seen = []
        arrive = web.stream.arrive
        web.stream.arrive = lambda data: (seen.append(len(data)), arrive(data))
        receiver = Receiver(web.router, MAILBOX)
        tree.context(web).send(Message(handle=MAILBOX, data=b'hello'))
        tree.settle()
        assert receiver.size() == 1
        assert seen == [7, 7, 7, 7, 3]


def test_timers_run_when_the_clock_says_so():
    with mitogen.testing.Tree() as tree:
        rung = []
        timers = tree.master.broker.timers
        timers.schedule(5.0, lambda: rung.append(5))
        timers.schedule(3.0, lambda: rung.append(3))
        timers.schedule(4.0, lambda: rung.append(4)).cancel()
        tree.settle()
        assert rung == []
        tree.clock.advance(3.0)
        tree.settle()
        assert rung == [3]
        tree.clock.advance(10.0)
        tree.settle()
        assert rung == [3, 5]


def test_functions_run_on_the_broker_and_only_there():
    with mitogen.testing.Tree() as tree:
        broker = tree.master.broker
        found = []
        broker.defer(lambda: found.append(broker.on_thread()))
        broker.defer(lambda: broker.defer(lambda: found.append('at once')))
        broker.defer(found.append, 'later')
        assert found == []
        assert broker.defer_sync(lambda: broker.defer_sync(lambda: list(found))) == [True, 'at once', 'later']
        with pytest.raises(RuntimeError):
            broker.assert_on_thread()
        with pytest.raises(ValueError, match='oops'):
            broker.defer_sync(lambda: callables.fail('oops'))
        assert not broker.on_thread()


def test_what_a_deferred_function_raises_is_logged(caplog):
    with mitogen.testing.Tree() as tree:
        tree.master.broker.defer(callables.fail, 'oops')
        tree.settle()
    assert 'ValueError: oops' in caplog.text


def test_after_the_end_nothing_is_done():
    tree = mitogen.testing.Tree()
    web = tree.add()
    done = []
    for node in tree.master, web:
        mitogen.core.listen(node.broker, 'exit', lambda node=node: done.append(node))
    tree.close()
    assert done == [tree.master, web]
    for node in tree.master, web:
        with pytest.raises(mitogen.core.Error, match='shut down'):
            node.broker.defer(done.append, 1)
        with pytest.raises(mitogen.core.Error, match='shut down'):
            node.broker.defer_sync(lambda: done.append(1))
        node.broker.join()
    tree.close()
    assert len(done) == 2


def test_the_masters_router_as_context_manager():
    tree = mitogen.testing.Tree()
    web = tree.add()
    with tree.master.router as router:
        assert router is tree.master.router
    tree.settle()
    assert web.broker.stopping


def test_what_was_said_last_still_arrives():
    with mitogen.testing.Tree() as tree:
        web = tree.add()
        receiver = Receiver(tree.master.router, MAILBOX)
        web.broker.shutdown()
        web.context_of(tree.master).send(Message.pickled('goodbye', handle=MAILBOX))
        tree.settle()
        assert receiver.get(block=False).unpickle() == 'goodbye'


def test_something_that_never_ends_is_an_error():
    tree = mitogen.testing.Tree()
    broker = tree.master.broker

    def again():
        broker.later(again)
    broker.defer(again)
    tree.settle(rounds=10)
    with pytest.raises(AssertionError, match='goes in circles'):
        tree.settle()


def test_a_seed_brings_back_the_order():
    def order(seed):
        with mitogen.testing.Tree(random=random.Random(seed)) as tree:
            nodes = [tree.add() for _ in range(6)]
            receiver = Receiver(tree.master.router, MAILBOX)
            for node in nodes:
                node.context_of(tree.master).send(Message(handle=MAILBOX))
            tree.settle()
            return [receiver.get(block=False).src_id for _ in nodes]
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 1


def test_a_context_that_speaks_past_its_own_checks(caplog):
    with mitogen.testing.Tree() as tree:
        web = tree.add(name='web')
        receiver = Receiver(tree.master.router, MAILBOX)
        web.say(Message(0, handle=MAILBOX, data=b'true'))
        web.say(Message(0, src_id=77, handle=MAILBOX, data=b'lie'))
        tree.settle()
        assert receiver.size() == 1
        inbox = Receiver(web.router, MAILBOX)
        tree.master.say(Message(1, handle=MAILBOX, data=b'down'), web.link)
        tree.settle()
        assert inbox.get(block=False).data == b'down'


def test_modules_are_asked_from_the_parent():
    with mitogen.testing.Tree() as tree:
        web = tree.add()
        found = []
        for name in 'pure.callables', 'no_such_module':
            web.importer.ask(name, found.append, name)
        tree.settle()
        assert [(module.fullname, module.source is not None) for module in found] == [
            ('pure.callables', True), ('no_such_module', False)]


def test_a_module_is_asked_once_however_many_want_it():
    with mitogen.testing.Tree() as tree:
        web = tree.add()
        below = [tree.add(web), tree.add(web)]
        before, found = web.stream.sent, []
        for node in below:
            node.importer.ask('pure.callables', found.append, 'pure.callables')
        tree.settle()
        assert [module.fullname for module in found] == ['pure.callables'] * 2
        assert web.stream.sent == before + 1


def test_waiting_calls_settle():
    with mitogen.testing.Tree() as tree:
        context = tree.context(tree.add())
        assert context.call(callables.plain, 'a') == 'a'
        with pytest.raises(mitogen.core.ChannelError, match='does not listen'):
            context.send_await(Message(handle=MAILBOX))


# ---- Leaks: more beside the tests with real children


def test_a_descriptor_that_was_left_open():
    opened = []
    with pytest.raises(AssertionError, match='left behind: descriptor'), mitogen.testing.leaks(grace=0):
        opened.append(os.open(os.devnull, os.O_RDONLY))
    with mitogen.testing.leaks(grace=0):
        os.close(opened.pop())


def test_a_descriptor_whose_number_is_used_again():
    number = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(AssertionError, match='descriptor %d' % number), mitogen.testing.leaks(grace=0):
        os.close(number)
        assert os.open(__file__, os.O_RDONLY) == number
    os.close(number)


def test_a_block_that_fails_fails_with_its_own_error():
    with pytest.raises(ValueError, match='oops'), mitogen.testing.leaks(grace=0):
        os.close(os.dup(0))
        callables.fail('oops')


def test_trees_leave_nothing_behind():
    with mitogen.testing.leaks(grace=0), mitogen.testing.Tree() as tree:
        tree.add(tree.add())
