"""ansible-core as it is on PyPI, in environments of its own, and playbooks run with it.

An environment is kept inside the one that runs the tests, so that it is made once and goes with it.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import support
from hosts import lab

FOLDER = pathlib.Path(__file__).parent / 'ansible'

#: Name -> (what to install, oldest and newest Python that it runs on). Oldest and newest of those that are supported.
VERSIONS = {
    '2.16': ('ansible-core~=2.16.0', (3, 10), (3, 12)),
    'newest': ('ansible-core<2.22', (3, 12), (3, 14)),
}
if 'SOAK' in os.environ:        # a minute each, and as long again to install it
    VERSIONS.update({
        '2.17': ('ansible-core~=2.17.0', (3, 10), (3, 12)), '2.18': ('ansible-core~=2.18.0', (3, 11), (3, 13)),
        '2.19': ('ansible-core~=2.19.0', (3, 11), (3, 13)), '2.20': ('ansible-core~=2.20.0', (3, 12), (3, 14))})

INSTALL_TIMEOUT = 100


def environment(name):
    """Path of the folder with the programs of an ansible-core; skips the test when there can be none."""
    requirement, oldest, newest = VERSIONS[name]
    fitting = {version: path for version, path in support.find_pythons().items()
               if oldest <= support.as_numbers(version) <= newest}
    if not fitting:
        pytest.skip('%s needs a Python from %d.%d to %d.%d' % (requirement, *oldest, *newest))
    folder = pathlib.Path(sys.prefix) / ('ansible-' + name)
    if not (folder / 'bin' / 'complete').exists():
        version = max(fitting, key=support.as_numbers)
        lab.run([fitting[version], '-m', 'venv', '--clear', folder])
        pip = [folder / 'bin' / 'python', '-m', 'pip', 'install', '-q', '--disable-pip-version-check']
        done = lab.run([*pip, requirement], check=False, timeout=INSTALL_TIMEOUT)
        if done.returncode:
            lab.unavailable('%s cannot be installed: %s' % (requirement, done.stdout[-300:]))
        (folder / 'bin' / 'complete').touch()
    return folder / 'bin'


class Ansible:
    """Runs playbooks.

    :param programs: folder of the programs.
    :param folder: where what is written goes.
    :param sshd: the server that the hosts of the inventory are.
    """

    def __init__(self, programs, folder, sshd):
        self._programs, self._folder, self._sshd = programs, folder, sshd
        self._runs, self._playbooks = 0, set()

    def inventory(self, hosts, **variables):
        """Write an inventory; returns its path.

        :param hosts: name -> variables of its own. All of them are the server, and have `variables` too.
        """
        common = {'ansible_host': self._sshd.host, 'ansible_port': self._sshd.port,
                  'ansible_ssh_private_key_file': self._sshd.identity,
                  'ansible_ssh_common_args': ' '.join(self._sshd.ssh_args()), **variables}
        path = self._folder / 'inventory.json'
        path.write_text(json.dumps({'all': {'hosts': {name: {**common, **own} for name, own in hosts.items()}}}))
        return path

    def options(self, plugin):
        """Options of a connection plugin, as its documentation tells: {name: facts}."""
        done = lab.run([self._programs / 'ansible-doc', '-t', 'connection', '--json', plugin],
                       env={**os.environ, 'PYTHONPATH': str(support.checkout()), 'LC_ALL': 'C.UTF-8',
                            'ANSIBLE_HOME': str(self._folder / 'home'), 'ANSIBLE_DEPRECATION_WARNINGS': 'false'})
        return json.loads(done.stdout[done.stdout.index('{'):])[plugin]['doc']['options']

    def start(self, connection, playbook, inventory, *arguments, **environ):
        """Start a playbook (text, or the name of a file beside this one); returns the process."""
        if '\n' in playbook:
            path = self._folder / 'playbook.yml'
            path.write_text(playbook)
        else:
            path = FOLDER / playbook
        self._runs += 1
        self.record = self._folder / ('record-%d' % self._runs)
        env = {name: value for name, value in os.environ.items() if not name.startswith('ANSIBLE_')}
        env.update(PYTHONPATH=str(support.checkout()), ANSIBLE_CALLBACK_PLUGINS=str(FOLDER / 'callback'),
                   ANSIBLE_CALLBACKS_ENABLED='record', RECORD=str(self.record), ANSIBLE_NOCOLOR='1',
                   ANSIBLE_PIPELINING='true', ANSIBLE_LIBRARY=str(FOLDER / 'library'),
                   ANSIBLE_BECOME_PLUGINS=str(FOLDER / 'become'),
                   ANSIBLE_SSH_CONTROL_PATH_DIR=str(self._folder / 'cp'), ANSIBLE_HOME=str(self._folder / 'home'),
                   ANSIBLE_LOCALHOST_WARNING='false', ANSIBLE_DEPRECATION_WARNINGS='false', LC_ALL='C.UTF-8')
        env.update(environ)
        command = [self._programs / 'ansible-playbook', '-i', inventory, path, '-e', 'ansible_connection=' + connection,
                   *arguments]
        process = subprocess.Popen([str(word) for word in command], env=env, cwd=str(self._folder),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   universal_newlines=True)
        self._playbooks.add(process.pid)
        return process

    def play(self, connection, playbook, inventory, *arguments, timeout=100, **environ):
        """Run a playbook to its end; returns (exit status, output, [(host, task, outcome, result)])."""
        with self.start(connection, playbook, inventory, *arguments, **environ) as process:
            try:
                output = process.communicate(timeout=timeout)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError('no end after %d s:\n%s' % (timeout, process.communicate()[0][-5000:])) from None
        lines = self.record.read_text().split('\n') if self.record.exists() else []
        return process.returncode, output, [tuple(json.loads(line)) for line in lines if line]

    def brokers(self):
        """Pids of the broker processes of playbooks that were started here, as far as they run now."""
        playbooks = {b'%d' % pid for pid in self._playbooks}
        lines = {pid: command_line(pid) for pid in support.processes()}
        return {pid for pid, line in lines.items()
                if b'mitogen.ansible.broker' in line and b'--persist' not in line
                and line.split(b'\0')[-2] in playbooks}


def command_line(pid):
    """What a process was started with; nothing if it is gone."""
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as fp:
            return fp.read()
    except OSError:
        return b''
