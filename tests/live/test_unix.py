"""mitogen.unix: another process attaches to a running one."""

import contextlib
import os
import socket
import stat
import struct
import subprocess

import pytest

import mitogen.core
import mitogen.service
import mitogen.unix
import programs
import support
import targets
import targets_services
import targets_unix

CLIENT = """
import json, os, sys, threading
import mitogen.unix
import targets_unix
router, master = mitogen.unix.connect(%r)
child = router.context_by_id(%d)
def show(value):
    print(json.dumps(value), flush=True)
"""

END = 'router.broker.shutdown(); router.broker.join()\n'


@pytest.fixture
def listener(router):
    return mitogen.unix.Listener(router)


@contextlib.contextmanager
def attached(path):
    router, context = mitogen.unix.connect(path)
    with router:
        yield router, context


@contextlib.contextmanager
def stranger(path):
    """A plain connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        yield sock


def descriptors():
    """How many sockets this process has."""
    names = ['/proc/self/fd/' + number for number in os.listdir('/proc/self/fd')]
    return sum(os.readlink(name).startswith('socket:') for name in names if os.path.lexists(name))


# ---- Calls


def test_another_process_calls_a_child(listener, child):
    code = CLIENT % (listener.path, child.context_id) + 'show(child.call(os.getpid))\n' + END
    done = programs.run('-c', code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == child.call(os.getpid)


def test_its_context_and_ids(router, listener, child):
    with attached(listener.path) as (client, master):
        assert master.context_id == 0 and client.parent_ids == [0]
        assert client.context_id not in (0, child.context_id)
        own = client.local()
        assert len({client.context_id, child.context_id, own.context_id, router.local().context_id}) == 4
        assert own.call(targets.echo, 3) == 3
        # The master, and its children, reach what the client has started.
        assert router.context_by_id(own.context_id).call(targets_unix.identity)[1] == own.context_id


def test_services_of_the_master(router, listener):
    pool = mitogen.service.Pool(router, [targets_services.Desk(router)])
    with attached(listener.path) as (client, master):
        assert master.call_service(targets_services.Desk, 'secret') == 'for parents'
    pool.stop()


def test_it_starts_children_through_others(router, listener, child):
    with attached(listener.path) as (client, _):
        theirs = client.local(via=client.context_by_id(child.context_id))
        assert theirs.call(targets_unix.identity)[1] == theirs.context_id
        assert router.context_by_id(theirs.context_id).call(targets.echo, 3) == 3


def test_in_a_unidirectional_tree(router):
    router.unidirectional = True
    listener, child = mitogen.unix.Listener(router), router.local()
    with attached(listener.path) as (client, _):
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3


def test_a_function_of_its_own_script(listener, child):
    code = CLIENT % (listener.path, child.context_id) + """
def own():
    pass
try:
    child.call(own)
except TypeError as exc:
    show(str(exc))
