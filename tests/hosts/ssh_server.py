"""A private sshd, the keys to get in with, and an agent that holds one of them."""

import contextlib
import itertools
import os
import pathlib
import shutil

import support
from hosts import lab

PASSPHRASE = 'secret-phrase'

# Its defaults drop more than half of sixty simultaneous connections, and allow ten sessions on one. Without PAM a
# session does not touch what this machine does when people really log in.
CONFIGURATION = '''\
Port {port}
ListenAddress {host}
HostKey {folder}/hostkey
PidFile none
AuthorizedKeysFile {folder}/authorized_keys/%u
StrictModes no
UsePAM no
UseDNS no
PubkeyAuthentication yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 1000
MaxSessions 1000
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
LogLevel VERBOSE
'''


class Keys:
    """Key pairs in a folder: two host keys, one that gets in, one with a passphrase that does, one that does not."""

    def __init__(self, folder, users):
        lab.program('ssh-keygen')
        self.folder = folder
        self.host = self._make('hostkey')
        self.other_host = self._make('hostkey_other')
        self.identity = self._make('id_accepted')
        self.identity_encrypted = self._make('id_encrypted', PASSPHRASE)
        self.identity_refused = self._make('id_refused')
        accepted = self.public(self.identity) + self.public(self.identity_encrypted)
        (folder / 'authorized_keys').mkdir()
        for user in users:
            (folder / 'authorized_keys' / user).write_text(accepted)

    def _make(self, name, passphrase=''):
        path = self.folder / name
        lab.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', passphrase, '-C', name, '-f', path])
        return str(path)

    @staticmethod
    def public(key):
        """The line that goes into authorized_keys."""
        return pathlib.Path(key + '.pub').read_text()


class Sshd:
    """An sshd that listens on one address and port until it is stopped.

    :param prefix: of its command line; `more`: lines for its configuration.

    :ivar host, port: where it listens.
    :ivar known_hosts: file with its host key; known_hosts_wrong: with another key under its name.
    :ivar identity: file of a private key that it accepts, for every account but mtgpw.
    :ivar identity_encrypted: another one, with a passphrase; identity_refused: one that it does not accept.
    """

    def __init__(self, keys, host='127.0.0.1', prefix=(), more=''):
        self.host, self.port, self._folder = host, lab.free_port(), keys.folder
        self.identity, self.passphrase = keys.identity, PASSPHRASE
        self.identity_encrypted, self.identity_refused = keys.identity_encrypted, keys.identity_refused
        self.known_hosts = self._known_hosts('right', keys.public(keys.host))
        self.known_hosts_wrong = self._known_hosts('wrong', keys.public(keys.other_host))
        self._empty_ones = itertools.count(1)
        # Where it puts aside privileges until somebody has logged in; it refuses to start without.
        pathlib.Path('/run/sshd').mkdir(mode=0o755, exist_ok=True)
        configuration = self._file('sshd_config', more + CONFIGURATION.format(host=host, port=self.port,
                                                                              folder=keys.folder))
        # It starts itself again for each connection, and therefore wants to be called by its full path.
        command = [*prefix, lab.program('sshd'), '-D', '-e', '-f', configuration]
        self._daemon = lab.Daemon(command, configuration + '.log')
        self._daemon.wait_for_text('Server listening on')

    def _file(self, name, text):
        path = self._folder / ('%s-%d' % (name, self.port))
        path.write_text(text)
        return str(path)

    def _known_hosts(self, name, public_key):
        return self._file('known_hosts_' + name, '[%s]:%d %s' % (self.host, self.port, public_key))

    def known_hosts_empty(self):
        """A new file without any host key, at each call."""
        return self._file('known_hosts_empty_%d' % next(self._empty_ones), '')

    def ssh_args(self, known_hosts=None):
        """Options that keep ssh away from the configuration and known hosts of whoever runs the tests."""
        return ['-F', '/dev/null', '-o', 'UserKnownHostsFile=' + (known_hosts or self.known_hosts),
                '-o', 'GlobalKnownHostsFile=/dev/null']

    def command(self, user, *command, known_hosts=None, identity=None):
        """argv of plain ssh, to run `command` as `user` and to fail rather than to ask."""
        return [lab.program('ssh'), *self.ssh_args(known_hosts), '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes',
                '-i', identity or self.identity, '-p', str(self.port), '%s@%s' % (user, self.host), *command]

    def log(self):
        """What sshd has to say."""
        return self._daemon.output()

    def stop(self):
        """End it, with the sessions that are still open."""
        self._daemon.stop()


@contextlib.contextmanager
def agent(folder, key, passphrase):
    """Run an ssh-agent that holds `key`; yields the path for SSH_AUTH_SOCK."""
    path = folder / 'agent.socket'
    askpass = folder / 'askpass'
    askpass.write_text('#!/bin/sh\necho %s\n' % passphrase)
    askpass.chmod(0o700)
    # A copy, because the installed one changes its group as it starts, and the kernel then forgets that it was to
    # be ended with us.
    program = shutil.copyfile(lab.program('ssh-agent'), folder / 'ssh-agent')
    program.chmod(0o755)
    daemon = lab.Daemon([program, '-D', '-a', path], folder / 'agent.log')
    try:
        support.wait_for(path.exists, what='socket of ssh-agent')
        lab.run([lab.program('ssh-add'), key], env={
            **os.environ, 'SSH_AUTH_SOCK': str(path), 'SSH_ASKPASS': str(askpass), 'SSH_ASKPASS_REQUIRE': 'force'})
        yield str(path)
    finally:
        daemon.stop()
