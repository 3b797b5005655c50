"""Runs in a child, for tests of Ansible's modules. Imports nothing that imports logging."""

import sys
import zlib

from mitogen.ansible import runner


def import_what_logs():
    """Import logging as modules do, whose common part may come before what else is imported for them."""
    assert 'logging' not in sys.modules
    source = zlib.compress(b'import logging')[2:-4]
    runner.keep({'digest': source, 'empty': zlib.compress(b'')[2:-4]})
    members = {'ansible/module_utils/basic.py': 'digest', 'ansible/__init__.py': 'empty',
               'ansible/module_utils/__init__.py': 'empty'}
    return runner.warm(members) == members, 'mitogen.logs' in sys.modules
