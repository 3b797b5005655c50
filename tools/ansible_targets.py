#!/usr/bin/env python3
"""Run ansible-core's own integration targets with Ansible's connection plugins and with ours, and compare the recaps.

    tools/ansible_targets.py --ansible /path/to/venv/bin [--source FOLDER] [--report FILE.json] [TARGET]...

Takes the targets from the source distribution of the same version, which pip downloads, unless --source names one that
is unpacked. Each is run twice, as `ansible-test` runs it: against an sshd of ours on loopback, as root, with the
connections `ssh` and `local`; and with these exchanged for `mitogen.ansible.ssh` and `mitogen.ansible.local` wherever
inventories and playbooks of the target name them. A target counts as equal when the recaps of all its playbooks and the
exit status are.

Targets create accounts, install packages and change files of the system. So each runs in a mount namespace of its
own, where what it writes to /etc, /home, /root, /tmp, /usr, /var and to the virtual environment is lost in the end.
Root only, on Linux.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

#: What is run when no target is named.
TARGETS = '''
connection_ssh connection_local connection_delegation delegate_to environment raw script fetch copy file template
lineinfile stat async async_fail become become_su become_sudo become_unprivileged no_log throttle
interpreter_discovery_python module_tracebacks missing-interpreter
command_shell slurp tempfile find blockinfile replace assemble unarchive getent gathering_facts
ignore_unreachable loop-connection meta_tasks strategy_free strategy_linear wait_for pause module_utils
interpreter_discovery_python_delegate_facts fork_safe_stdio binary_modules_posix remote_tmp
'''.split()

#: Those that take seconds, for a first look.
QUICK = 'raw', 'environment', 'module_tracebacks', 'async_fail', 'missing-interpreter', 'slurp'

#: Those whose `testhost` is the controller, as it is for all of them when `ansible-test` is not told of another one.
LOCAL = 'connection_local', 'copy', 'no_log'

#: Folders whose changes are thrown away.
WRITTEN = '/home', '/root', '/tmp', '/usr', '/var'

TIMEOUT = 1500

#: Targets that others make use of, beside those that set something up.
NEEDED = 'connection', 'test_utils', 'prepare_http_tests', 'support-callback_plugins'

#: Last numbers of the addresses of this machine that targets name.
ADDRESSES = 1, 2, 3, 4, 5, 254

NAMED = re.compile(r'''((?:ansible_)?connection\s*[:=]\s*["']?|\s-c\s+)(ssh|local)(?=["'\s]|$)''')
RECAP = re.compile(r'^(\S+) +: (ok=\d+ .*?) *$', re.M)

SSHD = '''
Port {port}
{addresses}
HostKey {folder}/hostkey
PidFile none
AuthorizedKeysFile .ssh/authorized_keys
StrictModes no
UsePAM yes
PermitRootLogin prohibit-password
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
'''

CLIENT = '''
Host *
  Port {port}
  IdentityFile {folder}/key
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  AddressFamily inet
'''

INVENTORY = '''
[testgroup]
testhost ansible_connection={connection} ansible_host=127.0.0.1

[testgroup:vars]
ansible_pipelining=yes
ansible_python_interpreter={python}
'''

#: As ansible-test sets them.
VARIABLES = {
    'ANSIBLE_PYTHON_MODULE_RLIMIT_NOFILE': '1024', 'ANSIBLE_FORCE_HANDLERS': 'true',
    'ANSIBLE_HOST_PATTERN_MISMATCH': 'error', 'ANSIBLE_INVENTORY': '/dev/null',
    'ANSIBLE_DEPRECATION_WARNINGS': 'false', 'ANSIBLE_HOST_KEY_CHECKING': 'false',
    'ANSIBLE_RETRY_FILES_ENABLED': 'false', 'ANSIBLE_LIBRARY': '/dev/null', 'ANSIBLE_DEVEL_WARNING': 'false',
    'ANSIBLE_PYTHON_INTERPRETER': '/set/ansible_python_interpreter/in/inventory', 'ANSIBLE_FORCE_COLOR': 'false',
    'ANSIBLE_NOCOLOR': 'true', 'PAGER': '/bin/cat', 'LC_ALL': 'C.UTF-8', 'ANSIBLE_WORKER_SHUTDOWN_POLL_COUNT': '100',
    'ANSIBLE_INVENTORY_PLUGIN_EXTS': '.yaml, .yml, .json', 'ANSIBLE_TEST_CI': '', 'USER': 'root', 'HOME': '/root',
}


def run(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True, stdin=subprocess.DEVNULL)


# ---- One target, with one kind of connection, in a mount namespace of its own

def hide_changes(folder: pathlib.Path, written: 'list[str]') -> None:
    """Put a layer over folders, which takes what is written there.

    /etc is copied: what others change there meanwhile, a list of accounts that is locked for example, must not be seen.
    """
    run('cp', '-a', '/etc', folder / 'etc')
    for lock in (folder / 'etc').glob('*.lock'):
        lock.unlink()
    run('mount', '--bind', folder / 'etc', '/etc')
    for number, path in enumerate(written):
        layers = [folder / ('layer%d' % number) / name for name in ('upper', 'work')]
        for layer in layers:
            layer.mkdir(parents=True)
        run('mount', '-t', 'overlay', 'overlay', '-o',
            'lowerdir=%s,upperdir=%s,workdir=%s' % (path, *layers), path)


def start_sshd(folder: pathlib.Path) -> 'subprocess.Popen[bytes]':
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    for name in 'hostkey', 'key':
        run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', folder / name)
    for name in '.bashrc', '.profile', '.bash_profile':      # what a developer has there is not for each command to do
        pathlib.Path('/root', name).unlink(missing_ok=True)
    home = pathlib.Path('/root/.ssh')
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    shutil.copy(folder / 'key.pub', home / 'authorized_keys')
    (home / 'config').write_text(CLIENT.format(port=port, folder=folder))
    addresses = '\n'.join('ListenAddress 127.0.0.%d' % number for number in ADDRESSES)
    (folder / 'sshd_config').write_text(SSHD.format(port=port, folder=folder, addresses=addresses))
    pathlib.Path('/run/sshd').mkdir(mode=0o755, exist_ok=True)
    program = shutil.which('sshd', path='/usr/sbin:/usr/local/sbin') or '/usr/sbin/sshd'
    process = subprocess.Popen([program, '-D', '-e', '-f', str(folder / 'sshd_config')], stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(('127.0.0.1', port)).close()
            return process
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise SystemExit('sshd does not start') from None
            time.sleep(0.05)


def exchange(text: str) -> str:
    """Return text of an inventory or a playbook with our connections in the place of Ansible's."""
    return NAMED.sub(r'\1mitogen.ansible.\2', text)


