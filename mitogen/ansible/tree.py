"""
The interpreters that a playbook has in use: one for each login and each account.

Ring 2, in the broker process. Methods run on the threads that serve workers or log in for them; of those that want the
same one, the first starts it while the others wait. What only a connection that is there needs, is imported when it is:
see broker.py.
"""

import marshal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mitogen.core
import mitogen.master
import mitogen.method
from mitogen.ansible import wrapping

if TYPE_CHECKING:
    from mitogen.ansible.accounts import Account

mitogen.method.register('ansible_ssh', 'mitogen.ansible.ssh')
mitogen.method.register('ansible_become', 'mitogen.ansible.become')


class Place:
    """Something that is made once, and again when it is lost."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thing: Any = None


class Tree:
    """All of them.

    :param router: the master's.
    """

    def __init__(self, router: mitogen.master.Router) -> None:
        self.router = router
        self._places: 'dict[bytes, Place]' = {}
        self._lock = threading.Lock()

    def account(self, login: 'dict[str, Any]', become: 'dict[str, Any] | None') -> 'Account':
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

    def _once(self, key: Any, make: 'Callable[[], Account]') -> 'Account':
        with self._lock:
            place = self._places.setdefault(marshal.dumps(key, 2), Place())
        with place.lock:
            if place.thing is None or place.thing.lost:
                place.thing = make()
            return place.thing      # type: ignore[no-any-return]

    def _log_in(self, login: 'dict[str, Any]') -> 'Account':
        options = dict(login['options'])
        if login.get('via'):
            options['via'] = self.account(login['via'], login.get('become')).context
        if login.get('private_key'):
            from mitogen.ansible import target
            keep = options['via'].call if options.get('via') else lambda function, *args: function(*args)
            path = keep(target.keep_key, login['private_key'])
            options['arguments'] = [word.replace(wrapping.KEY, path) for word in options['arguments']]
        fallback, attempts_left = login.get('fallback'), login.get('retries', 0)
        while True:
            try:
                return self._account(self.router.connect(login['method'], **options), options['python_path'])
            except mitogen.core.StreamError as exc:
                if fallback and 'python_path' in getattr(exc, 'hint', ''):
                    options['python_path'], fallback = fallback, None
                elif attempts_left:
                    attempts_left -= 1
                else:
                    raise

    def _become(self, account: 'Account', options: 'dict[str, Any]') -> 'Account':
        python = account.found['executable']
        return self._account(self.router.connect('ansible_become', via=account.context, python_path=python, **options),
                             [python])

    def _account(self, context: Any, words: 'list[str]') -> 'Account':
        from mitogen.ansible.accounts import Account
        return Account(context, words)

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
                first.outlive(account)

    def _mark_lost(self, context: Any) -> None:
        """Use nothing any more that goes through a context. News of its end come later, and tasks may be faster."""
        with self._lock:
            accounts = [place.thing for place in self._places.values() if place.thing is not None]
        for account in accounts:
            hop = account.context
            while hop is not None and hop != context:
                hop = hop.via
            account.lost = account.lost or hop is not None
