"""python3 -m mitogen tree."""

import json
import os
import platform
import re

from commands import mitogen


def test_it_draws_contexts_and_shares_those_above():
    done = mitogen('tree', '--on', 'local/fork', '--on', 'local/local', '--on', 'local', '--on', 'fork')
    assert (done.returncode, done.stderr) == (0, '')
    lines = done.stdout.splitlines()
    assert [line.partition('  ')[0] for line in lines] == ['master', '├─ local', '│', '│', '└─ fork']
    assert [re.match('[│├└─ ]*', line).group() for line in lines] == ['', '├─ ', '│  ├─ ', '│  └─ ', '└─ ']
    for line in lines[1:]:
        assert re.search(r'\w+@\S+ pid \d+  Python %s  \d+\.\d MB  \d+\.\d\d ms$' % platform.python_version(), line)
    assert len({re.search(r'pid (\d+)', line).group(1) for line in lines}) == 5


def test_as_json():
    found = [json.loads(line) for line in mitogen('tree', '--json', '--on', 'local/local').stdout.splitlines()]
    assert [node['on'] for node in found] == ['', 'local', 'local/local']
    for node in found[1:]:
        assert node['host'] == os.uname()[1]
        assert 1e6 < node['memory'] < 1e9
        assert 0 < node['ms'] < 1000


def test_what_cannot_be_reached_is_in_the_picture():
    done = mitogen('tree', '--on', 'fork/su:nobody-here/local', '--on', 'fork')
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert 'Error' in lines[2]
    assert lines[3].endswith('local  not started')


def test_a_terminal_that_knows_no_lines_is_given_letters(monkeypatch):
    import programs
    done = mitogen('tree', '--on', 'fork', env=programs.environment(PYTHONIOENCODING='ascii'))
    assert done.stdout.splitlines()[1].startswith('`- fork')
