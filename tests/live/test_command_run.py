"""python3 -m mitogen run: whole scripts elsewhere."""

import json
import subprocess
import textwrap

import pytest

import support
from commands import interrupt, mitogen, started


@pytest.fixture
def script(tmp_path):
    """Writes a script, and returns its path."""
    def write(source, name='script.py'):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        return str(path)
    return write


def test_it_sees_what_a_script_sees(script):
    path = script('import sys\nprint(sys.argv, __name__, __file__, sys.stdin.read())\n')
    done = mitogen('run', path, '--on', 'local', '--', '-x', '--on', 'y')
    assert done.stdout == "%r __main__ %s \n" % ([path, '-x', '--on', 'y'], path)
    assert (done.stderr, done.returncode) == ('', 0)


@pytest.mark.parametrize('hops', ['local', 'fork', 'local/fork'])
def test_output_of_code_and_programs_comes_in_the_order_of_its_writing(script, hops):
    path = script("""
        import os, subprocess, sys
        for number in range(5):
            print('print', number)
            os.system('echo program %d' % number)
            os.write(1, b'write %d\\n' % number)
        print('no end', end='')
        print('error', file=sys.stderr)
        subprocess.call(['sh', '-c', 'echo its error >&2'])
        """)
    done = mitogen('run', path, '--on', hops)
    assert done.stdout == ''.join('print %d\nprogram %d\nwrite %d\n' % (n, n, n) for n in range(5)) + 'no end'
    assert done.stderr == 'error\nits error\n'


def test_the_order_holds_between_both_streams(script):
    path = script("""
        import os, sys
        for number in range(50):
            print('out', number)
            print('err', number, file=sys.stderr)
            os.system('echo out too; ')
            os.system('echo err too >&2')
        """)
    with started('run', path, stderr=subprocess.STDOUT) as program:        # both into one pipe
        out, _ = program.communicate(timeout=60)
    assert out.decode() == ''.join('out %d\nerr %d\nout too\nerr too\n' % (n, n) for n in range(50))


def test_lines_of_several_places_stay_whole_and_tell_where_they_are_from(script):
    path = script("""
        import os, sys
        for number in range(2000):
            sys.stdout.write('line %d of ' % number)
            sys.stdout.flush()
            sys.stdout.write('many\\n')
        sys.stdout.write('without end')
        """)
    done = mitogen('run', path, '--on', 'local', '--on', 'fork', '--on', 'local/local')
    assert done.returncode == 0
    expected = ['line %d of many' % number for number in range(2000)] + ['without end']
    lines = done.stdout.splitlines()
    for hops in 'local', 'fork', 'local/local':
        assert [line[len(hops) + 2:] for line in lines if line.startswith(hops + ': ')] == expected
    assert len(lines) == 3 * len(expected)


def test_bytes_of_one_place_are_not_touched(script):
    path = script("import os\nos.write(1, bytes(range(256)) * 5000)\n")
    with started('run', path) as program:
        out, _ = program.communicate(timeout=60)
    assert out == bytes(range(256)) * 5000


@pytest.mark.parametrize('code, status', [
    ('pass', 0), ('import sys; sys.exit()', 0), ('import sys; sys.exit(7)', 7), ('raise SystemExit(-1)', 255),
    ('import sys; sys.exit("in words")', 1), ('1 / 0', 1), ('nonsense(', 1), ('import os; os._exit(3)', 1)])
def test_the_exit_status_is_the_scripts(script, code, status):
    done = mitogen('run', script(code))
    assert done.returncode == status
    assert bool(done.stderr) == (status == 1)


def test_of_several_the_largest_status_counts(script):
    path = script('import os, sys\nsys.exit(int(os.environ.get("X", os.getppid() % 2 + 4)))\n')
    assert mitogen('run', path, '--on', 'local', '--on', 'local').returncode in (4, 5)


def test_a_traceback_shows_the_scripts_own_lines(script):
    done = mitogen('run', script('def deep():\n    return 1 / 0     # here\n\ndeep()\n'))
    assert 'line 2, in deep' in done.stderr
    assert '# here' in done.stderr
    assert 'mitogen' not in done.stderr


