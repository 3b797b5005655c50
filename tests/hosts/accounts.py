"""Accounts to log in to, one for each way in which logging in, or becoming root from there, can go."""

import contextlib
import os
import pathlib
import pwd
from typing import NamedTuple

from hosts import lab

SHELLS = {'mtgdash': 'dash', 'mtgtcsh': 'tcsh', 'mtgfish': 'fish'}
NAMES = ['mtgkey', 'mtgpw', 'mtgsudo', 'mtgnopw', 'mtgtty', 'mtgstars', 'mtgnone', 'mtgdoas', 'mtgbanner', 'mtgloud',
         *SHELLS]

SUDOERS = pathlib.Path('/etc/sudoers.d/mitogen-tests')
SUDO_RULES = '''\
# Written by mitogen's tests, which remove it.
Defaults:mtgsudo,mtgnopw,mtgtty,mtgstars,mtgnone !lecture, timestamp_timeout=0, !mail_badpass, !mail_no_user
Defaults:mtgtty requiretty
Defaults:mtgstars pwfeedback
mtgsudo ALL=(ALL:ALL) ALL
mtgtty  ALL=(ALL:ALL) ALL
mtgstars ALL=(ALL:ALL) ALL
mtgnopw ALL=(ALL:ALL) NOPASSWD: ALL
'''

DOAS_CONFIGURATION = pathlib.Path('/etc/doas.conf')
DOAS_MARK = '# Below: by mitogen\'s tests, which remove it.\n'
DOAS_RULES = DOAS_MARK + '''\
permit mtgdoas as root
permit mtgdoas as mtgkey
permit nopass mtgnopw
'''

# bash reads this file for a command that sshd starts. Both streams, because both reach whoever waits for the
# command's first output.
BANNER = 'echo "Welcome. Property of nobody in particular."; echo "Authorised use only." >&2\n'
LOUD_BANNER = 'for line in $(seq 110); do echo "$line: all that you do here will be written down."; done\n'
LOGIN_SCRIPTS = {'mtgbanner': BANNER, 'mtgloud': LOUD_BANNER}


class Account(NamedTuple):
    """Somebody who can log in."""

    name: str
    password: str
    uid: int
    home: str


@contextlib.contextmanager
def accounts():
    """Create the accounts, `{name: Account}`, and remove them afterwards with all that runs as them.

    An account whose shell is not installed is left out.
    """
    for name in ('useradd', 'userdel', 'chpasswd', 'visudo'):
        lab.program(name)
    names = [name for name in NAMES if _shell_of(name)]
    _remove(names)      # what a run that was killed has left
    try:
        _create(names)
        yield {name: _account(name) for name in names}
    finally:
        _remove(names)


def _shell_of(name):
    return lab.find_program(SHELLS.get(name, 'bash'))


def _account(name):
    entry = pwd.getpwnam(name)
    return Account(name, password_of(name), entry.pw_uid, entry.pw_dir)


def password_of(name):
    """The password that the account of that name is given."""
    return 'pw-' + name


def _create(names):
    for name in names:
        lab.run(['useradd', '--create-home', '--shell', _shell_of(name), name])
        if name in LOGIN_SCRIPTS:
            pathlib.Path(pwd.getpwnam(name).pw_dir, '.bashrc').write_text(LOGIN_SCRIPTS[name])
    lab.run(['chpasswd'], input=''.join('%s:%s\n' % (name, password_of(name)) for name in names))
    _write_sudoers()
    _write_doas_rules()


def _write_sudoers():
    """Checked before it stands where sudo reads it: one wrong line there, and nobody can use sudo any more."""
    draft = SUDOERS.with_name(SUDOERS.name + '.draft')      # sudo skips names with a dot in them
    draft.write_text(SUDO_RULES)
    draft.chmod(0o440)
    try:
        lab.run(['visudo', '-cqf', draft])
        draft.replace(SUDOERS)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _write_doas_rules():
    before = DOAS_CONFIGURATION.read_text() if DOAS_CONFIGURATION.exists() else ''
    DOAS_CONFIGURATION.write_text(before + DOAS_RULES)
    DOAS_CONFIGURATION.chmod(0o600)


def _remove_doas_rules():
    before = DOAS_CONFIGURATION.read_text().partition(DOAS_MARK)[0]
    if before:
        DOAS_CONFIGURATION.write_text(before)
    else:
        DOAS_CONFIGURATION.unlink()


def _remove(names):
    with contextlib.suppress(FileNotFoundError):
        _remove_doas_rules()
    with contextlib.suppress(FileNotFoundError):
        SUDOERS.unlink()
    there = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in names}
    for pid in _processes_of(set(there.values())):
        lab.kill(pid)
    for name in there:
        lab.run(['userdel', '--force', '--remove', name])


def _processes_of(uids):
    return [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and _uid_of(pid) in uids]


def _uid_of(pid):
    """The owner by the process's own account of it: the folder of one that has changed users belongs to root."""
    with contextlib.suppress(OSError), open('/proc/%s/status' % pid) as fp:
        for line in fp:
            if line.startswith('Uid:'):
                return int(line.split()[1])
    return None
