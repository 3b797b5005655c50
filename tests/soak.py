"""Many contexts, and threads that call, import, fetch, connect and kill without end: see tests/live/test_soak.py."""

import collections
import contextlib
import hashlib
import os
import random
import signal
import threading
import time

import mitogen.core
import mitogen.master
import mitogen.service
import support
import targets
import targets_files
import targets_imports
from mitogen.core import CallError, ChannelError, Error
from mitogen.service import FileService

#: Seconds that a thread waits for one answer: longer, and the call has hung.
LIMIT = 60

#: What another thread kills at the same time, again and again, is given up.
TRIES = 20

#: Tables may have so many entries more than when they were first looked at: a package of which another part is asked.
SLACK = 20

MODULES = ['homegrown', 'homegrown.colours', 'homegrown.shapes.square', 'homegrown.no_such', 'no_such_at_all']


class Slot:
    """The place of one context; when that is lost another takes it."""

    def __init__(self, start):
        self._start = start
        self._lock = threading.Lock()       # held by who replaces it
        self.context = self.pid = None
        self.replace(None)

    def replace(self, lost):
        """Start another, if nobody has done so yet."""
        with self._lock:
            if self.context is lost:
                for _ in range(TRIES):
                    context = self._start()
                    try:
                        self.pid = context.call(os.getpid)
                        self.context = context
                        return
                    except ChannelError:
                        pass            # lost with what is between, before it was here
                raise AssertionError('%d contexts in a row were lost' % TRIES)


