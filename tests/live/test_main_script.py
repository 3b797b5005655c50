"""Functions of the main script itself, called in children. Each script runs as a program, in a process of its own."""

import os
import textwrap
import zipfile

import pytest

import programs
import support

SCRIPT = """
    import os
    import sys

    import mitogen.utils

    FACTOR = 10


    def times(number):
        return number * FACTOR, os.getpid(), __name__


    class Tool:
        @staticmethod
        def name():
            return 'tool'


    @mitogen.utils.with_router
    def main(router):
        child = router.local()
        (result, pid, name), mine = child.call(times, 4), os.getpid()
        print(result, pid != mine, name, child.call(Tool.name), flush=True)


    %s
        main()
    """
RESULT = '40 True __main__ tool\n'


@pytest.fixture
def script(tmp_path):
    """Writes a script; returns its path."""
    def write(text, name='script.py'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path
    return write


def output(*args, **options):
    """What a program prints that succeeds and complains about nothing."""
    done = programs.run(*args, **options)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def complaint(*args, **options):
    """The last line on standard error of a program that fails."""
    done = programs.run(*args, **options)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


# ---- The guard


@pytest.mark.parametrize('guard', [
    "if __name__ == '__main__':", 'if __name__ == "__main__":', "if '__main__' == __name__:",
    "if(__name__)==('__main__'):", "if __name__ == '__main__' and len(sys.argv) == 1:",
    "if FACTOR < 0:\n        pass\n    elif __name__ == '__main__':",
    "if FACTOR and __name__ == '__main__':"])
def test_each_form_of_the_guard(script, guard):
    assert output(script(SCRIPT % guard)) == RESULT


def test_the_else_of_a_guard_runs_in_the_child(script):
    text = SCRIPT % "if __name__ == '__main__':" + "else:\n        FACTOR = 100\n"
    assert output(script(text)) == '400 True __main__ tool\n'


def test_a_script_without_guard_is_refused_with_the_line(script):
    text = SCRIPT.replace('    %s\n        main()', '    main()')
    done = programs.run(script(text))
    assert done.returncode == 1
    assert done.stderr.count('Traceback') == 1      # it did not start again in the child
    line = 1 + textwrap.dedent(text).splitlines().index('main()')
    assert 'line %d of the main script' % line in done.stderr
    assert "if __name__ == '__main__'" in done.stderr


def test_a_script_without_guard_calls_functions_of_modules_all_the_same(script):
    assert output(script("""
        import os
        import mitogen.master
        import targets
        with mitogen.master.Router() as router:
            print(router.local().call(targets.echo, 'fine'), router.local().call(os.getpid) != os.getpid())
        """)) == 'fine True\n'


def test_what_stands_outside_of_the_guard_runs_in_the_child_too(script):
    text = SCRIPT % "if __name__ == '__main__':"
    assert output(script(text.replace('FACTOR = 10', 'FACTOR = int("1" + "0" * 3)'))) == '4000 True __main__ tool\n'


# ---- Where a script is


def test_a_script_with_modules_beside_it(script, tmp_path):
    script('VALUE = 7\n', 'beside.py')
    path = script("""
        import beside
        import mitogen.utils

        def get():
            import package.deep
            return beside.VALUE + package.deep.VALUE

        if __name__ == '__main__':
            print(mitogen.utils.run_with_router(lambda router: router.local().call(get)))
        """)
    script('', 'package/__init__.py')
    script('VALUE = 70\n', 'package/deep.py')
    assert output(path, cwd='/') == '77\n'
    assert output(os.path.relpath(path, tmp_path), cwd=tmp_path) == '77\n'


def test_a_script_that_changes_its_folder(script, tmp_path):
    script(SCRIPT % "if __name__ == '__main__':\n        os.chdir('/')")
    assert output('script.py', cwd=tmp_path) == RESULT


def test_a_module_run_by_name(script, tmp_path):
    script('', 'pkg/__init__.py')
    script('FACTOR = 10\n', 'pkg/settings.py')
    text = (SCRIPT % "if __name__ == '__main__':").replace('FACTOR = 10', 'from .settings import FACTOR')
    script(text, 'pkg/mod.py')
    script(text, 'pkg/__main__.py')
    assert output('-m', 'pkg.mod', cwd=tmp_path) == RESULT
    assert output('-m', 'pkg', cwd=tmp_path) == RESULT


def test_a_folder_that_is_run(script, tmp_path):
    script(SCRIPT % "if __name__ == '__main__':", 'app/__main__.py')
    assert output('app', cwd=tmp_path) == RESULT


def test_a_script_in_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / 'app.zip', 'w') as archive:
        text = (SCRIPT % "if __name__ == '__main__':").replace('FACTOR = 10', 'from inside import FACTOR')
        archive.writestr('__main__.py', textwrap.dedent(text))
        archive.writestr('inside.py', 'FACTOR = 10\n')
    assert output('app.zip', cwd=tmp_path) == RESULT


