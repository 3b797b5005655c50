"""A program that has many children: see tests/live/test_many_contexts.py.

Arguments: connection method, number of children, soft limit of descriptors, hard limit. It prints one line of JSON.
"""

import json
import os
import resource
import sys

import mitogen.core
import mitogen.master


def start(router, method, number):
    """Return the contexts, and the error that came before the last; or None."""
    contexts = []
    try:
        if method == 'fork':
            for _ in range(number):
                contexts.append(router.fork())
        else:
            for outcome in [router.connect_async(method) for _ in range(number)]:
                contexts.append(outcome.get().unpickle())
    except mitogen.core.StreamError as exc:
        return contexts, exc
    return contexts, None


def main():
    method, (number, soft, hard) = sys.argv[1], map(int, sys.argv[2:])
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard if hard else highest))
    with mitogen.master.Router() as router:
        contexts, error = start(router, method, number)
        pids = [call.get().unpickle() for call in [context.call_async(os.getpid) for context in contexts]]
        found = {'answered': len(set(pids)), 'soft': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                 'descriptors': len(os.listdir('/proc/self/fd')), 'error': error and str(error)}
    found['left'] = sum(os.path.exists('/proc/%d' % pid) for pid in pids)
    print(json.dumps(found))


if __name__ == '__main__':
    main()
