"""Messages that would kill, or occupy for hours, the interpreter that reads them: tried in a process of their own."""

import subprocess
import sys

import pytest

import support

READ = '''
import resource
import sys
import threading

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import mitogen.core
import mitogen.testing
import mitogen.untrusted

with mitogen.testing.Tree() as tree:
    data = sys.stdin.buffer.read()

    def read():
        try:
            mitogen.%s.decode(data, tree.master.router)
        except mitogen.core.StreamError as exc:
            print('refused' if len(str(exc)) < 1000 else 'a long story')

    thread = threading.Thread(target=read)      # as the broker's
    thread.start()
    thread.join()
'''

PROTO = b'\x80\x04'
MAKER = b'cmitogen.core\n_value\n'

#: A few bytes, whose text, and hash, doubles with each of these instructions: DUP, TUPLE2.
LAUGHS = b'2\x86' * 60


def text(value):
    return b'X' + len(value).to_bytes(4, 'little') + value


def make(tag, *args):
    return MAKER + b'(' + text(tag) + b''.join(args) + b'tR'


def read(data, module):
    """What a thread of another process, with 2 GB of memory and 5 seconds, makes of a value."""
    return subprocess.run([sys.executable, '-c', READ % module], env={'PYTHONPATH': support.import_path()}, timeout=60,
                          input=PROTO + data + b'.', stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def assert_refused(data, module='core'):
    done = read(data, module)
    assert (done.returncode, done.stdout) == (0, b'refused\n')


@pytest.mark.parametrize('data', [
    make(b'mitogen.core.CallError', b']' + LAUGHS, b'N', b'N'), make(b'builtins.range', b']' + LAUGHS),
    make(b'mitogen.core.Blob', b']' + LAUGHS), make(b'pathlib.PurePosixPath', b']' + LAUGHS),
    make(b'decimal.Decimal', b']' + LAUGHS), make(b'uuid.UUID', b']' + LAUGHS),
    make(b'mitogen.core.Kwargs', b']' + LAUGHS), make(b'datetime.date', b']' + LAUGHS),
    make(b'mitogen.core.Context', b']' + LAUGHS, b'N'),
], ids=['error', 'range', 'blob', 'path', 'decimal', 'uuid', 'kwargs', 'date', 'context'])
def test_a_value_whose_text_would_fill_the_memory(data):
    assert_refused(data)


def test_a_tuple_in_place_of_a_tag_is_looked_at_no_further():
    done = read(MAKER + b']' + LAUGHS + b'R', 'core')
    assert (done.returncode, done.stdout) == (0, b'')


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python refuses such numbers since 3.11')
def test_a_number_of_a_million_digits():
    assert_refused(make(b'mitogen.core.Context', text(b'9' * 4000000), text(b'a')))


@pytest.mark.parametrize('key', [b')' + b'\x85' * 300_000, b'(' * 300_000 + b't' * 300_000])
def test_a_key_of_nested_tuples(key):
    """hash() uses the stack for each: 300 KB of message would end the interpreter."""
    assert_refused(b'}' + key + b'Ns', 'untrusted')


@pytest.mark.parametrize('key', [
    b')' + LAUGHS, b')\x94' + b''.join(b'h%c\x86\x94' % number for number in range(60))])
def test_a_key_whose_hash_takes_for_ever(key):
    """A tuple does not remember its hash."""
    assert_refused(b'}' + key + b'Ns', 'untrusted')


def test_a_place_in_the_memo_far_away():
    """It would be as large as the message says."""
    assert_refused(b'Nr' + (1_000_000_000).to_bytes(4, 'little'), 'untrusted')


@pytest.mark.parametrize('data', [
    make(b'mitogen.core.Context', make(b'decimal.Decimal', text(b'1E999999999')), text(b'a')),
    make(b'mitogen.core.Sender', make(b'decimal.Decimal', text(b'1E999999999')), b'K\x01'),
    make(b'mitogen.core.Sender', b'K\x01', make(b'decimal.Decimal', text(b'1E999999999')))])
def test_a_context_whose_id_is_a_decimal(data):
    assert_refused(data)


def test_a_secret_of_lists():
    assert_refused(make(b'mitogen.core.Secret', b']' + LAUGHS))


def test_a_secret_in_punycode():
    assert_refused(make(b'mitogen.core.Secret', b'B' + (1000000).to_bytes(4, 'little') + b'a' * 1000000,
                        text(b'punycode')))


def test_a_tag_whose_text_would_fill_the_memory():
    sets = b'K\x00q\x01' + b'0((K\x01h\x01t(K\x02h\x01t\x91q\x01' * 40
    assert_refused(MAKER + b'(' + sets + b'tR')


# ---- Known, and not solved


@pytest.mark.xfail(strict=True, reason='only a context that has, or had, children looks at what comes from beside it')
@pytest.mark.parametrize('key', [b')' + b'\x85' * 1_000_000, b')' + LAUGHS])
def test_a_leaf_that_reads_what_a_sibling_sends(key):
    assert_refused(b'}' + key + b'Ns', 'core')


@pytest.mark.xfail(strict=True, reason='that two long texts are equal shows when they have been compared')
def test_a_set_of_long_texts_that_are_equal():
    long = text(b'a' * 4_000_000) + b'\x94'
    assert_refused(b'](' + long + long + b'\x8f(h\x00' + b'h\x01' * 300_000 + b'\x90e0N', 'untrusted')


@pytest.mark.xfail(strict=True, reason='hashes of numbers can be foretold, so that each meets all others in its place')
def test_a_dictionary_whose_keys_have_the_same_hash():
    keys = b''.join(b'\x8a\x10' + (number * sys.hash_info.modulus).to_bytes(16, 'little') + b'N'
                    for number in range(300_000))
    assert_refused(b'}(' + keys + b'u0N', 'untrusted')
