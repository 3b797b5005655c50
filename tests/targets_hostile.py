"""A child that was taken over: what tests of hostile children have them do. Runs on Python 3.6 and later."""

import marshal
import os
import select
import threading
import time
import zlib

import mitogen.core
from mitogen.core import Message


def _link(econtext):
    return econtext.router.parent_stream.transmit_side.fd


def _packed(econtext, fields, data):
    fields = dict({'src_id': econtext.context.context_id, 'auth_id': econtext.context.context_id}, **fields)
    return Message(data=data, **fields).pack() + data


def _write(fd, data, deadline):
    """Write it all, in the rhythm in which it is taken; raise TimeoutError when it is not."""
    data = memoryview(data)
    while data:
        if not select.select([], [fd], [], max(0, deadline - time.monotonic()))[1]:
            raise TimeoutError
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            pass


@mitogen.core.takes_econtext
def say(messages, econtext, times=1, timeout=60):
    """Send messages past our own router: (what is in the header, data), all of them so many times."""
    data = b''.join(_packed(econtext, fields, data) for fields, data in messages)

    def write():
        for _ in range(times):
            _write(_link(econtext), data, time.monotonic() + timeout)
    econtext.broker.defer_sync(write)


@mitogen.core.takes_econtext
def begin(fields, size, data, econtext):
    """Send the header of a message, and less than it promises."""
    econtext.broker.defer_sync(
        lambda: os.write(_link(econtext), mitogen.core.HEADER.pack(
            mitogen.core.MAGIC, 0, econtext.context.context_id, econtext.context.context_id, fields, 0, size) + data))


@mitogen.core.takes_econtext
def ask(fields, data, econtext, timeout=20):
    """Send a message; return the reason of the dead message that comes back, or (value,), or 'nothing'."""
    receiver = mitogen.core.Receiver(econtext.router)
    econtext.router.route(Message(data=data, reply_to=receiver.handle, **fields))
    try:
        msg = receiver.get(timeout, throw_dead=False)
        return msg.reason if msg.is_dead else (msg.unpickle(throw=False),)
    except mitogen.core.TimeoutError:
        return 'nothing'
    finally:
        receiver.close()


@mitogen.core.takes_econtext
def go_deaf(econtext):
    """Read nothing any more."""
    econtext.broker.stop_receive(econtext.router.parent_stream)


@mitogen.core.takes_econtext
def flood_deaf(fields, data, size, path, econtext):
    """Read nothing any more and send the same message again and again, until so many bytes are sent or nobody takes
    them for three seconds. Leave in the file `path` how many were. Once it is gone, read again."""
    packed, stream = _packed(econtext, fields, data) * 100, econtext.router.parent_stream

    def write_until(deadline, rest):
        """Return what remains of it."""
        while rest and select.select([], [_link(econtext)], [], max(0, deadline - time.monotonic()))[1]:
            rest = rest[os.write(_link(econtext), rest):]
        return rest

    def run():
        econtext.broker.stop_receive(stream)
        sent, rest = 0, b''
        while sent < size and not rest:
            rest = write_until(time.monotonic() + 3, packed)
            sent += len(packed) - len(rest)
        with open(path, 'w') as fp:
            fp.write('%d\n' % sent)
        while os.path.exists(path):
            time.sleep(0.01)
        econtext.broker.start_receive(stream)
        write_until(time.monotonic() + 60, rest)    # or our own router would speak into the middle of a message
    threading.Thread(target=run, daemon=True).start()


@mitogen.core.takes_router
def resource(package, path, router):
    """What a data file of the master is said to hold."""
    import mitogen.modules.resources
    return mitogen.modules.resources.ask(router, package, path)


def code_that_writes(path):
    """A module in the form in which a parent would send it, compiled: its execution leaves a file behind."""
    return zlib.compress(marshal.dumps(compile('open(%r, "w").close()' % path, 'evil', 'exec')))


@mitogen.core.takes_econtext
def send_code(dst_ids, names, path, econtext):
    """Send modules, as code, to whoever has not asked for them."""
    for dst_id in dst_ids:
        for name in names:
            value = (name, 'evil.py', code_that_writes(path), None, '', '', True)
            econtext.router.route(Message.pickled(value, dst_id=dst_id, handle=mitogen.core.LOAD_MODULE))


@mitogen.core.takes_router
def acknowledge(path, value, router):
    """Ask the master for a file and acknowledge that instead of what has come; return how many bytes came, and what
    was said behind them."""
    receiver = mitogen.core.Receiver(router)
    router.context_by_id(0).call_service('mitogen.service.FileService', 'fetch', path=path,
                                         sender=receiver.to_sender())
    got = 0
    while True:
        msg = receiver.get(20)
        if not msg.reply_to:
            return got, msg.data.decode()
        got += len(msg.data)
        router.route(Message.pickled(value, dst_id=0, handle=msg.reply_to))


def answer_starts_with(value):
    """From now on, say that instead of what became of a child that was to be started."""
    import mitogen.connect
    mitogen.connect.start_for_other = lambda *args, **kwargs: value


@mitogen.core.takes_router
def context_called(context_id, name, router):
    """A context of that id, as this one knows it."""
    return mitogen.core.Context(router, context_id, name)
