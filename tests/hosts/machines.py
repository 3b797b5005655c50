"""Containers that are run more like machines: classic LXC, LXD, systemd-nspawn; and namespaces that nobody runs."""

import pathlib
import shutil
import xml.sax.saxutils

import support
from hosts import lab, rootfs
from hosts.engines import LIFETIME, wrapper

SLEEP = '/bin/sleep %d' % LIFETIME

LXC_CONFIG = '''\
lxc.uts.name = {name}
lxc.rootfs.path = dir:{root}
lxc.net.0.type = empty
lxc.init.cmd = {command}
lxc.mount.auto = proc:mixed sys:ro
lxc.pty.max = 64
lxc.tty.max = 0
'''


class Lxc:
    """Classic LXC with a folder of its own.

    :ivar program: script that stands for lxc-attach.
    """

    method, user = 'lxc', 'guest'
    running, stopped, busybox = 'mtg-running', 'mtg-stopped', 'mtg-busybox'

    def __init__(self, folder):
        self._folder = folder / 'containers'
        self._folder.mkdir()
        self.program, self._info, self._start, self._stop = [
            wrapper(folder / name, {}, name, '--lxcpath=%s' % self._folder)
            for name in ('lxc-attach', 'lxc-info', 'lxc-start', 'lxc-stop')]
        try:
            self.start(self.running)
            self.start(self.busybox, 'busybox')
            self._define(self.stopped, 'busybox')
        except BaseException:
            self.stop()
            raise

    def options(self, container):
        return {'container': container, 'lxc_attach_path': self.program}

    def setns_options(self, container):
        return {'container': container, 'kind': 'lxc', 'lxc_info_path': self._info}

    def _define(self, name, image):
        folder = self._folder / name
        folder.mkdir()
        root = rootfs.copy_of(image, folder / 'rootfs')
        (folder / 'config').write_text(LXC_CONFIG.format(name=name, root=root, command=SLEEP))

    def start(self, name, image='bookworm'):
        """Start a container."""
        self._define(name, image)
        lab.run([self._start, '--name', name, '--logfile', self._folder / 'log'])
        support.wait_for(lambda: lab.run([self.program, '--name', name, '--', 'true'], check=False).returncode == 0,
                         what='a command in the LXC container')
        return name

    def kill(self, name):
        """End a container as a crash would."""
        lab.run([self._stop, '--kill', '--name', name], check=False)
        shutil.rmtree(self._folder / name)

    def stop(self):
        for config in self._folder.glob('*/config'):
            self.kill(config.parent.name)


LXD_PRESEED = '''\
config: {}
networks: []
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {path: /, pool: default, type: disk}}}]
'''
LXD_METADATA = '''\
architecture: %s
creation_date: 1700000000
properties: {os: debian, release: bookworm, description: for tests}
'''


