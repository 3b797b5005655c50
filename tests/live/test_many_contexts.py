"""More children than there were to be: what runs out first is raised, or named.

SOAK=1: a thousand interpreters of one master at once. They take 5 GB.
"""

import json
import os
import resource
import shutil

import pytest

import programs
import support
import targets_faults

PROGRAM = support.checkout() / 'tests' / 'targets_many.py'


def run(method, number, soft, hard=0, timeout=120):
    """What a program finds that has so many children."""
    done = programs.run(PROGRAM, method, number, soft, hard, timeout=timeout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    return found


@pytest.mark.parametrize('method, number', [('fork', 60), ('local', 30)])
def test_the_soft_limit_of_descriptors_does_not_count(method, number):
    found = run(method, number, soft=64)
    assert (found['answered'], found['left'], found['error']) == (number, 0, None)
    assert 64 < found['descriptors'] < found['soft'] <= 512     # as far as is needed, not as far as is allowed


@pytest.mark.parametrize('method', ['fork', 'local'])
def test_the_hard_limit_is_named(method):
    found = run(method, 60, soft=40, hard=64)
    assert 5 < found['answered'] < 60 and found['left'] == 0
    assert 'Too many open files' in found['error']
    assert 'try:     a higher hard limit of open files (RLIMIT_NOFILE: ulimit -Hn' in found['error']


def test_no_limit_is_touched_without_need(router):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(3):
        router.fork()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.skipif(not shutil.which('setpriv'), reason='root needs setpriv to become somebody who is limited')
@pytest.mark.parametrize('method', ['fork', 'local'])
def test_the_limit_of_processes_is_named(router, method):
    nobody = [] if os.geteuid() else ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    context = router.local(python_path=[*nobody, '/usr/bin/python3'])
    context.call(targets_faults.grow)
    _, descriptors = context.call(targets_faults.children_and_self)
    why = context.call(targets_faults.start_child_without_processes, method)
    assert 'Resource temporarily unavailable' in why
    assert 'try:     a higher limit of processes (RLIMIT_NPROC: ulimit -u' in why
    assert context.call(targets_faults.children_and_self)[1] == descriptors


@pytest.mark.skipif('SOAK' not in os.environ, reason='a thousand interpreters: SOAK=1')
@pytest.mark.parametrize('method', ['fork', 'local'])
@pytest.mark.timeout(600)
def test_a_thousand_at_once(method):
    found = run(method, 1000, soft=1024, timeout=500)
    assert (found['answered'], found['left'], found['error']) == (1000, 0, None)
    assert found['descriptors'] > 2000
