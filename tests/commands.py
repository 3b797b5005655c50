"""Starting `python3 -m mitogen` from tests: to its end, on a terminal, or to be interrupted."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import programs

COMMAND = [sys.executable, '-m', 'mitogen']

#: Seconds that a command may live on after Ctrl-C; the promise.
PATIENCE = 2.0


def mitogen(*args, **options):
    """Run the command to its end; return what subprocess.run() does, with texts."""
    return programs.run('-m', 'mitogen', *args, **options)


@contextlib.contextmanager
def started(*args, **options):
    """The command, running while the block does, in a session of its own, its output in pipes."""
    options = dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE), **options)
    program = subprocess.Popen(COMMAND + [str(arg) for arg in args], env=programs.environment(), bufsize=0,
                               start_new_session=True, **options)
    try:
        yield program
    finally:
        program.kill()
        program.wait()
        for file in program.stdout, program.stderr, program.stdin:
            if file:
                file.close()


def interrupt(program, number=signal.SIGINT):
    """Send a signal; return (exit status, standard output, standard error) and check that it took no longer than
    was promised."""
    began = time.monotonic()
    program.send_signal(number)
    out, err = program.communicate(timeout=30)
    assert time.monotonic() - began < PATIENCE
    return program.returncode, out.decode(), err.decode()


class Terminal:
    """A terminal with a program on it. `text` is all that the program has written there so far."""

    def __init__(self, *args):
        self._master, slave = pty.openpty()
        self._program = subprocess.Popen(COMMAND + [str(arg) for arg in args], stdin=slave, stdout=slave,
                                         stderr=slave, env=programs.environment(TERM='xterm'),
                                         start_new_session=True, preexec_fn=lambda: _own(slave))
        self.slave = slave
        self.text = ''
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):      # EIO: its last user is gone
            while data := os.read(self._master, 4096):
                self.text += data.decode()

    def type(self, text):
        os.write(self._master, text.encode())

    def status(self, timeout=30):
        """Wait for the program's end; return its exit status."""
        status = self._program.wait(timeout)
        os.close(self.slave)
        self._reader.join(timeout)
        return status

    def close(self):
        self._program.kill()
        self._program.wait()
        with contextlib.suppress(OSError):
            os.close(self.slave)
        self._reader.join()
        os.close(self._master)


def _own(slave):
    import fcntl
    import termios
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
