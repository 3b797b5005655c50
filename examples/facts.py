"""Collect a few facts from several interpreters at once.

usage: facts.py [user@host...]; default: two on this machine.
"""

import os
import platform
import sys

import mitogen.utils


def facts():
    return {'host': platform.node(), 'uid': os.getuid(), 'python': platform.python_version()}


def connect(router, where):
    user, _, host = where.rpartition('@')
    return router.ssh(hostname=host, username=user or None)


@mitogen.utils.with_router
def main(router):
    if sys.argv[1:]:
        contexts = [connect(router, where) for where in sys.argv[1:]]
    else:
        first = router.local()
        contexts = [first, router.local(via=first)]
    answers = [(context, context.call_async(facts)) for context in contexts]
    for context, answer in answers:
        print(context.name, answer.get().unpickle())


if __name__ == '__main__':
    main()