def lay_out(name: str, source: pathlib.Path, folder: pathlib.Path, ours: bool, python: str) -> pathlib.Path:
    """Copy a target, and what it may need; return the folder `integration`."""
    place, targets = folder / 'test' / 'integration', source / 'test' / 'integration' / 'targets'
    (place / 'targets').mkdir(parents=True)
    for path in targets.iterdir():
        if path.name in (name, *NEEDED) or path.name.startswith('setup_'):
            shutil.copytree(path, place / 'targets' / path.name, symlinks=True)
        else:
            (place / 'targets' / path.name).symlink_to(path)
    (folder / 'lib').symlink_to(source / 'lib')
    (place / 'inventory').write_text(INVENTORY.format(connection='local' if name in LOCAL else 'ssh', python=python))
    if ours:
        for path in [place / 'inventory', *(place / 'targets').rglob('*')]:
            if path.is_file() and not path.is_symlink() and path.suffix not in ('.py', '.ps1', '.md'):
                text = path.read_bytes().decode('utf-8', 'surrogateescape')
                changed = exchange(text)
                if changed != text:
                    path.write_bytes(changed.encode('utf-8', 'surrogateescape'))
    return place


def role(name: str, aliases: str, output: pathlib.Path) -> str:
    """A playbook for a target that is a role."""
    return json.dumps([{'hosts': 'testhost', 'gather_facts': 'gather_facts/no' not in aliases,
                        'vars': {'output_dir': str(output)}, 'roles': [name]}])


