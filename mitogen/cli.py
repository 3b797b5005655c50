"""
The command ``python3 -m mitogen``.

Ring 2. Errors go to standard error, results to standard output; exit status 0: all went well, 1: something failed,
2: the command line is wrong, 130: Ctrl-C.
"""

import argparse
import ast
import getpass
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import mitogen.boot.dialogue
import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.utils

DESCRIPTION = """\
Call a Python function on other machines and in other accounts, with nothing installed there.

  python3 -m mitogen call os:uname
  python3 -m mitogen call --on ssh:web1 --on ssh:deploy@web2:2222/sudo os:getuid
  python3 -m mitogen call --on ssh:web1 mymodule:greet "'Ann'" 42

A hop is  local | fork | ssh:[USER@]HOST[:PORT] | sudo[:USER] ; hops are joined with "/", the first being the nearest.
Arguments are Python literals where they parse as such, text otherwise. Passwords are asked on the terminal.
"""

#: [user@]host[:port]; an IPv6 address stands in brackets.
SSH_TARGET = re.compile(r'(?:(?P<username>[^@]+)@)?(?P<hostname>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d+))?\Z')

#: How often a password may be typed wrong.
MAX_TRIES = 3

#: Connections that are started at once. Beyond this an ssh server with default settings drops some (MaxStartups 10).
MAX_AT_ONCE = 16


def parse_hop(text: str) -> tuple[str, dict[str, Any]]:
    """Return (method, its options) for one hop of the command line.

    :raises ValueError: this is none.
    """
    method, colon, target = text.partition(':')
    if method in ('local', 'fork') and not colon:
        return method, {}
    if method == 'sudo' and (target or not colon):
        return method, {'username': target} if target else {}
    match = SSH_TARGET.match(target) if method == 'ssh' else None
    if match is None:
        raise ValueError('%r is no hop: expected local, fork, ssh:[USER@]HOST[:PORT] or sudo[:USER]' % text)
    options = {key: value for key, value in match.groupdict().items() if value}
    options['hostname'] = options['hostname'].strip('[]')
    if 'port' in options:
        options['port'] = int(options['port'])
    return method, options


def parse_hops(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the hops of an ``--on``."""
    return [parse_hop(hop) for hop in text.split('/')]


def parse_value(text: str) -> Any:
    """Return what a Python literal means, and text as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


class Passwords:
    """Asks for each password once, one question at a time. Any thread."""

    def __init__(self, ask: Callable[[str], str] = getpass.getpass) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def get(self, what: str, refused: str | None) -> str | None:
        """Return the password for `what`; None: nobody is there to ask.

        :param refused: one that was tried in vain.
        """
        with self._lock:
            if self._known.get(what) in (None, refused):
                if not has_terminal():
                    return None
                self._known[what] = self._ask('Password for %s: ' % what)
            return self._known[what]


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    try:
        os.close(os.open('/dev/tty', os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def connect(router: mitogen.master.Router, hops: Sequence[tuple[str, dict[str, Any]]],
            passwords: Passwords) -> mitogen.parent.Context:
    """Return the context at the end of some hops."""
    context, path = None, ''
    for method, options in hops:
        path += '/' * bool(path) + ':'.join([method] + [str(value) for value in options.values()])
        context = connect_hop(router, context, path, method, options, passwords)
    assert context is not None
    return context


def connect_hop(router: mitogen.master.Router, via: Any, path: str, method: str, options: dict[str, Any],
                passwords: Passwords) -> mitogen.parent.Context:
    password: str | None = None
    for attempt in range(MAX_TRIES + 1):
        try:
            given = {} if password is None else {'password': password}
            context: mitogen.parent.Context = router.connect(method, via=via, **options, **given)
            return context
        except mitogen.boot.dialogue.PasswordError:
            password = passwords.get(path, refused=password) if attempt < MAX_TRIES else None
            if password is None:
                raise
    raise AssertionError('not reached')


def call_on(router: mitogen.master.Router, hops: str, passwords: Passwords, function: tuple[str, str],
            args: Sequence[Any]) -> str:
    """Return the result of a call at the end of some hops, as text."""
    context = connect(router, parse_hops(hops), passwords)
    router.bring_code(context, function[0])
    return str(context.call(mitogen.utils.call_and_show, function[0], function[1], *args))


def parse_function(text: str) -> tuple[str, str]:
    """Return (module, name) of MODULE:FUNCTION.

    :raises argparse.ArgumentTypeError: it is none.
    """
    match = re.match(r'([\w.]+):([\w.]+)\Z', text)
    if match is None:
        raise argparse.ArgumentTypeError('%r is not MODULE:FUNCTION' % text)
    return match.group(1), match.group(2)


def hops_argument(text: str) -> str:
    try:
        parse_hops(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='mitogen', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version='.'.join(map(str, mitogen.__version__)))
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    call = commands.add_parser('call', help='call a function and print its result', description=DESCRIPTION,
                               formatter_class=argparse.RawDescriptionHelpFormatter)
    call.add_argument('--on', action='append', type=hops_argument, metavar='HOP/HOP...',
                      help='where; several run at once. Default: a child on this machine')
    call.add_argument('function', type=parse_function, metavar='MODULE:FUNCTION')
    call.add_argument('args', nargs=argparse.REMAINDER, metavar='ARG', help='Python literals, or text')
    return parser


def report(hops: str, several: bool, done: 'Future[str]') -> bool:
    """Print what came of one call; return whether it is good."""
    prefix = hops + ': ' if several else ''
    try:
        print(prefix + done.result(), flush=True)
        return True
    except (mitogen.core.Error, TypeError, ValueError, OSError) as exc:
        print('%s%s: %s' % (prefix, type(exc).__name__, exc), file=sys.stderr, flush=True)
        return False


def run_call(options: argparse.Namespace) -> int:
    """Carry out ``mitogen call``; return the exit status."""
    places = options.on or ['local']
    args = [parse_value(text) for text in options.args]
    passwords = Passwords()
    with mitogen.master.Router() as router, ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        calls = [pool.submit(call_on, router, hops, passwords, options.function, args) for hops in places]
        try:
            good = [report(hops, len(places) > 1, done) for hops, done in zip(places, calls)]
        except KeyboardInterrupt:
            for done in calls:
                done.cancel()
            router.broker.shutdown()        # whoever waits for an answer gets an error now, and the pool can end
            raise
    return 0 if all(good) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = make_parser().parse_args(argv)
    mitogen.utils.log_to_file(level='WARNING')
    try:
        return run_call(options)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
