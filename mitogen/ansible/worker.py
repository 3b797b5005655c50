"""
A worker as the broker process sees it. Ring 2. Each is served by one thread; another logs in for it.
"""

import threading
from collections.abc import Callable

from mitogen.ansible.ahead import Ahead, Pending
from mitogen.ansible.failures import Abandoned


class Worker:
    """One that is served.

    :ivar is_there: whether it still is.
    :ivar ahead: what it believes to have been done.
    :ivar folders: temporary ones that it has made. What is done there concerns nobody else.
    """

    def __init__(self, is_there: 'Callable[[], bool]', pending: Pending) -> None:
        self.is_there, self.ahead = is_there, Ahead(pending)
        self.folders: 'list[str]' = []
        self._login: 'threading.Thread | None' = None
        self._failure: 'Exception | None' = None        # of the login, for who has waited for it

    def begin_login(self, log_in: 'Callable[[], None]') -> None:
        """Log in on a thread of its own, so that the next request can be read meanwhile. Once."""
        login = threading.Thread(target=self._log_in, args=(log_in,), name='mitogen.ansible.login', daemon=True)
        login.start()
        self._login = login

    def _log_in(self, log_in: 'Callable[[], None]') -> None:
        try:
            log_in()
        except Exception as exc:
            self._failure = exc

    def await_login(self) -> None:
        """Return when that has ended.

        :raises Exception: what it has raised, once.
        :raises Abandoned: the worker has not waited. What it has asked for is not to be done any more.
        """
        if self._login is not None:
            self._login.join()
        self._login, failure, self._failure = None, self._failure, None
        if failure is not None:
            raise failure
        if not self.is_there():
            raise Abandoned
