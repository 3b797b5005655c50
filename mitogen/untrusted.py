"""
Values that come from below: looked at before they are built.

Ring 1. `mitogen.core` lets only plain values in, whatever arrives. That leaves what they cost whoever builds them: the
interpreter overflows its stack on the hash of a tuple in a tuple a million times, needs years for that of a tuple of
twice the same tuple 60 times over, and gigabytes for a place far away in pickle's memo. Only instructions that this
library writes itself pass here, and none that cost more than what they were sent with. Pure; any thread; the time is
linear in the number of instructions; text and bytes cost next to nothing, however long.
"""

import functools
import io
import re

import mitogen.core
from mitogen.core import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Pattern, Tuple

#: Bytes. In anything as short, a key has at most 3 ** 12 parts, as often as three bytes fit: milliseconds. Only an
#: instruction that writes to the memo, `p` or `r`, can do more.
HARMLESS = 40

#: Tuples in each other, in a key. The pickler of whoever sends them gets no deeper.
MAX_DEPTH = 1000

#: Parts of keys that are hashed for one message, some 20 ns each; besides four for each of its bytes.
MAX_HASHED = 1 << 24

#: Characters, bytes and items that are copied into values such as Blob, Decimal and Kwargs, besides two for each byte
#: of the message. The same large text for many of them would fill the memory.
MAX_COPIED = 1 << 20

#: No value costs more than a budget of any size. Numbers that double with every instruction would cost us dearly.
MOST = 1 << 60

#: Bytes that are rehearsed; it takes four times as much memory. A Survey builds nothing.
MOST_REHEARSED = 16 << 20

#: Instructions that the pattern goes over at a time; it needs memory for each until it stops.
AT_ONCE = 1000

#: Text and bytes below this length are skipped by the pattern itself; each length is one more alternative to try, which
#: takes a hundredth of the time of another round, and to compile. In what has more bytes than LARGE, up to 255.
SHORT, LARGE = 32, 1 << 16

PROTOCOL, FRAME = b'\x80\x04', b'\x95'
PUT, LONG_PUT, STOP, PERSISTENT = ord('p'), ord('r'), ord('.'), ord('Q')
MEMOIZE, GET, LONG_GET, MARK, TUPLE, REDUCE = 0x94, ord('h'), ord('j'), ord('('), ord('t'), ord('R')
SHORT_TEXT = 0x8c

#: Instructions that bring bytes along -> bytes of their length: str, bytes.
TEXTS = {SHORT_TEXT: 1, ord('X'): 4, 0x8d: 8, ord('C'): 1, ord('B'): 4, 0x8e: 8}
#: The same for int.
NUMBERS = {0x8a: 1, 0x8b: 4}
SIZED = {**TEXTS, **NUMBERS}
#: Instructions that make None, bool, int, float -> bytes of their argument.
SCALARS = {ord('N'): 0, 0x88: 0, 0x89: 0, ord('K'): 1, ord('M'): 2, ord('J'): 4, ord('G'): 8}
#: Instructions that make tuples -> of how many parts; that of all parts behind the mark, too.
TUPLES = {TUPLE: 0, ord(')'): 0, 0x85: 1, 0x86: 2, 0x87: 3}
#: What patterns stop at: tuples, and the end.
ENDS = {STOP, *TUPLES}
NEW_CONTAINERS = {ord(']'), ord('}'), 0x8f}


class Message(mitogen.core.Message):
    """A message from a context without authority over this one, that could do harm: longer than HARMLESS, or with PUT
    or LONG_PUT somewhere. Routers change the class of such ones on arrival."""

    __slots__ = ()

    def unpickle(self, throw: bool = True, throw_dead: bool = True) -> 'Any':
        if not self.is_dead:
            inspect(self.data)
            self.data = framed(self.data)
        return mitogen.core.Message.unpickle(self, throw, throw_dead)


def decode(data: bytes, router: 'Any' = None) -> 'Any':
    """As mitogen.core.decode(), of a value that came in such a message."""
    inspect(data)
    return mitogen.core.decode(framed(data), router)


def framed(data: bytes) -> bytes:
    """Return a value in one frame, or in none. Where one ends within an instruction, CPython forgets the rest of it,
    and takes for instructions what nobody has looked at. Who has all of the outer frame looks at no inner one."""
    start = len(PROTOCOL)
    first, rest = data[start:start + 1], len(data) - start - 9
    if FRAME not in data or first == FRAME and int.from_bytes(data[start + 1:start + 9], 'little') == rest:
        return data
    return PROTOCOL + FRAME + (len(data) - start).to_bytes(8, 'little') + data[start:]


