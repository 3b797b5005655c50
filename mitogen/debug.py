"""
What helps to find out what a tree of contexts is doing: log files, profiles, stacks of what hangs.

Ring 1. Nothing here happens unless a program asks for it, and all of it goes to files in a folder that only this user
can enter and whose name nobody can guess; the log names it. Children that are started after that do the same where they
are, and so do theirs.

* Logs: `Router.enable_debug()`.
* Profiles of the broker's and the main thread, written when the context ends: `Router.enable_profiling()`,
  ``mitogen.master.Router.profiling = True`` before there is a router, ``@mitogen.main(profiling=True)``. Read them with
  the module `pstats`.
* Stacks: `enable_stack_dumps()`, then ``kill -USR2`` the master, or any one process.
"""

import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

#: Handle of the request to dump stacks.
DUMP = 191

#: Seconds between two looks whether the signal has come. What writes the stacks runs in the handler of the signal,
#: where it needs neither the main thread nor Python; it can do nothing else there, such as tell the children.
LOOK = 0.5

#: Seconds until a profile of the broker's own thread is tried again.
NEXT_TRY = 0.05

_folders: 'Dict[int, str]' = {}     # process id -> its folder: after a fork there is another process


def folder() -> str:
    """Return the folder of this process for such files, made when it is first wanted. Any thread."""
    pid = os.getpid()
    if pid not in _folders:
        _folders[pid] = tempfile.mkdtemp('', 'mitogen-')
        mitogen.core.log(mitogen.core.WARNING, 'debug files of process %d are in %s on %s', pid, _folders[pid],
                         os.uname()[1])
    return _folders[pid]


def create(name: str) -> 'Any':
    """Open a new file there for text, written through at once."""
    return open(os.path.join(folder(), name), 'a', 1, encoding='utf-8', errors='backslashreplace')


def begin(econtext: 'Any') -> None:
    """In a child, before its first call: do what its parent does. Main thread."""
    flags = econtext.router.__dict__        # not by attribute: a leaf would become a parent
    if flags.get('debug'):
        log_to_file(econtext.router)
    if flags.get('profiling'):
        Profiles(econtext.broker)
    if flags.get('stack_dumps'):
        StackDumps(econtext.router)


# ---- logs ------------------------------------------------------------------------------------------

def log_to_file(router: 'Any') -> None:
    """In a child: write to a file whatever is sent to the master's log, logging or no logging."""
    file = create('log')
    send = mitogen.core.forward_log

    def both(router: 'Any', name: str, level: int, text: str) -> None:
        if not file.closed:
            file.write('%.3f %d %s: %s\n' % (time.time(), level, name, text))
        send(router, name, level, text)
    # It is our own function, nothing else sees every record, and a hook in the core would cost all who never debug.
    mitogen.core.forward_log = both
    mitogen.core.listen(router.broker, 'exit', file.close)


# ---- profiles --------------------------------------------------------------------------------------

class Profiles:
    """Profiles the thread that makes this, and the broker's own, until the broker ends; then writes both.

    The broker's own has none if others have always done its work.
    """

    def __init__(self, broker: 'Any') -> None:
        self._running: 'Dict[str, Any]' = {}
        self._broker = broker
        folder()        # now, while the news of it can still be sent
        self._start('main')
        broker.defer(self._start_own)
        mitogen.core.listen(broker, 'exit', self._write)

    def _start_own(self) -> None:
        """Broker thread, but only its own will do."""
        if threading.current_thread().name == 'mitogen.broker':
            self._start('broker')
        else:
            timer = threading.Timer(NEXT_TRY, self._try_again)
            timer.daemon = True
            timer.start()

    def _try_again(self) -> None:
        try:
            self._broker.defer(self._start_own)
        except mitogen.core.Error:
            pass        # it has ended

    def _start(self, name: str) -> None:
        import cProfile
        if sys.getprofile() is not None:
            mitogen.core.log(mitogen.core.WARNING, 'no profile of thread %s: it is being profiled already', name)
            return
        profile = cProfile.Profile()
        try:
            profile.enable()
        except ValueError as exc:       # Python 3.12 and later: one at a time
            mitogen.core.log(mitogen.core.WARNING, 'no profile of thread %s: %s', name, exc)
            return
        self._running[name] = profile

    def _write(self) -> None:
        """Broker thread, whose own profile ends first: disable() is for the thread that calls it."""
        for name in sorted(self._running):
            path = os.path.join(folder(), '%s.pstats' % name)
            self._running[name].dump_stats(path)

    def stop(self) -> None:
        """Cost nothing any more. The thread that has made this, after the broker's end."""
        if 'main' in self._running:
            self._running['main'].disable()


# ---- stacks ----------------------------------------------------------------------------------------

def enable_stack_dumps(router: 'Any') -> None:
    """Write the stacks of all threads, here and in all children started from now on, when SIGUSR2 arrives here.

    Any other process of the tree can be sent the signal too, and dumps its own. It does not take the main thread to be
    alive. Call it in the main thread.

    :param router: a Router that has children, or will.
    """
    if not getattr(router, 'stack_dumps', False):
        router.stack_dumps = True
        StackDumps(router)


class StackDumps:
    """One process's part in that. Broker thread, but for the beginning."""

    def __init__(self, router: 'Any') -> None:
        self._router = router
        self._file = create('stacks')
        self._seen = 0
        faulthandler.register(signal.SIGUSR2, self._file, all_threads=True)
        router.add_handler(self._on_request, DUMP, policy=mitogen.core.has_parent_authority)
        mitogen.core.listen(router.broker, 'exit', self._end)
        if router.econtext is None:         # a leaf has no timers, and nobody whom it could tell
            router.broker.defer(self._look)

    def _look(self) -> None:
        """Tell the children when the signal has come."""
        if os.fstat(self._file.fileno()).st_size != self._seen:
            self._write_state()
            self._pass_on()
        self._router.broker.timers.schedule(time.monotonic() + LOOK, self._look)

    def _on_request(self, msg: 'Any') -> None:
        faulthandler.dump_traceback(self._file, all_threads=True)
        self._write_state()
        self._pass_on()

    def _pass_on(self) -> None:
        for stream in self._children():
            stream.send(mitogen.core.Message(stream.remote_id, self._router.context_id, self._router.context_id, DUMP))

    def _children(self) -> 'List[Any]':
        routes = self._router.__dict__.get('routes')        # a leaf has none
        return routes.below() if routes else []

    def _write_state(self) -> None:
        """What the stacks do not show: who waits for whom, and what has not been sent."""
        router, write = self._router, self._file.write
        write('--- context %d, process %d, %s\n' % (router.context_id, os.getpid(), time.strftime('%Y-%m-%d %H:%M:%S')))
        for stream in self._children() + [router.parent_stream] * (router.parent_stream is not None):
            write('stream to %s (%d): %d pieces not sent\n' % (stream.name, stream.remote_id, len(stream._unsent)))
        for context_id, handles in router._awaiting.items():
            if handles:
                write('waiting for an answer of context %d: %d\n' % (context_id, len(handles)))
        write('\n')
        self._seen = os.fstat(self._file.fileno()).st_size

    def _end(self) -> None:
        faulthandler.unregister(signal.SIGUSR2)
        self._file.close()
