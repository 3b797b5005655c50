"""
The link to a child, from the start of its program to the end of its process.

Ring 1, broker thread. This is the thin loop around `mitogen.boot.dialogue`: it reads, passes on, and does what it is
told. What is left to decide here is only how long to wait for an exit status.
"""

import os
import time
from _frozen_importlib_external import MAGIC_NUMBER
from _signal import SIGKILL, SIGTERM  # type: ignore  # signal.py makes enums of these

import mitogen.boot.dialogue
import mitogen.boot.process
import mitogen.core
import mitogen.pressure
from mitogen.boot.dialogue import Dialogue, Fail, Ready, describe_status, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Set

    from mitogen.boot.process import Child

#: Seconds between the end of the connection and the exit status that tells why. Whoever waits for the child is told
#: after this long at the latest.
STATUS_WAIT = 0.5

#: Seconds after which a program that has lost its connection, or should never have had one, gets each signal.
SIGNALS = (1.0, SIGTERM), (3.0, SIGKILL)

#: Seconds between two looks at a detached child, which may live for days.
REAP_INTERVAL = 1.0

#: Why a start fails that the end of the broker overtakes.
SHUTTING_DOWN = 'this context is shutting down'

#: Bytes in one read that tell of many to come: Linux lets a pipe hold so many, unless it is told.
MUCH = 64 << 10

#: Bytes of a program's standard error that are kept to explain its end.
KEPT_WORDS = 2000


class _Channel(mitogen.core.BasicStream):
    """Standard error, or the terminal, of the program."""

    def __init__(self, owner: 'ChildStream', name: str, fd: int) -> None:
        self._owner, self._name = owner, name
        self.receive_side = mitogen.core.Side(fd)

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        data = self.receive_side.read()         # type: ignore[union-attr]
        if data:
            self._owner.overhear(self._name, data)
        else:
            self.on_disconnect(broker)

    def write(self, data: bytes) -> None:
        """Type a short answer; a terminal takes it at once."""
        mitogen.core.io_op(os.write, self.receive_side.fd, data)    # type: ignore[union-attr]


