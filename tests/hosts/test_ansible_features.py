"""What playbooks of real ansible-core may ask for beside single tasks: users, orders of work, ways in, ends."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import uuid

import pytest

import support
from hosts import ansible_core, lab

SSH, STOCK = 'mitogen.ansible.ssh', 'ansible.builtin.ssh'
STUBS = support.checkout() / 'tests' / 'stubs'

PING = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: ping, ping: }
"""


@pytest.fixture
def ansible(newest_ansible):
    return newest_ansible


@pytest.fixture
def folder(lab_folder):
    """A folder in which every account may write."""
    path = lab_folder / str(uuid.uuid4())
    path.mkdir()
    path.chmod(0o777)
    return path


def results_of(play):
    """(name of the task, result) of a playbook that succeeded."""
    status, output, results = play
    assert status == 0, output
    return [(result[1], result[3]) for result in results]


# ---- Other users


WHO = """
- hosts: target
  gather_facts: false
  become: true
  tasks:
    - {name: who, command: id -un}
"""


@pytest.mark.parametrize('given', [True, False])
def test_become_with_a_plugin_that_is_not_ansibles(ansible, python, accounts, given):
    """doas reads a password from a terminal only."""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgdoas'}}, ansible_python_interpreter=python,
                                  ansible_become_method='doas', ansible_become_user='mtgkey',
                                  ansible_become_password=accounts['mtgdoas'].password if given else 'wrong')
    if given:
        assert results_of(ansible.play(SSH, WHO, inventory))[0][1]['stdout'] == 'mtgkey'
    else:
        status, output, _ = ansible.play(SSH, WHO, inventory)
        assert status == 2 and 'Incorrect doas password' in output


FROM_ONE_TO_ANOTHER = """
- hosts: target
  gather_facts: false
  become: true
  become_user: mtgkey
  tasks:
    - {name: folder, file: {path: "{{ folder }}/inner", state: directory}}
    - {name: copy, copy: {content: text, dest: "{{ folder }}/inner/file", mode: "0600"}}
    - {name: template, template: {src: "{{ template }}", dest: "{{ folder }}/inner/other"}}
    - {name: script, script: "{{ words }}", failed_when: false}
    - {name: async, command: id -un, async: 20, poll: 1}
    - {name: stat, stat: {path: "{{ folder }}/inner/file"}}
"""


def test_from_one_ordinary_user_to_another(ansible, python, folder):
    """Neither may read the other's files: Ansible gives access to what it copies by an access list."""
    lab.program('setfacl')
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgnopw'}}, ansible_python_interpreter=python)
    files = {'folder': folder, 'template': ansible_core.FOLDER / 'template.j2',
             'words': ansible_core.FOLDER / 'words.sh'}
    arguments = [word for pair in files.items() for word in ('-e', '%s=%s' % pair)]
    found = dict(results_of(ansible.play(SSH, FROM_ONE_TO_ANOTHER, inventory, *arguments)))
    assert found['stat']['stat']['pw_name'] == 'mtgkey' and found['stat']['stat']['mode'] == '0600'
    assert found['async']['stdout'] == 'mtgkey' and found['script']['rc'] == 3


def test_an_account_that_was_used_can_be_removed(ansible, python, machine):
    """An interpreter that stays is ended first: userdel refuses accounts that have processes."""
    playbook = """
- hosts: target
  gather_facts: false
  become: true
  tasks:
    - {name: add, user: {name: mtgshort}}
    - {name: use, command: id -un, become_user: mtgshort}
    - {name: remove, user: {name: mtgshort, state: absent, remove: true}}
"""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgnopw'}}, ansible_python_interpreter=python)
    try:
        found = dict(results_of(ansible.play(SSH, playbook, inventory)))
    finally:
        subprocess.run(['userdel', '--force', '--remove', 'mtgshort'], stderr=subprocess.DEVNULL, check=False)
    assert found['use']['stdout'] == 'mtgshort' and found['remove']['changed']


