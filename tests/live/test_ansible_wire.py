"""What a worker of Ansible and the broker process say to each other."""

import glob
import os
import socket
import subprocess
import sys
import threading

import pytest

import support
from mitogen.ansible import attach, broker, wire
from mitogen.peer import peer_uid


class Text(str):
    """As Ansible's own types: text with something to it."""

    tags = ('vault',)


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_values_arrive_as_they_were_sent(pair):
    value = {'text': '\u00e9', 'bytes': b'\xff' * 300000, 'list': [1, 2.5, None, True], 'nested': {'a': {}}}
    # More than the system keeps, so that it has to come in pieces.
    sender = threading.Thread(target=wire.send, args=(pair[0], value))
    sender.start()
    assert wire.receive(pair[1]) == value
    sender.join()


def test_what_is_ansibles_becomes_plain():
    plain = wire.plain({Text('key'): [Text('value'), (1, 2)], 'data': bytearray(b'x')})
    assert plain == {'key': ['value', [1, 2]], 'data': b'x'}
    assert [type(key) for key in plain] == [str, str] and type(plain['key'][0]) is str


def test_what_cannot_travel_is_named():
    with pytest.raises(TypeError, match='object'):
        wire.plain([object()])


def test_an_end_is_noticed(pair):
    pair[0].close()
    with pytest.raises(wire.Closed):
        wire.receive(pair[1])
    assert not broker.is_open(pair[1])


def test_rubbish_is_noticed(pair):
    pair[0].sendall(wire.LENGTH.pack(3) + b'???')
    with pytest.raises(wire.Closed):
        wire.receive(pair[1])
    pair[0].sendall(wire.LENGTH.pack(2 ** 32 - 1))
    with pytest.raises(wire.Closed, match='announced'):
        wire.receive(pair[1])


def test_the_kernel_tells_who_is_there(pair):
    assert peer_uid(pair[0]) == os.geteuid()
    assert broker.is_open(pair[0])


def test_a_folder_that_others_can_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_RUNTIME_DIR', str(tmp_path))
    folder = attach.folder()
    assert os.stat(folder).st_mode & 0o777 == 0o700
    os.chmod(folder, 0o755)
    with pytest.raises(attach.Error, match='private'):
        attach.folder()


def test_a_folder_that_is_a_link_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_RUNTIME_DIR', str(tmp_path))
    (tmp_path / 'elsewhere').mkdir(mode=0o700)
    (tmp_path / ('mitogen-ansible-%d' % os.geteuid())).symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(attach.Error, match='private'):
        attach.folder()


def test_a_broker_process_does_not_end_because_its_folder_is_gone(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_RUNTIME_DIR', str(tmp_path / 'of a session that is over'))
    with pytest.raises(attach.Error):
        attach.folder()
    attach.sweep()


def test_a_broker_process_lives_as_long_as_what_it_is_for(tmp_path, monkeypatch):
    """And serves whoever asks: here a command on this machine."""
    monkeypatch.setenv('XDG_RUNTIME_DIR', str(tmp_path))
    with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE) as playbook:
        assert attach.find(playbook.pid) is None
        path = attach.socket_path(playbook.pid)
        with attach.find_or_start(playbook.pid) as link, attach.find_or_start(playbook.pid) as other:
            login = {'method': 'local', 'options': {'python_path': [sys.executable]}}
            request = {'op': 'exec', 'login': login, 'become': None, 'shell': '/bin/sh', 'text': 'cat; exit 3',
                       'whole': 'cat; exit 3', 'data': b'through', 'cwd': None}
            assert link.ask(request) == (3, b'through', b'')
            with pytest.raises(attach.Failed) as info:
                other.ask(dict(request, login=dict(login, options={'python_path': ['/no/such/python']})))
            assert info.value.kind in ('python', 'unreachable')
        playbook.stdin.close()
    support.wait_for(lambda: not os.path.exists(path), what='end of the broker process')


LOCAL = {'op': 'exec', 'login': {'method': 'local', 'options': {'python_path': [sys.executable]}}, 'become': None,
         'shell': '/bin/sh', 'text': 'echo here', 'whole': 'echo here', 'data': b'', 'cwd': None}


@pytest.fixture
def playbook(tmp_path, monkeypatch):
    """A process that a broker process belongs to."""
    monkeypatch.setenv('XDG_RUNTIME_DIR', str(tmp_path))
    with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE) as process:
        path = attach.socket_path(process.pid)
        yield process.pid
        process.communicate(b'\n')
    support.wait_for(lambda: attach.sweep() or not glob.glob(path + '*'), what='end of the broker process')


def test_workers_that_begin_at_once_share_one_that_comes_up(playbook):
    links = [attach.find_or_start(playbook) for _ in range(5)]
    pids = set()
    for link in links:
        link.send(dict(LOCAL, text='echo $PPID', whole='echo $PPID'))
    for link in links:
        with link:
            pids.add(link.answer())
    assert len(pids) == 1


