"""
A context that lives on without those above it, and keeps its children.

Ring 1: fetched when a function asks its `econtext` for detach(). From then on it is the root of its own tree: it gives
ids to what is started below, and what nobody has brought it before cannot be imported any more.
"""

import os

import mitogen.core
import mitogen.method
import mitogen.modules.loader
import mitogen.parent
import mitogen.routes
from mitogen.core import ALLOCATE_ID, DETACHING, MODULE_TIMEOUT, Latch, Message, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

#: Seconds that the parent has to let go. It answers at once, unless the connection is lost; then we end like any child.
DETACH_TIMEOUT = 60.0

#: First of the ids that a detached context gives out. Those of the old tree are counted from 1 and never get so far.
FIRST_ID = 1 << 31

#: Above every log level: there is nobody who could read it.
NO_LOG = 1000

#: What a program may need later, beside the modules of the connection methods.
NEEDED = ('mitogen', 'mitogen.core', 'mitogen.logs', 'mitogen.parent', 'mitogen.service', 'mitogen.select',
          'mitogen.files', 'mitogen.peer', 'mitogen.push', 'mitogen.unix', 'mitogen.utils', 'mitogen.modules.loader')


class Router(mitogen.parent.Router):
    """A router that has nobody above it any more, and gives out ids in the place of the master."""

    def begin(self, reason: str) -> None:
        """Let the old parent go. Broker thread."""
        self._next_id = FIRST_ID
        self.routes.remembers = False       # what goes to the master may be for us
        self.add_handler(self._on_id_request, ALLOCATE_ID)
        stream: 'Any' = self.parent_stream
        self.parent_stream = None
        stream.on_disconnect(self.broker)
        self.cut_off(reason)

    def _forward(self, msg: Message, stream: 'Any') -> None:
        if msg.handle == ALLOCATE_ID and not msg.dst_id:
            msg.dst_id = self.context_id
        mitogen.parent.Router._forward(self, msg, stream)

    def _on_id_request(self, msg: Message) -> None:
        """Give ids to ourselves, to a child, or to a child by our own request."""
        owner, count, reply = mitogen.routes.id_request(msg)
        link = None if owner == self.context_id else self.routes.link_to(owner)
        known = link.remote_id == owner if link is not None else owner == self.context_id
        if count and known and msg.stream in (None, link):
            reply = Message.pickled(self._next_id)
            if link is not None:
                self.routes.grant(self._next_id, count, owner)
            self._next_id += count
        msg.reply(reply, src_id=0)      # whom they have asked


class Importer(mitogen.modules.loader.Importer):
    """An importer that has nobody to ask."""

    def begin(self) -> None:
        """Answer those who wait. Broker thread."""
        for fullname in list(self._waiting):
            self._loaded(self._unknown(fullname))

    @staticmethod
    def _unknown(fullname: str) -> Module:
        return Module(fullname, reason='%s is not here, and this context has detached itself from those who have it'
                      % fullname)

    def ask(self, fullname: str, then: 'Callable[[Module], None]', wanted: str = '') -> None:
        if fullname not in self.table.modules:
            self._loaded(self._unknown(fullname))       # kept, as the import system asks there for the reason
        then(self.table.modules[fullname])

    def ask_source(self, fullname: str, then: 'Callable[[Module], None]') -> None:
        then(self.table.modules.get(fullname) or self._unknown(fullname))


class ExternalContext(mitogen.core.ExternalContext):
    """See mitogen.core.ExternalContext."""

    detached = False

    def detach(self) -> None:
        """Part from the parent, and live on when that ends. Any thread but the broker's; not again if done already.

        The call in which this happens has no result for whoever made it: it fails there with ChannelError. Children
        stay, and can be called; new ones can be started. Standard output, standard error and logs go nowhere from now
        on, and only modules that are here can be imported. The context ends when it calls
        ``econtext.broker.shutdown()``. To be reached again, it needs a `mitogen.unix.Listener`.

        :raises mitogen.core.ChannelError: the parent is gone already, and this context will be soon.
        :raises mitogen.core.TimeoutError: it did not answer within DETACH_TIMEOUT seconds.

        .. code-block:: python

            @mitogen.core.takes_econtext
            def serve(econtext):
                econtext.detach()
                run_server()
                econtext.broker.shutdown()
        """
        if not self.detached:
            self._pack()
            try:
                os.setsid()     # a signal for the old session is not for us
            except OSError:
                pass            # it has its own already
            parent: 'Any' = self.parent
            # Its answer also says that all that was sent before has arrived.
            parent.send_await(Message(handle=DETACHING), DETACH_TIMEOUT)
            self.router.broker.defer_sync(self._leave)

    def _pack(self) -> None:
        """Take along what it needs to have children and to be reached."""
        for name in NEEDED + tuple(sorted(mitogen.method.MODULES.values())):
            self.importer.fetch(name)
        mitogen.parent.grow(self.router)
        sources = Latch(self.router.broker)     # a new child may run another Python
        compiled = [name for name, module in list(self.importer.table.modules.items()) if module.compiled]
        for name in compiled:
            self.importer.ask_source(name, sources.put)
        for _ in compiled:
            sources.get(MODULE_TIMEOUT)

    def _leave(self) -> None:
        self.detached = True
        mitogen.core.unlisten(self.router.parent_stream, 'disconnect', self.broker.shutdown)
        self.router.log_level = NO_LOG
        self.importer.__class__ = Importer
        self.importer.begin()
        self.router.__class__ = Router      # type: ignore[assignment]
        self.router.begin('context %d has detached itself from the tree' % self.context.context_id)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)


def grow(econtext: 'Any') -> None:
    """Turn the ExternalContext of a core into the one here."""
    econtext.__class__ = ExternalContext
