"""
The rest of the importer: the master's main script as a module, and what tracebacks, inspect and importlib.resources
ask of a loader.

Ring 1: comes along with the main script, and is else fetched by a leaf when something asks. It imports little itself,
as many a leaf runs functions of the main script. Any thread but the broker's.
"""

import sys
import threading
import zlib

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable, Optional

_main_lock = threading.RLock()


class Importer(mitogen.core.Importer):
    """See mitogen.core.Importer."""

    _main: 'Optional[ModuleType]' = None

    def main_module(self) -> 'ModuleType':
        """Return the master's main script as module, executed without its main part."""
        return self._main or self._load_main()

    def _load_main(self) -> 'ModuleType':
        with _main_lock:
            module = sys.modules['__main__']
            if not isinstance(getattr(module, '__loader__', None), mitogen.core.Importer):
                record = self.record('__main__')
                module = type(sys)('__main__')
                module.__file__, module.__package__ = 'master:' + record.path, record.package
                module.__loader__ = self
                sys.modules['__main__'] = module
                self.exec_module(module)
            self._main = module
            return module

    def get_source(self, fullname: str) -> str:
        """Return the source text of a module that the master serves.

        :raises ImportError: it serves none of that name.
        """
        from importlib.util import decode_source  # late, as below
        record = self.record(fullname)
        if record.compiled:
            latch = mitogen.core.Latch(self.router.broker)
            try:
                self.ask_source(fullname, latch.put)
                record = latch.get(mitogen.core.MODULE_TIMEOUT)
            except mitogen.core.Error as exc:
                raise ImportError('the source of %s did not come: %s' % (fullname, exc)) from None
        if record.source is None:
            raise ImportError(record.reason or 'no module %s' % fullname)
        return decode_source(zlib.decompress(record.source))

    def ask_source(self, fullname: str, then: 'Callable[[mitogen.core.Module], None]') -> None:
        """Have ``then(module)`` called when a module that may be here as code, for this Python only, is here as source,
        for any and for people. Any thread; `then` perhaps on the broker's."""
        with self._lock:
            module = self.table.modules.get(fullname)
            here = module is not None and not module.compiled
            first = not here and fullname not in self._waiting
            if not here:
                self._waiting.setdefault(fullname, []).append(then)
        if here:
            then(module)        # type: ignore[arg-type]
        elif first:
            self.router.route(mitogen.core.Message.pickled(
                (fullname, None if module else ''), dst_id=self.router.parent_ids[0], handle=mitogen.core.GET_MODULE))

    def get_filename(self, fullname: str) -> str:
        return 'master:' + self.record(fullname).path

    def is_package(self, fullname: str) -> bool:
        return self.record(fullname).submodules is not None

    def get_resource_reader(self, fullname: str) -> 'Any':
        """For importlib.resources."""
        from mitogen.modules.resources import Reader
        return Reader(self.router, fullname) if self.is_package(fullname) else None


def grow(importer: 'Any') -> None:
    """Turn a leaf's importer into the one here."""
    importer.__class__ = Importer
