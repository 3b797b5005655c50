"""Fixtures for every folder of tests."""

import contextlib
import os

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

import support

# How long one example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile('unhurried', deadline=None)
hypothesis.settings.load_profile('unhurried')

# Where tests have real children, and so can leave something behind.
FOLDERS_WITH_CHILDREN = {support.checkout() / 'tests' / name for name in ('live', 'hosts', 'payload')}


class FileByFile(LoadFileScheduling):
    """With several workers: a file to each, and all of hosts to one, as its accounts and servers exist but once."""

    def _split_scope(self, nodeid):
        return 'tests/hosts' if nodeid.startswith('tests/hosts/') else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return FileByFile(config, log)


def pytest_runtest_setup(item):
    """Tests of hosts run one after the other, and take longest: the processor is theirs first."""
    wanted = 0 if support.checkout() / 'tests' / 'hosts' in item.path.parents else 5
    if os.getpriority(os.PRIO_PROCESS, 0) != wanted:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, wanted)


@pytest.fixture(autouse=True)
def leak_check(request):
    """After each test with real children: no new descriptor, thread or child process, or the test fails.

    Being automatic it is set up before, and torn down after, what the test itself asks for. What lives as long
    as the session is older still, and is not counted.
    """
    if not FOLDERS_WITH_CHILDREN.intersection(request.node.path.parents):
        yield
        return
    before = support.Leftovers()
    yield
    before.wait_until_gone()


@pytest.fixture
def router():
    """A master's Router, shut down after the test with all its children."""
    # Here and not above: tests of the fixtures themselves run without the library.
    import mitogen.master
    router = mitogen.master.Router()
    yield router
    router.broker.shutdown()
    router.broker.join()
