#!/usr/bin/env python3
"""Time rsync through mitogen.fakessh against rsync over plain ssh, in turns, on this machine; print a table.

usage: fakessh.py [MEGABYTES [FILES [ROUNDS]]]      default: 1024 20000 3

Needs rsync and OpenSSH's server, which is started on loopback, with keys of its own, for the user who calls. ``ssh`` in
the table is rsync by itself; ``local`` goes to another interpreter here, ``over ssh`` to one behind that same server.
The ratio is the speed relative to ``ssh``, of the best of the rounds each; the goal is 0.5. Nothing is compressed:
that is slower than any link but a slow one.
"""

import contextlib
import functools
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen.fakessh  # noqa: E402
import mitogen.utils  # noqa: E402

CONFIGURATION = '''\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/hostkey
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
'''


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def sshd(folder):
    """Run a server; yields what `router.ssh()` and rsync need to know of it."""
    for name in 'hostkey', 'key':
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', folder + '/' + name], check=True)
    port = free_port()
    with open(folder + '/sshd_config', 'w') as fp:
        fp.write(CONFIGURATION.format(port=port, folder=folder))
    if os.geteuid() == 0:
        os.makedirs('/run/sshd', exist_ok=True)
    program = shutil.which('sshd', path=os.environ['PATH'] + ':/usr/sbin')
    server = subprocess.Popen([program, '-D', '-f', folder + '/sshd_config'])
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(('127.0.0.1', port)).close()
                break
        yield port, folder + '/key'
    finally:
        server.terminate()
        server.wait()


def write_tree(path, megabytes, files):
    """Write one large file, and many small ones in folders of a hundred."""
    os.makedirs(path + '/large')
    with open(path + '/large/file', 'wb') as fp:
        for _ in range(megabytes):
            fp.write(os.urandom(1 << 20))
    for number in range(files):
        if number % 100 == 0:
            os.makedirs('%s/small/%d' % (path, number // 100))
        with open('%s/small/%d/%d' % (path, number // 100, number), 'wb') as fp:
            fp.write(b'%d' % number * 100)


def timed(fn, target):
    """Seconds that it takes to fill an empty `target`."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    status = fn(target)
    if status:
        raise SystemExit('rsync failed with status %d' % status)
    return time.perf_counter() - start


def ways(router, port, key, source):
    """{name: function of a target} of the ways to copy `source`."""
    options = ['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o',
               'LogLevel=ERROR', '-i', key, '-p', str(port)]
    over_ssh = router.ssh(hostname='127.0.0.1', port=port, username=getpass.getuser(), identity_file=key,
                          python_path=sys.executable, check_host_keys='ignore', compression=False)
    argv = ['rsync', '-a', source + '/']

    def plain(target):
        return subprocess.call(argv + ['-e', ' '.join(['ssh'] + options), '127.0.0.1:' + target])

    def through(context, target):
        return mitogen.fakessh.run(context, router, argv + ['host:' + target])
    return {'ssh': plain, 'local': functools.partial(through, router.local()),
            'over ssh': functools.partial(through, over_ssh)}


@mitogen.utils.with_router
def main(router, megabytes='1024', files='20000', rounds='3'):
    with tempfile.TemporaryDirectory() as folder, sshd(folder) as (port, key):
        source = folder + '/source'
        write_tree(source, int(megabytes), int(files))
        for part in 'large', 'small':
            table = ways(router, port, key, source + '/' + part)
            times = {name: [] for name in table}
            for _ in range(int(rounds)):
                for name, way in table.items():
                    times[name].append(timed(way, folder + '/target'))
            for name, found in times.items():
                print('%-6s %-9s %6.2f s   ratio %.2f' % (part, name, min(found), min(times['ssh']) / min(found)),
                      flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
