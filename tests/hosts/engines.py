"""Docker, Podman and Buildah with containers of their own, apart from whatever else of them is on this machine.

Each is used through a script, which any account can run and which says where everything is.
"""

import subprocess

import support
from hosts import lab, rootfs

# Containers end by themselves after this many seconds, should a run be killed that would have ended them.
LIFETIME = 3600


# Without networks of its own, which would change those of this machine.
DOCKERD = ['--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false', '--bridge=none',
           '--userland-proxy=false', '--storage-driver=overlay2']

# Not everybody's root may raise limits, which is what the defaults ask for; and crun refuses a mixed cgroup tree.
CONTAINERS_CONF = '''\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=10000:10000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
'''
STORAGE_CONF = '''\
[storage]
driver = "overlay"
graphroot = "{folder}/root"
runroot = "{folder}/run"
'''


def wrapper(path, environment, program, *arguments):
    """A script, for everybody, that runs a program of this machine with that environment and those arguments first."""
    settings = ' '.join("%s='%s'" % item for item in environment.items())
    path.write_text('#!/bin/sh\nexec env %s %s "$@"\n' % (settings, ' '.join([lab.program(program), *arguments])))
    path.chmod(0o755)
    return str(path)


class Engine:
    """What Docker and Podman have in common.

    :ivar method: connection method; `program`: the script that stands for the program.
    :ivar running: name of a container that runs; `stopped`: of one that does not; `busybox`: of one without Python.
    :ivar user: account in the containers.
    """

    running, stopped, busybox, user = 'mtg-running', 'mtg-stopped', 'mtg-busybox', 'guest'

    def options(self, container):
        """Arguments of the connection method for a container."""
        return {'container': container, self.method + '_path': self.program}

    def setns_options(self, container):
        """The same for the method `setns`."""
        return dict(self.options(container), kind=self.method)

    def do(self, *arguments, check=True):
        return lab.run([self.program, *arguments], check=check).stdout.strip()

    def add_image(self, name):
        """The image mtg:NAME of a root file system."""
        with subprocess.Popen(['tar', '-C', rootfs.root_file_system(name), '-c', '.'], stdout=subprocess.PIPE) as tar:
            self.do_import(tar.stdout, 'mtg:' + name)

    def start(self, container, image='bookworm'):
        """Start a container."""
        self.do('run', '--detach', '--network=none', '--name', container, 'mtg:' + image, 'sleep', str(LIFETIME))
        return container

    def kill(self, container):
        """End a container as a crash would."""
        self.do('kill', container)
        self.do('rm', '--force', container)

    def containers(self):
        """Names of all containers."""
        return self.do('ps', '--all', '--format', '{{.Names}}').split()

    def _populate(self):
        self.add_image('bookworm')
        self.add_image('busybox')
        self.start(self.running)
        self.start(self.busybox, 'busybox')
        self.do('create', '--network=none', '--name', self.stopped, 'mtg:bookworm', 'sleep', str(LIFETIME))


class Docker(Engine):
    """A dockerd on a socket of its own, in a mount namespace of its own, so that its mounts end with it."""

    method = 'docker'

    def __init__(self, folder):
        socket = folder / 'docker.sock'
        self.program = wrapper(folder / 'docker', {'DOCKER_HOST': 'unix://%s' % socket}, 'docker')
        command = [lab.program('unshare'), '--mount', '--propagation=private', lab.program('dockerd'), *DOCKERD,
                   '--data-root', folder / 'data', '--exec-root', folder / 'run', '--pidfile', folder / 'pid',
                   '--host', 'unix://%s' % socket]
        self._daemon = lab.Daemon(command, folder / 'log')
        try:
            self._daemon.wait_for_text('API listen on', 30)
            self._populate()
        except BaseException:
            self.stop()
            raise

    def do_import(self, archive, image):
        lab.run([self.program, 'import', '-', image], stdin=archive)

    def stop(self):
        names = self.do('ps', '--all', '--quiet', check=False).split()
        if names:
            self.do('rm', '--force', *names, check=False)
        self._daemon.stop()


class Podman(Engine):
    """A Podman with a storage of its own, and Buildah on the same."""

    method = 'podman'

    def __init__(self, folder):
        self._folder = folder
        (folder / 'containers.conf').write_text(CONTAINERS_CONF.format(folder=folder))
        (folder / 'storage.conf').write_text(STORAGE_CONF.format(folder=folder))
        self.environment = {'CONTAINERS_CONF': folder / 'containers.conf',
                            'CONTAINERS_STORAGE_CONF': folder / 'storage.conf'}
        lab.program('runc')
        self.program = wrapper(folder / 'podman', self.environment, 'podman')
        try:
            self._populate()
        except BaseException:
            self.stop()
            raise

    def do_import(self, archive, image):
        lab.run([self.program, 'import', '--quiet', '-', image], stdin=archive)

    def stop(self):
        self.do('rm', '--all', '--force', '--time=0', check=False)
        # What watches over a container cleans up behind it, and mounts things to do so.
        support.wait_for(lambda: not lab.processes_about(self._folder), what='end of the watchers of Podman')
        lab.unmount_below(self._folder)


class Buildah(Engine):
    """Working containers, in the storage of a Podman. They have no processes of their own: none can be stopped."""

    method, running, busybox, stopped = 'buildah', 'mtg-working', 'mtg-working-busybox', None

    def __init__(self, folder, podman):
        # Its own isolation would need what the tests' machine may not give; this one is for such places.
        environment = dict(podman.environment, BUILDAH_ISOLATION='chroot')
        self.program = wrapper(folder / 'buildah', environment, 'buildah')
        self.do('from', '--name', self.running, 'mtg:bookworm')
        self.do('from', '--name', self.busybox, 'mtg:busybox')

    def stop(self):
        self.do('rm', '--all', check=False)
