"""Functions that tests call in fresh children of any Python from 3.6 on."""

import os
import subprocess
import sys
import threading


def write(stdout, stderr):
    """Writes to both streams, by Python and by a program of its own."""
    print(stdout)
    print(stderr, file=sys.stderr)
    subprocess.check_call(['sh', '-c', 'echo "$0 of sh"; echo "$1 of sh" >&2', stdout, stderr])


def command_line():
    """As ps shows it."""
    with open('/proc/self/cmdline', 'rb') as fp:
        return fp.read()


def search_path():
    return sys.path


def standard_input():
    return sys.stdin.read(), os.read(0, 10)


def raise_here(text):
    raise ValueError(text)      # the line that a traceback has to name


def through_others(text):
    return [raise_here(word) for word in [text]]


def what_cannot_be_sent(kind):
    return {'function': what_cannot_be_sent, 'class': threading.Thread, 'lock': threading.Lock(),
            'builtin': len, 'generator': (n for n in ()), 'object': object()}[kind]