def inspect(data: bytes) -> None:
    """Raise StreamError when `data` is a value that could cost whoever builds it dearly, or that nobody wrote."""
    try:
        # Most values hold no tuples, or nothing that is hashed, or no tuples that are hashed.
        if not _consists_of(b'aesu\x90', data) and not _consists_of(b'aet\x85\x86\x87', data) and not _rehearse(data):
            Survey(data).run()
    except (IndexError, TypeError, ValueError) as exc:      # what the instructions want is not there
        raise StreamError('cannot read %d bytes: %s: %s', len(data), type(exc).__name__, exc) from None


@functools.lru_cache(None)      # not at import: it takes milliseconds, and many programs get short answers only
def _pattern(more: bytes, large: bool) -> 'Pattern[bytes]':
    """A pattern of instructions that hash no tuple, if among `more` are only those that make some, or only others."""
    simple = b'[' + re.escape(b'N\x88\x89)]}\x8f(\x94' + more) + b']*'
    text, number = [b'(?:' + b'|'.join(re.escape(bytes([size])) + b'.{%d}' % size for size in range(below)) + b')'
                    for below in (256 if large else SHORT, SHORT)]
    return re.compile(b'(?:' + simple + b'(?:h.|)(?:K.|M..|[\x8c\x43]' + text + b'|[Jj]....|[G\x95].{8}|h.|\x8a'
                      + number + b')){0,%d}' % AT_ONCE + simple, re.DOTALL)


def _unusual(more: bytes, data: bytes) -> 'Iterator[int]':
    """Yield the place of each instruction of one byte that is not of _pattern(), STOP among them. Longer text and bytes
    are not unusual."""
    if not data.startswith(PROTOCOL):
        raise TypeError('another protocol')
    match, position = _pattern(more, len(data) > LARGE).match, len(PROTOCOL)
    while True:
        end = match(data, position).end()       # type: ignore[union-attr]     # it matches nothing at all, too
        width = TEXTS.get(data[end])
        if width:
            position = min(end + 1 + width + int.from_bytes(data[end + 1:end + 1 + width], 'little'), len(data))
        elif end > position and data[end] not in ENDS:
            position = end      # there are more of the same
        else:
            yield end
            position = end + 1


def _consists_of(more: bytes, data: bytes) -> bool:
    """Whether a value has only instructions of _pattern(), and longer text and bytes."""
    return data[next(_unusual(more, data))] == STOP


class Rehearsal(mitogen.core.pickle.Unpickler):     # type: ignore[misc, name-defined]
    """Makes a list of each tuple that a PERSISTENT follows."""

    persistent_load = list


def _rehearse(data: bytes) -> bool:
    """Whether a value could be built with a list for each tuple. A list has no hash, so no tuple is hashed in it then.
    Takes four times as long as to build it; a Survey fifteen times."""
    if len(data) > MOST_REHEARSED:
        return False
    changed, start = bytearray(PROTOCOL), len(PROTOCOL)
    for place in _unusual(b'aesu\x90', data):
        changed += data[start:place + 1]
        start = place + 1
        if data[place] == STOP:
            break
        if data[place] not in ENDS:
            return False
        changed.append(PERSISTENT)
    try:
        Rehearsal(io.BytesIO(framed(bytes(changed)))).load()
    except Exception:       # a Survey knows which are good
        return False
    return True


class Text(int):
    """Stands for a long text, or bytes: 1, as its hash is remembered. `size`: how long it is."""

    size = 0


class Container(int):
    """A list, set or dictionary; 1, as a part of something else.

    :ivar cost, depth: as of a key, if all its parts were; of a dictionary, its keys.
    """

    size = cost = depth = 0
    has_containers = False

    def add(self, parts: 'List[Any]') -> 'Tuple[int, int]':
        """Put some in; return their cost and depth."""
        cost, depth = total(parts)
        self.size += len(parts)
        self.cost = min(MOST, self.cost + cost)
        self.depth = max(self.depth, depth)
        self.has_containers |= Container in map(type, parts)
        return cost, depth


def total(parts: 'List[Any]') -> 'Tuple[int, int]':
    """Return how many parts are hashed with all of these, and how many tuples are in each other, or a bit more."""
    try:
        return min(MOST, sum(parts)), 1
    except TypeError:       # some are tuples of tuples
        pairs = [part if type(part) is tuple else (part, 1) for part in parts]
        return min(MOST, sum([cost for cost, _ in pairs])), max([depth for _, depth in pairs])


