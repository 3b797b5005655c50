"""
The rest of the importer: what tracebacks, inspect and importlib.resources ask of a loader.

Ring 1: fetched by a leaf when one of them does. Any thread but the broker's.
"""

import importlib.util
import zlib

import mitogen.core
from mitogen.modules.resources import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class Importer(mitogen.core.Importer):
    """See mitogen.core.Importer."""

    def get_source(self, fullname: str) -> str:
        """Return the source text of a module that the master serves.

        :raises ImportError: it serves none of that name.
        """
        return importlib.util.decode_source(zlib.decompress(self.record(fullname).source or b''))

    def get_filename(self, fullname: str) -> str:
        return 'master:' + self.record(fullname).path

    def is_package(self, fullname: str) -> bool:
        return self.record(fullname).submodules is not None

    def get_resource_reader(self, fullname: str) -> 'Optional[Reader]':
        """For importlib.resources."""
        return Reader(self.router, fullname) if self.is_package(fullname) else None


def grow(importer: 'Any') -> None:
    """Turn a leaf's importer into the one here."""
    importer.__class__ = Importer
