"""
The other end of the commands: what runs in the contexts.

Ring 1. Everything but _on_stop() runs in a context's main thread. Files are written under a temporary name beside
their own, so that whoever looks sees the old file or the new one, never a part.
"""

import os
import stat
import tempfile
import threading

import mitogen.core
from mitogen.core import Blob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

#: Handle at which prepare() listens for the news that somebody has pressed Ctrl-C.
STOP = 190

#: Seconds that a program has to clean up after it. The user was promised two, and the connections take some.
STOP_GRACE = 0.8

#: Name of an unfinished file: recognisable for whoever finds one that a power failure left.
PREFIX, SUFFIX = '.', '.mitogen-part'


# ---- the end ---------------------------------------------------------------------------------------

@mitogen.core.takes_econtext
def prepare(econtext: 'Any') -> None:
    """Be ready to stop at once, whatever the main thread is doing; or, less hurried, when the master vanishes."""
    econtext.router.add_handler(_on_stop, STOP, policy=mitogen.core.has_parent_authority, overwrite=True)
    mitogen.core.listen(econtext.broker, 'shutdown', drop_all)


def _on_stop(msg: 'Any') -> None:
    """Ctrl-C was pressed in the master; broker thread. The whole process group gets it, as at a terminal: this
    process and the programs that it has started, but no other context, as each has a session of its own."""
    import signal
    drop_all()
    threading.Thread(target=_exit_soon, daemon=True).start()
    os.killpg(os.getpgrp(), signal.SIGINT)


def _exit_soon() -> None:
    import time
    time.sleep(STOP_GRACE)
    os._exit(130)


# ---- call and tree ---------------------------------------------------------------------------------

def call_for_json(module: str, path: str, *args: 'Any') -> str:
    """Call a function that is given by name, and return its result as JSON; what JSON cannot say, as repr() does."""
    import importlib
    import json
    fn: 'Any' = importlib.import_module(module)
    for name in path.split('.'):
        fn = getattr(fn, name)
    return json.dumps(fn(*args), default=repr)


def facts() -> 'Dict[str, Any]':
    """Who this context is."""
    import pwd
    import sys
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:        # an account without a name, as in many containers
        user = str(os.geteuid())
    return {'user': user, 'host': os.uname()[1], 'pid': os.getpid(), 'python': '%d.%d.%d' % sys.version_info[:3],
            'memory': memory()}


def memory() -> int:
    """Bytes that this process occupies; where the system does not tell, the most that it ever did."""
    try:
        with open('/proc/self/statm') as fp:
            return int(fp.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except (OSError, ValueError):
        import resource
        import sys
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def ping() -> None:
    """What takes no time, to measure the way."""


# ---- copy ------------------------------------------------------------------------------------------

class Incoming:
    """A file that is being written. One that is not finished leaves no trace."""

    def __init__(self, path: str, follow: bool = True) -> None:
        """Open a temporary file beside `path`.

        :param follow: a link stays a link, and what it leads to is replaced; else the link is.
        :raises OSError: it cannot be; among others because something is there that is no file, such as a device.
        """
        folder, name = os.path.split(path)
        self.path = os.path.realpath(path) if follow else os.path.join(os.path.realpath(folder), name)
        if os.path.lexists(self.path) and not (os.path.isfile(self.path) or os.path.islink(self.path)):
            raise OSError('%s exists and is not a regular file' % self.path)
        folder, name = os.path.split(self.path)
        fd, self._temporary = tempfile.mkstemp(SUFFIX, PREFIX + name[:100] + '.', folder)
        self._file = os.fdopen(fd, 'wb', 0)
        self._dropped = False

    def write(self, data: bytes) -> None:
        """Add to it.

        :raises OSError: among others because everything is about to end.
        """
        if self._dropped:
            raise OSError('interrupted')
        view = memoryview(data)
        while view:
            view = view[self._file.write(view):]

    def finish(self, mode: int) -> None:
        """Give it its permission bits and its name, once it is safe on the disk."""
        os.fchmod(self._file.fileno(), mode)
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._temporary, self.path)
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)        # the name too
        except OSError:
            pass                    # not every file system can
        finally:
            os.close(folder)

    def drop(self) -> None:
        """Remove it. Any thread, also in the middle of a write(): so the descriptor stays open."""
        self._dropped = True
        try:
            os.unlink(self._temporary)
        except OSError:
            pass

    def close(self) -> None:
        self._file.close()


