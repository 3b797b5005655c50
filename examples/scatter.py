"""Ask a hundred contexts at once, and take the answers as they come.

usage: scatter.py [number of contexts]; default 100.
"""

import os
import sys

import mitogen.select
import mitogen.utils


def share(numbers):
    """What each context does: its part of the work."""
    return os.getpid(), sum(number * number for number in numbers)


@mitogen.utils.with_router
def main(router):
    count = int(sys.argv[1]) if sys.argv[1:] else 100
    contexts = [router.fork() for _ in range(count)]
    calls = {context.call_async(share, range(n, 100000, count)): context for n, context in enumerate(contexts)}
    total, processes = 0, set()
    with mitogen.select.Select(calls) as answers:
        for msg in answers:
            pid, part = msg.unpickle()
            if not processes:
                print('first answer from', calls[msg.receiver].name)
            processes.add(pid)
            total += part
    print('%d processes, sum of squares %d' % (len(processes), total))


if __name__ == '__main__':
    main()
