"""
A whole script, run in a context as the interpreter would run it; its output on the way to the master.

Ring 1. The script runs in the context's main thread. What it and its programs write goes to two pipes, and what its
Python code writes straight into a buffer, each time behind what is in the pipes by then: so all that one after the
other was written arrives in that order. A thread sends it, one piece at a time, each when the one before has been
printed: a script cannot fill the memory of anybody.
"""

import io
import os
import select
import sys
import threading

import mitogen.core
from mitogen.core import Message, Receiver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, List, Optional, Tuple

#: Bytes that wait to be sent before the script has to.
MAX_PENDING = 1 << 20


class Output:
    """Takes standard output and error of this process, until close().

    :param sender: where pieces of output go: messages of (stream's name, bytes), each answered when it was printed.
    """

    def __init__(self, router: 'Any', sender: 'Any') -> None:
        self._router, self._sender = router, sender
        self._acknowledged = Receiver(router)
        self._changed = threading.Condition(threading.RLock())  # reentrant: a handler of signals may print
        self._pending: 'List[Tuple[str, bytes]]' = []           # under the lock, as are the next two
        self._size = 0
        self._lost = self._closing = False
        self._pipes: 'List[Tuple[str, int, int, int]]' = []
        self._streams = sys.stdout, sys.stderr
        for name, fd in ('stdout', 1), ('stderr', 2):
            reader, writer = os.pipe()
            saved = os.dup(fd)
            os.dup2(writer, fd)
            os.close(writer)
            os.set_blocking(reader, False)
            self._pipes.append((name, fd, reader, saved))
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(_Raw(self, name)), 'utf-8', 'backslashreplace',
                                                line_buffering=True))
        self._poll = select.poll()
        for pipe in self._pipes:
            self._poll.register(pipe[2], select.POLLIN)
        self._waker = os.pipe()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._watch, self._send)]
        for thread in self._threads:
            thread.start()

    def write(self, name: str, data: bytes) -> None:
        """Add to a stream, behind what programs have written to both."""
        with self._changed:
            self._drain()
            self._add(name, data)

    def _add(self, name: str, data: bytes) -> None:
        while self._size > MAX_PENDING and not self._lost:
            self._changed.wait()
        if not self._lost:
            self._pending.append((name, data))
            self._size += len(data)
            self._changed.notify_all()

    def _drain(self) -> bool:
        """Take what is in the pipes; return whether there was anything."""
        ready = self._poll.poll(0)      # one call for both; to try and fail costs an exception, for each print()
        for name, _, reader, _ in self._pipes if ready else ():
            try:
                data = os.read(reader, mitogen.core.CHUNK_SIZE)
            except BlockingIOError:
                continue
            self._add(name, data)
        return bool(ready)

    def _watch(self) -> None:
        """Thread: look after the pipes while the script writes nothing itself."""
        poll = select.poll()
        for fd in [pipe[2] for pipe in self._pipes] + [self._waker[0]]:
            poll.register(fd, select.POLLIN)
        while not self._closing:
            poll.poll()
            with self._changed:
                self._drain()

    def _send(self) -> None:
        """Thread: send what waits, as few pieces as possible, and wait until they were printed."""
        while True:
            with self._changed:
                while not self._pending and not self._closing:
                    self._changed.wait()
                pieces, self._pending, self._size = self._pending, [], 0
                self._changed.notify_all()
            if not pieces:
                return
            try:
                self._sender.context.send(Message.pickled(joined(pieces), handle=self._sender.dst_handle,
                                                          reply_to=self._acknowledged.handle))
                self._acknowledged.get()
            except mitogen.core.Error:      # nobody is there to read it any more
                with self._changed:
                    self._lost = True
                    self._changed.notify_all()
                return

    def close(self) -> None:
        """Give the streams back, and return when everything has been printed."""
        for stream in sys.stdout, sys.stderr:
            try:
                stream.flush()
            except Exception:
                pass        # the script has closed it
        sys.stdout, sys.stderr = self._streams
        for _, fd, _, saved in self._pipes:
            os.dup2(saved, fd)
            os.close(saved)
        with self._changed:
            for _ in range(MAX_PENDING // mitogen.core.CHUNK_SIZE):
                if not self._drain():
                    break       # else some program that was left behind writes on and on; enough is enough
            self._closing = True
            self._changed.notify_all()
        os.write(self._waker[1], b'\0')
        for thread in self._threads:
            thread.join()
        for fd in [pipe[2] for pipe in self._pipes] + list(self._waker):
            os.close(fd)
        self._acknowledged.close()


class _Raw(io.RawIOBase):
    """What is below sys.stdout and sys.stderr of a script."""

    def __init__(self, output: Output, name: str) -> None:
        io.RawIOBase.__init__(self)
        self._output, self._fd = output, 1 if name == 'stdout' else 2
        self.name = '<%s>' % name
        self._stream = name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """For programs that the script starts with it."""
        return self._fd

    def write(self, data: 'Any') -> int:
        data = bytes(data)
        self._output.write(self._stream, data)
        return len(data)


def joined(pieces: 'List[Tuple[str, bytes]]') -> 'List[Tuple[str, bytes]]':
    """Return the same output in fewer pieces."""
    found: 'List[Tuple[str, List[bytes]]]' = []
    for name, data in pieces:
        if not found or found[-1][0] != name:
            found.append((name, []))
        found[-1][1].append(data)
    return [(name, b''.join(parts)) for name, parts in found]


@mitogen.core.takes_econtext
def run(path: str, source: bytes, args: 'List[str]', sender: 'Any', econtext: 'Any') -> int:
    """Run a script; return its exit status.

    :param path: its name, for sys.argv and tracebacks. There need be no such file here.
    :param args: behind it in sys.argv.
    :param sender: for its output; see Output.
    """
    import atexit
    if 'forked' in econtext.config:
        atexit._clear()     # those are for the end of the process that this one is a copy of
        # Our thread was one of many there. Threads that the script starts inherit whether it is waited for at the end.
        threading.current_thread()._daemonic = False        # type: ignore[attr-defined]
    output = Output(econtext.router, sender)
    argv, main = sys.argv, sys.modules['__main__']
    sys.argv = [path] + args
    try:
        status = execute(path, source)
        return max(status, finish(main))
    finally:
        sys.argv, sys.modules['__main__'] = argv, main
        output.close()


def execute(path: str, source: bytes) -> int:
    """Run source as the main module; print what it raises, as the interpreter does; return an exit status."""
    module = sys.modules['__main__'] = type(sys)('__main__')
    module.__file__ = path
    module.__builtins__ = __builtins__      # type: ignore[attr-defined]
    try:
        remember_source(path, source)
        exec(compile(source, path, 'exec', dont_inherit=True), module.__dict__)
    except SystemExit as exc:
        return status_of(exc.code)
    except BaseException as exc:
        show(exc)
        return 130 if isinstance(exc, KeyboardInterrupt) else 1
    return 0


def remember_source(path: str, source: bytes) -> None:
    """Let tracebacks show lines of a file that is not here."""
    import importlib.util
    import linecache
    try:
        lines = importlib.util.decode_source(source).splitlines(True)
    except (SyntaxError, ValueError):
        return          # compile() will tell
    linecache.cache[path] = len(source), None, lines, path


def show(exc: BaseException) -> None:
    """Print an exception without the frames that are ours."""
    import traceback
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get('__name__') == __name__:
        trace = trace.tb_next
    traceback.print_exception(type(exc), exc, trace)


def status_of(code: 'Any') -> int:
    """Exit status of what a script gave to sys.exit()."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xff
    print(code, file=sys.stderr)
    return 1


def finish(main: 'Optional[ModuleType]') -> int:
    """What an interpreter does at the end of a script: wait for its threads, call what atexit knows."""
    import atexit
    try:
        for thread in threading.enumerate():
            if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread()):
                thread.join()
    except KeyboardInterrupt as exc:
        show(exc)
        return 130
    atexit._run_exitfuncs()
    return 0
