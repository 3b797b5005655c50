#!/usr/bin/env python3
"""Try every order in which threads can do the broker's work, and look for one in which something is forgotten.

usage: driving_model.py

A model of `mitogen.core.Broker`: the steps below have the names of the methods that they stand for, and each is one
that no other thread can divide: what is done under the broker's lock, or one look at a variable. Threads that call,
that only send, and that close what another waits in, run with the broker's own thread in all orders. A state is wrong
if no thread can go on without the broker's nap running out, while something is deferred or somebody waits for what is
there.

Prints how many states there are. Exit status 1, and the steps that led there, for the first wrong one.
"""

import collections
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OWN = 'own'     # the broker's own thread

Thread = dict[str, Any]

# Programs of the other threads: what they do, one after the other.
CALL, SEND, CLOSE = 'call', 'send', 'close'
ASK = 'ask'     # a call that says beforehand that it will wait
WORK, WAITING = 'work', 'waiting'       # what the own thread is called for
CASES = [
    {'A': [CALL]},
    {'A': [CALL, CALL, CALL]},
    {'A': [CALL, SEND], 'B': [SEND]},
    {'A': [CALL, SEND, SEND, CALL]},
    {'A': [CALL, CALL], 'B': [CALL, CALL]},
    {'A': [CALL, CALL], 'B': [SEND, SEND]},
    {'A': ['wait'], 'B': [CALL, CLOSE]},
    {'A': [CALL], 'B': [CALL], 'C': [SEND]},
    {'A': [ASK, ASK, ASK]},
    {'A': [ASK, SEND], 'B': [SEND, ASK]},
    {'A': [ASK, ASK], 'B': [CALL]},
]


@dataclasses.dataclass
class State:
    """What the threads share, and where each of them is. `answers`: messages that wait in a descriptor."""

    driver: 'str | int'
    queues: dict[str, int]
    threads: dict[str, Thread]
    deferred: list[str] = dataclasses.field(default_factory=list)
    waiting: list[str] = dataclasses.field(default_factory=list)
    calls: list[str] = dataclasses.field(default_factory=list)      # WORK, WAITING or '': none waited
    answers: list[str] = dataclasses.field(default_factory=list)
    dozing: bool = False
    sent: bool = False
    coming: str = ''
    drives: int = 0
    waker: bool = False

    def copy(self) -> 'State':
        return State(self.driver, dict(self.queues), {name: dict(thread) for name, thread in self.threads.items()},
                     list(self.deferred), list(self.waiting), list(self.calls), list(self.answers), self.dozing,
                     self.sent, self.coming, self.drives, self.waker)


Steps = Iterator[tuple[str, State]]


def begin(programs: Mapping[str, Sequence[str]]) -> State:
    threads: dict[str, Thread] = {name: {'at': 'next', 'todo': list(todo)} for name, todo in programs.items()}
    threads[OWN] = {'at': 'main'}
    return State(OWN, {name: 0 for name in programs}, threads)


def steps(state: State, name: str) -> Steps:
    """The states that one step of a thread can lead to, with a name for the step; none: it has to wait or is done."""
    thread = state.threads[name]
    for label, after in globals()['at_' + thread['at']](state, name, thread):
        yield '%s: %s' % (name, label), after


def go(state: State, name: str, at: str, **changes: Any) -> State:
    """A copy in which a thread goes on somewhere else."""
    after = state.copy()
    after.threads[name].update(changes, at=at)
    return after


def settle(state: State) -> None:
    """Run what is deferred: a message is sent, and its answer comes; or nothing."""
    for what in state.deferred:
        if what:
            state.answers.append(what)
    state.deferred = []


# ---- threads of the program


def at_next(state: State, name: str, thread: Thread) -> Steps:
    if not thread['todo']:
        return
    first, rest = thread['todo'][0], thread['todo'][1:]
    if first == 'wait':
        yield 'wait', go(state, name, 'look', todo=rest)
    elif first == CLOSE:
        after = go(state, name, 'defer', todo=rest, what='', then='next')
        after.queues['A'] += 1
        yield 'close', after
    else:
        then = {CALL: 'look', ASK: 'wait_for', SEND: 'next'}[first]
        after = go(state, name, 'defer', todo=rest, what='' if first == SEND else name, then=then)
        if first == ASK:
            after.coming = name
        yield first, after


def at_defer(state: State, name: str, thread: Thread) -> Steps:
    after = go(state, name, 'defer_idle')
    if not after.deferred:
        if after.driver:
            after.waker = True
        elif after.coming == name:
            pass
        elif after.sent:
            after.calls.append(WORK)
        else:
            after.sent, after.driver = True, name
    after.deferred.append(thread['what'])
    yield 'defer', after


def at_defer_idle(state: State, name: str, thread: Thread) -> Steps:
    if state.driver == name:
        yield 'nobody was at work', go(state, name, 'leave')
    else:
        yield 'somebody else does it', go(state, name, thread['then'])


def at_leave(state: State, name: str, thread: Thread) -> Steps:
    if state.driver == name:
        after = go(state, name, 'leave_locked')
        settle(after)
        yield 'settle', after
    else:
        yield 'left', go(state, name, thread['then'])