class Soak:
    """A router with contexts, and what its threads do to them.

    :param seed: of all that is random.
    :param folder: for files.
    """

    def __init__(self, seed, folder, contexts, threads):
        self._seed, self._threads = seed, threads
        self.router = mitogen.master.Router()
        self.pool = mitogen.service.Pool(self.router, size=2)
        self._path = folder / 'file'
        self._path.write_bytes(random.Random(seed).randbytes(300_000))
        self._digest = hashlib.sha256(self._path.read_bytes()).hexdigest()
        self.pool.get_service(FileService).register(str(self._path))
        self.count = collections.Counter()      # of (what, how it ended); under the lock, as the next
        self.problems = []
        self._lock = threading.Lock()
        self.below = [Slot(self.router.local) for _ in range(2)]
        # More forks than others: an interpreter of its own takes 10 MB.
        starts = [self.router.fork, self.router.fork, self.router.local, lambda: self._below(0), lambda: self._below(1)]
        self.slots = [Slot(starts[number % len(starts)]) for number in range(contexts)]

    def _below(self, number):
        """Start a context below one of two; that is started again first, whenever it is gone."""
        slot = self.below[number]
        for _ in range(TRIES):
            context = slot.context
            try:
                return self.router.local(via=context)
            except Error as exc:
                if not str(exc):
                    self.problems.append('a start that failed without a reason')
                slot.replace(context)
        raise AssertionError('%d starts in a row have failed' % TRIES)

    # what the threads do

    def run(self, seconds):
        """Have them work so long."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(number, end), daemon=True)
                   for number in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 3 * LIMIT)
            assert not thread.is_alive(), 'a call that hangs'

    def _work(self, number, end):
        chance = random.Random('%d %d %f' % (self._seed, number, end))
        actions = [self._call] * 20 + [self._large] * 3 + [self._fail] * 3 + [self._import] * 4 + [self._fetch] * 2 \
            + [self._service] * 3 + [self._abandon] * 2 + [self._lose]
        while time.monotonic() < end:
            slot, action = chance.choice(self.slots), chance.choice(actions)
            context = slot.context
            try:
                action(chance, slot, context)
                self._note(action, 'answered')
            except ChannelError as exc:
                self._note(action, 'failed')
                if not str(exc) or str(exc) == 'no reason':
                    self.problems.append('a failure without a reason')
                slot.replace(context)
            except BaseException as exc:
                self._note(action, 'broken')
                self.problems.append('%s: %s: %s' % (action.__name__, type(exc).__name__, exc))

    def _note(self, action, ending):
        with self._lock:
            self.count[action.__name__, 'sent'] += 1
            self.count[action.__name__, ending] += 1

    @staticmethod
    def _ask(context, fn, *args):
        """Call a function, but not for ever."""
        receiver = context.call_async(fn, *args)
        try:
            return receiver.get(LIMIT).unpickle()
        finally:
            receiver.close()

    def _call(self, chance, slot, context):
        number = chance.random()
        assert self._ask(context, targets.echo, [number, {'text': str(number)}]) == [number, {'text': str(number)}]

    def _large(self, chance, slot, context):
        data = mitogen.core.Blob(chance.randbytes(chance.randrange(300_000)))
        assert self._ask(context, targets.echo, data) == data

    def _fail(self, chance, slot, context):
        try:
            self._ask(context, targets.fail, 'as it shall')
        except CallError as exc:
            assert exc.message == 'as it shall'
        else:
            raise AssertionError('no error')

    def _import(self, chance, slot, context):
        name = chance.choice(MODULES)
        assert (self._ask(context, targets_imports.why_not, name) is None) is ('no_such' not in name)

    def _fetch(self, chance, slot, context):
        try:
            ok, _, digest = self._ask(context, targets_files.fetch, self.router.myself(), str(self._path))
        except CallError as exc:        # its way to us was cut, not ours to it
            raise ChannelError(str(exc)) from None
        assert ok and digest == self._digest

    def _service(self, chance, slot, context):
        receiver = context.call_service_async('targets_services.Desk', 'double', number=4)
        try:
            assert receiver.get(LIMIT).unpickle()[0] == 8
        finally:
            receiver.close()

    def _abandon(self, chance, slot, context):
        context.call_async(targets.echo, 1).close()
        context.call_no_reply(targets.echo, 1)

    def _lose(self, chance, slot, context):
        ending = chance.randrange(3)
        if chance.random() < 0.1:
            slot = chance.choice(self.below)
            context = slot.context
        if ending == 0:
            with contextlib.suppress(ProcessLookupError):       # another thread was first
                os.kill(slot.pid, signal.SIGKILL)
        elif ending == 1:
            context.shutdown(wait=True)
        else:
            self.router.disconnect(context)
            context.shutdown()
        slot.replace(context)

    # what is looked at

    def settle(self):
        """Have every context there, and nothing under way."""
        for slot in self.below + self.slots:
            context = slot.context
            try:
                self._ask(context, targets.echo, 1)
            except ChannelError:        # with what was between
                slot.replace(context)
        support.wait_for(lambda: len(self.router.get_streams()) == self._direct(), LIMIT, 'the end of streams')

    def _direct(self):
        """How many contexts are our own children."""
        return len(self.below) + sum(slot.context.via is None for slot in self.slots)

    def tables(self):
        """{name: entries} of each table of the objects that live as long as the router."""
        return tables(self.router, self.pool, self.pool.get_service(FileService))

    def close(self):
        """End all of it."""
        self.router.broker.shutdown()
        self.router.broker.join()
        self.pool.join()


def tables(router, *others):
    """{name: entries} of each table of a router, of all that belongs to it, and of others; and of what the process
    has."""
    owners = [router, router.broker, router.broker.timers, router.routes, router.responder, router.id_allocator,
              router.responder.library, router.responder.library.finder, router._starter, *others]
    found = {}
    for owner in owners:
        for name, value in vars(owner).items():
            if isinstance(value, (dict, list, set, collections.deque)) or hasattr(value, 'qsize'):
                size = value.qsize() if hasattr(value, 'qsize') else len(value)
                found['%s.%s' % (type(owner).__name__, name)] = size
    found['descriptors'] = len(os.listdir('/proc/self/fd'))
    found['threads'] = threading.active_count()
    found['children'] = sum(parent == os.getpid() for parent, _, _ in support.processes().values())
    found['known contexts'] = len(router._contexts)
    return found


def memory():
    """Of this process, in MB."""
    return support.memory_of_this_process()[1] / (1 << 20)
