"""Programs that run beside a test: masters that end in ways which the test itself must not."""

import contextlib
import json
import os
import subprocess
import sys

import support

# Seconds for a program of a few lines, its children included, on a machine that does other things too.
TIMEOUT = 60


def environment(**variables):
    """What a program needs to find mitogen and the tests' own modules, and nothing that steers it otherwise."""
    kept = {name: os.environ[name] for name in ('PATH', 'HOME', 'LANG', 'TMPDIR') if name in os.environ}
    return dict(kept, PYTHONPATH=support.import_path(), **variables)


def run(*args, python=sys.executable, **options):
    """Run a Python program to its end; return what subprocess.run() does, with texts."""
    options = dict(dict(stdin=subprocess.DEVNULL, env=environment(), timeout=TIMEOUT), **options)
    return subprocess.run([python, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, **options)


@contextlib.contextmanager
def running(code, **options):
    """A Python program that runs while the block does. Killed at its end, and reaped."""
    options = dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment()), **options)
    program = subprocess.Popen([sys.executable, '-c', code], **options)
    try:
        yield program
    finally:
        program.kill()
        program.wait()
        if program.stdout:
            program.stdout.close()


def next_line(program):
    """The next line that it prints, as a JSON value."""
    line = program.stdout.readline()
    assert line, 'the program has ended'
    return json.loads(line.decode())
