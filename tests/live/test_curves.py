"""bench/curves.py: it measures all curves and draws them, and leaves nothing when it is interrupted."""

import json
import signal
import subprocess
import sys

import pytest

import programs
import support

CURVES = support.checkout() / 'bench' / 'curves.py'


def curves(folder, *options):
    """Run it in its shortest form; return (exit status, output, the figures that it wrote)."""
    done = subprocess.run([sys.executable, str(CURVES), '--quick', '--plots', str(folder / 'plots'), *options,
                           str(folder / 'curves.json')], env=programs.environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=100)
    print(done.stdout)
    return done.returncode, done.stdout, json.loads((folder / 'curves.json').read_text())['curves']


@pytest.fixture
def interpreter(tmp_path):
    """Makes an interpreter that finds some folder behind what PYTHONPATH says."""
    def make(folder):
        path = tmp_path / 'python'
        path.write_text('#!/bin/sh\nexport PYTHONPATH=$PYTHONPATH:%s\nexec %s "$@"\n' % (folder, sys.executable))
        path.chmod(0o755)
        return str(path)
    return make


def test_it_measures_all_curves_and_draws_them(tmp_path):
    status, output, figures = curves(tmp_path, '--alone')
    assert status == 0
    far = set() if 'curve delay left out: ' in output else {'delay'}
    assert set(figures) == {'size', 'contexts', 'threads', 'busy', 'imports'} | far
    for lines in [lines for curve in figures.values() for lines in curve.values()]:
        assert set(lines) == {'ours'} and all(value > 0 for value in lines['ours'].values())
    assert figures['contexts']['descriptors']['ours']['2'] > 4
    for name in 'latency', 'rates', 'busy', 'starts', 'costs':
        assert '<circle' in (tmp_path / 'plots' / (name + '-dark.svg')).read_text()


def test_two_libraries_are_compared(tmp_path, interpreter):
    peer = interpreter(support.checkout())
    status, output, figures = curves(tmp_path, '--curve=size', '--peer', peer)
    assert status == 0 and 'size     seconds      ours / peer at 64: ' in output
    assert set(figures['size']['seconds']) == {'ours', 'peer'}
    status, _, figures = curves(tmp_path, '--curve=threads', '--peer', peer)
    assert status == 0 and set(figures) == {'size', 'threads'}


def test_what_the_other_library_cannot_do_is_left_out(tmp_path, interpreter):
    (tmp_path / 'mitogen.py').write_text('__version__ = (0, 1, 2)\n')
    status, output, figures = curves(tmp_path, '--curve=size', '--peer', interpreter(tmp_path))
    assert status == 0
    assert "failed: peer, size 64: ModuleNotFoundError: No module named 'mitogen.utils'" in output
    assert set(figures['size']['seconds']) == {'ours'}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process_and_no_file(tmp_path, number):
    program = subprocess.Popen([sys.executable, str(CURVES), '--alone', '--curve=contexts', str(tmp_path / 'file')],
                               env=programs.environment(TMPDIR=str(tmp_path)), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        # held.py, points.py and a child at least.
        support.wait_for(lambda: len(support.descendants(program.pid)) >= 3)
        pids = support.descendants(program.pid)
        program.send_signal(number)
        assert program.wait(20) == 128 + number
    finally:
        program.kill()
        program.wait()
    assert not any(support.is_running(pid) for pid in pids)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('options, message', [
    (['--alone', '/nowhere/file'], '/nowhere: no such folder'),
    (['--alone', '--rounds=0', 'file'], '--rounds: at least 1'),
    (['--alone', '--curve=speed', 'file'], "invalid choice: 'speed'"),
    (['--peer=/nowhere/python', 'file'], '--peer: /nowhere/python: No such file or directory'),
    (['--alone', __file__], 'not written by this program'),
    ([], 'required: file')])
def test_bad_arguments(tmp_path, options, message):
    done = subprocess.run([sys.executable, str(CURVES), *options], env=programs.environment(), cwd=tmp_path,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())
