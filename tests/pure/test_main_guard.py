"""main_guard: which main scripts a child may load, and that it never runs what is beneath the guard."""

import codecs
import textwrap

import pytest
from hypothesis import given, strategies as st

from mitogen.modules.finder import NotSendable, Refused
from mitogen.modules.main_guard import main_source

GUARD = "if __name__ == '__main__':\n    fail()\n"


def loaded(source):
    """What a child has after it loaded the script."""
    namespace = {'__name__': '__main__', 'seen': []}
    exec(compile(main_source(source), 'script.py', 'exec'), namespace)
    return namespace


def script(text):
    return textwrap.dedent(text).encode()


# ---- The guard


@pytest.mark.parametrize('test', [
    "__name__ == '__main__'",
    '__name__ == "__main__"',
    "'__main__' == __name__",
    "__name__=='__main__'",
    "(__name__ == '__main__')",
    "__name__ == ('__main__')",
    "__name__ == '__main__' and True",
    "fail() and __name__ == '__main__'",
    "True and (1 and __name__ == '__main__')",
    "__name__ == \\\n    '__main__'",
    "(\n    __name__ ==    # note \\\n    '__main__'\n)",
    "1\\\n and __name__ == '__main__'",
    "(1\n and __name__ == '__main__')",
    "__name__ == '''__main__''' and '''\n '''",
])
def test_what_is_beneath_never_runs(test):
    source = ('before = 1\nif %s:\n    fail()\nelse:\n    other = 2\nafter = 3\n' % test).encode()
    namespace = loaded(source)
    assert (namespace['before'], namespace['other'], namespace['after']) == (1, 2, 3)
    assert len(main_source(source)) == len(source)


@pytest.mark.parametrize('line', [
    b"if'__main__'==__name__:fail()",
    b"if(__name__=='__main__'):fail()",
    b"if 0: pass\nelif __name__ == '__main__': fail()",
    b"if 0: pass\nelif'__main__'==__name__: fail()",
    b"if 1:\n    if __name__ == '__main__': fail()",
    b"try:\n    pass\nfinally:\n    if __name__ == '__main__': fail()",
    b"try:\n    1 / 0\nexcept ZeroDivisionError:\n    if __name__ == '__main__': fail()",
    b"match 1:\n    case 1:\n        if __name__ == '__main__': fail()",
    b"if __name__ == '__main__': fail()\nif __name__ == '__main__': fail()",
    b"if __name__ == '__main__':\n    if __name__ == '__main__': fail()",
    b"if __name__ == '__main__': fail()\nseen.append(1)",
])
def test_shapes_of_guards(line):
    loaded(line + b'\n')


def test_the_text_around_stays_as_it_is():
    source = b"x = 1   # note\r\nif __name__ == '__main__' and x:  # note\n\ty\rz = 2"
    assert main_source(source) == b"x = 1   # note\r\nif 0                           :  # note\n\ty\rz = 2"


def test_line_numbers_stay():
    source = script('''
        """A script."""
        if (__name__ ==
                '__main__'):
            main()

        def f():
            raise ValueError
    ''')
    with pytest.raises(ValueError) as caught:
        loaded(source)['f']()
    assert caught.traceback[-1].lineno + 1 == source.splitlines().index(b'    raise ValueError') + 1


@pytest.mark.parametrize('test', [
    "__name__ != '__main__'",
    "__name__ == 'main'",
    "__name__ == '__main__' == x",
    "__name__ == '__main__' or fail()",
    "not __name__ == '__main__'",
    "__main__ == '__name__'",
    "name == '__main__'",
    "__name__ in ('__main__',)",
])
def test_what_is_no_guard(test):
    with pytest.raises(NotSendable):
        main_source(('if %s: main()\n' % test).encode())


def test_a_guard_inside_a_function_is_none():
    source = script('''
        def f():
            if __name__ == '__main__':
                return 1
    ''')
    assert main_source(source) == source


def test_a_guard_inside_a_function_does_not_protect():
    with pytest.raises(NotSendable):
        main_source(b"def f():\n    if __name__ == '__main__': g()\nf()\n")


@given(st.lists(st.sampled_from(['True', '(1 \n)', "'é'", '[\n]', 'not\\\n 0']), max_size=4), st.integers(0, 4))
def test_any_and(operands, position):
    operands.insert(position, "__name__ == '__main__'")
    source = 'if ' + ' and '.join(operands) + ':\n    fail()\nrest = 1\n'
    assert loaded(source.encode())['rest'] == 1
    assert main_source(source.encode()).decode().count('\n') == source.count('\n')


# ---- mitogen.main


