#!/usr/bin/env python3
"""Time what a user waits for when the other machine is far away; print seconds, as JSON.

usage: far_calls.py HOST PORT USER IDENTITY PYTHON [SSH_ARG...]

tests/hosts/test_slow_network.py runs it over links with different delays and makes round trips of the differences.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen.method  # noqa: E402
import mitogen.utils  # noqa: E402


def make_package(folder, depth=4, modules=120):
    """Write a package of `modules` modules in `depth` levels, each importing the next ones, and return its name."""
    names, count = ['far_package'], 1
    while names:
        name = names.pop(0)
        level = name.count('.')
        below = [name + '.m%d' % i for i in range(4 if level < depth - 1 else 0) if count + i < modules]
        count += len(below)
        names += below
        path = os.path.join(folder, *name.split('.'))
        os.makedirs(path)
        with open(os.path.join(path, '__init__.py'), 'w') as fp:
            fp.write('"""Module %d."""\n' % count)
            fp.writelines('import %s\n' % other for other in below)
            fp.write('def answer():\n    return 42\n' + 'X = %r\n' % ('x' * 500))
    return 'far_package'


def timed(fn, *args):
    start = time.perf_counter()
    result = fn(*args)
    return time.perf_counter() - start, result


def plain_ssh(options):
    """What `ssh host python3 -c pass` takes with the same options."""
    argv = mitogen.method.load('ssh')(**options).argv([options['python_path'], '-c', 'pass'])
    return timed(lambda: subprocess.run(argv, stdin=subprocess.DEVNULL, check=True))[0]


def without_packages():
    """In the child: lack what is installed there, as a fresh machine does."""
    sys.path[:] = [entry for entry in sys.path if 'packages' not in entry]


@mitogen.utils.with_router
def main(router, host, port, user, identity, python, *ssh_args):
    options = dict(hostname=host, port=int(port), username=user, identity_file=identity, python_path=python,
                   ssh_args=list(ssh_args))
    found = {'ssh': plain_ssh(options)}
    found['connect'], context = timed(lambda: router.ssh(**options))
    found['connect by stdin'], _ = timed(lambda: router.ssh(carry_core=False, **options))
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        package = importlib.import_module(make_package(folder))
        context.call(without_packages)
        found['call'] = timed(context.call, os.getpid)[0]
        found['first call'] = timed(context.call, package.m0.m0.answer)[0]
        before = router.get_stats()['module_requests']
        found['django'] = timed(context.call, import_it, 'django.db.models')[0]
        found['django requests'] = router.get_stats()['module_requests'] - before
    print(json.dumps(found))


def import_it(name):
    importlib.import_module(name)


if __name__ == '__main__':
    main(*sys.argv[1:])
