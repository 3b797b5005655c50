"""Writes every result of a playbook to the file that RECORD names, one line of JSON each."""

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = '''
name: record
type: aggregate
short_description: writes results to a file
description: For tests.
'''


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'aggregate'
    CALLBACK_NAME = 'record'
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, outcome, result):
        # Attributes with and without underscore: 2.19 has both, older ones the first only.
        host, task = result._host.get_name(), result._task.get_name()
        data = json.loads(json.dumps(result._result, default=str))
        with open(os.environ['RECORD'], 'a') as fp:
            fp.write(json.dumps([host, task, outcome, data]) + '\n')

    def v2_runner_on_ok(self, result):
        self._record('ok', result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record('failed', result)

    def v2_runner_on_unreachable(self, result):
        self._record('unreachable', result)

    def v2_runner_on_skipped(self, result):
        self._record('skipped', result)
