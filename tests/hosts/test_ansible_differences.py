"""What docs/ansible.rst says to differ from Ansible's own plugins, as far as it is not part of another test."""

import pathlib
import re

import pytest

import support

SSH, STOCK = 'mitogen.ansible.ssh', 'ansible.builtin.ssh'


@pytest.fixture
def ansible(newest_ansible):
    return newest_ansible


def stdout_of(ansible, inventory, *tasks, connection=SSH):
    """What a playbook of raw commands writes, task by task."""
    playbook = '- hosts: all\n  gather_facts: false\n  tasks:\n'
    playbook += ''.join('    - {name: task, %s}\n' % task for task in tasks)
    status, output, results = ansible.play(connection, playbook, inventory)
    assert status == 0, output
    return [result[3].get('stdout') for result in results]


def test_every_difference_names_a_test():
    page = (support.checkout() / 'docs' / 'ansible.rst').read_text()
    section = page.partition('\nWhat differs\n---')[2].partition('\nAnsible\'s own tests\n')[0]
    items = re.split(r'\n\* ', section)[1:]
    sources = ''.join(path.read_text() for path in pathlib.Path(__file__).parent.glob('test_ansible*.py'))
    assert len(items) > 6
    for item in items:
        names = re.findall(r'``(test_\w+)``', item)
        assert names and all('def %s(' % name in sources for name in names), item


def test_raw_has_no_terminal(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    command = 'raw: "test -t 1 && echo terminal || echo none"'
    assert stdout_of(ansible, inventory, command) == ['none\n']
    assert stdout_of(ansible, inventory, command, connection=STOCK) == ['terminal\r\n']


def test_what_is_left_in_the_background_holds_nobody_up(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    found = stdout_of(ansible, inventory, 'raw: "sleep 30 & echo $!"', 'raw: "ps -o stat= -C sleep; pkill sleep"')
    assert int(found[0]) and found[1].startswith('S')


def test_no_module_waits_for_nothing(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    playbook = '- hosts: all\n  gather_facts: false\n  tasks: [{waits: {}, timeout: 120}]\n'
    status, output, results = ansible.play(SSH, playbook, inventory)
    assert status == 0, output
    assert results[0][3]['found'] == 0


def test_programs_of_modules_are_started_without_a_fork_of_their_own(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    playbook = '- hosts: all\n  gather_facts: false\n  tasks: [{forks: {}}]\n'
    status, output, results = ansible.play(SSH, playbook, inventory)
    assert status == 0, output
    found = results[0][3]
    assert (found['without'], found['with_umask'], found['umask']) == (0, 1, '0027')


def test_login_scripts_run_once(ansible, python, accounts, lab_folder):
    script = pathlib.Path(accounts['mtgkey'].home) / '.bashrc'
    counted = lab_folder / 'logins'
    counted.touch()
    counted.chmod(0o666)
    script.write_text('echo login >> %s\n' % counted)
    try:
        inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
        stdout_of(ansible, inventory, 'command: "true"', 'command: "true"', 'stat: {path: /}')
    finally:
        script.unlink()
    assert counted.read_text() == 'login\n'


def test_a_prompt_that_nobody_was_told_of(ansible, python, accounts):
    inventory = ansible.inventory(
        {'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python, ansible_become=True,
        ansible_become_method='su', ansible_become_user='mtgpw', ansible_become_password=accounts['mtgpw'].password,
        ansible_su_prompt_l10n=['Open Sesame'])
    assert stdout_of(ansible, inventory, 'command: id -un') == ['mtgpw']


def test_a_command_has_the_environment_of_a_login(ansible, python):
    inventory = ansible.inventory({'target': {'ansible_user': 'mtgkey'}}, ansible_python_interpreter=python)
    # What names a single connection or process; a terminal, which ours has not.
    own = 'SSH_CLIENT', 'SSH_CONNECTION', 'SSH_TTY', 'TERM', '_', 'XDG_SESSION_ID'

    def environment(connection):
        text, = stdout_of(ansible, inventory, 'raw: env', connection=connection)
        return {line for line in text.splitlines() if line.partition('=')[0] not in own}
    assert environment(SSH) == environment(STOCK)
