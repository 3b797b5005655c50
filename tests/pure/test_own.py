"""modules.shorten: short names inside functions; modules.own: what is kept of it for the next process."""

import ast
import marshal
import os
import pathlib
import re
import sys
import textwrap
import zlib

import pytest

import mitogen
import rings
from mitogen.minify import minimize_source
from mitogen.modules import own, shorten

PACKAGE = pathlib.Path(mitogen.__file__).parent


@pytest.mark.parametrize('source, expected', [
    ('def f(value):\n twice=value*2\n return twice\n', 'def f(value):\n e=value*2\n return e\n'),
    ('def f():\n first=second=0\n first+=second\n', 'def f():\n e=t=0\n e+=t\n'),
    ('def f(e):\n twice=e\n', 'def f(e):\n t=e\n'),                          # a letter that is in use
    ('def f():\n twice=t+e\n', 'def f():\n a=t+e\n'),
    ('def f():\n for ä in é:name=ä;name\n', 'def f():\n for ä in é:e=ä;e\n'),   # columns are bytes
    ('async def f():\n async with g() as name:name\n', 'async def f():\n async with g() as e:e\n'),
    ('def f():\n del name\n name=1\n', 'def f():\n del e\n e=1\n'),
    ('def f():\n def g():\n  name=1\n', 'def f():\n def g():\n  e=1\n'),
])
def test_what_is_renamed(source, expected):
    assert shorten.shorten_locals(source) == expected
    assert shorten.shorten_locals(expected) == expected


@pytest.mark.parametrize('source', [
    'name=1\n', 'class C:\n name=1\n', 'def f(name):\n name=1\n', 'def f(*name):\n name=1\n',
    'def f():\n global name\n name=1\n', 'def f():\n return name\n',
    'def f():\n name=1\n return lambda:name\n', 'def f():\n name=1\n return[name for x in y]\n',
    'def f():\n name=1\n class C:\n  x=name\n', 'def f():\n name=1\n def g():\n  nonlocal name\n  name=2\n',
    'def f():\n try:0\n except E as name:name\n', 'def f():\n import name\n name=1\n',
    'def f():\n import name.x\n name=1\n', 'def f():\n from x import y as name\n name=1\n',
    'def f():\n def name():0\n name=1\n', 'def f():\n match x:\n  case[name]:name=1\n',
    'def f():\n name=1\n return locals()\n', 'def f():\n name=1\n return f"{name}"\n',
    'def f():\n x(name=1).name\n',
])
def test_what_somebody_else_could_see_stays(source):
    assert shorten.shorten_locals(source) == source


def test_keywords_and_attributes_are_no_variables():
    source = 'def f():\n name=1\n return g(name=name).name\n'
    assert shorten.shorten_locals(source) == 'def f():\n e=1\n return g(name=e).name\n'


