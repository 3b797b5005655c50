"""boot.payload, boot.first_stage: the command line and the bytes that make a child."""

import ast
import base64
import marshal
import os
import shlex
import sys
import types
import zlib

import pytest
from hypothesis import given, strategies as st

import mitogen
import mitogen.boot.payload as payload
import mitogen.core
import mitogen.local
import mitogen.ssh
from mitogen.boot.first_stage import CARRYING, COMPILED, HELLO, READING
from mitogen.modules import own
from mitogen.modules.relay import packed

NAME = 'mitogen:deploy@control:12345'

TOKEN = 'fedcba9876543210' * 2

ROUTER = {'max_message_size': 128 << 20, 'unidirectional': False, 'log_level': 20}

TOKENS = st.integers(0, (1 << 128) - 1).map(lambda number: '%032x' % number)


def read(module):
    with open(module.__file__, encoding='utf-8') as fp:
        return fp.read()


def small(module):
    return own.smallest(module.__name__, read(module).encode()).decode()


class Origin:
    """Has the core, as a Relay."""

    def core_source(self):
        return small(mitogen.core)

    def core_code(self):
        return packed(compile(self.core_source(), 'mitogen.core', 'exec'))


@pytest.fixture(scope='module')
def made():
    return payload.Payload(Origin())


def build(made, context_id=12345, parent_ids=(1234, 123, 0), token=TOKEN, router=ROUTER):
    return made.build(payload.configuration(context_id, parent_ids, token, router))


def unpacked(data):
    return zlib.decompress(data, -15).decode()


# ---- Budgets


def test_core_and_configuration_are_within_the_budget(made):
    assert len(build(made)) <= payload.MAX_PAYLOAD == 10240


def test_the_command_line_is_within_the_budget(made):
    for stage in READING, COMPILED:
        words = payload.command(['python3'], stage, NAME, build(made))
        assert len(' '.join(map(shlex.quote, words))) <= payload.MAX_COMMAND == 400


def test_a_core_that_is_carried_fits_one_argument(made):
    """Linux takes 128 KiB in one, and ssh makes one of all."""
    assert len(' '.join(payload.command(['python3'], CARRYING, NAME, build(made)))) < 1 << 17


# ---- The first stage


@pytest.mark.parametrize('stage', [READING, CARRYING, COMPILED], ids=['reading', 'carrying', 'compiled'])
def test_every_shell_passes_it_on_unharmed(stage):
    """Between single quotes: ! is history to csh, $ a variable to fish."""
    assert not set(stage) & set("'\n\r!$`\0")
    assert stage.isascii()


@pytest.mark.parametrize('stage', [READING, CARRYING, COMPILED], ids=['reading', 'carrying', 'compiled'])
def test_the_oldest_python_can_read_it(stage):
    ast.parse(stage, feature_version=(3, 6))
    # Python 2 has to read as far as the line that says that it is too old: all is one line, so all of it.
    assert 'print' not in stage and ' f"' not in stage


def test_hello_is_not_on_the_command_line(made):
    for stage in READING, CARRYING, COMPILED:
        command = ' '.join(payload.command(['python3'], stage, NAME, build(made))).encode()
        assert HELLO not in command and HELLO.strip() not in command
    assert ast.literal_eval(READING[READING.index('b"'):READING.index('[::-1]')])[::-1] == HELLO


@given(TOKENS)
def test_neither_marker_nor_hello_is_in_what_we_send(made, token):
    data = build(made, token=token)
    marker = token[::-1].encode()
    for sent in data, base64.b64encode(data), READING.encode(), CARRYING.encode():
        assert marker not in sent and HELLO not in sent
    assert token[::-1] not in unpacked(data) or token == token[::-1]


def test_the_command_that_reads():
    words = payload.command(['sudo', 'python3'], READING, NAME, b'12345')
    assert words == ['sudo', 'python3', '-c', READING, NAME, '5']