def test_whoever_has_started_it_may_go_before_it_is_there(playbook):
    code = 'import sys; from mitogen.ansible import attach; attach.find_or_start(int(sys.argv[1]))'
    subprocess.run([sys.executable, '-c', code, str(playbook)], check=True)
    with attach.find(playbook) as link:
        assert link.ask(LOCAL) == (0, b'here\n', b'')


def test_one_that_does_not_start_says_why(playbook, monkeypatch):
    monkeypatch.setattr(attach, 'PROGRAM', 'raise SystemExit("no luck")')
    with attach.find_or_start(playbook) as link, pytest.raises(attach.Error, match='did not start: no luck'):
        link.ask(LOCAL)


def test_one_that_never_answers_is_given_up(playbook, monkeypatch):
    monkeypatch.setattr(attach, 'PROGRAM', 'import os, time; os.fork() and os._exit(0); time.sleep(600)')
    monkeypatch.setattr(attach, 'START_TIMEOUT', 0.2)
    link = attach.find_or_start(playbook)
    with attach.find(playbook) as other:        # who waits for it, hears of its end
        other.send(LOCAL)
        with link, pytest.raises(attach.Error, match='did not start within'):
            link.ask(LOCAL)
        with pytest.raises(attach.Error, match='lost the broker process'):
            other.answer()


def test_one_that_cannot_be_started_says_why(playbook):
    os.mkdir(attach.socket_path(playbook) + '.lock')
    with pytest.raises(attach.Error, match='cannot start the broker process: .*lock'):
        attach.find_or_start(playbook)


NO_THREAD = '''
import threading
start = threading.Thread.start

def fail_once(thread):
    if thread.name == 'mitogen.ansible.worker':
        threading.Thread.start = start
        raise RuntimeError('cannot start a thread')
    start(thread)

threading.Thread.start = fail_once
'''


def test_one_without_a_thread_for_a_worker_serves_the_next(playbook, monkeypatch):
    monkeypatch.setattr(attach, 'PROGRAM', NO_THREAD + attach.PROGRAM)
    with attach.find_or_start(playbook) as link, pytest.raises(attach.Error, match='lost the broker process'):
        link.ask(LOCAL)
    with attach.find(playbook) as link:
        assert link.ask(LOCAL) == (0, b'here\n', b'')


def test_what_the_loader_says_before_is_no_reason(playbook, monkeypatch):
    monkeypatch.setattr(attach, 'PROGRAM', 'import os; os.write(2, b"cannot be preloaded\\n"); ' + attach.PROGRAM)
    with attach.find_or_start(playbook) as link:
        assert link.ask(LOCAL) == (0, b'here\n', b'')


def test_one_that_lacks_something_says_so_to_all(playbook, monkeypatch):
    monkeypatch.setattr(attach, 'PROGRAM',
                        'import sys; sys.modules["mitogen.ansible.execute"] = None; ' + attach.PROGRAM)
    with attach.find_or_start(playbook) as link, attach.find(playbook) as other:
        for each in link, other:
            with pytest.raises(attach.Failed, match='mitogen.ansible.execute'):
                each.ask(LOCAL)


def test_nothing_is_done_for_a_worker_that_gave_up_while_it_logged_in(playbook, tmp_path):
    python, started, done = tmp_path / 'python', tmp_path / 'started', tmp_path / 'done'
    python.write_text('#!/bin/sh\n: >%s\nsleep 1\nexec %s "$@"\n' % (started, sys.executable))
    python.chmod(0o755)
    login = {'method': 'local', 'options': {'python_path': [str(python)]}}
    with attach.find_or_start(playbook) as link:
        link.send({'op': 'prepare', 'login': login})
        link.send(dict(LOCAL, login=login, text='touch %s' % done, whole='touch %s' % done))
        support.wait_for(started.exists, what='start of the login')
    with attach.find(playbook) as link:
        for _ in range(3):          # what the other has asked for would run meanwhile
            assert link.ask(dict(LOCAL, login=login, text='sleep .1; echo here')) == (0, b'here\n', b'')
        assert not done.exists()


def test_a_login_that_fails_is_tried_once(playbook, tmp_path):
    python, tries = tmp_path / 'python', tmp_path / 'tries'
    python.write_text('#!/bin/sh\necho one >>%s\nexit 1\n' % tries)
    python.chmod(0o755)
    login = {'method': 'local', 'options': {'python_path': [str(python)]}}
    with attach.find_or_start(playbook) as link:
        link.send({'op': 'prepare', 'login': login})
        with pytest.raises(attach.Failed, match='ended too early'):
            link.ask(dict(LOCAL, login=login))
    assert tries.read_text() == 'one\n'
