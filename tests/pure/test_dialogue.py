"""boot.dialogue: from the start of a program to the ready marker, or to the error that says why there is none."""

import pytest
from hypothesis import given, strategies as st

import mitogen.core
from mitogen.boot.dialogue import (
    BOOTING,
    LAST_LINES,
    LINE_LENGTH,
    MAX_GREETING,
    STARTING,
    ConnectError,
    Dialogue,
    Fail,
    HostKeyError,
    PasswordError,
    Plan,
    Prompt,
    Ready,
    Refusal,
    Write,
    describe_status,
    visible,
)
from mitogen.boot.first_stage import HELLO

TOKEN = '0123456789abcdef' * 2
MARKER = TOKEN[::-1].encode()
PAYLOAD = b'core and configuration'

PASSWORD = Prompt(br'password:\s*$', 'hunter2')


def begin(payload=PAYLOAD, now=100.0, timeout=30.0, **options):
    talk = Dialogue(Plan('ssh', 'web1', 'ssh web1 python3 ...', payload, TOKEN, timeout, **options), now)
    talk.start()
    return talk


def failure(actions, kind=ConnectError):
    """The error of the one action that there must be."""
    action, = actions
    assert type(action) is Fail and type(action.error) is kind
    return action.error


def rest_of(actions):
    action, = actions
    assert type(action) is Ready
    return action.rest


# ---- What is sent at the start


def test_the_payload_is_sent_at_once():
    talk = Dialogue(Plan('local', 'python3', '', PAYLOAD, TOKEN, 30.0), 0.0)
    assert talk.start() == [Write('stdin', PAYLOAD)]
    assert talk.receive('stdout', HELLO, 1.0) == []


def test_a_command_that_carries_the_payload_needs_nothing():
    assert Dialogue(Plan('ssh', 'web1', '', b'', TOKEN, 30.0), 0.0).start() == []


@pytest.mark.parametrize('before', [b'', b'Welcome!\n'])
def test_where_standard_input_is_not_pythons_yet_the_payload_waits_for_it(before):
    talk = Dialogue(Plan('su', 'root', '', PAYLOAD, TOKEN, 30.0, at_once=False), 0.0)
    assert talk.start() == []
    said = before + HELLO
    found = [talk.receive('stdout', said[i:i + 1], 1.0) for i in range(len(said))]
    assert found == [[]] * (len(said) - 1) + [[Write('stdin', PAYLOAD)]]
    assert talk.receive('stdout', HELLO, 2.0) == [], 'it is sent once'
    assert rest_of(talk.receive('stdout', MARKER, 3.0)) == b''


# ---- The marker


def test_the_marker():
    talk = begin()
    assert rest_of(talk.receive('stdout', HELLO + MARKER, 101.0)) == b''


@pytest.mark.parametrize('behind', [b'', b'messages', MARKER, bytes(3 * MAX_GREETING)])
def test_what_comes_with_the_marker_are_messages(behind):
    assert rest_of(begin().receive('stdout', b'banner\n' + HELLO + MARKER + behind, 101.0)) == behind


def test_the_marker_in_pieces():
    talk = begin()
    said = b'banner\n' + HELLO + MARKER
    for i in range(len(said) - 1):
        assert talk.receive('stdout', said[i:i + 1], 101.0) == []
    assert rest_of(talk.receive('stdout', said[-1:] + b'rest', 101.0)) == b'rest'


@given(st.binary(max_size=50), st.binary(max_size=50), st.lists(st.integers(0, 200), max_size=5))
def test_the_marker_is_found_behind_anything(before, behind, cuts):
    said = before + MARKER + behind
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    talk, rest = begin(), None
    for start, end in zip(edges, edges[1:]):
        for action in talk.receive('stdout', said[start:end], 101.0) if rest is None else ():
            rest, start = action.rest, end
        if rest is not None:
            rest += said[start:end]
    assert rest == behind


@pytest.mark.parametrize('before, magic', [(b'banner\na70d0d0a', 'a70d0d0a'), (b'', ''), (b'\xff' * 9, '\ufffd' * 8)])
def test_what_stands_before_the_marker_tells_the_version_of_its_python(before, magic):
    [ready] = begin().receive('stdout', before + MARKER, 101.0)
    assert ready.magic == magic


