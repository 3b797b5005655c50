#!/usr/bin/python
"""A module that fails in the ways in which modules fail."""

import os
import sys

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule({'how': {'type': 'str', 'required': True}})
    how = module.params['how']
    if how == 'raise':
        raise RuntimeError('on purpose')
    if how == 'exit':
        sys.exit('in words')
    if how == 'return':
        return
    if how == 'kill':
        os.kill(os.getpid(), 9)
    if how == 'noise':
        print('before')
        sys.stderr.write('aside\n')
        module.exit_json(noise=True)
    module.fail_json(msg='in order', rc=4)


if __name__ == '__main__':
    main()
