"""cli: what the words of a command line mean, and for how long a password is asked."""

import argparse
import re

import pytest
from hypothesis import given, strategies as st

import mitogen.cli
import support
from mitogen.boot.dialogue import ConnectError, PasswordError
from mitogen.cli import Passwords, connect, parse_function, parse_hop, parse_hops, parse_value

# ---- Hops


@pytest.mark.parametrize('text, method, options', [
    ('local', 'local', {}), ('fork', 'fork', {}), ('sudo', 'sudo', {}), ('sudo:ann', 'sudo', {'username': 'ann'}),
    ('ssh:web1', 'ssh', {'hostname': 'web1'}), ('ssh:web1.example.com', 'ssh', {'hostname': 'web1.example.com'}),
    ('ssh:ann@web1', 'ssh', {'hostname': 'web1', 'username': 'ann'}),
    ('ssh:web1:2222', 'ssh', {'hostname': 'web1', 'port': 2222}),
    ('ssh:ann@web1:2222', 'ssh', {'hostname': 'web1', 'username': 'ann', 'port': 2222}),
    ('ssh:192.0.2.1:22', 'ssh', {'hostname': '192.0.2.1', 'port': 22}),
    ('ssh:[2001:db8::1]', 'ssh', {'hostname': '2001:db8::1'}),
    ('ssh:ann@[2001:db8::1]:2222', 'ssh', {'hostname': '2001:db8::1', 'username': 'ann', 'port': 2222}),
    ('ssh:ann-b.c@web_1', 'ssh', {'hostname': 'web_1', 'username': 'ann-b.c'}),
    ('ssh:ann@corp.example@web1', 'ssh', {'hostname': 'web1', 'username': 'ann@corp.example'}),
])
def test_a_hop(text, method, options):
    assert parse_hop(text) == (method, options)


@pytest.mark.parametrize('text', [
    '', ':', 'ssh', 'ssh:', 'ssh:@web1', 'ssh:ann@', 'ssh:web1:', 'ssh:web1:ssh', 'ssh:web1:22:22', 'ssh:2001:db8::1',
    'ssh:[]', 'ssh:[2001:db8::1', 'ssh:web1\n', 'local:', 'local:x', 'fork:1', 'sudo:', 'SSH:web1',
    'telnet:web1', 'ssh web1', ' local', 'ssh:-oProxyCommand=reboot', 'ssh:-x@web1', 'sudo:-s'])
def test_what_is_no_hop(text):
    with pytest.raises(ValueError, match='no hop') as caught:
        parse_hop(text)
    assert repr(text) in str(caught.value)
    with pytest.raises(argparse.ArgumentTypeError, match='no hop'):
        mitogen.cli.hops_argument('local/' + text)


def test_hops():
    assert parse_hops('ssh:ann@web1/sudo/local') == [
        ('ssh', {'hostname': 'web1', 'username': 'ann'}), ('sudo', {}), ('local', {})]
    assert mitogen.cli.hops_argument('ssh:web1/sudo') == 'ssh:web1/sudo'


@pytest.mark.parametrize('text', ['', '/', 'local/', '/local', 'local//local'])
def test_hops_with_holes(text):
    with pytest.raises(ValueError, match="'' is no hop"):
        parse_hops(text)


@given(st.text())
def test_any_text_is_hops_or_not(text):
    try:
        assert all(isinstance(method, str) and isinstance(options, dict) for method, options in parse_hops(text))
    except ValueError as exc:
        assert 'no hop' in str(exc)


# ---- Functions and arguments


@pytest.mark.parametrize('text, function', [
    ('os:uname', ('os', 'uname')), ('os.path:join', ('os.path', 'join')), ('a:Class.method', ('a', 'Class.method'))])
def test_a_function(text, function):
    assert parse_function(text) == function


@pytest.mark.parametrize('text', ['', 'os', 'os:', ':uname', 'os:uname:x', 'os:uname()', 'os uname', 'os:uname\n'])
def test_what_is_no_function(text):
    with pytest.raises(argparse.ArgumentTypeError, match='MODULE:FUNCTION'):
        parse_function(text)


@pytest.mark.parametrize('text, value', [
    ('1', 1), ('-1.5', -1.5), ('"a"', 'a'), ("'1'", '1'), ('None', None), ('[1, "a"]', [1, 'a']),
    ('{"a": (1,)}', {'a': (1,)}), ("b'x'", b'x'), ('1+2j', 1 + 2j)])
