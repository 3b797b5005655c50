"""Short lives of routers, with threads that call, wait, start and end contexts while somebody else ends it all: see
tests/live/test_races.py. Run as a program: SEED, seconds, seconds that a life may take. Prints a line of JSON.
"""

import collections
import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time

import mitogen.core
import mitogen.master
import support
import targets
from mitogen.core import CallError, Error, Latch, Receiver
from mitogen.select import Select

#: Between two instructions of Python, or as Python does it.
SWITCHES = 1e-6, 1e-6, 5e-5, 0.005


def send_back(sender, values):
    """In a context: send each to who waits there."""
    for value in values:
        sender.send(value)
    sender.close()


class Life:
    """One router, from its beginning to its end.

    :param seed: of what happens. When, is up to the system.
    """

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.count = collections.Counter()
        self.problems = []
        self.router = mitogen.master.Router()
        starts = [self.router.fork, self.router.fork, self.router.local]
        self.contexts = [self.chance.choice(starts)() for _ in range(self.chance.randrange(1, 4))]
        if self.chance.random() < 0.3:
            self.contexts.append(self.router.local(via=self.contexts[0]))
        self.latch = Latch(self.router.broker)

    def run(self):
        """Have it all happen."""
        threads = [threading.Thread(target=self._work, args=(self.chance.random(),), daemon=True)
                   for _ in range(self.chance.randrange(1, 6))]
        for thread in threads:
            thread.start()
        if self.chance.random() < 0.5:      # the main thread drives too, or only waits
            self._work(self.chance.random())
        threading.Event().wait(self.chance.expovariate(4))
        self.router.broker.shutdown()
        for thread in threads:
            thread.join()
        self.router.broker.join()

    def _work(self, seed):
        chance = random.Random(seed)
        actions = [self._call] * 6 + [
            self._in_turn, self._select, self._hurry, self._abandon, self._hear, self._pass_on, self._defer, self._time,
            self._break_off, self._start, self._end, self._kill]
        for _ in range(chance.randrange(1, 30)):
            action = chance.choice(actions)
            try:
                action(chance, chance.choice(self.contexts))
                self.count['answered'] += 1
            except CallError as exc:
                self.problems.append('%s: %s' % (action.__name__, exc))
            except Error as exc:
                self.count['failed'] += 1
                if str(exc) in ('', 'no reason'):
                    self.problems.append('%s failed without a reason' % action.__name__)
            except BaseException as exc:
                self.problems.append('%s: %s: %s' % (action.__name__, type(exc).__name__, exc))

    def _call(self, chance, context):
        number = chance.random()
        assert context.call(targets.echo, number) == number

    def _in_turn(self, chance, context):
        calls = [context.call_async(targets.echo, number) for number in range(5)]
        assert [call.get().unpickle() for call in calls] == list(range(5))

    def _select(self, chance, context):
        calls = {other.call_async(targets.echo, number): number for number, other in enumerate(self.contexts)}
        with Select(calls) as select:
            for msg in select:
                assert msg.unpickle() == calls[msg.receiver]

    def _hurry(self, chance, context):
        call = context.call_async(targets.echo, 1)
        with contextlib.suppress(mitogen.core.TimeoutError):
            assert call.get(chance.uniform(0, 0.003)).unpickle() == 1
        call.close()

    def _abandon(self, chance, context):
        context.call_async(targets.echo, 1).close()
        context.call_no_reply(targets.echo, 1)

    def _hear(self, chance, context):
        receiver = Receiver(self.router, respondent=context)        # who may be gone already
        try:
            context.call_no_reply(send_back, receiver.to_sender(), [1, 2, 3])
            assert [msg.unpickle() for msg in receiver] == [1, 2, 3]
        finally:
            receiver.close()

    def _pass_on(self, chance, context):
        """From thread to thread; who finds nothing goes on."""
        self.latch.put(1)
        with contextlib.suppress(mitogen.core.TimeoutError):
            assert self.latch.get(chance.uniform(0, 0.01)) == 1

    def _defer(self, chance, context):
        assert self.router.broker.defer_sync(lambda: 5) == 5

    def _time(self, chance, context):
        """A timer that comes while all others may sleep."""
        over, when = Latch(self.router.broker), time.monotonic() + chance.uniform(0, 0.02)
        self.router.broker.defer_sync(lambda: self.router.broker.timers.schedule(when, over.put))
        with contextlib.suppress(mitogen.core.TimeoutError):
            over.get(chance.uniform(0, 0.04))

    def _break_off(self, chance, context):
        starting = self.router.connect_async('local')
        with contextlib.suppress(mitogen.core.TimeoutError):
            starting.get(chance.uniform(0, 0.05))
        starting.cancel()

    def _start(self, chance, context):
        new = self.router.fork() if chance.random() < 0.7 else self.router.local()
        assert new.call(targets.echo, 'new') == 'new'
        self.contexts[chance.randrange(len(self.contexts))] = new

    def _end(self, chance, context):
        context.shutdown(wait=chance.random() < 0.5)

    def _kill(self, chance, context):
        pid = context.call(os.getpid)
        with contextlib.suppress(ProcessLookupError):       # another thread has ended it in between
            os.kill(pid, signal.SIGKILL)


def left_behind():
    """What the process has besides the main thread."""
    children = [state for parent, state, _ in support.processes().values() if parent == os.getpid()]
    return len(os.listdir('/proc/self/fd')), children, sorted(thread.name for thread in threading.enumerate())


def main():
    seed, seconds, limit = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    end, lives, count, before = time.monotonic() + seconds, 0, collections.Counter(), left_behind()
    while time.monotonic() < end:
        print('life %d' % (seed + lives), file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(limit, exit=True)
        life = Life(seed + lives)
        sys.setswitchinterval(SWITCHES[lives % len(SWITCHES)])
        life.run()
        sys.setswitchinterval(0.005)
        assert life.problems == [], life.problems
        support.wait_for(lambda: left_behind() == before, what='%s and not %s' % (left_behind(), before))
        lives += 1
        count.update(life.count)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(dict(count, lives=lives)))


if __name__ == '__main__':
    # Under the name by which children ask for it: what they call is here.
    import races
    races.main()
