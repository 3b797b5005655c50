"""Playbooks of real ansible-core over the connection plugins: the same results as with Ansible's own."""

import os
import pathlib
import re
import signal
import subprocess
import uuid

import pytest

import support
from hosts import ansible_core, lab

SSH, STOCK = 'mitogen.ansible.ssh', 'ansible.builtin.ssh'


@pytest.fixture
def once(programs):
    """For tests where the version of ansible-core makes no difference: they are about what is not Ansible's."""
    if programs != ansible_core.environment('newest') and 'SOAK' not in os.environ:
        pytest.skip('run with the newest ansible-core: SOAK=1 for the others')


# Different each time, whatever the connection.
FLEETING = {'delta', 'start', 'end', 'atime', 'mtime', 'ctime', 'inode', 'ansible_job_id', 'results_file', 'src',
            'elapsed', 'version', 'file', 'backup', 'warnings', 'deprecations', 'attempts', 'exception', 'pid',
            'invocation'}


# See "What differs" in docs/ansible.rst.
DOCUMENTED = {('is killed', 'module_stderr')}


def comparable(value):
    """A result without what is different each time."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items() if key not in FLEETING}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    if isinstance(value, str):
        value = re.sub(r'ansible-tmp-[\d.-]+|/tmp[\w.]{8}\b|/ansible\.\w{8,}\b', '/TEMPORARY', value)
        value = value.replace(SSH, STOCK)
        # Whoever runs the module is in a traceback, and so is where it lies.
        value = re.sub(r'(?s)(Traceback[^\n]*\n).*?(\n  File "[^"]*/modules/)', r'\1...\2', value)
        value = re.sub(r'"[^"]*(/ansible/modules/)', r'"\1', value)
        # Ours has the lines of the source, which a program on standard input has not.
        value = re.sub(r'(?m)(?<=^  File "/ansible)(.*)((?:\n    .*)+)', r'\1', value)
    return value


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tasks_of_every_kind_have_the_same_results(ansible, target, tmp_path):
    lab.program('setfacl')
    seen = {}
    far = '/tmp/mitogen-ansible-%s' % uuid.uuid4()      # not one that a run left that was killed
    for connection in STOCK, SSH:
        # Without a terminal, which ours never has: docs/ansible.rst.
        _, output, results = ansible.play(connection, 'many.yml', target, '--limit', 'target',
                                          '-e', 'folder=%s fetched=%s' % (far, tmp_path / 'fetched' / connection),
                                          timeout=190, ANSIBLE_SSH_USETTY='false')
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
        if found[0] != found[1] and (ours[1], key) not in DOCUMENTED:
            yield '%s: %s is %r, not %r' % (ours[1], key, *found)


def test_a_temporary_folder_that_cannot_be_made(ansible, python):
    """Though the task was told that it had been."""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey', 'ansible_remote_tmp': '/proc/none'}},
                                  ansible_python_interpreter=python)
    playbook = PING.replace('{name: ping, ping: }', '{name: copy, copy: {content: a, dest: /tmp/mitogen-never}}')
    seen = [ansible.play(connection, playbook, inventory) for connection in (STOCK, SSH)]
    assert seen[0][0] == seen[1][0] == 4, seen[1][1]
    first, second = (re.sub(r'ansible-tmp-[\d.-]+', '', results[0][3]['msg']) for _, _, results in seen)
    assert 'exited with result 1' in first and first == second


# ---- Isolation


LEAK = """
- hosts: target
  gather_facts: false
  tasks:
    - {name: clean, file: {path: "{{ mark }}", state: absent}}
    - {name: leak, leaky: {mark: "{{ mark }}"}, loop: [1, 2, 3]}
    - {name: marks, slurp: {src: "{{ mark }}"}}
"""


def test_a_module_finds_nothing_of_the_one_before_it(ansible, target):
    found = {}
    for connection in STOCK, SSH:
        mark = pathlib.Path('/tmp/mitogen-mark-%s' % uuid.uuid4())      # not a folder of ours: another user writes it
        status, output, results = ansible.play(connection, LEAK, target, '-e', 'mark=%s' % mark)
        mark.unlink(missing_ok=True)
        assert status == 0, output
        runs = results[1][3]['results']
        assert len({run['pid'] for run in runs}) == 3
        assert results[2][2] == 'ok'
        found[connection] = [run['found'] for run in runs]
    assert found[SSH][0] == found[SSH][1] == found[SSH][2]
    for name in 'umask', 'interrupt', 'threads', 'locale', 'recursion', 'limit', 'stdin', 'mitogen', 'encoding', 'argv':
        assert found[SSH][0][name] == found[STOCK][0][name], name
    assert found[SSH][0]['finders'] == [] and found[SSH][0]['session']
    assert not any(found[SSH][0][name] for name in ('environ', 'module', 'builtin', 'cwd', 'signal', 'path'))
    # Three, and the folder that is being listed.
    assert found[SSH][0]['descriptors'] <= 4


# ---- Other users


BECOME = """
- hosts: target
  gather_facts: false
  become: true
  tasks:
    - {name: who, command: id -un}
    - {name: loop, command: id -un, become_user: "{{ item }}", loop: [root, mtgkey, root, mtgkey]}
