"""Connection plugin `mitogen.ansible.machinectl`."""

DOCUMENTATION = '''
{"name": "machinectl",
 "short_description": "run tasks in a machine of systemd, with warm interpreters",
 "description": [
  "Connects to a machine of systemd once for a whole playbook.",
  "Modules run as forks of an interpreter that stays inside for as long."],
 "author": "The mitogen authors",
 "version_added": "1.0",
 "options": {
  "remote_addr": {"description": "Name of what to connect to.",
   "default": "inventory_hostname", "type": "string",
   "vars": [{"name": "inventory_hostname"}, {"name": "ansible_host"}]},
  "remote_user": {"description": "User inside; by default that of the container.",
   "type": "string", "vars": [{"name": "ansible_user"}, {"name": "ansible_machinectl_user"}],
   "keyword": [{"name": "remote_user"}]},
  "machinectl_path": {"description": "The program.",
   "default": "machinectl", "type": "string", "vars": [{"name": "ansible_machinectl_path"}]},
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

from mitogen.ansible import connection  # noqa: E402

connection.tell_options(__name__, DOCUMENTATION)


class Connection(connection.Container):         # type: ignore[misc]
    """A machine of systemd."""

    method = 'machinectl'
    names = {'remote_addr': 'container', 'remote_user': 'username', 'machinectl_path': 'machinectl_path'}
