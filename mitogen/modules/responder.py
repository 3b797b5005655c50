"""
Serves modules: answers requests, and pushes what a call will need before the call.

Ring 2: the master's end of what `mitogen.modules.relay` passes on. Handlers on the broker thread only put requests in
a queue. Searching, scanning and compressing happen on a thread of their own, and push() does it on the thread that
calls; what was found is kept, within limits.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType

import mitogen.core
import mitogen.modules.relay
from mitogen.core import GET_MODULE, GET_RESOURCE, Message, Module
from mitogen.modules import finder, own, scan
from mitogen.modules.finder import Finder, NotFound, Refused
from mitogen.modules.relay import BORN_WITH, MAX_NAME, packed, with_loader
from mitogen.waiting import DEAF, reads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Bytes of compressed source that are kept. Django whole is 3 MB.
MAX_CACHE = 64 << 20

MODULE_NAME = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*\Z')

#: Of a path inside a package, as most systems have it: each of its folders costs a system call.
MAX_PATH = 4096

#: Bytes of one request, and requests of one child that wait. One thread serves all: nobody shall wait behind a flood.
MAX_REQUEST, MAX_WAITING = 65536, 1000

#: What Python's own copy and pickle, and all that imports them, look for on every Python but this one. That there is
#: none is news that comes along too, or they would cost a round trip.
JYTHON = 'org'

#: Comes along with the first module that a context is sent: whoever has code will want to log.
COMPANION = 'mitogen.logs'


def prefixed(fullname: str, prefixes: Iterable[str]) -> bool:
    """Whether a module is one of `prefixes` or below it; '' is above all."""
    return any(not prefix or fullname == prefix or fullname.startswith(prefix.rstrip('.') + '.') for prefix in prefixes)


class Library:
    """What the master can serve: modules ready to be sent, and what each of them imports. Any thread.

    :ivar whitelist_prefix: module names; only these and what is below them is served. [''] is everything.
    :ivar blacklist_prefix: module names; these and what is below them is not served.
    """

    def __init__(self) -> None:
        self.finder = Finder()
        self._find = lru_cache(1)(self.finder.find)     # what is found is soon wanted again, as code
        self.whitelist_prefix = ['']
        self.blacklist_prefix: list[str] = []
        self._lock = threading.Lock()
        # (name, compiled?) -> module, oldest use first; under the lock, with its size.
        self._modules: OrderedDict[tuple[str, bool], Module] = OrderedDict()
        self._size = 0
        self._imports: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._modules)

    def may_serve(self, fullname: str) -> bool:
        own = fullname == '__main__' or prefixed(fullname, ['mitogen'])     # without these a child is lost
        return own or prefixed(fullname, self.whitelist_prefix) and not prefixed(fullname, self.blacklist_prefix)

    def module(self, fullname: str, compiled: bool = False) -> Module:
        """Return a module as it travels; without source when it is not served.

        :param compiled: as code for the Python that runs this, if it has any.
        """
        key = fullname, compiled
        with self._lock:
            module = self._modules.get(key)
            if module is not None:
                self._modules.move_to_end(key)
                return module
        module = self._compiled(self.module(fullname)) if compiled else self._make(fullname)
        with self._lock:
            self._forget(key)       # another thread may have made it meanwhile
            self._modules[key] = module
            self._size += weight(module)
            while self._size > MAX_CACHE:
                self._forget(next(iter(self._modules)))
        return module

    def _forget(self, key: tuple[str, bool]) -> None:
        module = self._modules.pop(key, None)
        self._size -= weight(module) if module else 0

    def _make(self, fullname: str) -> Module:
        if not self.may_serve(fullname):
            return Module(fullname, reason='%s is not served (whitelist_prefix, blacklist_prefix)' % fullname)
        try:
            found = self._find(fullname)
        except NotFound:
            return Module(fullname)
        except Refused as exc:
            return Module(fullname, reason=str(exc))
        source = own.smallest(fullname, found.source) if prefixed(fullname, ['mitogen']) else found.source
        submodules = list(found.submodules) + ['*'] * (not found.complete) if found.is_pkg else None
        return Module(fullname, found.path, zlib.compress(source, 9), submodules, found.package)

    def _compiled(self, module: Module) -> Module:
        name, path = module.fullname, 'master:' + module.path
        if module.source is None or name in BORN_WITH:
            return module
        try:
            if prefixed(name, ['mitogen']):     # shortened, and kept
                source = own.code(name, zlib.decompress(module.source), path)
            elif sys.flags.optimize:        # as the child would do it
                source = packed(compile(zlib.decompress(module.source), path, 'exec', dont_inherit=True, optimize=0))
            else:
                found = self._find(name)
                code = finder.code_of(found)
                self._imports[name] = self.scan(code, found.package)    # is wanted next, and would compile it again
                source = packed(finder.renamed(code, path))
        except (NotFound, Refused, SyntaxError, ValueError, RecursionError, MemoryError):
            return module       # the child will find out
        return Module(name, module.path, source, module.submodules, module.package, compiled=True)

    def override(self, fullname: str, path: str, source: str | bytes, is_pkg: bool) -> None:
        """Serve other source for a module than the one that is found."""
        self.finder.override(fullname, path, source, is_pkg)
        self._find.cache_clear()
        with self._lock:
            self._forget((fullname, False))
            self._forget((fullname, True))
            self._imports.pop(fullname, None)

    def imports(self, fullname: str) -> list[str]:
        """Return the names that a module may import when it is executed, parents before children."""
        names = self._imports.get(fullname)
        if names is None:
            try:
                found = self._find(fullname)
                names = self.scan(finder.code_of(found), found.package)
            except (Refused, SyntaxError, ValueError, RecursionError, MemoryError):
                names = []      # the child will hear of it when it imports that
            self._imports[fullname] = names
        return names

    @staticmethod
    def scan(code: CodeType, package: str, deep: bool = False) -> list[str]:
        names = (name for imported in scan.imports(code, deep) for name in scan.candidates(imported, package))
        return list(dict.fromkeys(names))

    def home(self, top: str, lacking: bool) -> str:
        """The folder that a top-level module is in; '' when unknown.

        :param lacking: the child is known to lack what is there. Else, when that is a folder where packages are
            installed, return '': they may well be installed on the target too.
        """
        module = self.module(top)
        folder = os.path.dirname(os.path.dirname(module.path) if module.submodules is not None else module.path)
        return '' if not lacking and ('site-packages' in folder or 'dist-packages' in folder) else folder

    def closure(self, roots: Iterable[str], sent: Iterable[str], lacking: bool) -> Iterator[Module]:
        """What an import of `roots` will load of their own packages, of those that the child has parts of already, and
        of what lies beside them (see home()); and the news of what it will look for in vain.

        In the order of execution, each as soon as it is found: the child runs the first while the rest is looked for.
        """
        tops = {name.partition('.')[0] for name in [*BORN_WITH, *roots, *sent]}
        homes = {self.home(top, lacking) for top in tops} - {''}
        todo = [JYTHON] + [name for root in roots for name in parents(root)][::-1]      # a stack, the first on top
        seen: dict[str, Module] = {}
        while todo:
            name = todo.pop()
            if name in seen or not self._belongs(name, tops, homes, seen, lacking):
                continue
            seen[name] = module = self.module(name)
            # Of a top-level module that cannot be served the target may have its own; not of one in a package of ours.
            if name not in BORN_WITH and (module.source is not None or not module.reason or '.' in name):
                yield module
            if module.source is not None:
                todo += reversed(self.imports(name))

    def _belongs(self, name: str, tops: set[str], homes: set[str], seen: dict[str, Module], lacking: bool) -> bool:
        top, _, below = name.partition('.')
        if top in sys.stdlib_module_names:
            return False
        if below:       # an attribute, unless its package says that it is a module
            package, _, last = name.rpartition('.')
            return package in seen and last in (seen[package].submodules or ())
        return top in tops or self.home(top, lacking) in homes or self.module(top).source is None


def weight(module: Module) -> int:
    """Bytes that a module takes here. One that does not exist weighs too, or a child could fill us with names."""
    return len(module.source or b'') + 1000


def parents(fullname: str) -> list[str]:
    """['a', 'a.b', 'a.b.c'] of 'a.b.c'."""
    bits = fullname.split('.')
    return ['.'.join(bits[:i]) for i in range(1, len(bits) + 1)]


class Responder(mitogen.modules.relay.Relay):
    """The router's `responder`; see Library for `whitelist_prefix`, `blacklist_prefix`."""

    max_asked = mitogen.modules.relay.MAX_ASKED

    def __init__(self, router: Any) -> None:
        self._router = router
        self.library = Library()
        self._requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting: Counter[Any] = Counter()     # stream -> its requests in the queue; under the lock
        self.requests_served = 0
        router.add_handler(self._on_request, GET_MODULE, policy=mitogen.modules.relay.is_from_child)
        router.add_handler(self._on_request, GET_RESOURCE)
        mitogen.core.listen(router.broker, 'exit', lambda: self._requests.put(None))

    @property
    def whitelist_prefix(self) -> list[str]:
        """Names of modules; only these and what is below them is served. [''], the default, is everything."""
        return self.library.whitelist_prefix

    @whitelist_prefix.setter
    def whitelist_prefix(self, prefixes: list[str]) -> None:
        self.library.whitelist_prefix = prefixes

    @property
    def blacklist_prefix(self) -> list[str]:
        """Names of modules; these and what is below them is not served."""
        return self.library.blacklist_prefix

    @blacklist_prefix.setter
    def blacklist_prefix(self, prefixes: list[str]) -> None:
        self.library.blacklist_prefix = prefixes

    def core_source(self) -> str:
        return own.smallest('mitogen.core', self.library.finder.find('mitogen.core').source).decode()

    def core_code(self) -> bytes:
        return own.code('mitogen.core', self.core_source().encode(), 'mitogen.core')

    def add_source_override(self, fullname: str, path: str, source: str | bytes, is_pkg: bool) -> None:
        """Serve `source` for a module, whatever the master itself has under that name. Any thread.

        :param path: its file name, for tracebacks.
        """
        self.library.override(fullname, path, source, is_pkg)

    def forward_modules(self, context: Any, names: Iterable[str]) -> None:
        """Send modules, and what they will import, to a context that will need them. Any thread but the broker's."""
        self.push(context.context_id, names)

    # pushing

    def lookup(self, fullname: str) -> Module:
        return self.library.module(fullname)

    def push_call(self, context: Any, fullname: str, fn: Any) -> None:
        """Send a context what a call of `fn`, in module `fullname`, will need."""
        top = fullname.partition('.')[0]
        if top in sys.stdlib_module_names:
            return
        module = self.library.module(fullname)
        if module.source is None:
            # The target may have it, unless it is what only we can have.
            if fullname == '__main__':
                raise TypeError(module.reason)
            return
        roots = [fullname]
        code = getattr(getattr(fn, '__wrapped__', fn), '__code__', None)
        if isinstance(fn, FunctionType) and code is not None:
            imported = self.library.scan(code, module.package, deep=True)
            roots += [name for name in imported if name.partition('.')[0] == top]
        self.push(context.context_id, roots)

    def push(self, context_id: int, names: Iterable[str]) -> None:
        stream = self._router.stream_by_id(context_id)
        if stream is not None and (stream.needs_code or stream.remote_id != context_id):
            modules = self.library.closure([*with_loader(names), COMPANION], stream.modules_sent, lacking=False)
            self.push_modules(context_id, stream, modules)

    # answering

    def _on_request(self, msg: Message) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name='mitogen.responder', daemon=True)
            self._worker.start()
        with self._lock:
            refused = len(msg.data) > MAX_REQUEST or self._waiting[msg.stream] >= MAX_WAITING
            self._waiting[msg.stream] += not refused
        if refused:
            self.apologize(msg, 'the request is too large, or one too many at once')
        else:
            self._requests.put(msg)

    def _work(self) -> None:
        for msg in iter(self._requests.get, None):
            self.serve(msg)
            with self._lock:
                self._waiting[msg.stream] -= 1
                self._waiting += Counter()      # forgets who has none

    def serve(self, msg: Message) -> None:
        """Answer one request. Any thread but the broker's."""
        try:
            first, second = msg.unpickle()
        except (mitogen.core.Error, TypeError, ValueError) as exc:
            mitogen.core.log(mitogen.core.DEBUG, 'not a request, from context %s: %s', msg.src_id, exc)
            return
        try:
            if msg.handle == GET_RESOURCE:
                room = reads(msg.stream, self._router.broker)
                msg.reply(self.resource(first, second) if room else Message.dead(DEAF))
            elif self.is_question(msg.stream, first):
                self.answer(msg.src_id or 0, first, second)
        except mitogen.core.Error:
            pass            # the broker has ended
        except Exception as exc:
            mitogen.core.log(mitogen.core.ERROR, 'a request from context %s failed', msg.src_id)
            self.apologize(msg, 'the master failed to read it: %s: %s' % (type(exc).__name__, exc))

    def apologize(self, msg: Message, reason: str) -> None:
        """Whoever asked waits: tell it that there is no answer, and why. Any thread."""
        try:
            if msg.handle != GET_MODULE:
                msg.reply(Message.dead(reason))
            elif len(msg.data) <= MAX_REQUEST:
                self._pass_on(msg.src_id or 0, Module(str.__str__(msg.unpickle()[0]), reason=reason))
        except (mitogen.core.Error, TypeError, LookupError):
            pass            # the broker has ended, or it was no request

    def _send_form(self, stream: Any, module: Module) -> None:
        if stream.takes_compiled and module.source is not None:
            module = self.library.module(module.fullname, compiled=True)
        self._pass_on(stream.remote_id, module)

    def _send_source(self, child_id: int, fullname: str) -> None:
        self._pass_on(child_id, self.library.module(fullname))

    def answer(self, child_id: int, fullname: str, wanted: str | None) -> None:
        stream = self._router.stream_by_id(child_id)
        if stream is None or fullname in stream.modules_sent:
            if stream is not None and wanted is None:
                self.answer_source(stream, fullname)
            return
        self.requests_served += 1
        # Whatever it asks for, it waits for an answer.
        module = self.library.module(fullname) if acceptable(fullname) else Module(fullname)
        self.send(child_id, module)
        if module.source is not None:
            below = acceptable(wanted) and str(wanted).startswith(fullname + '.')
            roots = [str(wanted)] if below else [fullname]
            for other in self.library.closure(roots, stream.modules_sent, lacking=True):
                self.send(child_id, other)

    def resource(self, package: Any, path: Any) -> Any:
        """Return what importlib.resources in a child asks for: bytes, a list of (name, is folder), or None."""
        if not acceptable(package) or type(path) is not str or len(path) > MAX_PATH:
            return None
        if self.library.module(package).submodules is None:
            return None
        for folder in finder.locations(package):
            root = os.path.realpath(folder)
            inside = os.path.realpath(os.path.join(root, path))
            if os.path.commonpath([root, inside]) != root or not self.library.may_serve(dotted(package, root, inside)):
                return None
            if os.path.isdir(inside):
                return sorted((one.name, one.is_dir()) for one in os.scandir(inside) if one.name != '__pycache__')
            if os.path.isfile(inside):
                with open(inside, 'rb') as fp:
                    return fp.read()
        return None


def dotted(package: str, root: str, path: str) -> str:
    """'a.b.c' for package 'a' and the file b/c.txt below its folder: what is not served as module is no data either."""
    names = [name.partition('.')[0] for name in os.path.relpath(path, root).split(os.sep)]
    return '.'.join(filter(None, [package, *names]))


def acceptable(name: Any) -> bool:
    """Whether a name that a child sent may be that of a module."""
    return isinstance(name, str) and len(name) <= MAX_NAME and MODULE_NAME.match(name) is not None
