"""Find a module's source in the master, as the import system would, and import nothing.

The import system's own rules are followed: a module that is loaded tells by its ``__spec__`` where it is from, any
other is looked for with ``sys.meta_path``, in the folders of its parent package. So zip files, editable installs,
namespace packages over several folders, and finders that nobody here has heard of, serve as they do in an import. But
a child that asks for ``a.b`` must not make the master run ``a/__init__.py``, which the import system itself would do
on the way.

Nothing that was found is kept, so nothing grows and nothing gets old; how long an answer is good is for the caller to
say. To search is to read folders and files: any thread may do it except the broker's.
"""

from __future__ import annotations

import io
import os
import sys
import tokenize
import types
from collections import namedtuple
from collections.abc import Iterable, Iterator
from importlib import machinery
from importlib.machinery import ModuleSpec

from mitogen.modules.listing import entry_finder, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ABSENT = 'the master has no module of this name'
NOT_A_PACKAGE = 'the master has no module of this name: {} is not a package'
BLOCKED = 'the master must not import it: {}'
STANDARD = 'it belongs to the standard library, of which every Python has its own; the one on the target lacks it'
BUILT_IN = 'it is built into the interpreter of the master'
EXTENSION = 'it is a compiled extension ({}), made for the machine of the master: install it on the target'
NO_SOURCE = 'there is no source of it, only {}'
UNREADABLE = 'its source cannot be read: {}'
MADE_UP = 'some program made it at run time, so it has no source'
BROKEN_FINDER = 'the import hook {!r} of the master failed: {!r}'
MAIN_TYPED = """\
the main program was typed in or given with -c, so there is no file to read it from: put the functions that are to be \
called elsewhere into a module"""
MAIN_STANDARD = """\
the main program is {} of the standard library, not a script: put the functions that are to be called elsewhere into a \
module"""


class Refused(Exception):
    """A module that was asked for will not be served.

    :ivar fullname: its dotted name.
    :ivar reason: why, in words for the person whose program wanted it.
    """

    def __init__(self, fullname: str, reason: str) -> None:
        super().__init__(fullname, reason)
        self.fullname = fullname
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.fullname}: {self.reason}'


class NotSendable(Refused):
    """There is such a module, but a child cannot have it from here."""


class NotFound(Refused):
    """There is no such module in the master. `fullname` may be that of a parent of the one that was asked for."""


class Found(namedtuple('Found', 'fullname path source is_pkg package submodules complete spec',
                       defaults=((), True, None))):
    """A module that a child may have.

    :ivar fullname: dotted name.
    :ivar path: where it is from: a file name, or something like one to show in tracebacks. '' for a namespace package.
    :ivar source: as it is on disk, in whatever encoding its first lines say. Empty for a namespace package.
    :ivar is_pkg: whether it is a package.
    :ivar package: its ``__package__``.
    :ivar submodules: of a package, names of all that may be importable beneath it, sorted. Some of them may turn out to
        be folders of other things.
    :ivar complete: whether what `submodules` lacks is known not to exist. Some import hooks do not tell what they have.
    :ivar spec: from where the import system would load it; None where the source is not the one that it would load.
    """

    __slots__ = ()

    @property
    def folders(self) -> list[str] | None:
        """Of a package: where modules beneath it are looked for, unless it is an override."""
        return self.spec.submodule_search_locations if self.spec else None


class Finder:
    """Finds modules, except for those that it was told."""

    def __init__(self) -> None:
        self._overrides: dict[str, Found] = {}

    def override(self, fullname: str, path: str, source: str | bytes, is_pkg: bool) -> None:
        """From now on serve this source under this name, whatever the import system would find.

        :param path: shown as file name in tracebacks; need not exist.
        :param is_pkg: whether it is a package. Other overrides may lie beneath it.
        """
        source = _encoded(source) if isinstance(source, str) else source
        self._overrides[fullname] = Found(fullname, path, source, is_pkg, _package(fullname, is_pkg))

    def find(self, fullname: str, folders: list[str] | None = None) -> Found:
        """Find a module by its dotted name, or the main program by the name ``__main__``.

        :param folders: the locations() of its package, where they are known: else that is looked for first, and what
            that is in.
        :raises NotFound: there is none.
        :raises NotSendable: there is one, and the child must get it from elsewhere, or cannot have it.
        """
        _check_name(fullname)
        if fullname == '__main__':
            return self._overrides.get(fullname) or _find_main()
        found = self._overrides.get(fullname) or _find(fullname, folders)
        return self._with_submodules(found) if found.is_pkg else found

    def _with_submodules(self, package: Found) -> Found:
        names = {*_beneath(package.fullname, [*self._overrides]), *_loaded_beneath(package.fullname)}
        try:
            lists = [*map(listed, locations(package.fullname, package.folders))]
        except Refused:
            lists = []      # the package itself is an override
        submodules = tuple(sorted(names.union(*filter(None, lists))))
        return package._replace(submodules=submodules, complete=None not in lists)


