"""
Connection method `ssh`: an interpreter on another machine, through OpenSSH's client. Ring 1, data only.

Facts about OpenSSH are from ssh(1), ssh_config(5) and the texts of its versions 7.4 to 9.2.
"""

import shlex

import mitogen.boot.dialogue
import mitogen.method
from mitogen.boot.dialogue import Prompt, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Type


class PasswordError(mitogen.boot.dialogue.PasswordError):
    """ssh asked for a password and none was given, or it was refused."""


class HostKeyError(mitogen.boot.dialogue.HostKeyError):
    """The host's key is unknown, or not the one that it had before."""


#: check_host_keys -> options of ssh. `accept-new` is OpenSSH 7.6's: it asks nothing, so no terminal is needed.
HOST_KEYS = {
    'enforce': ['StrictHostKeyChecking=yes'],
    'accept': ['StrictHostKeyChecking=accept-new'],
    'ignore': ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'GlobalKnownHostsFile=/dev/null'],
}


class Method(mitogen.method.Method):
    """`ssh` of OpenSSH.

    A password needs a pseudo-terminal, of which systems have a limited number; without one ssh runs in batch mode
    and asks nothing. ~/.ssh/config is honoured: jump hosts, aliases and shared connections work.

    :param hostname: name, address or alias.
    :param username: account there.
    :param ssh_path: the client.
    :param ssh_args: more arguments for it.
    :param port: TCP port.
    :param check_host_keys: ``enforce``: refuse hosts that are not known; ``accept``: learn the keys of new hosts,
        refuse changed ones; ``ignore``: check nothing.
    :param password: typed when it is asked for, also as the passphrase of a key.
    :param identity_file: private key; others are then not tried, except in an agent that holds this one.
    :param identities_only: with a password or identity file: use no other identities, of an agent for example.
    :param compression: compress what goes over the network.
    :param ssh_debug_level: 0 to 3, ssh's own messages; they are shown when it fails.
    :param keepalive_enabled: ask the server for a sign of life when nothing has come from it, so that a dead network
        is noticed: after `keepalive_interval` * (`keepalive_count` + 1) seconds of silence, by default 60.
    :param keepalive_count: unanswered questions until the connection counts as lost.
    :param keepalive_interval: seconds between them.
    :param carry_core: the command line that the server runs holds the library's core (13 KB): one round trip less. It
        shows in the server's process list for some milliseconds, and in its audit log if it keeps one.
    """

    name = 'ssh'
    password_error = PasswordError

    def __init__(self, hostname: str, username: 'Optional[str]' = None, ssh_path: str = 'ssh',
                 ssh_args: 'Optional[Sequence[str]]' = None, port: 'Optional[int]' = None,
                 check_host_keys: str = 'enforce', password: 'Optional[str]' = None,
                 identity_file: 'Optional[str]' = None, identities_only: bool = True, compression: bool = True,
                 ssh_debug_level: int = 0, keepalive_enabled: bool = True, keepalive_count: int = 3,
                 keepalive_interval: int = 15, carry_core: bool = True, **common: 'Any') -> None:
        if check_host_keys not in HOST_KEYS:
            raise ValueError('check_host_keys must be one of %s, not %r' % (', '.join(HOST_KEYS), check_host_keys))
        self.hostname = mitogen.method.word('hostname', hostname)
        self.username, self.ssh_path, self.port = username, ssh_path, port
        self.ssh_args = list(ssh_args or ())
        self.check_host_keys, self.password, self.compression = check_host_keys, password, compression
        self.identity_file, self.identities_only = identity_file, identities_only
        self.debug_level = ssh_debug_level
        self.keepalive = (keepalive_interval, keepalive_count) if keepalive_enabled else None
        self.terminal, self.carries_core = password is not None, carry_core
        mitogen.method.Method.__init__(self, **common)

    def target(self) -> str:
        return self.hostname + (':%d' % self.port if self.port else '')

    def argv(self, command: 'List[str]') -> 'List[str]':
        bits = [self.ssh_path, '-T']
        for option in self._options():
            bits += ['-o', option]
        bits += ['-v'] * min(self.debug_level, 3)
        bits += ['-l', self.username] if self.username else []
        bits += ['-p', str(self.port)] if self.port else []
        bits += ['-i', self.identity_file] if self.identity_file else []
        return bits + self.ssh_args + ['--', self.hostname, ' '.join(shlex.quote(word) for word in command)]

    def _options(self) -> 'List[str]':
        options = [] if self.debug_level else ['LogLevel=ERROR']
        options += HOST_KEYS[self.check_host_keys]
        options += ['Compression=yes'] if self.compression else []
        if self.keepalive:
            options += ['ServerAliveInterval=%d' % self.keepalive[0], 'ServerAliveCountMax=%d' % self.keepalive[1]]
        if self.identities_only and (self.identity_file or self.password is not None):
            options.append('IdentitiesOnly=yes')
        if self.password is None:
            options.append('BatchMode=yes')
        elif not self.identity_file:
            options.append('PreferredAuthentications=keyboard-interactive,password')
        return options

    def prompts(self) -> 'List[Prompt]':
        return [Prompt(br"(password|passphrase for key '.*'):\s*$", self.password)]

    def refusals(self) -> 'List[Refusal]':
        user = self.username or 'the default user'
        refused = 'the server does not let %s in' % user
        denied = [Refusal(br'Permission denied[^\n]*', refused, kind=PasswordError, hint='another password=')]
        if self.password is None:
            denied = [
                # Bounded, or an endless line of such words would stop the broker for seconds.
                Refusal(br'Permission denied[^\n]{0,200}(password|keyboard-interactive)', kind=PasswordError,
                        reason=refused + ' without a password', hint='password=, or another identity_file='),
                Refusal(br'Permission denied[^\n]*', refused, hint='identity_file=, or an agent with the right key'),
            ]
        return denied + [
            Refusal(br'REMOTE HOST IDENTIFICATION HAS CHANGED', 'the host has another key than before',
                    kind=HostKeyError, hint='find out why; if it is right: ssh-keygen -R ' + self.hostname),
            Refusal(br'Host key verification failed', 'the host key is not known', kind=HostKeyError,
                    hint="check_host_keys='accept', or connect once with ssh and compare the key"),
            Refusal(br'Could not resolve hostname[^\n]*', hint='the spelling of hostname='),
            Refusal(br'connect to (host|address)[^\n]*'),
            Refusal(br'(kex_exchange_identification|Connection (closed|reset|timed out))[^\n]*',
                    hint='whether the server limits simultaneous logins (MaxStartups)'),
            Refusal(br'(command-line|Bad configuration option)[^\n]*', hint='a newer ssh, or other ssh_args='),
        ]

    def endings(self) -> 'Dict[int, str]':
        # It does not say it with LogLevel=ERROR; from INFO on it would show banners, in which anything may stand.
        silence = ''
        if self.keepalive:
            silence = ', or the server gave no sign of life for %d seconds (keepalive_interval, keepalive_count)' % (
                self.keepalive[0] * (self.keepalive[1] + 1))
        return {255: 'the connection broke' + silence}

    def errors(self) -> 'List[Type[mitogen.boot.dialogue.ConnectError]]':
        return [PasswordError, HostKeyError, mitogen.boot.dialogue.ConnectError]
