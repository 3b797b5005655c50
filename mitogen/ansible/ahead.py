"""
Steps of a task of which the result is told before it is known. Ring 2, on the threads that serve workers.

To copy a file takes Ansible half a dozen commands, most of which say nothing but that they have worked. A worker is
told so at once, and what it asks for next goes behind them, in one chain of calls: when one has failed, nothing behind
it runs. The steps are then done again, one by one, in the ordinary way, and so is what was behind them: a guess that is
wrong costs time, never correctness.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import mitogen.core
from mitogen.call import CallChain

#: Seconds that the end of a connection waits for steps on their way. They take a round trip.
TIMEOUT = 5.0


class Pending:
    """How many steps are under way to which context. Any thread."""

    def __init__(self) -> None:
        self._counts: 'dict[int, int]' = {}
        self._changed = threading.Condition()

    def change(self, context: Any, by: int) -> None:
        with self._changed:
            self._counts[context.context_id] = self._counts.get(context.context_id, 0) + by
            self._changed.notify_all()

    def wait(self, context: Any = None) -> None:
        """Return when there are none any more, at the latest after TIMEOUT.

        :param context: only those to contexts count through which one gets there.
        """
        def none() -> bool:
            return not any(self._counts.get(number) for number in above)
        above: 'list[int]' = []
        hop = context and context.via
        while hop is not None:
            above.append(hop.context_id)
            hop = hop.via
        with self._changed:
            above = above if context else list(self._counts)
            self._changed.wait_for(none, TIMEOUT)


class Step(NamedTuple):
    """One that is under way.

    :ivar receiver: of its result; again: does it in the ordinary way, and raises what a worker is to be told instead.
    """

    receiver: Any
    again: 'Callable[[], None]'


class Ahead:
    """The steps of one worker, all to the same context. Not for two threads at once.

    :param pending: where they are counted.
    """

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._steps: 'list[Step]' = []
        self._chain: Any = None

    def chain(self, context: Any) -> CallChain:
        """Return a chain for calls to a context, behind all steps.

        Those to another context are waited for; what other workers have left to do on the way there, too.
        """
        if self._chain is not None and self._chain.context == context:
            return self._chain      # type: ignore[no-any-return]
        self.settle()
        self._pending.wait(context)
        return CallChain(context, pipelined=True)

    def add(self, context: Any, again: 'Callable[[], None]', function: Any, *args: Any) -> None:
        """Do a step.

        :param again: see Step.
        :param function: what does it in the context; it raises where that cannot be done so.
        """
        self._chain = self.chain(context)
        receiver = self._chain.call_async(function, *args)
        self._steps.append(Step(receiver, again))
        self._pending.change(context, 1)

    def settle(self) -> bool:
        """Wait for all steps; do again what has failed, with what was behind it.

        :returns: whether all have worked at once.
        :raises Exception: one has failed again.
        """
        steps, chain, self._steps, self._chain = self._steps, self._chain, [], None
        fine = True
        try:
            for step in steps:
                try:
                    if fine:
                        step.receiver.get().unpickle()
                except mitogen.core.CallError as exc:
                    mitogen.core.log(mitogen.core.INFO, 'steps are done again: %s', exc)
                    fine = False
                    chain.reset()
                if not fine:
                    step.again()
        finally:
            for step in steps:
                step.receiver.close()
                self._pending.change(chain.context, -1)
        return fine

    def behind(self, attempt: 'Callable[[], Any]') -> Any:
        """Return the result of something that goes behind the steps, by way of chain(); try again if one has failed."""
        try:
            result = attempt()
        except mitogen.core.CallError:
            if self.settle():
                raise
            return attempt()
        self.settle()
        return result
