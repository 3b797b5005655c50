#!/usr/bin/python
"""A module that runs itself again with another interpreter."""

import sys

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module


def main():
    module = AnsibleModule({'python': {'type': 'str', 'required': True}})
    if not has_respawned():
        respawn_module(module.params['python'])
    module.exit_json(again=has_respawned(), python=sys.executable)


if __name__ == '__main__':
    main()
