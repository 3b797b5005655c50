"""A become plugin's command line, with the interpreter's in the place of what it was given."""

import shlex

import pytest

from mitogen.ansible import become, wrapping

SUDO = "sudo -H -S -n  -u root /bin/sh -c %s" % shlex.quote('echo BECOME-SUCCESS-abc ; ' + wrapping.MARKER)
SU = 'su  root -c %s' % shlex.quote('/bin/sh -c ' + shlex.quote('echo BECOME-SUCCESS-abc ; ' + wrapping.MARKER))
COMMAND = ['/usr/bin/python3', '-c', 'print("it works")', "a 'quoted' word"]


def unquoted(text, levels):
    """What the innermost shell is given."""
    for _ in range(levels):
        text = shlex.split(text)[-1]
    return text


@pytest.mark.parametrize('wrapped, levels', [(SUDO, 1), (SU, 2), ('sudo ' + wrapping.MARKER, 0), ('sudo', 0)])
def test_how_often_a_plugin_quotes_can_be_told(wrapped, levels):
    assert wrapping.levels(wrapped) == levels


@pytest.mark.parametrize('wrapped, levels', [(SUDO, 1), (SU, 2)])
def test_the_interpreter_takes_the_place_of_the_marker(wrapped, levels):
    method = become.Method('sudo', 'root', '/bin/sh', wrapped)
    shell, option, text = method.argv(COMMAND)
    assert (shell, option) == ('/bin/sh', '-c')
    inner = unquoted(text, levels)
    assert inner.startswith('echo BECOME-SUCCESS-abc ; exec ')
    assert shlex.split(inner.partition(' ; exec ')[2]) == COMMAND


def test_the_prompt_is_the_plugins():
    method = become.Method('sudo', 'root', '/bin/sh', SUDO, 'hunter2', '[sudo via ansible, key=abc] password:')
    prompt, = method.prompts()
    assert prompt.answer == 'hunter2'
    assert prompt.pattern.search(b'[sudo via ansible, key=abc] password:')
    assert not prompt.pattern.search(b'[sudo via ansible, key=xyz] password:')


def test_a_plugin_without_a_prompt_of_its_own_asks_in_any_language():
    prompt, = become.Method('su', 'root', '/bin/sh', SU, 'hunter2').prompts()
    assert prompt.pattern.search('Passwort: '.encode()) and prompt.pattern.search('密码：'.encode())


def test_what_the_plugin_knows_of_passwords_is_recognised():
    method = become.Method('sudo', 'root', '/bin/sh', SUDO, fail=['Sorry, try again.', ''],
                           missing=['sudo: a password is required'])
    said = {b'Sorry, try again.': 'Incorrect sudo password', b'sudo: a password is required': 'Missing sudo password'}
    for text, reason in said.items():
        assert [refusal.why(text) for refusal in method.refusals() if refusal.search(text)] == [reason]
    assert not any(refusal.search(b'') for refusal in method.refusals())