def at_leave_locked(state: State, name: str, thread: Thread) -> Steps:
    after = go(state, name, 'leave')
    if not after.deferred:
        after.driver = 0
        if after.dozing or after.waiting:
            after.dozing = False
            after.calls.append(WAITING if after.waiting else '')
    yield 'leave', after


def at_look(state: State, name: str, thread: Thread) -> Steps:
    yield 'look', go(state, name, 'get' if state.queues[name] else 'wait_for')


def at_wait_for(state: State, name: str, thread: Thread) -> Steps:
    after = go(state, name, 'drive' if not state.driver else 'get', then='get')
    after.coming = ''
    if state.driver:
        after.waiting = sorted({*after.waiting, name})
    else:
        after.driver, after.drives, after.sent = name, after.drives + 1, False
        settle(after)
    yield 'wait_for', after


def at_drive(state: State, name: str, thread: Thread) -> Steps:
    if state.queues[name]:
        yield 'it has come', go(state, name, 'leave', then='get')
    else:
        yield from turn(state, name, 'drive')


def turn(state: State, name: str, then: str) -> Steps:
    """_turn: blocks until a descriptor is ready."""
    if state.waker or state.answers:
        after = go(state, name, then)
        after.waker = False
        for receiver in after.answers:
            after.queues[receiver] += 1
        after.answers = []
        settle(after)
        yield 'turn', after


def at_get(state: State, name: str, thread: Thread) -> Steps:
    if state.queues[name]:
        after = go(state, name, 'next')
        after.queues[name] -= 1
        after.waiting = [other for other in after.waiting if other != name]
        yield 'get', after


# ---- the broker's own thread


def at_main(state: State, name: str, thread: Thread) -> Steps:
    after = go(state, name, 'main_turn')
    settle(after)
    yield 'settle', after


def at_main_turn(state: State, name: str, thread: Thread) -> Steps:
    yield from turn(state, name, 'rest')


def at_rest(state: State, name: str, thread: Thread) -> Steps:
    if len(state.waiting) != 1 or not state.queues[state.waiting[0]] or state.deferred:
        yield 'no rest', go(state, name, 'main')
    else:
        after = go(state, name, 'rest_look')
        after.driver = 0
        yield 'rest', after


def at_rest_look(state: State, name: str, thread: Thread) -> Steps:
    yield 'drives', go(state, name, 'rest_wait', seen=state.drives)


def at_rest_wait(state: State, name: str, thread: Thread) -> Steps:
    if state.calls:
        after = go(state, name, 'rest_locked', needed=state.calls[0])
        del after.calls[0]
        yield 'called', after


def at_rest_locked(state: State, name: str, thread: Thread) -> Steps:
    # What _leave has put is the table of those who wait, so it counts as it is now.
    needed = thread['needed'] == WORK or thread['needed'] == WAITING and bool(state.waiting)
    after = go(state, name, 'main' if needed and not state.driver else 'rest_look')
    if needed and not state.driver:
        after.driver = name
    else:
        after.dozing = thread['seen'] == state.drives and bool(state.driver)
    yield 'back to work' if after.driver == name else 'rest on', after


def nap(state: State) -> Steps:
    """The own thread's nap has run out."""
    thread = state.threads[OWN]
    if thread['at'] == 'rest_wait' and not state.dozing:
        after = go(state, OWN, 'rest_locked')
        idle = thread['seen'] == state.drives
        if idle and not state.driver:
            after.driver, after.threads[OWN]['at'] = OWN, 'main'
        else:
            after.dozing = idle and bool(state.driver)
            after.threads[OWN]['at'] = 'rest_look'
        yield 'own: nap is over', after


def what_is_wrong(state: State) -> str:
    """Of a state in which no thread can go on before the nap is over."""
    if state.deferred:
        return 'something is deferred, and nobody looks'
    for name, thread in state.threads.items():
        if thread['at'] == 'drive' and state.queues[name]:
            return '%s drives, and does not see that its answer is there' % name
        if name != OWN and thread['at'] == 'get' and state.answers and not state.driver:
            return '%s waits, its answer is there, and nobody reads it' % name
    return ''


def explore(programs: Mapping[str, Sequence[str]]) -> tuple[int, str, tuple[str, ...]]:
    """Return (number of states, what is wrong, the steps that lead there)."""
    first = begin(programs)
    seen = {repr(first)}
    todo: collections.deque[tuple[State, tuple[str, ...]]] = collections.deque([(first, ())])
    while todo:
        state, path = todo.popleft()
        following = [found for name in state.threads for found in steps(state, name)]
        if not following:
            wrong = what_is_wrong(state)
            if wrong:
                return len(seen), wrong, path
        for label, after in following + list(nap(state)):
            if repr(after) not in seen:
                seen.add(repr(after))
                todo.append((after, path + (label,)))
    return len(seen), '', ()


def main() -> int:
    for programs in CASES:
        count, wrong, path = explore(programs)
        print('%-60s %7d states%s' % (programs, count, '  WRONG: ' + wrong if wrong else ''))
        if wrong:
            print('\n'.join(path))
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
