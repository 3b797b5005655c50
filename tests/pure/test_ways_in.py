"""su, doas, sudo-rs and the methods for containers: options -> command lines, and what their programs have said.

Transcripts of these methods (tests/transcripts) say themselves what has to come of them: `method`, `options`, exit
`status`; `error` is connect, password or none; `reason` and `hint` are part of the error's; `typed` names the channel
on which the password was typed, once.
"""

import json
import shlex

import pytest
from hypothesis import given, settings, strategies as st

import mitogen.method
import support
from mitogen.boot.dialogue import ConnectError, Dialogue, Fail, Plan, Write

FOLDER = support.checkout() / 'tests' / 'transcripts'
METHODS = ['su', 'doas', 'docker', 'podman', 'buildah', 'kubectl', 'lxc', 'lxd', 'incus', 'jail', 'machinectl', 'setns']
NAMES = sorted(path.stem for path in FOLDER.glob('*.txt') if path.stem.partition('-')[0] in [*METHODS, 'sudors'])

COMMAND = ['python3', '-c', 'print("it is $HOME")', 'mitogen:ann@control:1', '123']
PASSWORD = 'hunter2'


def make(name, **options):
    """The method of that name, with the least that it needs."""
    least = {'sudo': {}, 'su': {}, 'doas': {}, 'kubectl': {'pod': 'web'},
             'setns': {'container': 'web', 'kind': 'docker'}}
    given = {} if 'image' in options else least.get(name, {'container': 'web'})
    return mitogen.method.load(name)(**{**given, **options})


# ---- Command lines


@pytest.mark.parametrize('name, options, words', [
    ('su', {}, 'su root -c'),
    ('su', {'username': 'ann', 'su_path': '/opt/su'}, '/opt/su ann -c'),
    ('doas', {}, 'doas -u root --'),
    ('doas', {'username': 'ann', 'doas_path': '/opt/doas'}, '/opt/doas -u ann --'),
    ('docker', {}, 'docker exec --interactive web'),
    ('docker', {'username': 'ann', 'docker_path': '/opt/docker'}, '/opt/docker exec --interactive --user ann web'),
    ('docker', {'docker_args': ['--host', 'far'], 'exec_args': ['--workdir', '/srv']},
     'docker --host far exec --interactive --workdir /srv web'),
    ('podman', {'podman_args': ['--remote'], 'exec_args': ['--env', 'A=b']},
     'podman --remote exec --interactive --env A=b web'),
    ('lxd', {'lxc_args': ['--project', 'shop']}, 'lxc --project shop exec --mode=non-interactive web --'),
    ('incus', {'incus_args': ['--project', 'shop']}, 'incus --project shop exec --mode=non-interactive web --'),
    ('podman', {'username': 'ann'}, 'podman exec --interactive --user ann web'),
    ('podman', {'podman_path': '/opt/podman'}, '/opt/podman exec --interactive web'),
    ('buildah', {}, 'buildah run --terminal=false -- web'),
    ('buildah', {'username': 'ann', 'buildah_path': '/opt/b'}, '/opt/b run --terminal=false --user ann -- web'),
    ('kubectl', {}, 'kubectl exec --stdin web --'),
    ('kubectl', {'kubectl_path': '/opt/k', 'kubectl_args': ['-n', 'shop']}, '/opt/k exec --stdin -n shop web --'),
    ('lxc', {}, 'lxc-attach --clear-env --name web --'),
    ('lxc', {'lxc_attach_path': '/opt/attach'}, '/opt/attach --clear-env --name web --'),
    ('lxd', {}, 'lxc exec --mode=non-interactive web --'),
    ('lxd', {'container': 'far:web', 'lxc_path': '/opt/lxc'}, '/opt/lxc exec --mode=non-interactive far:web --'),
    ('incus', {}, 'incus exec --mode=non-interactive web --'),
    ('incus', {'incus_path': '/opt/incus'}, '/opt/incus exec --mode=non-interactive web --'),
    ('jail', {}, '/usr/sbin/jexec web'),
    ('jail', {'username': 'ann', 'jexec_path': 'jexec'}, 'jexec -U ann web'),
    ('machinectl', {'username': 'ann', 'machinectl_path': '/opt/machinectl'},
     '/opt/systemd-run --quiet --collect --wait --pipe --property=KillMode=process --machine=web --uid=ann -- '
     "/bin/sh -c 'exec \"$@\"' sh"),
])
def test_a_command_line(name, options, words):
    expected = shlex.split(words) + ([shlex.join(COMMAND)] if name == 'su' else COMMAND)
    assert make(name, **options).argv(COMMAND) == expected


