"""ansible-core's own integration targets, with its plugins and with ours: tools/ansible_targets.py.

With SOAK=1 only: all that are equal in the table of docs/ansible.rst take more than an hour, and the shortest half a
minute on a machine that does other things too.
"""

import os
import pathlib
import re
import sys

import pytest

import support
from hosts import ansible_core, lab

TOOL = support.checkout() / 'tools' / 'ansible_targets.py'


def listed():
    """(version, target) of all that are equal in the table."""
    page = (support.checkout() / 'docs' / 'ansible.rst').read_text()
    rows = re.findall(r'^ +\* - ``([\w-]+)``\n +- (.*)\n +- (.*)$', page, re.M)
    assert rows
    return [(version, name) for name, *found in rows for version, verdict in zip(('2.16', 'newest'), found)
            if verdict == 'equal']


@pytest.mark.slow
@pytest.mark.skipif('SOAK' not in os.environ, reason='more than an hour: SOAK=1')
@pytest.mark.timeout(3600)
@pytest.mark.parametrize('version, target', listed())
def test_recaps_are_equal(machine, tmp_path, version, target):
    for name in 'sshd', 'ssh', 'unshare':
        lab.program(name)
    downloads = pathlib.Path(sys.prefix) / 'ansible-sources'
    downloads.mkdir(exist_ok=True)
    done = lab.run([sys.executable, TOOL, '--ansible', ansible_core.environment(version), '--downloads', downloads,
                    '--logs', tmp_path, target], check=False, timeout=3500)
    assert done.returncode == 0 and re.search(r'^%s +equal ' % target, done.stdout, re.M), done.stdout
