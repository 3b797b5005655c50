"""
Small files, brought to contexts before they ask, into memory.

Ring 1. Runs on threads of the service pool, and of whoever calls.
"""

import collections
import os
import threading

import mitogen.core
import mitogen.service
from mitogen.core import Blob, ChannelError, Latch, LatchError, Receiver
from mitogen.files import PIECE, SERVICE_ENDED, Source
from mitogen.service import AllowParents, Error, Service, arg_spec, expose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Set, Tuple

#: Largest file that is pushed: it stays in the memory of every context on its way.
MAX_PUSHED = 16 << 20

#: Bytes of small files that are pushed in one message, and how many such messages are under way to the next context.
PUSH_AT_ONCE, PUSHES_UNDER_WAY = 256 << 10, 8

#: Seconds that PushFileService.get() waits. Who pushes a file does so before, or while, it is asked for.
PUSH_TIMEOUT = 300.0


class PushFileService(Service):
    """Brings small files to contexts before they ask, into their memory: each goes once to each context on the way.

    A file is read once, when it is first pushed; later changes to it are not seen.

    .. code-block:: python

        pusher = mitogen.service.get_or_create_pool(router=router).get_service(mitogen.service.PushFileService)
        pusher.propagate_to(context, '/etc/motd')

    and in the target ``get_or_create_pool().get_service(mitogen.service.PushFileService).get('/etc/motd')``.
    """

    def __init__(self, router: 'Any') -> None:
        Service.__init__(self, router)
        self._lock = threading.Lock()
        self._files: 'Dict[str, bytes]' = {}                # under the lock, as are all here
        self._waiting: 'Dict[str, List[Latch]]' = {}
        self._ended = False
        self._sent: 'Dict[int, Set[str]]' = {}              # id of the next context -> what it has
        self._busy: 'Dict[int, threading.Lock]' = {}        # the same -> held while files go there

    @classmethod
    def name(cls) -> str:
        return 'mitogen.service.' + cls.__qualname__

    def get(self, path: 'Any', timeout: 'Optional[float]' = PUSH_TIMEOUT) -> bytes:
        """Return the content of a file that was, or will soon be, pushed to this context. Not on the broker thread.

        :param path: its name where it comes from.
        :param timeout: seconds to wait.
        :raises mitogen.core.TimeoutError: it did not come.
        :raises mitogen.core.ChannelError: this context ends.
        """
        path, latch = os.fsdecode(path), Latch()
        with self._lock:
            if path in self._files:
                return self._files[path]
            if self._ended:
                raise ChannelError(SERVICE_ENDED)
            self._waiting.setdefault(path, []).append(latch)
        try:
            return latch.get(timeout)       # type: ignore[no-any-return]
        except mitogen.core.TimeoutError:
            raise mitogen.core.TimeoutError('nobody has pushed %s within %s seconds', path, timeout) from None
        except LatchError:
            raise ChannelError(SERVICE_ENDED) from None
        finally:
            with self._lock:
                if latch in self._waiting.get(path, ()):
                    self._waiting[path].remove(latch)

    def on_shutdown(self) -> None:
        with self._lock:
            self._ended = True
            latches = [latch for waiting in self._waiting.values() for latch in waiting]
        for latch in latches:
            latch.close()

    @expose(AllowParents())
    def propagate_to(self, context: 'Any', path: 'Any') -> None:
        """Push a file of this context to one below; return once it has it. Not on the broker thread.

        :raises OSError: it cannot be read.
        :raises mitogen.service.Error: it is too large, or `context` is not below this one.
        :raises mitogen.core.ChannelError: a context on the way is gone.
        """
        self.propagate_paths_and_modules(context, [path], [])

    @expose(AllowParents())
    def propagate_paths_and_modules(self, context: 'Any', paths: 'Sequence[Any]', modules: 'Sequence[str]') -> None:
        """The same with many files, in few messages, and with the modules of these names."""
        names = [os.fsdecode(path) for path in paths]
        for name in names:
            if name not in self._files:
                self._keep(name, _read_small(name))
        if context.context_id != self.router.context_id:
            self._forward(context, names)
            for module in modules:
                self.router.relay.push(context.context_id, [module])

    @expose(AllowParents())
    @arg_spec({'context': mitogen.core.Context, 'files': list, 'known': list})
    def store(self, context: 'Any', files: 'List[Tuple[str, bytes]]', known: 'List[str]') -> None:
        """Take files, and pass them on if they are for a context below; also those of the names in `known`, which are
        here already."""
        for name, content in files:
            self._keep(name, content)
        if context.context_id != self.router.context_id:
            self._forward(context, [name for name, _ in files] + known)

    def _keep(self, name: str, content: bytes) -> None:
        with self._lock:
            self._files[name] = content
            waiting = self._waiting.pop(name, ())
        for latch in waiting:
            latch.put(content)

    def _forward(self, context: 'Any', names: 'Sequence[str]') -> None:
        """Bring files to the next context on the way to `context`, and have that do the same."""
        stream = self.router.stream_by_id(context.context_id)
        if stream is None or stream is self.router.parent_stream:
            raise Error('context %d is not below context %d', context.context_id, self.router.context_id)
        hop = self.router.context_by_id(stream.remote_id)
        with self._hop_lock(hop):
            # Held to the end, so that nobody else takes for known there what is still on its way.
            sent = self._sent[hop.context_id]
            new = [name for name in dict.fromkeys(names) if name not in sent]
            known = [] if hop == context else [name for name in dict.fromkeys(names) if name in sent]
            self._send(hop, context, new, known)
            sent.update(new)

    def _hop_lock(self, hop: 'Any') -> threading.Lock:
        with self._lock:
            if hop.context_id not in self._busy:
                self._busy[hop.context_id], self._sent[hop.context_id] = threading.Lock(), set()
                mitogen.core.listen(hop, 'disconnect', lambda: self._forget(hop.context_id))
            return self._busy[hop.context_id]

    def _forget(self, context_id: int) -> None:
        with self._lock:
            self._busy.pop(context_id, None)
            self._sent.pop(context_id, None)

    def _send(self, hop: 'Any', context: 'Any', new: 'List[str]', known: 'List[str]') -> None:
        calls: 'List[Tuple[Any, List[str]]]' = [(batch, []) for batch in self._batches(new)]
        if known:
            calls.append(([], known))
        under_way: 'Deque[Receiver]' = collections.deque()
        try:
            for files, others in calls:
                if len(under_way) == PUSHES_UNDER_WAY:
                    under_way.popleft().get().unpickle()
                under_way.append(hop.call_service_async(PushFileService, 'store', context=context, files=files,
                                                        known=others))
            while under_way:
                under_way.popleft().get().unpickle()
        finally:
            for receiver in under_way:
                receiver.close()

    def _batches(self, names: 'Sequence[str]') -> 'Iterator[List[Tuple[str, bytes]]]':
        """Yield lists of (name, content), each of them as much as goes in one message."""
        batch: 'List[Tuple[str, bytes]]' = []
        size = 0
        for name in names:
            content = self._files[name]
            if batch and size + len(content) + len(name) > PUSH_AT_ONCE:
                yield batch
                batch, size = [], 0
            batch.append((name, Blob(content)))
            size += len(content) + len(name)
        if batch:
            yield batch


def _read_small(name: str) -> bytes:
    source = Source(os.open(name, os.O_RDONLY | os.O_NONBLOCK), name)
    try:
        if source.size > MAX_PUSHED:
            raise Error('%s has %d bytes, and %d is the limit for a file that is kept in memory: use FileService',
                        name, source.size, MAX_PUSHED)
        content = b''.join(source.read(offset) for offset in range(0, source.size, PIECE))
        if source.complaint(len(content)):
            raise Error(source.complaint(len(content)))
        return content
    finally:
        source.close()