def test_the_token_itself_is_not_the_marker():
    """A shell that echoes its commands says it."""
    talk = begin()
    assert talk.receive('stdout', TOKEN.encode() * 3, 101.0) == []


@pytest.mark.parametrize('channel', ['stderr', 'tty'])
def test_the_marker_counts_on_standard_output_only(channel):
    assert begin().receive(channel, MARKER, 101.0) == []


def test_after_the_marker_nothing_is_said_any_more():
    talk = begin(prompts=[PASSWORD])
    talk.receive('stdout', MARKER, 101.0)
    assert talk.receive('stderr', b'x' * MAX_GREETING * 2, 102.0) == []
    assert talk.receive('tty', b'password:', 102.0) == []
    assert talk.receive('stdout', MARKER, 102.0) == []
    assert talk.tick(1e9) == talk.exited(1, 102.0) == []


# ---- Banners


@pytest.mark.parametrize('channel', ['stdout', 'stderr', 'tty'])
def test_a_banner_of_5_kb_disturbs_nobody(channel):
    talk = begin()
    for number in range(110):
        assert talk.receive(channel, b'%d: all that you do here will be written down.\r\n' % number, 101.0) == []
    assert rest_of(talk.receive('stdout', HELLO + MARKER, 101.0)) == b''


@pytest.mark.parametrize('channel', ['stdout', 'stderr', 'tty'])
@pytest.mark.parametrize('step', [1000, MAX_GREETING + 1])
def test_too_much(channel, step):
    talk = begin()
    for _ in range(0, MAX_GREETING - step + 1, step):
        assert talk.receive(channel, b'x' * step, 101.0) == []
    error = failure(talk.receive(channel, b'y' * step, 101.0))
    assert error.reason == 'it said more than 65536 bytes but never that it is ready'
    assert talk.receive(channel, b'z', 101.0) == []


def test_as_much_as_may_be_said_on_each_channel():
    talk = begin()
    for channel in 'stderr', 'tty', 'stdout':
        assert talk.receive(channel, b'x' * MAX_GREETING, 101.0) == []
    assert rest_of(talk.receive('stdout', MARKER, 101.0)) == b''


# ---- Passwords


def test_a_password_is_typed_when_it_is_asked_for():
    talk = begin(prompts=[PASSWORD])
    assert talk.receive('tty', b'\r\nPassword: ', 101.0) == [Write('tty', b'hunter2\n')]
    assert talk.receive('tty', b'\r\n', 101.0) == []
    assert rest_of(talk.receive('stdout', MARKER, 101.0)) == b''


def test_a_prompt_in_pieces():
    talk = begin(prompts=[PASSWORD])
    said = b'deploy@web1\'s password:'
    found = [talk.receive('tty', said[i:i + 1], 101.0) for i in range(len(said))]
    assert found == [[]] * (len(said) - 1) + [[Write('tty', b'hunter2\n')]]


def test_a_prompt_behind_a_long_text():
    talk = begin(prompts=[PASSWORD])
    assert talk.receive('tty', b'x' * 5000 + b'\r\npassword: ', 101.0) == [Write('tty', b'hunter2\n')]


def test_words_about_passwords_are_no_prompt():
    talk = begin(prompts=[PASSWORD])
    said = b'The password you type will not be visible.\r\nNever write down a password: or else.\r\n'
    assert talk.receive('tty', said, 101.0) == []


@pytest.mark.parametrize('channel', ['stdout', 'stderr'])
def test_prompts_are_read_where_programs_ask(channel):
    assert begin(prompts=[PASSWORD]).receive(channel, b'password:', 101.0) == []


def test_a_program_that_asks_elsewhere():
    talk = begin(prompts=[PASSWORD], asks_on={'stderr': 'stdin'})
    assert talk.receive('tty', b'password:', 101.0) == []
    assert talk.receive('stderr', b'password:', 101.0) == [Write('stdin', b'hunter2\n')]


def test_a_password_that_is_asked_for_twice_is_wrong():
    talk = begin(prompts=[PASSWORD])
    talk.receive('tty', b'password:', 101.0)
    error = failure(talk.receive('tty', b'\r\nSorry.\r\npassword:', 102.0), PasswordError)
    assert error.reason == 'the password was refused'
    assert 'Sorry.' in error.said and 'hunter2' not in str(error)
    assert talk.receive('tty', b'password:', 103.0) == [], 'it is reported once'


