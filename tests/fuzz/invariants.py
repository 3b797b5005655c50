"""What holds whatever bytes arrive: one function for each thing that reads what others send; its first line says what.

Each takes bytes and raises AssertionError, or lets anything else out, when it does not hold. Who chooses the bytes is
another matter: tests/fuzz/test_fuzz.py by chance, and tools/fuzz.py by coverage.
"""

import functools
import logging
import pathlib
import struct

import mitogen.core
import mitogen.fakessh_args
import mitogen.service
import mitogen.testing
import mitogen.untrusted
import targets
from mitogen.boot.dialogue import MAX_GREETING, Dialogue, Fail, Plan, Prompt, Ready, Write
from mitogen.boot.first_stage import HELLO
from mitogen.core import Blob, CallError, Framer, Kwargs, Message, Secret, StreamError

#: Anything larger is refused here, so that it need not be made.
MAX_SIZE = 4096

#: What could command a terminal. Lines may be ended.
CONTROLS = set(map(chr, range(32))) - set('\n\t') | {'\x7f'}


class Complaints(logging.Handler):
    """Keeps the log records of bugs: what this library says when something failed that must not."""

    def __init__(self):
        logging.Handler.__init__(self, logging.ERROR)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())

    def check(self):
        """Raise AssertionError with what has come since the last time."""
        texts, self.texts = self.texts, []
        assert texts == [], texts


class Bytes:
    """Bytes as a source of choices. When they are used up, all is zero."""

    def __init__(self, data):
        self.rest = data

    def number(self, limit):
        """A number below `limit`, of one byte, or of four where that is not enough."""
        width = 1 if limit <= 256 else 4
        taken, self.rest = self.rest[:width], self.rest[width:]
        return int.from_bytes(taken, 'little') % limit

    def bytes(self):
        """Some bytes."""
        size = self.number(256)
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def value(self, depth=3):
        """A value that may travel."""
        kind = self.number(18 if depth else 12)
        if kind >= 12:
            parts = [self.value(depth - 1) for _ in range(self.number(5))]
            texts = {str(part)[:20]: part for part in parts}
            return [parts, tuple(parts), texts, Kwargs(texts), {len(parts): parts}, [parts, parts]][kind - 12]
        data = self.bytes() if kind > 4 else b''
        text = data.decode('latin-1')
        return [None, True, self.number(1 << 32), -1, 1 << 70, data, text, Blob(data), Secret(text), CallError(text),
                float(len(data)), bytearray(data)][kind]


def framing(data):
    """However a stream is cut: the same messages, or the same refusal, and no more kept than was sent."""
    choices = Bytes(data)
    cuts = choices.bytes()
    whole, stream = [], choices.rest

    def read(pieces):
        framer, found = Framer(MAX_SIZE), []
        try:
            for piece in pieces:
                found += [(msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.data)
                          for msg in framer.receive(piece)]
        except StreamError as exc:
            return found, str(exc).partition(':')[0]
        return found, ''
    rest = stream
    for cut in cuts:
        whole.append(rest[:cut])
        rest = rest[cut:]
    in_pieces, at_once = read([*whole, rest]), read([stream])
    # What was complete before the refusal is lost with the connection, if it came at once.
    assert in_pieces == at_once or at_once[1] and in_pieces[1] == at_once[1]
    assert sum(struct.calcsize('>HIIIIII') + len(found[5]) for found in in_pieces[0]) <= len(stream)


@functools.lru_cache(None)
def _quiet_tree():
    """A tree for what needs a router."""
    tree = mitogen.testing.Tree()
    tree.liar, tree.other = tree.add(name='liar'), tree.add(name='other')
    tree.below = tree.add(tree.liar, name='below')
    tree.complaints = Complaints()
    logging.getLogger('mitogen').addHandler(tree.complaints)
    return tree


def values(data):
    """A value becomes one that may travel, or a StreamError; and none that passes is found too costly afterwards."""
    for body in data, mitogen.untrusted.PROTOCOL + data + b'.':
        router = _quiet_tree().master.router
        try:
            value = mitogen.untrusted.decode(body, router)
        except StreamError:
            continue
        try:
            mitogen.untrusted.Survey(body).run()
        except (IndexError, TypeError) as exc:
            assert 'too ' not in str(exc), exc
        _try_to_send(value)