def play(args: argparse.Namespace, name: str, place: pathlib.Path, env: 'dict[str, str]') -> int:
    """Run a target, its output to ours; return the exit status."""
    target, output = place / 'targets' / name, pathlib.Path(env['OUTPUT_DIR'])
    aliases = (target / 'aliases').read_text() if (target / 'aliases').exists() else ''
    for needed in re.findall(r'^setup/(?:once|always)/(\S+)', aliases, re.M):
        play(args, needed, place, env)
    if (target / 'runme.sh').exists():
        command, cwd = ['./runme.sh', '-v'], target
        env = dict(env, ANSIBLE_PLAYBOOK_DIR=str(target))
    else:
        (place / (name + '.yml')).write_text(role(name, aliases, output))
        command, cwd = ['ansible-playbook', name + '.yml', '-i', 'inventory', '-v'], place
        env = dict(env, ANSIBLE_PLAYBOOK_DIR=str(place), ANSIBLE_ROLES_PATH=str(place / 'targets'))
    return subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT).returncode


def inside(args: argparse.Namespace) -> None:
    """What the program does when it is started for one target."""
    name, connection = args.targets
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    programs = pathlib.Path(args.ansible)
    with tempfile.TemporaryDirectory(prefix='mitogen-targets-', dir='/run') as temporary:
        folder = pathlib.Path(temporary)
        folder.chmod(0o755)
        run('mount', '-t', 'tmpfs', 'tmpfs', folder)
        folder.chmod(0o755)
        hide_changes(folder, [*WRITTEN, str(programs.parent)])
        sshd = start_sshd(folder)
        try:
            ours = connection == 'ours'
            place = lay_out(name, pathlib.Path(args.source), folder / 'ansible', ours, args.python)
            (folder / 'output').mkdir()
            (folder / 'ansible.cfg').touch()
            library, = (programs.parent / 'lib').glob('python*')
            helpers = library / 'site-packages' / 'ansible_test' / '_util' / 'target' / 'injector'
            env = dict(VARIABLES, PATH='%s:%s:%s' % (programs, os.environ['PATH'], helpers),
                       OUTPUT_DIR=str(folder / 'output'), ANSIBLE_TEST_PYTHON_INTERPRETER=str(programs / 'python'),
                       ANSIBLE_TEST_PYTHON_VERSION=library.name[len('python'):],
                       INVENTORY_PATH=str(place / 'inventory'), ANSIBLE_CONFIG=str(folder / 'ansible.cfg'),
                       PYTHONPATH=str(ROOT), ANSIBLE_TRANSPORT='mitogen.ansible.ssh' if ours else 'ssh',
                       ANSIBLE_TEST_PREFER_VENV='1')
            status = play(args, name, place, env)
        finally:
            sshd.terminate()
            sshd.wait()
            os.chdir('/')
            for path in reversed(['/etc', *WRITTEN, str(programs.parent)]):
                subprocess.run(['umount', '-l', path], check=False)
            subprocess.run(['umount', '-l', str(folder)], check=False)
    raise SystemExit(status)


# ---- All of them

