"""Interpreters that every account can run.

pyenv keeps its versions in the home of whoever uses it, and root's home is closed to others. So those are copied,
without what no test needs, to a folder that is kept from run to run.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import support
from hosts import lab

COPIES = pathlib.Path('/opt/mitogen-pythons')
NOBODY = 65534

# Compiled modules are kept: accounts cannot write their own, and would compile the same files at each start.
LEFT_OUT = shutil.ignore_patterns(
    'test', 'tests', 'idlelib', 'lib2to3', 'ensurepip', 'turtledemo', '*.a', 'site-packages')

# What a child needs of the standard library that comes as compiled extensions, and so can be missing.
USABLE = 'import socket, zlib, struct, select'
WHEREABOUTS = 'import sys; print(sys.prefix); print("%d.%d.%d" % sys.version_info[:3])'


def public_pythons():
    """`{'2.7': path, '3.6': path, ...}` of interpreters that every account of this machine can run."""
    found = {'2.7': support.find_python2(), **support.find_pythons()}
    public = {version: _public(version, path) for version, path in found.items() if path}
    return {version: path for version, path in public.items() if path}


def _public(version, path):
    if _anybody_can_run(path):
        return path
    prefix, micro = lab.run([path, '-c', WHEREABOUTS]).stdout.split()
    copy = COPIES / micro
    if not copy.exists():
        _copy(version, pathlib.Path(prefix), copy)
    interpreter = str(copy / 'bin' / ('python' + version))
    return interpreter if _anybody_can_run(interpreter) else None


def _anybody_can_run(path):
    try:
        done = subprocess.run([path, '-c', USABLE], cwd='/', stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              user=NOBODY, group=NOBODY, extra_groups=[], timeout=lab.COMMAND_TIMEOUT)
    except OSError:
        return False
    return done.returncode == 0


def _copy(version, prefix, target):
    """Built beside its place and moved there whole, so that a copy cut short is never taken for a good one."""
    COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COPIES) as name:
        draft = pathlib.Path(name) / target.name
        library = 'lib/python' + version
        shutil.copytree(prefix / library, draft / library, symlinks=True, ignore=LEFT_OUT)
        (draft / library / 'site-packages').mkdir()
        for shared in (prefix / 'lib').glob('libpython*.so*'):
            shutil.copy2(shared, draft / 'lib', follow_symlinks=False)
        _copy_program(prefix, draft, 'bin/python' + version)
        lab.run(['chmod', '-R', 'a+rX', draft])
        draft.rename(target)


def _copy_program(prefix, draft, name):
    """The program with its search path for libpython turned from where it was to where it is.

    The path is text in the file, ended by a zero byte; a shorter one fits over it and needs no tool.
    """
    (draft / name).parent.mkdir()
    shutil.copy2(prefix / name, draft / name)
    there = b'%s/lib\0' % os.fsencode(prefix)
    here = b'$ORIGIN/../lib'
    if len(here) < len(there):
        program = (draft / name).read_bytes()
        (draft / name).write_bytes(program.replace(there, here.ljust(len(there), b'\0')))
