"""Connection plugin `mitogen.ansible.ssh`."""

DOCUMENTATION = '''
{"name": "ssh",
 "short_description": "one ssh connection for a whole playbook, with warm interpreters at its end",
 "description": [
  "Takes the variables of C(ansible.builtin.ssh), and connects with the same program.",
  "There is one connection for each host and login, which all tasks share.",
  "Modules run as forks of an interpreter that stays, for as long as the playbook does.",
  "Commands that are no modules, and modules that are not written in Python, run as they always do.",
  "Nothing is installed on the target. It needs Python 3.6 or later; where there is none, C(raw) uses plain ssh."],
 "author": "The mitogen authors",
 "version_added": "1.0",
 "options": {
  "host": {"description": "Host name or address to connect to.",
   "default": "inventory_hostname", "type": "string",
   "vars": [{"name": "inventory_hostname"}, {"name": "ansible_host"}, {"name": "ansible_ssh_host"}]},
  "port": {"description": "Remote port to connect to.",
   "type": "int", "ini": [{"section": "defaults", "key": "remote_port"}], "env": [{"name": "ANSIBLE_REMOTE_PORT"}],
   "vars": [{"name": "ansible_port"}, {"name": "ansible_ssh_port"}], "keyword": [{"name": "port"}]},
  "remote_user": {"description": "User to log in as; by default ssh chooses.",
   "type": "string", "ini": [{"section": "defaults", "key": "remote_user"}], "env": [{"name": "ANSIBLE_REMOTE_USER"}],
   "vars": [{"name": "ansible_user"}, {"name": "ansible_ssh_user"}], "cli": [{"name": "user"}],
   "keyword": [{"name": "remote_user"}]},
  "password": {"description": "Password of the remote user, or passphrase of the private key.",
   "type": "string",
   "vars": [{"name": "ansible_password"}, {"name": "ansible_ssh_pass"}, {"name": "ansible_ssh_password"}]},
  "private_key_file": {"description": "Path of a private key.",
   "type": "string", "ini": [{"section": "defaults", "key": "private_key_file"}],
   "env": [{"name": "ANSIBLE_PRIVATE_KEY_FILE"}],
   "vars": [{"name": "ansible_private_key_file"}, {"name": "ansible_ssh_private_key_file"}],
   "cli": [{"name": "private_key_file", "option": "--private-key"}]},
  "host_key_checking": {"description": "Whether to refuse hosts whose keys are not known.",
   "default": true, "type": "boolean",
   "ini": [{"section": "defaults", "key": "host_key_checking"},
           {"section": "ssh_connection", "key": "host_key_checking"}],
   "env": [{"name": "ANSIBLE_HOST_KEY_CHECKING"}, {"name": "ANSIBLE_SSH_HOST_KEY_CHECKING"}],
   "vars": [{"name": "ansible_host_key_checking"}, {"name": "ansible_ssh_host_key_checking"}]},
  "ssh_executable": {"description": "The ssh program.",
   "default": "ssh", "type": "string", "ini": [{"section": "ssh_connection", "key": "ssh_executable"}],
   "env": [{"name": "ANSIBLE_SSH_EXECUTABLE"}], "vars": [{"name": "ansible_ssh_executable"}]},
  "ssh_args": {"description": "Arguments for ssh. Those about shared connections do nothing, as there is only one.",
   "default": "-C -o ControlMaster=auto -o ControlPersist=60s", "type": "string",
   "ini": [{"section": "ssh_connection", "key": "ssh_args"}], "env": [{"name": "ANSIBLE_SSH_ARGS"}],
   "vars": [{"name": "ansible_ssh_args"}]},
  "ssh_common_args": {"description": "More arguments for ssh.",
   "default": "", "type": "string", "ini": [{"section": "ssh_connection", "key": "ssh_common_args"}],
   "env": [{"name": "ANSIBLE_SSH_COMMON_ARGS"}], "vars": [{"name": "ansible_ssh_common_args"}],
   "cli": [{"name": "ssh_common_args"}]},
  "ssh_extra_args": {"description": "Even more arguments for ssh.",
   "default": "", "type": "string", "ini": [{"section": "ssh_connection", "key": "ssh_extra_args"}],
   "env": [{"name": "ANSIBLE_SSH_EXTRA_ARGS"}], "vars": [{"name": "ansible_ssh_extra_args"}],
   "cli": [{"name": "ssh_extra_args"}]},
  "reconnection_retries": {"description": "How often to try again when a host cannot be reached.",
   "default": 0, "type": "integer",
   "ini": [{"section": "connection", "key": "retries"}, {"section": "ssh_connection", "key": "retries"}],
   "env": [{"name": "ANSIBLE_SSH_RETRIES"}], "vars": [{"name": "ansible_ssh_retries"}]},
  "timeout": {"description": "Seconds for the connection to be established.",
   "default": 10, "type": "integer",
   "ini": [{"section": "defaults", "key": "timeout"}, {"section": "ssh_connection", "key": "timeout"}],
   "env": [{"name": "ANSIBLE_TIMEOUT"}, {"name": "ANSIBLE_SSH_TIMEOUT"}], "vars": [{"name": "ansible_ssh_timeout"}],
   "cli": [{"name": "timeout"}]},
  "private_key": {"description": "Text of a private key.",
   "type": "string", "env": [{"name": "ANSIBLE_PRIVATE_KEY"}],
   "vars": [{"name": "ansible_private_key"}, {"name": "ansible_ssh_private_key"}]},
  "private_key_passphrase": {"description": "Passphrase of the private key; by default the password.",
   "type": "string", "env": [{"name": "ANSIBLE_PRIVATE_KEY_PASSPHRASE"}],
   "vars": [{"name": "ansible_private_key_passphrase"}, {"name": "ansible_ssh_private_key_passphrase"}]},
  "pkcs11_provider": {"description": "Path of a PKCS#11 library to log in with. The password is its PIN.",
   "default": "", "type": "string", "env": [{"name": "ANSIBLE_PKCS11_PROVIDER"}],
   "vars": [{"name": "ansible_ssh_pkcs11_provider"}]},
  "sshpass_prompt": {"description": "How the password is asked for, if unusual; any text and a colon follow.",
   "default": "", "type": "string", "env": [{"name": "ANSIBLE_SSHPASS_PROMPT"}],
   "vars": [{"name": "ansible_sshpass_prompt"}]},
  "mitogen_via": {"description": [
    "Host of the inventory, or C(user@host), through which to go.",
    "The way goes on as another user if C(ansible_become) is among that host's variables."],
   "type": "string", "vars": [{"name": "mitogen_via"}]},
  "pipelining": {"description": "Modules need no files of their own on the target. Turned off, they get some anyway.",
   "default": true, "type": "boolean", "vars": [{"name": "mitogen_pipelining"}]},
  "mitogen_python": {"description": [
    "Interpreter to begin with.",
    "By default the one that modules use; where that is not known yet, or too old, the first C(python3) found."],
   "type": "string", "vars": [{"name": "mitogen_python"}]},
  "mitogen_persist": {"description": [
    "Seconds for which connections outlive the playbook, for the next one to use.",
    "Until then, whoever can run programs as you can use them, and what you have become there, without a password."],
   "default": 0, "type": "integer", "vars": [{"name": "mitogen_persist"}]},
  "module_python": {"description": "Interpreter of the modules.",
   "type": "string", "vars": [{"name": "ansible_python_interpreter"}]}}}
'''

