"""
What every context runs: the only source that a new child is sent before it can ask for more.

Contents::

     1  names, handles and limits                  pure
     2  errors
     3  values: what may travel, and how
     4  messages: header, framing
     5  modules: what to ask the parent for
    ---- I/O below this line ----
     6  small things: seeds, log, signals, descriptors
     7  latch: a queue that threads wait on
     8  broker
     9  streams
    10  router
    11  contexts, receivers, senders
    12  importer
    13  standard output and logs on their way to the master
    14  dispatcher: runs the calls
    15  ExternalContext: a child from its first breath to its last

The pure sections own no descriptor, lock, thread or clock, and a test holds them to it. Below the line one rule stands
above all: **the broker thread owns all routing state**. The only door for other threads is `Broker.defer()`. What they
touch directly (a latch, the tables of handles and of modules) has a lock of its own or one operation that the
interpreter makes atomic, and says so.

What is here is what a *leaf* needs: a context that serves calls and has no children. The rest of the same classes is in
ring 1 (mitogen.broker, mitogen.parent, mitogen.modules.loader), and comes when it is first used: see `Seed`.

This file must run on Python 3.6, import little (each import costs every child memory and start-up time) and stay within
the size that tools/core_size.py enforces. Comments, docstrings and annotations are not sent and cost nothing.
"""

import itertools
import struct
import sys
from collections import deque
from io import BytesIO

try:
    import _pickle as pickle  # the C half alone: without pickle.py a child starts 3 ms sooner
except ImportError:
    import pickle  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple
    Function = Callable[..., Any]


# ---- 1: names, handles and limits ------------------------------------------------------------------

# Handles of the services that contexts offer each other. Numbers are part of the wire format.
GET_MODULE = 100        # child asks its parent for a module
CALL_FUNCTION = 101     # run a function in the main thread
FORWARD_LOG = 102       # a log record on its way to the master
ADD_ROUTE = 103         # from above: these ids live behind that child
DEL_ROUTE = 104         # these ids are gone, and why
ALLOCATE_ID = 105       # child asks the master for ids of its own children
SHUTDOWN = 106          # end, with your children
LOAD_MODULE = 107       # a module, or the news that there is none
FORWARD_MODULE = 108    # from above: pass these modules on to a context below you
DETACHING = 109         # child will live on without its parent
CALL_SERVICE = 110      # mitogen.service
GET_RESOURCE = 111      # a data file inside a package (importlib.resources)

IS_DEAD = 999               #: In `reply_to`: the message carries no value, only the reason why none will come
FIRST_FREE_HANDLE = 1000    # those below are the fixed ones
#: Bytes taken at once from a descriptor that is not ours: a file, a terminal, a program's output.
CHUNK_SIZE = 131072
#: Largest message that a router carries. Every hop holds it whole in memory; larger transfers come in pieces.
MAX_MESSAGE_SIZE = 128 << 20
#: Bytes of a message that have room from its header on, as to grow moves it. No child shall promise all addresses away.
ROOM = 31 << 20
#: Seconds that an import waits for the parent, which answers in milliseconds: by then the network is frozen.
MODULE_TIMEOUT = 60.0
#: Seconds that user code may go on once its parent is gone or has asked for the end. Twice that, where a hop hangs and
#: those behind it only learn when it has ended, is still within the five seconds that a lost family has.
EXIT_GRACE = 2.0
#: Longest line of standard output that is kept together on its way to the log.
MAX_LINE = 65536
#: Failed pipelined chains that a child remembers: a master that forgets to reset them must not fill it.
MAX_FAILED_CHAINS = 10000
TOO_LARGE = 'message of %d bytes is too large, the limit is %d'
#: What a closed sender leaves behind, and the only loss that ends an iteration without an error.
CLOSED = 'closed by the other end'


# ---- 2: errors -------------------------------------------------------------------------------------

class Error(Exception):
    """Base of every error that this library raises on purpose. `fmt` is text, or a format for `args`."""

    def __init__(self, fmt: 'Optional[str]' = None, *args: 'Any') -> None:
        Exception.__init__(self, fmt % args if args else fmt or '')      # type: ignore[operator]

    def __setstate__(self, state: 'Any') -> None:
        # Errors arrive in messages; a pickle's BUILD instruction must not write into them.
        raise TypeError('state refused')


class ChannelError(Error):
    """The other end is gone or refused to listen; the text says why."""


class StreamError(Error):
    """A connection could not be made, or carried something that is not a message."""


class LatchError(Error):
    """The latch was closed."""


class TimeoutError(Error):
    """Nothing arrived within the time that the caller gave."""


class CallError(Error):
    """Code in another context raised an exception, whose qualified name, such as ``myapp.TooBad``, is `type_name`,
    whose text is `message` and whose traceback, as the other interpreter printed it, is `remote_traceback`."""

    def __init__(self, type_name: str, message: str = '', remote_traceback: str = '') -> None:
        Error.__init__(self, type_name + (': ' + message if message else '')
                       + ('\n' + remote_traceback.rstrip() if remote_traceback else ''))
        self.type_name, self.message, self.remote_traceback = type_name, message, remote_traceback

    @classmethod
    def of(cls, exc: BaseException) -> 'CallError':
        """Describe `exc`, with its traceback, as a value that can be sent."""
        if isinstance(exc, CallError):
            return exc      # it crossed one context already: keep the first traceback
        import traceback
        kind = type(exc)
        try:
            message = str(exc)[:]       # plain text, also where it is of a class of the user's
        except Exception:
            message = '<unprintable>'
        name = kind.__qualname__ if kind.__module__ == 'builtins' else '%s.%s' % (kind.__module__, kind.__qualname__)
        return cls(name, message, ''.join(traceback.format_exception(kind, exc, exc.__traceback__)))


# ---- 3: values -------------------------------------------------------------------------------------

class Blob(bytes):
    """Bytes that mean data rather than text; arrive as Blob."""
    __slots__ = ()


class Secret(str):
    """Text such as a password: shown as ``[secret]`` by repr() and by the log records of this library."""
    __slots__ = ()

    def __repr__(self) -> str:
        return '[secret]'


class Kwargs(dict):     # type: ignore[type-arg]
    """Keyword arguments on their way to a function."""
    __slots__ = ()


def _constructor_args(value: 'Any') -> 'Tuple[Any, ...]':
    return value.__reduce_ex__(4)[1]        # type: ignore[no-any-return]


#: The types besides the plain built-in ones whose instances may travel -> what their constructor takes.
#: A type enters this table only when its constructor can be called with anything at all and does no more
#: than build a value or raise.
VALUE_TYPES: 'Dict[str, Callable[[Any], Tuple[Any, ...]]]' = {
    'builtins.complex': lambda v: (v.real, v.imag),
    'builtins.range': lambda v: (v.start, v.stop, v.step),
    'collections.OrderedDict': lambda v: (list(v.items()),),
    'uuid.UUID': lambda v: (v.hex,),
    'mitogen.core.Blob': lambda v: (bytes(v),),
    'mitogen.core.Secret': lambda v: (v[:],),
    'mitogen.core.Kwargs': lambda v: (dict(v),),
    'mitogen.core.CallError': lambda v: (v.type_name, v.message, v.remote_traceback),
    'mitogen.core.Context': lambda v: (v.context_id, v.name),
    'mitogen.core.Sender': lambda v: (v.context.context_id, v.dst_handle),
}
for _name in 'decimal.Decimal', 'pathlib.PurePosixPath', 'pathlib.PureWindowsPath', 'pathlib.PosixPath':
    VALUE_TYPES[_name] = lambda v: (str(v),)
for _name in 'date', 'datetime', 'time', 'timedelta', 'timezone':
    VALUE_TYPES['datetime.' + _name] = _constructor_args


def _tag(kind: type) -> str:
    """Name of a type on the wire. Python 3.13 moved pathlib's types to pathlib._local; 3.6 must know them."""
    return getattr(kind, 'travels_as', None) or kind.__module__.partition('._')[0] + '.' + kind.__qualname__


def _value(tag: str, *args: 'Any') -> 'Any':
    """The one global name in our pickles. It is never called: the unpickler puts a `_Maker` in its place."""
    raise NotImplementedError


def _refuse_value(value: 'Any') -> 'Tuple[Any, ...]':
    value = type(value)
    raise TypeError('%s.%s cannot be sent: use its list(), vars() or .value, or mitogen.utils.cast()'
                    % (value.__module__, value.__qualname__))


