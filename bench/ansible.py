#!/usr/bin/env python3
"""Playbooks with Ansible's own ssh (pipelining and shared connections on), with mitogen_linear, and with ours.

    bench/ansible.py [--rounds 5] [--core 'ansible-core~=2.16.0'] [--ways stock,linear,ours] [CASE]...

Cases: `ping`, a single task; `one`, a playbook of 20 tasks on one host; `become`, the same by way of sudo; `hosts`, the
same on 20 hosts, ten at a time, all of which are the same machine and login; `become-hosts`, both; `apart`, 20 hosts
with an address of its own for each, and so with a connection each; `far`, one host over a network with a round trip of
50 ms. In each the three are run in turn, and medians are printed: seconds; processor seconds of the controller, and of
the target with its sshd; bytes to the target. The first round is not timed: it fills caches, and bytes are counted in
it.

Makes an environment with that ansible-core and mitogen 0.3.54, whose strategy plugin `mitogen_linear` is (kept in
--folder), and an sshd of its own on loopback. Root only, on Linux.
"""

import argparse
import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from target import Held, Network, make_keys, sshd

ROOT = pathlib.Path(__file__).resolve().parent.parent

LINEAR = 'mitogen==0.3.54'
DELAY = 25      # milliseconds each way

TASKS = '''
    - ping:
    - file: {path: "{{ folder }}", state: directory}
    - file: {path: "{{ folder }}/a", state: directory, mode: "0750"}
    - copy: {content: "one {{ inventory_hostname }}\\n", dest: "{{ folder }}/one"}
    - copy: {content: "two\\n", dest: "{{ folder }}/two", mode: "0600"}
    - template: {src: "{{ template }}", dest: "{{ folder }}/three"}
    - stat: {path: "{{ folder }}/one"}
    - lineinfile: {path: "{{ folder }}/one", line: "another line"}
    - lineinfile: {path: "{{ folder }}/one", regexp: "^one", line: "1"}
    - command: id
    - command: cat {{ folder }}/one
    - shell: echo $HOME | wc -c
    - slurp: {src: "{{ folder }}/two"}
    - replace: {path: "{{ folder }}/one", regexp: "another", replace: "the other"}
    - blockinfile: {path: "{{ folder }}/two", block: "some\\nlines"}
    - find: {paths: "{{ folder }}"}
    - getent: {database: passwd, key: root}
    - tempfile: {path: "{{ folder }}"}
    - command: echo {{ item }}
      loop: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    - file: {path: "{{ folder }}", state: absent}
'''


class Case(NamedTuple):
    """A playbook.

    :ivar arguments: of ansible-playbook; far: whether the network is slow; apart: whether each host has an address of
        its own. Otherwise all names are one machine and one login, which needs one connection.
    """

    tasks: str = TASKS
    hosts: int = 1
    arguments: 'tuple[str, ...]' = ()
    far: bool = False
    apart: bool = False

    def addresses(self, host: str) -> 'list[str]':
        """Where the hosts are, if the machine is at `host`."""
        return ['127.0.1.%d' % (number + 1) if self.apart else host for number in range(self.hosts)]


CASES = {'ping': Case('\n    - ping:\n'), 'one': Case(), 'become': Case(arguments=('--become',)),
         'hosts': Case(hosts=20, arguments=('-f', '10')), 'far': Case(far=True),
         'become-hosts': Case(hosts=20, arguments=('-f', '10', '--become')),
         'apart': Case(hosts=20, arguments=('-f', '10'), apart=True)}