def code_of(found: Found) -> types.CodeType:
    """Return the code of a module, from its .pyc file if the import system would take it from there.

    :raises SyntaxError: the source is not for the Python of the master. It may be for that of a child.
    """
    try:
        code = found.spec and found.spec.loader and _compiled(found.spec.loader, found.spec.name)
        return code or compile(found.source, found.path, 'exec', dont_inherit=True)
    except ValueError as exc:
        # Before Python 3.12, what compile() makes of a null character.
        raise SyntaxError(str(exc)) from exc


def renamed(code: types.CodeType, path: str) -> types.CodeType:
    """Return the same code as if it had been compiled from another file."""
    if types.CodeType not in map(type, code.co_consts):     # most functions
        return code.replace(co_filename=path)
    constants = [renamed(item, path) if type(item) is types.CodeType else item for item in code.co_consts]
    return code.replace(co_filename=path, co_consts=tuple(constants))


def _compiled(loader: Any, name: str) -> types.CodeType | None:
    try:
        code = loader.get_code(name) if hasattr(loader, 'get_code') else None
    except Exception:
        return None     # gone since it was found, or cut off, or whatever a hook raises; the source was read
    return code if isinstance(code, types.CodeType) else None


def _check_name(fullname: str) -> None:
    # It comes from a child and becomes part of a file name. Names with a hyphen are strange, not dangerous; but
    # `a./etc/x` must not become a path.
    if not all(part and not set(part) & set('/\\\0') for part in fullname.split('.')):
        raise NotFound(fullname, ABSENT)


def _package(fullname: str, is_pkg: bool) -> str:
    return fullname if is_pkg else fullname.rpartition('.')[0]


# ---- Modules


def _find(fullname: str, folders: list[str] | None) -> Found:
    if fullname.partition('.')[0] in sys.stdlib_module_names:
        raise NotSendable(fullname, STANDARD)
    spec = _beside_extension(_spec(fullname, folders))
    source, is_pkg = _source(fullname, spec), spec.submodule_search_locations is not None
    return Found(fullname, _path(spec, source), source, is_pkg, _package(fullname, is_pkg), spec=spec)


def _spec(fullname: str, folders: list[str] | None = None) -> ModuleSpec:
    spec = _loaded_spec(fullname)
    if spec is None:
        parent = fullname.rpartition('.')[0]
        spec = _search(fullname, locations(parent, folders) if parent else None)
    if spec is None:
        raise NotSendable(fullname, MADE_UP) if fullname in sys.modules else NotFound(fullname, ABSENT)
    return spec


def _loaded_spec(fullname: str) -> ModuleSpec | None:
    module = sys.modules.get(fullname, ABSENT)      # a text, which has no __spec__
    if module is None:
        raise NotFound(fullname, BLOCKED.format('sys.modules has None in its place'))
    spec = _attribute(module, '__spec__')
    # A module that is also known by a second name has the spec of the first. Under the second there may be a file too.
    return spec if isinstance(spec, ModuleSpec) and spec.name == fullname else None


def _attribute(module: object, name: str) -> Any:
    """An attribute of a loaded module, or None, without waking a lazy module or calling its ``__getattr__``."""
    try:
        return object.__getattribute__(module, '__dict__').get(name)
    except AttributeError:
        return None     # anything may be in sys.modules, also what has no attributes


def _beside_extension(spec: ModuleSpec) -> ModuleSpec:
    """The Python source that mypyc and Cython leave beside what they make of it: that runs on every machine."""
    suffix = next((suffix for suffix in machinery.EXTENSION_SUFFIXES if (spec.origin or '').endswith(suffix)), None)
    path = (spec.origin or '').removesuffix(suffix) + '.py' if suffix else ''
    if not os.path.isfile(path):
        return spec
    found = ModuleSpec(spec.name, machinery.SourceFileLoader(spec.name, path), origin=path)
    found.submodule_search_locations = spec.submodule_search_locations
    found.has_location = True
    return found


def locations(package: str, folders: list[str] | None = None) -> list[str]:
    """The folders, and whatever else is like one, in which modules beneath a package are looked for.

    :param folders: what they were when it was found; good unless it has been loaded here.
    :raises NotFound: there is no such package.
    :raises NotSendable: an import hook failed.
    """
    path = _attribute(sys.modules.get(package), '__path__')
    if path is None:
        path = _spec(package).submodule_search_locations if folders is None else folders
    if path is None:
        raise NotFound(package, NOT_A_PACKAGE.format(package))
    return list(path)


def _search(fullname: str, path: list[str] | None) -> ModuleSpec | None:
    """Ask one import hook after the other; `path` is None for a module that is in no package."""
    failures = []
    for hook in [*sys.meta_path]:
        try:
            spec = _ask(hook, fullname, path)
        except ImportError as exc:
            # This is how a hook forbids a module. The next one would find it.
            raise NotFound(fullname, BLOCKED.format(exc)) from exc
        except Exception as exc:
            # Whoever wrote it did not expect to be asked for a module whose parent is not loaded.
            failures.append(BROKEN_FINDER.format(hook, exc))
        else:
            if spec:
                return spec
    if failures:
        raise NotSendable(fullname, '; '.join(failures))
    return None