class _Pickler(pickle.Pickler):
    """Pickles plain values natively, those of VALUE_TYPES as a tag and arguments, and refuses the rest."""

    def reducer_override(self, value: 'Any') -> 'Any':
        # Python 3.8 asks here about everything that is not a plain value, functions and classes too.
        if value is _value or value is bytearray:
            return NotImplemented
        if hasattr(type(value), 'n_fields'):    # what os.stat() and its like return: the plain tuple in it
            return _value, (value[:],)
        tag = _tag(type(value))
        return _value, (tag,) + VALUE_TYPES.get(tag, _refuse_value)(value)

    if sys.version_info < (3, 8):
        def persistent_id(self, value: 'Any') -> None:
            # Older Pythons would write functions and classes by name, to be refused only on arrival.
            if isinstance(value, (type, type(_value))) and value is not _value:
                _refuse_value(value)

        class _Reducers(dict):      # type: ignore[type-arg]
            def __missing__(self, kind: type) -> 'Any':
                return lambda value: _Pickler.reducer_override(None, value)     # type: ignore[arg-type]
        dispatch_table = _Reducers({bytearray: lambda value: (_value, (bytes(value),))})


class _Maker:
    """Builds the values of VALUE_TYPES on arrival, in the unpickler's hands while untrusted instructions run. Each time
    a new one, without anything that is shared: BUILD on a function or a class would let a child rewrite us."""
    __slots__ = ('router',)

    def __init__(self, router: 'Any') -> None:
        self.router = router

    def __call__(self, tag: 'Any' = b'', *args: 'Any') -> 'Any':
        if type(tag) is bytes:      # C's pickler writes a bytearray as a call of its type, and asks nobody
            return bytearray(tag)
        if type(tag) is tuple:
            return tag
        if tag not in VALUE_TYPES:
            raise TypeError('not accepted')
        # Blob(1 << 40) would be a terabyte, Secret(x) the text of any x, int(x) a number of any size.
        empty: 'Any' = {'mitogen.core.Blob': b'', 'mitogen.core.Secret': ''}.get(tag)
        if empty is not None:
            args = (empty.join(args),)
        if tag == 'mitogen.core.Context':
            return self.router.context_by_id(args[0] | 0, name=args[1])
        if tag == 'mitogen.core.Sender':
            return Sender(self.router.context_by_id(args[0] | 0), args[1] | 0)
        module, _, name = tag.rpartition('.')
        return getattr(sys.modules.get(module) or __import__(module), name)(*args)


class _Unpickler(pickle.Unpickler):
    router = None   # type: Any

    def find_class(self, module: str, name: str) -> 'Any':
        if (module, name) not in (('mitogen.core', '_value'), ('builtins', 'bytearray')):
            raise TypeError('%s.%s is not accepted' % (module, name))
        return _Maker(self.router)


def encode(*values: 'Any') -> bytes:
    """Pickle each value, one behind the other, so that a bad later one leaves the earlier ones readable. TypeError:
    one may not travel; the text names its type and the way out."""
    out = BytesIO()
    pickler = _Pickler(out, 4)
    try:
        for value in values:
            pickler.dump(value)
    except RecursionError:
        raise TypeError('nested too deeply to be sent') from None
    return out.getvalue()


def decoder(data: bytes, router: 'Any' = None) -> 'Callable[[], Any]':
    """Return a function that unpickles the next value in `data` at each call, with contexts of `router`."""
    unpickler = _Unpickler(BytesIO(data))
    unpickler.router = router
    return unpickler.load


def decode(data: bytes, router: 'Any' = None) -> 'Any':
    """Unpickle one value that came over the wire; raise StreamError when it may not travel, whatever it is."""
    try:
        return decoder(data, router)()
    except Exception as exc:        # a hostile pickle can raise anything
        raise StreamError('cannot read %d bytes: %s: %s', len(data), type(exc).__name__, exc) from None


# ---- 4: messages -----------------------------------------------------------------------------------

#: magic, destination id, source id, authority id, handle, reply handle, length of what follows
HEADER = struct.Struct('>HIIIIII')
MAGIC = 0x4D54


class Message:
    """Data on its way to a handle of a context.

    :ivar dst_id: id of the context it is for; `handle`: the mailbox there.
    :ivar src_id: id of the context that sent it, None until a router has taken it; `auth_id`: of the one on whose
        authority it acts, usually the same.
    :ivar reply_to: mailbox inside the source where an answer is awaited, or 0; or IS_DEAD.
    :ivar router: the router that delivered it; `receiver`: what `mitogen.select.Select` took it from."""

    __slots__ = ('dst_id', 'src_id', 'auth_id', 'handle', 'reply_to', 'data', 'router', 'receiver', 'stream')

    def __init__(self, dst_id: int = 0, src_id: 'Optional[int]' = None, auth_id: 'Optional[int]' = None,
                 handle: int = 0, reply_to: int = 0, data: bytes = b'') -> None:
        self.dst_id, self.src_id, self.auth_id = dst_id, src_id, auth_id
        self.handle, self.reply_to, self.data = handle, reply_to, data
        self.router = self.receiver = self.stream = None    # type: Any     # the last is what it arrived on

    @classmethod
    def pickled(cls, obj: 'Any', **kw: 'Any') -> 'Message':
        """Return a message that carries `obj`, or raise TypeError if that may not travel; the rest as for Message."""
        return cls(data=encode(obj), **kw)

    @classmethod
    def dead(cls, reason: 'Optional[str]' = None, **kw: 'Any') -> 'Message':
        """Make a message that says why there is no value."""
        return cls(reply_to=IS_DEAD, data=(reason or '').encode('utf-8', 'replace'), **kw)

    @property
    def is_dead(self) -> bool:
        """Whether it carries a reason instead of a value."""
        return self.reply_to == IS_DEAD

    @property
    def reason(self) -> str:
        """Of a dead message: why."""
        return self.data.decode('utf-8', 'replace') or 'no reason'

    def pack(self) -> bytes:
        """Return the header; the data goes behind it unchanged."""
        return HEADER.pack(MAGIC, self.dst_id, self.src_id, self.auth_id, self.handle, self.reply_to, len(self.data))

    def reply(self, obj: 'Any', router: 'Any' = None, **kw: 'Any') -> None:
        """Send `obj` (a value or a Message) where the sender of this message awaits it, if it does; raise TypeError
        when it may not travel. Any thread."""
        if self.reply_to and not self.is_dead:
            msg = obj if isinstance(obj, Message) else Message.pickled(obj)
            msg.dst_id, msg.handle = self.src_id or 0, self.reply_to
            for name, value in kw.items():
                setattr(msg, name, value)
            (self.router or router).route(msg)

    def unpickle(self, throw: bool = True, throw_dead: bool = True) -> 'Any':
        """Return the value inside.

        :raises CallError: the other end's code raised. With `throw` false it is returned.
        :raises ChannelError: the other end is gone, or refused; the text is its reason. With `throw_dead` false: None.
        :raises StreamError: the data is no acceptable value."""
        if self.is_dead:
            if throw_dead:
                raise ChannelError(self.reason)
            return None
        value = decode(self.data, self.router)
        if throw and isinstance(value, CallError):
            raise value
        return value

    def __repr__(self) -> str:
        return 'Message%r' % ((self.dst_id, self.src_id, self.auth_id, self.handle, self.reply_to, self.data[:40]),)


