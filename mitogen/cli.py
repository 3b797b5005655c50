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
from typing import TYPE_CHECKING, Any

import mitogen.boot.dialogue
import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.utils

if TYPE_CHECKING:
    from mitogen.commands.fleet import Fleet, Place

DESCRIPTION = """\
Call a Python function on other machines and in other accounts, with nothing installed there.

  python3 -m mitogen call os:uname
  python3 -m mitogen call --on ssh:web1 --on ssh:deploy@web2:2222/sudo os:getuid
  python3 -m mitogen call --on ssh:web1 mymodule:greet "'Ann'" 42

Hops are joined with "/", the first being the nearest. A hop is one of

  local  fork                       another interpreter, or a copy of this one
  ssh:[USER@]HOST[:PORT]            another machine
  sudo[:USER]  su[:USER]  doas[:USER]                       another user, by default root
  docker:[USER@]NAME  podman:[USER@]NAME  buildah:[USER@]NAME       a container that runs
  lxc:NAME  lxd:NAME  incus:NAME  jail:[USER@]NAME  machinectl:[USER@]NAME  kubectl:POD
  setns:KIND:[USER@]NAME            a container of KIND (docker podman lxc lxd incus machinectl), without its program

Arguments are Python literals where they parse as such, text otherwise. Passwords are asked on the terminal.
"""

#: Method -> what stands behind the colon; the groups are its options. None: nothing may.
NAME = r'(?P<container>[^@]+)'
USER_AND_NAME = r'(?:(?P<username>[^@:]+)@)?(?P<container>[^@:]+)'
USER = r'(?P<username>[^@:]+)'
TARGETS: dict[str, str | None] = {
    'local': None,
    'fork': None,
    # An IPv6 address stands in brackets. Names of users, in some domains, hold an @.
    'ssh': r'(?:(?P<username>.+)@)?(?P<hostname>\[[^\]\s]+\]|[^@:\[\]\s]+)(?::(?P<port>\d+))?',
    'sudo': USER, 'su': USER, 'doas': USER,
    'docker': USER_AND_NAME, 'podman': USER_AND_NAME, 'buildah': USER_AND_NAME, 'jail': USER_AND_NAME,
    'machinectl': USER_AND_NAME,
    'lxc': NAME, 'lxd': NAME, 'incus': NAME,
    'kubectl': r'(?P<pod>[^@:]+)',
    'setns': r'(?P<kind>[a-z]+):' + USER_AND_NAME,
}

#: Methods that can do without a target.
WITHOUT_TARGET = 'local', 'fork', 'sudo', 'su', 'doas'

RUN = """\
Run a whole script of this machine in other places. It sees sys.argv as if it had been started there, and an empty
standard input; modules that lie beside it can be imported. What is behind -- is for the script.

  python3 -m mitogen run setup.py --on ssh:web1 --on ssh:web2/sudo -- --verbose

Its output comes as it is written; with several places each line begins with the name of its place. The exit status is
the script's, with several places the largest; 1 for a place that cannot be reached.
"""

COPY = """\
Copy files, and with -r folders, to other places, or with --from back from there.

  python3 -m mitogen copy app.tar --on ssh:web1 --on ssh:web2/sudo /opt/
  python3 -m mitogen copy --from ssh:web1 /var/log/app.log logs/

A file is written beside its final name, with that name in it and .mitogen-part at the end, and renamed when it is
complete and safe on the disk: under its own name there is the old file or the new one, whatever happens. Permission
bits are kept; set-user-id and the like are not, as the owner is not kept either. From several places the files go to a
folder for each, called after it. A terminal is shown the progress.
"""

TREE = """\
Draw contexts: hop, user, host, process, Python, memory, and the time that a call takes there and back.

  python3 -m mitogen tree --on ssh:web1/sudo --on ssh:web1/docker:app

Chains that begin alike share their contexts.
"""

#: How often a password may be typed wrong.
MAX_TRIES = 3