def _ask(hook: Any, fullname: str, path: list[str] | None) -> ModuleSpec | None:
    if hook is machinery.PathFinder:
        return _search_path(fullname, sys.path if path is None else path)
    if not hasattr(hook, 'find_spec'):
        return None     # Python 3.11 still calls find_module() of such a hook, which is far too late for a new one
    spec: ModuleSpec | None = hook.find_spec(fullname, path)
    return spec


def _search_path(fullname: str, path: Iterable[str]) -> ModuleSpec | None:
    """What PathFinder does. It fails itself when a namespace package lies in a package that is not loaded."""
    portions: list[str] = []
    for entry in path:
        finder = entry_finder(entry)
        spec: ModuleSpec | None = finder.find_spec(fullname) if hasattr(finder, 'find_spec') else None
        if spec and spec.loader:
            return spec
        portions += spec and spec.submodule_search_locations or ()
    namespace = ModuleSpec(fullname, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace if portions else None


# ---- Sources


def _source(fullname: str, spec: ModuleSpec) -> bytes:
    loader: Any = spec.loader
    if loader is None and spec.submodule_search_locations is not None:
        return b''      # a namespace package
    if loader in (machinery.BuiltinImporter, machinery.FrozenImporter):
        raise NotSendable(fullname, BUILT_IN)
    if (spec.origin or '').endswith(tuple(machinery.EXTENSION_SUFFIXES)):
        raise NotSendable(fullname, EXTENSION.format(spec.origin))
    try:
        source = _read(spec)
    except (ImportError, OSError, SyntaxError, ValueError) as exc:
        raise NotSendable(fullname, UNREADABLE.format(exc)) from exc
    if source is None:
        raise NotSendable(fullname, NO_SOURCE.format(spec.origin or f'what {loader!r} makes'))
    return source


def _read(spec: ModuleSpec) -> bytes | None:
    """The source as bytes, or None when it has none; by whatever its loader offers, best first."""
    loader: Any = spec.loader
    filename = _filename(spec)
    has_source_file = filename.endswith(tuple(machinery.SOURCE_SUFFIXES))
    if has_source_file and hasattr(loader, 'get_data'):
        data: bytes = loader.get_data(filename)
        return data
    if hasattr(loader, 'get_source'):
        text = loader.get_source(spec.name)
        return None if text is None else _encoded(text)
    if not has_source_file:
        return None
    with open(filename, 'rb') as fp:
        return fp.read()


def _filename(spec: ModuleSpec) -> str:
    loader: Any = spec.loader
    if hasattr(loader, 'get_filename'):
        return str(loader.get_filename(spec.name))
    return spec.origin or '' if spec.has_location else ''


def _encoded(text: str) -> bytes:
    """Encode source in the way that its own first lines say, or whoever reads it decodes it wrongly."""
    text = text.removeprefix('\ufeff')
    try:
        return text.encode(tokenize.detect_encoding(io.BytesIO(text.encode()).readline)[0])
    except (SyntaxError, UnicodeEncodeError):
        return text.encode()    # what is wrong with it will be said where it is compiled


def _path(spec: ModuleSpec, source: bytes) -> str:
    if not spec.origin and not source and spec.submodule_search_locations is not None:
        return ''
    # In a zip file with both, the loader means the .pyc; the source is from the file beside it.
    path = spec.origin or f'<{spec.name}>'
    return path[:-1] if path.endswith('.pyc') else path


# ---- The main program


def _find_main() -> Found:
    from mitogen.modules.main_guard import main_source  # not at import: see mitogen.modules.own
    module = sys.modules['__main__']
    # With -m there is a spec, under the name that was asked for; for a folder or a zip file too.
    spec = _attribute(module, '__spec__') or _script_spec(_attribute(module, '__file__'))
    if spec.name.partition('.')[0] in sys.stdlib_module_names:
        raise NotSendable('__main__', MAIN_STANDARD.format(spec.name))
    source, package = _source('__main__', spec), _attribute(module, '__package__') or spec.parent or ''
    return Found('__main__', _path(spec, source), main_source(source), False, package)


def _script_spec(path: str | None) -> ModuleSpec:
    if path in (None, '<stdin>'):
        raise NotSendable('__main__', MAIN_TYPED)
    return ModuleSpec('__main__', machinery.SourceFileLoader('__main__', path), origin=path)


# ---- Lists of submodules


def _beneath(package: str, fullnames: Iterable[str]) -> Iterator[str]:
    """Names of direct submodules of a package, taken from dotted names."""
    prefix = package + '.'
    for fullname in fullnames:
        if fullname.startswith(prefix):
            yield fullname[len(prefix):].partition('.')[0]


def _loaded_beneath(package: str) -> Iterator[str]:
    # An import hook may have found them where no list of a folder shows them.
    for name in _beneath(package, [*sys.modules]):
        fullname = f'{package}.{name}'
        if sys.modules.get(fullname) is not None and _loaded_spec(fullname):
            yield name