def _try_to_send(value):
    try:
        data = mitogen.core.encode(value)
    except TypeError as exc:
        # The object that makes values is one itself, and harmless: it is refused here.
        assert '_Maker' in str(exc) or 'nested too deeply' in str(exc), exc
    else:
        mitogen.untrusted.decode(data, _quiet_tree().master.router)


def dialogue(data):
    """Whatever a program says: known actions, an answer once, and nothing after the end; no control characters."""
    choices = Bytes(data)
    prompts = [Prompt(br'password:\s*$', 'hunter2'), Prompt(br'passphrase for key.*:\s*$', None, 'passphrase')]
    token = '0123456789abcdef' * 2
    plan = Plan('ssh', 'web', 'ssh web', b'PAYLOAD', token, 30.0, bool(choices.number(2)),
                prompts[:choices.number(3)], asks_on={'tty': 'tty', 'stderr': 'stdin'})
    talk, now, written, over = Dialogue(plan, 0.0), 0.0, [], False
    actions = talk.start()
    words = [HELLO, token[::-1].encode(), token.encode(), b'Password: ', b'passphrase for key x: ', b'\x1b[2J', b'\n',
             b'x' * MAX_GREETING, b'permission denied\n']
    while True:
        for action in actions:
            assert not over and type(action) in (Write, Ready, Fail)
            over = type(action) is not Write
            if type(action) is Write:
                written.append((action.channel, action.data))
            elif type(action) is Fail:
                assert not CONTROLS & set(str(action.error)), str(action.error)
                assert 'hunter2' not in str(action.error)
        if not choices.rest:
            break
        kind, now = choices.number(16), now + choices.number(4)
        channel = ['stdout', 'stderr', 'tty'][kind % 3]
        if kind == 15:
            actions = talk.tick(now)
        elif kind == 14:
            actions = talk.exited([None, 0, 1, 127, 255, -9][choices.number(6)], now)
        elif kind > 8:
            actions = talk.receive(channel, words[choices.number(len(words))], now)
        else:
            actions = talk.receive(channel, choices.bytes().replace(b'hunter2', b''), now)
    assert [answer for _, answer in written].count(b'hunter2\n') <= 1
    assert [answer for _, answer in written].count(b'PAYLOAD') <= 1


def _say(handles, data):
    """A hostile context sends a value, or what is none, to one of some handles; the others must go on."""
    tree, choices = _quiet_tree(), Bytes(data)
    handle = handles[choices.number(len(handles))]
    target = [tree.master, tree.other, tree.liar][choices.number(3)]
    source = tree.below if target is tree.liar else tree.liar
    body = choices.rest if choices.number(3) == 2 else mitogen.core.encode(choices.value())
    receiver = mitogen.core.Receiver(source.router)
    routes = {node.context_id: dict(node.router.routes._links) for node in (tree.master, tree.liar)}
    source.say(Message(dst_id=target.context_id, handle=handle, reply_to=receiver.handle, data=body))
    tree.settle()
    receiver.close()
    tree.complaints.check()
    for node in tree.master, tree.liar:
        assert all(node.router.routes._links.get(context_id) is link for context_id, link in
                   routes[node.context_id].items()), 'a route was changed'
    assert not tree.master.broker.stopping and not tree.other.broker.stopping
    assert tree.context(tree.other).call(targets.echo, 'a') == 'a'


def routes(data):
    """Routes that are announced, given up or asked for change nothing for anybody else."""
    tree = _quiet_tree()
    _say([mitogen.core.ADD_ROUTE, mitogen.core.ALLOCATE_ID, mitogen.core.DETACHING, mitogen.core.GET_MODULE,
          mitogen.core.FORWARD_MODULE, mitogen.core.LOAD_MODULE, mitogen.core.SHUTDOWN], data)
    assert tree.context(tree.below).call(targets.echo, 'a') == 'a'


