"""Importing the library changes nothing in the process that does it, on every Python that it is written for."""

import json
import subprocess
import sys

import pytest

import support
from rings import RING

# Imports each module named on its command line and prints, for each that changed something, what.
WATCH = '''
import builtins, json, locale, logging, os, signal, sys, threading, warnings

def state():
    root, ours = logging.root, logging.getLogger('mitogen')
    return {
        'threads': sorted(thread.name for thread in threading.enumerate()),
        'signal handlers': [str(signal.getsignal(number)) for number in range(1, signal.NSIG)],
        'blocked signals': sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        'logging': [str(logger.handlers) + str(logger.level) for logger in (root, ours)],
        'logger class': str(logging.getLoggerClass()),
        'import system': [list(map(str, sys.meta_path)), list(map(str, sys.path_hooks)), sys.path],
        'hooks': [str(hook) for hook in (builtins.__import__, sys.excepthook, sys.gettrace(), sys.getprofile(),
                                         getattr(threading, 'excepthook', None))],
        'limits': [sys.getswitchinterval(), sys.getrecursionlimit()],
        'standard streams': [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
        'environment': dict(os.environ),
        'descriptors': len(os.listdir('/dev/fd')),
        'folder': os.getcwd(), 'mask': os.umask(0o22), 'locale': locale.setlocale(locale.LC_ALL),
        'builtins': sorted(vars(builtins)),
    }

os.umask(0o22)
changed = {}
for name in sys.argv[1:]:
    before = state()
    __import__(name)
    after = state()
    if after != before:
        changed[name] = {what: [before[what], after[what]] for what in before if before[what] != after[what]}
print(json.dumps(changed))
'''


def module_of(name):
    return 'mitogen.' + name[:-len('.py')].replace('/', '.').replace('.__init__', '')


def changes(interpreter, names, folder=''):
    environment = {'PYTHONPATH': '%s:%s' % (support.import_path(), folder), 'PYTHONDONTWRITEBYTECODE': '1'}
    done = subprocess.run([interpreter, '-c', WATCH, *names], env=environment, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode())


def test_importing_the_master_changes_nothing():
    assert changes(sys.executable, ['mitogen.master']) == {}


def test_what_a_master_imports():
    """No more than it needs. And logging, for the first time, not on the broker thread: there nobody could help if no
    descriptor is left, and a fork at that moment would inherit the lock of an import that nobody ends."""
    code = ('import sys, mitogen.master; print(*sorted({"logging", "traceback", "typing", "hashlib", "pkgutil", '
            '"subprocess", "random"} & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-S', '-c', code], env={'PYTHONPATH': support.import_path()}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr) == (b'logging traceback\n', b'')


def test_importing_anything_changes_nothing():
    # Those of Ansible need ansible-core.
    apart = ('__init__.py', '__main__.py', 'ansible/connection.py', 'ansible/becoming.py', 'ansible/packed.py',
             'ansible/packer.py')
    names = [module_of(name) for name in RING if name not in apart]
    assert changes(sys.executable, ['mitogen', *names]) == {}


@pytest.mark.parametrize('version', support.find_pythons())
def test_what_is_sent_to_children_can_be_imported_by_each_of_them(version):
    names = [module_of(name) for name, ring in RING.items() if ring <= 1 and name != '__init__.py']
    assert changes(support.find_pythons()[version], names) == {}


def test_these_changes_would_be_seen(tmp_path):
    (tmp_path / 'culprit.py').write_text(
        'import signal, logging\nsignal.signal(signal.SIGUSR1, lambda *args: None)\n'
        'logging.basicConfig()\nkept = open("/dev/null")\n')
    found = changes(sys.executable, ['culprit', 'mitogen'], str(tmp_path))
    assert {name: set(what) for name, what in found.items()} == {
        'culprit': {'signal handlers', 'logging', 'descriptors'}}
