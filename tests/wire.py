#!/usr/bin/env python3
"""wire.py SECONDS PROGRAM [ARGUMENT]...: a program whose input and output take their time, as over a network.

Runs it, and carries its standard input and output, each piece so many seconds later. Stopped by a signal it is a
network that is frozen; killed, one that is gone.
"""

import collections
import os
import select
import subprocess
import sys
import time


def main(delay, argv):
    program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    there, back = program.stdin.fileno(), program.stdout.fileno()
    ways = {0: there, back: 1}
    under_way = collections.deque()
    while back in ways or under_way:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        for source in select.select(list(ways), [], [], wait)[0]:
            data = os.read(source, 65536)
            under_way.append((time.monotonic() + delay, ways[source], data))
            if not data:
                del ways[source]
        while under_way and under_way[0][0] <= time.monotonic():
            _, target, data = under_way.popleft()
            if not data:
                os.close(target)
            while data:
                data = data[os.write(target, data):]
    return program.wait()


if __name__ == '__main__':
    try:
        sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
    except BrokenPipeError:
        sys.exit(1)
