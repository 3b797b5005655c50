"""testing.leaks: what a block with real threads and children leaves behind is named."""

import subprocess
import sys
import threading

import pytest

import mitogen.master
import support
from mitogen.testing import leaks


def test_a_router_that_was_closed():
    with leaks(), mitogen.master.Router() as router:
        router.local().call(len, 'abc')


def test_a_router_that_was_forgotten():
    with pytest.raises(AssertionError, match='mitogen.broker') as caught, leaks(grace=0):
        router = mitogen.master.Router()
        router.local()
    assert 'descriptor' in str(caught.value) and 'child' in str(caught.value)
    router.broker.shutdown()
    router.broker.join()


def test_a_thread():
    end = threading.Event()
    with pytest.raises(AssertionError, match='left behind: thread forgotten'), leaks(grace=0):
        thread = threading.Thread(target=end.wait, name='forgotten')
        thread.start()
    with leaks():
        end.set()       # it ends a moment later, and is waited for
    thread.join()


def test_a_child_that_was_never_reaped():
    with pytest.raises(AssertionError, match='never reaped'), leaks(grace=0):
        child = subprocess.Popen([sys.executable, '-c', ''], stdout=subprocess.PIPE)
        child.stdout.read()
        child.stdout.close()
        support.wait_for(lambda: not support.is_running(child.pid))
    child.wait()