"""


@pytest.mark.parametrize('account', ['mtgsudo', 'mtgtty'])
def test_sudo_with_a_password(ansible, python, accounts, account):
    """The second may use sudo on a terminal only: requiretty."""
    inventory = ansible.inventory({'target': {'ansible_user': account}}, ansible_python_interpreter=python,
                                  ansible_become_password=accounts[account].password)
    status, output, results = ansible.play(SSH, BECOME, inventory)
    assert status == 0, output
    assert results[0][3]['stdout'] == 'root'
    assert [item['stdout'] for item in results[1][3]['results']] == ['root', 'mtgkey', 'root', 'mtgkey']
    assert accounts[account].password not in output


@pytest.mark.parametrize('password, text', [('wrong', 'Incorrect sudo password'), (None, 'Missing sudo password')])
@pytest.mark.usefixtures('once')
def test_sudo_without_the_right_password(ansible, python, accounts, password, text):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgsudo'}}, ansible_python_interpreter=python,
                                  **({'ansible_become_password': password} if password else {}))
    status, output, _ = ansible.play(SSH, BECOME, inventory)
    assert status == 2 and text in output, output


# ---- Getting in


PING = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: ping, ping: }
"""


@pytest.mark.usefixtures('once')
def test_a_password_gets_in_and_is_seen_by_nobody(ansible, python, accounts):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgpw', 'ansible_password': accounts['mtgpw'].password}},
                                  ansible_python_interpreter=python, ansible_ssh_private_key_file='')
    status, output, _ = ansible.play(SSH, PING, inventory, '-vvvv')
    assert status == 0, output
    assert accounts['mtgpw'].password not in output


def test_workers_do_not_read_the_documentation_in_search_of_options(ansible, python):
    """It takes longer than many a module."""
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    status, output, _ = ansible.play(SSH, PING, inventory, ANSIBLE_DEBUG='1')
    read = re.findall(r'Loaded config def from plugin \((.*)\)', output)
    assert status == 0 and any(name.startswith('shell/') for name in read), output
    assert not [name for name in read if 'mitogen' in name]


@pytest.mark.usefixtures('once')
def test_a_wrong_password_makes_a_host_unreachable(ansible, python, accounts):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgpw', 'ansible_password': 'wrong'}},
                                  ansible_python_interpreter=python, ansible_ssh_private_key_file='')
    status, output, results = ansible.play(SSH, PING, inventory)
    assert (status, results[0][2]) == (4, 'unreachable'), output


@pytest.mark.usefixtures('once')
def test_a_host_that_is_not_there_is_unreachable(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_port=1)
    status, output, results = ansible.play(SSH, PING, inventory)
    assert (status, results[0][2]) == (4, 'unreachable'), output


def test_an_interpreter_is_discovered(ansible):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}})
    status, output, results = ansible.play(SSH, PING, inventory)
    assert status == 0 and results[0][3]['ping'] == 'pong', output


@pytest.mark.usefixtures('once')
def test_twenty_hosts_at_once(ansible, python):
    hosts = {'host%d' % number: {'ansible_user': 'mtgkey'} for number in range(20)}
    inventory = ansible.inventory(hosts, ansible_python_interpreter=python)
    status, output, results = ansible.play(SSH, PING, inventory, '-f', '10')
    assert status == 0 and len(results) == 20, output


@pytest.mark.usefixtures('once')
def test_without_python_raw_works_all_the_same(ansible):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey', 'mitogen_python': '/no/such/python'}})
    playbook = PING.replace('{name: ping, ping: }', '{name: raw, raw: "id -un; exit 3", failed_when: false}')
    status, output, results = ansible.play(SSH, playbook, inventory)
    assert status == 0, output
    assert (results[0][3]['rc'], results[0][3]['stdout'].strip()) == (3, 'mtgkey')


@pytest.mark.usefixtures('once')
def test_a_chain_of_hosts(ansible, python, sshd, lab_folder):
    """The last by way of a variable that is a template, through a user of its own."""
    key = lab_folder / 'for_everybody'      # read on the way by another user, which is none of whom ssh complains
    key.write_bytes(pathlib.Path(sshd.identity).read_bytes())
    key.chmod(0o644)
    for path in sshd.known_hosts, lab_folder:
        os.chmod(path, 0o755)
    behind = {'ansible_ssh_private_key_file': str(key)}
    inventory = ansible.inventory({
        'first': {'ansible_user': 'mtgkey'},
        'second': {'ansible_user': 'mtgnopw', 'mitogen_via': 'first', **behind},
        'third': {'ansible_user': 'mtgkey', 'mitogen_via': '{{ jump }}', 'jump': 'mtgsudo@second', **behind},
    }, ansible_python_interpreter=python)
    playbook = PING.replace('{name: ping, ping: }', '{name: who, command: id -un}')
    status, output, results = ansible.play(SSH, playbook, inventory)
    assert status == 0, output
    assert {result[0]: result[3]['stdout'] for result in results} == {
        'first': 'mtgkey', 'second': 'mtgnopw', 'third': 'mtgkey'}


