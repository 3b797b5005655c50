#!/usr/bin/python
"""Counts its forks while run_command() starts programs, with a umask and without."""

import os

from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({})
forks = []
os.register_at_fork(before=lambda: forks.append(1))
module.run_command(['true'], check_rc=True)
without = len(forks)
_, umask, _ = module.run_command(['sh', '-c', 'umask'], umask=0o27, check_rc=True)
module.exit_json(without=without, umask=umask.strip(), with_umask=len(forks) - without)