def test_the_command_that_carries():
    words = payload.command(('python3',), CARRYING, NAME, bytes(range(256)))
    assert words[:4] == ['python3', '-c', CARRYING, NAME]
    assert base64.b64decode(words[4]) == bytes(range(256))
    assert shlex.split(' '.join(map(shlex.quote, words))) == words


# ---- The payload


def test_only_a_child_on_the_interpreter_that_runs_here_gets_a_compiled_core():
    assert mitogen.local.Method().has_our_python()
    assert not mitogen.local.Method(python_path=[sys.executable, '-E']).has_our_python()
    assert not mitogen.ssh.Method(hostname='host', python_path=sys.executable).has_our_python()


def test_a_compiled_core_is_only_for_the_version_that_made_it(made):
    core, run = marshal.loads(made.build_compiled(payload.configuration(5, [0], 'token', {})))
    marshal.loads(zlib.decompress(core))
    ast.parse(run)
    replaced = types.SimpleNamespace(hexversion=sys.hexversion + (1 << 16), exit=sys.exit)
    with pytest.raises(SystemExit, match='another version'):
        exec(run, {'sys': replaced, 'core': core})



def test_two_children_differ_only_behind_the_core(made):
    one = build(made, 1, [0], '0' * 32)
    other = build(made, 2, [1, 0], 'f' * 32, dict(ROUTER, unidirectional=True))
    core = small(mitogen.core)
    assert unpacked(one) != unpacked(other)
    assert unpacked(one).startswith(core) and unpacked(other).startswith(core)
    # What was compressed in advance. The last block of it takes in the configuration, so its codes may differ.
    assert len(os.path.commonprefix([one, other])) > len(one) / 3


def test_a_child_does_not_depend_on_those_before_it(made):
    first = build(made)
    build(made, 99)
    assert build(made) == first


def test_lines_of_the_core_are_those_of_its_file(made):
    """A traceback of a child names the line that a person finds in the file."""
    sent, written = unpacked(build(made)).split('\n'), read(mitogen.core).split('\n')
    for number, line in enumerate(written):
        if line.startswith(('class ', 'def ')):
            name = line.split()[1].split('(')[0].rstrip(':')
            assert sent[number].split('(')[0].rstrip(':').endswith(name), number + 1


def test_what_follows_the_core_is_the_life_of_one_child(made):
    tree = ast.parse(unpacked(build(made)), feature_version=(3, 6))
    naming, living = tree.body[-2:]
    assert ast.unparse(naming) == 'name_process(sys.argv[1])'
    assert ast.unparse(living).startswith('ExternalContext({') and ast.unparse(living).endswith('}).main()')
    config = ast.literal_eval(living.value.func.value.args[0])
    assert config == {'context_id': 12345, 'parent_ids': [1234, 123, 0], 'token': TOKEN, 'router': ROUTER,
                      'version': mitogen.__version__}


@given(st.integers(0, 0xffffffff), st.lists(st.integers(0, 0xffffffff)), TOKENS, st.booleans())
def test_any_configuration(made, context_id, parent_ids, token, unidirectional):
    router = dict(ROUTER, unidirectional=unidirectional)
    text = unpacked(build(made, context_id, parent_ids, token, router))
    config = ast.literal_eval(text.rpartition('\nExternalContext(')[2].rpartition(').main()')[0])
    assert (config['context_id'], config['parent_ids'], config['token'], config['router']) == (
        context_id, parent_ids, token, router)


def test_a_configuration_is_a_copy():
    parent_ids = [1, 0]
    assert payload.configuration(2, parent_ids, TOKEN, ROUTER)['parent_ids'] is not parent_ids


def test_the_core_that_is_sent_is_the_core_that_runs_here(made):
    """It compiles, and defines what the file defines."""
    code = compile(unpacked(build(made)), 'mitogen.core', 'exec', dont_inherit=True)
    assert set(code.co_names) >= {'Router', 'Stream', 'Broker', 'Dispatcher', 'ExternalContext', 'Importer'}
