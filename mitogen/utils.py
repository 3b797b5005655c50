"""
Small things that programs begin with. Works in masters and children alike.
"""

import functools
import os
import sys

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple

#: Types that cast() makes from their subclasses.
_PLAIN: 'Tuple[Any, ...]' = (bool, int, float, complex, bytes, str)
_CONTAINERS: 'Tuple[Any, ...]' = (list, tuple, set, frozenset)


def cast(obj: 'Any') -> 'Any':
    """Return `obj` as plain values that can be sent: subclasses of text, numbers and containers lose their class.

    The library's own values (Context, Sender, Blob, Secret) stay what they are.

    :raises TypeError: there is something in it that is no such value.
    """
    if obj is None or isinstance(obj, (mitogen.core.Context, mitogen.core.Sender, mitogen.core.Blob,
                                       mitogen.core.Secret, mitogen.core.Kwargs)):
        return obj
    if isinstance(obj, dict):
        return {cast(key): cast(value) for key, value in obj.items()}
    for kind in _CONTAINERS:
        if isinstance(obj, kind):
            return kind(cast(item) for item in obj)
    for kind in _PLAIN:
        if isinstance(obj, kind):
            return kind(obj)
    mitogen.core.encode(obj)        # raises for what may not travel
    return obj


def disable_site_packages() -> None:
    """Remove third-party folders from sys.path: only the standard library and what the master serves is used."""
    sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry and 'dist-packages' not in entry]


def log_to_file(path: 'Optional[str]' = None, io: bool = False, level: str = 'INFO') -> None:
    """Send log records to a file, or to standard error.

    :param path: the file; None: standard error.
    :param io: log each message that passes routers which are made from now on, as ``mitogen.io``: from where to where,
        which handle, how many bytes.
    :param level: name of the lowest level to log. The environment variable MITOGEN_LOG_LEVEL, if set, wins;
        ``IO`` there means DEBUG with `io`.
    """
    import logging  # late: in a child most of what is here is used without
    level = os.environ.get('MITOGEN_LOG_LEVEL', level).upper()
    io = io or level == 'IO'
    root = logging.getLogger()
    handler = logging.StreamHandler() if path is None else logging.FileHandler(path)
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname).1s %(name)s: %(message)s', '%H:%M:%S'))
    root.setLevel(logging.DEBUG if level == 'IO' else level)
    logging.getLogger('mitogen.io').setLevel(logging.DEBUG if io else logging.CRITICAL)
    root.handlers.insert(0, handler)


def run_with_router(func: 'Callable[..., Any]', *args: 'Any', **kwargs: 'Any') -> 'Any':
    """Return ``func(router, *args, **kwargs)``; the Router, and all children, are gone after it."""
    import mitogen.master
    with mitogen.master.Router() as router:
        return func(router, *args, **kwargs)


def with_router(func: 'Callable[..., Any]') -> 'Callable[..., Any]':
    """Decorate a function that takes a router first: callers leave that out, and get run_with_router()."""
    @functools.wraps(func)
    def wrapper(*args: 'Any', **kwargs: 'Any') -> 'Any':
        return run_with_router(func, *args, **kwargs)
    return wrapper


def call_and_show(module: str, path: str, *args: 'Any') -> str:
    """Call a function that is given by name, and return its result as repr() shows it here, where its type is known."""
    __import__(module)
    fn: 'Any' = sys.modules[module]
    for name in path.split('.'):
        fn = getattr(fn, name)
    return repr(fn(*args))


def run_main(func: 'Callable[..., Any]', log_level: str, profiling: bool) -> 'Any':
    """Carry out what `mitogen.main` decorates: run it if its script is the main one, and exit with its result."""
    if func.__module__ != '__main__':
        return func
    log_to_file(level=log_level)

    def run(router: 'Any') -> 'Any':
        if profiling and not router.profiling:
            router.enable_profiling()
        return func(router)
    sys.exit(run_with_router(run))