def test_the_local_plugin_gives_what_the_stock_one_gives(ansible, tmp_path, programs):
    playbook = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: where, command: pwd}
    - {name: copy, copy: {content: text, dest: "{{ folder }}/file"}}
    - {name: fetch, fetch: {src: "{{ folder }}/file", dest: "{{ folder }}/fetched", flat: true}}
    - {name: again, copy: {src: "{{ folder }}/fetched", dest: "{{ folder }}/again"}}
    - {name: script, shell: "cat {{ folder }}/again; umask; echo $HOME"}
    - {name: clean, shell: "rm {{ folder }}/file {{ folder }}/again {{ folder }}/fetched"}
"""
    inventory = ansible.inventory({'localhost': {}}, ansible_python_interpreter=str(programs / 'python'))
    seen = [ansible.play(connection, playbook, inventory, '-e', 'folder=%s' % tmp_path)
            for connection in ('ansible.builtin.local', 'mitogen.ansible.local')]
    assert seen[0][0] == seen[1][0] == 0, seen[1][1]
    assert comparable([list(result) for result in seen[0][2]]) == comparable([list(result) for result in seen[1][2]])


# ---- The broker process


SLEEP = """
- hosts: target
  gather_facts: false
  tasks:
    - {name: sleep, shell: "echo $$ > {{ mark }}; sleep 600"}
"""


def mark_file(folder, name):
    """A file that does not exist yet, in a folder where everybody may write."""
    (folder / 'marks').mkdir(exist_ok=True)
    (folder / 'marks').chmod(0o777)
    (folder / 'marks' / name).unlink(missing_ok=True)
    return folder / 'marks' / name


def pid_in(path):
    """The process id in a file, once it is there."""
    return support.wait_for(lambda: path.exists() and path.read_text().endswith('\n') and int(path.read_text()),
                            what='start of the command')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures('once')
def test_nothing_is_left_when_a_playbook_is_ended(ansible, target, lab_folder, number):
    mark = mark_file(lab_folder, 'killed-%d' % number)
    with ansible.start(SSH, SLEEP, target, '-e', 'mark=%s' % mark) as process:
        sleeping = pid_in(mark)
        assert len(ansible.brokers()) == 1
        process.send_signal(number)
        process.communicate(timeout=60)
    support.wait_for(lambda: not ansible.brokers(), what='end of the broker process')
    support.wait_for(lambda: not support.is_running(sleeping), what='end of the command')


@pytest.mark.usefixtures('once')
def test_a_task_that_takes_too_long_is_ended_on_the_target(ansible, target, lab_folder):
    mark = mark_file(lab_folder, 'timeout')
    playbook = SLEEP.replace('sleep 600"}', 'sleep 600", timeout: 8, ignore_errors: true}')
    status, output, _ = ansible.play(SSH, playbook + '    - {name: wait, wait_for: {timeout: 2}}\n', target, '-e',
                                     'mark=%s' % mark)
    assert status == 0, output
    support.wait_for(lambda: not support.is_running(pid_in(mark)), what='end of the command')


@pytest.mark.usefixtures('once')
def test_two_playbooks_at_once_have_a_broker_each(ansible, target, lab_folder):
    marks = [mark_file(lab_folder, name) for name in ('one', 'two')]
    running = [ansible.start(SSH, SLEEP, target, '-e', 'mark=%s' % mark) for mark in marks]
    try:
        for mark in marks:
            pid_in(mark)
        assert len(ansible.brokers()) == 2
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_the_documentation_can_be_read(ansible, programs):
    for name in 'ssh', 'local':
        done = subprocess.run([programs / 'ansible-doc', '-t', 'connection', 'mitogen.ansible.' + name],
                              env=dict(os.environ, PYTHONPATH=str(support.checkout())), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=60)
        assert 'mitogen_python' in done.stdout, done.stdout


# ---- Containers


INSIDE = """
- hosts: target
  gather_facts: false
  tasks:
    - {name: who, command: id -un}
    - {name: copy, copy: {content: text, dest: /tmp/mitogen-ansible-file}}
    - {name: read, slurp: {src: /tmp/mitogen-ansible-file}}
    - {name: clean, file: {path: /tmp/mitogen-ansible-file, state: absent}}
    - {name: raw, raw: uname -s}
"""


@pytest.fixture(scope='session', params=['docker', 'podman', 'lxc', 'lxd', 'nspawn'])
def container_host(request):
    """What runs containers; see hosts/ways.py."""
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.usefixtures('once')
def test_containers(ansible, container_host):
    host = container_host
    options = dict(host.options(host.running))
    variables = {'ansible_host': options.pop('container'), 'ansible_python_interpreter': '/usr/bin/python3'}
    variables.update(('ansible_' + option, value) for option, value in options.items())
    inventory = ansible.inventory({'target': variables})
    status, output, results = ansible.play('mitogen.ansible.' + host.method, INSIDE, inventory)
    assert status == 0, output
    assert (results[0][3]['stdout'], results[2][3]['content']) == ('root', 'dGV4dA==')
