"""What benchmarks run against: programs that are ended with all they started, a slow network, an sshd.

Linux; networks and sshd are root's.
"""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

HELD = pathlib.Path(__file__).with_name('held.py')
LINK = pathlib.Path(__file__).resolve().parent.parent / 'tests' / 'hosts' / 'delay_link.py'

NEAR, FAR = '10.79.0.1', '10.79.0.2'

SSHD = '''
Port {port}
ListenAddress {host}
HostKey {folder}/hostkey
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
SetEnv HOME={folder}
'''


class Held:
    """A command under bench/held.py: ended, with all that it has started, by end() or the end of this process.

    Ctrl-C does not reach it: whoever is interrupted here ends it.
    """

    def __init__(self, report: pathlib.Path, command: 'list[Any]', **options: Any) -> None:
        self._report = report
        self.process = subprocess.Popen([sys.executable, str(HELD), str(report), *map(str, command)],
                                        stdin=subprocess.PIPE, text=True, start_new_session=True, **options)

    def wait(self, timeout: float) -> 'dict[str, float]':
        """Wait for the command's end; return what has been reported of it."""
        try:
            self.process.wait(timeout)
        finally:
            self.end()
        return json.loads(self._report.read_text())     # type: ignore[no-any-return]

    def end(self) -> None:
        self.process.stdin.close()      # type: ignore[union-attr]
        self.process.wait()


class Network:
    """The one on which the target is: loopback, or one where a packet takes `delay` milliseconds each way.

    :ivar host: address of the target; near, far: what commands at each end begin with.
    """

    def __init__(self, delay: 'float | None') -> None:
        self._link: Any = None
        self.host, self.near, self.far = '127.0.0.1', [], []    # type: str, list[str], list[str]
        if delay is not None:
            self._link = subprocess.Popen([sys.executable, str(LINK), str(delay), NEAR, FAR], text=True,
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self.host = FAR
            self.near, self.far = (['nsenter', '--net=/proc/%d/fd/%s' % (self._link.pid, number)]
                                   for number in self._link.stdout.readline().split())

    def close(self) -> None:
        if self._link:
            self._link.stdin.close()
            self._link.wait()


def make_keys(folder: pathlib.Path) -> None:
    """Write the keys that sshd() has and lets in: FOLDER/hostkey, FOLDER/key."""
    for name in 'hostkey', 'key':
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', folder / name], check=True)


@contextlib.contextmanager
def sshd(folder: pathlib.Path, network: Network, host: 'str | None' = None) -> 'Iterator[int]':
    """Run an sshd at the far end; yields its port. At its end FOLDER/target.json is the report.

    :param host: address at which it listens; by default that of the network.
    """
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    (folder / 'sshd_config').write_text(SSHD.format(port=port, host=host or network.host, folder=folder))
    pathlib.Path('/run/sshd').mkdir(mode=0o755, exist_ok=True)
    program = shutil.which('sshd', path='/usr/sbin:/usr/local/sbin') or '/usr/sbin/sshd'
    server = Held(folder / 'target.json', [*network.far, program, '-D', '-e', '-f', folder / 'sshd_config'],
                  stderr=subprocess.PIPE)
    try:
        while 'listening' not in (line := server.process.stderr.readline()):        # type: ignore[union-attr]
            if not line:
                raise SystemExit('sshd does not start')
        threading.Thread(target=server.process.stderr.read, daemon=True).start()    # type: ignore[union-attr]
        yield port
    finally:
        server.end()
