"""Messages that would kill the interpreter that reads them: tried in a process of their own."""

import subprocess
import sys

import pytest

import support

READ = '''
import threading
import mitogen.core

def read():
    try:
        mitogen.core.decode(%r + b'\\x85' * 1000000 + b'Ns.')
    except mitogen.core.StreamError as exc:
        print('refused')

thread = threading.Thread(target=read)      # as the broker's
thread.start()
thread.join()
'''


def read(data):
    """What a thread of another process makes of a value in a million tuples, that is a key of a dictionary."""
    return subprocess.run([sys.executable, '-c', READ % data], env={'PYTHONPATH': support.import_path()}, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.xfail(strict=True, reason='hash() of nested tuples uses the stack without limit: 300 KB of message crash')
def test_a_key_of_nested_tuples():
    done = read(b'\x80\x04})')
    assert (done.returncode, done.stdout) == (0, b'refused\n')
