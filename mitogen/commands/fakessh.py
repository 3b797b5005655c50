"""
``mitogen fakessh``: run a program that starts ssh, for scripts that cannot be changed.

Ring 2, main thread. The exit status is the program's; 128 and the number of the signal that killed it; 127 when there
is no such program; 255 when the context could not be reached, as with ssh.
"""

import argparse
import sys

import mitogen.core
import mitogen.fakessh
import mitogen.master

DESCRIPTION = """\
Run a program that starts ssh. Whatever host it names, its remote half runs at the end of the hops.

  python3 -m mitogen fakessh --on ssh:web1/sudo -- rsync -a site/ any:/srv/site
  python3 -m mitogen fakessh --on docker:db -- scp any:/etc/hosts .
"""

NO_PROGRAM = 127


def run(options: argparse.Namespace) -> int:
    """Carry out the command; return the exit status."""
    from mitogen import cli  # here and not above: it imports this module

    if not options.args:
        print('mitogen fakessh: a program to run is needed', file=sys.stderr)
        return 2
    with mitogen.master.Router() as router:
        try:
            context = cli.connect(router, cli.parse_hops(options.on), cli.Passwords())
            status: int = mitogen.fakessh.run(context, router, options.args)
        except OSError as exc:
            print('mitogen fakessh: %s' % exc, file=sys.stderr)
            return NO_PROGRAM
        except mitogen.core.Error as exc:
            print('mitogen fakessh: %s' % exc, file=sys.stderr)
            return mitogen.fakessh.FAILED
    return 128 - status if status < 0 else status