#: Number of a transfer -> its Incoming, or the file that is read.
_open: 'Dict[int, Any]' = {}

#: Calls that are in the queue when the end begins must not open new files.
_ending: 'List[bool]' = []


def place_for(destination: str, name: str) -> str:
    """Return the path that a file called `name` gets: in a folder if `destination` is one, else that itself."""
    destination = os.path.expanduser(destination)
    if os.path.isdir(destination) or destination.endswith('/'):
        return os.path.join(destination, name)
    return destination


def begin_write(number: int, path: str) -> None:
    """Open a file for write()."""
    if _ending:
        raise OSError('interrupted')
    _open[number] = Incoming(path)


def write(number: int, data: bytes) -> None:
    """Add to the file."""
    _open[number].write(data)


def end_write(number: int, mode: int) -> None:
    """The file is complete."""
    _open[number].finish(mode)
    del _open[number]       # not before: what fails is dropped by its number


def begin_read(number: int, path: str) -> 'Tuple[int, int]':
    """Open a regular file for read(); return (size, permission bits)."""
    path = os.path.expanduser(path)
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):        # before it is opened: a pipe would keep us for ever
        raise OSError('%s is not a regular file' % path)
    _open[number] = open(path, 'rb', 0)
    return status.st_size, status.st_mode & 0o777


def read(number: int, size: int) -> bytes:
    """Return the next bytes of the file; b'' at its end."""
    return Blob(_open[number].read(size))


def drop(number: int) -> None:
    """Close what is open under a number; an unfinished file goes."""
    found = _open.pop(number, None)
    if isinstance(found, Incoming):
        found.drop()
    if found is not None:
        found.close()


def drop_all() -> None:
    """The end is near. Broker thread."""
    _ending.append(True)
    for found in list(_open.values()):
        if isinstance(found, Incoming):
            found.drop()


def listing(path: str) -> 'List[Tuple[str, str, Any]]':
    """Return what a file or folder consists of: (kind, path below it, detail), folders before what they hold.

    Kinds are ``folder`` (detail: permission bits), ``file`` (size) and ``link`` (what it says).

    :raises OSError: there is something that is none of these, or cannot be read.
    """
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        return [('file', '', os.stat(path).st_size)]
    found: 'List[Tuple[str, str, Any]]' = []
    todo = ['']
    while todo:
        here = todo.pop()
        found.append(('folder', here, os.stat(os.path.join(path, here)).st_mode & 0o777))
        for name in sorted(os.listdir(os.path.join(path, here)), reverse=True):
            below = os.path.join(here, name)
            status = os.lstat(os.path.join(path, below))
            if stat.S_ISDIR(status.st_mode):
                todo.append(below)
            elif stat.S_ISLNK(status.st_mode):
                found.append(('link', below, os.readlink(os.path.join(path, below))))
            elif stat.S_ISREG(status.st_mode):
                found.append(('file', below, status.st_size))
            else:
                raise OSError('%s is neither file, folder nor link' % os.path.join(path, below))
    return found


def make(entries: 'List[Tuple[str, str, Any]]', root: str, follow: bool = True) -> None:
    """Make the folders and links of a listing() under `root`; folders stay writable until finish_folders().

    :param follow: a link to a folder, under `root`, is one; else a folder takes its place.
    """
    for kind, below, detail in entries:
        path = os.path.join(root, below) if below else root
        if kind == 'folder' and below and not follow and os.path.islink(path):
            os.unlink(path)
        if kind == 'folder' and not os.path.isdir(path):
            os.mkdir(path, detail | 0o700)
        elif kind == 'link':
            if os.path.islink(path):
                os.unlink(path)
            os.symlink(detail, path)


def finish_folders(entries: 'List[Tuple[str, str, Any]]', root: str) -> None:
    """Give the folders of a listing() their permission bits."""
    for kind, below, detail in reversed(entries):
        if kind == 'folder':
            os.chmod(os.path.join(root, below) if below else root, detail)