def test_become_on_a_host_in_between(ansible, python, accounts, sshd, lab_folder):
    """Its key file is root's, and so is the way on."""
    inventory = ansible.inventory({
        'first': {'ansible_user': 'mtgsudo', 'ansible_become': True,
                  'ansible_become_password': accounts['mtgsudo'].password},
        'second': {'ansible_user': 'mtgkey', 'mitogen_via': 'first'},
    }, ansible_python_interpreter=python)
    playbook = PING.replace('{name: ping, ping: }', '{name: who, command: id -un}').replace('all', 'second')
    for _ in range(2):      # what a become plugin draws by lot makes no other connection
        assert results_of(ansible.play(SSH, playbook, inventory))[0][1]['stdout'] == 'mtgkey'


# ---- Orders of work


def test_serial_throttle_and_a_free_strategy(ansible, python, folder):
    playbook = """
- hosts: all
  gather_facts: false
  strategy: free
  tasks:
    - {name: alone, shell: "mkdir {{ folder }}/lock && sleep 0.2 && rmdir {{ folder }}/lock", throttle: 1}
- hosts: all
  gather_facts: false
  serial: 2
  tasks:
    - {name: two, command: "echo {{ ansible_play_batch | length }}"}
    - {name: once, command: id -un, run_once: true, delegate_to: host0}
"""
    hosts = {'host%d' % number: {'ansible_user': 'mtgkey'} for number in range(4)}
    inventory = ansible.inventory(hosts, ansible_python_interpreter=python)
    found = results_of(ansible.play(SSH, playbook, inventory, '-e', 'folder=%s' % folder))
    assert [result['rc'] for name, result in found if name == 'alone'] == [0] * 4
    assert [result['stdout'] for name, result in found if name == 'two'] == ['2'] * 4


REBOOT = """#!/bin/sh
# What a reboot is to whoever is logged in: all that this account runs ends at once, and the next boot has another id.
echo two > {folder}/boot
kill -9 -1
"""


def test_a_reboot(ansible, python, folder):
    (folder / 'boot').write_text('one\n')
    (folder / 'boot').chmod(0o666)
    (folder / 'reboot.sh').write_text(REBOOT.format(folder=folder))
    (folder / 'reboot.sh').chmod(0o755)
    playbook = """
- hosts: target
  gather_facts: false
  tasks:
    - {name: before, command: id -un}
    - name: reboot
      reboot: {reboot_command: "{{ folder }}/reboot.sh", boot_time_command: "cat {{ folder }}/boot", reboot_timeout: 60}
    - {name: after, command: id -un}
    - {name: wait, wait_for_connection: {timeout: 20}}
"""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgdash'}}, ansible_python_interpreter=python)
    found = dict(results_of(ansible.play(SSH, playbook, inventory, '-e', 'folder=%s' % folder)))
    assert found['reboot']['rebooted'] and found['after']['stdout'] == 'mtgdash'


# ---- Ways in


def test_a_key_that_is_text(ansible, python, sshd):
    text = pathlib.Path(sshd.identity).read_text()
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey', 'ansible_ssh_private_key': text},
                                   'behind': {'ansible_user': 'mtgnopw', 'ansible_ssh_private_key': text,
                                              'mitogen_via': 'target'}},
                                  ansible_python_interpreter=python, ansible_ssh_private_key_file='')
    os.chmod(sshd.known_hosts, 0o755)
    status, output, results = ansible.play(SSH, PING, inventory, '-vvvv')
    assert status == 0 and len(results) == 2, output
    assert text.split('\n')[1] not in output


def test_a_key_with_a_passphrase_of_its_own(ansible, python, sshd):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python,
                                  ansible_ssh_private_key_file=sshd.identity_encrypted,
                                  ansible_ssh_private_key_passphrase=sshd.passphrase)
    results_of(ansible.play(SSH, PING, inventory))


@pytest.mark.parametrize('method, variables', [
    ('kubectl', {'ansible_kubectl_pod': 'web', 'ansible_kubectl_namespace': 'default',
                 'ansible_kubectl_path': str(STUBS / 'kubectl')}),
    ('jail', {'ansible_host': 'web', 'ansible_jexec_path': str(STUBS / 'jexec')}),
    ('incus', {'ansible_host': 'web', 'ansible_incus_path': str(STUBS / 'incus')}),
])
def test_programs_that_few_machines_have(ansible, method, variables, python, folder):
    """By stand-ins that speak like them, as in tests/live/test_stubs.py."""
    inventory = ansible.inventory({'target': variables}, ansible_python_interpreter=python, ansible_host='web')
    playbook = PING + '    - {name: copy, copy: {content: text, dest: "%s/file"}}\n' % folder
    results_of(ansible.play('mitogen.ansible.' + method, playbook, inventory))
    assert (folder / 'file').read_text() == 'text'


