"""A become plugin that is not Ansible's own: it runs doas, and builds the same command line as community.general's."""

DOCUMENTATION = '''
name: doas
short_description: another user, by way of doas
description: See doas(1).
author: The mitogen authors
options:
  become_user:
    description: User to become.
    vars:
      - name: ansible_become_user
    keyword:
      - name: become_user
  become_exe:
    description: The program.
    default: doas
    vars:
      - name: ansible_become_exe
  become_flags:
    description: Arguments for it.
    default: ''
    vars:
      - name: ansible_become_flags
  become_pass:
    description: Password.
    vars:
      - name: ansible_become_password
'''

from ansible.plugins.become import BecomeBase  # noqa: E402


class BecomeModule(BecomeBase):
    """doas."""

    name = 'doas'
    fail = ('Authentication failed',)
    missing = ('Authorization required',)

    def build_become_command(self, cmd, shell):
        super().build_become_command(cmd, shell)
        if not cmd:
            return cmd
        self.prompt = 'password:'
        flags = self.get_option('become_flags') + ('' if self.get_option('become_pass') else ' -n')
        words = [self.get_option('become_exe'), flags, '-u', self.get_option('become_user'), shell.executable, '-c',
                 self._build_success_command(cmd, shell, noexe=True)]
        return ' '.join(word for word in words if word)
