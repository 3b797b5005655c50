#!/usr/bin/python
"""A module that leaves behind whatever a module can, and tells what it has found."""

import atexit
import builtins
import locale
import os
import resource
import signal
import sys
import threading
import time

from ansible.module_utils.basic import AnsibleModule


def found():
    umask = os.umask(0)
    os.umask(umask)
    return {
        'environ': os.environ.get('LEAKED'),
        'module': 'leaked_module' in sys.modules,
        'builtin': hasattr(builtins, 'leaked'),
        'cwd': os.getcwd() == '/var',
        'umask': umask,
        'signal': signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
        'interrupt': signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        'threads': [thread.name for thread in threading.enumerate()],
        'locale': locale.setlocale(locale.LC_NUMERIC),
        'recursion': sys.getrecursionlimit(),
        'path': 'leaked' in sys.path,
        'limit': resource.getrlimit(resource.RLIMIT_CORE)[0],
        'stdin': sys.stdin.read(),
        'descriptors': len([name for name in os.listdir('/proc/self/fd')
                            if os.path.exists('/proc/self/fd/' + name)]),
        'mitogen': [name for name in sys.modules if name.startswith('mitogen')],
        'finders': [type(finder).__module__ for finder in sys.meta_path if 'mitogen' in type(finder).__module__
                    and 'ansible' not in type(finder).__module__],
        'session': os.getsid(0) == os.getpid(),
        'argv': sys.argv[1:],
        'encoding': sys.stdout.encoding.lower(),
    }


def leak():
    os.environ['LEAKED'] = 'yes'
    sys.modules['leaked_module'] = sys
    builtins.leaked = True
    os.chdir('/var')
    os.umask(0o777)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setrecursionlimit(5000)
    sys.path.append('leaked')
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    thread = threading.Thread(target=time.sleep, args=(3600,), name='leaked', daemon=True)
    thread.start()
    locale.setlocale(locale.LC_NUMERIC, 'C')
    atexit.register(write_mark)


MARK = []


def write_mark():
    os.umask(0o022)
    with open(MARK[0], 'a') as fp:
        fp.write('exit %d\n' % os.getpid())


def main():
    module = AnsibleModule({'mark': {'type': 'str', 'required': True}})
    MARK.append(module.params['mark'])
    result = found()
    pid = os.getpid()
    leak()
    module.exit_json(found=result, pid=pid)


if __name__ == '__main__':
    main()
