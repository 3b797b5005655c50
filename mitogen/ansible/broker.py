"""
The broker process of a playbook: holds its connections, serves its workers, and ends with it, or some time later.

Ring 2. Started by mitogen.ansible.attach. The main thread waits for the end of the playbook; another accepts workers,
each of which has one more for as long as it lives, and another while it logs in.

The first task waits until we are there. So logging in comes first, and what only tasks need is imported meanwhile.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mitogen.core
import mitogen.master
from mitogen.ansible import attach, wire
from mitogen.ansible.ahead import Pending
from mitogen.ansible.attach import is_alive
from mitogen.ansible.failures import Abandoned, Failure, failure_of
from mitogen.ansible.tree import Tree
from mitogen.ansible.worker import Worker
from mitogen.peer import peer_uid

if TYPE_CHECKING:
    from mitogen.ansible.execute import Executor

#: Seconds between two looks at the playbook where the system does not tell when a process ends.
LOOK = 0.5


class Stay:
    """How long to stay, when playbooks have asked for it. Pure."""

    def __init__(self) -> None:
        self._playbooks: 'set[int]' = set()
        self._seconds, self._idle_since = 0, 0.0

    def ask(self, pid: int, seconds: int) -> None:
        """A playbook is there, and wants so many seconds after it: what the last one has said, counts."""
        self._playbooks = self._playbooks | {pid}
        self._seconds = seconds

    def is_over(self, now: float, is_alive: 'Callable[[int], bool]') -> bool:
        """Whether all playbooks have ended, and it is so many seconds that this was seen."""
        ended = {pid for pid in self._playbooks if not is_alive(pid)}
        self._playbooks = self._playbooks - ended
        if self._playbooks or ended:
            self._idle_since = now
        return not self._playbooks and now - self._idle_since >= self._seconds


class Server:
    """Accepts workers, and serves each on a thread.

    :param listener: the socket, on which workers may be waiting already.
    :param path: of that socket.
    :param tree: for logging in. All else waits for load().
    :param pending: steps of workers that are under way.
    :param shared: others may be waiting for the lock when we end, so its file stays.
    """

    def __init__(self, listener: socket.socket, path: str, tree: Tree, pending: Pending, shared: bool = False) -> None:
        self._tree, self._paths = tree, [path] if shared else [path, path + '.lock']
        self._pending, self._loaded = pending, threading.Event()
        self._executor: 'Executor | Exception | None' = None        # until that event
        self._stay, self._lock = Stay(), threading.Lock()
        self._workers = 0
        self._socket = listener
        threading.Thread(target=self._accept, name='mitogen.ansible.accept', daemon=True).start()

    def load(self) -> None:
        """Import what tasks need."""
        try:
            from mitogen.ansible.execute import Executor
            self._executor = Executor(self._tree, self._pending)
        except Exception as exc:        # no memory, no descriptor: who has asked for something is to hear of it
            self._executor = exc
        self._loaded.set()

    def _when_loaded(self) -> 'Executor':
        self._loaded.wait()
        if isinstance(self._executor, Exception):
            raise self._executor
        return self._executor       # type: ignore[return-value]

    def close(self) -> None:
        """Be found no more. Once only: what has that path later belongs to another."""
        paths, self._paths = self._paths, []
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def wait_for_playbooks(self) -> None:
        """Return when the playbooks that have asked for it are over, and the time after them as well."""
        begin = time.monotonic()
        while not self._stay.is_over(time.monotonic() - begin, is_alive):
            time.sleep(LOOK)
            attach.sweep()

    def wait_for_workers(self) -> None:
        """Return when nobody is served any more."""
        while self._workers:
            time.sleep(LOOK)

    def _accept(self) -> None:
        while True:
            try:
                sock = self._socket.accept()[0]
            except OSError as exc:      # no descriptor left, for example
                mitogen.core.log(mitogen.core.WARNING, 'cannot accept a worker: %s', exc)
                time.sleep(LOOK)
                continue
            try:
                if peer_uid(sock) != os.geteuid():
                    raise PermissionError('it is another user\'s')
                threading.Thread(target=self._serve, args=(sock,), name='mitogen.ansible.worker', daemon=True).start()
            except (OSError, RuntimeError) as exc:      # or no thread left
                mitogen.core.log(mitogen.core.WARNING, 'cannot serve a worker: %s', exc)
                sock.close()

    def _count(self, change: int) -> None:
        with self._lock:
            self._workers += change

    def _serve(self, sock: socket.socket) -> None:
        self._count(1)
        worker = Worker(lambda: is_open(sock), self._pending)
        with sock, contextlib.suppress(wire.Closed, Abandoned):
            while True:
                wire.send(sock, self._answer(wire.receive(sock), worker))
        with contextlib.suppress(mitogen.core.Error, Failure, Abandoned):
            worker.ahead.settle()       # its temporary folder is removed, or cannot be: there is nobody to tell
        self._count(-1)

    def _prepare(self, login: 'dict[str, Any]') -> None:
        account = self._tree.account(login, None)
        self._when_loaded()
        account.prepare()

    def _answer(self, request: 'dict[str, Any]', worker: Worker) -> Any:
        if request['op'] == 'stay':
            self._stay.ask(request['pid'], request['seconds'])
            return 'done', None
        try:
            if request['op'] == 'prepare':
                worker.begin_login(lambda: self._prepare(request['login']))
                return 'done', None
            return 'done', self._when_loaded().serve(request, worker)
        except Abandoned:
            raise
        except Exception as exc:
            failure = failure_of(exc)
            if failure.kind == 'bug':
                mitogen.core.log(mitogen.core.ERROR, 'a request of a worker failed')
            return 'failed', failure.kind, str(failure)


def is_open(sock: socket.socket) -> bool:
    """Whether the other end is still there. It says nothing while it waits for an answer."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b''
    except BlockingIOError:
        return True
    except OSError:
        return False


def wait_for_end(pid: int) -> None:
    """Return when a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        fd = -1
    if fd >= 0:
        select.select([fd], [], [])
        return
    while is_alive(pid):
        time.sleep(LOOK)


def main(args: 'list[str]') -> None:
    """Live until the playbook has ended.

    :param args: descriptor and path of the socket, process id of the playbook; ``--persist``: playbooks tell how long
        after their end.
    """
    listener, path, pid = socket.socket(fileno=int(args[0])), args[1], int(args[2])
    listener.set_inheritable(False)
    persist = args[3:] == ['--persist']
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with mitogen.master.Router() as router:
        pending = Pending()
        server = Server(listener, path, Tree(router), pending, shared=persist)
        try:
            with contextlib.suppress(BrokenPipeError):      # whoever has started us has gone; others may have come
                os.write(1, b'ready\n')
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.close(null)
            server.load()
            gc.freeze()         # whoever has started us has switched the collector off, as imports make no garbage
            gc.enable()
            wait_for_end(pid)
            if persist:
                server.wait_for_playbooks()
                server.close()
                server.wait_for_workers()       # who has come at the last moment
            pending.wait()
        finally:
            server.close()
            attach.sweep()
