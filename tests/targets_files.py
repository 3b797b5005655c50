"""What tests of mitogen.files and mitogen.push call in children."""

import hashlib
import os
import threading

import mitogen.core
import mitogen.service


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Hooked:
    """A file to write to that calls a function before the first write."""

    def __init__(self, hook):
        self.hook, self.data = hook, hashlib.sha256()

    def write(self, data):
        hook, self.hook = self.hook, lambda: None
        hook()
        self.data.update(data)


def fetch(context, path):
    """(ok, metadata, digest) of a file of `context`."""
    out = Hooked(lambda: None)
    ok, metadata = mitogen.service.FileService.get(context, path, out)
    return ok, metadata, out.data.hexdigest()


def fetch_and_stop(context, path):
    """Begin to fetch a file, and do not go on."""
    mitogen.service.FileService.get(context, path, Hooked(threading.Event().wait))


def fetch_with_nothing(context, path):
    """Fetch a file and write it nowhere: the first piece fails."""
    mitogen.service.FileService.get(context, path, Hooked(None))


def fetch_many(context, paths):
    """Digest of many small files."""
    out = Hooked(lambda: None)
    for path in paths:
        assert mitogen.service.FileService.get(context, path, out)[0]
    return out.data.hexdigest()


def send_elsewhere(context, path, other):
    """Ask for a file in the name of another context."""
    sender = mitogen.core.Sender(other, 1000)
    return context.call_service(mitogen.service.FileService, 'fetch', path=path, sender=sender)


def pushed(path, timeout=30):
    """What was pushed here."""
    service = mitogen.service.get_or_create_pool().get_service(mitogen.service.PushFileService)
    return service.get(path, timeout)


def pushed_digest(paths):
    return digest(b''.join(map(pushed, paths)))


def peak_memory():
    """Most memory that this process has had, in MB."""
    with open('/proc/self/status') as fp:
        return max(int(line.split()[1]) for line in fp if line.startswith('VmHWM')) / 1000


def open_descriptors():
    return len(os.listdir('/proc/self/fd'))