def test_more_variables_than_letters():
    names = ['name%d' % number for number in range(40)]
    source = 'def f():\n %s=0\n return %s\n' % ('='.join(names), '+'.join(names))
    namespace = {}
    exec(shorten.shorten_locals(source), namespace)
    assert namespace['f']() == 0


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_all_that_is_sent_keeps_its_lines_and_its_globals(path):
    source = path.read_bytes()
    small = ast.parse(shorten.smallest(source.decode()))
    def functions(tree):
        return [(node.name, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert set(functions(small)) <= set(functions(ast.parse(source)))


# ---- Private names


def sent_modules():
    return [PACKAGE / name for name, ring in rings.RING.items() if ring < 2]


def test_private_names_are_short_and_of_the_core():
    names = shorten.private_names()
    assert len(set(names.values())) == len(names) > 30
    assert names['_deferred'].startswith('_') and len(names['_deferred']) == 2
    assert not {'_pickle', '_exit', '_value', '_listeners'} & set(names)      # another's, or found by text


def test_no_text_names_what_is_renamed():
    """Neither getattr() nor an f-string of Python 3.11 would find it."""
    for path in sent_modules():
        nodes = list(ast.walk(ast.parse(minimize_source(path.read_text()))))
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        words = {word for text in strings for word in re.findall(r'\w+', text)}
        assert not words & set(shorten.private_names()), path
        assert not any(isinstance(node, ast.JoinedStr) for node in nodes), path


def test_private_attributes_are_of_our_own_objects():
    """`logging._lock` would be looked for under its short name."""
    ours = {'self', 'router', 'stream', 'source', 'broker', 'context'}
    for path in sent_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in shorten.private_names():
                assert isinstance(node.value, ast.Name) and node.value.id in ours or 'self.' in ast.unparse(node), (
                    path, ast.unparse(node))


def test_no_module_has_a_name_like_the_short_ones():
    short = set(shorten.private_names().values())
    for path in sent_modules():
        assert not short & set(re.findall(r'\w+', path.read_text())), path


# ---- What is kept

KEPT = f'x.{sys.implementation.cache_tag}.min'


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The file where the source of a module `x` is kept."""
    folder = tmp_path / 'compiled'
    folder.mkdir()
    monkeypatch.setattr(own.sys, 'dont_write_bytecode', False)
    monkeypatch.setattr(own.importlib.util, 'cache_from_source', lambda path: str(folder / 'minify.pyc'))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(own, '_made', {})       # as in a new process
    return folder / KEPT


@pytest.fixture
def cached(tmp_path):
    """The same in the user's cache."""
    return tmp_path / '.cache' / 'mitogen' / KEPT


SOURCE = textwrap.dedent('''
    def f():
        name = 1    # one
        return name
''').encode()
SMALL = b'\ndef f():\n e=1\n return e\n'


def as_another_process(monkeypatch):
    monkeypatch.setattr(own, '_made', {})


def test_it_is_made_once(kept, cached, monkeypatch):
    assert own.smallest('x', SOURCE) == SMALL and kept.read_bytes().endswith(SMALL)
    assert list(kept.parent.iterdir()) == [kept] and not cached.exists()
    monkeypatch.delattr(shorten, 'shorten_locals')
    as_another_process(monkeypatch)
    assert own.smallest('x', SOURCE) == SMALL


def test_a_module_of_which_nothing_is_left_is_made_once(kept, monkeypatch):
    assert own.smallest('x', b'"""Text."""') == b''
    monkeypatch.delattr(shorten, 'shorten_locals')
    assert own.smallest('x', b'"""Text."""') == b''
    as_another_process(monkeypatch)
    assert own.smallest('x', b'"""Text."""') == b''


def test_its_code_is_made_once(kept, monkeypatch):
    code = own.code('x', SMALL, 'master:x.py')
    assert marshal.loads(zlib.decompress(code)).co_filename == 'master:x.py'
    assert [path.suffix for path in kept.parent.iterdir()] == ['.code']
    monkeypatch.delattr(own, 'packed')
    as_another_process(monkeypatch)
    assert own.code('x', SMALL, 'master:x.py') == code


@pytest.mark.parametrize('source, path', [(SMALL + b'x', 'master:x.py'), (SMALL, 'master:elsewhere/x.py')])
def test_code_of_something_else_is_made_anew(kept, source, path):
    first = own.code('x', SMALL, 'master:x.py')
    assert own.code('x', source, path) != first


@pytest.mark.parametrize('damage', [lambda data: data[:-9], lambda data: data[:-9] + bytes(9), lambda data: data[:9]])
def test_what_was_damaged_is_made_anew(kept, monkeypatch, damage):
    own.smallest('x', SOURCE)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    as_another_process(monkeypatch)
    assert own.smallest('x', SOURCE) == SMALL and kept.read_bytes() == whole


@pytest.mark.parametrize('content', [b'', b'nonsense', b'x' * 100])
def test_what_does_not_fit_is_made_anew(kept, content):
    kept.write_bytes(content)
    assert own.smallest('x', SOURCE) == SMALL and kept.read_bytes().endswith(SMALL)
    assert own.smallest('x', SOURCE.replace(b'1', b'2')) == SMALL.replace(b'1', b'2')


@pytest.mark.parametrize('in_the_way', ['kept', 'unwanted'])
def test_what_cannot_be_kept_with_the_compiled_goes_to_the_cache(kept, cached, monkeypatch, in_the_way):
    if in_the_way == 'kept':
        kept.mkdir()
    else:
        monkeypatch.setattr(own.sys, 'dont_write_bytecode', True)
    assert own.smallest('x', SOURCE) == SMALL
    assert cached.read_bytes().endswith(SMALL) and list(cached.parent.iterdir()) == [cached]
    assert [path for path in kept.parent.iterdir() if path.is_file()] == []
    monkeypatch.delattr(shorten, 'shorten_locals')
    as_another_process(monkeypatch)
    assert own.smallest('x', SOURCE) == SMALL


def test_the_cache_may_be_elsewhere(kept, cached, monkeypatch, tmp_path):
    monkeypatch.setattr(own.sys, 'dont_write_bytecode', True)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'elsewhere'))
    own.smallest('x', SOURCE)
    assert (tmp_path / 'elsewhere' / 'mitogen' / KEPT).exists() and not cached.exists()


def test_nothing_can_be_kept(kept, cached, monkeypatch):
    kept.mkdir()
    cached.mkdir(parents=True)
    assert own.smallest('x', SOURCE) == SMALL
    assert list(kept.parent.iterdir()) == [kept] and list(cached.parent.iterdir()) == [cached]
    monkeypatch.delattr(shorten, 'shorten_locals')
    assert own.smallest('x', SOURCE) == SMALL       # once made, it is remembered


def test_nothing_is_left_in_the_home_of_another(kept, cached, monkeypatch):
    """As with ``sudo -E``."""
    monkeypatch.setattr(own.sys, 'dont_write_bytecode', True)
    monkeypatch.setattr(own.os, 'geteuid', lambda: 4711)
    assert own.smallest('x', SOURCE) == SMALL and not cached.parent.exists()


@pytest.mark.parametrize('how', ['owner', 'mode', 'pipe'])
def test_what_another_may_have_written_is_not_believed(kept, cached, monkeypatch, how):
    own.smallest('x', SOURCE)
    if how == 'owner':
        if os.geteuid():
            pytest.skip('only root can give files away')
        os.chown(kept, 4711, -1)
    elif how == 'mode':
        kept.chmod(0o666)
    else:
        kept.unlink()
        os.mkfifo(kept)
    made = []
    monkeypatch.setattr(shorten, 'shorten_locals', lambda source: made.append(source) or 'other')
    as_another_process(monkeypatch)
    assert own.smallest('x', SOURCE) == b'other' and len(made) == 1
