"""
Modules on their way through a context that is not the master: ask once, answer all below.

Ring 1. Handlers run on the broker thread; push() on the thread that calls.
"""

import marshal
import zlib

import mitogen.core
from mitogen.core import FORWARD_MODULE, GET_MODULE, LOAD_MODULE, Message, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Dict, Iterable, List, Optional, Set


#: What a child has from its first bytes. It asks for them only to read their source.
BORN_WITH = {'mitogen', 'mitogen.core'}

#: Names in one request are short; a child that sends more is not looking for a module.
MAX_NAME = 512

#: Names that a child of the master may ask about, and one of a context between, for which that asks in its own name: so
#: one below it cannot use up what all have. Each is remembered, so that nothing is sent twice; all of Django is 2000.
MAX_ASKED, MAX_ASKED_BETWEEN = 100000, 20000

#: What makes a module of the main script; it comes along with that.
MAIN_LOADER = 'mitogen.modules.loader'


def is_from_child(msg: Message, stream: 'Any') -> bool:
    """A policy: only a direct child may use the handle. For anybody else the list of what the child was sent, which
    belongs to its stream, would become wrong."""
    return stream is not None and stream is not msg.router.parent_stream and msg.src_id == stream.remote_id


def message_of(module: Module) -> Message:
    return Message.pickled(tuple(vars(module).values()), handle=LOAD_MODULE)


def packed(code: 'CodeType') -> bytes:
    """Code as it travels. To compress it more takes ten times as long and saves a tenth."""
    return zlib.compress(marshal.dumps(code), 1)


def with_loader(names: 'Iterable[str]') -> 'List[str]':
    """`names`, and what a child needs to make a module of the main script if that is one of them."""
    names = list(names)
    return names + [MAIN_LOADER] * ('__main__' in names)


def top_of(module: Module) -> str:
    return module.fullname.partition('.')[0]


class Relay:
    """Serves children from what this context's importer has, or gets from the parent.

    Whatever a child lacks it is sent together with all that is here of the same top-level package, and with what still
    arrives: this context needed that, so the child will, and a question for each module would cost it a round trip.

    :ivar max_asked: names that one child may ask about.
    """

    max_asked = MAX_ASKED_BETWEEN

    def __init__(self, router: 'Any') -> None:
        self._router = router
        self._wanted: 'Dict[str, Set[int]]' = {}        # top-level package -> ids of children that asked for some of it
        router.add_handler(self._on_get_module, GET_MODULE, policy=is_from_child)
        router.add_handler(self._on_forward_module, FORWARD_MODULE, policy=mitogen.core.has_parent_authority)
        mitogen.core.listen(self._importer, 'loaded', self._on_loaded)

    @property
    def _importer(self) -> 'Any':
        return self._router.econtext.importer

    def lookup(self, fullname: str) -> 'Optional[Module]':
        """Return a module if it is here."""
        return self._importer.table.modules.get(fullname)       # type: ignore[no-any-return]

    def core_source(self) -> str:
        """Minified source of mitogen.core. Not on the broker thread."""
        return self._importer.get_source('mitogen.core')    # type: ignore[no-any-return]

    def core_code(self) -> bytes:
        """The same, packed() for the Python that runs this: what we are made of, if our parent runs the same."""
        return vars(mitogen.core).get('CODE') or packed(compile(self.core_source(), 'mitogen.core', 'exec', optimize=0))

    def _on_get_module(self, msg: Message) -> None:
        try:
            fullname, wanted = msg.unpickle()
        except (mitogen.core.Error, TypeError, ValueError):     # no traceback for rubbish: it would fill the log above
            fullname = wanted = None
        if self.is_question(msg.stream, fullname):
            if wanted is None:
                self.answer_source(msg.stream, fullname)
            else:
                self.answer(msg.src_id or 0, fullname, wanted if type(wanted) is str else '')

    def is_question(self, stream: 'Any', fullname: 'Any') -> bool:
        """Whether a child asks for what may be a module. Else nothing is remembered of it. Any thread."""
        if type(fullname) is not str:       # nor is text made of it, which could be larger than any memory
            mitogen.core.log(mitogen.core.DEBUG, 'no request for a module, from context %d', stream.remote_id)
            return False
        if len(fullname) <= MAX_NAME and len(stream.modules_sent) + len(stream.sources_sent) < self.max_asked:
            return True
        self._pass_on(stream.remote_id, Module(fullname, reason='no name of a module, or one too many'))
        return False

    def answer_source(self, stream: 'Any', fullname: str) -> None:
        """Send a child the source of a module that it has as code: once. Any thread."""
        if fullname not in stream.sources_sent:
            stream.sources_sent.add(fullname)
            self._send_source(stream.remote_id, fullname)

    def answer(self, child_id: int, fullname: str, wanted: str) -> None:
        """Send a child the module that it asks for; broker thread."""
        self._importer.ask(fullname, lambda module: self._send_with_family(child_id, module), wanted)

    def _send_with_family(self, child_id: int, module: Module) -> None:
        self._wanted.setdefault(top_of(module), set()).add(child_id)
        self.send(child_id, module)
        for other in list(self._importer.table.modules.values()):
            if other.source is not None and top_of(other) == top_of(module) and other.fullname not in BORN_WITH:
                self.send(child_id, other)

    def _on_loaded(self, module: Module) -> None:
        wanted = self._wanted.get(top_of(module)) if module.source is not None else None
        if wanted:
            wanted.intersection_update([stream.remote_id for stream in self._router.routes.below()])
            for child_id in wanted:
                self.send(child_id, module)

    def send(self, child_id: int, module: Module) -> None:
        """Send a module to a direct child, unless that has it, or asks for what is under way. Any thread."""
        stream = self._router.stream_by_id(child_id)
        # A child that is lost seems to be above, as does all that is not below.
        if stream is None or stream is self._router.parent_stream or module.fullname in stream.modules_sent:
            return
        stream.modules_sent.add(module.fullname)
        try:
            self._send_form(stream, module)
        except BaseException:       # Ctrl-C, or an import hook that fails: it would be asked for in vain
            stream.modules_sent.discard(module.fullname)
            raise

    def _send_form(self, stream: 'Any', module: Module) -> None:
        """Send a module in the form that the child can use."""
        if module.compiled and not stream.takes_compiled:
            self._send_source(stream.remote_id, module.fullname)
        else:
            self._pass_on(stream.remote_id, module)

    def _send_source(self, child_id: int, fullname: str) -> None:
        """Send a child the source of a module that it has, or shall have, and cannot read as code."""
        self._importer.ask_source(fullname, lambda module: self._pass_on(child_id, module))

    def _pass_on(self, child_id: int, module: Module) -> None:
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
            self.push_modules(context_id, stream, filter(None, map(self.lookup, with_loader(names))))

    def push_modules(self, context_id: int, stream: 'Any', modules: 'Iterable[Module]') -> None:
        """Send modules to the next context on the way, and have it pass them on if it is not the last."""
        names = []
        for module in modules:
            self.send(stream.remote_id, module)
            names.append(module.fullname)
        if names and stream.remote_id != context_id:
            self._router.route(Message.pickled((context_id, names), dst_id=stream.remote_id, handle=FORWARD_MODULE))
