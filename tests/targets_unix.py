"""What tests of mitogen.unix call in children."""

import os

import mitogen.core
import mitogen.unix

listeners = []


@mitogen.core.takes_router
def listen(path, router):
    """Let others attach to this context."""
    listeners.append(mitogen.unix.Listener(router, path))


@mitogen.core.takes_econtext
def identity(econtext):
    return os.getpid(), econtext.context.context_id


@mitogen.core.takes_router
def start_child(router):
    """Start a child, and return it."""
    return router.local()
