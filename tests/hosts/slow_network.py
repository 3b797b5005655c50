"""Two networks with a slow wire between them, an sshd at the far end, and programs at the near one."""

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys

import support
from hosts import lab, ssh_server

NEAR, FAR = '10.77.0.1', '10.77.0.2'
LINK = pathlib.Path(__file__).with_name('delay_link.py')


class SlowNetwork:
    """A near network, where `run_near` starts programs, and a far one, where `sshd` listens.

    A packet takes `delay` milliseconds each way, whatever else the machine can do.

    :param configuration: more lines for the sshd.
    """

    def __init__(self, delay, keys, configuration=''):
        for name in ('ip', 'nsenter'):
            lab.program(name)
        self.delay = delay
        self._link = subprocess.Popen([sys.executable, LINK, str(delay), NEAR, FAR], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
        try:
            near, far = self._link.stdout.readline().decode().split()
            self._near = self._enter(near)
            self.sshd = ssh_server.Sshd(keys, host=FAR, prefix=self._enter(far), more=configuration)
        except BaseException:
            self._end_link()
            raise

    def _enter(self, namespace):
        return [lab.program('nsenter'), '--net=/proc/%d/fd/%s' % (self._link.pid, namespace)]

    def run_near(self, argv, **options):
        """Run a command in the near network, as `lab.run` does; Python there finds mitogen and the tests' modules.

        Its output is printed too, for whoever reads why a test failed.
        """
        environment = {**os.environ, 'PYTHONPATH': support.import_path()}
        done = lab.run([*self._near, *argv], **{'env': environment, **options})
        print(done.stdout)
        return done

    def near_ssh(self, folder):
        """Path of an ``ssh`` in the near network, for programs that are in none of the two."""
        path = folder / 'near-ssh'
        path.write_text('#!/bin/sh\nexec %s %s "$@"\n' % (shlex.join(self._near), lab.program('ssh')))
        path.chmod(0o755)
        return str(path)

    def lose(self, percent):
        """From now on so many packets of a hundred get lost."""
        self._link.stdin.write(bytes([percent]))
        self._link.stdin.flush()

    @contextlib.contextmanager
    def frozen(self):
        """Nothing passes while the block runs; afterwards, what was under way does."""
        self._link.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._link.send_signal(signal.SIGCONT)

    def stop(self):
        """End the sshd, then the link; the networks go with it."""
        self.sshd.stop()
        self._end_link()

    def _end_link(self):
        self._link.stdin.close()
        self._link.stdout.close()
        self._link.wait(10)