def download(programs: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Fetch the source distribution of an ansible-core; return where it is unpacked."""
    version = subprocess.check_output([str(programs / 'python'), '-c', 'import ansible.release as r; '
                                       'print(r.__version__)'], text=True).strip()
    place = folder / ('ansible_core-' + version)
    if not place.exists():
        run(programs / 'python', '-m', 'pip', 'download', '-q', '--disable-pip-version-check', '--no-binary', ':all:',
            '--no-deps', '-d', folder, 'ansible-core==' + version)
        run('tar', '-xzf', folder / (place.name + '.tar.gz'), '-C', folder)
    return place


def one_run(args: argparse.Namespace, name: str, connection: str, log: pathlib.Path) -> 'dict[str, object]':
    command = ['unshare', '--mount', '--propagation', 'private', sys.executable, __file__, '--inside', '--ansible',
               args.ansible, '--source', args.source, '--python', args.python, name, connection]
    begin = time.monotonic()
    with open(log, 'w') as fp:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=fp, stderr=fp, start_new_session=True)
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            status = process.wait()
    recaps = RECAP.findall(log.read_text(errors='replace'))
    return {'status': status, 'seconds': round(time.monotonic() - begin), 'recaps': recaps}


def totals(recaps: 'list[list[str]]') -> str:
    """What all recaps of a run come to, in short."""
    counts: 'dict[str, int]' = {}
    for _, text in recaps:
        for word in text.split():
            key, _, number = word.partition('=')
            counts[key] = counts.get(key, 0) + int(number)
    return '%d plays: ' % len(recaps) + ' '.join('%s=%d' % (key, counts.get(key, 0)) for key in
                                                ('ok', 'changed', 'unreachable', 'failed', 'skipped'))


def compare(name: str, stock: 'dict[str, object]', ours: 'dict[str, object]') -> 'dict[str, object]':
    same = [stock[key] == ours[key] for key in ('status', 'recaps')]
    verdict = 'equal' if all(same) else 'DIFFERENT'
    return {'target': name, 'verdict': verdict, 'stock': stock, 'ours': ours}


def show(row: 'dict[str, object]') -> str:
    stock, ours = row['stock'], row['ours']
    return '%-45s %-10s %3d s %3d s  %d %d  %s%s' % (
        row['target'], row['verdict'], stock['seconds'], ours['seconds'],      # type: ignore[index]
        stock['status'], ours['status'], totals(ours['recaps']),               # type: ignore[index]
        '' if row['verdict'] == 'equal' else '  instead of ' + totals(stock['recaps']))     # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('targets', nargs='*', metavar='TARGET', help='default: all of %d that are known' % len(TARGETS))
    parser.add_argument('--ansible', required=True, help='folder of its programs, in a virtual environment')
    parser.add_argument('--source', help='folder of its source distribution')
    parser.add_argument('--python', default='/usr/bin/python3', help='interpreter of the modules')
    parser.add_argument('--logs', help='folder for the output of each run; default: a temporary one')
    parser.add_argument('--downloads', help='folder for what pip downloads; default: that of --logs')
    parser.add_argument('--report', help='file for the results, as JSON')
    parser.add_argument('--quick', action='store_true', help='only %s' % ', '.join(QUICK))
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.ansible = os.path.abspath(args.ansible)
    if args.inside:
        inside(args)
    if os.geteuid():
        parser.error('only root can do this')
    logs = pathlib.Path(args.logs or tempfile.mkdtemp(prefix='mitogen-targets-logs-'))
    logs.mkdir(exist_ok=True)
    args.source = str(args.source or download(pathlib.Path(args.ansible), pathlib.Path(args.downloads or logs)))
    print('%-45s %-10s %5s %5s  %s' % ('target', 'recaps', 'stock', 'ours', 'exit statuses, what ours came to'))
    rows = []
    for name in args.targets or (QUICK if args.quick else TARGETS):
        if not (pathlib.Path(args.source) / 'test/integration/targets' / name).exists():
            print('%-45s is not in this version' % name)
            continue
        stock, ours = (one_run(args, name, connection, logs / ('%s-%s.log' % (name, connection)))
                       for connection in ('stock', 'ours'))
        rows.append(compare(name, stock, ours))
        print(show(rows[-1]), flush=True)
        if args.report:
            pathlib.Path(args.report).write_text(json.dumps(rows, indent=1))
    print('output of all runs: %s' % logs)
    raise SystemExit(any(row['verdict'] != 'equal' for row in rows))


if __name__ == '__main__':
    main()