import os  # noqa: E402

from mitogen.ansible import connection, wrapping  # noqa: E402

connection.tell_options(__name__, DOCUMENTATION)


class Connection(connection.Connection):        # type: ignore[misc]
    """A host that ssh reaches."""

    transport = 'ssh'

    def login(self):                            # type: ignore[no-untyped-def]
        """How to get there."""
        options = {'hostname': self.get_option('host') or self._play_context.remote_addr,
                   'username': self.get_option('remote_user'), 'ssh_path': self.get_option('ssh_executable'),
                   'password': self.get_option('password'), 'arguments': self._arguments(),
                   'python_path': self.python_words(),
                   'connect_timeout': self.get_option('timeout') + connection.PYTHON_TIMEOUT,
                   'passphrase': self.get_option('private_key_passphrase'),
                   'prompt': self.get_option('sshpass_prompt') or ('Enter PIN for' if self._pkcs11() else '')}
        return {'method': 'ansible_ssh', 'options': options, 'retries': self.get_option('reconnection_retries'),
                'private_key': self.get_option('private_key')}

    def _pkcs11(self):                          # type: ignore[no-untyped-def]
        return self.get_option('pkcs11_provider')

    def _arguments(self):                       # type: ignore[no-untyped-def]
        """Arguments of ssh, in the order of Ansible's own plugin: of contradicting ones, the first counts."""
        found = wrapping.split(self.get_option('ssh_args') or '')
        options = []
        if self.get_option('host_key_checking') is False:
            options.append('StrictHostKeyChecking=no')
        if self.get_option('port') is not None:
            options.append('Port=%s' % self.get_option('port'))
        if self.get_option('private_key'):
            options += ['IdentityFile="%s"' % wrapping.KEY, 'IdentitiesOnly=yes']
        elif self.get_option('private_key_file'):
            options.append('IdentityFile="%s"' % os.path.expanduser(self.get_option('private_key_file')))
        if self._pkcs11():
            options += ['KbdInteractiveAuthentication=no', 'PreferredAuthentications=publickey',
                        'PasswordAuthentication=no', 'PKCS11Provider=%s' % self._pkcs11()]
        elif not self.get_option('password'):
            options += ['KbdInteractiveAuthentication=no', 'PasswordAuthentication=no',
                        'PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey']
        if self.get_option('remote_user'):
            options.append('User="%s"' % self.get_option('remote_user'))
        options.append('ConnectTimeout=%s' % self.get_option('timeout'))
        for option in options:
            found += ['-o', option]
        for name in 'ssh_common_args', 'ssh_extra_args':
            found += wrapping.split(self.get_option(name) or '')
        return found

    def without_python(self, failure, cmd, in_data, sudoable):      # type: ignore[no-untyped-def]
        """Run a command with plain ssh."""
        from ansible.plugins.loader import connection_loader
        plain = connection_loader.get('ansible.builtin.ssh', self._play_context, os.devnull)
        names = set(plain.get_options()) if hasattr(plain, 'get_options') else set()
        plain.set_options(direct={name: value for name, value in self.get_options().items() if name in names})
        plain.set_become_plugin(self.become)
        return plain.exec_command(cmd, in_data=in_data, sudoable=sudoable)
