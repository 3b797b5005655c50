"""What tests of mitogen.detach call in children."""

import os
import sys

import mitogen.core
import mitogen.unix


@mitogen.core.takes_econtext
def detach_and_listen(path, econtext):
    """Live on, and let others attach."""
    econtext.detach()
    econtext.detach()
    print('into nothing')
    print('into nothing', file=sys.stderr)
    econtext.listener = mitogen.unix.Listener(econtext.router, path)


@mitogen.core.takes_econtext
def keep_child(econtext):
    """Start a child that is there before the end of all else; (pid here, pid there)."""
    econtext.kept = econtext.router.local()
    return os.getpid(), econtext.kept.call(os.getpid)


@mitogen.core.takes_econtext
def call_kept(econtext):
    return econtext.kept.call(os.getpid)


@mitogen.core.takes_econtext
def start_more(econtext):
    """(ids, results of calls) of new children here and below."""
    new = [econtext.router.local(), econtext.router.fork(), econtext.router.local(via=econtext.kept)]
    new.append(econtext.kept.call(start_one))
    return [context.context_id for context in new], [context.call(os.path.basename, 'a/b') for context in new]


@mitogen.core.takes_router
def start_one(router):
    return router.local()


@mitogen.core.takes_router
def start_on(python, router):
    """Results of calls in a new child on another Python, and in one below that."""
    child = router.local(python_path=python)
    return [context.call(os.path.basename, 'a/b') for context in (child, router.local(via=child))]


def import_module(name):
    __import__(name)


@mitogen.core.takes_econtext
def leave(econtext):
    """End this context."""
    econtext.broker.shutdown()


@mitogen.core.takes_econtext
def wait_above(handle, econtext):
    """Wait for an answer of the master."""
    master = econtext.router.context_by_id(0)
    return master.send_await(mitogen.core.Message(handle=handle), 30)