@pytest.mark.parametrize('source', [
    'import mitogen\n@mitogen.main()\ndef main(router): fail()\n',
    'import mitogen\n@mitogen.main(log_level="DEBUG")\nasync def main(router): fail()\n',
    'import mitogen.utils\n@mitogen.main()\ndef main(router): fail()\n',
    'import mitogen as m\n@m.main()\ndef main(router): fail()\n',
    'from mitogen import main\n@main()\ndef f(router): fail()\n',
    'from mitogen import main as start\n@start()\ndef f(router): fail()\n',
    'import mitogen\ndef f(router): fail()\nmitogen.main()(f)\n',
])
def test_scripts_that_mitogen_starts_are_served_as_they_are(source):
    assert main_source(source.encode()) == source.encode()


@pytest.mark.parametrize('source', [
    'import other\n@other.main()\ndef f(): pass\nf()\n',
    'import mitogen.utils as m\n@m.main()\ndef f(): pass\nf()\n',
    'from other import main\nmain()\n',
    'from mitogen import other\nother.main()\n',
    'import mitogen\nmitogen.other()\n',
    'import mitogen\nmain()\n',
    'import mitogen\nx = mitogen.main\nx()\n',
])
def test_what_is_not_mitogens_main(source):
    with pytest.raises(NotSendable):
        main_source(source.encode())


# ---- Scripts with neither


@pytest.mark.parametrize('source', [
    '',
    '"""Only a docstring."""\n',
    'import os, sys\nfrom a import b\n',
    'def f():\n    g()\nasync def h():\n    g()\n',
    'class A(B):\n    x = g()\n',
    '@decorated\ndef f(): pass\n',
    'X = 1\nY = Z = [1, {"a": (-2, X, sys.maxsize)}, {3}]\nA, *B = X\n',
    'X: int = 3\nY: int\n',
    'T = Dict[str, int]\nU = f"{X} {Y!r}"\nV = X + 60 * 60\nf = lambda: g()\n',
    'try:\n    import a\nexcept ImportError:\n    a = None\nelse:\n    X = 1\nfinally:\n    pass\n',
    'if sys.version_info >= (3, 8) and not X:\n    import a\nelse:\n    import b\n',
    '...\n',
])
def test_harmless_scripts_are_served_as_they_are(source):
    assert main_source(source.encode()) == source.encode()


@pytest.mark.parametrize('line', [
    'main()',
    'sys.exit(main())',
    'x = main()',
    'x: int = main()',
    'x.y = 1',
    'x.y: int = 1',
    'x[1] = 1',
    'x += 1',
    'del x',
    'for x in y: pass',
    'while x: pass',
    'with x: pass',
    'assert x',
    'raise x',
    'match x:\n    case _: pass',
    'if main(): pass',
    'if x: main()',
    'try:\n    pass\nfinally:\n    main()',
    'x = [main for y in z]',
    '(x := 1)',
])
def test_everything_else_is_refused(line):
    with pytest.raises(NotSendable) as caught:
        main_source(('import a\n' + line + '\n').encode())
    assert caught.value.fullname == '__main__'
    assert "if __name__ == '__main__':" in caught.value.reason
    assert '@mitogen.main()' in caught.value.reason


def test_the_refusal_names_the_line_that_starts_the_program():
    with pytest.raises(NotSendable, match='line 5 of the main script'):
        main_source(b'import a\nlog = a.log()\ndef main():\n    pass\nmain()\n')


# ---- Encodings


@pytest.mark.parametrize('encoding, head', [
    ('utf-8', ''),
    ('utf-8-sig', ''),
    ('utf-8', '# coding: utf-8\n'),
    ('latin-1', '# -*- coding: latin-1 -*-\n'),
    ('cp1252', '#!/usr/bin/python3\n# vim: set fileencoding=cp1252 :\n'),
    ('shift_jis', '# coding: shift_jis\n'),
])
def test_encodings(encoding, head):
    letter = 'ア' if encoding == 'shift_jis' else 'é'
    source = (head + 'x = "%s"; "%s"\nif "%s" and __name__ == "__main__": fail()\n' % ((letter,) * 3)).encode(encoding)
    assert loaded(source)['x'] == letter
    assert main_source(source).startswith(codecs.BOM_UTF8) == (encoding == 'utf-8-sig')
    assert main_source(source).decode(encoding).startswith(head)


@pytest.mark.parametrize('source', [
    b'def f(:\n',
    b'x = "\xff"\n',
    b'# coding: nonsense\n',
    b'x = 1\0\n',
])
def test_what_is_no_python_is_refused(source):
    with pytest.raises(NotSendable, match='cannot be read as Python source'):
        main_source(source)


# ---- The errors


def test_the_refusal_reads_well():
    error = NotSendable('a.b', 'it is a picture')
    assert isinstance(error, Refused)
    assert (error.fullname, error.reason, str(error)) == ('a.b', 'it is a picture', 'a.b: it is a picture')