@pytest.mark.parametrize('name', ['docker', 'podman'])
def test_a_container_for_the_time_of_the_connection(name):
    assert make(name, image='web:1', username='ann').argv(COMMAND) == [
        name, 'run', '--rm', '--interactive', '--user', 'ann', '--entrypoint', 'python3', 'web:1', *COMMAND[1:]]


@pytest.mark.parametrize('kind, option, lookup', [
    ('docker', 'docker_path', "inspect --type container --format '{{.State.Pid}}' web"),
    ('podman', 'podman_path', "inspect --type container --format '{{.State.Pid}}' web"),
    ('lxc', 'lxc_info_path', '-p -H -n web'), ('lxd', 'lxc_path', 'info web'), ('incus', 'incus_path', 'info web'),
    ('machinectl', 'machinectl_path', 'show --property Leader web'),
])
def test_who_is_asked_for_the_leader(kind, option, lookup):
    words = make('setns', kind=kind, **{option: '/opt/a program'}).argv(COMMAND)
    assert words[:2] == ['sh', '-c'] and words[3:] == ['setns', *COMMAND]
    assert words[2].startswith("pid=$('/opt/a program' %s | sed " % lookup)


def test_setns_as_somebody_else():
    words = make('setns', username="o'hara", python_path=['env', 'python3']).argv(['env', *COMMAND])
    assert words[4:7] == ['env', 'python3', '-c'] and words[8:] == COMMAND[3:]
    assert words[7].endswith(COMMAND[2]) and 'getpwnam("o\'hara")' in words[7]
    assert words[7].index('sys.path=') < words[7].index('import os'), 'the current folder must not be searched'


@pytest.mark.parametrize('name', METHODS)
def test_who_it_connects_to(name):
    target = {'su': 'root', 'doas': 'root', 'setns': 'docker:web'}.get(name, 'web')
    assert make(name).context_name() == '%s.%s' % (name, target)


@pytest.mark.parametrize('name', METHODS)
def test_what_the_dialogue_has_to_know(name):
    method = make(name)
    assert method.terminal is (name in ('su', 'doas'))
    assert method.at_once is (name != 'su')
    assert not method.carries_core


# ---- Wrong options


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize('value, error', [('', ValueError), ('-x', ValueError), ('a\0', ValueError), (7, TypeError)])
def test_names_that_are_none(name, value, error):
    for option in 'container', 'pod', 'username', 'su_path', 'docker_path':
        if option in mitogen.method.load(name).__init__.__code__.co_varnames:
            with pytest.raises(error, match='must'):
                make(name, **{option: value})


@pytest.mark.parametrize('name', METHODS)
def test_options_that_there_are_not(name):
    with pytest.raises(TypeError, match='no_such_option'):
        make(name, no_such_option=1)
    with pytest.raises(TypeError, match='ssh_path'):
        make(name, ssh_path='ssh')


@pytest.mark.parametrize('name', ['docker', 'podman'])
def test_a_container_or_an_image_but_not_both_nor_neither(name):
    for options in {}, {'container': 'web', 'image': 'web'}:
        with pytest.raises(ValueError, match='exactly one of container= and image='):
            mitogen.method.load(name)(**options)


@pytest.mark.parametrize('name, options, error, text', [
    ('setns', {'kind': 'jail'}, ValueError, 'kind must be one of docker, incus, lxc, lxd, machinectl, pid, podman'),
    ('setns', {'kind': 'pid'}, ValueError, 'the number of a process'),
    ('kubectl', {'kubectl_args': '-n shop'}, TypeError, 'a list of words, not one text'),
    ('podman', {'podman_args': '--remote'}, TypeError, 'podman_args must be a list of words, not one text'),
    ('su', {'incorrect_prompts': 'Sorry'}, TypeError, 'a list of texts, not one text'),
    ('doas', {'password_prompt': 7}, TypeError, 'must be text or bytes'),
    ('doas', {'incorrect_prompts': [7]}, TypeError, 'must be text or bytes'),
])
def test_other_wrong_options(name, options, error, text):
    with pytest.raises(error, match=text):
        make(name, **options)


