"""Things that can be called in many ways, for tests of what can be called elsewhere."""

import contextlib
import functools


def keeping_the_name(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)
    return wrapper


def losing_the_name(fn):
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)
    return wrapper


def plain(value=None):
    return value


@keeping_the_name
def decorated():
    pass


@losing_the_name
def badly_decorated():
    pass


@functools.lru_cache(maxsize=None)
def cached():
    pass


@contextlib.contextmanager
def managed():
    yield


async def coroutine():
    pass


def closure():
    def inner():
        return closure
    return inner


nameless = lambda: 0        # noqa: E731


class Kind:
    @classmethod
    def by_class(cls):
        return cls.__name__

    @staticmethod
    def static():
        return 'static'

    def method(self):
        pass

    @classmethod
    @keeping_the_name
    def decorated(cls):
        pass

    class Inner:
        @staticmethod
        def deep():
            pass

    def __call__(self):
        pass


class Heir(Kind):
    pass


def fail(text):
    raise ValueError(text)


PREPARATIONS = []


def prepared(a, b):
    return 'prepared'


prepared.mitogen_before_call = lambda context, *args, **kwargs: PREPARATIONS.append((context, args, kwargs))