def test_the_program_says_in_its_own_words_that_it_is_wrong():
    talk = begin(prompts=[PASSWORD], refusals=[
        Refusal(b'gone', 'another kind'), Refusal(b'not tonight', kind=PasswordError, hint='come back tomorrow')])
    talk.receive('tty', b'password:', 101.0)
    error = failure(talk.receive('tty', b'\r\ngone, and not tonight!\r\npassword:', 102.0), PasswordError)
    assert (error.reason, error.hint) == ('not tonight', 'come back tomorrow')


def test_two_different_questions():
    talk = begin(prompts=[PASSWORD, Prompt(br'token:\s*$', '123456', 'one-time token')])
    assert talk.receive('tty', b'password:', 101.0) == [Write('tty', b'hunter2\n')]
    assert talk.receive('tty', b'\r\nToken: ', 101.0) == [Write('tty', b'123456\n')]
    error = failure(talk.receive('tty', b'\r\nToken: ', 101.0), PasswordError)
    assert error.reason == 'the one-time token was refused'


def test_a_password_that_nobody_gave():
    talk = begin(prompts=[Prompt(br'password:\s*$', None)])
    error = failure(talk.receive('tty', b'password:', 101.0), PasswordError)
    assert error.reason == 'a password is asked for, and none was given'
    assert error.hint == 'password=...'


def test_an_empty_password_is_one():
    assert begin(prompts=[Prompt(b'password:$', '')]).receive('tty', b'password:', 101.0) == [Write('tty', b'\n')]


def test_a_method_has_errors_of_its_own():
    class SudoPasswordError(PasswordError):
        pass
    talk = begin(prompts=[Prompt(b'password:$', None)], password_error=SudoPasswordError)
    failure(talk.receive('tty', b'password:', 101.0), SudoPasswordError)


def test_once_python_runs_nobody_asks_for_passwords():
    """What looks like a question then comes from a program that the user's code has started, or from a liar."""
    talk = begin(prompts=[PASSWORD])
    talk.receive('stdout', HELLO, 101.0)
    assert talk.receive('tty', b'password:', 101.0) == []


# ---- The end of the program


def test_the_program_ends():
    talk = begin()
    talk.receive('stderr', b'mysterious words\n', 101.0)
    error = failure(talk.exited(3, 102.5))
    assert error.reason == 'the program ended too early (exit status 3 after 2.5 s)'
    assert (error.method, error.target, error.command) == ('ssh', 'web1', 'ssh web1 python3 ...')
    assert (error.stage, error.said, error.hint) == (STARTING, 'mysterious words', '')
    assert talk.exited(3, 103.0) == []


def test_the_program_ends_while_python_starts():
    talk = begin()
    talk.receive('stdout', HELLO, 101.0)
    error = failure(talk.exited(-9, 102.0))
    assert error.stage == BOOTING
    assert 'killed by signal 9, SIGKILL' in error.reason
    assert error.said == '', 'the first stage says nothing to people'


def test_what_was_said_on_all_channels_is_shown():
    talk = begin()
    for channel in 'stdout', 'stderr', 'tty':
        talk.receive(channel, b'on %s\r\n' % channel.encode(), 101.0)
    assert failure(talk.exited(1, 102.0)).said == 'on tty\non stderr\non stdout'


@pytest.mark.parametrize('channel', ['stdout', 'stderr', 'tty'])
def test_a_refusal_that_is_known(channel):
    talk = begin(refusals=[Refusal(b'no such user', 'there is no such user', 'another username=', HostKeyError)])
    talk.receive(channel, b'blah\nssh: No such USER: x\n', 101.0)
    error = failure(talk.exited(1, 102.0), HostKeyError)
    assert error.reason == 'there is no such user (exit status 1 after 2.0 s)'
    assert error.hint == 'another username='


def test_a_refusal_that_speaks_for_itself():
    talk = begin(refusals=[Refusal(br'connect to[^\n]*')])
    talk.receive('stderr', b'ssh: connect to h\xc3\xb6st\xff: refused \r\nmore\n', 101.0)
    assert failure(talk.exited(1, 101.0)).reason.startswith('connect to höst\N{REPLACEMENT CHARACTER}: refused (')


