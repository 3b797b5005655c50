"""
Who is at the other end of a socket of this machine.

Ring 1, any thread. Imports nothing of this library: workers of Ansible need it without the core, once for each task.
"""

import socket
import struct


def peer_uid(sock: socket.socket) -> int:
    """Return the user id of the process at the other end, as the kernel knows it."""
    if hasattr(socket, 'SO_PEERCRED'):
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack('iII', credentials)[1])
    # The BSDs: struct xucred begins with its version and the effective user id. LOCAL_PEERCRED is 1, its level 0.
    return int(struct.unpack('II', sock.getsockopt(0, 1, 8)[:8])[1])
