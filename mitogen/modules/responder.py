"""
Serves modules: answers requests, and pushes what a call will need before the call.

Ring 2: the master's end of what `mitogen.modules.relay` passes on. Handlers on the broker thread only put requests in
a queue. Searching, scanning and compressing happen on a thread of their own, and push() does it on the thread that
calls.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from types import FunctionType

import mitogen.core
import mitogen.modules.relay
from mitogen.core import GET_MODULE, GET_RESOURCE, Message, Module
from mitogen.modules import finder, own
from mitogen.modules.library import CODE, TEXT, Library
from mitogen.modules.relay import MAX_NAME, with_loader
from mitogen.waiting import DEAF, reads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULE_NAME = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*\Z')

#: Of a path inside a package, as most systems have it: each of its folders costs a system call.
MAX_PATH = 4096

#: Bytes of one request, and requests of one child that wait. One thread serves all: nobody shall wait behind a flood.
MAX_REQUEST, MAX_WAITING = 65536, 1000

#: Comes along with the first module that a context is sent: whoever has code will want to log.
COMPANION = 'mitogen.logs'


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
        if module.source is not None:
            module = self.library.module(module.fullname, CODE if stream.takes_compiled else TEXT)
        self._pass_on(stream.remote_id, module)

    def _send_source(self, child_id: int, fullname: str) -> None:
        self._pass_on(child_id, self.library.module(fullname, TEXT))

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
