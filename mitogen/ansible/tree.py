"""
The interpreters that a playbook has in use: one for each login and each account, and those that run modules.

Ring 2, in the broker process. Methods run on the threads that serve workers; of those that want the same one, the first
starts it while the others wait.
"""

import marshal
import threading
from collections.abc import Callable
from typing import Any

import mitogen.core
import mitogen.master
import mitogen.method
from mitogen.ansible import runner, target, wrapping
from mitogen.ansible.ansiballz import Module
from mitogen.ansible.commands import Interpreter
from mitogen.call import CallChain

mitogen.method.register('ansible_ssh', 'mitogen.ansible.ssh')
mitogen.method.register('ansible_become', 'mitogen.ansible.become')


class Place:
    """Something that is made once, and again when it is lost."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thing: Any = None


class Runner:
    """An interpreter that runs modules."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self._loaded: 'dict[str, str] | None' = None    # path -> digest of the files that it has imported
        self._warming: Any = None                       # where news of these will come
        self._sent: 'set[str]' = set()
        self._lock = threading.Lock()

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
                self.context.call_no_reply(runner.keep, missing)
                self._sent |= set(missing)
            if self._loaded is None:
                self._warming = chain.call_async(runner.warm, module.members)
            return chain.call_async(runner.run, number, dict(module._asdict(), **options))


class Account:
    """A user of a host.

    :ivar context: the interpreter that runs as that user.
    :ivar lost: it is gone; prepared: runner.prepare() was called there.
    """

    def __init__(self, context: Any, words: 'list[str]') -> None:
        self.context, self.lost, self.prepared = context, False, False
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

    def runner(self, interpreter: Interpreter, module: Module) -> 'Runner | None':
        """Return what runs a module with an interpreter; None: that cannot be started, or not by us."""
        words = interpreter.command()
        with self._lock:
            place = self._places.setdefault(tuple(words), Place())
        with place.lock:
            if place.thing is None:
                place.thing = self._begin(words)
            for candidate in place.thing:
                if candidate.fits(module):
                    return candidate        # type: ignore[no-any-return]
            if place.thing:                 # it has imported other files of these names
                place.thing += self._begin(words, again=True)
                return place.thing[-1]      # type: ignore[no-any-return]
        return None

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


class Tree:
    """All of them.

    :param router: the master's.
    """

    def __init__(self, router: mitogen.master.Router) -> None:
        self.router = router
        self._places: 'dict[bytes, Place]' = {}
        self._lock = threading.Lock()

    def account(self, login: 'dict[str, Any]', become: 'dict[str, Any] | None') -> Account:
        """Return the account that a login leads to, and another user from there.

        :param login: `method`; `options` for it; `via`: a login through which it goes; `become`: as whom from there;
            `private_key`: text of a key, for `options`; `fallback`: another `python_path`, if there is no Python by the
            first; `retries`: how often to try again.
        :param become: options of mitogen.ansible.become.
        :raises mitogen.core.StreamError: it cannot be reached.
        """
        account = self._once((login,), lambda: self._log_in(login))
        if become is None:
            return account
        # What a plugin builds is different each time, for its prompt has a random part.
        key = {name: value for name, value in become.items() if name != 'prompt'}
        key['wrapped'] = become['wrapped'].replace(become['id'], '') if become['id'] else become['wrapped']
        del key['id']
        options = {name: value for name, value in become.items() if name != 'id'}
        return self._once((login, key), lambda: self._become(account, options))

    def _once(self, key: Any, make: 'Callable[[], Account]') -> Account:
        with self._lock:
            place = self._places.setdefault(marshal.dumps(key, 2), Place())
        with place.lock:
            if place.thing is None or place.thing.lost:
                place.thing = make()
            return place.thing      # type: ignore[no-any-return]

    def _log_in(self, login: 'dict[str, Any]') -> Account:
        options = dict(login['options'])
        if login.get('via'):
            options['via'] = self.account(login['via'], login.get('become')).context
        if login.get('private_key'):
            keep = options['via'].call if options.get('via') else lambda function, *args: function(*args)
            path = keep(target.keep_key, login['private_key'])
            options['arguments'] = [word.replace(wrapping.KEY, path) for word in options['arguments']]
        fallback, attempts_left = login.get('fallback'), login.get('retries', 0)
        while True:
            try:
                return Account(self.router.connect(login['method'], **options), options['python_path'])
            except mitogen.core.StreamError as exc:
                if fallback and 'python_path' in getattr(exc, 'hint', ''):
                    options['python_path'], fallback = fallback, None
                elif attempts_left:
                    attempts_left -= 1
                else:
                    raise

    def _become(self, account: Account, options: 'dict[str, Any]') -> Account:
        python = account.found['executable']
        return Account(self.router.connect('ansible_become', via=account.context, python_path=python, **options),
                       [python])

    def forget(self, login: 'dict[str, Any]') -> None:
        """Close the connection of a login, with all that goes through it."""
        with self._lock:
            place = self._places.get(marshal.dumps((login,), 2))
        if place is not None:
            with place.lock:
                account, place.thing = place.thing, None
            if account is not None and not account.lost:
                self._mark_lost(account.context)
                self.router.disconnect(account.context)

    def leave_user(self, login: 'dict[str, Any]', name: str) -> None:
        """End the interpreters that have become a user: programs that change accounts refuse those that are in use."""
        first = self.account(login, None)
        with self._lock:
            accounts = [place.thing for place in self._places.values() if place.thing is not None]
        for account in accounts:
            if not account.lost and account.found['user'] == name and account.context.via == first.context:
                self._mark_lost(account.context)
                account.context.shutdown()
                first.context.call(target.wait_for_end, account.found['pid'])

    def _mark_lost(self, context: Any) -> None:
        """Use nothing any more that goes through a context. News of its end come later, and tasks may be faster."""
        with self._lock:
            accounts = [place.thing for place in self._places.values() if place.thing is not None]
        for account in accounts:
            hop = account.context
            while hop is not None and hop != context:
                hop = hop.via
            account.lost = account.lost or hop is not None
