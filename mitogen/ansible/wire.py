"""
What a worker and the broker process say to each other: values in frames, over a socket of this machine.

Ring 2. It is imported by every worker, for one task each, so it imports next to nothing, the core of this library least
of all. Both ends are the same interpreter of the same user, which each has asked the kernel; so marshal will do.
"""

import marshal
import socket
import struct
from typing import Any

LENGTH = struct.Struct('>I')

#: Largest frame: what one message of this library may hold, and some room for what stands around it.
MAX_FRAME = 132 * 1024 * 1024


class Closed(Exception):
    """The other end is gone."""


def plain(value: Any) -> Any:
    """Return a value without Ansible's own types of text, numbers and containers: those cannot travel."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return str.__str__(value) if type(value) is str else ''.join(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    raise TypeError('%s cannot be an option of a connection' % type(value).__name__)


def send(sock: socket.socket, value: Any) -> None:
    """Send a value; raise Closed when nobody is there any more."""
    data = marshal.dumps(value)
    try:
        sock.sendall(LENGTH.pack(len(data)) + data)
    except OSError as exc:
        raise Closed(str(exc)) from None


def receive(sock: socket.socket) -> Any:
    """Wait for a value and return it.

    :raises Closed: none came, as the other end is gone, or what came is none.
    """
    size, = LENGTH.unpack(_exactly(sock, LENGTH.size))
    if size > MAX_FRAME:
        raise Closed('a frame of %d bytes is announced' % size)
    try:
        return marshal.loads(_exactly(sock, size))
    except (ValueError, EOFError, TypeError) as exc:
        raise Closed(str(exc)) from None


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        try:
            count = sock.recv_into(view)
        except OSError as exc:
            raise Closed(str(exc)) from None
        if not count:
            raise Closed('it has closed the connection')
        view = view[count:]
    return bytes(data)
