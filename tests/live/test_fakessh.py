"""mitogen.fakessh: the ssh that it offers, as programs see it. The programs themselves: test_fakessh_programs.py."""

import filecmp
import os
import pathlib
import pwd
import shlex
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

import mitogen.core
import mitogen.fakessh
import mitogen.flow
import support
import targets_fakessh

# Says how much it has written, to a file beside it, after each piece; until nobody takes more.
WRITER = '''
import os, sys
written = 0
for _ in range(64):
    os.write(1, b'x' * 1048576)
    written += 1048576
    with open(sys.argv[1] + '.new', 'w') as fp:
        fp.write('%d %d' % (os.getpid(), written))
    os.rename(sys.argv[1] + '.new', sys.argv[1])
'''


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    """Where private folders are made; its path, unlike that of tmp_path, is short enough for sockets. None is left."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setattr('tempfile.tempdir', name)
        folder = pathlib.Path(name)
        yield folder
        assert not list(folder.iterdir())


@pytest.fixture
def shell(router, child, tmp_path):
    """`shell('echo a | ssh h cat')` -> (exit status, standard output, standard error) of a local shell."""
    def run(script, dest=child, **options):
        found = [tmp_path / 'stdout', tmp_path / 'stderr']
        args = ['sh', '-c', 'exec >"$0" 2>"$1"; ' + script, *map(str, found)]
        status = mitogen.fakessh.run(dest, router, args, **options)
        return status, found[0].read_bytes(), found[1].read_text()
    return run


@pytest.fixture
def blob(tmp_path):
    """A file with a few megabytes of every byte that there is."""
    path = tmp_path / 'blob'
    path.write_bytes(os.urandom(3 << 20) + bytes(range(256)))
    return path


@pytest.mark.parametrize('status', [0, 1, 127, 254, 255])
def test_exit_status(shell, status):
    assert shell('ssh host exit %d' % status) == (status, b'', '')


def test_the_command_is_run_by_the_shell_in_the_home_folder(shell):
    home = os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir)
    status, out, _ = shell('ssh any-host \'pwd -P; echo "$((6 * 7))  $0"\'')
    assert out.decode().split('\n')[:1] == [home]
    assert b'42  ' in out


@pytest.mark.parametrize('script', [
    'ssh host cat <{blob} >{copy}',                     # files
    'cat {blob} | ssh host cat | cat >{copy}',          # pipes
    'ssh -n host cat {blob} >{copy}',
    'ssh host "cat >{copy}" <{blob}',
])
def test_bytes_arrive_as_they_left(shell, blob, tmp_path, script):
    copy = tmp_path / 'copy'
    status, _, err = shell(script.format(blob=shlex.quote(str(blob)), copy=shlex.quote(str(copy))))
    assert (status, err) == (0, '')
    support.wait_for(copy.exists)
    assert filecmp.cmp(blob, copy, shallow=False)


def test_bytes_arrive_through_sockets(router, child, blob):
    """As rsync and scp do it."""
    code = ('import socket, subprocess, sys, threading\n'
            'ours, theirs = socket.socketpair()\n'
            'ssh = subprocess.Popen(["ssh", "host", "cat"], stdin=theirs, stdout=theirs); theirs.close()\n'
            'data = open(sys.argv[1], "rb").read()\n'
            'thread = threading.Thread(target=lambda: (ours.sendall(data), ours.shutdown(socket.SHUT_WR)))\n'
            'thread.start()\n'
            'back = b"".join(iter(lambda: ours.recv(65536), b""))\n'
            'thread.join()\n'
            'sys.exit(ssh.wait() or back != data)\n')
    assert mitogen.fakessh.run(child, router, [sys.executable, '-c', code, str(blob)]) == 0


def test_the_end_of_stdin_is_heard_while_output_goes_on(shell):
    assert shell('printf abc | ssh host "cat; echo def"') == (0, b'abcdef\n', '')


def test_stderr_is_separate(shell):
    assert shell('ssh host "echo out; echo err >&2"') == (0, b'out\n', 'err\n')


def test_the_end_of_output_is_seen_before_the_command_ends(shell, tmp_path):
    go = tmp_path / 'go'
    script = 'ssh host "echo a; exec >&-; until [ -e %s ]; do sleep 0.01; done" | { cat; touch %s; }' % (go, go)
    assert shell(script) == (0, b'a\n', '')


def test_a_command_that_reads_nothing(shell):
    assert shell('yes | ssh host true') == (0, b'', '')


def test_a_reader_that_goes_away(shell):
    assert shell('ssh host yes | head -1')[:2] == (0, b'y\n')


def test_a_slow_reader_stops_the_writer(router, child, tmp_path):
    """What is under way stays within the window and the pipes, however much there is to read."""
    news, go, writer = tmp_path / 'news', tmp_path / 'go', tmp_path / 'writer.py'
    writer.write_text(WRITER)
    script = 'ssh host "%s %s %s" | { until [ -e %s ]; do sleep 0.01; done; wc -c >%s; }' % (
        sys.executable, writer, news, go, tmp_path / 'count')
    done = []
    thread = threading.Thread(target=lambda: done.append(mitogen.fakessh.run(child, router, ['sh', '-c', script])))
    thread.start()
    try:
        support.wait_for(news.exists)
        seen = []

        def is_stuck():
            seen.append(news.read_text())
            return len(seen) > 30 and len(set(seen[-30:])) == 1
        support.wait_for(is_stuck, 20)
        # Beside the window: the pipes at both ends, and the piece that is being written.
        assert int(seen[-1].split()[1]) <= mitogen.flow.WINDOW + (2 << 20)
    finally:
        go.touch()
        thread.join(60)
    assert done == [0]
    assert int((tmp_path / 'count').read_text()) == 64 << 20


@pytest.mark.parametrize('options, expected', [
    ('-tt', b'/dev/'), ('-t -t', b'/dev/'), ('-t', b'not a tty'), ('-T', b'not a tty'), ('', b'not a tty'),
    ('-o RequestTTY=force', b'/dev/'), ('-tt -T', b'not a tty'),
])
def test_terminals(shell, options, expected):
    status, out, err = shell('ssh %s host tty </dev/null' % options)
    assert (status, err) == (expected != b'/dev/', '')
    assert out.startswith(expected)


def test_a_terminal_hears_the_end_of_input(shell):
    status, out, err = shell('printf "no newline" | ssh -tt host "stty -echo; echo ready; cat"')
    assert (status, err) == (0, '')
    assert b'no newline' in out


def test_a_terminal_ends_with_its_command(shell, tmp_path):
    """Though something in the background still has it open."""
    pid_file = tmp_path / 'pid'
    status, out, _ = shell('ssh -tt host "trap : HUP; sleep 1000 & echo \\$! >%s; echo done"' % pid_file)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert (status, out) == (0, b'done\r\n')


def test_a_shell_when_there_is_no_command(shell):
    assert shell('echo "echo \\$((6 * 7))" | ssh host')[:2] == (0, b'42\n')


def test_a_signal(shell):
    status, out, err = shell("ssh host 'kill -9 $$'")
    assert (status, out) == (255, b'')
    assert 'killed by signal 9' in err


@pytest.mark.parametrize('options, said', [
    ('-L 1:host:2 host', '-L is not possible'), ('-Z host', 'unknown option'), ('', 'no host'),
    ('-s host x11', 'no subsystem'), ('host -N', '-N is not possible'),
])
def test_refusals(shell, tmp_path, options, said):
    status, out, err = shell('ssh %s touch %s' % (options, tmp_path / 'never') if 'host' in options else 'ssh')
    assert (status, out) == (255, b'')
    assert said in err
    assert not (tmp_path / 'never').exists()


def test_a_program_that_is_not_there(router, child, shell):
    status, _, err = shell('ssh host no-such-program')
    assert status == 127 and 'no-such-program' in err
    with pytest.raises(FileNotFoundError):
        mitogen.fakessh.run(child, router, ['no-such-program'])


@pytest.mark.parametrize('args', [[], None, 'rsync', ()])
def test_no_program(router, child, args):
    with pytest.raises(ValueError):
        mitogen.fakessh.run(child, router, args)


def test_variables(shell):
    options = '-o SendEnv="SENT_*" -o SetEnv=\\"GIVEN="a b"\\"'
    status, out, _ = shell('KEPT=1 SENT_A=2 ssh %s host \'echo "$KEPT-$SENT_A-$GIVEN-$HOME"\'' % options)
    assert out.decode() == '-2-a b-%s\n' % pwd.getpwuid(os.geteuid()).pw_dir


def test_arguments_that_are_not_utf8(shell):
    status, out, _ = shell("ssh host echo \"$(printf '\\377\\303\\251')\"")
    assert (status, out) == (0, b'\xff\xc3\xa9\n')


def test_many_at_once(shell):
    """More than the service has threads."""
    script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do ssh host "cat; exit $i" <<<$i & done; wait'
    status, out, err = shell('exec bash -c %s' % shlex.quote(script))
    assert (status, err) == (0, '')
    assert sorted(map(int, out.split())) == list(range(1, 13))


def test_other_versions_of_python(shell, router, other, blob):
    assert shell('ssh host cat <%s' % blob, dest=other)[:2] == (0, blob.read_bytes())
    assert other.call(mitogen.fakessh.run, router.local(), ['ssh', 'host', 'exit 9']) == 9


# ---- contexts


def test_from_a_child(router, child, tmp_path):
    """By the call itself, the one child is admitted to the other."""
    sibling = router.local(name='the other')
    script = 'ssh host "echo \\$WHO" >%s' % (tmp_path / 'out')
    sibling.call(targets_fakessh.set_variable, 'WHO', 'other')
    assert child.call(mitogen.fakessh.run, sibling, ['sh', '-c', script]) == 0
    assert (tmp_path / 'out').read_text() == 'other\n'
    assert child.call(mitogen.fakessh.run, dest=sibling, args=['ssh', 'host', 'exit 5']) == 5


def test_a_child_may_not_run_commands_in_a_sibling(router, child, tmp_path):
    sibling = router.local()
    args = ['sh', '-c', 'ssh host touch %s 2>%s' % (tmp_path / 'never', tmp_path / 'err')]
    assert child.call(targets_fakessh.run_by_itself, sibling, args) == 255
    assert 'may not start one' in (tmp_path / 'err').read_text()
    router.local().call(mitogen.fakessh.run, sibling, ['ssh', 'host', 'true'])      # another is admitted
    assert child.call(targets_fakessh.run_by_itself, sibling, args) == 255
    assert 'may not call' in (tmp_path / 'err').read_text()
    assert not (tmp_path / 'never').exists()


def test_a_child_and_its_own_child(router, child):
    grandchild = router.local(via=child)
    assert child.call(targets_fakessh.run_by_itself, grandchild, ['ssh', 'host', 'exit 6']) == 6


def test_the_master_as_target(router, child, tmp_path):
    script = 'ssh host "echo \\$PPID" >%s' % (tmp_path / 'out')
    assert child.call(mitogen.fakessh.run, router.myself(), ['sh', '-c', script]) == 0
    assert int((tmp_path / 'out').read_text()) == os.getpid()


def test_a_chain(router, child, blob, tmp_path, shell):
    far = router.fork(via=router.local(via=child))
    assert shell('ssh host cat <%s' % blob, dest=far)[:2] == (0, blob.read_bytes())


def test_while_the_target_is_busy(child, shell, tmp_path):
    busy = child.call_async(subprocess.call, ['sh', '-c', 'until [ -e %s ]; do sleep 0.01; done' % (tmp_path / 'go')])
    assert shell('ssh host touch %s' % (tmp_path / 'go'))[0] == 0
    assert busy.get(10).unpickle() == 0


# ---- ends


def started_command(tmp_path, more=''):
    """A script that tells the pid of its remote half, which would go on for ever; and a function that waits for it."""
    pid_file = tmp_path / 'remote.pid'
    script = 'ssh host "%s echo \\$\\$ >%s.new; mv %s.new %s; while :; do sleep 1000; done"' % (
        more, pid_file, pid_file, pid_file)
    return script, lambda: int(support.wait_for(pid_file.exists) and pid_file.read_text())


def gone(pid):
    support.wait_for(lambda: not support.is_running(pid), 30, 'end of the remote command')


@pytest.mark.parametrize('more', ['', 'trap : TERM HUP PIPE;'], ids=['obedient', 'stubborn'])
@pytest.mark.parametrize('terminal', ['', '-tt'])
def test_an_ssh_that_goes_away_takes_the_command_along(router, child, tmp_path, more, terminal):
    script, pid = started_command(tmp_path, more)
    script = script.replace('ssh', 'ssh ' + terminal, 1)
    args = ['sh', '-c', '%s & echo $! >%s; wait $!' % (script, tmp_path / 'ssh.pid')]
    killed = []

    def kill():
        killed.append(pid())
        os.kill(int((tmp_path / 'ssh.pid').read_text()), signal.SIGKILL)
    thread = threading.Thread(target=kill)
    thread.start()
    assert mitogen.fakessh.run(child, router, args) == 128 + signal.SIGKILL
    thread.join()
    gone(killed[0])


def test_the_deadline(router, child, tmp_path):
    script, pid = started_command(tmp_path)
    with pytest.raises(mitogen.core.TimeoutError):
        mitogen.fakessh.run(child, router, ['sh', '-c', script], deadline=2)
    gone(pid())


@pytest.mark.parametrize('lose', ['disconnect', 'kill'])
def test_a_context_that_is_lost_half_way(router, child, shell, tmp_path, lose):
    script, pid = started_command(tmp_path)
    pids = []
    own = child.call(os.getpid)
    ways = {'disconnect': lambda: router.disconnect(child),
            'kill': lambda: os.kill(own, signal.SIGKILL)}
    thread = threading.Thread(target=lambda: (pids.append(pid()), ways[lose]()))
    thread.start()
    status, _, err = shell(script)
    thread.join()
    assert status == 255
    assert child.name in err
    gone(pids[0])


def test_a_context_that_was_lost_before(router, child, shell):
    child.shutdown(wait=True)
    status, _, err = shell('ssh host true')
    assert status == 255
    assert child.name + ' is gone: exit status 0' in err


def test_the_caller_is_lost_half_way(router, child, tmp_path, temporary_folder):
    """Its program, its private folder and the command at the other end go with it."""
    script, pid = started_command(tmp_path)
    child.call(targets_fakessh.set_variable, 'TMPDIR', str(temporary_folder))
    call = child.call_async(mitogen.fakessh.run, router.local(), ['sh', '-c', script])
    remote = pid()
    assert list(temporary_folder.iterdir())
    router.disconnect(child)
    with pytest.raises(mitogen.core.ChannelError):
        call.get(10).unpickle()
    gone(remote)
    support.wait_for(lambda: not list(temporary_folder.iterdir()), 10, 'end of the private folder')


def test_nobody_else_may_use_the_folder(router, child, temporary_folder, tmp_path):
    script = 'stat -c "%%a %%U" %s/mitogen-* >%s' % (temporary_folder, tmp_path / 'modes')
    assert mitogen.fakessh.run(child, router, ['sh', '-c', script]) == 0
    assert (tmp_path / 'modes').read_text().split() == ['700', pathlib.Path('/proc/self').owner()]


def test_rubbish_on_the_socket_disturbs_nobody(shell, temporary_folder, caplog):
    code = ('import glob, socket, sys\n'
            'for rubbish in [b"", b"abc", b"\\0\\0\\0\\2{}", b"\\0\\0\\0\\7rubbish", b"\\xff" * 5000000]:\n'
            '    s = socket.socket(socket.AF_UNIX); s.connect(glob.glob(sys.argv[1] + "/*/socket")[0])\n'
            '    try:\n'
            '        s.sendall(rubbish); s.shutdown(1); s.recv(100)\n'
            '    except OSError: pass\n')
    script = '%s -c %s %s; ssh host echo fine' % (sys.executable, shlex.quote(code), temporary_folder)
    assert shell(script)[1] == b'fine\n'
