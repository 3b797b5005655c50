"""su and doas, started where they are used: in an account that was logged in to; and sudo as two others have it."""

import os
import shutil

import pytest

import mitogen.boot.dialogue
import mitogen.core
import mitogen.method
import mitogen.su
import support
import targets
from hosts import accounts as accounts_module, lab

# What the password is asked for by: the method, who runs it, who it becomes, whose password that takes.
WAYS = {'su': ('mtgkey', 'mtgpw', 'mtgpw'), 'doas': ('mtgdoas', 'mtgkey', 'mtgdoas'),
        'sudo': ('mtgstars', 'mtgkey', 'mtgstars')}


class Way:
    """A method that asks for a password."""

    def __init__(self, method, router, ssh, python, accounts):
        lab.program(method)
        self.method, self._router, self._ssh, self._python = method, router, ssh, python
        self.runner, self.username, owner = WAYS[method]
        self.password = accounts[owner].password
        self.password_error = mitogen.method.load(method).password_error
        self.via = None

    def prepare(self):
        """The context of whoever runs the program."""
        self.via = self.via or self._ssh(self.runner)
        return self.via

    def connect(self, **options):
        return self._router.connect(self.method, via=self.prepare(), **{
            'username': self.username, 'python_path': self._python, **options})

    def refusal(self, error=mitogen.boot.dialogue.ConnectError, **options):
        """The error with which it fails. The account it was tried from is none the worse."""
        before = self.prepare().call(targets.children)
        with pytest.raises(error) as caught:
            self.connect(**options)
        support.wait_for(lambda: self.via.call(targets.children) == before, 10, 'end of %s' % self.method)
        return caught.value


@pytest.fixture(params=WAYS)
def way(request, router, ssh, python, accounts):
    return Way(request.param, router, ssh, python, accounts)


@pytest.fixture
def su(router, ssh, python, accounts):
    return Way('su', router, ssh, python, accounts)


@pytest.fixture
def doas(router, ssh, python, accounts):
    return Way('doas', router, ssh, python, accounts)


# ---- Passwords


def test_the_right_password(way):
    context = way.connect(password=way.password)
    assert context.call(targets.whoami) == way.username
    assert context.call(targets.describe_square, 3) == 'a green square of 9'


def test_a_wrong_password(way):
    error = way.refusal(way.password_error, password='not-my-password')
    assert 'refused' in error.reason
    assert 'not-my-password' not in str(error) and way.password not in str(error)


def test_no_password(way):
    error = way.refusal(way.password_error)
    assert 'none was given' in error.reason and 'password=' in error.hint


def test_another_try(way):
    way.refusal(way.password_error, password='not-my-password')
    assert way.connect(password=way.password).call(targets.whoami) == way.username


def test_where_the_environment_is_german(way, german):
    command = ['runuser', '-u', 'mtgkey', '--', 'env', 'LC_ALL=' + german, 'su', 'mtgpw', '-c', 'true']
    assert 'Passwort' in lab.run(command, check=False).stdout, 'or this test shows nothing'
    way.prepare().call(targets.set_environment, LC_ALL=german, LANG=german)
    assert way.connect(password=way.password).call(targets.whoami) == way.username
    assert 'refused' in way.refusal(way.password_error, password='not-my-password').reason


def test_where_a_program_speaks_german_all_the_same(su, lab_folder, german):
    program = lab_folder / 'su-in-german'
    program.write_text('#!/bin/sh\nLC_ALL=%s LANGUAGE=de exec su "$@"\n' % german)
    program.chmod(0o755)
    assert su.connect(su_path=str(program), password=su.password).call(targets.whoami) == 'mtgpw'


def test_a_prompt_of_its_own(su, lab_folder):
    program = lab_folder / 'su-with-a-prompt'
    program.write_text('#!/bin/sh\nprintf "Who goes there? " >&2\nexec su "$@" 2>/dev/null\n')
    program.chmod(0o755)
    context = su.connect(su_path=str(program), password=su.password, password_prompt='Who goes there?')
    assert context.call(targets.whoami) == 'mtgpw'


def test_a_password_is_seen_by_nobody(way):
    way.connect(password=way.password)
    for pid in support.processes():
        assert not any(way.password.encode() in text for text in support.shown(pid))


# ---- su


def test_su_of_busybox(su, lab_folder):
    """It asks on standard output. What it knows of passwords is little, so root runs it, who is asked for none."""
    folder = lab_folder / 'busybox'
    folder.mkdir()
    shutil.copy2(lab.program('busybox'), folder / 'su')
    (folder / 'su').chmod(0o4755)
    assert 'refused' in su.refusal(mitogen.su.PasswordError, su_path=str(folder / 'su'), password='not-it').reason
    su.runner, su.via = 'root', None
    assert su.connect(su_path=str(folder / 'su')).call(targets.whoami) == 'mtgpw'


@pytest.mark.parametrize('name', ['mtgbanner', 'mtgloud', *accounts_module.SHELLS])
def test_start_up_files_and_shells(name, su, accounts):
    if name not in accounts:
        pytest.skip('the shell %s is not installed' % accounts_module.SHELLS[name])
    context = su.connect(username=name, password=accounts[name].password)
    assert context.call(targets.whoami) == name
    assert context.call(targets.echo, b'\x00\r\n\x03\x04' * 50000) == b'\x00\r\n\x03\x04' * 50000


def test_nobody_of_that_name(su):
    assert 'does not exist' in su.refusal(username='mtgnobody').reason


def test_an_account_without_a_shell(su):
    su.runner = 'root'
    error = su.refusal(username='daemon')
    assert 'no shell' in error.reason and 'sudo()' in error.hint


def test_a_missing_interpreter(way):
    assert 'python_path' in way.refusal(password=way.password, python_path='/nonexistent/python').hint


def test_a_program_that_is_not_there(way):
    error = way.refusal(**{way.method + '_path': '/nonexistent/program'})
    assert '/nonexistent/program' in error.hint


def test_64_mb_both_ways(way):
    context = way.connect(password=way.password)
    piece = bytes(range(256)) * 4096
    replies = [context.call_async(targets.echo, piece) for _ in range(64)]
    assert all(reply.get(timeout=60).unpickle() == piece for reply in replies)


def test_losing_it(way):
    context = way.connect(password=way.password)
    pid = context.call(os.getpid)
    replies = [context.call_async(targets.wait_for_ever) for _ in range(20)]
    lab.kill(pid)
    for reply in replies:
        with pytest.raises(mitogen.core.ChannelError):
            reply.get(timeout=10).unpickle()


# ---- doas


def test_doas_without_a_password(doas):
    doas.runner, doas.username = 'mtgnopw', 'root'
    assert doas.connect().call(os.getuid) == 0


def test_doas_to_somebody_whom_no_rule_names(doas):
    error = doas.refusal(username='mtgpw', password=doas.password)
    assert 'no rule' in error.reason and 'mtgpw' in error.hint


def test_doas_to_nobody(doas):
    assert 'no such user' in doas.refusal(username='mtgnobody').reason