def test_prompts_may_be_bytes():
    prompt, = make('su', password='a', password_prompt=b'code: ').prompts()
    assert prompt.pattern.search(b'Your code: ') and not prompt.pattern.search(b'Password: ')


def test_no_words_for_a_refusal_fit_nothing():
    refusal = make('su', incorrect_prompts=[]).refusals()[0]
    assert not refusal.search(b'') and not refusal.search(b'Authentication failure')


@pytest.mark.parametrize('name', METHODS)
def test_endless_lines_are_searched_in_no_time(name):
    """As for the other methods: this happens on the broker thread."""
    refusals = make(name).refusals()
    for word in b'x', b'exec: ', b'exec "', b'Error: ', b'(NotFound): ', b'No machine ', b'jexec: ':
        for refusal in refusals:
            refusal.search(word * (65536 // len(word)))


# ---- What programs have said


class Transcript:
    """A file of tests/transcripts; see the top of this one."""

    def __init__(self, name):
        head, *parts = (FOLDER / (name + '.txt')).read_text(encoding='utf-8').split('---- ')
        fields = dict(line.split(': ', 1) for line in head.splitlines())
        self.method = make(fields['method'], **json.loads(fields['options']))
        self.status, self.error = int(fields['status']), fields['error']
        self.reason, self.hint = fields.get('reason', ''), fields.get('hint', '')
        self.typed = [fields['typed']] if 'typed' in fields else []
        self.said = [part.rstrip('\n').partition('\n')[::2] for part in parts]

    def play(self, cut):
        """Feed the dialogue with what was said, in the pieces that `cut` makes of it; return its actions."""
        method = self.method
        talk = Dialogue(Plan(method.name, method.target(), '', b'', 'token', 30.0, method.at_once, method.prompts(),
                             method.refusals(), method.password_error, method.asks_on), 0.0)
        actions = []
        for channel, text in self.said:
            for piece in cut(text.encode()):
                actions += talk.receive(channel, piece, 1.0)
        return actions + (talk.exited(self.status, 2.0) if self.status else [])

    def check(self, actions):
        writes = [action for action in actions if isinstance(action, Write)]
        assert [action.channel for action in writes] == self.typed
        assert all(action.data == PASSWORD.encode() + b'\n' for action in writes)
        failures = [action.error for action in actions if isinstance(action, Fail)]
        assert len(failures) == (self.error != 'none')
        for error in failures:
            assert type(error) is {'password': self.method.password_error, 'connect': ConnectError}[self.error], error
            assert self.reason in error.reason and self.hint in error.hint, error
            assert PASSWORD not in str(error)


def byte_by_byte(data):
    return [data[i:i + 1] for i in range(len(data))]


def byte_by_byte_as_a_terminal_has_it(data):
    return byte_by_byte(data.replace(b'\n', b'\r\n'))


def as_it_was_written(data):
    """A line at a time, and as far as a question: no program goes on before that is answered."""
    for line in data.splitlines(keepends=True):
        question, colon, rest = line.rpartition(b':')
        yield from [line] if rest.strip() else [question + colon + b' ' * rest.count(b' '), b'\n']


#: The words `your password:` without what follows cannot be told from a question, in a piece of their own.
LOOKS_LIKE_A_QUESTION = {'su-banner'}


@pytest.mark.parametrize('cut', [byte_by_byte, byte_by_byte_as_a_terminal_has_it])
@pytest.mark.parametrize('name', sorted(set(NAMES) - LOOKS_LIKE_A_QUESTION))
def test_a_transcript_byte_by_byte(name, cut):
    transcript = Transcript(name)
    transcript.check(transcript.play(cut))


@pytest.mark.parametrize('name', NAMES)
def test_a_transcript(name):
    transcript = Transcript(name)
    transcript.check(transcript.play(as_it_was_written))


ASKING = [name for name in NAMES if name.partition('-')[0] in ('su', 'sudors', 'doas')]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 200), max_size=6))
@pytest.mark.parametrize('name', sorted(set(ASKING) - LOOKS_LIKE_A_QUESTION))
def test_prompts_in_pieces(name, lengths):
    def cut(data):
        for part in as_it_was_written(data):
            for length in lengths:
                yield part[:length]
                part = part[length:]
            yield part
    transcript = Transcript(name)
    transcript.check(transcript.play(cut))


@pytest.mark.parametrize('name', METHODS)
def test_each_method_has_transcripts(name):
    assert [transcript for transcript in NAMES if transcript.partition('-')[0] == name]
