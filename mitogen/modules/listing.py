"""What modules the entries of a path may have: folders, zip files, and whatever else finders know how to list.

Ring 2. Reads folders and files, so not on the broker thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib import machinery
from zipimport import zipimporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Longest first: ``.cpython-311-x86_64-linux-gnu.so`` before ``.so``.
SUFFIXES = sorted(machinery.all_suffixes(), key=len, reverse=True)

# Zip files whose lists of names are remembered: reading the list takes 50 ms for 5,000 names, and each of the packages
# in there asks again. Programs have one or two such files on their path.
MAX_ZIP_FILES = 8


def entry_finder(entry: object) -> Any:
    """Return the finder of an entry of a path, as `pkgutil.get_importer` does; None: there is none."""
    if not isinstance(entry, str):
        return None     # it is ignored
    try:
        entry = entry or os.getcwd()        # that must not be remembered as ''
    except OSError:
        return None     # the current folder was deleted
    finders: dict[str, Any] = sys.path_importer_cache
    with suppress(KeyError):
        return finders[entry]
    for hook in sys.path_hooks:
        with suppress(ImportError):     # it is not for such entries
            return finders.setdefault(entry, hook(entry))
    return None


def listed(entry: str) -> set[str] | None:
    """Names of modules that one folder, or whatever else is on a path, may have. None when it does not tell."""
    finder = entry_finder(entry)
    if isinstance(finder, machinery.FileFinder):
        names = _names_in_folder(entry)
    elif isinstance(finder, zipimporter):
        names = _names_in_zip(finder)
    elif finder is None:
        return set()
    elif hasattr(finder, 'iter_modules'):
        return {name for name, _ in finder.iter_modules('')}     # as pkgutil, whose import takes as long as logging's
    else:
        return None
    return {*filter(None, map(_module_name, names))} - {'__init__'}


def _module_name(name: str) -> str | None:
    """What a file, or a folder if it ends in a slash, is called when it is imported."""
    # Any folder is a namespace package to Python, and many hold templates or pictures. The list may be too long.
    folder = name.removesuffix('/')
    if folder == name:
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
        return name.removesuffix(suffix) if suffix else None
    return folder if folder.isidentifier() and folder != '__pycache__' else None


def _names_in_folder(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name + '/' * entry.is_dir() for entry in entries)
    except OSError:
        return      # not readable: the import system would find nothing either


def _names_in_zip(finder: zipimporter) -> Iterator[str]:
    from zipfile import BadZipFile  # not at import: it takes a while, and few programs need it
    try:
        names = _zip_names(finder.archive, os.stat(finder.archive).st_mtime_ns)
    except (OSError, BadZipFile):
        return      # replaced or gone while the program runs
    for name in names:
        if name.startswith(finder.prefix):
            first, slash, _ = name[len(finder.prefix):].partition('/')
            yield first + slash


@lru_cache(MAX_ZIP_FILES)
def _zip_names(archive: str, changed: int) -> tuple[str, ...]:
    """All names in a zip file. Folders need not have an entry of their own."""
    from zipfile import ZipFile
    with ZipFile(archive) as opened:
        return tuple(opened.namelist())