@pytest.mark.slow
def test_extra_arguments_for_containers(ansible, docker):
    inventory = ansible.inventory({'target': {
        'ansible_host': docker.running, 'ansible_docker_path': docker.program, 'ansible_docker_working_dir': '/usr',
        'ansible_docker_extra_args': '--log-level error', 'ansible_docker_extra_env': {'WORD': 'a b'},
        'ansible_python_interpreter': '/usr/bin/python3'}})
    playbook = PING.replace('{name: ping, ping: }', '{name: where, shell: "pwd; echo $WORD"}')
    found = results_of(ansible.play('mitogen.ansible.docker', playbook, inventory))
    assert found[0][1]['stdout'].split('\n') == ['/usr', 'a b']


@pytest.mark.slow
def test_the_namespaces_of_a_container(ansible, docker):
    inventory = ansible.inventory({'target': {
        'ansible_host': docker.running, 'mitogen_kind': 'docker', 'ansible_docker_path': docker.program,
        'ansible_python_interpreter': '/usr/bin/python3'}})
    playbook = PING.replace('{name: ping, ping: }', '{name: where, command: cat /etc/hostname}')
    found = results_of(ansible.play('mitogen.ansible.setns', playbook, inventory))
    assert found[0][1]['stdout'] != pathlib.Path('/etc/hostname').read_text().strip()


# ---- The broker process


SLEEP = """
- hosts: target
  gather_facts: false
  tasks:
    - {name: sleep, become: true, no_log: true, shell: "echo $$ > {{ mark }}; sleep 600"}
"""


def pid_in(path):
    """The process id in a file, once it is there."""
    return support.wait_for(lambda: path.exists() and path.read_text().endswith('\n') and int(path.read_text()),
                            what='start of the command')


@pytest.fixture
def sleeping(ansible, python, accounts, folder):
    """A playbook that was logged in with a password, and has become root with it; the process, and the command's."""
    password = accounts['mtgsudo'].password
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgsudo', 'ansible_password': password,
                                              'ansible_become_password': password}},
                                  ansible_python_interpreter=python, ansible_ssh_private_key_file='')
    with ansible.start(SSH, SLEEP, inventory, '-e', 'mark=%s' % (folder / 'mark')) as process:
        yield process, pid_in(folder / 'mark')
        process.kill()
        process.communicate()


def test_no_secret_is_seen_in_processes_or_files(ansible, sleeping, accounts):
    password = accounts['mtgsudo'].password.encode()
    process, _ = sleeping
    broker, = ansible.brokers()
    own = {process.pid, broker, *support.descendants(process.pid), *support.descendants(broker)}
    assert len(own) > 3
    for pid in support.processes():
        assert not any(password in text for text in support.shown(pid)), pid
    socket_folder = pathlib.Path(os.environ.get('XDG_RUNTIME_DIR') or '/tmp', 'mitogen-ansible-%d' % os.geteuid())
    assert [path for path in socket_folder.iterdir() if path.is_file() and path.read_bytes()] == []


def test_a_killed_worker_takes_its_command_with_it(ansible, sleeping):
    process, command = sleeping
    worker, = [pid for pid in support.descendants(process.pid) if b'ansible-playbook' in
               pathlib.Path('/proc/%d/cmdline' % pid).read_bytes()]
    os.kill(worker, signal.SIGKILL)
    support.wait_for(lambda: not support.is_running(command), what='end of the command')
    assert ansible.brokers()        # it has other things to do
    process.communicate(timeout=60)
    assert process.returncode


@pytest.mark.skipif('SOAK' not in os.environ, reason='each has a broker process of its own: SOAK=1')
def test_two_versions_against_one_host(newest_ansible, machine, tmp_path, sshd, python):
    """At once, each with module utilities of its own."""
    (tmp_path / 'older').mkdir()
    older = ansible_core.Ansible(ansible_core.environment('2.16'), tmp_path / 'older', sshd)
    playbook = PING + """    - {name: setup, setup: {gather_subset: "!all"}}
    - {name: sleep, command: sleep 1}
    - {name: again, ping: }
"""
    running = []
    for found in newest_ansible, older:
        inventory = found.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
        running.append(found.start(SSH, playbook, inventory))
    for process in running:
        output = process.communicate(timeout=100)[0]
        assert process.returncode == 0 and 'ok=4' in output, output
    support.wait_for(lambda: not older.brokers(), what='end of the broker process')


