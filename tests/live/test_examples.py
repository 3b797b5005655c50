"""Every example runs, and prints what it says."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('example', sorted(path.name for path in (ROOT / 'examples').glob('*.py')))
def test_example(example):
    done = subprocess.run([sys.executable, str(ROOT / 'examples' / example)], cwd=ROOT, stdin=subprocess.DEVNULL,
                          env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'}, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr
