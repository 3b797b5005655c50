"""What test_calls and its neighbours call in other contexts. Runs on Python 3.6 and later."""

import functools
import os
import string
import sys
import threading

import mitogen.core

# What calls left here for later calls to see.
kept = []


def keep(value):
    kept.append(value)


def get_kept():
    return kept


def describe(*args, **kwargs):
    """What arrived, in words, so that no value has to travel back."""
    return repr((args, sorted(kwargs.items())))


def defaults(first, second='two', *rest, third='three'):
    return [first, second, list(rest), third]


def is_of_type(value, name):
    """Whether a value is of exactly that type here: `'module.Name'`."""
    kind = type(value)
    return '%s.%s' % (kind.__module__.partition('._')[0], kind.__qualname__) == name


def twice(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return [fn(*args), fn(*args)]
    return wrapper


@twice
def decorated(text):
    return text.upper()


class Greeter:
    greeting = 'Hello'

    @classmethod
    def greet(cls, name):
        return '%s %s' % (cls.greeting, name)

    @staticmethod
    def shout(text):
        return text.upper()

    def method(self):
        return 'only with an object'

    class Inner:
        @staticmethod
        def where():
            return 'inside'


class GermanGreeter(Greeter):
    greeting = 'Hallo'


@mitogen.core.takes_router
def with_router(value, router):
    return value, router.context_id, router.parent_ids


@mitogen.core.takes_econtext
def with_econtext(econtext):
    return [econtext.context.context_id, econtext.router.context_id, econtext.parent.context_id,
            econtext.broker is econtext.router.broker, econtext.importer.router is econtext.router]


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


# ---- Contexts and senders as arguments


def call_in(context, fn, *args):
    """Call a function of this module in another context."""
    return context.call(globals()[fn], *args)


def pid():
    return os.getpid()


def parent_pid():
    return os.getppid()


def send_each(sender, values):
    """Send values, one by one, then close."""
    for value in values:
        sender.send(value)
    sender.close()


@mitogen.core.takes_router
def is_myself(context, router):
    return context == router.myself() and hash(context) == hash(router.myself())


@mitogen.core.takes_router
def offer_receiver(sender, router):
    """Send a Sender that leads here through the one that was given; return what then comes."""
    receiver = mitogen.core.Receiver(router)
    sender.send(receiver.to_sender())
    try:
        return receiver.get(30).unpickle()
    finally:
        receiver.close()


@mitogen.core.takes_router
def start_children(number, router):
    """Start some children here, and ask each for its parent's pid."""
    contexts = [router.local() for _ in range(number)]
    return [context.call(parent_pid) for context in contexts]


@mitogen.core.takes_router
def descend(depth, router):
    """Pids of a line of descendants that long."""
    return [os.getpid()] + (router.local().call(descend, depth - 1) if depth else [])


@mitogen.core.takes_router
def start_child(router):
    """Start a child and return its context."""
    return router.local()


def leave(status):
    sys.exit(status)


def return_lock():
    return threading.Lock()


@mitogen.core.takes_router
def wait_for_loss_of(context, sender, router):
    """Why a context that we never call is lost; tells when it begins to wait."""
    receiver = mitogen.core.Receiver(router, respondent=context)
    # Something has passed between the two, or nobody on the way knows that its end is news for us.
    router.route(mitogen.core.Message(dst_id=context.context_id, handle=4242))
    sender.send('waits')
    return receiver.get(30, throw_dead=False).reason


def is_loaded(module):
    return module in sys.modules


_remembered = []


def remember(value):
    _remembered.append(value)


def remembered():
    """What was, here, since the last time."""
    values = _remembered[:]
    _remembered.clear()
    return values


@mitogen.core.takes_router
def defer_all_names(router):
    """Whether a function that is deferred gets all of its arguments."""
    names, got = dict.fromkeys([*string.ascii_lowercase, 'args', 'kwargs', 'shown'], 1), mitogen.core.Latch()
    router.broker.defer(lambda **given: got.put(given), **names)
    return got.get(10) == names