def test_an_argument_that_is_a_literal(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize('text', [
    'a', '', '/etc', '1 2', 'os.getcwd()', '[1', '[a]', '{[]: 1}', 'a\0b', '(' * 5000, '9' * 5000, '1.2.3.4'])
def test_an_argument_that_is_text(text):
    assert parse_value(text) == text


@given(st.text())
def test_any_text_is_an_argument(text):
    parse_value(text)


# ---- Passwords


class Person:
    """Types passwords, and counts how often."""

    def __init__(self, *passwords):
        self.passwords, self.asked = list(passwords), []

    def __call__(self, question):
        self.asked.append(question)
        return self.passwords.pop(0)


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """Somebody sits there; a test may send him away."""
    monkeypatch.setattr(mitogen.cli, 'has_terminal', lambda: True)
    return lambda there: monkeypatch.setattr(mitogen.cli, 'has_terminal', lambda: there)


def test_a_password_is_asked_once():
    person = Person('a', 'b')
    passwords = Passwords(person)
    assert [passwords.get('ssh:web1', None) for _ in range(3)] == ['a', 'a', 'a']
    assert passwords.get('sudo', None) == 'b'
    assert person.asked == ['Password for ssh:web1: ', 'Password for sudo: ']


def test_a_password_that_was_refused_is_asked_again_once_for_all():
    person = Person('a', 'b')
    passwords = Passwords(person)
    assert passwords.get('sudo', None) == 'a'
    assert passwords.get('sudo', 'a') == 'b'
    assert passwords.get('sudo', 'a') == 'b', 'another place had tried the first one too'
    assert len(person.asked) == 2


def test_nobody_is_there_to_ask(terminal):
    terminal(False)
    assert Passwords(Person()).get('sudo', None) is None


class Gate:
    """A router whose places want a password."""

    def __init__(self, right=None):
        self.right, self.seen = right, []

    def connect(self, method, via, password=None, **options):
        self.seen.append((method, via, options, password))
        if self.right is not None and password != self.right:
            raise PasswordError(method)
        return '%s of %s' % (method, via)


def test_connecting_hop_by_hop():
    gate = Gate()
    assert connect(gate, parse_hops('ssh:ann@web1:22/sudo'), Passwords(Person())) == 'sudo of ssh of None'
    assert gate.seen == [('ssh', None, {'username': 'ann', 'hostname': 'web1', 'port': 22}, None),
                         ('sudo', 'ssh of None', {}, None)]


def test_a_password_is_tried_without_first():
    person, gate = Person('wrong', 'right'), Gate('right')
    connect(gate, parse_hops('sudo:ann'), Passwords(person))
    assert [password for *_, password in gate.seen] == [None, 'wrong', 'right']
    assert person.asked == ['Password for sudo:ann: '] * 2


def test_the_question_names_the_whole_way():
    person = Person('a', 'a')
    connect(Gate('a'), parse_hops('ssh:web1/sudo'), Passwords(person))
    assert person.asked == ['Password for ssh:web1: ', 'Password for ssh:web1/sudo: ']


def test_three_times_wrong_is_enough():
    person, gate = Person('a', 'b', 'c', 'd'), Gate('right')
    with pytest.raises(PasswordError):
        connect(gate, parse_hops('sudo'), Passwords(person))
    assert [password for *_, password in gate.seen] == [None, 'a', 'b', 'c']


def test_without_anybody_there_the_refusal_stands(terminal):
    terminal(False)
    gate = Gate('right')
    with pytest.raises(PasswordError):
        connect(gate, parse_hops('sudo'), Passwords(Person()))
    assert len(gate.seen) == 1


def test_other_errors_are_not_about_passwords():
    class Closed(Gate):
        def connect(self, method, via, password=None, **options):
            raise ConnectError(method)
    person = Person()
    with pytest.raises(ConnectError):
        connect(Closed(), parse_hops('sudo'), Passwords(person))
    assert person.asked == []


# ---- The whole line


def test_a_call_and_its_arguments():
    options = mitogen.cli.make_parser().parse_args(
        ['call', '--on', 'ssh:web1', '--on', 'local', 'os.path:join', '/a', '--on', '-x'])
    assert (options.on, options.function, options.args) == (
        ['ssh:web1', 'local'], ('os.path', 'join'), ['/a', '--on', '-x'])


@pytest.mark.parametrize('line', [[], ['dance'], ['call'], ['call', 'os'], ['call', '--on', 'nowhere', 'os:uname']])
def test_a_line_that_is_wrong(line, capsys):
    with pytest.raises(SystemExit) as caught:
        mitogen.cli.make_parser().parse_args(line)
    assert caught.value.code == 2
    assert 'usage' in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        mitogen.cli.make_parser().parse_args(['--version'])
    assert caught.value.code == 0
    assert capsys.readouterr().out == '.'.join(map(str, mitogen.__version__)) + '\n'


def test_the_page_has_every_hop_and_every_command():
    page = (support.checkout() / 'docs' / 'command.rst').read_text(encoding='utf-8')
    for method in mitogen.cli.TARGETS:
        assert re.search(r'``%s[:\[`]' % method, page), method
    for command in 'call', 'run', 'copy', 'tree', 'fakessh':
        assert re.search(r'^``%s\b.*``$' % command, page, re.M), command