class Framer:
    """Cuts a stream of bytes into messages. Of one that comes in pieces each byte is copied once."""

    def __init__(self, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        self._max = max_message_size
        self._rest = b''                                            # part of a header
        self._begun: 'Optional[Message]' = None                     # the message that is under way
        # What of it is here, in room for all (see ROOM), and how many bytes are not.
        self._body, self._missing = None, 0     # type: Any, int

    def receive(self, data: bytes) -> 'List[Message]':
        """Return the messages that `data` completes; raise StreamError when they are not ours, or too large."""
        found: 'List[Message]' = []
        data, start = self._rest + data, 0
        while self._begun or len(data) - start >= HEADER.size:
            if not self._begun:
                magic, dst, src, auth, handle, reply, self._missing = HEADER.unpack_from(data, start)
                if magic != MAGIC:
                    raise StreamError('not a message: %r', data[start:start + 40])
                if self._missing > self._max:
                    raise StreamError(TOO_LARGE, self._missing, self._max)
                self._begun = Message(dst, src, auth, handle, reply)
                start += HEADER.size
                self._body = len(data) - start < self._missing and BytesIO(bytes(min(self._missing, ROOM)))
            piece = data[start:start + self._missing]
            start += len(piece)
            self._missing -= len(piece)
            if self._body:      # one of several
                self._body.write(piece)
                if self._missing:
                    break
                piece, self._body = self._body.getvalue(), None
            self._begun.data = piece
            found.append(self._begun)
            self._begun = None
        self._rest = data[start:]
        return found


# ---- 5: modules ------------------------------------------------------------------------------------

class Module:
    """One module as it travels: its attributes, in this order.

    :ivar path: the file's name in the master, for tracebacks; it exists there only.
    :ivar source: compressed by zlib; None when there is no such module, and then `reason` tells a person why.
    :ivar submodules: names directly below a package, and '*' if there may be more; None for a plain module.
    :ivar compiled: what is in `source` is not text but code, for the Python that both ends of the link have."""

    def __init__(self, fullname: str, path: str = '', source: 'Optional[bytes]' = None, submodules: 'Any' = None,
                 package: str = '', reason: str = '', compiled: bool = False) -> None:
        self.fullname, self.path, self.source = fullname, path, source
        self.submodules, self.package, self.reason, self.compiled = submodules, package, reason, compiled


class ModuleTable:
    """Whether a name shall be imported from here, asked from the parent, or is known not to exist. What the interpreter
    has is its own and found before anyone looks here: the standard library, installed packages. So is what such a
    package lacks: one version must not be completed with modules of another."""

    def __init__(self) -> None:
        self.modules: 'Dict[str, Module]' = {}
        # Names that only Python itself could provide: asking for them would cost a round trip for a No.
        self._stdlib: 'Any' = getattr(sys, 'stdlib_module_names', ())

    def exists(self, fullname: str, parent_path: 'Any') -> 'Optional[bool]':
        """True: it is here. False: there is none, or it is not ours to provide. None: ask. `parent_path`: `__path__` of
        the package that contains it, None for a top-level name."""
        if type(parent_path) is list and parent_path:
            return False    # a package installed here. Ours have an empty path, that of a namespace is no list.
        if fullname in self.modules:
            return self.modules[fullname].source is not None
        package, _, name = fullname.rpartition('.')
        if not package:
            return False if name in self._stdlib else None
        known = package in self.modules and (self.modules[package].submodules or [''])
        # '*' is for a package whose finder in the master does not tell what it has.
        return False if known and name not in known and '*' not in known else None


# ---- I/O below this line ---------------------------------------------------------------------------

import errno  # noqa: E402    (below the line on purpose: the pure half must not have them)
import marshal  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import weakref  # noqa: E402
import zlib  # noqa: E402
from _frozen_importlib_external import MAGIC_NUMBER  # noqa: E402   (as importlib.util has it)
from _signal import SIGINT, signal  # type: ignore  # noqa: E402   (signal.py makes enums of them first)

try:
    from _queue import Empty, SimpleQueue  # noqa: E402
except ImportError:         # Python 3.6, and interpreters without the C half
    from queue import Empty, Queue as SimpleQueue  # type: ignore[assignment]


# ---- 6: small things -------------------------------------------------------------------------------

class Seed:
    """An object of a leaf, which becomes its namesake of ring 1 when something is asked of it that only that has. Its
    class changes; the object stays the same, because handlers, streams and user code hold it. `grown_in` is the module
    of that class, and of a function ``grow(seed)``. In a master all of them are grown from the start: there Router and
    Broker must not inherit __getattr__, with which CPython finds every attribute the slow way."""

    grown_in = ''

    def __getattr__(self, name: str) -> 'Any':
        kind = type(self)
        if name[0] == '_' or kind.__module__ != __name__:       # it was grown from the start, or by now
            return object.__getattribute__(self, name)
        try:
            __import__(kind.grown_in)
        except ImportError as exc:
            raise AttributeError('%s: %s' % (name, exc)) from exc
        sys.modules[kind.grown_in].grow(self)
        return getattr(self, name)


DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
#: In a child: its router. What the library itself has to say there goes to the master without the logging module.
child_router: 'Any' = None


def log(level: int, fmt: str, *args: 'Any') -> None:
    """Log as `mitogen`; from level ERROR on with the current exception. Any thread."""
    if child_router is not None:
        if level >= child_router.log_level and child_router.parent_stream:
            exc = sys.exc_info()[1]
            forward_log(child_router, 'mitogen', level, fmt % args + (str(CallError.of(exc)) if exc else ''))
    elif level >= WARNING or 'logging' in sys.modules:
        import mitogen.logs
        mitogen.logs.log(level, fmt, *args)


def listen(obj: 'Any', name: str, fn: 'Function') -> None:
    """Have `fn` called, on the broker thread, whenever `obj` fires the signal `name`."""
    obj.__dict__.setdefault('_listeners', {}).setdefault(name, []).append(fn)


def unlisten(obj: 'Any', name: str, fn: 'Function') -> None:
    """Undo `listen`; raise ValueError when `fn` does not listen."""
    obj.__dict__.get('_listeners', {}).get(name, []).remove(fn)


def fire(obj: 'Any', name: str, *args: 'Any', **kwargs: 'Any') -> None:
    """Call all who listen to the signal `name` of `obj`; one that fails does not keep it from the others."""
    for fn in list(obj.__dict__.get('_listeners', {}).get(name, ())):
        _attempt(fn, fn, args, kwargs)


def _attempt(shown: 'Any', fn: 'Function', args: 'Any', kwargs: 'Any') -> None:
    """Call a function of somebody else's; what it fails with is logged, with `shown`: arguments may be secrets."""
    try:
        fn(*args, **kwargs)
    except Exception:
        log(ERROR, 'error in %r', shown)


def takes_econtext(fn: 'Function') -> 'Function':
    """Decorate a function that, when called from another context, shall get `econtext=`: its ExternalContext."""
    fn.mitogen_takes_econtext = True    # type: ignore[attr-defined]
    return fn


def takes_router(fn: 'Function') -> 'Function':
    """Decorate a function that, when called from another context, shall get `router=`: the router of where it runs."""
    fn.mitogen_takes_router = True      # type: ignore[attr-defined]
    return fn


def to_text(value: 'Any') -> str:
    """Return bytes decoded as UTF-8, text as it is, anything else as str() shows it."""
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def has_parent_authority(msg: Message, stream: 'Any' = None) -> bool:
    """A policy: only this context and its parents may use the handle."""
    return msg.auth_id in [msg.router.context_id] + msg.router.parent_ids


def set_cloexec(fd: int) -> None:
    """Keep `fd` from programs that this one starts."""
    os.set_inheritable(fd, False)


def set_block(fd: int) -> None:
    """Have reads and writes of `fd` wait."""
    os.set_blocking(fd, True)


def set_nonblock(fd: int) -> None:
    """Have them raise BlockingIOError instead."""
    os.set_blocking(fd, False)


#: What a descriptor answers when its other end is gone. EIO is a terminal's way to say so.
GONE = errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.ENOTCONN, errno.EBADF


def io_op(fn: 'Function', *args: 'Any') -> 'Tuple[Any, bool]':
    """Call an os function that reads or writes; return (result, whether the other end is gone), or raise OSError."""
    try:
        return fn(*args), False
    except OSError as exc:
        if exc.errno not in GONE:
            raise
        return None, True


class Side:
    """Owns one descriptor of a stream."""

    all_open: 'Set[int]' = set()    # of the process, so that a forked child can close what is not its own

    def __init__(self, fd: int) -> None:
        self.fd: 'Optional[int]' = fd
        self.all_open.add(fd)
        set_nonblock(fd)

    def close(self) -> None:
        """Close the descriptor, once."""
        # Forgotten first: the number may belong to another file by the time that close() returns.
        fd, self.fd = self.fd, None
        if fd is not None:
            self.all_open.discard(fd)
            io_op(os.close, fd)     # user code may have closed it

    def read(self, size: int = 1 << 19) -> bytes:
        """Return what is there to read, up to all that a wide pipe holds; b'' when the other end is gone. Raise
        BlockingIOError when nothing is there."""
        return io_op(os.read, self.fd, size)[0] or b''

    def write(self, buffers: 'Sequence[Any]') -> 'Optional[int]':
        """Write from the buffers; return how many bytes went, None when the other end is gone; or BlockingIOError."""
        return io_op(os.writev, self.fd, buffers)[0]    # type: ignore[no-any-return]


# ---- 7: latch --------------------------------------------------------------------------------------

#: What close() leaves in a latch; whoever finds it puts it back for the next.
_END = object()


class Latch:
    """A queue between threads: first in, first out; put() wakes one waiter, Ctrl-C interrupts a wait. Any thread.

    :param broker: by which the values come. A thread that waits here may do its work meanwhile.
    :ivar notify: called with the latch after each put() and close(), on the thread that does it."""

    closed = False
    notify: 'Optional[Callable[[Any], None]]' = None

    def __init__(self, broker: 'Optional[Broker]' = None) -> None:
        self._queue: 'Any' = SimpleQueue()
        self.broker = broker

    def put(self, obj: 'Any' = None) -> None:
        """Add a value and wake one waiter; raise LatchError when closed."""
        if self.closed:
            raise LatchError('latch is closed')
        self._add(obj)

    def _add(self, item: 'Any') -> None:
        self._queue.put(item)
        if self.broker and not self.broker.on_thread():
            self.broker.nudge()         # whoever waits here may do its work, and sleep
        (self.notify or id)(self)       # read once: another thread may take it away behind a test

    def get(self, timeout: 'Optional[float]' = None, block: bool = True) -> 'Any':
        """Take the oldest value; wait for it `timeout` seconds (None: for ever), or not at all when `block` is false.

        :raises TimeoutError: there was none in time.
        :raises LatchError: the latch is closed, and empty."""
        timeout = timeout and max(0, min(timeout, threading.TIMEOUT_MAX))
        try:
            if self.broker and block and self._queue.empty():
                item = self.broker.wait_for(self._queue, timeout)
            else:
                item = self._queue.get(block, timeout)
        except Empty:
            raise TimeoutError('nothing arrived') from None
        if item is _END:
            self._queue.put(_END)
            raise LatchError('latch is closed')
        return item

    def close(self) -> None:
        """Refuse further values, and wake all who wait with LatchError."""
        if not self.closed:
            self.closed = True
            self._add(_END)

    def empty(self) -> bool:
        """Whether no value waits here now."""
        return not self.size()

    def size(self) -> int:
        """How many values wait here."""
        return max(0, self._queue.qsize() - self.closed)    # type: ignore[no-any-return]


# ---- 8: broker -------------------------------------------------------------------------------------

POLLIN, POLLOUT = 1, 4      # the same for poll and epoll, on every system
#: Seconds after which the broker's own thread takes back the work that nobody does any more.
NAP = 0.01
#: Seconds of a short wait: the next will be short too, and is spent awake.
BRISK = 0.0003

# glibc gives back free memory at once, and fetches it anew, page by page, for each large message: until it sees a block
# as large as this go, none of whose pages is touched. mallopt(3): M_MMAP_THRESHOLD. What is forked knows it already.
bytes(ROOM)


class Broker:
    """Waits for descriptors, and owns all that belongs to routing. Signals: `shutdown`, `exit` when all has ended.

    It has a thread of its own. But a thread that sends, or waits for an answer, does the broker's work meanwhile if it
    finds that free: a switch between threads takes longer than all else. "The broker thread" is whichever does the
    work, one at a time. The own thread rests while others come back for it again and again."""

    # `_dozing`: the own thread sleeps until called; `_interruptible`: the driver waits, see hold().
    stopping = _closed = _dozing = _interruptible = False
    _held: 'Optional[Function]' = None
    _poll: 'Any' = None                             # what waits for the descriptors, if it still fits

    def __init__(self) -> None:
        self._lock = threading.RLock()      # what a signal, or the garbage collector, calls in between may want it too
        self._deferred: 'List[Any]' = []            # under the lock, as are the next, and whether we are closed
        # Id of the thread at work, 0: none; how often one that waits took that over; who else did, since then; who is
        # about to wait, so that what it sends can go out then.
        self._driver, self._drives, self._sent, self.coming = -1, 0, 0, 0       # type: int, int, int, Any
        # Whether to wait awake; if negative, through how many waits to sleep. How many went well since it was negative.
        self._brisk, self._calm = 0, 1000
        self._waiting: 'Dict[int, Any]' = {}        # thread -> the queue that it waits in while another works
        self._call: 'Any' = SimpleQueue()           # what calls it
        self._watched: 'Dict[int, List[Any]]' = {}  # descriptor -> [who reads, who writes]
        self.outgoing: 'List[Any]' = []     # streams with something new; what a turn has for one goes out in one piece
        self._waker = _Waker(self)
        self._thread = threading.Thread(target=self._broker_main, name='mitogen.broker', daemon=True)
        self._thread.start()

    def on_thread(self) -> bool:
        """Whether the caller runs on the broker thread."""
        return threading.get_ident() == self._driver

    def defer(self, fn: 'Function', *args: 'Any', **kwargs: 'Any') -> None:
        """Run ``fn(*args, **kwargs)`` on the broker thread; at once when called there. Any thread. Raise Error when the
        broker has ended. If this does not raise, the function will run."""
        me = threading.get_ident()
        if me == self._driver:
            fn(*args, **kwargs)
            return
        with self._lock:
            if self._closed:
                raise Error('the broker is shut down')
            # First, or Ctrl-C after the other would leave work of which the broker never hears.
            if not self._deferred:
                if self._driver:
                    self._waker.wake()
                elif self._sent and self.coming != me:      # again, and nobody has waited: many more may go together
                    self._call.put(True)
                elif self.coming != me:
                    self._sent = self._driver = me
            self._deferred.append((fn, args, kwargs))
        if me == self._driver:      # nobody was at work
            self._leave()
            self.let_go()

    def start_receive(self, stream: 'Any') -> None:
        """Call ``stream.on_receive(broker)`` whenever its receive side can be read. Any thread."""
        self.defer(self._watch, stream.receive_side, 0, stream)

    def _watch(self, side: 'Optional[Side]', which: int, stream: 'Any') -> None:
        """Have `stream` called (None: no more) when its side can be read (`which` 0) or written (1)."""
        if side and side.fd is not None:
            pair = self._watched.setdefault(side.fd, [None, None])
            pair[which] = stream
            if pair == [None, None]:
                del self._watched[side.fd]
            self._interest(side.fd, *pair)

    def _interest(self, fd: int, reader: 'Any', writer: 'Any') -> None:
        """Who is interested in a descriptor has changed."""
        self._poll = None

    def drop(self, side: 'Optional[Side]') -> None:
        """Stop to watch a side, and close it."""
        if side is not None:
            self._watch(side, 0, None)
            self._watch(side, 1, None)
            side.close()

    def shutdown(self) -> None:
        """Begin the end. Any thread, any number of times."""
        self.nudge(self._begin_shutdown)

    def nudge(self, fn: 'Function' = bool) -> None:
        """As defer(), but when the broker has ended, that is all right. Any thread."""
        try:
            self.defer(fn)
        except Error:
            pass

    def join(self) -> None:
        """Wait until the broker thread has ended."""
        self._thread.join()

    def _begin_shutdown(self) -> None:
        if not self.stopping:
            self.stopping = True
            fire(self, 'shutdown')

    def _linger(self) -> bool:
        """Whether the end has to wait for somebody."""
        return False

    def _broker_main(self) -> None:
        self._driver = threading.get_ident()
        try:
            while not self.stopping or self._linger():
                self._turn()
                self._rest()
                self._settle()      # what it was called for, perhaps the end
        except BaseException:       # a bug of ours: nobody may be left waiting for it
            log(ERROR, 'error in %r', self)
            self._begin_shutdown()
        self._end()

    def _rest(self) -> None:
        """If only one has waited, and has what it waits for, let it work for itself; until the work is the own thread's
        again: nobody has come for it, or one who did has left while another waits."""
        with self._lock:
            if [queue.empty() for queue in list(self._waiting.values())] != [False] or self._deferred or self.stopping:
                return
            self._driver = 0
        while True:
            drives = self._drives
            try:
                needed = self._call.get(True, None if self._dozing else NAP)
            except Empty:
                needed = drives == self._drives
            with self._lock:
                if needed and not self._driver:
                    self._driver = threading.get_ident()
                    return
                # One who drives for long will call when he leaves.
                self._dozing = drives == self._drives and bool(self._driver)

    def _leave(self) -> None:
        """Do what is left to do now, and let others go on."""
        while self.on_thread():
            self._settle()
            with self._lock:
                if not self._deferred:
                    self._driver = 0
                    if self._dozing or self._waiting or self.stopping:
                        self._dozing = False
                        self._call.put(self._waiting or self.stopping)

    def wait_for(self, queue: 'Any', timeout: 'Optional[float]') -> 'Any':
        """Return ``queue.get(True, timeout)``, and do the broker's work meanwhile if nobody else does. Any thread."""
        me = threading.get_ident()
        if me == self._driver:
            raise Error('the broker thread cannot wait')
        end = timeout and time.monotonic() + timeout
        try:
            with self._lock:
                if self._driver or self.stopping:
                    self._waiting[me], self.coming = queue, 0
                else:
                    self._driver, self._sent, self.coming = me, 0, 0
                    self._drives += 1
            if me == self._driver:
                self._settle()
                while queue.empty() and not self.stopping and not self._held and timeout != 0:
                    self._turn(timeout)
                    timeout = end and max(0, end - time.monotonic())
                self._leave()
                self.let_go()
            return queue.get(True, timeout)
        finally:
            self._interruptible = False
            self._waiting.pop(me, None)
            if me == self._driver:      # Ctrl-C
                self._leave()

    def hold(self, fn: 'Function') -> bool:
        """Ctrl-C has hit this thread. If it does the broker's work, have ``fn()`` called after that and return True."""
        self._held = fn if self.on_thread() and not self._interruptible else None
        return bool(self._held)

    def let_go(self) -> None:
        """Call what is held, if it is."""
        fn, self._held = self._held or bool, None
        fn()

    def _ready(self, timeout: 'Optional[float]') -> 'Sequence[Tuple[int, int]]':
        """Wait for descriptors; return (descriptor, events). By poll(), which is right for the handful of a leaf."""
        if self._poll is None:
            self._poll = select.poll()
            for fd, (reader, writer) in self._watched.items():
                self._poll.register(fd, POLLIN * bool(reader) | POLLOUT * bool(writer))
        return self._poll.poll(timeout and timeout * 1000 + 1)      # type: ignore[no-any-return]

    def _turn(self, timeout: 'Optional[float]' = None) -> None:
        """Go round the loop once: wait, and serve the descriptors that are ready."""
        events: 'Sequence[Tuple[int, int]]' = ()
        start = time.monotonic()
        self._interruptible = True
        # While answers come fast, stay awake: to fall asleep and be woken takes longer than many a call.
        while self._brisk > 0 and not events and time.monotonic() - start < BRISK:
            os.sched_yield()
            events = self._ready(0)
        # But where others want the processor, who stays awake gets it after them, and who is woken before them. If that
        # happens, sleep through the next waits: a thousand if it happens at once again, few if it is once in a while.
        if time.monotonic() - start > 2 * BRISK:
            self._brisk, self._calm = -1000 // self._calm, 1
        elif events:
            self._calm += 1
        events = events or self._ready(0 if self._held else timeout)
        self._interruptible = False
        self._brisk = min(self._brisk + 1, time.monotonic() - start < BRISK)
        for fd, event in events:
            # An error or a hang-up counts as both: the read or write that follows will find out. Looked up again
            # each time, as an earlier event of this round may have closed the descriptor.
            stream = event & ~POLLOUT and self._watched.get(fd, (None, None))[0]
            if stream:
                self._guard(stream, stream.on_receive)
            stream = event & ~POLLIN and self._watched.get(fd, (None, None))[1]
            if stream:
                self._guard(stream, stream.on_transmit)
        self._settle()

    def _settle(self) -> None:
        """Do what other threads have asked for, and send what is new."""
        if self._deferred:
            self.run_deferred()
        while self.outgoing:
            outgoing, self.outgoing = self.outgoing, []
            for stream in dict.fromkeys(outgoing):
                self._guard(stream, stream.on_transmit)

    def _guard(self, stream: 'Any', fn: 'Function') -> None:
        """Run a handler. What it fails with is logged, and costs at most the stream that it belongs to."""
        try:
            fn(self)
        except BlockingIOError:
            pass        # ready it was said to be, ready it was not
        except Exception:
            log(ERROR, 'error in %r', stream)
            if stream:
                stream.on_disconnect(self)

    def run_deferred(self) -> None:
        with self._lock:
            work, self._deferred = self._deferred, []
        for fn, args, kwargs in work:
            _attempt(fn, fn, args, kwargs)

    def _end(self) -> None:
        # In the order in which they came: what a child has printed goes out before the link to its parent is closed.
        for stream in dict.fromkeys(sum(self._watched.values(), [])):
            if stream and stream is not self._waker:
                self._guard(stream, stream.on_disconnect)
        with self._lock:
            self._closed = True     # from here on defer() raises, and what it took before runs now
        self.run_deferred()
        fire(self, 'exit')
        self._waker.on_disconnect(self)


# ---- 9: streams ------------------------------------------------------------------------------------

class BasicStream:
    """Something with descriptors that the broker watches: it calls ``on_receive(broker)`` when the receive side can be
    read, ``on_transmit(broker)`` when the other can be written. All methods: broker thread. Signal: `disconnect`."""

    receive_side: 'Optional[Side]' = None
    transmit_side: 'Optional[Side]' = None

    def on_disconnect(self, broker: Broker) -> None:
        """Close both sides; also called when the other end has."""
        was_open = self.is_open()
        broker.drop(self.receive_side)
        broker.drop(self.transmit_side)
        if was_open:
            fire(self, 'disconnect')

    def is_open(self) -> bool:
        return any(side and side.fd is not None for side in (self.receive_side, self.transmit_side))


class _Waker(BasicStream):
    """A pipe that the broker reads, so that other threads can end its wait."""

    def __init__(self, broker: Broker) -> None:
        self.receive_side, self.transmit_side = map(Side, os.pipe())
        broker._watch(self.receive_side, 0, self)

    def wake(self) -> None:
        # All that are on their way are read at once, and a second is rare, so there is always room.
        self.transmit_side.write((b'\0',))      # type: ignore[union-attr]

    def on_receive(self, broker: Broker) -> None:
        self.receive_side.read()                # type: ignore[union-attr]
        broker.run_deferred()       # whoever woke us has the lock until there is something


class Stream(BasicStream):
    """Messages to and from a parent or a child, whose id is `remote_id`, and everyone behind it. Broker thread."""

    reason = ''         # why it was disconnected

    def __init__(self, router: 'Any', remote_id: int, name: str, reader: int, writer: int) -> None:
        self.router, self.remote_id, self.name = router, remote_id, name
        self.receive_side, self.transmit_side = Side(reader), Side(writer)
        self._framer = Framer(router.max_message_size)
        self._unsent: 'Deque[Any]' = deque()
        self._blocked = False       # whether the broker tells when more can be written

    def on_receive(self, broker: Broker) -> None:
        data = self.receive_side.read()         # type: ignore[union-attr]
        if data:
            self.receive(data)
        else:
            self.on_disconnect(broker)

    def receive(self, data: bytes) -> None:
        """Take bytes that came from the other end."""
        try:
            for msg in self._framer.receive(data):
                self.router._async_route(msg, self)
        except StreamError as exc:
            log(WARNING, 'disconnecting %s: %s', self.name, exc)
            self.reason = str(exc)
            self.on_disconnect(self.router.broker)

    def send(self, msg: Message) -> None:
        """Queue a message."""
        self._unsent.append(msg.pack())
        if msg.data:
            self._unsent.append(msg.data)
        self.router.broker.outgoing.append(self)

    def on_transmit(self, broker: Broker) -> None:
        side, wait = self.transmit_side, False      # type: Any, bool
        while self._unsent and side.fd is not None and not wait:
            try:
                sent = side.write(list(itertools.islice(self._unsent, 512)))     # Linux takes up to 1024 at once
                if sent is None:
                    self._unsent.clear()    # gone; the reading side will hear its last words, and find out
                while (sent or 0) > 0:
                    first = self._unsent.popleft()
                    sent -= len(first)
                    if sent < 0:        # not copied, whatever remains
                        self._unsent.appendleft(memoryview(first)[sent:])
            except BlockingIOError:
                wait = True
        if wait is not self._blocked:
            self._blocked = wait
            broker._watch(side, 1, self if wait else None)

    def on_disconnect(self, broker: Broker) -> None:
        if self.is_open():
            # The last log lines may still be in the queue. This end is near, so it may wait a moment.
            give_up = time.monotonic() + 1
            while broker.stopping and self._unsent and time.monotonic() < give_up:
                self.on_transmit(broker)
                time.sleep(0.001)
            BasicStream.on_disconnect(self, broker)
            self.announce()

    def announce(self) -> None:
        """Tell the router that everyone behind this stream is gone."""
        self.router._on_stream_lost(self, self.reason or 'the connection to %s was closed' % self.name)


# ---- 10: router ------------------------------------------------------------------------------------

class Router:
    """Carries messages between the contexts around it and the handles of its own. Signal: `shutdown`.

    This is as much as a leaf needs: it knows its parent. `mitogen.parent.Router` has children, and routes between them.

    :param context_id: id of the context that it belongs to; `parent_ids`: those of its parent, the parent's, and so on.
    :ivar unidirectional: contexts below may talk only with those above, not with each other."""

    context_class: 'Any' = None     # set where Context is defined
    max_message_size = MAX_MESSAGE_SIZE
    unidirectional = False
    log_level = INFO
    parent_stream: 'Optional[Stream]' = None
    econtext: 'Any' = None          # the ExternalContext, in a child

    def __init__(self, broker: Broker, context_id: int = 0, parent_ids: 'Sequence[int]' = ()) -> None:
        self.broker, self.context_id, self.parent_ids = broker, context_id, list(parent_ids)    # type: Any, int, Any
        self._lock = threading.RLock()
        self._handles = itertools.count(FIRST_FREE_HANDLE)
        # Under the lock, as is the next: handle -> (fn, persist, policy, respondent), as in add_handler().
        self._handlers: 'Dict[int, Tuple[Any, ...]]' = {}
        self._awaiting: 'Dict[int, Set[int]]' = {}          # respondent's id -> handles that await it
        self._contexts: 'Any' = weakref.WeakValueDictionary()
        self.add_handler(lambda msg: self._lost(*msg.unpickle()), DEL_ROUTE, policy=has_parent_authority)
        listen(broker, 'exit', self._on_broker_exit)

    def myself(self) -> 'Context':
        """Return a Context for the one that this router belongs to. Any thread."""
        return self.context_by_id(self.context_id, name='self')     # type: ignore[return-value]

    def context_by_id(self, context_id: int, via_id: 'Optional[int]' = None, create: bool = True,
                      name: 'Optional[str]' = None) -> 'Optional[Context]':
        """Return the Context with that id, created (with `via_id` as its parent's) or not if it is new. Any thread."""
        context = self._contexts.get(context_id)
        if not context and create:
            context = self.context_class(self, context_id, name)
            if via_id is not None:
                context.via = self.context_by_id(via_id)
            context = self._contexts.setdefault(context_id, context)
        return context      # type: ignore[no-any-return]

    def stream_by_id(self, context_id: int) -> 'Optional[Stream]':
        """Return the stream that leads to a context, or None."""
        return self.parent_stream

    def add_handler(self, fn: 'Callable[[Message], Any]', handle: 'Optional[int]' = None, persist: bool = True,
                    policy: 'Optional[Callable[[Message, Any], Any]]' = None, respondent: 'Optional[Context]' = None,
                    overwrite: bool = False) -> int:
        """Have ``fn(msg)`` called, on the broker thread, for each message to a handle; return its number. Any thread.

        :param handle: its number; None: choose one.
        :param persist: False: remove the handler after one message.
        :param policy: ``policy(msg, stream)`` false: the message is refused. `stream` is None for one from here.
        :param respondent: who alone may send to it, and when that context is lost `fn` gets a dead message: why.
        :raises Error: there is one already, and `overwrite` is false."""
        with self._lock:
            handle = next(self._handles) if handle is None else handle
            if handle in self._handlers and not overwrite:
                raise Error('handle %d is taken', handle)
            self._handlers[handle] = fn, persist, policy, respondent
            if respondent:
                self._awaiting.setdefault(respondent.context_id, set()).add(handle)
        return handle

    def del_handler(self, handle: int) -> None:
        """Remove a handler; raise KeyError when there is none. Any thread."""
        with self._lock:
            respondent = self._handlers.pop(handle)[3]
            if respondent:
                self._awaiting.get(respondent.context_id, set()).discard(handle)

    def route(self, msg: Message) -> None:
        """Send a message, here or elsewhere; one thread's in their order. Error: the broker has ended. Any thread."""
        if msg.src_id is None:
            msg.src_id = self.context_id
        if msg.auth_id is None:
            msg.auth_id = self.context_id
        self.broker.defer(self._forward, msg, None)

    def _async_route(self, msg: Message, stream: 'Stream') -> None:
        """Take a message that came over `stream`."""
        self._forward(msg, stream)

    def _forward(self, msg: Message, stream: 'Optional[Stream]') -> None:
        """Move a message on; `stream` is what it came from."""
        if len(msg.data) > self.max_message_size:
            reason = TOO_LARGE % (len(msg.data), self.max_message_size)
            if msg.reply_to:
                self._refuse(msg, reason)
                return
            msg.reply_to, msg.data = IS_DEAD, reason.encode()       # whoever waits for it shall hear of it
        if msg.dst_id == self.context_id:
            self._deliver(msg, stream)
        else:
            out, why = self._egress(msg, stream)
            if out:
                out.send(msg)
            else:
                self._refuse(msg, why)

    def _egress(self, msg: Message, stream: 'Optional[Stream]') -> 'Tuple[Optional[Stream], str]':
        """Where a message goes next; or None and why it cannot."""
        up = None if stream else self.parent_stream
        return up, '' if up else 'no route to context %d' % msg.dst_id

    def _refuse(self, msg: Message, reason: str) -> None:
        """Answer a message that cannot be delivered. A dead message gets no answer, so this cannot go on for ever."""
        if msg.reply_to and not msg.is_dead:
            dead = Message.dead(reason, dst_id=msg.src_id, handle=msg.reply_to)
            # In the name of the one that was asked: nobody beside the way to it could do that, so who waits can tell.
            dead.src_id, dead.auth_id = msg.dst_id, self.context_id
            self._forward(dead, None)
        else:
            log(DEBUG, 'dropped %r: %s', msg, reason)

    def _deliver(self, msg: Message, stream: 'Optional[Stream]') -> None:
        msg.router, msg.stream = self, stream
        handler = self._handlers.get(msg.handle)
        if handler is None:
            self._refuse(msg, 'context %d does not listen to handle %d' % (self.context_id, msg.handle))
            return
        fn, persist, policy, respondent = handler
        # A context must not answer in the name of another, nor refuse. What came over a stream is from behind it.
        if policy and not policy(msg, stream) or respondent and stream and msg.src_id != respondent.context_id:
            self._refuse(msg, 'refused by policy')
            return
        if not persist:
            try:
                self.del_handler(msg.handle)
            except KeyError:        # its owner closed it a moment ago
                return
        _attempt((fn, msg), fn, (msg,), {})

    def _on_stream_lost(self, stream: Stream, reason: str) -> None:
        """Our own parent is gone; the broker's end will wake everyone."""
        self.parent_stream = None

    def _lost(self, ids: 'List[int]', reason: str) -> None:
        """Contexts are gone: wake who waits for them here."""
        for context_id in ids:
            with self._lock:
                handlers = [(h, self._handlers[h]) for h in self._awaiting.pop(context_id, ()) if h in self._handlers]
                for h, handler in handlers:
                    if not handler[1]:
                        del self._handlers[h]
            self._bury(handlers, reason)
            context = self._contexts.get(context_id)
            if context:
                fire(context, 'disconnect')

    def _bury(self, handlers: 'Iterable[Tuple[int, Tuple[Any, ...]]]', reason: str) -> None:
        for handle, handler in handlers:
            msg = Message.dead(reason, dst_id=self.context_id, src_id=self.context_id, auth_id=self.context_id,
                               handle=handle)
            msg.router = self
            _attempt((handler[0], msg), handler[0], (msg,), {})

    def _on_broker_exit(self) -> None:
        """Nobody will deliver anything any more: whoever waits, wakes."""
        with self._lock:
            handlers, self._handlers, self._awaiting = self._handlers, {}, {}
        self._bury([item for item in handlers.items() if item[0] >= FIRST_FREE_HANDLE or item[0] == CALL_FUNCTION],
                   'shutting down')
        fire(self, 'shutdown')


# ---- 11: contexts, receivers, senders --------------------------------------------------------------

class Context(Seed):
    """Stands for an interpreter somewhere, this one included. Signal: `disconnect`.

    Equal and hashable by router and id, which is unique in the tree; the name is for people. Can be sent in messages.
    What calls functions comes with mitogen.parent. `via` is the Context that started it, or None."""

    grown_in = 'mitogen.parent'
    travels_as = 'mitogen.core.Context'
    via: 'Optional[Context]' = None

    def __init__(self, router: 'Any', context_id: int, name: 'Optional[str]' = None) -> None:
        self.router, self.context_id, self.name = router, context_id, name

    def __setstate__(self, state: 'Any') -> None:
        raise TypeError('state refused')

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and (self.router, self.context_id) == (other.router, other.context_id)

    def __hash__(self) -> int:
        return self.context_id

    def __repr__(self) -> str:
        return 'Context(%d, %r)' % (self.context_id, self.name)

    def send(self, msg: Message) -> None:
        """Send `msg` to this context; raise Error when the broker has ended. Any thread."""
        msg.dst_id = self.context_id
        self.router.route(msg)


Router.context_class = Context


class Receiver:
    """Messages to one handle of this context, for threads to wait on. Parameters as in Router.add_handler().

    :ivar notify: called with the receiver after each arrival, on the broker thread, and after close()"""

    notify: 'Optional[Callable[[Any], None]]' = None

    def __init__(self, router: 'Any', handle: 'Optional[int]' = None, persist: bool = True,
                 respondent: 'Optional[Context]' = None, policy: 'Any' = None, overwrite: bool = False) -> None:
        self.router = router
        self._latch = Latch(router.broker)
        self.handle = router.add_handler(self._on_receive, handle, persist, policy, respondent, overwrite)

    def _on_receive(self, msg: Message) -> None:
        try:
            self._latch.put(msg)
            (self.notify or id)(self)       # as in Latch.put()
        except LatchError:
            pass

    def to_sender(self) -> 'Sender':
        """Return a Sender that leads here; it can be sent to other contexts."""
        return Sender(self.router.myself(), self.handle)

    def get(self, timeout: 'Optional[float]' = None, block: bool = True, throw_dead: bool = True) -> Message:
        """Wait for the next message, as Latch.get() does.

        :raises ChannelError: the other end is gone, closed or refused: why; not so with `throw_dead` false."""
        msg: Message = self._latch.get(timeout, block)
        if msg.is_dead and throw_dead:
            raise ChannelError(msg.reason)
        return msg

    def __iter__(self) -> 'Iterator[Message]':
        """Yield messages until the other end closes; a loss of any other kind raises ChannelError."""
        while True:
            msg = self.get(throw_dead=False)
            if msg.is_dead:
                if msg.reason == CLOSED:
                    return
                raise ChannelError(msg.reason)
            yield msg

    def empty(self) -> bool:
        """Whether no message waits here now."""
        return not self.size()

    def size(self) -> int:
        """How many messages wait here."""
        return self._latch.size()

    def close(self) -> None:
        """Stop to listen; who waits here gets LatchError. Any thread, any number of times."""
        try:
            self.router.del_handler(self.handle)
        except KeyError:
            pass
        self._latch.close()
        (self.notify or id)(self)


class Sender:
    """Where a Receiver of another context (or of this one) can be reached. Can be sent in messages."""

    def __init__(self, context: 'Any', dst_handle: int) -> None:
        self.context, self.dst_handle = context, dst_handle

    def send(self, obj: 'Any') -> None:
        """Send a value; raise TypeError when it may not travel. Any thread."""
        self.context.send(Message.pickled(obj, handle=self.dst_handle))

    def close(self) -> None:
        """Tell the receiver that nothing more will come."""
        self.context.send(Message.dead(CLOSED, handle=self.dst_handle))


class Channel(Sender, Receiver):
    """A Sender and a Receiver in one. `context` and `dst_handle`, at the other end, must be told by other means."""

    def __init__(self, router: Router, context: Context, dst_handle: int, handle: 'Optional[int]' = None) -> None:
        Sender.__init__(self, context, dst_handle)
        Receiver.__init__(self, router, handle)

    def close(self) -> None:
        Sender.close(self)
        Receiver.close(self)


# ---- 12: importer ----------------------------------------------------------------------------------

class Importer(Seed):
    """Gives the import system what the interpreter does not have itself, from the parent. Any thread but the broker's;
    one request for each module."""

    grown_in = 'mitogen.modules.loader'

    def __init__(self, router: Router) -> None:
        self.table = ModuleTable()
        self.router = router
        self._lock = threading.RLock()
        self._waiting: 'Dict[str, List[Callable[[Module], None]]]' = {}     # under the lock, and the table's growth
        router.add_handler(lambda msg: self._loaded(Module(*msg.unpickle())), LOAD_MODULE, policy=has_parent_authority)

    def ask(self, fullname: str, then: 'Callable[[Module], None]', wanted: str = '') -> None:
        """Call ``then(module)`` once it is known whether there is such a module; at once when it already is. It may
        be about a module below, `wanted`: so one answer can bring all that is needed."""
        with self._lock:
            module = self.table.modules.get(fullname)
            first = fullname not in self._waiting
            if module is None:
                self._waiting.setdefault(fullname, []).append(then)
        if module is not None:
            then(module)
        elif first:
            self.router.route(Message.pickled((fullname, wanted), dst_id=self.router.parent_ids[0], handle=GET_MODULE))

    def fetch(self, fullname: str, wanted: str = '') -> Module:
        """Wait for a module from the parent; raise ImportError, with the reason, when none comes."""
        latch = Latch(self.router.broker)
        try:
            self.ask(fullname, latch.put, wanted)
            return latch.get(MODULE_TIMEOUT)        # type: ignore[no-any-return]
        except Error as exc:
            raise ImportError('%s did not come: %s' % (fullname, exc)) from None

    def _loaded(self, module: Module) -> None:
        with self._lock:
            self.table.modules[module.fullname] = module
            waiting = self._waiting.pop(module.fullname, ())
        for then in waiting:
            then(module)
        fire(self, 'loaded', module)

    # the import system's side: finder and loader

    def find_spec(self, fullname: str, path: 'Any' = None, target: 'Any' = None) -> 'Any':
        exists = self.table.exists(fullname, path)
        if exists is None:
            exists = self.fetch(fullname, _import_target(fullname)).source is not None
        module = self.table.modules.get(fullname)
        if module and exists:
            spec = type(sys.__spec__)(fullname, self, origin='master:' + module.path,     # type: ignore
                                      is_package=module.submodules is not None)
            spec.has_location = True        # so that the module has a __file__
            return spec
        if module and module.reason:
            raise ModuleNotFoundError(module.reason, name=fullname)

    def create_module(self, spec: 'Any') -> None:
        """Let the import system make it."""

    def exec_module(self, module: 'Any') -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> 'Any':
        record = self.record(fullname)
        source: 'Any' = zlib.decompress(record.source)      # type: ignore[arg-type]
        try:
            return marshal.loads(source) if record.compiled else compile(
                source, 'master:' + record.path, 'exec', dont_inherit=True)
        except SyntaxError as exc:
            exc.msg += ' (in Python %d.%d)' % sys.version_info[:2]
            raise

    def record(self, fullname: str) -> Module:
        """Return a module that exists, fetched if need be; raise ImportError when there is none."""
        record = self.table.modules.get(fullname) or self.fetch(fullname)
        if record.source is None:
            raise ImportError(record.reason or 'no module %s' % fullname)
        return record


def _import_target(fullname: str) -> str:
    """The full name behind an import: ``import a.b.c`` asks a finder for ``a`` first, one round trip for each dot.
    Only the frames of the import system, right above the finder, tell what it is really after."""
    frame: 'Any' = sys._getframe(2)
    while frame is not None and 'importlib' in frame.f_code.co_filename:
        name = str(frame.f_locals.get('name'))
        if name.startswith(fullname + '.'):
            fullname = name
        frame = frame.f_back
    return fullname


# ---- 13: standard output and logs ------------------------------------------------------------------

def forward_log(router: Router, name: str, level: int, text: str) -> None:
    """Send a log record to the master. Any thread; lost when the connection already is."""
    try:
        router.route(Message.pickled((name, level, text), handle=FORWARD_LOG))
    except Error:
        pass


class LineForwarder(BasicStream):
    """Reads what user code, and the programs that it starts, write to standard output or error."""

    def __init__(self, router: Router, name: str, fd: int) -> None:
        self._router, self._name, self._rest = router, name, b''
        reader, writer = os.pipe()
        os.dup2(writer, fd)
        os.close(writer)
        self.receive_side = Side(reader)
        router.broker.start_receive(self)

    def on_receive(self, broker: Broker) -> None:
        data = self.receive_side.read()             # type: ignore[union-attr]
        lines = (self._rest + data).split(b'\n')
        self._rest = lines.pop() if data and len(lines[-1]) < MAX_LINE else b''
        for line in lines:
            if line:
                forward_log(self._router, self._name, INFO, line.decode('utf-8', 'replace'))
        if not data:
            BasicStream.on_disconnect(self, broker)

    def on_disconnect(self, broker: Broker) -> None:
        """Take what is still in the pipe, then close it."""
        try:
            while self.is_open():
                self.on_receive(broker)
        except BlockingIOError:
            if self._rest:
                forward_log(self._router, self._name, INFO, self._rest.decode('utf-8', 'replace'))
            BasicStream.on_disconnect(self, broker)


class LoggingWatch:
    """A finder that waits for somebody to import logging, and then connects it to the master: see mitogen.logs.
    A child does not import logging for itself, as that is a third of its start-up time."""

    def __init__(self, router: Router) -> None:
        self._router = router
        if 'logging' in sys.modules:
            self._connect()
        else:
            sys.meta_path.insert(0, self)

    def _connect(self) -> None:
        import mitogen.logs
        mitogen.logs.connect(self._router)

    def find_spec(self, name: str, path: 'Any' = None, target: 'Any' = None) -> 'Any':
        if name == 'logging':
            sys.meta_path.remove(self)
            for finder in sys.meta_path:
                spec: 'Any' = finder.find_spec(name, path, target)
                if spec:
                    self._execute = spec.loader.exec_module
                    spec.loader.exec_module = self._exec_module
                    return spec

    def _exec_module(self, module: 'Any') -> None:
        self._execute(module)
        self._connect()


# ---- 14: dispatcher --------------------------------------------------------------------------------

class Later:
    """A result that comes later: ``start(reply)`` is called at once; ``reply(value)``, from any thread, sends it."""

    def __init__(self, start: 'Callable[[Callable[[Any], None]], None]') -> None:
        self.start = start


class Dispatcher:
    """Runs, in the main thread, the functions that parents call: one at a time, in order of arrival."""

    _running = False

    def __init__(self, econtext: 'ExternalContext') -> None:
        self._econtext = econtext
        self._failed: 'Dict[str, CallError]' = {}       # pipelined chain -> its first error
        self._calls: 'Any' = SimpleQueue()
        econtext.router.add_handler(self._calls.put, CALL_FUNCTION, policy=has_parent_authority)

    def run(self) -> None:
        """Serve until the broker ends."""
        signal(SIGINT, self._on_interrupt)
        broker = self._econtext.broker
        while True:
            msg = broker.wait_for(self._calls, None) if broker.coming or self._calls.empty() else self._calls.get()
            if msg.is_dead:
                return
            self._serve(msg)

    def _on_interrupt(self, *args: 'Any') -> None:
        """Ctrl-C ends the call that runs, once. Between two it hits nobody, or a message just taken would be lost."""
        if self._running and not self._econtext.broker.hold(self._on_interrupt):
            self._running = False
            raise KeyboardInterrupt

    def _serve(self, msg: Message) -> None:
        chain = None
        try:
            try:
                self._running = True
                load = decoder(msg.data, self._econtext.router)
                chain, module, path = load()
                if not path:
                    self._failed.pop(chain, None)
                    return
                if chain in self._failed:
                    raise self._failed[chain]
                args, kwargs = load()
                result = self._call(module, path, args, kwargs)
            finally:
                self._running = False
        except BaseException as exc:        # SystemExit too: it ends the call, not the context
            result = CallError.of(exc)
        if isinstance(result, Later):
            result.start(lambda value: self._reply(msg, chain, value))
        else:
            self._econtext.broker.coming = self._calls.empty() and threading.get_ident()
            self._reply(msg, chain, result)

    def _call(self, module: str, path: str, args: 'Any', kwargs: 'Any') -> 'Any':
        fn: 'Any' = self._econtext.load_module(module)
        for name in path.split('.'):
            fn = getattr(fn, name)
        if getattr(fn, 'mitogen_takes_econtext', False):
            kwargs['econtext'] = self._econtext
        if getattr(fn, 'mitogen_takes_router', False):
            kwargs['router'] = self._econtext.router
        return fn(*args, **kwargs)

    def _reply(self, msg: Message, chain: 'Optional[str]', result: 'Any') -> None:
        try:
            reply = Message.pickled(result)
        except Exception as exc:
            result = CallError.of(exc)
            reply = Message.pickled(result)
        if isinstance(result, CallError):
            if chain and len(self._failed) < MAX_FAILED_CHAINS:
                self._failed.setdefault(chain, result)
            if not msg.reply_to:
                log(WARNING, 'call failed: %s', result)
        try:
            msg.reply(reply)
        except Error:
            pass        # the broker is gone, and with it whoever asked


# ---- 15: ExternalContext ---------------------------------------------------------------------------

class LeafBroker(Seed, Broker):
    grown_in = 'mitogen.broker'


class LeafRouter(Seed, Router):
    grown_in = 'mitogen.parent'


class ExternalContext(Seed):
    """A child: everything between the first stage and the end of its process. `context` is its own, `parent` the
    Context that started it, `config` what that one knew: see `mitogen.boot.payload.configuration`."""

    grown_in = 'mitogen.detach'

    def __init__(self, config: 'Dict[str, Any]') -> None:
        self.config, self._early = config, []       # type: Dict[str, Any], List[Message]
        self._become(config['context_id'], config['parent_ids'])
        self.broker = LeafBroker()
        self.router = router = LeafRouter(self.broker, config['context_id'], config['parent_ids'])
        router.__dict__.update(config['router'])
        router.econtext, self.context = self, router.myself()
        router.add_handler(lambda msg: self.broker.shutdown(), SHUTDOWN, policy=has_parent_authority)
        router.add_handler(self._activate, CALL_SERVICE)
        self.parent = router.context_by_id(config['parent_ids'][0], name='parent')
        self.importer = Importer(router)
        sys.meta_path.append(self.importer)     # last, so that what is installed here wins
        self.dispatcher = Dispatcher(self)
        # Once the end has begun, user code that does not come back must not keep the process alive.
        listen(self.broker, 'shutdown', threading.Thread(
            target=lambda: (time.sleep(EXIT_GRACE), os._exit(1)), daemon=True).start)  # type: ignore[func-returns-value]

    def main(self, *link: int) -> None:
        """Live until the parent is lost or has asked for the end. Main thread. `link`: descriptors that the parent
        writes to and reads, if not standard input and output."""
        global child_router
        child_router = self.router
        self._connect(*(link or (os.dup(0), os.dup(1))))
        LoggingWatch(self.router)
        self.config.get('on_start', id)(self)
        self.dispatcher.run()
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()
            except Exception:
                pass            # the user's code closed it, or put something else there
        self.broker.shutdown()
        self.broker.join()

    def _become(self, context_id: int, parent_ids: 'List[int]') -> None:
        """Make this process known to itself as a child."""
        package: 'Any' = sys.modules.get('mitogen')
        if not package:
            package = sys.modules['mitogen'] = type(sys)('mitogen')
            package.__path__ = []
            package.core = sys.modules[__name__]
            package.__version__ = self.config['version']
            package.main = lambda *args, **kwargs: lambda fn: fn    # a script is imported here, not run
        package.is_master, package.context_id = False, context_id
        package.parent_id, package.parent_ids = parent_ids[0], parent_ids

    def _connect(self, reader: int, writer: int) -> None:
        """Take the link to the parent out of reach of user code, say that we are ready, and listen."""
        # Reversed: neither our own command line nor what a login script echoes contains it.
        os.write(writer, (MAGIC_NUMBER.hex() + self.config['token'][::-1]).encode())
        stream = Stream(self.router, self.config['parent_ids'][0], 'parent', reader, writer)
        self.router.parent_stream = stream
        listen(stream, 'disconnect', self.broker.shutdown)
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        for fd, name in (1, 'stdout'), (2, 'stderr'):
            LineForwarder(self.router, name, fd)
            # Line by line, so that print() is seen when it happens.
            setattr(sys, name, open(fd, 'w', 1, encoding='utf-8', errors='backslashreplace', closefd=False))
        self.broker.start_receive(stream)

    def _activate(self, msg: Message) -> None:
        """The first calls of services: what serves those is of ring 1, and imported on a thread that can wait."""
        self._early.append(msg)
        if len(self._early) == 1:
            def load() -> None:
                self.broker.defer(self.load_module('mitogen.service').activate, self._early)
            threading.Thread(target=load, daemon=True).start()

    def load_module(self, fullname: str) -> 'Any':
        """Return a module by name, imported if need be. Main thread or any of the user's."""
        if fullname == '__main__' and not self.config.get('forked'):
            return self.importer.main_module()
        __import__(fullname)
        return sys.modules[fullname]


def name_process(name: str) -> None:
    """Overwrite the command line that ps shows with `name`, where the system lets us (Linux)."""
    try:
        with open('/proc/self/stat', 'rb', 0) as fp:
            start, end = map(int, fp.read().split(b')')[-1].split()[45:47])     # proc(5): arg_start, arg_end
        with open('/proc/self/mem', 'r+b', 0) as memory:
            memory.seek(start)
            memory.write(name.encode()[:end - start - 1].ljust(end - start, b'\0'))
    except Exception:
        pass        # then it stays as the last argument, where the first stage was given it
