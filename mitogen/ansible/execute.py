"""
What the broker process does for workers: run a command, copy a file, close a connection.

Ring 2. Each worker is served by a thread of its own, which waits here. What fails is told in kinds, each of which the
worker turns into an error of Ansible:

* ``unreachable``: the host cannot be reached, or was lost;
* ``password``: a password is missing or wrong; ``become``: that of a become plugin;
* ``python``: there is no interpreter to begin with, so another way has to be found;
* ``file``: a file cannot be read or written; ``bug``: anything else.
"""

import itertools
import json
import os
import shlex
import threading
from collections.abc import Callable
from typing import Any

import mitogen.boot.dialogue
import mitogen.core
from mitogen.ansible import commands, runner, target, wrapping
from mitogen.ansible.ansiballz import Library, Module
from mitogen.ansible.tree import Account, Tree

#: Seconds between two looks whether the worker is still there.
LOOK = 0.5

#: Bytes of a file in one message, and messages under way: enough for a fast network with a delay.
PART, PARTS = 256 * 1024, 8


class Failure(Exception):
    """It cannot be done; see above for `kind`."""

    def __init__(self, kind: str, text: str) -> None:
        Exception.__init__(self, text)
        self.kind = kind


class Abandoned(Exception):
    """The worker is gone."""


def failure_of(exc: Exception) -> Failure:
    """What to tell a worker of an error."""
    if isinstance(exc, Failure):
        return exc
    if isinstance(exc, mitogen.boot.dialogue.ConnectError):
        if exc.method == 'become':
            if exc.kind != 'password':
                return Failure('become', '%s\n%s' % (exc.reason, exc.said))
            plugin = exc.target.rpartition(' ')[2]
            missing = 'none was given' in exc.reason or exc.reason.startswith('Missing')
            return Failure('become', '%s %s password' % ('Missing' if missing else 'Incorrect', plugin))
        refused = exc.kind == 'password' and 'without a password' not in exc.reason
        kind = 'password' if refused else 'python' if 'python_path' in exc.hint else 'unreachable'
        return Failure(kind, str(exc))
    if isinstance(exc, mitogen.core.CallError):
        return Failure('bug', str(exc))
    if isinstance(exc, mitogen.core.Error):
        return Failure('unreachable', str(exc))
    return Failure('bug', '%s: %s' % (type(exc).__name__, exc))


def user_in_question(module: Module) -> 'str | None':
    """Return the name of the account that a module is about to remove or to change; None: it is no such module."""
    if module.fqn.rpartition('.')[2] != 'user':
        return None
    args = json.loads(module.params).get('ANSIBLE_MODULE_ARGS')
    if isinstance(args, dict) and (args.get('state') == 'absent' or args.get('uid') or args.get('home')):
        return str(args.get('name') or args.get('user') or '') or None
    return None