def losses(data):
    """The news that contexts are gone costs at most those behind who brings it."""
    tree, choices = _quiet_tree(), Bytes(data)
    mark = choices.number(2)
    value = choices.value() if mark else ([choices.number(8) for _ in range(choices.number(9))], choices.value())
    tree.liar.say(Message(handle=mitogen.core.DEL_ROUTE, data=mitogen.core.encode(value)))
    tree.settle()
    tree.complaints.check()
    assert tree.context(tree.other).call(targets.echo, 'a') == 'a'
    assert tree.context(tree.liar).call(targets.echo, 'a') == 'a'
    # Ids are used once; here one comes back, for the next.
    tree.context(tree.below).lost = ''
    tree.master.broker.later(tree.master.router.add_route, tree.below.context_id, tree.liar.link)
    tree.settle()


class _Shown(logging.Handler):
    """Keeps what is logged, of all levels."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.text = ''

    def emit(self, record):
        self.text += record.name + record.getMessage()


def logs(data):
    """A log record shows no control character, and what is none is no error here."""
    shown, logger = _Shown(), logging.getLogger('mitogen.ctx')
    logger.addHandler(shown)
    logger.propagate, before = False, logger.propagate
    tree, choices = _quiet_tree(), Bytes(data)
    try:
        if choices.number(2):
            value = choices.bytes().decode('latin-1'), choices.number(60), choices.rest.decode('latin-1')
        else:
            value = choices.value()
        tree.liar.say(Message(handle=mitogen.core.FORWARD_LOG, data=mitogen.core.encode(value)))
        tree.settle()
    finally:
        logger.removeHandler(shown)
        logger.propagate = before
    tree.complaints.check()
    assert not CONTROLS & set(shown.text)


class Calculator(mitogen.service.Service):
    """Something to call."""

    @mitogen.service.expose(policy=mitogen.service.AllowAny())
    @mitogen.service.arg_spec({'numbers': list})
    def add(self, numbers):
        """Return the sum."""
        return sum(numbers)

    @mitogen.service.expose(policy=mitogen.service.AllowParents())
    def end(self):
        """What a child may not call."""
        raise AssertionError('called from below')


@functools.lru_cache(None)
def _pool():
    tree = _quiet_tree()
    pool = mitogen.service.Pool(tree.master.router, [Calculator(tree.master.router)])
    pool.stop()
    return pool


def services(data):
    """A service request is answered: by a value, by an error that describes itself, or by a refusal."""
    tree, pool, choices = _quiet_tree(), _pool(), Bytes(data)
    names = [Calculator.name(), 'mitogen.files.FileService', 'os.path', '', choices.bytes().decode('latin-1')]
    methods = ['add', 'end', '__init__', 'name', choices.bytes().decode('latin-1')]
    value = [
        (names[choices.number(5)], methods[choices.number(5)], choices.value()),
        (Calculator.name(), 'add', Kwargs(numbers=choices.value())),
        choices.value()][choices.number(3)]
    receiver = mitogen.core.Receiver(tree.liar.router)
    msg = Message(dst_id=0, src_id=tree.liar.context_id, auth_id=tree.liar.context_id, handle=mitogen.core.CALL_SERVICE,
                  reply_to=receiver.handle, data=mitogen.core.encode(value))
    msg.router = tree.master.router
    pool.serve(msg)
    tree.settle()
    answer = receiver.get(block=False, throw_dead=False)
    receiver.close()
    if not answer.is_dead:
        answer.unpickle(throw=False)
    tree.complaints.check()


def arguments(data):
    """A command line of ssh is understood or refused; the words of the command reach the other side as they are."""
    words = data.decode('latin-1').split('\0')
    try:
        found = mitogen.fakessh_args.parse(words)
    except mitogen.fakessh_args.UsageError:
        return
    assert found.host in words
    assert (found.command or found.subsystem) in ' '.join(words)
    assert found.terminal in (0, 1, 2)


INVARIANTS = {fn.__name__: fn for fn in (
    framing, values, dialogue, routes, losses, logs, services, arguments)}


# ---- What reached something new when it was found: a line of digits for each


def _corpus(name):
    return pathlib.Path(__file__).with_name('corpus') / name


def read_corpus(name):
    """Return the bytes that are kept for an invariant."""
    return [bytes.fromhex(line) for line in _corpus(name).read_text().split('\n')]


def write_corpus(name, found):
    """Keep these."""
    lines = {data.hex() for data in found} | {''}
    _corpus(name).write_text('\n'.join(sorted(lines, key=lambda line: (len(line), line))))
