#!/usr/bin/env python3
"""delay_link.py MILLISECONDS NEAR_ADDRESS FAR_ADDRESS: two networks with a wire between them that takes its time.

Makes two network namespaces and a tun device in each, and carries every packet from one to the other, that many
milliseconds later. It does what the kernel's netem does, on kernels without. Prints its descriptors of the two
namespaces, to be entered through /proc/PID/fd. A byte on its standard input is how many packets of a hundred get lost
from then on. Stopped by a signal it is a frozen network. Ends when its standard input does; nothing of it stays.
"""

import collections
import contextlib
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_HEADER = 0x1001
DEVICE = b'wire0'
LARGEST_PACKET = 65536

# Packets that the device keeps until they are read. Its own 500 are lost under a few megabytes sent at once.
QUEUE_LENGTH = 5000

libc = ctypes.CDLL(None, use_errno=True)


def new_network(address):
    """Enter a new network namespace with a device of that address; return descriptors of (namespace, device)."""
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), 'no new network namespace')
    namespace = os.open('/proc/self/ns/net', os.O_RDONLY)
    device = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH22x', DEVICE, IFF_TUN_WITHOUT_HEADER))
    ip('addr', 'add', address + '/24', 'dev', DEVICE)
    ip('link', 'set', DEVICE, 'txqueuelen', str(QUEUE_LENGTH), 'up')
    ip('link', 'set', 'lo', 'up')
    return namespace, device


def ip(*arguments):
    subprocess.run(['ip', *arguments], check=True, stdin=subprocess.DEVNULL)


class Direction:
    """The packets under way from one device to the other, in order, each with the time when it is due."""

    def __init__(self, source, target, delay):
        self.source, self._target, self._delay = source, target, delay
        self._packets = collections.deque()
        self.loss = 0       # of a hundred

    def collect(self, now):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(self.source, LARGEST_PACKET)
                if random.randrange(100) >= self.loss:
                    self._packets.append((now + self._delay, packet))

    def deliver(self, now):
        while self._packets and self._packets[0][0] <= now:
            # A device that takes no more has lost the packet, as a wire does. TCP sends it again.
            with contextlib.suppress(OSError):
                os.write(self._target, self._packets.popleft()[1])

    def next_due(self):
        return self._packets[0][0] if self._packets else float('inf')


def carry(directions, until):
    """Carry packets until the descriptor `until` is closed at its other end; what is read from it is the loss."""
    while True:
        due = min(direction.next_due() for direction in directions)
        # select() alone waits for less than a millisecond where that is what is left.
        wait = None if due == float('inf') else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([until, *(direction.source for direction in directions)], [], [], wait)
        if until in readable:
            orders = os.read(until, 100)
            if not orders:
                return
            for direction in directions:
                direction.loss = orders[-1]
        for direction in directions:
            direction.collect(time.monotonic())
            direction.deliver(time.monotonic())


def main(milliseconds, near_address, far_address):
    near, near_device = new_network(near_address)
    far, far_device = new_network(far_address)
    # Or a busy machine adds its own delay. Not everybody may have this.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print(near, far, flush=True)
    delay = float(milliseconds) / 1000
    carry([Direction(near_device, far_device, delay), Direction(far_device, near_device, delay)], until=0)


if __name__ == '__main__':
    main(*sys.argv[1:])
