"""
Modules on their way through a context that is not the master: ask once, answer all below.

Ring 1. Handlers run on the broker thread; push() on the thread that calls.
"""

import mitogen.core
from mitogen.core import FORWARD_MODULE, GET_MODULE, LOAD_MODULE, Message, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional


def is_from_child(msg: Message, stream: 'Any') -> bool:
    """A policy: only a direct child may use the handle. For anybody else the list of what the child was sent, which
    belongs to its stream, would become wrong."""
    return stream is not None and stream is not msg.router.parent_stream and msg.src_id == stream.remote_id


def message_of(module: Module) -> Message:
    return Message.pickled(tuple(getattr(module, field) for field in Module.__slots__), handle=LOAD_MODULE)


class Relay:
    """Serves children from what this context's importer has, or gets from the parent.

    Whatever a child lacks it is sent together with all that is here of the same top-level package: this context
    needed that, so the child will, and a question for each module would cost it a round trip.
    """

    def __init__(self, router: 'Any') -> None:
        self._router = router
        router.add_handler(self._on_get_module, GET_MODULE, policy=is_from_child)
        router.add_handler(self._on_forward_module, FORWARD_MODULE, policy=mitogen.core.has_parent_authority)

    @property
    def _importer(self) -> 'Any':
        return self._router.econtext.importer

    def lookup(self, fullname: str) -> 'Optional[Module]':
        """Return a module if it is here."""
        return self._importer.table.modules.get(fullname)       # type: ignore[no-any-return]

    def _on_get_module(self, msg: Message) -> None:
        fullname, wanted = msg.unpickle()
        self.answer(msg.src_id or 0, str(fullname), str(wanted))

    def answer(self, child_id: int, fullname: str, wanted: str) -> None:
        """Send a child the module that it asks for; broker thread."""
        self._importer.ask(fullname, lambda module: self._send_with_family(child_id, module), wanted)

    def _send_with_family(self, child_id: int, module: Module) -> None:
        top = module.fullname.partition('.')[0]
        for name, other in list(self._importer.table.modules.items()):
            if other is not module and name.partition('.')[0] == top and other.source is not None:
                self.send(child_id, other)
        self.send(child_id, module, again=True)

    def send(self, child_id: int, module: Module, again: bool = False) -> None:
        """Send a module to a direct child, unless it has it. Any thread.

        :param again: even then: it has asked.
        """
        stream = self._router.stream_by_id(child_id)
        if stream is None or (module.fullname in stream.modules_sent and not again):
            return
        stream.modules_sent.add(module.fullname)
        msg = message_of(module)
        if len(msg.data) > self._router.max_message_size:
            msg = message_of(Module(module.fullname, reason='module %s is too large to be sent' % module.fullname))
        msg.dst_id = child_id
        self._router.route(msg)

    def _on_forward_module(self, msg: Message) -> None:
        context_id, names = msg.unpickle()
        self.push(context_id, names)

    def push(self, context_id: int, names: 'Iterable[str]') -> None:
        """Send modules that are here towards a context below. Any thread."""
        stream = self._router.stream_by_id(context_id)
        if stream is not None and stream is not self._router.parent_stream:
            self.push_modules(context_id, stream, filter(None, map(self.lookup, names)))

    def push_modules(self, context_id: int, stream: 'Any', modules: 'Iterable[Module]') -> None:
        """Send modules to the next context on the way, and have it pass them on if it is not the last."""
        modules = list(modules)
        for module in modules:
            self.send(stream.remote_id, module)
        if modules and stream.remote_id != context_id:
            names = [module.fullname for module in modules]
            self._router.route(Message.pickled((context_id, names), dst_id=stream.remote_id, handle=FORWARD_MODULE))