""" + END
    done = programs.run('-c', code)
    assert 'belongs to another program' in done.stdout, done.stderr


def test_the_master_ends(router, child):
    listener = mitogen.unix.Listener(router)
    with attached(listener.path) as (client, _):
        waiting = client.context_by_id(child.context_id).call_async(targets.wait_for_ever)
        own = client.local()
        below = own.call_async(targets.wait_for_ever)
        router.broker.shutdown()
        with pytest.raises(mitogen.core.ChannelError):
            waiting.get(20).unpickle()
        with pytest.raises(mitogen.core.ChannelError, match='was closed|gone'):
            client.context_by_id(child.context_id).call(os.getpid)
        client.disconnect(own)
        with pytest.raises(mitogen.core.ChannelError):
            below.get(20).unpickle()
    with pytest.raises(mitogen.unix.Error, match='cannot attach'):
        mitogen.unix.connect(listener.path)


# ---- Authority


@pytest.fixture
def inner(router, child, tmp_path):
    """(path of a socket of a child, a child of that, a sibling of both)."""
    path = str(tmp_path / 'inner')
    child.call(targets_unix.listen, path)
    return path, child.call(targets_unix.start_child), router.local()


def test_a_listener_in_a_child(inner, child):
    path, below, _ = inner
    with attached(path) as (client, context):
        assert context.context_id == child.context_id and client.parent_ids == [child.context_id, 0]
        assert context.call(targets_unix.identity)[1] == child.context_id
        assert client.context_by_id(below.context_id).call(targets.echo, 3) == 3
        assert client.local().call(targets.echo, 3) == 3


def test_it_has_the_authority_of_the_child_only(router, inner):
    path, _, sibling = inner
    pool = mitogen.service.Pool(router, [targets_services.Desk(router)])
    with attached(path) as (client, _):
        with pytest.raises(mitogen.core.ChannelError, match='refused by policy'):
            client.context_by_id(sibling.context_id).call(os.getpid)
        with pytest.raises(mitogen.core.CallError, match='may not call'):
            client.context_by_id(0).call_service(targets_services.Desk, 'secret')
    pool.stop()


@pytest.mark.parametrize('src, auth', [(None, 0), (0, None), (0, 0)])
def test_it_cannot_claim_more(router, inner, src, auth):
    path, _, sibling = inner
    with attached(path) as (client, _):
        receiver = mitogen.core.Receiver(client)
        msg = mitogen.core.Message.pickled(('x', 'os', 'getpid'), dst_id=sibling.context_id, handle=101,
                                           src_id=src, auth_id=auth, reply_to=receiver.handle)
        client.route(msg)
        # Answered, if at all, before this is.
        client.context_by_id(0).send_await(mitogen.core.Message.pickled((client.context_id, 1), handle=105), 10)
        assert receiver.empty()


def test_children_of_a_client_have_no_authority(listener, child):
    with attached(listener.path) as (client, _):
        own = client.local()
        with pytest.raises(mitogen.core.CallError, match='may not start one'):
            own.call(targets_services.call_service_of, child, targets_services.Desk.name(), 'secret', {})


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_another_user(listener):
    os.chmod(listener.path, 0o666)
    os.chmod(os.path.dirname(listener.path), 0o755)
    code = 'import os, sys\nimport mitogen.unix\nos.setuid(65534)\n' + 'mitogen.unix.connect(%r)' % listener.path
    done = programs.run('-c', code)
    assert done.returncode and 'the other end does not want us' in done.stderr, done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_a_listener_of_another_user(tmp_path):
    path = '/tmp/mitogen-test-%d' % os.getpid()
    code = ('import os, socket, sys\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\ns.bind(%r)\ns.listen(5)\n'
            'print(1, flush=True)\ns.accept()[0].recv(100)' % path)
    with programs.running(code) as program:
        programs.next_line(program)
        try:
            # Root's own listener would be trusted by everybody; nobody's is not, not even by root.
            with pytest.raises(mitogen.unix.Error, match='another user'):
                mitogen.unix.connect(path)
        finally:
            os.unlink(path)


# ---- Those who are no clients


RUBBISH = [b'', b'x', b'GET / HTTP/1.1\r\n\r\n', mitogen.unix.HELLO[:-1] + b'x', b'\0' * 100000]


@pytest.mark.parametrize('rubbish', RUBBISH, ids=lambda data: repr(data[:10]))
def test_babble(listener, child, rubbish):
    before = descriptors()
    with stranger(listener.path) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(rubbish)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b''
    with attached(listener.path) as (client, _):
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3
    support.wait_for(lambda: descriptors() == before)


def test_rubbish_behind_the_hello(listener, child):
    with stranger(listener.path) as sock:
        sock.sendall(mitogen.unix.HELLO)
        size, = mitogen.unix.LENGTH.unpack(sock.recv(mitogen.unix.LENGTH.size))
        sock.recv(size)
        sock.sendall(b'x' * 100)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b''
    assert child.call(targets.echo, 3) == 3


def test_silence(router, monkeypatch):
    monkeypatch.setattr(mitogen.unix, 'HELLO_TIMEOUT', 0.3)
    listener = mitogen.unix.Listener(router)
    with stranger(listener.path) as silent, stranger(listener.path) as slow:
        slow.sendall(mitogen.unix.HELLO[:3])
        assert silent.recv(1) == b'' and slow.recv(1) == b''
        support.wait_for(lambda: not listener._strangers)


def test_many_strangers_at_once(router, monkeypatch, child):
    monkeypatch.setattr(mitogen.unix, 'MAX_STRANGERS', 2)
    listener = mitogen.unix.Listener(router)
    with stranger(listener.path) as first, stranger(listener.path), stranger(listener.path):
        support.wait_for(lambda: len(listener._strangers) == 2)
        first.close()
        # The third is let in now, and another will be when one of these is gone.
        support.wait_for(lambda: len(listener._strangers) == 2)
    with attached(listener.path) as (client, _):
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3


def test_without_descriptors(router, listener, child, monkeypatch):
    monkeypatch.setattr(mitogen.unix, 'ACCEPT_PAUSE', 0.05)
    accept, failures = socket.socket.accept, []

    def failing(self):
        if len(failures) < 2:
            failures.append(1)
            raise OSError(24, 'Too many open files')
        return accept(self)
    monkeypatch.setattr(socket.socket, 'accept', failing)
    with attached(listener.path) as (client, _):
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3
    assert len(failures) == 2


# ---- Ends


@pytest.mark.parametrize('number', [9, 15])
def test_a_client_that_dies(router, listener, child, number):
    before = descriptors()
    code = CLIENT % (listener.path, child.context_id) + """