class ChildStream(mitogen.pressure.BoundedStream):
    """A stream that begins with a dialogue and ends with an exit status.

    :param child: the program's process and channels.
    :param dialogue: who decides until the child is ready.
    :param done: called once, with the context when it is ready, or with the error.
    :ivar takes_compiled: modules go there as code, as its Python is of our version: twice the bytes, but a tenth of the
        child's time, so that it pays above some 10 Mbit/s.
    """

    takes_compiled = False

    def __init__(self, router: 'Any', context: 'Any', child: 'Child', dialogue: Dialogue,
                 done: 'Callable[[Any], None]') -> None:
        mitogen.pressure.BoundedStream.__init__(self, router, context.context_id, context.name, child.stdout,
                                                child.stdin)
        self.context, self.process = context, child.process
        self._dialogue: 'Optional[Dialogue]' = dialogue
        self._endings = dialogue.endings
        self._done = done
        self._words = b''
        self.modules_sent: 'Set[str]' = set()       # see mitogen.modules.relay
        self.sources_sent: 'Set[str]' = set()
        self.needs_code = child.stderr is not None  # a fork has all that is here
        self._slave = None if child.slave is None else mitogen.core.Side(child.slave)
        self._wide: 'List[Any]' = []                # sides whose pipes were made to hold more
        self._channels: 'Dict[str, _Channel]' = {}
        for name, fd in ('stderr', child.stderr), ('tty', child.tty):
            if fd is not None:
                self._channels[name] = _Channel(self, name, fd)

    def begin(self) -> None:
        """Start to listen and talk."""
        broker = self.router.broker
        if broker.stopping:
            self.abandon()
            return
        broker.assert_on_thread()
        broker.busy.add(self)
        for stream in [self] + list(self._channels.values()):
            broker.start_receive(stream)
        self._timer = broker.timers.schedule(self._dialogue.deadline(), self._tick)     # type: ignore[union-attr]
        self._perform(self._dialogue.start())                   # type: ignore[union-attr]

    def abandon(self) -> None:
        """The end of the broker came before the beginning of this. Broker thread, or any once that has ended."""
        mitogen.core.BasicStream.on_disconnect(self, self.router.broker)
        self._kill_and_wait()
        self._close()
        for action in self._dialogue.cancel(SHUTTING_DOWN):     # type: ignore[union-attr]
            self._done(action.error)          # type: ignore[union-attr]

    def on_blocked(self) -> None:
        self._widen(self.transmit_side)

    def _widen(self, side: 'Any') -> None:
        """A pipe turns out to carry much. Not all do: of wide ones an account has but so many."""
        if side not in self._wide and side.fd is not None:
            self._wide.append(side)
            mitogen.boot.process.widen(side.fd)

    # the dialogue's eyes, ears and hands

    def on_receive(self, broker: mitogen.core.Broker) -> None:
        data = self.receive_side.read()         # type: ignore[union-attr]
        if not data:
            self.on_disconnect(broker)
        elif self._dialogue is not None:
            self._perform(self._dialogue.receive('stdout', data, time.monotonic()))
        else:
            self.got = len(data)
            self.receive(data)
            if self.got >= MUCH:
                self._widen(self.receive_side)

    def overhear(self, channel: str, data: bytes) -> None:
        """The program has said something beside the protocol."""
        if self._dialogue is not None:
            self._perform(self._dialogue.receive(channel, data, time.monotonic()))
        elif channel == 'stderr':
            self._words = (self._words + data)[-KEPT_WORDS:]

    def _tick(self) -> None:
        if self._dialogue is not None:
            self._perform(self._dialogue.tick(time.monotonic()))

    def _perform(self, actions: 'Iterable[Any]') -> None:
        for action in actions:
            if isinstance(action, Ready):
                self.takes_compiled = action.magic == MAGIC_NUMBER.hex()
                self._on_ready(action.rest)
            elif isinstance(action, Fail):
                self._finish(action.error)
                self.process.kill()
                self.on_disconnect(self.router.broker)
            elif action.channel == 'tty':
                self._channels['tty'].write(action.data)
            else:
                self._unsent.append(action.data)
                self.router.broker.outgoing.append(self)

    def _on_ready(self, rest: bytes) -> None:
        self.router.register(self.context, self)
        self._finish(self.context)
        if rest:
            self.receive(rest)

    def _finish(self, outcome: 'Any') -> None:
        self._dialogue = None
        self._timer.cancel()
        self._done(outcome)

    # the end

    _released = False

    def let_go(self) -> None:
        """The child lives on without us: from now on, do not wait for it, and do not kill it."""
        self.router.broker.assert_on_thread()
        self._released = True
        self.reason = '%s has detached itself' % self.name
        self.process.release()
        self.router.broker.busy.discard(self)

    def _reap_released(self) -> None:
        """Look now and then whether it has ended before us, for its entry in the process table."""
        if self.process.poll() is None:
            self.router.broker.timers.schedule(time.monotonic() + REAP_INTERVAL, self._reap_released)

    def on_shutdown(self, reason: str = SHUTTING_DOWN) -> None:
        """Ask the child to end; if it is only starting, that fails for `reason`."""
        if self._dialogue is None:
            self.send(mitogen.core.Message(self.remote_id, self.router.context_id, self.router.context_id,
                                           mitogen.core.SHUTDOWN))
        else:
            self._perform(self._dialogue.cancel(reason))

    def on_disconnect(self, broker: mitogen.core.Broker) -> None:
        if self.is_open():
            mitogen.core.BasicStream.on_disconnect(self, broker)
            if self._released:
                self.announce()
                self._close()
                self._reap_released()
                return
            self._ended, self._announced, self._signalled = time.monotonic(), False, 0
            if broker.stopping and not broker._linger():
                self._kill_and_wait()       # its time is up, no timer will come
                self._announce_once(self.process.poll())
                self._close()
            else:
                self._watch_exit(0.001)

    def _kill_and_wait(self) -> None:
        """Without a broker that could wait: not for long. What is killed ends soon, unless the machine is very busy."""
        give_up = time.monotonic() + (5 if self.process.kill() else 0.5)
        while self.process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.005)

    def _watch_exit(self, pause: float) -> None:
        """Wait for the process to end, announce it in time, hurry it along."""
        elapsed = time.monotonic() - self._ended
        status = self.process.poll()
        if status is not None or elapsed > STATUS_WAIT:
            self._announce_once(status)
        if status is not None:
            self._close()
            return
        if self._signalled < len(SIGNALS) and elapsed > SIGNALS[self._signalled][0]:
            self.process.kill(SIGNALS[self._signalled][1])
            self._signalled += 1
        self.router.broker.timers.schedule(time.monotonic() + pause, lambda: self._watch_exit(min(pause * 2, 0.1)))

    def _announce_once(self, status: 'Optional[int]') -> None:
        if not self._announced:
            self._announced = True
            # What it said last may still be in the pipe.
            for channel in list(self._channels.values()):
                if channel.is_open():
                    self.router.broker._guard(channel, channel.on_receive)
            if self._dialogue is not None:
                self._perform(self._dialogue.exited(status, time.monotonic()))
                return
            words = visible(self._words) or self._endings.get(status, '')       # type: ignore[arg-type]
            self.reason = self.reason or '%s is gone: %s%s' % (
                self.name, 'connection closed' if status is None else describe_status(status), words and '\n' + words)
            self.announce()

    def _close(self) -> None:
        for stream in self._channels.values():
            stream.on_disconnect(self.router.broker)
        if self._slave is not None:
            self._slave.close()
        self.router.broker.busy.discard(self)
