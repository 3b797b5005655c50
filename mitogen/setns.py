"""
Connection method `setns`: an interpreter in the namespaces of a container, whatever runs that. Ring 1, data only.

The container's own program is asked for the process id of its leader and for nothing else; `nsenter` of util-linux
(or of busybox) does the rest. So it works where the program has no way in (nspawn without systemd inside), where its
way in is slow, or hangs because its daemon does. It needs root of the host, and gives more than the container has:
the capabilities of the host's root, no seccomp filter, no limits of the container's cgroup.

All that is one shell command, so that a program which hangs holds up nobody but this child, and ends at
connect_timeout.
"""

import shlex

import mitogen.container
import mitogen.method
from mitogen.boot.dialogue import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

#: Kind -> (program, its arguments before the name, what stands before the number on a line of its own, as for sed).
KINDS: 'Dict[str, Tuple[str, List[str], str]]' = {
    'docker': ('docker', ['inspect', '--type', 'container', '--format', '{{.State.Pid}}'], ''),
    'podman': ('podman', ['inspect', '--type', 'container', '--format', '{{.State.Pid}}'], ''),
    'lxc': ('lxc_info', ['-p', '-H', '-n'], ''),
    'lxd': ('lxc', ['info'], 'P[Ii][Dd]: '),
    'incus': ('incus', ['info'], 'P[Ii][Dd]: '),
    'machinectl': ('machinectl', ['show', '--property', 'Leader'], 'Leader='),
    'pid': ('echo', [], ''),
}

#: Asks for the leader, compares, enters. A Docker that runs elsewhere gives a number that means another process here:
#: the comparison notices when that is an ordinary one. A user namespace can only be entered if it is another than ours;
#: -r and -w, because a container may see less than the root of its mount namespace. The environment of the host stays
#: outside.
SCRIPT = '''\
pid=$({lookup} | sed -n 's/^{mark}\\([1-9][0-9]*\\)$/\\1/p')
[ "$pid" ] && [ -d "/proc/$pid" ] || {{ echo 'setns: no running container' >&2; exit 1; }}
differs() {{ [ "$(readlink /proc/$pid/ns/$1)" != "$(readlink /proc/self/ns/$1)" ]; }}
differs mnt || {{ echo "setns: process $pid is in no container" >&2; exit 1; }}
enter=$(command -v nsenter) || {{ echo 'setns: there is no nsenter' >&2; exit 1; }}
if differs user; then set -- -U -S 0 -G 0 "$@"; fi
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root \\
    "$enter" -t "$pid" -m -u -i -n -p -r -w "$@"
'''

#: Runs before the first stage: only the interpreter in the container can look up users there. First of all it drops the
#: current folder from sys.path, which may belong to somebody who is to have no say yet.
SWITCH_USER = ('import sys;sys.path=[p for p in sys.path if p];import os,pwd;u=pwd.getpwnam(%r);'
               'os.initgroups(u[0],u[3]);os.setgid(u[3]);os.setuid(u[2]);'
               'os.environ.update(HOME=u[5],USER=u[0],LOGNAME=u[0],SHELL=u[6]);')


class Method(mitogen.container.Container):
    """The namespaces and the root of a container's first process.

    :param container: name of a running container; with the kind ``pid``, the number of a process in it.
    :param kind: what runs it: ``docker``, ``podman``, ``lxc``, ``lxd``, ``incus``, ``machinectl``, or ``pid``.
    :param username: user inside; default: root.
    :param docker_path: program that is asked for the leader, with the kind ``docker``.
    :param podman_path: the same for ``podman``.
    :param lxc_path: the same for ``lxd``.
    :param lxc_info_path: the same for ``lxc``.
    :param incus_path: the same for ``incus``.
    :param machinectl_path: the same for ``machinectl``.
    """

    name = 'setns'

    def __init__(self, container: str, kind: str, username: 'Optional[str]' = None, docker_path: str = 'docker',
                 podman_path: str = 'podman', lxc_path: str = 'lxc', lxc_info_path: str = 'lxc-info',
                 incus_path: str = 'incus', machinectl_path: str = 'machinectl', **common: 'Any') -> None:
        if kind not in KINDS:
            raise ValueError('kind must be one of %s, not %r' % (', '.join(sorted(KINDS)), kind))
        if kind == 'pid' and not str(container).isdigit():
            raise ValueError('container must be the number of a process with kind="pid", not %r' % container)
        programs = {'docker': docker_path, 'podman': podman_path, 'lxc': lxc_path, 'lxc_info': lxc_info_path,
                    'incus': incus_path, 'machinectl': machinectl_path, 'echo': 'echo'}
        self.kind = kind
        container = str(container) if kind == 'pid' else container
        mitogen.container.Container.__init__(self, container, username, programs[KINDS[kind][0]], **common)

    def target(self) -> str:
        return '%s:%s' % (self.kind, self.container)

    def argv(self, command: 'List[str]') -> 'List[str]':
        _, arguments, mark = KINDS[self.kind]
        lookup = ' '.join(shlex.quote(word) for word in [self.program] + arguments + [self.container])
        if self.username:
            code = len(self.python) + 1         # behind the interpreter and -c
            command = command[:code] + [SWITCH_USER % self.username + command[code]] + command[code + 1:]
        return ['sh', '-c', SCRIPT.format(lookup=lookup, mark=mark), 'setns'] + command

    def own_refusals(self) -> 'List[Refusal]':
        return [
            Refusal(br'(permission denied|Operation not permitted|You lack access)[^\n]*',
                    'this user may not enter the container', hint='via= a context of root (sudo)'),
            Refusal(br'^setns: (line )?\d+: [^\n]{0,200}not found', 'there is no %s here' % self.program,
                    hint='the path of the program, as a parameter'),
            Refusal(br'setns: no running container', 'there is no running container of that name',
                    hint='the spelling of container=, and kind=%r' % self.kind),
            Refusal(br'setns: (process \d+ is in no container)', hint='whether %s runs on this machine' % self.program),
            Refusal(br'setns: there is no nsenter', hint='the package util-linux, which has it'),
            Refusal(br'getpwnam\(\)', 'there is no such user in the container', hint='username='),
        ]
