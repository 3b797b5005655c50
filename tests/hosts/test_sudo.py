"""sudo, started where it is used: in an account that was logged in to."""

import os

import pytest

import mitogen.core
import mitogen.sudo
import support
import targets


@pytest.fixture
def sudo(router, ssh, python):
    """`sudo('mtgsudo', **options)` -> a context of another account, as seen by that one's sudo."""
    def connect(name, **options):
        connect.via = ssh(name)
        return router.sudo(via=connect.via, **{'python_path': python, **options})
    return connect


def refusal(sudo, *args, error=mitogen.core.StreamError, **options):
    """The error with which it fails. The account it was tried from is none the worse."""
    with pytest.raises(error) as caught:
        sudo(*args, **options)
    support.wait_for(lambda: sudo.via.call(targets.children) == [], 5, 'end of sudo')
    return caught.value


def test_with_a_password(sudo, accounts):
    assert sudo('mtgsudo', password=accounts['mtgsudo'].password).call(os.getuid) == 0


def test_without_a_password(sudo):
    assert sudo('mtgnopw').call(os.getuid) == 0


def test_a_password_that_nobody_asks_for(sudo):
    assert sudo('mtgnopw', password='any').call(os.getuid) == 0


def test_to_somebody_else(sudo):
    assert sudo('mtgnopw', username='mtgkey').call(targets.whoami) == 'mtgkey'


def test_where_a_terminal_is_required(sudo, accounts):
    assert sudo('mtgtty', password=accounts['mtgtty'].password).call(os.getuid) == 0


def test_the_home_of_the_other(sudo, accounts):
    context = sudo('mtgnopw', username='mtgkey', set_home=True)
    assert context.call(os.getenv, 'HOME') == accounts['mtgkey'].home


def test_large_values_pass(sudo, accounts):
    # A terminal in between would change some of these bytes, or end there.
    value = bytes(range(256)) * 4096
    assert sudo('mtgtty', password=accounts['mtgtty'].password).call(targets.echo, value) == value


@pytest.mark.parametrize('name', ['mtgsudo', 'mtgtty'])
def test_a_wrong_password(name, sudo):
    error = refusal(sudo, name, password='not-my-password', error=mitogen.sudo.PasswordError)
    assert 'not-my-password' not in str(error)


def test_no_password_where_one_is_wanted(sudo):
    refusal(sudo, 'mtgsudo', error=mitogen.sudo.PasswordError)


def test_nobody_of_that_name(sudo):
    assert 'unknown user' in refusal(sudo, 'mtgnopw', username='mtgnobody').said


def test_somebody_who_may_not(sudo, accounts):
    error = refusal(sudo, 'mtgnone', password=accounts['mtgnone'].password)
    assert 'not in the sudoers file' in error.said


def test_a_sudo_that_is_not_there(sudo):
    assert '/nonexistent/sudo' in str(refusal(sudo, 'mtgnopw', sudo_path='/nonexistent/sudo'))


def test_a_missing_interpreter(sudo):
    assert 'python_path' in refusal(sudo, 'mtgnopw', python_path='/nonexistent/python').hint
