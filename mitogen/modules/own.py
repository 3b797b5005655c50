"""
Source of this library itself, as it is sent: as small as `mitogen.modules.shorten` gets it, and that as code. To make
it takes a second, so it is kept: beside compiled files, or in the user's cache.

Ring 2. Any thread. What is kept is made anew when the source, or what made it small, is another. It is believed when
nobody but root and the user can have written it. Where nothing can be kept, each process makes it once.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import stat
import sys
import threading
from collections.abc import Callable

from mitogen.modules.relay import packed

HERE = os.path.dirname(os.path.abspath(__file__))
MINIFY = os.path.join(os.path.dirname(HERE), 'minify.py')

#: What source looks like when it was made small is decided by these. The names in the core are, too.
MAKERS = [MINIFY, os.path.join(HERE, 'shorten.py'), os.path.join(os.path.dirname(HERE), 'core.py')]

_lock = threading.Lock()
_made: dict[bytes, bytes] = {}      # what this process has made, by digest. Under the lock.


def smallest(fullname: str, source: bytes) -> bytes:
    """Return the source of a module of this library as small as it gets, every token on its line."""
    def make() -> bytes:
        from mitogen.modules import shorten  # not at import: it needs Python's parser, and most programs never it
        return shorten.smallest(source.decode()).encode()
    return _once(fullname, 'min', _made_by() + source, make)


def code(fullname: str, source: bytes, path: str) -> bytes:
    """Return what smallest() has made as code for the Python that runs this, packed().

    :param path: file name for tracebacks.
    """
    def make() -> bytes:
        return packed(compile(source, path, 'exec', dont_inherit=True, optimize=0))
    # In a file of its own for each place where it may be installed, as these may share a user's cache.
    return _once(fullname, importlib.util.source_hash(path.encode()).hex() + '.code', path.encode() + source, make)


def _once(fullname: str, kind: str, made_of: bytes, make: Callable[[], bytes]) -> bytes:
    """Return what is kept of a module, or else made."""
    # As compiled files tell whether they are of this source: quick, and who would forge it could write the files too.
    digest, places = importlib.util.source_hash(made_of), _places(fullname, kind)
    # One at a time: many threads begin with the same module. And in CPython 3.11 parsing in two threads can fail ("AST
    # constructor recursion depth mismatch").
    with _lock:
        kept = itertools.chain([_made.get(digest)], (_kept(path, digest) for path in places))     # each read if needed
        found = next((data for data in kept if data is not None), None)     # b'' is that of a docstring
        if found is None:
            found = _made[digest] = make()
            data = digest + importlib.util.source_hash(found) + found
            any(_keep(path, data) for path in places[sys.dont_write_bytecode:])
        return found


@functools.lru_cache(1)
def _made_by() -> bytes:
    makers = b''
    for path in MAKERS:
        with contextlib.suppress(OSError), open(path, 'rb') as fp:
            makers += importlib.util.source_hash(fp.read())
    return makers


def _places(fullname: str, kind: str) -> list[str]:
    """Where it may be kept: beside compiled files, else in the user's cache. That only in a home that is the user's:
    ``sudo -E`` makes that of somebody else ours."""
    folders = [os.path.dirname(importlib.util.cache_from_source(MINIFY))]
    home = os.path.expanduser('~')
    with contextlib.suppress(OSError):
        if os.stat(home).st_uid == os.geteuid():
            folders.append(os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.join(home, '.cache'), 'mitogen'))
    name = f'{fullname}.{sys.implementation.cache_tag}.{kind}'     # source_hash() too is another in another Python
    return [os.path.join(folder, name) for folder in folders]


def _kept(path: str, digest: bytes) -> bytes | None:
    with contextlib.suppress(OSError), open(path, 'rb', opener=_open_at_once) as fp:
        status = os.fstat(fp.fileno())
        if status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            data = fp.read()
            width = len(digest)
            start, check, found = data[:width], data[width:2 * width], data[2 * width:]
            if start == digest and check == importlib.util.source_hash(found):
                return found
    return None


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)     # were it a pipe, that would wait for a writer


def _keep(path: str, data: bytes) -> bool:
    """Write a file whole or not at all, as other processes may do the same now; return whether that went well."""
    import tempfile  # not at import either
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=folder, prefix=name)
    except OSError:
        return False
    try:
        with open(fd, 'wb') as fp:
            fp.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
        return True
    except OSError:
        os.unlink(name)
        return False
