"""python3 -m mitogen copy: files there and back, and what an interruption leaves."""

import json
import os
import signal

import pytest

import support
from commands import Terminal, interrupt, mitogen, started
from mitogen.commands.copy import checked
from mitogen.commands.fleet import Failure

BIG = 30 << 20


@pytest.fixture
def big(tmp_path):
    """A file that takes a moment to copy."""
    path = tmp_path / 'big'
    with open(path, 'wb') as fp:
        for _ in range(BIG >> 20):
            fp.write(os.urandom(1 << 20))
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with a bit of everything."""
    path = tmp_path / 'source'
    (path / 'deep' / 'deeper').mkdir(parents=True)
    (path / 'empty').mkdir()
    (path / 'nothing').write_bytes(b'')
    (path / 'deep' / 'deeper' / 'file').write_bytes(os.urandom(600000))
    (path / 'program').write_text('#!/bin/sh\n')
    (path / 'program').chmod(0o750)
    (path / 'secret').write_text('x')
    (path / 'secret').chmod(0o400)
    (path / 'link').symlink_to('program')
    (path / 'broken').symlink_to('/nonexistent')
    (path / 'sealed').mkdir()
    (path / 'sealed' / 'inside').write_text('y')
    (path / 'sealed').chmod(0o555)
    return path


def picture(path):
    """All that a copy has to keep: {path: (mode, content)}."""
    found = {}
    for top, folders, files in os.walk(path):
        for name in ['.', *folders, *files]:
            full = os.path.join(top, name)
            status = os.lstat(full)
            content = (os.readlink(full) if os.path.islink(full) else
                       open_and_read(full) if os.path.isfile(full) else None)
            found[os.path.relpath(full, path)] = status.st_mode, content
    return found


def open_and_read(path):
    with open(path, 'rb') as fp:
        return fp.read()


# ---- what arrives


@pytest.mark.parametrize('hops', ['local', 'fork', 'local/local'])
def test_a_file_there_and_back(tmp_path, big, hops):
    big.chmod(0o640)
    done = mitogen('copy', big, '--on', hops, tmp_path / 'there')
    assert (done.stdout, done.stderr, done.returncode) == ('', '', 0)
    done = mitogen('copy', '--from', hops, tmp_path / 'there', tmp_path / 'back')
    assert (done.stdout, done.stderr, done.returncode) == ('', '', 0)
    for name in 'there', 'back':
        assert (tmp_path / name).read_bytes() == big.read_bytes()
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o640


def test_a_folder_there_and_back(tmp_path, folder):
    assert mitogen('copy', '-r', folder, '--on', 'local', tmp_path / 'there').returncode == 0
    assert mitogen('copy', '-r', '--from', 'local', tmp_path / 'there', tmp_path / 'back').returncode == 0
    assert picture(tmp_path / 'there') == picture(folder)
    assert picture(tmp_path / 'back') == picture(folder)


def test_a_folder_again_over_itself(tmp_path, folder):
    for _ in range(2):
        os.chmod(folder / 'sealed', 0o755)
        assert mitogen('copy', '-r', folder, '--on', 'local', str(tmp_path / 'there') + '/').returncode in (0, 1)
        (tmp_path / 'there').mkdir(exist_ok=True)
    assert picture(tmp_path / 'there' / 'source') == picture(folder)


def test_several_into_a_folder(tmp_path, folder):
    (tmp_path / 'there').mkdir()
    done = mitogen('copy', folder / 'program', folder / 'nothing', '--on', 'local', tmp_path / 'there')
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path / 'there')) == ['nothing', 'program']


def test_from_several_places_each_has_its_folder(tmp_path, folder):
    done = mitogen('copy', '--from', 'local', '--from', 'local/fork', folder / 'program', tmp_path / 'all')
    assert done.returncode == 0
    assert (tmp_path / 'all' / 'local' / 'program').read_text() == '#!/bin/sh\n'
    assert (tmp_path / 'all' / 'local_fork' / 'program').read_text() == '#!/bin/sh\n'


def test_a_link_at_the_destination_stays_one(tmp_path, folder):
    (tmp_path / 'real').write_text('old')
    (tmp_path / 'link').symlink_to('real')
    assert mitogen('copy', folder / 'program', '--on', 'local', tmp_path / 'link').returncode == 0
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real').read_text() == '#!/bin/sh\n'


def test_json_counts(tmp_path, big):
    done = mitogen('copy', '--json', big, '--on', 'local', tmp_path / 'there')
    assert json.loads(done.stdout) == {'on': 'local', 'ok': True, 'bytes': BIG}


# ---- what is refused


@pytest.mark.parametrize('args, said', [
    (['copy', '{0}', '--on', 'local', '{1}/x'], '-r copies it'),
    (['copy', '--from', 'local', '{0}', '{1}/x'], '-r copies it'),
    (['copy', '{0}/none', '--on', 'local', '{1}/x'], 'No such file'),
    (['copy', '--from', 'local', '{0}/none', '{1}/x'], 'FileNotFoundError'),
    (['copy', '{0}/program', '--on', 'local', '{1}/no/such/x'], 'FileNotFoundError'),
    (['copy', '--from', 'local', '{0}/program', '{1}/no/such/x'], 'FileNotFoundError'),
    (['copy', '{0}/program', '--on', 'local', '/dev/null'], 'not a regular file'),
    (['copy', '--from', 'local', '/dev/zero', '{1}/x'], 'not a regular file'),
    (['copy', '--from', 'local', '{0}/program', '{0}/secret', '{1}/x'], 'not a folder'),
])
def test_failures_are_told_in_a_line(tmp_path, folder, args, said):
    done = mitogen(*[arg.format(folder, tmp_path) for arg in args])
    # What is wrong with files of this machine is known before anything is connected: a wrong command line.
    assert (done.stdout, done.returncode) == ('', 2 if '--from' not in args and said[:2] in ('-r', 'No') else 1)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / 'x').exists()


def test_a_failure_in_one_place_does_not_keep_others_from_it(tmp_path, folder):
    done = mitogen('copy', folder / 'program', '--on', 'local', '--on', 'local/su:nobody-here', tmp_path / 'x')
    assert done.returncode == 1
    assert 'local/su:nobody-here: ' in done.stderr
    assert (tmp_path / 'x').read_text() == '#!/bin/sh\n'


@pytest.mark.parametrize('entries', [
    [('folder', '', 0o755), ('file', '../x', 1)],
    [('folder', '', 0o755), ('file', '/etc/x', 1)],
    [('folder', '', 0o755), ('link', 'a', '/etc'), ('file', 'a/x', 1)],
    [('folder', '', 0o755), ('link', 'a', '/etc'), ('folder', 'a', 0o755), ('file', 'a/x', 1)],
    [('folder', '', 0o755), ('folder', '..', 0o755), ('file', '../x', 1)],
    [('folder', '', 0o755), ('file', 'a//x', 1)],
    [('folder', '', 0o755), ('device', 'a', 1)],
    [('link', '', '/etc'), ('file', 'passwd', 1)],
    [('file', 'x', 1)],
    [],
])
def test_a_list_that_leads_out_of_the_folder_is_refused(entries):
    with pytest.raises(Failure):
        checked(entries, 'source', True)


# ---- interruption


def files_in(path):
    return sorted(name for name in os.listdir(path))


def part_of(path):
    """The unfinished file in a folder, once there is one with something in it."""
    return [name for name in os.listdir(path) if name.endswith('.mitogen-part') and size(path / name)]


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.fixture
def endless(tmp_path):
    """A file of which a copy is never done in this test: 200 GB, all of it a hole."""
    with open(tmp_path / 'endless', 'wb') as fp:
        fp.truncate(200 << 30)
    (tmp_path / 'there').mkdir()
    return tmp_path / 'endless'


@pytest.mark.parametrize('way', ['--on', '--from'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, endless, way, number):
    there = tmp_path / 'there'
    (there / 'file').write_text('old')
    with started('copy', endless, way, 'local', there / 'file') as program:
        support.wait_for(lambda: part_of(there), timeout=20)
        status, _, err = interrupt(program, number)
    assert status == 128 + number
    assert 'local: stopped' in err
    support.wait_for(lambda: files_in(there) == ['file'], timeout=2)
    assert (there / 'file').read_text() == 'old'


def test_a_master_that_is_killed_leaves_nothing_on_the_target(tmp_path, endless):
    there = tmp_path / 'there'
    with started('copy', endless, '--on', 'local', there / 'file') as program:
        support.wait_for(lambda: part_of(there), timeout=20)
        program.kill()
        support.wait_for(lambda: files_in(there) == [], timeout=5)


def test_a_target_that_is_killed_leaves_no_file_under_the_final_name(tmp_path, endless):
    there = tmp_path / 'there'
    with started('copy', endless, '--from', 'local', there / 'file') as program:
        support.wait_for(lambda: part_of(there), timeout=20)
        for pid in support.descendants(program.pid):
            os.kill(pid, signal.SIGKILL)
        assert program.wait(10) == 1
    assert files_in(there) == []


# ---- progress


def test_a_terminal_is_shown_the_progress_and_a_pipe_is_not(tmp_path, endless):
    terminal = Terminal('copy', endless, '--on', 'local', tmp_path / 'there')
    try:
        support.wait_for(lambda: ' of 215 GB' in terminal.text, timeout=20)
        terminal.type('\x03')
        assert terminal.status() == 130
    finally:
        terminal.close()
    assert terminal.text.splitlines()[-1] == '  local: stopped'
    with started('copy', endless, '--on', 'local', tmp_path / 'there') as program:
        support.wait_for(lambda: part_of(tmp_path / 'there'), timeout=20)
        assert interrupt(program)[2].splitlines()[0] == 'interrupted: 0 of 1 done'


def test_a_link_that_came_before_leads_nowhere(tmp_path):
    """What was a link is a folder the next time, or a file: a hostile machine would write wherever it likes."""
    source, there, outside = tmp_path / 'source', tmp_path / 'there', tmp_path / 'outside'
    for path in source, there, outside:
        path.mkdir()
    (outside / 'keys').write_text('ours')
    (source / 'folder').symlink_to(outside)
    (source / 'keys').symlink_to(outside / 'keys')
    assert mitogen('copy', '-r', '--from', 'local', source, there).returncode == 0
    assert (there / 'source' / 'keys').read_text() == 'ours'
    for name in 'folder', 'keys':
        (source / name).unlink()
    (source / 'folder').mkdir()
    for path in source / 'folder' / 'keys', source / 'keys':
        path.write_text('theirs')
    assert mitogen('copy', '-r', '--from', 'local', source, there).returncode == 0
    assert (outside / 'keys').read_text() == 'ours'
    assert picture(there / 'source') == picture(source)
