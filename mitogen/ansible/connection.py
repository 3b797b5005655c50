"""
What all connection plugins have in common: they run in a worker of Ansible, and hand everything to the broker process.

Ring 2. Needs ansible-core, and of this library only what is small: it is imported for every task.
"""

import contextlib
import gc
import json
import os
from typing import Any

import ansible.constants as C
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from mitogen.ansible import attach, packed, wrapping
from mitogen.ansible.wire import plain

display = Display()

#: Seconds that Python may take to come up, beyond those for the connection.
PYTHON_TIMEOUT = 30

#: Interpreters to begin with, where none is configured: the first that is there.
PYTHONS = 'python3', '/usr/bin/python3', '/usr/libexec/platform-python', '/usr/local/bin/python3', 'python'

#: What finds it. The rest of the command line is Python's.
FIND_PYTHON = ['/bin/sh', '-c', 'for p in %s; do command -v "$p" >/dev/null 2>&1 && exec "$p" "$@"; done; '
               'echo "python3: command not found" >&2; exit 127' % ' '.join(PYTHONS), 'sh']


#: New objects after which a worker looks for garbage.
GARBAGE = 50000


def spare_the_collector() -> None:
    """Have the garbage collector of a worker leave alone what it has from the main process.

    Ansible reads a module and the fifty files that belong to it into syntax trees. That makes the collector look
    through all of the playbook again and again, a seventh of what a worker does, and the kernel copy what is touched.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE)


def tell_options(plugin: str, documentation: str) -> None:
    """Tell Ansible which options a plugin has, before it reads the documentation in search of them.

    It would do so in every worker: 5 ms of 40 that a task takes, as it reads YAML. Ours is JSON, so that both can.
    """
    with contextlib.suppress(AttributeError, TypeError):        # another Ansible, which then reads it
        C.config.initialize_plugin_configuration_definitions('connection', plugin, json.loads(documentation)['options'])


class Connection(ConnectionBase):      # type: ignore[misc]
    """Base of the plugins. Each tells how to log in, the rest is here."""

    has_pipelining = True

    #: What runs a command that Ansible has not given a shell: '' is the one of the account.
    default_shell = ''
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cwd: 'str | None' = None
        # Built in the main process, for reset(), there is no such argument, and that is the playbook itself.
        self._playbook_pid = int(kwargs.get('ansible_playbook_pid') or os.getpid())
        if self._playbook_pid != os.getpid():
            spare_the_collector()
        self._path = ''         # of the playbook's socket, once it is known
        self._link: 'attach.Link | None' = None
        self._login: Any = None
        self._variables: Any = {}
        self._failure: 'attach.Error | attach.Failed | None' = None     # of what was begun early

    def is_pipelining_enabled(self, wrap_async: bool = False) -> bool:
        """Modules come on standard input, with any become plugin: there is no terminal in their way. (Since 2.19.)"""
        self._connect_early()
        return not wrap_async

    def get_option(self, option: str, *args: Any, **kwargs: Any) -> Any:
        """Return the value of an option."""
        if option == 'pipelining':
            self._connect_early()       # up to 2.18 this is what they ask
        return super().get_option(option, *args, **kwargs)

    def _connect_early(self) -> None:
        """Begin to connect: Ansible asks about pipelining when it is about to pack a module, which takes it a while."""
        if self._link is None and self._failure is None:
            self._login = plain(self._whole_login())
            try:
                self._path = self._path or attach.socket_path(self._playbook_pid)
                if self._playbook_pid != os.getpid():
                    packed.ahead(self._path)
                self._link = attach.find_or_start(self._playbook_pid, self._persist(), self._path)
            except attach.Error as exc:
                self._failure = exc
            else:
                self._send({'op': 'prepare', 'login': self._login})

    def _persist(self) -> int:
        return int(self.get_option('mitogen_persist') or 0)

    # how to get there

    def login(self) -> 'dict[str, Any]':
        """Return `method`, `options` and whatever else mitogen.ansible.tree.Tree.account() wants to know."""
        raise NotImplementedError

    def python_words(self) -> 'list[str]':
        """The interpreter to begin with: what is configured for modules, unless that is yet to be discovered."""
        python = str(self.get_option('mitogen_python') or self.get_option('module_python') or '')
        if not python or python.startswith('auto'):
            return FIND_PYTHON
        return python.split()

    # through another host

    def update_vars(self, variables: Any) -> None:
        """Ansible tells all variables of the host here, before it runs a task."""
        self._variables = variables
        super().update_vars(variables)

    def _resolve_option_variables(self, variables: Any, templar: Any) -> Any:
        self._variables = variables         # and here, before it resets a connection
        return super()._resolve_option_variables(variables, templar)

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        if 'hostvars' in (var_options or {}):
            self._variables = var_options   # 2.16 to 2.17 tell them here
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _whole_login(self, behind: 'tuple[str, ...]' = ()) -> 'dict[str, Any]':
        """Return how to log in, and through which other login.

        :param behind: hosts that are reached through this one.
        """
        login = self.login()
        if not self.get_option('mitogen_python'):
            login['fallback'] = FIND_PYTHON     # that of the modules may be Python 2, or missing
        via = str(self.get_option('mitogen_via') or '')
        if via:
            if via in behind:
                raise AnsibleError('mitogen_via goes round in a circle: %s' % ', '.join(behind + (via,)))
            other, variables = self._other(via)
            login['via'] = other._whole_login(behind + (via,))
            from mitogen.ansible import becoming
            login['become'] = becoming.of_host(variables)
        return login

    def _other(self, via: str) -> 'tuple[Connection, dict[str, Any]]':
        """Return the connection to another host, which is asked only how to log in there, and the host's variables.

        :param via: its name in the inventory, or else any name; a user may stand before it.
        """
        user, _, host = via.rpartition('@')
        everyone = self._variables.get('hostvars') or {}
        variables = dict(everyone[host]) if host in everyone else {}
        name = str(variables.get('ansible_connection') or 'ssh')
        name = name if name.startswith('mitogen.ansible.') else 'mitogen.ansible.' + name.rpartition('.')[2]
        other = connection_loader.get(name, self._play_context, os.devnull)
        if not isinstance(other, Connection):
            raise AnsibleError('mitogen_via: there is no connection plugin %s' % name)
        variables.update({'ansible_user': user} if user else {}, inventory_hostname=host)
        known = C.config.get_plugin_vars('connection', other._load_name)
        other.set_options(var_options={key: variables[key] for key in known if key in variables})
        other._variables = self._variables
        return other, variables

    def _host_name(self) -> str:
        return str(self._play_context.remote_addr or '')

    def set_become_plugin(self, plugin: Any) -> None:
        super().set_become_plugin(plugin)
        if plugin is not None and not hasattr(plugin, 'mitogen_wrapped'):
            from mitogen.ansible import becoming  # here, as most tasks do without
            becoming.remember_commands(plugin)

    def _connect(self) -> 'Connection':
        self._connect_early()
        try:
            self._answer()
        except attach.Failed as exc:
            self._failure = exc         # the task is told when it asks for something, as of a login that has failed
        self._connected = True
        return self

    def _ask(self, request: 'dict[str, Any]') -> Any:
        if self._link is not None and self._failure is None:
            self._send(dict(request, login=self._login))
        return self._answer()

    def _send(self, request: 'dict[str, Any]') -> None:
        try:
            self._link.send(request)        # type: ignore[union-attr]
        except BaseException:
            self.close()        # the time of the task is over: half a request may have been sent
            raise

    def _answer(self) -> Any:
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
            return self._link.answer()      # type: ignore[union-attr]
        except attach.Failed:
            raise
        except attach.Error as exc:
            self.close()
            raise AnsibleConnectionFailure(str(exc)) from None
        except BaseException:
            self.close()        # the time of the task is over: an answer may come, but nobody waits for it
            raise

    def _raise(self, failure: attach.Failed) -> None:
        text = str(failure)
        if failure.kind == 'folder':
            raise AnsibleConnectionFailure(text)
        if failure.kind in ('unreachable', 'python'):
            raise AnsibleConnectionFailure('Failed to connect to the host via %s: %s' % (self.transport, text))
        if failure.kind == 'password':
            raise AnsibleAuthenticationFailure('Invalid/incorrect password: %s' % text)
        raise AnsibleError(text)

    # what Ansible asks for

    def exec_command(self, cmd: Any, in_data: 'bytes | None' = None,
                     sudoable: bool = True) -> 'tuple[int, bytes, bytes]':
        """Run a command; see Ansible's class. What is recognised as a module or a common command runs natively.

        :returns: (exit status, output, errors).
        """
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        cmd = plain(cmd if isinstance(cmd, str) else cmd.decode())
        display.vvv('EXEC %s' % cmd, host=self._host_name())
        shell, text = wrapping.unwrap(cmd) or (self.default_shell, cmd)
        become, inner = self._unbecome(text, shell) if sudoable and self.become else (None, text)
        request = {'op': 'exec', 'become': become, 'shell': shell, 'text': plain(inner), 'whole': text,
                   'data': plain(in_data or b''), 'cwd': plain(os.fsdecode(self.cwd)) if self.cwd else None}
        try:
            status, out, err = self._ask(request)
        except attach.Failed as failure:
            if failure.kind == 'python':
                return self.without_python(failure, cmd, in_data, sudoable)
            self._raise(failure)
        return status, out, err

    def without_python(self, failure: attach.Failed, cmd: str, in_data: 'bytes | None',
                       sudoable: bool) -> 'tuple[int, bytes, bytes]':
        """Run a command on a host that has no interpreter."""
        self._raise(failure)
        raise AssertionError('not reached')

    def _unbecome(self, text: str, shell: str) -> 'tuple[dict[str, Any] | None, str]':
        """Take a become plugin's command to pieces: options for mitogen.ansible.become, and the text within."""
        remembered = getattr(self.become, 'mitogen_wrapped', None)
        if not remembered or wrapping.without_trailer(text) != remembered[1] or remembered[0] == remembered[1]:
            return None, text
        from mitogen.ansible import becoming
        plugin = self.become
        return becoming.options(plugin, plugin.mitogen_build, remembered[2], shell), remembered[0]

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the target, as the user of the login."""
        super().put_file(in_path, out_path)
        display.vvv('PUT %s TO %s' % (in_path, out_path), host=self._host_name())
        source = self._here(os.fsdecode(in_path))
        if not os.path.exists(source):
            raise AnsibleFileNotFound('file or module does not exist: %s' % in_path)
        self._copy({'op': 'put', 'source': source, 'path': self._remote(os.fsdecode(out_path))}, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the target, as the user of the login."""
        super().fetch_file(in_path, out_path)
        display.vvv('FETCH %s TO %s' % (in_path, out_path), host=self._host_name())
        self._copy({'op': 'fetch', 'path': self._remote(os.fsdecode(in_path)),
                    'destination': os.path.abspath(os.fsdecode(out_path))}, in_path)

    def _here(self, path: str) -> str:
        """Return the whole path of a file of the controller; with the local plugin it is relative to the playbook."""
        return os.path.abspath(os.path.join(os.fsdecode(self.cwd or ''), os.path.expanduser(path)))

    def _remote(self, path: str) -> str:
        return path

    def _copy(self, request: 'dict[str, Any]', path: str) -> None:
        try:
            self._ask(plain(request))
        except attach.Failed as failure:
            if failure.kind == 'file':
                raise AnsibleError('failed to transfer file %s: %s' % (path, failure)) from None
            self._raise(failure)

    def reset(self) -> None:
        """Close the connection to the host; the next task makes a new one."""
        with contextlib.suppress(attach.Error, attach.Failed):
            link = attach.find(self._playbook_pid, self._persist())
            if link is not None:
                with link:
                    link.ask({'op': 'reset', 'login': plain(self._whole_login())})
        self.close()

    def close(self) -> None:
        """End this worker's use of the connection; the broker process keeps it."""
        if self._link is not None:
            self._link.close()
        self._link, self._connected = None, False


class Container(Connection):
    """Base of the plugins for containers.

    :cvar method: name of the connection method.
    :cvar names: option of the plugin -> parameter of the method.
    """

    method = ''
    names: 'dict[str, str]' = {}

    @property
    def transport(self) -> str:
        """The name that errors show."""
        return self.method

    def login(self) -> 'dict[str, Any]':
        """How to get there."""
        options = {parameter: self.get_option(name) for name, parameter in self.names.items()}
        options = {parameter: value for parameter, value in options.items() if value not in (None, '')}
        options.update(self.more(), python_path=self.python_words())
        return {'method': self.method, 'options': options}

    def more(self) -> 'dict[str, Any]':
        """Return parameters of the method that are made up of several options."""
        return {}


def of_server(plugin: Connection, name: str) -> 'dict[str, Any]':
    """Where a container of LXD or Incus is.

    :param name: of the parameter for more arguments.
    """
    found: 'dict[str, Any]' = {}
    if plugin.get_option('remote') not in (None, '', 'local'):
        found['container'] = '%s:%s' % (plugin.get_option('remote'), plugin.get_option('remote_addr'))
    if plugin.get_option('project'):
        found[name] = ['--project', plugin.get_option('project')]
    return found
