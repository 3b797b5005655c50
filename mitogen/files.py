"""
Files on their way to whoever asks for them, of any size. (For small ones, ahead of need: mitogen.push.)

Ring 1. Files are read on threads of the service pool, never on the broker's, and no thread waits for a slow peer: what
a peer says it has got brings the next piece on its way.
"""

import grp
import os
import pwd
import stat
import threading

import mitogen.core
import mitogen.service
import mitogen.waiting
from mitogen.core import Blob, LatchError, Message, Receiver, Sender
from mitogen.service import AllowAny, AllowParents, Error, Service, arg_spec, expose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Set, Tuple

#: Bytes of one file that are under way at a time. Every hop may have to hold them in memory; fewer would leave a fast
#: line idle while the news of their arrival travels back: this many fill 1 Gbit/s over 64 ms.
WINDOW = 8 << 20

#: Bytes in one message. Other messages wait behind it for as long as it takes; smaller ones cost more than they carry.
#: Files of up to this size travel inside the answer to the request.
PIECE = 512 << 10

#: Bytes after which the receiver says how much it has got: often enough that the window never runs dry.
ACKNOWLEDGE_EVERY = WINDOW // 8

#: Files that one context may have under way, and all behind one child together. Each holds a descriptor, of which 1024
#: are usual, and a hostile context must not get all: neither by itself nor in the names of all ids that it can have.
MAX_UNDER_WAY, MAX_BEHIND_ONE = 64, 512

#: Characters of a path, as most systems have it. To resolve it costs a system call for each folder.
MAX_PATH = 4096

SERVICE_ENDED = 'the service has ended'


# ---- reading files ---------------------------------------------------------------------------------

def _name_of(look_up: 'Any', number: int) -> 'Optional[str]':
    try:
        return look_up(number)[0]       # type: ignore[no-any-return]
    except KeyError:        # an account that was deleted, or that only another machine knows
        return None


def describe(status: os.stat_result) -> 'Dict[str, Any]':
    """Return what is told of a file: size in bytes, mode, owner and group (names, None when they have none), times."""
    return {'size': status.st_size, 'mode': status.st_mode, 'owner': _name_of(pwd.getpwuid, status.st_uid),
            'group': _name_of(grp.getgrgid, status.st_gid), 'mtime': status.st_mtime, 'atime': status.st_atime}


