"""mitogen.ansible.template and runner: the process that modules are forks of, and what these find."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import mitogen.core
import support
import targets_ansible
from mitogen.ansible import commands, target
from mitogen.ansible.accounts import Account
from mitogen.ansible.ansiballz import Module


@pytest.fixture
def child(router):
    return router.local()


def run(context, source):
    """Run source as a module; return exit status, output and errors."""
    status, out, err = context.call(targets_ansible.run_module, '1', source)
    return status, out.decode(), err.decode()


def children_of(pid):
    with open('/proc/%d/task/%d/children' % (pid, pid)) as fp:
        return [int(number) for number in fp.read().split()]


def template_of(context):
    found, = children_of(context.call(os.getpid))
    return found


def test_a_module_finds_nothing_of_this_library(child):
    code = ('import sys\n'
            'try:\n    import mitogen\nexcept ImportError:\n    pass\n'
            'try:\n    import targets_calls\nexcept ImportError:\n    pass\n'
            'print([name for name in sys.modules if "mitogen" in name or name == "targets_calls"],\n'
            '      [finder for finder in sys.meta_path if "mitogen.core" in type(finder).__module__])\n'
            'sys.exit(3)')
    assert run(child, code) == (3, '[] []\n', '')


def test_a_module_may_log_and_the_master_has_nothing_to_do_with_it(child):
    assert run(child, 'import logging, sys; logging.warning("here"); sys.exit(0)') == (0, '', 'WARNING:root:here\n')
    assert not child.call(eval, '"logging" in __import__("sys").modules')


def test_a_module_has_no_descriptors_but_its_own(child):
    code = 'import os, sys; print([fd for fd in range(100) if os.path.exists("/dev/fd/%d" % fd)]); sys.exit(0)'
    assert run(child, code) == (0, '[0, 1, 2]\n', '')


@pytest.mark.parametrize('code', [
    'sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")',
    'sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding="utf-8")',
    'getattr(sys.stdout, "reconfigure", dict)(encoding="utf-8")'])
def test_a_module_may_wrap_its_output_anew(child, code):
    """For that Python asks whether it can seek."""
    assert run(child, 'import io, sys; %s; print("here"); sys.exit(0)' % code) == (0, 'here\n', '')


def test_a_package_that_another_module_has_brought_is_not_there(child):
    looks = 'import sys; print("ansible.modules" in sys.modules); sys.exit(0)'
    assert run(child, looks) == (0, 'True\n', '')
    assert child.call(targets_ansible.run_again, '2', 'module') == (0, b'False\n', b'')


@pytest.mark.parametrize('end, status', [('os.kill(os.getpid(), 9)', 137), ('os._exit(7)', 7)])
def test_how_a_module_ends_is_told(child, end, status):
    assert run(child, 'import os; %s' % end) == (status, '', '')


def test_a_module_that_closes_its_output_is_waited_for(child):
    begin = time.monotonic()
    code = 'import os, time; os.close(1); os.close(2); time.sleep(0.5); os._exit(5)'
    assert run(child, code) == (5, '', '') and time.monotonic() - begin >= 0.5


def test_modules_leave_nothing_behind(child):
    for _ in range(3):
        run(child, 'import sys; sys.exit(0)')
    assert children_of(template_of(child)) == []


def test_the_end_of_the_interpreter_is_that_of_the_template(child):
    run(child, 'import sys; sys.exit(0)')
    template = template_of(child)
    child.shutdown(wait=True)
    support.wait_for(lambda: not os.path.exists('/proc/%d' % template), what='the end of the template')


def test_a_killed_interpreter_leaves_no_template(child):
    run(child, 'import sys; sys.exit(0)')
    template = template_of(child)
    os.kill(child.call(os.getpid), signal.SIGKILL)
    support.wait_for(lambda: not os.path.exists('/proc/%d' % template), what='the end of the template')


def test_who_waits_for_the_interpreter_waits_for_the_template(router, child):
    """An account may only be removed when nothing runs as it."""
    run(child, 'import sys; sys.exit(0)')
    pid, template = child.call(os.getpid), template_of(child)
    child.shutdown()
    router.local().call(target.wait_for_end, pid)
    assert not os.path.exists('/proc/%d' % template)


def test_a_killed_template_ends_the_interpreter(child):
    run(child, 'import sys; sys.exit(0)')
    account = Account(child, [sys.executable])
    os.kill(template_of(child), signal.SIGKILL)
    with pytest.raises(mitogen.core.Error, match='the process that modules are forks of has ended, with status -9'):
        run(child, 'import sys; sys.exit(0)')
    support.wait_for(lambda: account.lost, what='the end of the interpreter')


def test_an_interpreter_that_is_interrupted_while_it_asks_ends(child):
    """What it asked next would get half an answer, or another's."""
    run(child, 'import sys; sys.exit(0)')
    account = Account(child, [sys.executable])
    with pytest.raises(mitogen.core.CallError, match='KeyboardInterrupt'):
        child.call(targets_ansible.be_interrupted)
    support.wait_for(lambda: account.lost, what='the end of the interpreter')


def test_another_interpreter_that_is_lost_is_started_anew(child):
    account = Account(child, ['none of these'])
    module = Module('test', 'test', '', None, 0, {}, False)
    interpreter = commands.interpreter(shutil.which('python3'))
    first = account.runner(interpreter, module)
    assert account.runner(interpreter, module) is first and first.context != child
    os.kill(first.context.call(os.getpid), signal.SIGKILL)
    support.wait_for(lambda: first.lost, what='the loss of it')
    second = account.runner(interpreter, module)
    assert second is not first and second.context.call(os.getpid)


def test_a_module_does_not_remove_the_key_of_its_interpreter(child):
    path = child.call(targets_ansible.keep_key_on_disk, 'key')
    assert run(child, 'import sys; sys.exit(0)') == (0, '', '')
    with open(path) as fp:
        assert fp.read() == 'key\n'
    child.shutdown(wait=True)
    support.wait_for(lambda: not os.path.exists(path), what='the end of the key')


def test_what_cannot_be_imported_ahead_is_told_to_the_module_that_wants_it(child):
    child.call(targets_ansible.template.prepare, ['no_such_module'])
    assert run(child, 'import sys; sys.exit(0)') == (0, '', '')


def test_common_files_that_cannot_be_imported(child):
    with pytest.raises(mitogen.core.CallError) as caught:
        child.call(targets_ansible.template.warm, {'ansible/module_utils/basic.py': 'missing'})
    assert caught.value.type_name in ('KeyError', 'ModuleNotFoundError')
    assert 'runner.py' in caught.value.remote_traceback


@pytest.mark.parametrize('hook, said, status', [
    ('print("told", name.__name__)', 'told ValueError', 1),
    ('print("told"), sys.exit(3)', 'told', 3), ('sys.exit("no")', '', 1)])
def test_a_module_that_tells_of_errors_by_a_hook(hook, said, status):
    code = ('import sys; from mitogen.ansible import runner\n'
            'def hook(name, exc, trace): %s\n'
            'sys.excepthook = hook; sys.exit(runner._end_by(ValueError("no")))' % hook)
    done = subprocess.run([sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=str(support.checkout())),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.stdout.strip(), done.returncode) == (said, status), done.stderr
