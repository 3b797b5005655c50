"""Connection plugin `mitogen.ansible.docker`."""

DOCUMENTATION = '''
{"name": "docker",
 "short_description": "run tasks in a container of Docker, with warm interpreters",
 "description": [
  "Connects to a container of Docker once for a whole playbook.",
  "Modules run as forks of an interpreter that stays inside for as long.",
  "For hosts of C(community.docker.docker), with the same names for the variables that it takes."],
 "author": "The mitogen authors",
 "version_added": "1.0",
 "options": {
  "remote_addr": {"description": "Name of what to connect to.",
   "default": "inventory_hostname", "type": "string",
   "vars": [{"name": "inventory_hostname"}, {"name": "ansible_host"}, {"name": "ansible_docker_host"}]},
  "remote_user": {"description": "User inside; by default that of the container.",
   "type": "string", "vars": [{"name": "ansible_user"}, {"name": "ansible_docker_user"}],
   "keyword": [{"name": "remote_user"}]},
  "docker_path": {"description": "The program.",
   "default": "docker", "type": "string", "vars": [{"name": "ansible_docker_path"}]},
  "docker_extra_args": {"description": "More arguments for the program.",
   "default": "", "type": "string", "vars": [{"name": "ansible_docker_extra_args"}]},
  "container_timeout": {"description": "Seconds to wait for the program.",
   "default": 10, "type": "integer", "vars": [{"name": "ansible_docker_timeout"}]},
  "extra_env": {"description": "Variables to set inside.",
   "type": "dict", "vars": [{"name": "ansible_docker_extra_env"}]},
  "working_dir": {"description": "Folder to begin in.",
   "type": "string", "vars": [{"name": "ansible_docker_working_dir"}]},
  "privileged": {"description": "Whether to have all capabilities inside.",
   "default": false, "type": "boolean", "vars": [{"name": "ansible_docker_privileged"}]},
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

import shlex  # noqa: E402

from mitogen.ansible import connection  # noqa: E402

connection.tell_options(__name__, DOCUMENTATION)


class Connection(connection.Container):         # type: ignore[misc]
    """A container of Docker."""

    method = 'docker'
    names = {'remote_addr': 'container', 'remote_user': 'username', 'docker_path': 'docker_path'}

    def more(self):                             # type: ignore[no-untyped-def]
        """More arguments for the program and its command."""
        words = ['--privileged'] if self.get_option('privileged') else []
        if self.get_option('working_dir'):
            words += ['--workdir', self.get_option('working_dir')]
        for pair in (self.get_option('extra_env') or {}).items():
            words += ['--env', '%s=%s' % pair]
        return {'docker_args': shlex.split(self.get_option('docker_extra_args') or ''), 'exec_args': words,
                'connect_timeout': self.get_option('container_timeout') + connection.PYTHON_TIMEOUT}
