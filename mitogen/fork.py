"""
Connection method `fork`: a copy of this process. Ring 1.

Quick, because everything is imported already; and for the same reason it inherits whatever the program holds: locks,
connections, temporary files. What belongs to this library is put right here, and what Python itself forgets; the
rest is for `on_fork`.
"""

import fcntl
import gc
import itertools
import os
import signal
import sys
import threading

import mitogen.boot.dialogue
import mitogen.boot.process
import mitogen.boot.start
import mitogen.core
import mitogen.method
from mitogen.boot.dialogue import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple


class Method(mitogen.method.Method):
    """`fork`: no program, no options of an interpreter.

    :param on_fork: called in the child before anything else: the place to let go of inherited resources.
    :param on_start: called as ``on_start(econtext)`` in the child before it serves calls.
    """

    name = 'fork'
    forks = True
    _numbers = itertools.count(1)

    def __init__(self, on_fork: 'Optional[Callable[[], Any]]' = None,
                 on_start: 'Optional[Callable[[Any], Any]]' = None, **common: 'Any') -> None:
        self.on_fork, self.on_start = on_fork, on_start
        self._number = next(self._numbers)
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return '%d.%d' % (os.getpid(), self._number)

    def argv(self, command: 'List[str]') -> 'List[str]':
        return ['fork']

    def spawn(self, router: 'Any', config: 'Dict[str, Any]') -> 'Tuple[Plan, mitogen.boot.process.Child]':
        """Fork. The thread that calls becomes the child's main thread."""
        plan = Plan(self.name, self.target(), 'fork()', b'', config['token'], self.connect_timeout)
        try:
            child_reads, we_write, we_read, child_writes = opened = mitogen.boot.process.pipes(2)
        except OSError as exc:
            raise mitogen.boot.start.not_started(self, plan.command, exc) from None
        for stream in sys.stdout, sys.stderr:
            if stream is not None:
                stream.flush()          # or both processes would write what is buffered
        name = mitogen.boot.start.process_name(self)
        try:
            pid = os.fork()
        except OSError as exc:
            mitogen.boot.process.close(opened)
            raise mitogen.boot.start.not_started(self, plan.command, exc) from None
        if not pid:
            mitogen.core.name_process(name)
            _run(self, router, config, child_reads, child_writes, (we_write, we_read))
        mitogen.boot.process.close((child_reads, child_writes))
        return plan, mitogen.boot.process.Child(mitogen.boot.process.Process(pid), we_write, we_read)


def _run(method: Method, router: 'Any', config: 'Dict[str, Any]', reader: int, writer: int,
         others: 'Tuple[int, int]') -> 'NoReturn':
    """The child's life. Never returns into the stack of the program that forked."""
    status, econtext = 1, None
    try:
        mitogen.boot.process.starting.release()     # the copy that is ours: see there
        os.setsid()                     # as every child: a Ctrl-C is for the master
        for fd in others + tuple(mitogen.core.Side.all_open):
            os.close(fd)                # or our siblings would never see their connections end
        if hasattr(gc, 'freeze'):       # Python 3.7
            gc.freeze()                 # to look through what is inherited would copy all its memory
        mitogen.core.Side.all_open.clear()
        router.broker.disown()
        reader, writer = _out_of_the_way(reader), _out_of_the_way(writer)
        _put_right()
        if method.on_fork:
            method.on_fork()
        # Those of the router that was forked, whose broker is no more. They gave on_fork() what was here already.
        old = mitogen.core.Importer, mitogen.core.LoggingWatch
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, old)]
        # The master's main script is here already, unless we come from a child that never needed it.
        config = dict(config, forked=router.econtext is None or 'forked' in router.econtext.config)
        starts = [fn for fn in (config.get('on_start'), method.on_start) if fn]
        if starts:
            config['on_start'] = lambda econtext: [fn(econtext) for fn in starts]
        econtext = mitogen.core.ExternalContext(config)
        if router.econtext is not None:
            econtext.importer.table = router.econtext.importer.table
            # What is loaded already names that as its loader, and may ask it for sources.
            vars(router.econtext.importer).update(vars(econtext.importer))
        econtext.main(reader, writer)
        status = 0
    except BaseException:
        mitogen.core.log(mitogen.core.ERROR, 'forked child failed')
        if econtext is not None:        # what was logged is still on its way
            econtext.broker.shutdown()
            econtext.broker.join()
    finally:
        os._exit(status)


def _out_of_the_way(fd: int) -> int:
    """Return another number for 0, 1 or 2, which a pipe gets in a program that has closed its standard streams.

    Whatever of these is free after that gets a file, so that no other pipe comes to lie there.
    """
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:
        null = os.open(os.devnull, os.O_RDWR)
    os.close(null)
    return moved


def _put_right() -> None:
    """Undo what a child must not share with its parent."""
    sys.setprofile(None)            # it profiles the parent's thread
    signal.set_wakeup_fd(-1)        # that of an event loop: our signals would wake the parent's
    if sys.version_info < (3, 7):   # newer ones see to these themselves
        if 'random' in sys.modules:
            sys.modules['random'].seed()
        if 'logging' in sys.modules:
            setattr(sys.modules['logging'], '_' + 'lock', threading.RLock())
    if 'ssl' in sys.modules:
        sys.modules['ssl'].RAND_add(os.urandom(32), 32.0)