def test_connections_that_outlive_their_playbook(ansible, python):
    """The second playbook finds them, and so does the third, which wants them for a second only."""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    playbook = PING.replace('{name: ping, ping: }', '{name: parent, raw: "echo $PPID"}')
    parents, brokers = set(), set()
    for seconds in 600, 600, 1:
        found = results_of(ansible.play(SSH, playbook, inventory, '-e', 'mitogen_persist=%d' % seconds))
        parents.add(found[0][1]['stdout'])
        brokers |= {pid for pid in support.processes() if is_shared(pid)}
    assert len(parents) == len(brokers) == 1
    support.wait_for(lambda: not any(map(is_shared, brokers)), what='end of the broker process')


def is_shared(pid):
    """Whether a process is a broker process that outlives its playbook."""
    try:
        words = pathlib.Path('/proc/%d/cmdline' % pid).read_bytes().split(b'\0')
    except OSError:
        return False
    return b'--persist' in words and any(b'mitogen.ansible.broker' in word for word in words)


# ---- Documentation


@pytest.mark.parametrize('name', ['ssh', 'local'])
def test_every_option_of_ansibles_plugin_is_there_or_explained(ansible, name):
    """With its variables."""
    page = (support.checkout() / 'docs' / 'ansible.rst').read_text()
    section = page.partition('\nOptions that do nothing\n---')[2].partition('\n---')[0]
    explained = set(re.findall('``([a-z_0-9]+)``', section))
    theirs, ours = (ansible.options(plugin) for plugin in ('ansible.builtin.' + name, 'mitogen.ansible.' + name))
    assert theirs and not set(theirs) - set(ours) - explained
    for option in set(theirs) & set(ours) - explained:
        assert variables(theirs[option]) <= variables(ours[option]), option


def variables(option):
    """Names of the variables that set an option."""
    return {entry['name'] for entry in option.get('vars', ())}


def test_a_wheel_is_all_that_is_needed(tmp_path, sshd, python):
    """No configuration, no path: what pip has installed, Ansible finds."""
    programs = ansible_core.environment('newest')
    sources, folder = tmp_path / 'sources', tmp_path / 'environment'
    sources.mkdir()
    for name in 'mitogen', 'ansible_collections':
        shutil.copytree(support.checkout() / name, sources / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in 'pyproject.toml', 'setup.py', 'README.md', 'LICENSE':
        shutil.copy(support.checkout() / name, sources)
    lab.run([programs / 'python', '-m', 'venv', '--without-pip', folder])
    packages, = folder.glob('lib/python*/site-packages')
    theirs, = programs.parent.glob('lib/python*/site-packages')
    (packages / 'ansible-core.pth').write_text('%s\n' % theirs)
    pip = [sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', '--disable-pip-version-check']
    lab.run([*pip[:3], 'wheel', '-q', '--no-deps', '-w', tmp_path, sources])      # with tools that pip fetches
    lab.run([*pip, 'install', '-q', '--no-deps', '--no-index', *tmp_path.glob('*.whl')])
    inventory = tmp_path / 'inventory.json'
    inventory.write_text(json.dumps({'all': {'hosts': {'target': {
        'ansible_host': sshd.host, 'ansible_port': sshd.port, 'ansible_user': 'mtgkey',
        'ansible_ssh_private_key_file': sshd.identity, 'ansible_ssh_common_args': ' '.join(sshd.ssh_args()),
        'ansible_python_interpreter': python}}}}))
    command = [folder / 'bin' / 'python', '-m', 'ansible', 'adhoc', 'all', '-i', inventory, '-m', 'ping', '-c', SSH]
    done = lab.run(command, env={'PATH': os.environ['PATH'], 'HOME': str(tmp_path), 'LC_ALL': 'C.UTF-8'}, cwd=tmp_path)
    assert 'pong' in done.stdout
