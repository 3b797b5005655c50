"""How full are the disks of a fleet?

usage: fleet.py [--sudo] [--limit PERCENT] [user@host...]; default: three interpreters on this machine.
Exit status 1: somebody could not be asked.
"""

import argparse
import os
import sys

import mitogen.core
import mitogen.fanout
import mitogen.select
import mitogen.utils


def disks():
    """Runs there: (percent in use, folder) of each disk, the fullest first."""
    folders = {'/'}
    if os.path.exists('/proc/mounts'):
        with open('/proc/mounts') as fp:
            folders.update(line.split()[1] for line in fp if line.startswith('/dev/'))
    found = {}
    for folder in sorted(folder for folder in folders if os.path.isdir(folder)):
        status = os.statvfs(folder)
        if status.f_blocks:
            found.setdefault(os.stat(folder).st_dev, (100 - 100 * status.f_bavail // status.f_blocks, folder))
    return sorted(found.values(), reverse=True)


def ssh_options(where):
    user, _, host = where.rpartition('@')
    return {'hostname': host, 'username': user or None}


def connect_all(router, method, wanted):
    """Start a context for each of `wanted` (name -> options), all at once; return {name: context}, {name: error}."""
    starting = {router.connect_async(method, **options): name for name, options in wanted.items()}
    contexts, errors = {}, {}
    for msg in mitogen.select.Select(starting):
        name = starting[msg.receiver]
        try:
            contexts[name] = msg.unpickle()
        except mitogen.core.Error as exc:
            errors[name] = exc
        if sys.stderr.isatty():
            print('%d of %d' % (len(contexts) + len(errors), len(wanted)), end='\r', file=sys.stderr)
    return contexts, errors


@mitogen.utils.with_router
def main(router, options):
    if options.hosts:
        contexts, errors = connect_all(router, 'ssh', {where: ssh_options(where) for where in options.hosts})
    else:
        contexts, errors = connect_all(router, 'local', {'interpreter %d' % n: {} for n in (1, 2, 3)})
    if options.sudo:
        contexts, refused = connect_all(router, 'sudo', {name: {'via': via} for name, via in contexts.items()})
        errors.update(refused)
    names = {context: name for name, context in contexts.items()}
    for context, result in mitogen.fanout.iterate(contexts.values(), disks):
        if isinstance(result, mitogen.core.Error):
            errors[names[context]] = result
            continue
        for percent, folder in result:
            print('%-20s %3d%% %s %s' % (names[context], percent, '!' if percent >= options.limit else ' ', folder))
    for name, error in errors.items():
        print('%-20s %s' % (name, error), file=sys.stderr)
    return 1 if errors else 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--sudo', action='store_true', help='ask as root')
    parser.add_argument('--limit', type=int, default=90, metavar='PERCENT', help='mark disks that are as full')
    parser.add_argument('hosts', nargs='*', metavar='user@host')
    sys.exit(main(parser.parse_args()))