class Counter(threading.Thread):
    """Carries connections on to a port, and counts the bytes that go there.

    :ivar port: where it listens; count: bytes up to now.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(daemon=True)
        self._to, self.count = (host, port), 0
        self._socket = socket.create_server(('127.0.0.1', 0))
        self.port = self._socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        pairs: 'dict[socket.socket, socket.socket]' = {}
        while True:
            for sock in select.select([self._socket, *pairs], [], [])[0]:
                if sock is self._socket:
                    near, far = sock.accept()[0], socket.create_connection(self._to)
                    pairs.update({near: far, far: near})
                    continue
                if sock not in pairs:           # the other end of one that was closed just now
                    continue
                with contextlib.suppress(OSError):
                    data = sock.recv(65536)
                    if data:
                        pairs[sock].sendall(data)
                        self.count += len(data) if sock.getsockname()[1] == self.port else 0
                        continue
                other = pairs.pop(sock)
                pairs.pop(other, None)
                sock.close()
                other.close()


class Bench:
    """Runs playbooks.

    :param folder: for what is written.
    :param programs: of the environment.
    """

    def __init__(self, folder: pathlib.Path, programs: pathlib.Path) -> None:
        self._folder, self._programs = folder, programs
        make_keys(folder)
        (folder / 'template.j2').write_text('host {{ inventory_hostname }}\n' * 20)
        (folder / 'ansible.cfg').touch()
        strategies = next(programs.parent.glob('lib/python*/site-packages/ansible_mitogen/plugins/strategy'), '')
        #: Name -> (connection, variables of the environment).
        self.ways: 'dict[str, tuple[str, dict[str, str]]]' = {
            'stock': ('ansible.builtin.ssh', {}),
            'linear': ('ssh', {'ANSIBLE_STRATEGY': 'mitogen_linear', 'ANSIBLE_STRATEGY_PLUGINS': str(strategies)}),
            'ours': ('mitogen.ansible.ssh', {'PYTHONPATH': str(ROOT)})}

    def run(self, way: str, case: str, network: Network, count: bool) -> 'dict[str, float]':
        """Run a playbook once; return `seconds`, `cpu`, `remote`, and `bytes` if these are counted."""
        played, (connection, environ) = CASES[case], self.ways[way]
        addresses = played.addresses(network.host)
        (self._folder / 'playbook.yml').write_text('- hosts: all\n  gather_facts: false\n  tasks:' + played.tasks)
        # For all of 127.0.0.0/8: sshd takes sixteen addresses.
        with sshd(self._folder, network, '0.0.0.0' if played.apart else None) as port:
            counter = Counter(network.host, port) if count and not (network.near or played.apart) else None
            variables = {'ansible_port': counter.port if counter else port,
                         'ansible_ssh_private_key_file': str(self._folder / 'key'), 'ansible_user': 'root',
                         'ansible_python_interpreter': '/usr/bin/python3', 'ansible_connection': connection,
                         'ansible_ssh_common_args': '-F /dev/null -o UserKnownHostsFile=/dev/null',
                         'template': str(self._folder / 'template.j2'),
                         'folder': '/tmp/mitogen-bench-{{ inventory_hostname }}'}
            (self._folder / 'inventory.json').write_text(json.dumps({'all': {
                'hosts': {'host%d' % number: {'ansible_host': address} for number, address in enumerate(addresses)},
                'vars': variables}}))
            env = {name: value for name, value in os.environ.items() if not name.startswith(('ANSIBLE_', 'PYTHON'))}
            env.update(environ, ANSIBLE_PIPELINING='true', ANSIBLE_HOST_KEY_CHECKING='false', LC_ALL='C.UTF-8',
                       ANSIBLE_CONFIG=str(self._folder / 'ansible.cfg'), ANSIBLE_DEPRECATION_WARNINGS='false',
                       ANSIBLE_SSH_CONTROL_PATH_DIR=tempfile.mkdtemp(dir=self._folder))
            with open(self._folder / 'output', 'w') as output:
                command = [*network.near, self._programs / 'ansible-playbook', '-i', self._folder / 'inventory.json',
                           self._folder / 'playbook.yml', *played.arguments]
                done = Held(self._folder / 'controller.json', command, env=env, cwd=self._folder, stdout=output,
                            stderr=output).wait(900)
        if done['status']:
            raise SystemExit('%s, %s:\n%s' % (way, case, (self._folder / 'output').read_text()[-3000:]))
        remote = json.loads((self._folder / 'target.json').read_text())['cpu']
        found = {'seconds': done['seconds'], 'cpu': done['cpu'], 'remote': remote}
        return dict(found, bytes=float(counter.count)) if counter else found

    def measure(self, case: str, ways: 'list[str]', rounds: int) -> 'dict[str, dict[str, float]]':
        """Run all ways in turn; return the medians."""
        network = Network(DELAY if CASES[case].far else None)
        try:
            first = {way: self.run(way, case, network, True) for way in ways}
            seen: 'dict[str, list[dict[str, float]]]' = {way: [] for way in ways}
            for number in range(rounds):
                # Who comes first, changes: what a run leaves to be written down costs the next one.
                for way in ways[number % len(ways):] + ways[:number % len(ways)]:
                    seen[way].append(self.run(way, case, network, False))
        finally:
            network.close()
        medians = {way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                   for way, runs in seen.items()}
        for way in ways:
            medians[way]['bytes'] = first[way].get('bytes', 0.0)
        return medians


def environment(folder: pathlib.Path, core: str) -> pathlib.Path:
    """Return the folder of the programs of an ansible-core; make it if need be."""
    place = folder / ''.join(letter if letter.isalnum() or letter in '.-' else '_' for letter in core)
    if not (place / 'complete').exists():
        subprocess.run([sys.executable, '-m', 'venv', '--clear', place], check=True)
        subprocess.run([place / 'bin' / 'python', '-m', 'pip', 'install', '-q', '--disable-pip-version-check', core,
                        LINEAR], check=True)
        (place / 'complete').touch()
    return place / 'bin'


def show(case: str, medians: 'dict[str, dict[str, float]]') -> None:
    for way, found in medians.items():
        times = ' '.join('%s %.2f' % (other, medians[other]['seconds'] / found['seconds'])
                         for other in medians if other != way) if way == 'ours' else ''
        parts = ['%7.2f s' % found['seconds'], 'controller %6.2f s' % found['cpu'], 'target %6.2f s' % found['remote']]
        parts += ['%8.0f KB' % (found['bytes'] / 1000)] if found['bytes'] else []
        print('%-7s %-7s %s%s' % (case, way, '  '.join(parts), '   ratio to ' + times if times else ''), flush=True)
    if {'stock', 'ours'} <= set(medians):
        stock, ours = medians['stock'], medians['ours']
        print('%-7s target\'s processor time %.2f of stock%s' % (
            case, ours['remote'] / stock['remote'],
            ', bytes %.2f' % (ours['bytes'] / stock['bytes']) if stock['bytes'] else ''), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cases', nargs='*', metavar='CASE', help=', '.join(CASES))
    parser.add_argument('--core', default='ansible-core~=2.16.0', help='what pip is to install')
    parser.add_argument('--folder', default='/tmp/mitogen-bench-ansible', help='where the environment is kept')
    parser.add_argument('--ways', default='stock,linear,ours')
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    if os.geteuid():
        parser.error('only root can do this')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    programs = environment(pathlib.Path(args.folder), args.core)
    with tempfile.TemporaryDirectory(prefix='mitogen-bench-') as folder:
        bench = Bench(pathlib.Path(folder), programs)
        begin = time.monotonic()
        for case in args.cases or CASES:
            show(case, bench.measure(case, args.ways.split(','), args.rounds))
        print('%d s in all' % (time.monotonic() - begin))


if __name__ == '__main__':
    main()
