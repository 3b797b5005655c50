"""
One call in many contexts, at the price of a few: a request and an answer for each branch of the tree, not each leaf.

Ring 1. A context that has several of the targets behind one child sends that child one message with their ids; the
child calls them, itself or through children of its own, and collects what they answer. So a master with 20 children
that have 50 each sends 20 messages, and gets 20. Equal answers travel once. The code that the function needs goes the
same way.

The contexts between pass calls on in their main thread, as a call of their own: one that is busy does so later. What
arrives is collected on the broker thread, still pickled, and decoded by the thread that asked.
"""

import mitogen.call
import mitogen.core
import mitogen.untrusted
from mitogen.core import CALL_FUNCTION, CallError, ChannelError, Kwargs, Latch, Later, Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple
    #: (pickled value, or the reason why there is none; whether it is a reason; whose)
    Answer = Tuple[bytes, bool, List[int]]
    Deliver = Callable[[List[Answer]], None]

#: Bytes of answers that a context between collects before it passes them on: large ones must not all be in its memory,
#: nor in one message.
MAX_BATCH = 1 << 20


def call(contexts: 'Iterable[Any]', fn: 'Any', *args: 'Any', **kwargs: 'Any') -> 'List[Any]':
    """Call a function in all `contexts`, and return what each returned, in their order.

    Where a call fails, there is a CallError or ChannelError in the place of its result; nothing of that kind is raised.
    They all run at the same time. Any thread but the broker's.

    :param contexts: Contexts of one router.
    :param fn: and its arguments: as for `CallChain.call()`.
    :raises TypeError: as that does.
    """
    contexts = list(contexts)
    results = {context.context_id: result for context, result in iterate(contexts, fn, *args, **kwargs)}
    return [results[context.context_id] for context in contexts]


def iterate(contexts: 'Iterable[Any]', fn: 'Any', *args: 'Any', **kwargs: 'Any') -> 'Iterator[Tuple[Any, Any]]':
    """As call(), but yield (context, result) as answers come, each context once."""
    known = {context.context_id: context for context in contexts}
    if not known:
        return
    router = next(iter(known.values())).router
    latch = Latch(router.broker)
    fan = Fan(Request(router, fn, args, kwargs), list(known), latch.put)
    try:
        missing = len(known)
        while missing:
            for pickled, is_dead, ids in latch.get():
                for context_id in ids:
                    missing -= 1
                    yield known[context_id], _result(pickled, is_dead, router)
    finally:
        fan.close()


def call_no_reply(contexts: 'Iterable[Any]', fn: 'Any', *args: 'Any', **kwargs: 'Any') -> None:
    """As call(), but do not wait: what fails is in the log."""
    ids = {context.context_id: context for context in contexts}
    if ids:
        request = Request(next(iter(ids.values())).router, fn, args, kwargs)
        for hop, behind in branches(request.router, ids):
            request.send(hop, behind, _send, False)


def _result(pickled: bytes, is_dead: bool, router: 'Any') -> 'Any':
    if is_dead:
        return ChannelError(pickled.decode('utf-8', 'replace'))
    try:
        return mitogen.untrusted.decode(pickled, router)
    except mitogen.core.StreamError as exc:
        return exc


# ---- who goes which way ----------------------------------------------------------------------------

def runs(ids: 'Iterable[int]') -> 'List[Tuple[int, int]]':
    """Return (first, how many) of each run in some numbers: ids of siblings mostly follow one another."""
    found: 'List[Tuple[int, int]]' = []
    for number in sorted(ids):
        if found and sum(found[-1]) == number:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((number, 1))
    return found


def numbers(runs: 'Iterable[Sequence[int]]') -> 'List[int]':
    """The opposite of runs()."""
    return [number for first, count in runs for number in range(first, first + count)]


def branches(router: 'Any', ids: 'Iterable[int]') -> 'List[Tuple[Optional[int], List[int]]]':
    """Return (next context on the way, ids behind it) for each branch; (None, [id]) where a plain call does as well."""
    found: 'List[Tuple[Optional[int], List[int]]]' = []
    behind: 'Dict[int, List[int]]' = {}
    for context_id in ids:
        stream = router.stream_by_id(context_id)
        if stream is None or stream is router.parent_stream or stream.remote_id == context_id:
            found.append((None, [context_id]))
        else:
            behind.setdefault(stream.remote_id, []).append(context_id)
    return found + [(hop if len(some) > 1 else None, some) for hop, some in behind.items()]


def _send(context: 'Any', msg: Message) -> None:
    mitogen.call.check_size(context.router, msg)
    context.send(msg)


# ---- asking ----------------------------------------------------------------------------------------

