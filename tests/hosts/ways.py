"""Every way into a container that is tried: a connection method, and where it leads."""

from hosts import engines, machines

# Name -> (fixture that runs the containers, whether the method is `setns`, attribute with the container's name).
WAYS = {
    'docker': ('docker', False, 'running'),
    'podman': ('podman', False, 'running'),
    'buildah': ('buildah', False, 'running'),
    'lxc': ('lxc', False, 'running'),
    'lxd': ('lxd', False, 'running'),
    'lxd-unprivileged': ('lxd', False, 'unprivileged'),
    'machinectl': ('nspawn', False, 'running'),
    'setns-docker': ('docker', True, 'running'),
    'setns-podman': ('podman', True, 'running'),
    'setns-lxc': ('lxc', True, 'running'),
    'setns-lxd': ('lxd', True, 'running'),
    'setns-lxd-unprivileged': ('lxd', True, 'unprivileged'),
    'setns-machinectl': ('nspawn', True, 'plain'),
    'setns-pid': ('namespaces', True, 'running'),
    'setns-pid-unprivileged': ('user_namespace', True, 'running'),
}

# Those whose method takes a username, and whose namespaces have more than one.
WITH_USERS = ['docker', 'podman', 'buildah', 'machinectl', 'setns-docker', 'setns-podman', 'setns-lxc', 'setns-lxd',
              'setns-lxd-unprivileged', 'setns-machinectl', 'setns-pid']
# Those that have containers which are there and do not run.
WITH_STOPPED = ['docker', 'podman', 'lxc', 'lxd', 'setns-docker', 'setns-podman', 'setns-lxc', 'setns-lxd']
# Those that start a program with which containers are managed.
WITH_PROGRAM = [name for name in WAYS if not name.startswith('setns-pid')]
# Those that have processes to end; LXD takes its time, once is enough.
MORTAL = [name for name in WAYS if name != 'buildah' and name not in (
    'lxd-unprivileged', 'setns-lxd', 'setns-lxd-unprivileged')]
# Those that carry bytes in ways of their own.
TRANSPORTS = ['docker', 'podman', 'buildah', 'lxc', 'lxd', 'machinectl', 'setns-docker', 'setns-pid-unprivileged']

HOSTS = {
    'docker': engines.Docker, 'podman': engines.Podman, 'lxc': machines.Lxc, 'lxd': machines.Lxd,
    'nspawn': machines.Nspawn, 'namespaces': machines.Namespaces, 'user_namespace': machines.UserNamespace,
}


class Way:
    """One of WAYS.

    :ivar host: what runs the containers; see engines.py and machines.py.
    :ivar method: the connection method.
    :ivar user: an account inside.
    :ivar stopped: name of a container that does not run, or None; `busybox`: of one without Python, or None.
    """

    def __init__(self, name, host):
        _, setns, container = WAYS[name]
        self.name, self.host = name, host
        self.method = 'setns' if setns else host.method
        self._options = host.setns_options if setns else host.options
        self._container = getattr(host, container)
        self.user = host.user or 'guest'
        self.stopped, self.busybox = host.stopped, host.busybox

    def options(self, container=None, **more):
        """Arguments of the method, for a container or the one that runs."""
        return {**self._options(container or self._container), **more}

    def path_option(self):
        """Name of the argument with the path of the program."""
        return next(name for name in self.options() if name.endswith('_path'))
