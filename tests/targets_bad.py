"""What tests of bad input have children do. Runs on Python 3.6 and later."""

import os
import signal
import sys
import threading
import time
import traceback

import mitogen.core

# Something that pickles everywhere else, but is no plain value.


class Own:
    pass


class OwnDict(dict):
    pass


def deep_list(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


UNSENDABLE = {
    'lock': threading.Lock,
    'generator': lambda: (number for number in ()),
    'object': object,
    'instance': Own,
    'subclass of dict': OwnDict,
    'class': lambda: Own,
    'function': lambda: deep_list,
    'built-in function': lambda: len,
    'module': lambda: sys,
    'file': lambda: sys.stderr,
    'exception': lambda: ValueError('x'),
    'within others': lambda: {'a': [({1: Own()},)]},
    'as a key': lambda: {Own(): 1},
    'deep list': lambda: deep_list(100000),
}


def make_unsendable(what):
    return UNSENDABLE[what]()


def exit_call(*args):
    sys.exit(*args)


def exit_process(status):
    os._exit(status)


def raise_keyboard_interrupt():
    raise KeyboardInterrupt


def interrupt_myself():
    """Ctrl-C, while user code runs."""
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(30)


def interrupt_when_idle(sender):
    """Once no call runs any more: Ctrl-C, a hundred times; then say so."""
    main = threading.current_thread().ident

    def interrupt():
        while not any(frame.f_code is mitogen.core.Broker.wait_for.__code__
                      for frame, _ in traceback.walk_stack(sys._current_frames()[main])):
            time.sleep(0.001)
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGINT)
        sender.send('done')
    threading.Thread(target=interrupt).start()


def raise_long(size):
    raise ValueError('x' * size)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError('not even that')


def raise_unprintable():
    raise Unprintable()


class OwnError(Exception):
    def __init__(self, a, b):
        Exception.__init__(self, 'a=%s b=%s' % (a, b))


def raise_own():
    raise OwnError(1, 2)


def raise_chained():
    try:
        raise KeyError('the cause')
    except KeyError as exc:
        raise ValueError('the effect') from exc


def recurse():
    return recurse() + 1


def spin():
    """The worst of user code: never returns, never waits."""
    while True:
        pass


def ignore_signals():
    """Nearly as bad: deaf to everything that it can be deaf to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass


def make_bytes(size):
    return bytes(size)


# ---- A child that misbehaves on its connection


def link(econtext):
    """The descriptor on which the parent listens to us."""
    return econtext.router.parent_stream.transmit_side.fd


@mitogen.core.takes_econtext
def write_raw(data, econtext):
    """Write bytes between two messages, where only messages should be."""
    econtext.broker.defer_sync(lambda: os.write(link(econtext), data))


@mitogen.core.takes_econtext
def write_everywhere(data, econtext):
    """User code that writes to each descriptor it finds."""
    for number in range(3, 64):
        try:
            os.write(number, data)
        except OSError:
            pass


@mitogen.core.takes_econtext
def close_everything(econtext):
    """User code that closes what it does not know, as programs do that become daemons."""
    os.closerange(3, 256)


def close_everything_later():
    """The same, when the call has taken so long that the broker's own thread is asleep with these descriptors."""
    time.sleep(0.2)
    os.closerange(3, 256)


@mitogen.core.takes_router
def send_message(fields, data, router):
    """Send a message with whatever in its header."""
    router.route(mitogen.core.Message(data=data, **fields))


@mitogen.core.takes_router
def ask_with(fields, data, router):
    """The same, and return the reason of the dead message, or None for any other answer, that comes back."""
    receiver = mitogen.core.Receiver(router)
    router.route(mitogen.core.Message(data=data, reply_to=receiver.handle, **fields))
    try:
        msg = receiver.get(10, throw_dead=False)
        return msg.reason if msg.is_dead else None
    finally:
        receiver.close()


def start_stubborn_thread():
    """User code's own thread, of the kind for which Python waits at its end."""
    threading.Thread(target=spin).start()
