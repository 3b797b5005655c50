"""
What the master can serve: modules as they are found and as they travel, and which others an import of them will load.

Ring 2. Searching, scanning and compressing take their time, so not on the broker thread; any other. What was found is
kept, within limits.
"""

from __future__ import annotations

import os
import sys
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType

from mitogen.core import Module
from mitogen.modules import finder, own, scan
from mitogen.modules.finder import Finder, Found, NotFound, Refused
from mitogen.modules.relay import BORN_WITH, packed

#: Bytes of modules that are kept. Django whole is 6 MB, and 4 MB as code.
MAX_CACHE = 64 << 20

#: What is in the source of a module: what was found; or that as it is sent, or as code for the Python that runs this.
FOUND, TEXT, CODE = 'found', 'text', 'code'

#: What Python's own copy and pickle, and all that imports them, look for on every Python but this one. That there is
#: none is news that comes along too, or they would cost a round trip.
JYTHON = 'org'


def prefixed(fullname: str, prefixes: Iterable[str]) -> bool:
    """Whether a module is one of `prefixes` or below it; '' is above all."""
    return any(not prefix or fullname == prefix or fullname.startswith(prefix.rstrip('.') + '.') for prefix in prefixes)


class Library:
    """What the master can serve: modules, and what each of them imports. Any thread.

    :ivar whitelist_prefix: module names; only these and what is below them is served. [''] is everything.
    :ivar blacklist_prefix: module names; these and what is below them is not served.
    """

    def __init__(self) -> None:
        self.finder = Finder()
        self._find = lru_cache(1)(self._look_for)       # what is found is soon wanted again, as code
        self._folders: dict[str, list[str]] = {}        # package -> where what is beneath it may be
        self.whitelist_prefix = ['']
        self.blacklist_prefix: list[str] = []
        self._lock = threading.Lock()
        # (name, form) -> module, oldest use first; under the lock, with its size.
        self._modules: OrderedDict[tuple[str, str], Module] = OrderedDict()
        self._size = 0
        self._imports: dict[str, list[str]] = {}

    def __len__(self) -> int:
        with self._lock:
            return sum(form == FOUND for _, form in self._modules)

    def may_serve(self, fullname: str) -> bool:
        own = fullname == '__main__' or prefixed(fullname, ['mitogen'])     # without these a child is lost
        return own or prefixed(fullname, self.whitelist_prefix) and not prefixed(fullname, self.blacklist_prefix)

    def module(self, fullname: str, form: str = FOUND) -> Module:
        """Return a module; without source when it is not served.

        :param form: FOUND, TEXT or CODE; one that has no code comes as TEXT.
        """
        key = fullname, form
        with self._lock:
            module = self._modules.get(key)
            if module is not None:
                self._modules.move_to_end(key)
                return module
        module = self._make(fullname) if form == FOUND else self._packed(self.module(fullname), form)
        with self._lock:
            self._forget(key)       # another thread may have made it meanwhile
            self._modules[key] = module
            self._size += weight(module)
            while self._size > MAX_CACHE:
                self._forget(next(iter(self._modules)))
        return module

    def _forget(self, key: tuple[str, str]) -> None:
        module = self._modules.pop(key, None)
        self._size -= weight(module) if module else 0

    def _look_for(self, fullname: str) -> Found:
        found = self.finder.find(fullname, self._folders.get(fullname.rpartition('.')[0]))
        if found.folders is not None:
            self._folders[fullname] = list(found.folders)       # that of a namespace may look into sys.modules
        return found

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
        return Module(fullname, found.path, source, submodules, found.package)

    def _packed(self, module: Module, form: str) -> Module:
        if module.source is None:
            return module
        code = self._code(module) if form == CODE and module.fullname not in BORN_WITH else None
        # To compress text more takes three times as long, and saves a hundredth. Most is never sent, so not before.
        return Module(**dict(vars(module), source=code or zlib.compress(module.source, 5), compiled=code is not None))

    def _code(self, module: Module) -> bytes | None:
        name, path, source = module.fullname, 'master:' + module.path, module.source or b''
        try:
            if prefixed(name, ['mitogen']):     # shortened, and kept
                return own.code(name, source, path)
            if sys.flags.optimize:      # as the child would do it
                return packed(compile(source, path, 'exec', dont_inherit=True, optimize=0))
            found = self._find(name)
            code = finder.code_of(found)
            self._imports[name] = self.scan(code, found.package)    # is wanted next, and would compile it again
            return packed(finder.renamed(code, path))
        except (Refused, SyntaxError, ValueError, RecursionError, MemoryError):
            return None     # the child will find out

    def override(self, fullname: str, path: str, source: str | bytes, is_pkg: bool) -> None:
        """Serve other source for a module than the one that is found."""
        self.finder.override(fullname, path, source, is_pkg)
        self._find.cache_clear()
        with self._lock:
            for form in FOUND, TEXT, CODE:
                self._forget((fullname, form))
            self._imports.pop(fullname, None)
            self._folders.pop(fullname, None)

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
