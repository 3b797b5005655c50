"""mitogen.fakessh_args: the command lines on which OpenSSH and the tools that start it agree."""

import pytest
from hypothesis import given, strategies as st

from mitogen.fakessh_args import FLAGS, IGNORED_FLAGS, IGNORED_VALUES, REFUSED, UsageError, parse


def summary(words):
    found = parse(words)
    return found.host, found.command, found.subsystem, found.terminal


@pytest.mark.parametrize('words, expected', [
    ('host', ('host', '', '', 1)),
    ('host ls -l /', ('host', 'ls -l /', '', 0)),
    ('-p 22 user@host ls', ('user@host', 'ls', '', 0)),
    ('-p22 -luser host ls', ('host', 'ls', '', 0)),
    ('-xqTlroot host ls', ('host', 'ls', '', 0)),
    ('-xqTl root host ls', ('host', 'ls', '', 0)),
    ('host -l user ls -l', ('host', 'ls -l', '', 0)),
    ('host -- ls', ('host', 'ls', '', 0)),
    ('-- host -l user', ('host', '-l user', '', 0)),
    ('-e none -i key -F file -o BatchMode=yes host ls', ('host', 'ls', '', 0)),
    ('-t host ls', ('host', 'ls', '', 1)),
    ('-tt host ls', ('host', 'ls', '', 2)),
    ('-t -t -t host ls', ('host', 'ls', '', 2)),
    ('-tt -T host ls', ('host', 'ls', '', 0)),
    ('-T host', ('host', '', '', 0)),
    ('-o RequestTTY=force host ls', ('host', 'ls', '', 2)),
    ('-o requesttty=NO host', ('host', '', '', 0)),
    ('-s host sftp', ('host', '', 'sftp', 0)),
    ('host -s sftp', ('host', '', 'sftp', 0)),
    ('-o SessionType=subsystem host sftp', ('host', '', 'sftp', 0)),
    ('ssh://user@host:22/ ls', ('ssh://user@host:22/', 'ls', '', 0)),
    # As scp, sftp, git and rsync call it.
    ('-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no -oForwardAgent=no '
     '-l me -- host scp -t /tmp', ('host', 'scp -t /tmp', '', 0)),
    ('-oForwardX11=no -oPermitLocalCommand=no -oClearAllForwardings=yes -s -- host sftp', ('host', '', 'sftp', 0)),
    ('-l me host rsync --server -lre.iLsfxCIvu . to', ('host', 'rsync --server -lre.iLsfxCIvu . to', '', 0)),
])
def test_understood(words, expected):
    assert summary(words.split(' ')) == expected


def test_the_command_is_joined_as_it_is():
    assert parse(['host', 'echo  "a', 'b"', '-n']).command == 'echo  "a b" -n'


def test_a_setting_with_spaces():
    assert summary(['-o', 'Port 22', '-oRequestTTY = yes', 'host', 'ls']) == ('host', 'ls', '', 1)


@pytest.mark.parametrize('words, said', [
    ('', 'no host'),
    ('-x', 'no host'),
    ('-p', '-p needs a value'),
    ('-xp', '-p needs a value'),
    ('-o', '-o needs a value'),
    ('-o BatchMode host', 'NAME=VALUE'),
    ('-o BatchMode= host', 'NAME=VALUE'),
    ('-s host', 'name of a subsystem'),
    ('-Z host ls', 'unknown option -Z'),
    ('--help', 'unknown option --'),
    ('-L 80:host:80 host', '-L is not possible'),
    ('-W there:22 host', '-W is not possible'),
    ('-N host', '-N is not possible'),
    ('-xf host ls', '-f is not possible'),
    ('host -N', '-N is not possible'),
    ('-P tag host ls', '-P is not possible'),
    ('-o LocalForward=80 host ls', 'LocalForward=80 is not possible'),
    ('-o RemoteCommand=ls host', 'RemoteCommand=ls is not possible'),
    ('-o SessionType=none host', 'SessionType=none is not possible'),
    ('-o RequestTTY=perhaps host', 'expected one of'),
    ('-o SetEnv=A host', 'NAME=VALUE'),
    ('-o SetEnv=A="open host', 'NAME=VALUE'),
    ('-o SetEnv== host', 'NAME=VALUE'),
])
def test_refused(words, said):
    with pytest.raises(UsageError) as caught:
        parse(words.split())
    assert said in str(caught.value)


def test_environment():
    found = parse(['-o', 'SendEnv=LANG LC_*', '-oSendEnv=GIT_PROTOCOL', '-oSetEnv=A=1 B="two words"', '-oSetEnv=A=2',
                   'host'])
    assert found.send_env == ['LANG', 'LC_*', 'GIT_PROTOCOL']
    assert found.set_env == {'A': '1', 'B': 'two words'}


@pytest.mark.parametrize('words, expected', [
    ('host cat', True), ('-n host cat', False),
    ('-o StdinNull=yes host cat', False), ('-o StdinNull=no host cat', True),
])
def test_standard_input(words, expected):
    assert parse(words.split()).use_stdin is expected


def test_no_letter_has_two_meanings():
    kinds = [IGNORED_FLAGS, IGNORED_VALUES, REFUSED, set(FLAGS), {'o'}]
    assert sum(map(len, kinds)) == len(set().union(*kinds))


option = st.one_of(
    st.sampled_from(sorted(IGNORED_FLAGS | set('Tn'))).map(lambda letter: ['-' + letter]),
    st.tuples(st.sampled_from(sorted(IGNORED_VALUES)), st.text(min_size=1)).map(lambda pair: ['-' + pair[0], pair[1]]),
    st.tuples(st.sampled_from(sorted(IGNORED_VALUES)), st.text(min_size=1)).map(lambda pair: ['-%s%s' % pair]),
    st.sampled_from(['BatchMode=yes', 'Port 22']).map(lambda text: ['-o', text]),
)


@given(st.lists(option), st.lists(option), st.lists(st.text()))
def test_a_value_is_never_taken_for_the_host_or_the_command(before, behind, words):
    args = sum(before, []) + ['host'] + sum(behind, []) + ['command'] + words
    found = parse(args)
    assert (found.host, found.command) == ('host', ' '.join(['command'] + words))


@given(st.lists(st.text(alphabet='-abestoxLP= ', max_size=5)))
def test_anything_is_understood_or_refused(words):
    try:
        parse(words)
    except UsageError as exc:
        assert str(exc)