def _open_exactly(real: str) -> int:
    """Open the file of a resolved path. A symbolic link that has appeared in it meanwhile is not followed."""
    folder = os.open('/', os.O_RDONLY | os.O_DIRECTORY)
    try:
        *folders, name = real.strip('/').split('/')
        for step in folders:
            inner = os.open(step, getattr(os, 'O_PATH', os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name or '.', os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


class Source:
    """A regular file that is open to be read, and what it was like when that began.

    :param fd: its descriptor; closed with the source.
    :raises Error: it is no regular file.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd: 'Optional[int]' = fd
        self._path = path
        self.status = os.fstat(fd)
        self.size = self.status.st_size
        if not stat.S_ISREG(self.status.st_mode):
            self.close()
            raise Error('%s is not a regular file', path)

    def read(self, offset: int) -> bytes:
        """Return the next piece, never beyond the size that the file had; b'' at its end."""
        return os.pread(self._fd, min(PIECE, self.size - offset), offset)       # type: ignore[arg-type]

    def is_open(self) -> bool:
        return self._fd is not None

    def complaint(self, sent: int) -> str:
        """Say what is wrong with the `sent` bytes that were read, if they are not the file; else ''."""
        now = os.fstat(self._fd)        # type: ignore[arg-type]
        if sent < self.size or now.st_size < self.size:
            return '%s was truncated while it was sent: %d of %d bytes' % (self._path, sent, self.size)
        if now.st_size > self.size:
            return '%s has grown from %d to %d bytes while it was sent' % (self._path, sent, now.st_size)
        return '' if now.st_mtime == self.status.st_mtime else '%s was changed while it was sent' % self._path

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


# ---- on request ------------------------------------------------------------------------------------

class _Transfer:
    """One file on its way to one receiver. `advance` runs on a thread of the pool, one at a time.

    Each piece names our handle as the place for replies. So the receiver knows where to acknowledge, and when the piece
    finds nobody (the receiver was closed, its context is gone), the refusal comes here and ends the transfer.
    """

    def __init__(self, service: 'FileService', pool: 'mitogen.service.Pool', source: Source, sender: Sender) -> None:
        self._service, self._pool, self._source, self._sender = service, pool, source, sender
        self._sent = self._acknowledged = 0
        self._stopped = ''                  # why
        self._running = self._again = False
        self._lock = threading.Lock()       # for these two; never held while a file is read
        self.context_id = sender.context.context_id
        self.stream = service.router.stream_by_id(self.context_id)
        self._handle = service.router.add_handler(self._on_message, respondent=sender.context)

    def _on_message(self, msg: Message) -> None:
        """The receiver has got so many bytes, or wants no more. Broker thread."""
        value = None if msg.is_dead else msg.unpickle()
        # Of what was sent, not more: else all of the file would be sent at once, and wait in our memory.
        if type(value) is int and self._acknowledged <= value <= self._sent:
            self._acknowledged = value
            self.wake()
        else:
            self.stop('nobody receives it any more')

    def stop(self, why: str) -> None:
        """Send nothing more, and let go of the file. Any thread."""
        self._stopped = why
        self.wake()

    def wake(self) -> None:
        """Look what there is to do. Any thread."""
        with self._lock:
            self._again = True
            if self._running:
                return
            self._running = True
        try:
            self._pool.defer(self.advance)
        except LatchError:      # the pool has ended, and nothing runs
            self._finish(SERVICE_ENDED)

    def advance(self) -> None:
        """Send what the window has room for."""
        while True:
            with self._lock:
                self._running, self._again = self._again, False
            if not self._running:
                return
            try:
                self._send()
            except (OSError, mitogen.core.Error) as exc:
                self._finish(str(exc))

    def _send(self) -> None:
        while self._source.is_open() and self._sent < self._source.size and not self._stopped:
            # What is acknowledged brings us back here, so that less than that must not be all that is under way.
            room = WINDOW if mitogen.waiting.reads(self.stream) else ACKNOWLEDGE_EVERY
            if self._sent - self._acknowledged >= room:
                return
            piece = self._source.read(self._sent)
            if not piece:
                break
            self._sent += len(piece)
            self._sender.context.send(Message(handle=self._sender.dst_handle, reply_to=self._handle, data=piece))
        if self._source.is_open():
            self._finish(self._stopped or self._source.complaint(self._sent))

    def _finish(self, complaint: str) -> None:
        """Close everything, and tell the receiver how it went."""
        self._source.close()
        self._service.forget(self)
        try:
            self._service.router.del_handler(self._handle)
        except KeyError:
            pass            # the router has ended
        try:
            self._sender.context.send(Message(handle=self._sender.dst_handle, data=complaint.encode()))
        except mitogen.core.Error:
            pass            # the broker has


class FileService(Service):
    """Lets other contexts read files of this one.

    A context that is no parent gets only what was registered. :meth:`get` is the other end.
    """

    def __init__(self, router: 'Any') -> None:
        Service.__init__(self, router)
        self._paths: 'Set[str]' = set()
        self._prefixes: 'Set[str]' = set()
        self._lock = threading.Lock()
        self._transfers: 'Set[_Transfer]' = set()       # under the lock

    @classmethod
    def name(cls) -> str:
        return 'mitogen.service.' + cls.__qualname__

    @expose(AllowParents())
    @arg_spec({'path': str})
    def register(self, path: str) -> None:
        """Let every context read the file `path`, asked for by exactly that name; a symbolic link is followed."""
        self._paths.add(path)

    @expose(AllowParents())
    @arg_spec({'path': str})
    def register_prefix(self, path: str) -> None:
        """Let every context read the files below the folder `path`, but nothing that symbolic links or ``..`` lead to
        outside of it."""
        self._prefixes.add(os.path.realpath(path))

    @expose(AllowAny())
    @arg_spec({'path': str, 'sender': Sender})
    def fetch(self, path: str, sender: Sender, msg: Message) -> 'Tuple[Any, Any, str]':
        """Begin to send a file to `sender`; :meth:`get` calls this.

        :returns: (description, content or None when that goes to `sender`, what is wrong with the content).
        """
        if sender.context.context_id != msg.src_id:
            raise Error('context %s may not have a file sent to context %d', msg.src_id, sender.context.context_id)
        source = Source(self._open(path, mitogen.core.has_parent_authority(msg)), path)
        if source.size > PIECE:
            self._start(source, sender)
            return describe(source.status), None, ''
        try:
            content = source.read(0)
            return describe(source.status), Blob(content), source.complaint(len(content))
        finally:
            source.close()

    def _open(self, path: str, privileged: bool) -> int:
        if len(path) > MAX_PATH:
            raise Error('the path has %d characters', len(path))
        if privileged or path in self._paths:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK)       # a FIFO would wait for a writer
        real = os.path.realpath(path)
        if not any(os.path.commonpath([prefix, real]) == prefix for prefix in self._prefixes):
            raise Error('%s is not registered', path)
        return _open_exactly(real)

    def _start(self, source: Source, sender: Sender) -> None:
        transfer = _Transfer(self, mitogen.service.get_or_create_pool(router=self.router), source, sender)
        with self._lock:
            others = [other for other in self._transfers if other.stream is transfer.stream]
            own = sum(other.context_id == transfer.context_id for other in others)
            self._transfers.add(transfer)
        if own >= MAX_UNDER_WAY:
            transfer.stop('context %d has %d files under way already' % (transfer.context_id, own))
        elif transfer.stream is not None and len(others) >= MAX_BEHIND_ONE:
            transfer.stop('contexts behind %s have %d files under way already' % (transfer.stream.name, len(others)))
        transfer.wake()

    def forget(self, transfer: _Transfer) -> None:
        """A transfer has ended."""
        with self._lock:
            self._transfers.discard(transfer)

    def on_shutdown(self) -> None:
        with self._lock:
            transfers = list(self._transfers)
        for transfer in transfers:
            transfer.stop(SERVICE_ENDED)

    # the other end

    @classmethod
    def get(cls, context: 'Any', path: 'Any', out_fp: 'Any') -> 'Tuple[bool, Dict[str, Any]]':
        """Copy a file of another context. Any thread but the broker's.

        :param context: whose file; its FileService must have it registered, unless that context is below this one.
        :param path: its name there.
        :param out_fp: where to write it: something with ``write(bytes)``.
        :returns: (whether it is whole, metadata): `size` in bytes, `mode`, `owner`, `group`, `mtime`, `atime`; and
            `error` if it is not whole, for example because it was truncated, has grown or was changed meanwhile.
        :raises mitogen.core.CallError: there is no such file, it cannot be read, is not registered or not regular.
        :raises mitogen.core.ChannelError: the context is gone.

        .. code-block:: python

            with open('/tmp/log', 'wb') as fp:
                ok, metadata = mitogen.service.FileService.get(context, '/var/log/messages', fp)

        An exception in ``out_fp.write()`` stops the sender, too.
        """
        receiver = _Pieces(context.router, respondent=context)
        try:
            metadata, content, complaint = context.call_service(cls, 'fetch', path=os.fsdecode(path),
                                                                sender=receiver.to_sender())
            if content is None:
                complaint = _receive(receiver, context, metadata['size'], out_fp)
            else:
                _write(out_fp, content)
        finally:
            receiver.close()
            _cancel(receiver, context)
        if complaint:
            metadata['error'] = complaint
        return not complaint, metadata


class _Pieces(Receiver):
    """Pieces that the broker's own thread reads while the one that waits here writes: each does half of the work."""

    def __init__(self, router: 'Any', respondent: 'Any') -> None:
        Receiver.__init__(self, router, respondent=respondent)
        self._latch.broker = None


def _receive(receiver: Receiver, context: 'Any', size: int, out_fp: 'Any') -> str:
    """Write the pieces that arrive; return what is wrong with them, or ''."""
    context.router.broker.work_alone()
    got = told = 0
    while True:
        msg = receiver.get()
        if not msg.reply_to:        # not a piece: the sender's last word
            return msg.data.decode('utf-8', 'replace') or ('' if got == size else '%d of %d bytes came' % (got, size))
        _write(out_fp, msg.data)
        got += len(msg.data)
        if got - told >= ACKNOWLEDGE_EVERY and got < size:
            told = got
            context.send(Message.pickled(got, handle=msg.reply_to))


def _cancel(receiver: Receiver, context: 'Any') -> None:
    """Stop the sender if pieces have come that nobody took.

    If none have but more will, they find nobody: that stops it too. And one that waits, because its window is used up,
    has sent far more than was taken since the last acknowledgement.
    """
    while receiver.size():
        msg = receiver.get(block=False, throw_dead=False)
        if msg.reply_to and not msg.is_dead:
            context.send(Message.dead('not wanted any more', handle=msg.reply_to))
            return


def _write(out_fp: 'Any', data: bytes) -> None:
    """Write all of it; an unbuffered file may take less at a time."""
    taken = out_fp.write(data)
    while isinstance(taken, int) and taken < len(data):
        data = data[taken:]
        taken = out_fp.write(data)