class Lxd:
    """An LXD with a folder and networks of its own: it looks for a server of images otherwise.

    :ivar program: script that stands for `lxc`. `unprivileged`: name of a container in a user namespace.
    """

    method, user = 'lxd', 'guest'
    running, stopped, busybox = 'mtg-running', 'mtg-stopped', None
    unprivileged = 'mtg-unprivileged'

    def __init__(self, folder):
        self._folder = folder
        environment = {'LXD_DIR': folder / 'var'}
        (folder / 'var').mkdir(mode=0o711)
        self.program = wrapper(folder / 'lxc', environment, 'lxc')
        self._lxd = wrapper(folder / 'lxd', environment, 'lxd')
        self._daemon = lab.Daemon([lab.program('unshare'), '--net', self._lxd, '--group', 'root'], folder / 'log')
        try:
            self._populate()
        except BaseException:
            self.stop()
            raise

    def options(self, container):
        return {'container': container, 'lxc_path': self.program}

    def setns_options(self, container):
        return dict(self.options(container), kind='lxd')

    def do(self, *arguments, **options):
        return lab.run([self.program, *arguments], **options).stdout

    def _populate(self):
        if lab.run([self._lxd, 'waitready', '--timeout=40'], check=False).returncode:
            lab.unavailable('lxd does not start here')
        lab.run([self._lxd, 'init', '--preseed'], input=LXD_PRESEED)
        (self._folder / 'metadata.yaml').write_text(LXD_METADATA % lab.run(['uname', '-m']).stdout.strip())
        metadata, image = self._folder / 'metadata.tar', self._folder / 'image.tar'
        lab.run(['tar', '-C', self._folder, '-cf', metadata, 'metadata.yaml'])
        lab.run(['tar', '-C', rootfs.root_file_system('bookworm'), '-cf', image, '.'])
        self.do('image', 'import', '--quiet', metadata, image, '--alias', 'mtg')
        self.start(self.running)
        self.start(self.unprivileged, privileged='false')
        self._define(self.stopped)

    def _define(self, name, privileged='true'):
        self.do('init', '--quiet', 'mtg', name, '--config', 'raw.lxc=lxc.init.cmd=' + SLEEP,
                '--config', 'security.privileged=' + privileged)

    def start(self, name, privileged='true'):
        """Start a container."""
        self._define(name, privileged)
        self.do('start', name)
        return name

    def kill(self, name):
        """End a container as a crash would."""
        self.do('delete', '--force', name)

    def stop(self):
        for name in self.do('list', '--format=csv', '--columns=n', check=False, timeout=20).split():
            self.do('delete', '--force', name, check=False)
        lab.run([self._lxd, 'shutdown', '--timeout=20'], check=False)
        self._daemon.stop()
        lab.unmount_below(self._folder)


BUS_CONFIG = '''\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
'''

# systemd-machined takes a machine for what is in a unit's cgroup, so one is made that looks like it.
IN_A_CGROUP = '''
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e $tree/cgroup.procs ] || continue
    mkdir -p $tree/machine.slice/$1.scope
    echo $$ >$tree/machine.slice/$1.scope/cgroup.procs
done
shift
exec "$@"
'''