own = router.local()
show([router.context_id, own.context_id, own.call(os.getpid)])
threading.Event().wait()
"""
    with programs.running(code) as program:
        client_id, own_id, pid = programs.next_line(program)
        waiting = router.context_by_id(own_id).call_async(targets.wait_for_ever)
        program.send_signal(number)
        with pytest.raises(mitogen.core.ChannelError):
            waiting.get(20).unpickle()
        support.wait_for(lambda: not support.is_running(pid))
    assert router.stream_by_id(client_id) is router.stream_by_id(own_id) is None
    assert not router.routes.trusted
    support.wait_for(lambda: descriptors() == before)


def test_the_socket_goes_with_the_broker(router):
    listener = mitogen.unix.Listener(router)
    folder = os.path.dirname(listener.path)
    assert not mitogen.unix.is_path_dead(listener.path)
    router.broker.shutdown()
    router.broker.join()
    assert not os.path.exists(folder) and mitogen.unix.is_path_dead(listener.path)


def test_close(router, child, tmp_path):
    listener = mitogen.unix.Listener(router, str(tmp_path / 'here'))
    with attached(listener.path) as (client, _):
        listener.close()
        support.wait_for(lambda: not os.path.exists(listener.path))
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3
    with pytest.raises(mitogen.unix.Error):
        mitogen.unix.connect(listener.path)
    assert tmp_path.exists()


# ---- Paths


def test_it_is_private_from_the_first_moment(router, tmp_path):
    """Whoever looks for the socket all the time never sees it with other rights."""
    path = tmp_path / 'socket'
    code = ('import os, stat, sys\nprint(1, flush=True)\n'
            'while True:\n    try:\n        print(oct(stat.S_IMODE(os.lstat(%r).st_mode)))\n        break\n'
            '    except OSError:\n        pass\n' % str(path))
    old = os.umask(0)
    try:
        with programs.running(code) as program:
            programs.next_line(program)
            mitogen.unix.Listener(router, str(path))
            assert program.stdout.readline() == b'0o600\n'
    finally:
        os.umask(old)
    assert os.listdir(str(tmp_path)) == ['socket']


def test_the_default_folder_is_private():
    path = mitogen.unix.make_socket_path()
    folder = os.path.dirname(path)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    os.rmdir(folder)


def test_long_paths(router, child, tmp_path):
    folder = tmp_path / ('x' * 200)
    folder.mkdir()
    listener = mitogen.unix.Listener(router, str(folder / 'socket'))
    with attached(listener.path) as (client, _):
        assert client.context_by_id(child.context_id).call(targets.echo, 3) == 3
    assert not mitogen.unix.is_path_dead(listener.path)
    with pytest.raises(mitogen.unix.Error, match='too long'):
        mitogen.unix.Listener(router, str(folder / ('y' * 200)))


def test_what_is_in_the_way(router, tmp_path):
    (tmp_path / 'file').write_text('precious')
    with pytest.raises(mitogen.unix.Error, match='exists'):
        mitogen.unix.Listener(router, str(tmp_path / 'file'))
    assert (tmp_path / 'file').read_text() == 'precious'
    path = str(tmp_path / 'socket')
    mitogen.unix.Listener(router, path)
    with pytest.raises(mitogen.unix.Error, match='exists'):
        mitogen.unix.Listener(router, path)
    assert sorted(os.listdir(str(tmp_path))) == ['file', 'socket']


def test_a_socket_that_was_left_behind(router, child, tmp_path):
    path = str(tmp_path / 'socket')
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    assert mitogen.unix.is_path_dead(path)
    mitogen.unix.Listener(router, path)
    assert not mitogen.unix.is_path_dead(path)


@pytest.mark.parametrize('answer', [b'', b'\0\0', struct.pack('>I', 1 << 30), struct.pack('>I', 4) + b'oops'])
def test_listeners_of_another_kind(tmp_path, answer):
    path = str(tmp_path / 'socket')
    code = ('import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind(%r)\ns.listen(5)\nprint(1, flush=True)\n'
            'c = s.accept()[0]\nc.recv(100)\nc.sendall(%r)\n' % (path, answer))
    with programs.running(code, stderr=subprocess.DEVNULL) as program:
        programs.next_line(program)
        with pytest.raises(mitogen.unix.Error, match='cannot attach'):
            mitogen.unix.connect(path)
