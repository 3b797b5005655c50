"""mitogen.fakessh: the real programs, from the master and from a child; what they copy is compared file by file."""

import os
import random
import shutil
import subprocess
import sys

import pytest

import mitogen.fakessh
import support


def need(*names):
    """Skip the test unless these programs are here."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip('the program %s is not installed' % name)


def need_sftp_server():
    need('sftp')
    if not any(map(os.path.exists, mitogen.fakessh_target.SFTP_SERVERS)):
        pytest.skip('the program sftp-server is not installed')


@pytest.fixture(params=['master', 'child'])
def program(request, router):
    """`program('rsync', ...)` runs a program, in the master or in a child, whose ssh leads to another child."""
    dest = router.local(name='dest')
    if request.param == 'master':
        return lambda *args: mitogen.fakessh.run(dest, router, [str(arg) for arg in args])
    near = router.local(name='near')
    return lambda *args: near.call(mitogen.fakessh.run, dest, [str(arg) for arg in args])


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / 'the source', files=40, large=2 << 20)


def write_tree(path, files, large):
    """Folders, files of many sizes, odd names, links and modes."""
    rng = random.Random(4)
    path.mkdir()
    (path / 'large').write_bytes(rng.getrandbits(8 * large).to_bytes(large, 'little'))
    for number in range(files):
        folder = path / 'folder' / ('%03d' % (number // 100))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ('file %d' % number)).write_bytes(b'%d\0\r\n\xff' % number * rng.randrange(100))
    (path / 'empty').touch()
    (path / "quote's \"and\" $HOME; *").write_text('odd')
    (path / os.fsdecode(b'no utf-8 \xff')).write_text('bytes')
    (path / 'link').symlink_to('large')
    (path / 'empty').chmod(0o750)
    return path


def contents(path):
    """{name: (mode, contents)} of all that is below a folder."""
    found = {}
    for entry in path.rglob('*'):
        what = os.readlink(entry) if entry.is_symlink() else entry.read_bytes() if entry.is_file() else None
        found[entry.relative_to(path)] = entry.lstat().st_mode, what
    return found


def test_rsync_to_the_context(program, tree, tmp_path):
    need('rsync')
    assert program('rsync', '-a', '%s/' % tree, 'any-host:%s' % (tmp_path / 'copy')) == 0
    assert contents(tmp_path / 'copy') == contents(tree)


def test_rsync_from_the_context(program, tree, tmp_path):
    need('rsync')
    assert program('rsync', '-a', '-e', 'ssh -p 22', '%s@any-host:%s/' % ('user', tree), tmp_path / 'copy') == 0
    assert contents(tmp_path / 'copy') == contents(tree)


def test_rsync_sends_only_what_has_changed(program, tree, tmp_path):
    need('rsync')
    args = 'rsync', '-a', '--delete', '--checksum', '%s/' % tree, 'host:%s' % (tmp_path / 'copy')
    assert program(*args) == 0
    (tmp_path / 'copy' / 'extra').write_text('extra')
    (tmp_path / 'copy' / 'large').write_bytes(b'x' + (tree / 'large').read_bytes())
    assert program(*args) == 0
    assert contents(tmp_path / 'copy') == contents(tree)


def test_rsync_says_what_fails(program, tmp_path):
    need('rsync')
    assert program('rsync', '-a', 'host:%s' % (tmp_path / 'nothing'), tmp_path / 'copy') == 23


@pytest.mark.parametrize('options', [['-O'], []], ids=['old protocol', 'sftp'])
def test_scp(program, tree, tmp_path, options):
    need('scp')
    if not options:
        need_sftp_server()
    (tree / os.fsdecode(b'no utf-8 \xff')).unlink()     # scp cannot
    (tree / 'link').unlink()                            # and follows
    there, back = tmp_path / 'there', tmp_path / 'back'
    assert program('scp', *options, '-q', '-r', '-p', tree, 'host:%s' % there) == 0
    assert contents(there) == contents(tree)
    # With its full path, as scripts like to call it.
    assert program(shutil.which('scp'), *options, '-q', '-r', '-p', 'host:%s' % there, back) == 0
    assert contents(back) == contents(tree)


def test_sftp(program, tree, tmp_path):
    need_sftp_server()
    batch = tmp_path / 'batch'
    batch.write_text('mkdir {0}/there\nput "{1}/large" {0}/there/large\nget {0}/there/large {0}/back\n'.format(
        tmp_path, tree))
    assert program('sftp', '-q', '-b', batch, 'host') == 0
    assert (tmp_path / 'back').read_bytes() == (tree / 'large').read_bytes()
    batch.write_text('get %s/nothing %s/never\n' % (tmp_path, tmp_path))
    assert program('sftp', '-q', '-b', batch, 'host') == 1


def git(*args, cwd):
    command = ['git', '-c', 'user.name=n', '-c', 'user.email=e', *map(str, args)]
    return subprocess.check_output(command, cwd=cwd, text=True)


def test_git(program, tree, tmp_path):
    need('git')
    origin, clone = tmp_path / 'origin.git', tmp_path / 'clone'
    (tree / 'empty').chmod(0o755)       # one of the two modes that git knows
    git('init', '-q', '-b', 'main', cwd=tree)
    git('add', '.', cwd=tree)
    git('commit', '-q', '-m', 'first', cwd=tree)
    git('clone', '-q', '--bare', tree, origin, cwd=tmp_path)
    assert program('git', 'clone', '-q', 'host:%s' % origin, clone) == 0
    assert git('rev-parse', 'HEAD', cwd=clone) == git('rev-parse', 'HEAD', cwd=tree)
    shutil.rmtree(tree / '.git')
    shutil.move(str(clone / '.git'), str(tmp_path / 'moved'))
    assert contents(clone) == contents(tree)
    shutil.move(str(tmp_path / 'moved'), str(clone / '.git'))

    (clone / 'more').write_text('more')
    git('add', '.', cwd=clone)
    git('commit', '-q', '-m', 'second', cwd=clone)
    assert program('git', '-C', clone, 'push', '-q', 'ssh://host%s' % origin) == 0
    assert git('rev-parse', 'main', cwd=origin) == git('rev-parse', 'HEAD', cwd=clone)
    assert program('git', 'clone', '-q', 'host:%s' % (tmp_path / 'nothing'), tmp_path / 'never') == 128


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize('files, large', [(0, 1 << 30), (20000, 0)], ids=['1 GB', '20,000 files'])
def test_a_lot(router, tmp_path, files, large):
    """Both ways, over two hops."""
    need('rsync')
    dest = router.fork(via=router.local())
    tree = tmp_path / 'tree'
    tree.mkdir()
    if large:
        subprocess.check_call(['dd', 'if=/dev/urandom', 'of=%s' % (tree / 'large'), 'bs=1M', 'count=%d' % (large >> 20),
                               'status=none'])
    for number in range(files):
        if number % 200 == 0:
            (tree / str(number // 200)).mkdir()
        (tree / str(number // 200) / str(number)).write_bytes(b'%d ' % number * (number % 50))
    there, back = tmp_path / 'there', tmp_path / 'back'
    assert mitogen.fakessh.run(dest, router, ['rsync', '-a', '%s/' % tree, 'host:%s' % there]) == 0
    assert mitogen.fakessh.run(dest, router, ['rsync', '-a', 'host:%s/' % there, str(back)]) == 0
    assert subprocess.call(['diff', '-r', str(tree), str(there)]) == 0
    assert subprocess.call(['diff', '-r', str(tree), str(back)]) == 0


# ---- python3 -m mitogen fakessh


def command(*args, **options):
    return subprocess.run([sys.executable, '-m', 'mitogen', 'fakessh', *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, env=dict(os.environ, PYTHONPATH=support.import_path()),
                          **options)


def test_the_command(tree, tmp_path):
    need('rsync')
    done = command('--on', 'local/fork', '--', 'rsync', '-a', '%s/' % tree, 'host:%s' % (tmp_path / 'copy'))
    assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'')
    assert contents(tmp_path / 'copy') == contents(tree)


@pytest.mark.parametrize('args, status, said', [
    (['--', 'ssh', 'host', 'exit 7'], 7, b''),
    (['--on', 'local', '--', 'sh', '-c', 'kill -15 $$'], 128 + 15, b''),
    (['--', 'no-such-program'], 127, b'no-such-program'),
    (['--on', 'telepathy:host', '--', 'true'], 2, b'telepathy'),
    ([], 2, b'program'),
])
def test_the_status_of_the_command(args, status, said):
    done = command(*args, stdin=subprocess.DEVNULL)
    assert done.returncode == status
    assert said in done.stderr


def test_the_standard_streams_of_the_command():
    done = command('--', 'ssh', 'host', 'tr a-z A-Z; echo error >&2; exit 3', input=b'text\n')
    assert (done.returncode, done.stdout, done.stderr) == (3, b'TEXT\n', b'error\n')
