"""
A user of a host, and the interpreters that run modules as that user.

Ring 2, in the broker process, on the threads that serve workers or log in for them. Loaded while the first login is
under way.
"""

import threading
from typing import Any

import mitogen.core
from mitogen.ansible import runner, target, template
from mitogen.ansible.ansiballz import Module
from mitogen.ansible.commands import Interpreter
from mitogen.ansible.tree import Place
from mitogen.call import CallChain


class Runner:
    """An interpreter that runs modules.

    :ivar context: it; lost: it is gone.
    """

    def __init__(self, context: Any) -> None:
        self.context, self.lost = context, False
        mitogen.core.listen(context, 'disconnect', self._on_disconnect)
        self._loaded: 'dict[str, str] | None' = None    # path -> digest of the files that it has imported
        self._warming: Any = None                       # where news of these will come
        self._sent: 'set[str]' = set()
        self._lock = threading.Lock()

    def _on_disconnect(self) -> None:
        self.lost = True

    def fits(self, module: Module) -> bool:
        """Whether what it has imported is what the module would import."""
        self.is_warm()
        return all(module.members.get(path) == digest for path, digest in (self._loaded or {}).items())

    def is_warm(self) -> bool:
        """Whether it has imported what modules have in common. Waits for the end of it."""
        with self._lock:
            warming, self._warming = self._warming, None
            if warming is not None:
                try:
                    self._loaded = warming.get().unpickle()
                except mitogen.core.CallError as exc:
                    # A Python that is too old for these modules, for example.
                    mitogen.core.log(mitogen.core.INFO, 'modules cannot be imported: %s', exc)
            return self._loaded is not None

    def begin(self, number: str, module: Module, files: 'dict[str, bytes]', options: 'dict[str, Any]',
              chain: CallChain) -> Any:
        """Start a module; return the Receiver of its result, or None: others were faster, and it does not fit.

        :param files: digest -> file, of all that there are; those that it has already are not sent again.
        :param options: `env`, `cwd` and `python`, see mitogen.ansible.runner.run().
        :param chain: for what has to go behind something else.
        """
        fits = self.fits(module)
        with self._lock:        # who sends files is also who calls next, or the call would be there before them
            if not fits or self._warming is not None:
                return None
            missing = {digest: files[digest] for digest in module.members.values() if digest not in self._sent}
            if missing:
                self.context.call_no_reply(template.keep, missing)
                self._sent |= set(missing)
            if self._loaded is None:
                self._warming = chain.call_async(template.warm, module.members)
            return chain.call_async(template.run, number, dict(module._asdict(), **options))


class Account:
    """A user of a host.

    :ivar context: the interpreter that runs as that user.
    :ivar lost: it is gone.
    """

    def __init__(self, context: Any, words: 'list[str]') -> None:
        self.context, self.lost, self._to_import = context, False, iter(runner.STANDARD)
        self._words = words
        self._places: 'dict[tuple[str, ...], Place]' = {}
        self._lock = threading.Lock()
        mitogen.core.listen(context, 'disconnect', self._on_disconnect)
        # Nobody waits for that before it is needed, and by then it is there.
        self._described, self._found = context.call_async(target.describe), None    # type: Any, Any

    def _on_disconnect(self) -> None:
        self.lost = True

    @property
    def found(self) -> 'dict[str, Any]':
        """What target.describe() has found: `executable`, `user`, `pid`, `homes`."""
        with self._lock:
            if self._found is None:
                self._found = self._described.get().unpickle()
            return self._found      # type: ignore[no-any-return]

    def prepare(self) -> None:
        """Import a part of what modules need. The first task waits for one; the rest is for the second."""
        names = next(self._to_import, None)
        if names:
            self.context.call_no_reply(template.prepare, names)

    def outlive(self, other: 'Account') -> None:
        """Return when the interpreter of another account of this host has ended."""
        self.context.call(target.wait_for_end, other.found['pid'])

    def runner(self, interpreter: Interpreter, module: Module) -> 'Runner | None':
        """Return what runs a module with an interpreter; None: that cannot be started, or not by us."""
        words = interpreter.command()
        with self._lock:
            place = self._places.setdefault(tuple(words), Place())
        with place.lock:
            if place.thing:
                place.thing = [candidate for candidate in place.thing if not candidate.lost] or None
            if place.thing is None:
                place.thing = self._begin(words)
            for candidate in place.thing:
                if candidate.fits(module):
                    return candidate        # type: ignore[no-any-return]
            if place.thing:                 # it has imported other files of these names
                place.thing += self._begin(words, again=True)
                return place.thing[-1]      # type: ignore[no-any-return]
        return None

    def leave(self, runner: Runner) -> None:
        """Use what runs modules no more: it is about to end."""
        runner.lost = True
        self.lost = self.lost or runner.context is self.context

    def _begin(self, words: 'list[str]', again: bool = False) -> 'list[Runner]':
        if not again and self._is_own(words):
            return [Runner(self.context)]
        try:
            return [Runner(self.context.router.connect('local', via=self.context, python_path=words))]
        except mitogen.core.StreamError as exc:
            mitogen.core.log(mitogen.core.INFO, 'modules for %s are run one by one: %s', words, exc)
            return []

    def _is_own(self, words: 'list[str]') -> bool:
        return words == self._words or len(words) == 1 and self.context.call(target.is_this, words[0])