class Survey:
    """Goes through a value as an unpickler does, but builds only what tells its cost. On its stack stands an int for
    what holds no tuples: how many parts are hashed with it; for a tuple of tuples (that number, depth); a Container.

    Raises TypeError at what is not allowed, IndexError at what does not fit.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: 'List[Any]' = []
        self._marks: 'List[int]' = []
        self._hashed, self._copied = MAX_HASHED + 4 * len(data), MAX_COPIED + 2 * len(data)     # what is left

    def run(self) -> None:
        """Go through all of it."""
        data, stack, marks = self._data, self._stack, self._marks
        memo, position, args, args_end = [], len(PROTOCOL), [], 0       # type: List[Any], int, List[Any], int
        if not data.startswith(PROTOCOL):
            raise TypeError('another protocol')
        while True:
            code = data[position]
            position += 1
            if code == MEMOIZE:
                memo.append(stack[-1])
            elif code == SHORT_TEXT and data[position] <= SHORT:        # most are
                position += 1 + data[position]
                stack.append(1)
            elif code == GET:
                stack.append(memo[data[position]])
                position += 1
            elif code in SCALARS:
                position += SCALARS[code]
                stack.append(1)
            elif code in SIZED:
                width = SIZED[code]
                size = int.from_bytes(data[position:position + width], 'little')
                position += width + size
                stack.append(_sized(code, size))
            elif code in TUPLES:
                start = marks.pop() if code == TUPLE else len(stack) - TUPLES[code]
                args, args_end = stack[start:], position
                stack[start:] = [_tuple(args)]
            elif code == MARK:
                marks.append(len(stack))
            elif code in NEW_CONTAINERS:
                stack.append(Container(1))
            elif code == LONG_GET:
                stack.append(memo[int.from_bytes(data[position:position + 4], 'little')])
                position += 4
            elif code == REDUCE and data[args_end:position] in (b'R', b'\x94R'):
                self._make(args)
            elif code == FRAME[0]:
                position += 8
            elif code == STOP:
                return
            elif code in ACTIONS:
                ACTIONS[code](self)
            else:
                raise TypeError('instruction %d is not accepted' % code)

    def _pop_to_mark(self) -> 'List[Any]':
        start = self._marks.pop()
        found = self._stack[start:]
        del self._stack[start:]
        return found

    def _hash(self, cost: int, depth: int) -> None:
        self._hashed -= cost
        if self._hashed < 0 or depth > MAX_DEPTH:
            raise TypeError('keys are too large, or too deep')

    def _fill(self, parts: 'List[Any]', hashed: bool) -> None:
        container = self._stack[-1]
        if type(container) is not Container:
            raise TypeError('only lists, sets and dictionaries grow')
        cost, depth = container.add(parts)
        if hashed:
            self._hash(cost, depth)

    def _make(self, args: 'List[Any]') -> None:
        """A value of another type. Among its arguments is only what mitogen.core.VALUE_TYPES gives."""
        size = 0
        for part in args:
            if type(part) is Container:
                # Pairs are tuples: what will have become of a list in this one is not known yet.
                if part.has_containers:
                    raise TypeError('a value cannot be made of lists of lists')
                self._hash(part.cost, part.depth)
                size += part.size
            elif type(part) is tuple:
                raise TypeError('a value cannot be made of tuples of tuples')
            else:
                size += part.size if type(part) is Text else part * 16
        self._copied -= size
        if self._copied < 0:
            raise TypeError('the same text, or list, in too many values')
        del self._stack[-1]
        self._stack[-1] = 1 + size // 16        # to hash a Decimal takes as long as its text

    # rare instructions

    def _pop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _append(self) -> None:
        self._fill([self._stack.pop()], False)

    def _extend(self) -> None:
        self._fill(self._pop_to_mark(), False)

    def _set_item(self) -> None:
        self._stack.pop()
        self._fill([self._stack.pop()], True)

    def _set_items(self) -> None:
        self._fill(self._pop_to_mark()[::2], True)

    def _add_items(self) -> None:
        self._fill(self._pop_to_mark(), True)

    def _frozenset(self) -> None:
        self._hash(*total(self._pop_to_mark()))
        self._stack.append(1)       # it remembers its hash

    def _global(self) -> None:
        self._stack.pop()
        self._stack[-1] = 1


def _sized(code: int, size: int) -> int:
    """What stands for a text, bytes or a number."""
    if code in NUMBERS:
        return 1 + size // 16
    text = Text(1 if size > SHORT else 0)
    text.size = size
    return text if size > SHORT else 1


def _tuple(parts: 'List[Any]') -> 'Any':
    """What stands for a tuple."""
    cost, depth = total(parts)
    return 1 + cost if cost == len(parts) else (1 + cost, 1 + depth)


ACTIONS = {
    ord('a'): Survey._append, ord('e'): Survey._extend, ord('s'): Survey._set_item, ord('u'): Survey._set_items,
    ord('0'): Survey._pop, ord('1'): Survey._pop_to_mark, 0x90: Survey._add_items, 0x91: Survey._frozenset,
    0x93: Survey._global,
}
