"""
The programs that mitogen.fakessh puts first on the PATH of what it runs, and the private folder that they are in.

Ring 1, on the thread that calls run(). ``ssh`` is a few lines of Python that know nothing of this library: they pass on
what they were given, wait, and exit with the status that they are told.
"""

import os
import shlex
import shutil
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

#: Longest path of a unix socket that every system takes; Linux allows 107 bytes, others 103.
MAX_SOCKET_PATH = 100

#: Programs that do not look for ssh, but have its path compiled in, and take another with -S.
STUBBORN = 'scp', 'sftp'

#: The program that stands for ssh: arguments are the socket's path and then those of ssh. Python 3.6.
CLIENT = '''
import array, json, os, signal, socket, struct, sys
for fd in range(3):
    try:
        os.fstat(fd)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGTERM, lambda *args: sys.exit(255))
text = lambda data: data.decode("latin-1")
request = json.dumps({"args": [text(os.fsencode(arg)) for arg in sys.argv[2:]],
                      "environment": {text(name): text(value) for name, value in os.environb.items()}}).encode()
saved, answers = None, b""
link = socket.socket(socket.AF_UNIX)
try:
    link.connect(sys.argv[1])
    fds = array.array("i", [0, 1, 2])
    link.sendmsg([struct.pack(">I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    link.sendall(request)
    # Who reads our output must see it end when the command closes it, not when we end.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    if not os.isatty(0):
        os.dup2(null, 0)
    while True:
        line, newline, rest = answers.partition(b"\\n")
        if not newline:
            data = link.recv(4096)
            if not data:
                answer = {"status": 255, "say": "the program that started us has ended the connection"}
                break
            answers += data
            continue
        answer, answers = json.loads(line.decode()), rest
        if "status" in answer:
            break
        if os.isatty(0):
            import termios, tty
            saved = termios.tcgetattr(0)
            tty.setraw(0)
except OSError as exc:
    answer = {"status": 255, "say": str(exc)}
finally:
    if saved is not None:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
if answer["say"]:
    os.write(2, ("ssh: %s\\n" % answer["say"]).encode("utf-8", "replace"))
os._exit(answer["status"])
'''


class Programs:
    """A folder with programs.

    :ivar socket_path: where ``ssh`` looks for a listener.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix='mitogen-')      # nobody else may look into it
        if len(os.fsencode(self._folder)) + len('/socket') > MAX_SOCKET_PATH:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix='mitogen-', dir='/tmp')
        self.socket_path = self._path('socket')

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def write(self) -> None:
        """Make the programs."""
        self._write('ssh', [sys.executable or 'python3', '-IS', '-c', CLIENT, self.socket_path])
        for name in STUBBORN:
            path = shutil.which(name)
            if path:
                self._write(name, [path, '-S', self._path('ssh')])

    def _write(self, name: str, command: 'List[str]') -> None:
        with open(os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), 'w') as fp:
            fp.write('#!/bin/sh\nexec %s "$@"\n' % ' '.join(map(shlex.quote, command)))

    def argv(self, args: 'List[str]') -> 'List[str]':
        """Return a command line that leads to our ssh also where the program was given with its path."""
        if '/' in args[0] and os.path.basename(args[0]) in STUBBORN:
            return args[:1] + ['-S', self._path('ssh')] + args[1:]
        return args

    def environment(self) -> 'Dict[str, str]':
        """Return variables with which a program, and all that it starts, finds our ssh."""
        path = self._folder + os.pathsep + os.environ.get('PATH', os.defpath)
        return dict(os.environ, PATH=path, RSYNC_RSH='ssh', GIT_SSH_COMMAND='ssh', GIT_SSH_VARIANT='ssh')

    def remove(self) -> None:
        """Remove them with their folder. Any number of times."""
        shutil.rmtree(self._folder, ignore_errors=True)
