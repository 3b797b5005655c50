"""Servers on loopback that accept a connection and then do not behave."""

import contextlib
import socket
import threading


class BadServer:
    """Listens on `host` and `port`, and hands each connection to `treat`. All are closed in the end."""

    def __init__(self, treat):
        self._treat = treat
        self._connections = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.host, self.port = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, name='bad server')
        self._thread.start()

    def _serve(self):
        # shutdown() below is what ends accept(): close() alone leaves a thread waiting in it.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                with contextlib.suppress(OSError):
                    self._treat(connection)

    def stop(self):
        """Close everything and wait for the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in [self._listener, *self._connections]:
            connection.close()


def say_nothing(connection):
    """A machine that hangs, or something behind that port that is no ssh and waits for its client to speak."""


def close_half_way(connection):
    """A server that dies after its greeting. It reads the client's, or closing would look like a reset."""
    connection.sendall(b'SSH-2.0-OpenSSH_9.2\r\n')
    connection.recv(4096)
    connection.close()