class Executor:
    """Serves workers.

    :param tree: what they are connected to.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._library, self._library_lock = Library(), threading.Lock()
        self._numbers = itertools.count(1)

    def serve(self, request: 'dict[str, Any]', is_there: 'Callable[[], bool]') -> Any:
        """Do what a worker asks for, and return the answer.

        :param is_there: whether the worker still is.
        :raises Abandoned: it was not.
        """
        operations: 'dict[str, Callable[..., Any]]' = {'prepare': self._prepare, 'exec': self._exec, 'put': self._put,
                                                       'fetch': self._fetch, 'reset': self._reset}
        return operations[request.pop('op')](is_there=is_there, **request)

    def _prepare(self, login: Any, is_there: 'Callable[[], bool]') -> None:
        """Log in, while the worker still makes up what to run there."""
        account = self._tree.account(login, None)
        if not account.prepared:
            account.prepared = True
            account.context.call_no_reply(runner.prepare)

    # commands

    def _exec(self, login: Any, become: Any, shell: str, text: str, whole: str, data: bytes, cwd: 'str | None',
              is_there: 'Callable[[], bool]') -> Any:
        """Run ``shell -c text``, or what it means.

        :param whole: the text with what makes it run as another user.
        :param data: standard input.
        :param cwd: folder to run it in; None: where a login ends up.
        :returns: (exit status, output, errors).
        """
        number = '%d' % next(self._numbers)
        try:
            account = self._tree.account(login, become)
        except mitogen.boot.dialogue.ConnectError as exc:
            if exc.method != 'become' or exc.kind == 'password':
                raise
            # There is no such user, or no Python for it. Whatever it is, the command itself will tell.
            account, text = self._tree.account(login, None), whole
        meaning = wrapping.without_trailer(text)
        if data:
            native = self._module(login, account, number, meaning, data, cwd)
            if native is not None:
                return self._wait(native[0], native[1], number, is_there)
        argv = (shlex.split(shell) or ['']) + ['-c', text]
        step = None if data else commands.step(meaning)
        if step:
            receiver = account.context.call_async(target.do, number, step, argv, cwd)
        else:
            receiver = account.context.call_async(target.shell, number, argv, data, cwd)
        return self._wait(receiver, account.context, number, is_there)

    def _module(self, login: Any, account: Account, number: str, text: str, data: bytes, cwd: 'str | None') -> Any:
        """Start a module natively; None: it is none, or cannot be."""
        interpreter = commands.interpreter(text)
        module = interpreter and self._recognised(data)
        if not interpreter or not module:
            return None
        name = user_in_question(module)
        if name and name != account.user:
            self._tree.leave_user(login, name)
        chosen = account.runner(interpreter, module)
        if chosen is None:
            return None
        try:
            return chosen.begin(number, module, self._library.files, interpreter, cwd), chosen.context
        except mitogen.core.CallError as exc:
            # A Python that is too old for these modules, for example. Whatever it is, the ordinary way will tell.
            mitogen.core.log(mitogen.core.INFO, 'a module is run the ordinary way: %s', exc)
            return None

    def _recognised(self, data: bytes) -> 'Module | None':
        with self._library_lock:
            return self._library.module(data)

    def _wait(self, receiver: Any, context: Any, number: str, is_there: 'Callable[[], bool]') -> Any:
        while True:
            try:
                return receiver.get(LOOK).unpickle()
            except mitogen.core.TimeoutError:
                if not is_there():
                    receiver.close()
                    context.call_no_reply(target.cancel, number)
                    raise Abandoned from None

    # files

    def _put(self, login: Any, source: str, path: str, is_there: 'Callable[[], bool]') -> None:
        context = self._tree.account(login, None).context
        waiting: 'list[Any]' = []
        try:
            with open(source, 'rb') as fp:
                data, begin = fp.read(PART), True
                while begin or data:
                    waiting.append(context.call_async(target.write, path, data, begin))
                    if len(waiting) > PARTS:
                        waiting.pop(0).get().unpickle()
                    data, begin = fp.read(PART), False
            for receiver in waiting:
                receiver.get().unpickle()
        except (OSError, mitogen.core.CallError) as exc:
            raise Failure('file', str(exc)) from None

    def _fetch(self, login: Any, path: str, destination: str, is_there: 'Callable[[], bool]') -> None:
        context = self._tree.account(login, None).context
        try:
            with open(destination, 'wb') as fp:
                ahead = [context.call_async(target.read, path, number * PART, PART) for number in range(PARTS)]
                for number in itertools.count(PARTS):
                    data = ahead.pop(0).get().unpickle()
                    if not data:
                        break
                    fp.write(data)
                    ahead.append(context.call_async(target.read, path, number * PART, PART))
                for receiver in ahead:
                    receiver.close()
        except (OSError, mitogen.core.CallError) as exc:
            if os.path.exists(destination):
                os.unlink(destination)
            raise Failure('file', str(exc)) from None

    def _reset(self, login: Any, is_there: 'Callable[[], bool]') -> None:
        self._tree.forget(login)