class Request:
    """A call, ready to be sent to any number of contexts.

    :param fn: a function; or (its module, the call as it travels), where a context only passes it on.
    """

    def __init__(self, router: 'Any', fn: 'Any', args: 'Any' = (), kwargs: 'Any' = None) -> None:
        self.router = router
        if isinstance(fn, tuple):
            self._fn, (self._module, self._data) = None, fn
        else:
            self._fn = fn
            self._module, path = mitogen.call.function_name(fn)
            self._data = mitogen.core.encode((None, self._module, path), (args, Kwargs(kwargs or {})))

    def send(self, hop: 'Optional[int]', ids: 'List[int]', how: 'Callable[..., Any]', wants_answers: bool) -> 'Any':
        """Send it along one of branches(); return what ``how(context, message)`` does, which sends it."""
        context = self.router.context_by_id(ids[0] if hop is None else hop)
        self.router.bring_code(context, self._module, self._fn)
        if hop is None:
            return how(context, Message(handle=CALL_FUNCTION, data=self._data))
        self.router.bring_code(context, __name__, pass_on)
        args = runs(ids), self._module, self._data, wants_answers
        return how(context, Message(handle=CALL_FUNCTION, data=mitogen.core.encode(
            (None, __name__, pass_on.__qualname__), (args, Kwargs()))))


class Fan:
    """Sends a request along all branches, and delivers the answers: each context's once, on the broker thread."""

    def __init__(self, request: Request, ids: 'List[int]', deliver: 'Deliver') -> None:
        self._deliver = deliver
        self._receivers: 'List[Receiver]' = []
        try:
            for hop, behind in branches(request.router, ids):
                receiver = request.send(hop, behind, self._send, True)
                self._receivers.append(receiver)
                self._watch(request.router, receiver, hop is not None, set(behind))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _send(context: 'Any', msg: Message) -> Receiver:
        return context.send_async(msg, persist=True)        # type: ignore[no-any-return]

    def _watch(self, router: 'Any', receiver: Receiver, collected: bool, missing: 'Set[int]') -> None:
        def arrived(receiver: Receiver) -> None:
            while missing:
                try:
                    msg = receiver.get(block=False, throw_dead=False)
                except (mitogen.core.TimeoutError, mitogen.core.LatchError):
                    return
                answers = collected_answers(msg, missing) if collected else [(msg.data, msg.is_dead, list(missing))]
                missing.difference_update(*(ids for _, _, ids in answers))
                if not missing:
                    receiver.close()
                self._deliver(answers)
        receiver.notify = arrived
        router.broker.defer(arrived, receiver)      # for what came before; there, as there it cannot meet itself

    def close(self) -> None:
        """Want no more answers. Any thread."""
        for receiver in self._receivers:
            receiver.notify = None
            receiver.close()


def collected_answers(msg: Message, missing: 'Set[int]') -> 'List[Answer]':
    """Return the answers in a message that pass_on() sent; if it says why there are none, that is everybody's."""
    everybody = sorted(missing)
    if msg.is_dead:
        return [(msg.data, True, everybody)]
    try:
        value = msg.unpickle(throw=False)
        if isinstance(value, CallError):
            return [(msg.data, False, everybody)]
        counts = [count for _, _, some in value for _, count in some]
        # One that is negative would make room for another that is larger than any memory.
        if any(type(count) is not int or count < 1 for count in counts) or sum(counts) > len(missing):
            raise ValueError('more answers than questions')
        return [(bytes(memoryview(pickled)), bool(is_dead), [number for number in numbers(some) if number in missing])
                for pickled, is_dead, some in value]
    except (mitogen.core.StreamError, TypeError, ValueError) as exc:
        return [(('the answers cannot be read: %s' % exc).encode(), True, everybody)]


# ---- between ---------------------------------------------------------------------------------------

@mitogen.core.takes_router
def pass_on(ids: 'Any', module: str, data: bytes, wants_answers: bool, router: 'Any') -> 'Any':
    """In a context between: call those below, and send back what they answer, in as few messages as possible."""
    request, below = Request(router, (module, data)), numbers(ids)
    if wants_answers:
        return Later(_Collector(request, below).start)
    for hop, behind in branches(router, below):
        request.send(hop, behind, _send, False)


class _Collector:
    """Puts answers together. Broker thread, but for the beginning."""

    def __init__(self, request: Request, ids: 'List[int]') -> None:
        self._request, self._ids, self._missing = request, ids, len(ids)
        self._answers: 'Dict[Tuple[bytes, bool], List[int]]' = {}
        self._size = 0

    def start(self, reply: 'Callable[[Any], None]') -> None:
        """Call them all; ``reply(batch)`` as often as it takes."""
        self._reply = reply
        Fan(self._request, self._ids, self._take)

    def _take(self, answers: 'List[Answer]') -> None:
        for pickled, is_dead, ids in answers:
            key = pickled, is_dead
            if key not in self._answers:
                self._size += len(pickled)
            self._answers.setdefault(key, []).extend(ids)
            self._missing -= len(ids)
        if not self._missing or self._size > MAX_BATCH:
            batch = [(pickled, is_dead, runs(ids)) for (pickled, is_dead), ids in self._answers.items()]
            self._answers, self._size = {}, 0
            self._reply(batch)
