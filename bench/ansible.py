#!/usr/bin/env python3
"""Seconds of a playbook of 20 tasks with Ansible's own ssh, pipelining and shared connections on, and with ours.

    bench/ansible.py --playbook /path/to/venv/bin/ansible-playbook --inventory FILE [--rounds 5] [--hosts 1] [--become]

The inventory names one host, with all that Ansible's own plugin needs to reach it. The two are run in turn, and the
medians compared. With --hosts N that host is there N times, under other names.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

PLAYBOOK = '''
- hosts: all
  gather_facts: false
  tasks:
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


def prepare(args: argparse.Namespace, folder: pathlib.Path) -> list[str]:
    (folder / 'template.j2').write_text('host {{ inventory_hostname }}\n' * 20)
    (folder / 'playbook.yml').write_text(PLAYBOOK)
    text = pathlib.Path(args.inventory).read_text()
    first = next(line for line in text.split('\n') if line and line[0] not in '[#')
    name, _, rest = first.partition(' ')
    hosts = ['%s_%d %s' % (name, number, rest) for number in range(args.hosts)]
    (folder / 'inventory').write_text(text.replace(first, '\n'.join(hosts)))
    command = [args.playbook, '-i', str(folder / 'inventory'), str(folder / 'playbook.yml'), '-f', '10',
               '-e', 'template=%s' % (folder / 'template.j2'),
               '-e', 'folder=/tmp/mitogen-bench-{{ inventory_hostname }}']
    return command + (['--become'] if args.become else [])


def seconds(command: list[str], connection: str) -> float:
    """Run the playbook once."""
    root = pathlib.Path(__file__).resolve().parent.parent
    env = dict(os.environ, ANSIBLE_PIPELINING='true',
               PYTHONPATH=os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')]).rstrip(os.pathsep))
    begin = time.perf_counter()
    done = subprocess.run(command + ['-e', 'ansible_connection=' + connection], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode:
        raise SystemExit('%s failed:\n%s' % (connection, done.stdout[-3000:]))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--playbook', required=True)
    parser.add_argument('--inventory', required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--hosts', type=int, default=1)
    parser.add_argument('--become', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = prepare(args, pathlib.Path(folder))
        taken: dict[str, list[float]] = {'ansible.builtin.ssh': [], 'mitogen.ansible.ssh': []}
        for number in range(args.rounds + 1):
            for connection, times in taken.items():
                result = seconds(command, connection)
                if number:              # the first round warms caches of files and of compiled code
                    times.append(result)
    for connection, times in taken.items():
        print('%-20s %6.2f s   (%s)' % (connection, statistics.median(times),
                                        ' '.join('%.2f' % value for value in times)))
    stock, ours = (statistics.median(times) for times in taken.values())
    print('ratio %.2f' % (stock / ours))


if __name__ == '__main__':
    main()
