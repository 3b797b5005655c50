"""
What the broker process does for workers: run a command, copy a file, close a connection.

Ring 2. Each worker is served by a thread of its own, which waits here.
"""

import io
import itertools
import json
import os
import shlex
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import mitogen.boot.dialogue
import mitogen.core
from mitogen.ansible import commands, target, wrapping
from mitogen.ansible.accounts import Account
from mitogen.ansible.ahead import Pending
from mitogen.ansible.ansiballz import Library, Module
from mitogen.ansible.failures import Abandoned, Failure, failure_of_step
from mitogen.ansible.tree import Tree
from mitogen.ansible.worker import Worker
from mitogen.call import CallChain

#: Seconds between two looks whether the worker is still there.
LOOK = 0.5

#: Name of the error of an interpreter that cannot run modules any more.
LOST = 'mitogen.ansible.template.Lost'

#: Bytes of a file in one message, and messages under way: enough for a fast network with a delay.
PART, PARTS = 256 * 1024, 8


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
    :param pending: steps of theirs that are under way.
    """

    def __init__(self, tree: Tree, pending: Pending) -> None:
        self._tree, self._pending = tree, pending
        self._library, self._library_lock = Library(), threading.Lock()
        self._numbers = itertools.count(1)

    def serve(self, request: 'dict[str, Any]', worker: Worker) -> Any:
        """Do what a worker asks for, and return the answer.

        :raises Abandoned: it was not there any more.
        """
        operations: 'dict[str, Callable[..., Any]]' = {'exec': self._exec, 'put': self._put, 'fetch': self._fetch,
                                                       'reset': self._reset}
        return operations[request.pop('op')](worker, **request)

    # commands

    def _exec(self, worker: Worker, login: Any, become: Any, shell: str, text: str, whole: str, data: bytes,
              cwd: 'str | None') -> Any:
        """Run ``shell -c text``, or what it means.

        :param whole: the text with what makes it run as another user.
        :param data: standard input.
        :param cwd: folder to run it in; None: where a login ends up.
        :returns: (exit status, output, errors).
        """
        module = self._recognised(data) if data else None       # while the login is under way
        worker.await_login()
        try:
            account = self._tree.account(login, become)
        except mitogen.boot.dialogue.ConnectError as exc:
            if exc.method != 'become' or exc.kind == 'password':
                raise
            # There is no such user, or no Python for it. Whatever it is, the command itself will tell.
            account, text = self._tree.account(login, None), whole
        meaning, argv = wrapping.without_trailer(text), (shlex.split(shell) or ['']) + ['-c', text]
        step = None if data else commands.step(meaning)
        if step:
            return self._step(worker, account, step, argv, cwd)
        return worker.ahead.behind(lambda: module and self._module(worker, login, account, meaning, module, cwd)
                                   or self._shell(worker, account, argv, data, cwd))

    def _step(self, worker: Worker, account: Account, step: 'list[Any]', argv: 'list[str]',
              cwd: 'str | None') -> Any:
        """Do something about temporary files, or tell already what will have been done."""
        told = commands.foretold(step, account.found['homes'], worker.folders)
        if told is None:
            return worker.ahead.behind(lambda: self._do(worker, worker.ahead.chain(account.context), step, argv, cwd))
        expected = 0, told.encode('utf-8', 'surrogateescape'), b''

        def again() -> None:
            result = self._do(worker, CallChain(account.context), step, argv, cwd)
            if result != expected:
                raise failure_of_step(step[0], wrapping.without_trailer(argv[-1]), *result)
        if step[0] != 'home':
            worker.ahead.add(account.context, again, target.do_natively, step)
        if step[0] == 'folder':
            worker.folders.append(step[2])
        return expected

    def _do(self, worker: Worker, chain: CallChain, step: 'list[Any]', argv: 'list[str]', cwd: 'str | None') -> Any:
        number = self._number()
        return self._wait(worker, chain.call_async(target.do, number, step, argv, cwd), chain.context, number)

    def _shell(self, worker: Worker, account: Account, argv: 'list[str]', data: bytes, cwd: 'str | None') -> Any:
        number, chain = self._number(), worker.ahead.chain(account.context)
        return self._wait(worker, chain.call_async(target.shell, number, argv, data, cwd), chain.context, number)

    def _number(self) -> str:
        return '%d' % next(self._numbers)

    def _module(self, worker: Worker, login: Any, account: Account, text: str, module: Module,
                cwd: 'str | None') -> Any:
        """Run a module natively; None: it cannot be, or no interpreter was asked to."""
        interpreter = commands.interpreter(text)
        if not interpreter:
            return None
        self._spare_users(login, account, module)
        options = {'env': interpreter.late, 'cwd': cwd, 'python': interpreter.only_word()}
        number = self._number()
        while True:
            chosen = account.runner(interpreter, module)
            if chosen is None:
                return None
            receiver = chosen.begin(number, module, self._library.files, options,
                                    worker.ahead.chain(chosen.context))
            if receiver is not None:
                break
        try:
            return self._wait(worker, receiver, chosen.context, number)
        except mitogen.core.CallError as exc:
            if exc.type_name == LOST:
                account.leave(chosen)
                raise Failure('unreachable', exc.message) from None
            if chosen.is_warm():
                raise
            worker.ahead.settle()       # whatever it is, the ordinary way will tell
            return None

    def _spare_users(self, login: Any, account: Account, module: Module) -> None:
        """Before a module changes users: end what runs as one that it will not change otherwise."""
        if module.fqn.rpartition('.')[2] == 'user':
            account.found['homes'].clear()
            self._tree.account(login, None).found['homes'].clear()
        name = user_in_question(module)
        if name and name != account.found['user']:
            self._tree.leave_user(login, name)

    def _recognised(self, data: bytes) -> 'Module | None':
        with self._library_lock:
            return self._library.module(data)

    def _wait(self, worker: Worker, receiver: Any, context: Any, number: str) -> Any:
        while True:
            try:
                return receiver.get(LOOK).unpickle()
            except mitogen.core.TimeoutError:
                if not worker.is_there():
                    receiver.close()
                    context.call_no_reply(target.cancel, number)
                    raise Abandoned from None

    # files

    def _put(self, worker: Worker, login: Any, source: str, path: str) -> None:
        worker.await_login()
        context = self._tree.account(login, None).context
        try:
            with open(source, 'rb') as fp:
                if os.fstat(fp.fileno()).st_size < PART and commands.is_within(path, worker.folders):
                    data = fp.read()        # as it is now: the worker may remove it
                    worker.ahead.add(context, lambda: self._write(context, path, io.BytesIO(data)), target.write, path,
                                     data, True)
                else:
                    worker.ahead.settle()
                    self._write(context, path, fp)
        except OSError as exc:
            raise Failure('file', str(exc)) from None

    def _write(self, context: Any, path: str, fp: 'BinaryIO') -> None:
        waiting: 'list[Any]' = []
        data, begin = fp.read(PART), True
        try:
            while begin or data:
                waiting.append(context.call_async(target.write, path, data, begin))
                if len(waiting) > PARTS:
                    waiting.pop(0).get().unpickle()
                data, begin = fp.read(PART), False
            for receiver in waiting:
                receiver.get().unpickle()
        except mitogen.core.CallError as exc:
            raise Failure('file', str(exc)) from None

    def _fetch(self, worker: Worker, login: Any, path: str, destination: str) -> None:
        worker.await_login()
        worker.ahead.settle()
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

    def _reset(self, worker: Worker, login: Any) -> None:
        self._pending.wait()
        self._tree.forget(login)