TYPED = """
import mitogen.utils

def f():
    return 1

print(mitogen.utils.run_with_router(lambda router: router.local().call(f)))
"""


@pytest.mark.parametrize('args', [('-c', TYPED), ('-',), ('-i',)], ids=['-c', '-', '-i'])
def test_functions_that_were_typed_in_are_refused_with_advice(tmp_path, args):
    (tmp_path / 'typed').write_text(TYPED)
    with open(tmp_path / 'typed') as typed:
        done = programs.run(*args, stdin=typed)
    assert 'TypeError' in done.stderr
    assert 'put the functions that are to be called elsewhere into a module' in done.stderr


def test_typed_programs_call_functions_of_modules():
    assert output('-c', 'import os, mitogen.utils\n'
                  'print(mitogen.utils.run_with_router(lambda router: router.local().call(os.getppid)) == os.getpid())'
                  ) == 'True\n'


# ---- @mitogen.main()


MAIN = """
    import os
    import sys
    import mitogen

    def f():
        return os.getppid()

    @mitogen.main(%s)
    def main(router):
        print(router.local().call(f) == os.getpid())
        %s
    """


@pytest.mark.parametrize('ending, status', [('', 0), ('return 3', 3), ('sys.exit(4)', 4), ('return None', 0)])
def test_the_decorator_runs_the_script_and_exits_with_its_result(script, ending, status):
    done = programs.run(script(MAIN % ('', ending)))
    assert (done.returncode, done.stdout, done.stderr) == (status, 'True\n', '')


def test_an_exception_in_the_decorated_function_ends_the_program(script):
    assert complaint(script(MAIN % ('', '1 / 0'))) == 'ZeroDivisionError: division by zero'


@pytest.mark.parametrize('level, seen', [("log_level='WARNING'", False), ("log_level='DEBUG'", True)])
def test_the_decorator_sets_the_level_of_the_log(script, level, seen):
    done = programs.run(script(MAIN % (level, '__import__("logging").getLogger("x").debug("a word")')))
    assert done.returncode == 0
    assert ('a word' in done.stderr) is seen


def test_a_module_with_the_decorator_is_only_a_module(script, tmp_path):
    script(MAIN % ('', ''), 'tool.py')
    assert output('-c', 'import tool; print(tool.main.__name__)', cwd=tmp_path) == 'main\n'


# ---- Other contexts than a local child


def run_in(script, connect):
    return output(script("""
        import os
        import mitogen.utils

        STATE = ['as loaded']

        def f():
            return STATE

        @mitogen.utils.with_router
        def main(router):
            STATE.append('changed in the master')
            print(*(%s).call(f), sep=', ')

        if __name__ == '__main__':
            main()
        """ % connect))


@pytest.mark.parametrize('connect', [
    'router.local()', 'router.local(via=router.local())', 'router.fork(via=router.local())',
    'router.local(via=router.fork())', 'router.local(python_path=%r)' % [*support.find_pythons().values()][0]])
def test_contexts_that_load_the_script(script, connect):
    assert run_in(script, connect) == 'as loaded\n'


@pytest.mark.parametrize('connect', ['router.fork()', 'router.fork(via=router.fork())'])
def test_a_fork_of_the_master_has_the_script_as_it_was(script, connect):
    assert run_in(script, connect) == 'as loaded, changed in the master\n'


# ---- Errors


def test_the_traceback_of_a_function_shows_its_lines(script):
    path = script("""
        # A comment, and no code for some lines.


        def f():
            raise ValueError('bad')   # this one

        import mitogen.utils
        if __name__ == '__main__':
            mitogen.utils.run_with_router(lambda router: router.local().call(f))
        """)
    done = programs.run(path)
    assert done.returncode == 1
    assert '%s", line 6, in f' % path in done.stderr
    assert "raise ValueError('bad')   # this one" in done.stderr.partition('CallError')[2]


@pytest.mark.parametrize('text, encoding', [('# coding: latin-1\n', 'latin-1'), ('\ufeff', 'utf-8'), ('', 'utf-8')])
def test_scripts_in_other_encodings(script, text, encoding):
    text += textwrap.dedent("""
        import mitogen.utils

        def f():
            return ascii('\u00e9')

        if __name__ == '__main__':
            print(mitogen.utils.run_with_router(lambda router: router.local().call(f)))
        """)
    assert output(script(text.replace('\n', '\r\n').encode(encoding))) == "'\\xe9'\n"


def test_a_script_that_was_removed_while_it_ran(script):
    text = (SCRIPT % "if __name__ == '__main__':").replace('child = ', 'os.remove(__file__); child = ')
    done = programs.run(script(text))
    assert done.returncode == 1
    assert 'No such file' in done.stderr
