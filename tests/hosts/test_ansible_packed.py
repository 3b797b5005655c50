"""Modules that are packed before their tasks come, by real ansible-core: when, when not, and what is left of it."""

import glob
import os
import pathlib
import signal
import tempfile

import pytest

import support
from hosts import ansible_core

LOCAL = 'mitogen.ansible.local'

# The second task waits until all is packed that will be, and tells what.
BEGIN = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: first, ping: }
    - {name: packed, shell: "cd %(place)s; until test -d ready -a ! -e */ansiballz_cache; do sleep .1; done; ls ready"}
"""

# The third tells what its worker has of that.
TASKS = BEGIN + """
    - {name: cache, shell: "ls %(cache)s"}
    - {name: asked for by nobody, getent: {database: passwd, key: root}, tags: never}
    - {name: later, stat: {path: /}}
    - {name: several, copy: {content: text, dest: "%(folder)s/copied"}}
    - block: [{name: inside, slurp: {src: /etc/hostname}}]
      rescue: [{name: unlikely, tempfile: }]
    - {name: no module, debug: {msg: text}}
"""

SLEEP = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: first, command: sleep 100}
    - {name: second, stat: {path: /}}
"""

DEPRECATED = BEGIN + """
    - {name: outdated, some.thing.outdated: }
    - {name: stat, stat: {path: /}}
"""

OUTDATED = """
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.some.thing.plugins.module_utils.old import NAME
AnsibleModule({}).exit_json(name=NAME)
"""

RUNTIME = """
plugin_routing:
  module_utils:
    old:
      redirect: some.thing.new
      deprecation: {removal_version: 99.0.0, warning_text: so old}
"""


@pytest.fixture
def runtime():
    """A short path, as sockets need it, where nothing of other playbooks is."""
    with tempfile.TemporaryDirectory(prefix='mtg') as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def place(runtime):
    """A pattern for the folder of packed modules."""
    return '%s/mitogen-ansible-%d/*.packed' % (runtime, os.geteuid())


@pytest.fixture
def packed(ansible, python, runtime, place, tmp_path):
    """Runs the playbook; returns which modules were packed ahead, and which Ansible had before they were used."""
    def run(**environ):
        inventory = ansible.inventory({'localhost': {}}, ansible_python_interpreter=python)
        cache = tmp_path / 'home' / 'tmp' / '*' / 'ansiballz_cache'
        text = TASKS % {'place': place, 'cache': cache, 'folder': tmp_path}
        status, output, results = ansible.play(LOCAL, text, inventory, XDG_RUNTIME_DIR=str(runtime), **environ)
        assert status == 0, output
        found = {result[1]: modules(result[3].get('stdout', '')) for result in results}
        return found['packed'], found['cache']
    yield run
    support.wait_for(lambda: not glob.glob(place), what='end of the folder of packed modules')


def modules(listing):
    return {line.split('.')[2].partition('-')[0] for line in listing.split() if line.startswith('ansible.modules.')}


def test_modules_are_packed_before_their_tasks_come(packed):
    ready, cached = packed()
    # The second task may have been faster.
    assert ready | {'command'} == {'command', 'stat', 'copy', 'file', 'slurp', 'tempfile'}
    assert cached == ready | {'command', 'ping'}


def test_a_warning_about_a_module_is_not_lost(ansible, python, runtime, place, tmp_path):
    """A collection may say that a part of its modules is deprecated, and where the new one is. Packing finds out."""
    parts = tmp_path / 'ansible_collections' / 'some' / 'thing' / 'plugins'
    for path, text in {
            parts / 'modules' / 'outdated.py': OUTDATED,
            parts / 'module_utils' / 'new.py': 'NAME = "new"\n',
            parts.parent / 'meta' / 'runtime.yml': RUNTIME}.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    inventory = ansible.inventory({'localhost': {}}, ansible_python_interpreter=python)
    status, output, results = ansible.play(
        LOCAL, DEPRECATED % {'place': place}, inventory,
        XDG_RUNTIME_DIR=str(runtime), ANSIBLE_COLLECTIONS_PATH=str(tmp_path), ANSIBLE_DEPRECATION_WARNINGS='true')
    assert status == 0, output
    found = {result[1]: result[3] for result in results}
    assert 'stat' in modules(found['packed']['stdout']) and 'outdated' not in found['packed']['stdout']
    assert found['outdated']['name'] == 'new'
    assert 'so old' in ' '.join(output.split())


def test_what_ansible_says_about_a_module_is_said_by_the_worker(packed):
    """With its debug output on, it has something to say about each."""
    assert packed(ANSIBLE_DEBUG='1')[0] == set()


@pytest.mark.parametrize('name', ['library', 'module_utils'])
def test_nothing_is_packed_while_a_role_may_replace_it(packed, tmp_path, name):
    (tmp_path / 'roles' / 'later' / name).mkdir(parents=True)
    assert packed()[0] == set()


def test_nothing_is_left_of_a_playbook_that_is_killed(ansible, python, runtime, programs):
    inventory = ansible.inventory({'localhost': {}}, ansible_python_interpreter=python)
    with ansible.start(LOCAL, SLEEP, inventory, XDG_RUNTIME_DIR=str(runtime)) as playbook:
        folder = '%s/mitogen-ansible-%d/%d-*.packed' % (runtime, os.geteuid(), playbook.pid)
        support.wait_for(lambda: glob.glob(folder), what='the folder')
        playbook.send_signal(signal.SIGKILL)
        support.wait_for(lambda: not glob.glob(folder), what='its end')
    inventory = os.fsencode(inventory)
    support.wait_for(lambda: not [pid for pid in support.processes() if inventory in ansible_core.command_line(pid)],
                     what='end of the workers')
