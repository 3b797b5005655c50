#!/usr/bin/env python3
"""held.py REPORT COMMAND...: run a command, end what it leaves behind, and tell what all of it has cost.

Whatever a command starts in the background becomes a child of this process when its own parent ends (Linux only), so
its processor time is counted too. When the command has ended, or this program's standard input has, which must be a
pipe, the rest is ended. REPORT then holds, as JSON: the command's exit `status`, the `seconds` that it took, and the
`cpu` seconds of all that ran.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36

#: Seconds that what is left has to end by itself, and then to end when it is asked to.
GRACE = 2.0


def children(pid: int) -> 'list[int]':
    found = []
    for name in os.listdir('/proc'):
        with contextlib.suppress(OSError, ValueError), open('/proc/%d/stat' % int(name)) as fp:
            if int(fp.read().rpartition(')')[2].split()[1]) == pid:
                found.append(int(name))
    return found


def reap(seconds: float) -> bool:
    """Wait for all children; return whether none is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)
        except ChildProcessError:
            return True
    return False


def end_all() -> None:
    for number in signal.SIGTERM, signal.SIGKILL, signal.SIGKILL:
        for pid in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if reap(GRACE):
            return


def main(report: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begin = time.perf_counter()
    null = os.open(os.devnull, os.O_RDONLY)
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 0)])
    fd = os.pidfd_open(pid)
    readable = select.select([fd, 0], [], [])[0]
    seconds = time.perf_counter() - begin
    status = 0
    if fd in readable:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        reap(GRACE / 4)
    end_all()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, 'w') as fp:
        json.dump({'status': status, 'seconds': seconds, 'cpu': usage.ru_utime + usage.ru_stime}, fp)


if __name__ == '__main__':
    main(*sys.argv[1:])
