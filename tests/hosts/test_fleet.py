"""A hundred hosts at once: here they are a hundred logins to one."""

import os
import threading

import pytest


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hundred_logins_by_one_thread(router, sshd, accounts, keys, python):
    threads = threading.active_count()
    receivers = [router.connect_async('ssh', hostname=sshd.host, port=sshd.port, username='mtgkey', python_path=python,
                                      identity_file=keys.identity, ssh_args=sshd.ssh_args(), connect_timeout=120)
                 for _ in range(100)]
    assert threading.active_count() <= threads + 1
    calls = [receiver.get(200).unpickle().call_async(os.getpid) for receiver in receivers]
    assert len({call.get(60).unpickle() for call in calls}) == 100
