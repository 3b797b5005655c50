"""Playbooks of real ansible-core over the connection plugins: the same results as with Ansible's own."""

import os
import re
import signal

import pytest

import support
from hosts import ansible_core

SSH, STOCK = 'mitogen.ansible.ssh', 'ansible.builtin.ssh'

# Different each time, whatever the connection.
FLEETING = {'delta', 'start', 'end', 'atime', 'mtime', 'ctime', 'inode', 'ansible_job_id', 'results_file', 'src',
            'elapsed', 'version', 'file', 'backup', 'warnings', 'deprecations', 'attempts', 'exception', 'pid', 'invocation'}


@pytest.fixture(scope='session', params=ansible_core.VERSIONS)
def programs(request, machine):
    """Folder of the programs of an ansible-core."""
    return ansible_core.environment(request.param)


@pytest.fixture
def ansible(programs, tmp_path, sshd):
    found = ansible_core.Ansible(programs, tmp_path, sshd)
    yield found
    support.wait_for(lambda: not found.brokers(), what='end of the broker processes')


@pytest.fixture
def target(ansible, python):
    """An inventory with two hosts, of which the second is there to delegate to."""
    return ansible.inventory({'target': {'ansible_user': 'mtgnopw'}, 'other': {'ansible_user': 'mtgkey'}},
                             ansible_python_interpreter=python)


def comparable(value):
    """A result without what is different each time."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items() if key not in FLEETING}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    if isinstance(value, str):
        value = re.sub(r'ansible-tmp-[\d.-]+|tmp[\w.]{8}\b|ansible\.[\w.]{8}\w*', 'TEMPORARY', value)
    return value


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tasks_of_every_kind_have_the_same_results(ansible, target, tmp_path):
    seen = {}
    for connection in STOCK, SSH:
        status, output, results = ansible.play(connection, 'many.yml', target, '--limit', 'target', '-e',
                                               'fetched=%s' % (tmp_path / connection), timeout=190)
        assert results, output
        seen[connection] = results
    assert len(seen[STOCK]) > 60
    assert [result[:3] for result in seen[SSH]] == [result[:3] for result in seen[STOCK]]
    differing = [text for ours, theirs in zip(seen[SSH], seen[STOCK]) for text in differences(ours, theirs)]
    assert not differing, '\n'.join(differing)


def differences(ours, theirs):
    """What is not the same in two results, in words."""
    for key in sorted(set(ours[3]) | set(theirs[3])):
        found = [comparable({key: result[3].get(key, 'not there')}).get(key) for result in (ours, theirs)]
        if found[0] != found[1]:
            yield '%s: %s is %r, not %r' % (ours[1], key, *found)
