"""
The broker process of a playbook: holds its connections, serves its workers, and ends with it.

Ring 2. Started by mitogen.ansible.attach. The main thread waits for the end of the playbook; another accepts workers,
each of which has one more for as long as it lives.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

import mitogen.core
import mitogen.master
from mitogen.ansible import wire
from mitogen.ansible.execute import Abandoned, Executor, failure_of
from mitogen.ansible.tree import Tree
from mitogen.peer import peer_uid

#: Seconds between two looks at the playbook where the system does not tell when a process ends.
LOOK = 0.5

#: Workers that may wait to be accepted. Ansible starts as many at once as `forks` says.
BACKLOG = 500


class Server:
    """Accepts workers, and serves each on a thread.

    :param path: of the socket. Nobody listens there, as whoever starts us holds the lock.
    """

    def __init__(self, path: str, executor: Executor) -> None:
        self._executor, self._path = executor, path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)         # the folder is closed to others
        self._socket.listen(BACKLOG)
        threading.Thread(target=self._accept, name='mitogen.ansible.accept', daemon=True).start()

    def close(self) -> None:
        for path in self._path, self._path + '.lock':
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _accept(self) -> None:
        while True:
            try:
                sock = self._socket.accept()[0]
            except OSError as exc:      # no descriptor left, for example
                mitogen.core.log(mitogen.core.WARNING, 'cannot accept a worker: %s', exc)
                time.sleep(LOOK)
                continue
            if peer_uid(sock) == os.geteuid():
                threading.Thread(target=self._serve, args=(sock,), name='mitogen.ansible.worker', daemon=True).start()
            else:
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(wire.Closed, Abandoned):
            while True:
                wire.send(sock, self._answer(wire.receive(sock), sock))

    def _answer(self, request: 'dict[str, Any]', sock: socket.socket) -> Any:
        try:
            return 'done', self._executor.serve(request, lambda: is_open(sock))
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
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(LOOK)


def main(args: 'list[str]') -> None:
    """Live until the playbook has ended.

    :param args: path of the socket, process id of the playbook.
    """
    path, pid = args[0], int(args[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with mitogen.master.Router() as router:
        server = Server(path, Executor(Tree(router)))
        try:
            os.write(1, b'ready\n')
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.close(null)
            wait_for_end(pid)
        finally:
            server.close()