class Nspawn:
    """Machines of systemd-nspawn, without systemd outside: a private bus, and systemd-machined on it.

    :ivar program: script that stands for machinectl; one for systemd-run is beside it.
    :ivar running: name of a machine with systemd inside; `plain`: of one without.
    """

    method, user = 'machinectl', 'nobody'
    running, plain, stopped, busybox = 'mtg-booted', 'mtg-plain', None, None

    def __init__(self, folder):
        self._folder, self._daemons = folder, {}
        bus = folder / 'bus'
        environment = {'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=%s' % bus}
        (folder / 'bus.conf').write_text(BUS_CONFIG % xml.sax.saxutils.escape(str(bus)))
        self.program = wrapper(folder / 'machinectl', environment, 'machinectl')
        wrapper(folder / 'systemd-run', environment, 'systemd-run')
        self._nspawn = wrapper(folder / 'systemd-nspawn', environment, 'systemd-nspawn')
        self._flag = pathlib.Path('/run/systemd/system')        # machinectl wants to see that systemd runs
        self._flag_is_ours = not self._flag.exists()
        self._flag.mkdir(parents=True, exist_ok=True)
        try:
            self._start_services(bus, environment)
            self.start(self.running)
            self.start(self.plain, boot=False)
        except BaseException:
            self.stop()
            raise

    def options(self, container):
        return {'container': container, 'machinectl_path': self.program}

    def setns_options(self, container):
        return dict(self.options(container), kind='machinectl')

    def _start_services(self, bus, environment):
        self._daemons['bus'] = lab.Daemon(
            [lab.program('dbus-daemon'), '--config-file=%s' % (self._folder / 'bus.conf'), '--nofork', '--nopidfile'],
            self._folder / 'bus.log')
        support.wait_for(bus.exists, what='the bus')
        settings = ['%s=%s' % item for item in environment.items()]
        self._daemons['machined'] = lab.Daemon(['env', *settings, '/lib/systemd/systemd-machined'],
                                               self._folder / 'machined.log')
        support.wait_for(lambda: lab.run([self.program, 'list'], check=False).returncode == 0, what='systemd-machined')

    def start(self, name, boot=True):
        """Start a machine, on a root file system that forgets what is written to it."""
        what = ['--boot', '--console=read-only'] if boot else ['--as-pid2', '--console=pipe', *SLEEP.split()]
        root = rootfs.root_file_system(rootfs.BOOTABLE if boot else 'bookworm')
        options = ['--quiet', '--keep-unit', '--register=yes', '--private-network', '--volatile=overlay',
                   '--machine=' + name, '--directory=%s' % root]
        self._daemons[name] = lab.Daemon(['sh', '-c', IN_A_CGROUP, 'sh', name, self._nspawn, *options, *what],
                                         self._folder / (name + '.log'))
        support.wait_for(lambda: self.leader(name), 20, 'machine %s' % name)
        if boot:
            test = [self._folder / 'systemd-run', '--quiet', '--pipe', '--wait', '--machine=' + name, '/bin/true']
            support.wait_for(lambda: lab.run(test, check=False).returncode == 0, 120, 'systemd in %s' % name)
        return name

    def leader(self, name):
        """Process id of its first process."""
        shown = lab.run([self.program, 'show', name, '--property=Leader'], check=False).stdout
        return int(shown.partition('Leader=')[2]) if shown.startswith('Leader=') else None

    def kill(self, name):
        """End a machine as a crash would."""
        leader = self.leader(name)
        if leader:
            lab.kill(leader)
        self._daemons.pop(name).stop()

    def stop(self):
        for name in [name for name in self._daemons if name not in ('bus', 'machined')]:
            self.kill(name)
        for name in list(self._daemons):
            self._daemons.pop(name).stop()
        for tree in pathlib.Path('/sys/fs/cgroup').glob('**/machine.slice'):
            lab.run(['find', tree, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'], check=False)
        for leftover in pathlib.Path('/run/systemd/machines').glob('*mtg-*'):
            leftover.unlink()
        if self._flag_is_ours:
            self._flag.rmdir()


# The root is put in place by pivot_root, as container programs do: who only enters the mount namespace is there too.
# Behind that only programs of the new root can be used, and it has no umount (2 is MNT_DETACH).
OWN_ROOT = '''
set -e
hostname mtg-namespaces
mount --bind $1 $1
cd $1
mount -t proc proc proc
mount -t tmpfs tmpfs tmp
mkdir tmp/old
pivot_root . tmp/old
cd /
python3 -c 'import ctypes; ctypes.CDLL(None).umount2(b"/tmp/old", 2)'
echo up
exec %s
''' % SLEEP


class Namespaces:
    """A process in namespaces of its own, and nothing else.

    :ivar running: its number, as text.
    """

    method, user, stopped, busybox = 'pid', 'guest', None, None
    options_of_unshare = ['--mount', '--uts', '--ipc', '--net', '--pid', '--fork', '--propagation=private']

    def __init__(self, folder):
        self._folder, self._daemons = folder, {}
        self._root = rootfs.copy_of('bookworm', folder / 'root')
        self.running = self.start('running')

    def setns_options(self, container):
        return {'container': container, 'kind': 'pid'}

    def start(self, name):
        """Start a process; return its number, as text."""
        command = [lab.program('unshare'), *self.options_of_unshare, 'sh', '-c', OWN_ROOT, 'sh', self._root]
        daemon = lab.Daemon(command, self._folder / (name + '.log'))
        try:
            daemon.wait_for_text('up')
        except AssertionError as exc:
            lab.unavailable('no namespaces here: %s' % exc)
        leader, = support.descendants(daemon.pid)
        self._daemons[str(leader)] = daemon
        return str(leader)

    def kill(self, leader):
        """End it as a crash would."""
        lab.kill(int(leader))
        self._daemons.pop(leader).stop()

    def stop(self):
        for leader in list(self._daemons):
            self.kill(leader)


class UserNamespace(Namespaces):
    """The same in a user namespace, where root is somebody else than outside."""

    options_of_unshare = [*Namespaces.options_of_unshare, '--user', '--map-root-user']
