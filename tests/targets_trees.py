"""Functions that tests of large trees, and bench/trees.py, call in the contexts of one."""

import importlib
import os
import threading

import mitogen.core


@mitogen.core.takes_router
def start_forks(count, router):
    """Fork this context `count` times; return the new ones."""
    return [router.fork() for _ in range(count)]


def identity():
    """A different answer of each context."""
    return os.getpid()


def nothing():
    """The same answer of all."""


def answer_of(module):
    """What a module says that the context has to fetch first."""
    return importlib.import_module(module).ANSWER


def fail_if(number, divisor):
    """Raises ValueError in some contexts."""
    if os.getpid() % divisor == number:
        raise ValueError('%d' % os.getpid())
    return os.getpid()


def raise_alike():
    """Raises the same error in all."""
    raise ValueError('alike')


def large(size):
    """A large answer, a different one of each context."""
    return os.getpid().to_bytes(4, 'big') * (size // 4)


def append_pid(path):
    """Leave a trace."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b'%d\n' % os.getpid())
    os.close(fd)


def append_pid_and_wait(path):
    """Leave a trace, and never return."""
    append_pid(path)
    threading.Event().wait()


def end():
    """End the context without a word."""
    os._exit(5)