def parse_hop(text: str) -> tuple[str, dict[str, Any]]:
    """Return (method, its options) for one hop of the command line.

    :raises ValueError: this is none.
    """
    method, colon, target = text.partition(':')
    if method in WITHOUT_TARGET and not colon:
        return method, {}
    pattern = TARGETS.get(method)
    match = re.fullmatch(pattern, target) if pattern else None
    if match is None or any((value or '').startswith('-') for value in match.groups()):
        known = ' '.join(TARGETS)
        raise ValueError('%r is no hop, such as ssh:HOST or docker:NAME; methods are %s, see --help' % (text, known))
    options: dict[str, Any] = {key: value for key, value in match.groupdict().items() if value}
    if 'hostname' in options:
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
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):       # TypeError: {[]: 1}
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


def connect_place(fleet: 'Fleet', place: 'Place') -> mitogen.parent.Context:
    """Connect a place of a command; return its context."""
    context = connect(fleet.router, parse_hops(place.hops), passwords_for(fleet))
    fleet.arrived(place, context)
    return context


def passwords_for(fleet: 'Fleet') -> Passwords:
    """The passwords of a command; asked on its main thread, where Ctrl-C is heard and the terminal put right."""
    if fleet.passwords is None:
        fleet.passwords = Passwords(lambda question: fleet.ask(getpass.getpass, question))
    passwords: Passwords = fleet.passwords
    return passwords


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
    # Here and not above: the commands import this module.
    from mitogen.commands import call, copy, fakessh, fleet, run, tree
    parser = argparse.ArgumentParser(prog='mitogen', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version='.'.join(map(str, mitogen.__version__)))
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, more: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=more,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
        added.set_defaults(run=run)
        fleet.add_options(added, hops_argument)
        return added

    calls = command('call', call.run, 'call a function and print its result', DESCRIPTION)
    calls.add_argument('function', type=parse_function, metavar='MODULE:FUNCTION')
    more = calls.add_argument('args', nargs=argparse.REMAINDER, metavar='ARG', help='Python literals, or text')
    more.required = False           # or argparse says that it is missing where only the function is

    runs = command('run', run.run, 'run a local script', RUN)
    runs.add_argument('script', metavar='SCRIPT', help='a file here; - is standard input')
    runs.set_defaults(args=[])

    copies = command('copy', copy.run, 'copy files and folders', COPY)
    copies.add_argument('paths', nargs='+', metavar='SRC... DST')
    copies.add_argument('--from', dest='source_on', action='append', type=hops_argument, metavar='HOP/HOP...',
                        help='copy from there to here')
    copies.add_argument('-r', '--recursive', action='store_true', help='folders too, with all that they hold')

    command('tree', tree.run, 'draw contexts: user, Python, process, memory, time to them', TREE)

    fakes = commands.add_parser('fakessh', help='run a program that starts ssh', description=fakessh.DESCRIPTION,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    fakes.set_defaults(run=fakessh.run)
    fakes.add_argument('--on', type=hops_argument, metavar='HOP/HOP...', default='local', help='where ssh leads')
    fakes.add_argument('args', nargs=argparse.REMAINDER, metavar='-- PROGRAM ARG', help='the program')
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line; exits when it is wrong."""
    argv, args = list(argv), []
    if argv[:1] in (['run'], ['fakessh']) and '--' in argv:     # what is behind it is the script's, or the program's
        where = argv.index('--')
        argv, args = argv[:where], argv[where + 1:]
    parser = make_parser()
    options, rest = parser.parse_known_args(argv)
    if options.command == 'copy' and not any(text.startswith('-') for text in rest):
        options.paths += rest           # argparse takes words from one side of an option only
        rest = []
    if rest:
        parser.error('unrecognized arguments: %s' % ' '.join(rest))
    if options.command == 'copy':
        if len(options.paths) < 2:
            parser.error('copy: SRC and DST are needed')
        if bool(options.on) == bool(options.source_on):
            parser.error('copy: either --on (or --hosts), to copy there, or --from, to copy from there')
    if args:
        options.args = args
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    mitogen.utils.log_to_file(level='WARNING')
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:       # where nothing was under way; else mitogen.commands.fleet deals with it
        print('interrupted', file=sys.stderr)
        return 130
    return status
