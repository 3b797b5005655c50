"""What the broker process decides for itself: how long to stay, whose interpreters to end, what to type."""

import json

import pytest

from mitogen.ansible import ssh
from mitogen.ansible.ansiballz import Module
from mitogen.ansible.broker import Stay
from mitogen.ansible.execute import user_in_question

# ---- How long


def test_nobody_has_asked_to_stay():
    assert Stay().is_over(0.0, lambda pid: True)


def test_the_time_counts_from_the_end_of_the_last_playbook():
    stay, alive = Stay(), {1, 2}
    stay.ask(1, 10)
    stay.ask(2, 10)
    assert not stay.is_over(0.0, alive.__contains__)
    alive.remove(1)
    assert not stay.is_over(100.0, alive.__contains__)
    alive.remove(2)
    assert not stay.is_over(200.0, alive.__contains__)      # now it was seen
    assert not stay.is_over(209.9, alive.__contains__)
    assert stay.is_over(210.0, alive.__contains__)


def test_another_playbook_comes_meanwhile_and_has_other_wishes():
    stay, alive = Stay(), {1}
    stay.ask(1, 10)
    alive.remove(1)
    assert not stay.is_over(5.0, alive.__contains__)
    alive.add(2)
    stay.ask(2, 3)
    assert not stay.is_over(50.0, alive.__contains__)
    alive.remove(2)
    assert not stay.is_over(60.0, alive.__contains__)
    assert stay.is_over(63.0, alive.__contains__)


# ---- Whose interpreters


@pytest.mark.parametrize('fqn, args, name', [
    ('ansible.modules.user', {'name': 'ann', 'state': 'absent'}, 'ann'),
    ('ansible.legacy.user', {'user': 'ann', 'state': 'absent'}, 'ann'),
    ('ansible.modules.user', {'name': 'ann', 'uid': 1010}, 'ann'),
    ('ansible.modules.user', {'name': 'ann', 'home': '/srv/ann'}, 'ann'),
    ('ansible.modules.user', {'name': 'ann', 'groups': 'wheel'}, None),
    ('ansible.modules.user', {'state': 'absent'}, None),
    ('ansible.modules.user', None, None),
    ('ansible.modules.group', {'name': 'ann', 'state': 'absent'}, None),
])
def test_accounts_that_a_module_is_about_to_change(fqn, args, name):
    params = json.dumps({'ANSIBLE_MODULE_ARGS': args})
    assert user_in_question(Module('user', fqn, params, None, 0, {}, False)) == name


# ---- What to type


def answer(method, text):
    """What is typed when ssh says something."""
    return next((prompt.answer for prompt in method.prompts() if prompt.pattern.search(text)), None)


def test_a_passphrase_is_not_the_password():
    method = ssh.Method(hostname='web', password='pw', passphrase='phrase')
    assert answer(method, b"Enter passphrase for key '/k': ") == 'phrase'
    assert answer(method, b"ann@web's password: ") == 'pw'
    assert method.terminal and 'BatchMode=yes' not in method.argv(['python3'])


def test_a_passphrase_alone_needs_a_terminal_too():
    method = ssh.Method(hostname='web', passphrase='phrase')
    assert method.terminal and 'BatchMode=yes' not in method.argv(['python3'])
    assert 'BatchMode=yes' in ssh.Method(hostname='web').argv(['python3'])


def test_an_unusual_question():
    method = ssh.Method(hostname='web', password='1234', prompt='Enter PIN for')
    assert answer(method, b"Enter PIN for 'My card': ") == '1234'
    assert answer(method, b'Enter another thing: ') is None
