"""A tree of contexts under load, and what may happen to them: see tests/live/test_faults.py.

Each fault is a method of Field named `fault_...`: it does it, and checks what it alone can. What holds for all of
them Field checks itself, after each.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading

import mitogen.core
import mitogen.master
import support
import targets
import targets_faults
from mitogen.core import CallError, ChannelError, Error

#: Seconds within which each call has its answer, or an error that names the cause; and within which nothing is left of
#: what was hit. A child that stands still is killed after 3 (`boot.connection.SIGNALS`), its parent told after 0.5.
LIMIT = 15

#: Seconds between two calls of one thread of the load.
PAUSE = 0.002

#: As many are opened in no time. The hard limit cannot be undone, and the other one the library raises itself.
MOST_DESCRIPTORS = 1 << 17

#: An account without privileges, whose processes can be limited in number. Root's cannot.
NOBODY = 65534

#: Threads of a router that begin when there is first something to do for them.
KEPT = 'mitogen.starter', 'mitogen.responder'

WIRE = os.path.join(os.path.dirname(__file__), 'wire.py')


def belongings():
    """What this process has: how many descriptors and children, names of threads."""
    return (len(os.listdir('/proc/self/fd')), sum(pid == os.getpid() for pid, _, _ in support.processes().values()),
            sorted(thread.name for thread in threading.enumerate() if thread.name not in KEPT))


class Member:
    """One context, a thread that calls it all the time, and the count of its calls."""

    def __init__(self, field, start):
        self._field, self._start = field, start
        self.sent = self.answered = self.failed = 0
        self.problems = []
        self._hit, self._ending = threading.Event(), False
        self.begin()
        self._thread = threading.Thread(target=self._load, daemon=True)
        self._thread.start()

    def begin(self):
        self.context = self._start()
        self.pid = self.context.call(os.getpid)

    def _load(self):
        number = 0
        while not self._ending:
            number += 1
            context = self.context
            self.sent += 1
            try:
                if context.call(targets.echo, number) != number:
                    self.problems.append('an answer to another question')
                self.answered += 1
            except ChannelError as exc:
                self.failed += 1
                if not self._hit.is_set():
                    self.problems.append('a call of one that was not hit failed: %s' % exc)
                self._field.healed.wait(LIMIT)
            except BaseException as exc:
                self.problems.append('%s: %s' % (type(exc).__name__, exc))
                raise
            threading.Event().wait(PAUSE)

    def hit(self):
        """It is allowed to fail from now on."""
        self._hit.set()

    def heal(self):
        """Start another in its place."""
        self.begin()
        self._hit.clear()

    def wait_for_progress(self):
        """See that it goes on answering."""
        before = self.answered
        support.wait_for(lambda: self.answered > before or self.problems, LIMIT, 'an answer of %s' % self.context)

    def end(self):
        self._ending = True
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), 'a call that never ends'


class Field:
    """Contexts under load.

    :param seed: of all that is random.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.healed = threading.Event()
        self.healed.set()
        self.router = mitogen.master.Router()
        self.happened = {}
        middle = self.router.local()
        self.members = [Member(self, start) for start in (
            self.router.local, self.router.local, self.router.fork, self._far,
            lambda: self.router.local(via=middle), lambda: self.router.local(via=self._middle()))]
        self._far_one = self.members[3]
        self._belongings = belongings()

    def _far(self):
        return self.router.local(python_path=[sys.executable, WIRE, '0.005', sys.executable])

    def _middle(self):
        """A context between, that is started anew when it is lost."""
        if getattr(self, 'between', None) is None or not self._serves(self.between):
            self.between = self.router.local()
            self.between_pid = self.between.call(os.getpid)
        return self.between

    def _serves(self, context):
        try:
            return context.call(targets.echo, True)
        except ChannelError:
            return False

    def close(self):
        """End all, and see that every call was accounted for."""
        for member in self.members:
            member.end()
        self.router.broker.shutdown()
        self.router.broker.join()
        for member in self.members:
            assert member.problems == []
            assert member.sent == member.answered + member.failed

    def strike(self, name):
        """Have one of the faults happen, at a random moment; check that it cost nothing but what it hit."""
        threading.Event().wait(self.random.uniform(0, 0.03))
        victim = self.random.choice(self.members)
        self.happened[name] = self.happened.get(name, 0) + 1
        print('   ', victim.context, victim.pid, flush=True)
        getattr(self, 'fault_' + name)(victim)
        for member in self.members:
            member.wait_for_progress()
            assert member.problems == []
        try:
            support.wait_for(lambda: belongings() == self._belongings, LIMIT)
        except AssertionError:
            assert belongings() == self._belongings

    # how a loss is seen

    def _expect_loss(self, victim, do, reason='', named='', by_itself=False):
        """See that calls under way end with an error that gives a reason, and that the processes are gone.

        :param named: what the error is about, if not the victim.
        :param by_itself: the victim does it, so what it is called for afterwards never begins.
        """
        victim.hit()
        self.healed.clear()
        pids = {victim.pid} | support.descendants(victim.pid)
        if by_itself:
            do()
        calls = [victim.context.call_async(targets.wait_for_ever) for _ in range(3)]
        if not by_itself:
            do()
        for call in calls:
            try:
                call.get(LIMIT).unpickle()
            except ChannelError as exc:
                assert (named or victim.context.name) in str(exc) and reason in str(exc), str(exc)
            else:
                raise AssertionError('an answer that never should be')
        support.wait_until_gone(pids, LIMIT)
        victim.heal()
        self.healed.set()

    def _expect_answers(self, victim, do):
        """See that all calls that are under way are answered after all."""
        calls = [victim.context.call_async(targets.echo, number) for number in range(20)]
        do()
        assert [call.get(LIMIT).unpickle() for call in calls] == list(range(20))

    # ---- faults

    def fault_kill(self, victim):
        # With something in between, that is what is told to be gone.
        self._expect_loss(victim, lambda: os.kill(victim.pid, signal.SIGKILL), 'gone')

    def fault_terminate(self, victim):
        self._expect_loss(victim, lambda: os.kill(victim.pid, signal.SIGTERM), 'gone')

    def fault_kill_what_is_between(self, victim):
        victim = self.members[-1]
        self._expect_loss(victim, lambda: os.kill(self.between_pid, signal.SIGKILL), 'SIGKILL', named=self.between.name)

    def fault_stop_for_a_while(self, victim):
        def stop():
            os.kill(victim.pid, signal.SIGSTOP)
            try:
                for member in self.members:
                    if member is not victim:
                        member.wait_for_progress()
            finally:
                os.kill(victim.pid, signal.SIGCONT)
        self._expect_answers(victim, stop)

    def fault_stop_for_ever(self, victim):
        victim = self.random.choice(self.members[:3])       # direct children: it is we who must do without

        def stop():
            os.kill(victim.pid, signal.SIGSTOP)
            self.router.disconnect(victim.context)
        self._expect_loss(victim, stop)

    def fault_closed_link(self, victim):
        self._expect_loss(victim, lambda: victim.context.call_no_reply(targets_faults.lose_link), by_itself=True)

    def fault_full_pipe(self, victim):
        data = mitogen.core.Blob(bytes(1 << 20))
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            calls = [victim.context.call_async(len, data) for _ in range(8)]
            for member in self.members:
                if member is not victim:
                    member.wait_for_progress()
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        assert [call.get(LIMIT).unpickle() for call in calls] == [len(data)] * 8

    def fault_no_descriptors_here(self, victim):
        if not 0 < resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= MOST_DESCRIPTORS:
            return
        with targets_faults.Filled(self.random.randrange(8)):
            self._expect_no_child(self.random.choice([self.router.local, self.router.fork]), 'Too many open files')

    def fault_no_descriptors_there(self, victim):
        context = self.router.local()
        context.call(targets_faults.grow)
        self._assert_in('Too many open files', context.call(targets_faults.start_child_without_descriptors))
        self._assert_in('Too many open files', context.call(targets_faults.start_child_without_descriptors))
        assert not context.call(targets.children)
        context.shutdown(wait=True)

    def fault_no_memory_there(self, victim):
        try:
            victim.context.call(targets_faults.take_memory, 256 << 20)
        except CallError as exc:
            assert exc.type_name == 'MemoryError'
        else:
            raise AssertionError('memory that should not be there')

    def fault_no_memory_for_a_message(self, victim):
        victim = self.members[0]

        def send():
            victim.context.call(targets_faults.limit_memory, 4 << 20)
            victim.context.call_no_reply(len, mitogen.core.Blob(bytes(64 << 20)))
        self._expect_loss(victim, send, by_itself=True)

    def fault_no_processes_there(self, victim):
        if os.geteuid() or not shutil.which('setpriv'):
            return
        context = self.router.local(python_path=[
            'setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY, '--clear-groups', '/usr/bin/python3'])
        try:
            context.call(targets_faults.grow)
            self._assert_in('Resource temporarily unavailable', context.call(
                targets_faults.start_child_without_processes))
            assert context.call(targets.echo, 5) == 5
        finally:
            context.shutdown(wait=True)

    def fault_death_while_it_starts(self, victim):
        before = support.descendants(os.getpid())
        method = self.random.choice(['local', 'fork'])
        starting = self.router.connect_async(method)
        threading.Event().wait(self.random.uniform(0, 0.1))
        new = support.descendants(os.getpid()) - before
        for pid in new:
            os.kill(pid, signal.SIGKILL)
        try:
            context = starting.get(LIMIT).unpickle()
        except Error as exc:
            assert 'SIGKILL' in str(exc) or 'closed' in str(exc), str(exc)
        else:
            self._end(context)

    def fault_death_of_one_in_between_while_it_starts(self, victim):
        between = self.router.local()
        pid = between.call(os.getpid)
        starting = self.router.connect_async('local', via=between)
        threading.Event().wait(self.random.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        try:
            context = starting.get(LIMIT).unpickle()
        except Error as exc:
            assert between.name in str(exc), str(exc)
        else:
            self._end(context)

    def fault_fork_by_the_program(self, victim):
        pid = os.fork()
        if not pid:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        subprocess.run(['true'], check=True)

    def fault_forks_that_end_at_once(self, victim):
        for _ in range(3):
            context = self.router.fork()
            os.kill(context.call(os.getpid), signal.SIGKILL)

    def fault_frozen_network(self, victim):
        wire = support.process_status(self._far_one.pid)[0]

        def freeze():
            os.kill(wire, signal.SIGSTOP)
            try:
                self.members[0].wait_for_progress()
            finally:
                os.kill(wire, signal.SIGCONT)
        self._expect_answers(self._far_one, freeze)

    def fault_lost_network(self, victim):
        wire = support.process_status(self._far_one.pid)[0]
        self._expect_loss(self._far_one, lambda: os.kill(wire, signal.SIGKILL), 'SIGKILL')

    def fault_whole_machine_asleep(self, victim):
        """All contexts but us: for them the monotonic clock has jumped when they are back."""
        pids = support.descendants(os.getpid())

        def sleep():
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            threading.Event().wait(0.1)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        self._expect_answers(victim, sleep)

    # what they have in common

    def _expect_no_child(self, start, why):
        try:
            self._end(start())
        except (Error, OSError) as exc:
            self._assert_in(why, str(exc))

    def _end(self, context):
        try:
            context.call(targets.echo, 1)
        except ChannelError as exc:
            assert context.name in str(exc), str(exc)
        self.router.disconnect(context)

    @staticmethod
    def _assert_in(part, text):
        assert part in text, text


#: Names of all of them.
FAULTS = sorted(name[len('fault_'):] for name in vars(Field) if name.startswith('fault_'))
