"""Connection plugin `mitogen.ansible.local`."""

DOCUMENTATION = '''
{"name": "local",
 "short_description": "run tasks on the controller, with warm interpreters",
 "description": [
  "Like C(ansible.builtin.local), but modules run as forks of an interpreter that stays, as long as the playbook does.",
  "Commands that are no modules, and modules that are not written in Python, run as they always do."],
 "author": "The mitogen authors",
 "version_added": "1.0",
 "notes": [
  "The remote user is ignored, the user with which the ansible CLI was executed is used instead."],
 "options": {
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

import getpass  # noqa: E402
import os  # noqa: E402

from mitogen.ansible import connection  # noqa: E402

connection.tell_options(__name__, DOCUMENTATION)


class Connection(connection.Connection):        # type: ignore[misc]
    """This machine."""

    # By this name Ansible knows that relative paths are those of the playbook.
    transport = 'local'
    default_shell = '/bin/sh'

    def __init__(self, *args, **kwargs):        # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
        try:
            self.default_user = getpass.getuser()
        except (ImportError, KeyError, OSError):
            self.default_user = str(os.getuid())

    def login(self):                            # type: ignore[no-untyped-def]
        """How to get there."""
        self._play_context.remote_user = self.default_user
        return {'method': 'local', 'options': {'python_path': self.python_words()}}

    def _remote(self, path):                    # type: ignore[no-untyped-def]
        return self._here(path)