def test_the_first_refusal_that_fits_counts():
    talk = begin(refusals=[Refusal(b'absent'), Refusal(b'here', 'one'), Refusal(b'here', 'two')])
    talk.receive('stderr', b'here', 101.0)
    assert failure(talk.exited(1, 101.0)).reason.startswith('one')


def test_a_refusal_by_exit_status():
    talk = begin(refusals=[Refusal(br'exit status 125\b', 'it means this')])
    assert failure(talk.exited(125, 101.0)).reason.startswith('it means this')


def test_a_program_that_closes_its_output_and_lives():
    assert 'still running' in failure(begin().exited(None, 101.0)).reason


@pytest.mark.parametrize('status, words', [
    (None, 'still running'), (0, 'exit status 0'), (127, 'exit status 127'), (-15, 'killed by signal 15, SIGTERM'),
    (-1000, 'killed by signal 1000')])
def test_an_exit_status_in_words(status, words):
    assert describe_status(status) == words


# ---- Time, and other ends


def test_time():
    talk = begin(now=100.0, timeout=2.5)
    assert talk.deadline() == 102.5
    assert talk.tick(102.4) == []
    talk.receive('stdout', b'Welcome!\n', 102.4)
    assert talk.deadline() == 102.5, 'words do not buy time'
    error = failure(talk.tick(102.5))
    assert error.reason == 'no answer within 2.5 seconds'
    assert error.said == 'Welcome!' and 'connect_timeout' in error.hint
    assert talk.tick(103.0) == []
    assert talk.receive('stdout', MARKER, 103.0) == []


def test_nobody_wants_the_child_any_more():
    talk = begin()
    assert failure(talk.cancel('the program ends')).reason == 'the program ends'
    assert talk.receive('stdout', MARKER, 103.0) == []


# ---- Errors


def test_an_error_says_everything():
    error = ConnectError('ssh', 'web1', 'it is 100 % broken', STARTING, 'ssh web1 %s', 'one\ntwo', 'something else')
    assert str(error).split('\n') == [
        'ssh to web1 failed before Python started: it is 100 % broken',
        '  command: ssh web1 %s',
        '  it said: one',
        '           two',
        '  try:     something else']
    assert isinstance(error, mitogen.core.StreamError)


def test_an_error_says_no_more_than_it_knows():
    assert str(ConnectError('ssh', 'web1', 'reason', BOOTING)) == 'ssh to web1 failed while Python was starting: reason'


@pytest.mark.parametrize('kind', [ConnectError, PasswordError, HostKeyError])
def test_an_error_can_be_made_again_elsewhere(kind):
    error = kind('ssh', 'web1', 'reason', STARTING, 'command', 'said', 'hint')
    again = kind(*mitogen.core.decode(mitogen.core.encode(error.fields())))
    assert str(again) == str(error) and again.fields() == error.fields()


def test_what_is_typed_is_not_shown():
    assert repr(Write('tty', b'hunter2\n')) == "Write('tty', 8 bytes)"
    assert Write('tty', b'a') != Write('stdin', b'a') and Write('tty', b'a') != b'a'


@pytest.mark.parametrize('text, shown', [
    (b'', ''), (b'a\r\n\r\n  \nb\n', 'a\nb'), (b'a\rb', 'a\nb'), (b'\x1b[2Ja\x07\tb\x00', '\\x1b[2Ja\\x07\tb\\x00'),
    ('Grüße \u202e'.encode(), 'Grüße \\x202e'), (b'\xff', '\N{REPLACEMENT CHARACTER}'),
    (b'x' * 500, 'x' * LINE_LENGTH),
    ('\n'.join(map(str, range(50))).encode(), '\n'.join(map(str, range(50 - LAST_LINES, 50)))),
])
def test_words_of_others_are_shown_without_what_could_command_a_terminal(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize('said', [b'x' * MAX_GREETING, b'not found  ' * (MAX_GREETING // 11)], ids=['x', 'not found'])
def test_a_line_of_64_kb_is_read_once(said):
    """Not once for each of its characters: nothing else goes on meanwhile."""
    talk = begin()
    talk.receive('stderr', said, 101.0)
    assert failure(talk.exited(1, 102.0)).reason == 'the program ended too early (exit status 1 after 2.0 s)'
