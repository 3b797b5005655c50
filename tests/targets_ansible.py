"""Runs in a child, for tests of Ansible's modules. Imports nothing that imports logging."""

import os
import sys
import zlib

from mitogen.ansible import target, template

#: The common part of Ansible's modules, as far as they are run here.
BASIC = """
import logging
_ANSIBLE_ARGS = None
"""


def run_module(number, source):
    """Run source as a module of Ansible, in a fork of what has imported BASIC, which logs."""
    assert 'logging' not in sys.modules
    sources = {'basic': BASIC, 'empty': '', 'module': source}
    template.keep({digest: zlib.compress(text.encode())[2:-4] for digest, text in sources.items()})
    members = {'ansible/__init__.py': 'empty', 'ansible/module_utils/__init__.py': 'empty',
               'ansible/module_utils/basic.py': 'basic', 'ansible/modules/__init__.py': 'empty'}
    # What was imported before is not told again.
    assert template.warm(members) in ({path: members[path] for path in members if 'modules' not in path}, {})
    return template.run(number, {
        'name': 'test', 'fqn': 'ansible.modules.test', 'params': '', 'profile': None, 'limit': 0, 'on_disk': False,
        'members': dict(members, **{'ansible/modules/test.py': 'module'}), 'env': {}, 'cwd': None, 'python': None})


def run_again(number, member):
    """Run what run_module() has run, in a module that has other members, or does not bring the package it is in."""
    return template.run(number, {
        'name': 'test', 'fqn': 'test', 'params': '', 'profile': None, 'limit': 0, 'on_disk': False,
        'members': {'ansible/module_utils/basic.py': 'basic', 'test.py': member}, 'env': {}, 'cwd': None,
        'python': None})


def be_interrupted():
    """Ctrl-C, between a question to the template and its answer."""
    def interrupt(sock):
        raise KeyboardInterrupt
    template.receive = interrupt
    template.warm({})


def keep_key_on_disk(text):
    """Keep a private key as where there is no memfd_create(): in a file."""
    vars(os).pop('memfd_create', None)
    return target.keep_key(text)