def test_modules_beside_the_script_come_along(script):
    script('VALUE = 42\n', 'beside_the_script.py')
    assert mitogen('run', script('import beside_the_script\nprint(beside_the_script.VALUE)\n'),
                   '--on', 'local').stdout == '42\n'


def test_its_threads_and_exit_functions_have_their_say(script):
    path = script("""
        import atexit, threading
        atexit.register(print, 'exit')
        gate = threading.Event()
        threading.Thread(target=lambda: (gate.wait(), print('thread'))).start()
        print('main')
        gate.set()
        """)
    for hops in 'local', 'fork':
        assert mitogen('run', path, '--on', hops).stdout == 'main\nthread\nexit\n'


def test_json_has_all_of_it(script):
    path = script('import sys\nprint("out")\nprint("err", file=sys.stderr)\nsys.exit(3)\n')
    done = mitogen('run', path, '--json', '--on', 'local', '--on', 'local')
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {'on': 'local', 'ok': False, 'status': 3, 'stdout': 'out\n', 'stderr': 'err\n'}] * 2
    assert (done.stderr, done.returncode) == ('', 3)


def test_a_script_from_standard_input(script):
    with open(script('print("from stdin")\n')) as file:
        assert mitogen('run', '-', '--on', 'local', stdin=file).stdout == 'from stdin\n'


def test_a_script_that_is_missing():
    done = mitogen('run', '/nonexistent.py')
    assert (done.returncode, done.stdout) == (2, '')
    assert '/nonexistent.py' in done.stderr


def test_what_is_printed_before_a_crash_arrives(script):
    path = script("""
        import os, signal, sys
        print('last words', flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    done = mitogen('run', path)
    assert done.returncode == 1
    assert 'SIGKILL' in done.stderr


def test_a_reader_that_stands_still_stops_the_script(script, tmp_path):
    mark = tmp_path / 'mark'
    path = script("""
        import sys
        for number in range(200):
            sys.stdout.write('x' * 100000)
            with open(%r, 'w') as fp:
                fp.write(str(number))
        """ % str(mark))
    with started('run', path) as program:
        first = program.stdout.read(1)
        support.wait_for(mark.exists)
        counts = []

        def stands_still():
            counts.append(mark.read_text())
            return len(counts) > 50 and len(set(counts[-50:])) == 1
        support.wait_for(stands_still, timeout=30)
        assert int(counts[-1]) < 100
        rest, _ = program.communicate(timeout=60)
    assert len(first + rest) == 200 * 100000


def test_a_reader_that_goes_away_ends_it(script):
    path = script('while True: print("yes")\n')
    with started('run', path) as program:
        program.stdout.read(10)
        program.stdout.close()
        program.stdout = None
        assert program.wait(10) == 141
        pids = support.descendants(program.pid)
    assert not any(map(support.is_running, pids))


def test_ctrl_c_reaches_the_script_its_programs_and_its_last_words_are_heard(script):
    path = script("""
        import subprocess
        print('started', flush=True)
        try:
            subprocess.call(['sleep', '79'])
        except KeyboardInterrupt:
            print('cleaned up')
            raise
        """)
    with started('run', path, '--on', 'local', '--on', 'fork') as program:
        support.wait_for(lambda: sum(status[2] == 'sleep' for pid in support.descendants(program.pid)
                                     if (status := support.process_status(pid))) == 2)
        pids = support.descendants(program.pid)
        status, out, err = interrupt(program)
    assert status == 130
    assert out.count('cleaned up') == 2
    assert err.count('stopped') == 2
    support.wait_until_gone(pids, 1)


def test_ctrl_c_ends_a_script_that_does_not_listen(script):
    path = script("""
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print('ignoring', flush=True)
        while True:
            time.sleep(10)
        """)
    with started('run', path) as program:
        assert program.stdout.read(8) == b'ignoring'
        pids = support.descendants(program.pid)
        assert interrupt(program)[0] == 130
    support.wait_until_gone(pids, 1)
