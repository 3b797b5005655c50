"""What commands of Ansible are taken for: the texts are those that 2.16 and 2.21 send."""

import shlex

import pytest

from mitogen.ansible import commands, wrapping

TEMP = 'ansible-tmp-1795251688.6824863-29699-50320018496005'
PATH = '/root/.ansible/tmp/' + TEMP
FOLDER = '( umask 77 && mkdir -p "` echo /root/.ansible/tmp `"&& mkdir "` echo {0} `" && echo {1}="` echo {0} `" )'


def test_a_shell_is_taken_off():
    assert wrapping.unwrap("/bin/sh -c 'echo ~root && sleep 0'") == ('/bin/sh', 'echo ~root && sleep 0')
    assert wrapping.unwrap('/bin/sh -c /usr/bin/python3') == ('/bin/sh', '/usr/bin/python3')


@pytest.mark.parametrize('text', [
    'id', 'sh -c', "sh -c 'a' b", 'sh -c a;b', 'sh -c $HOME', 'sh -c "a"', "sh -c 'a", "sh  -c 'a b'", "sh -c 'a'&"])
def test_what_another_shell_would_have_to_read_is_left_to_it(text):
    assert wrapping.unwrap(text) is None


@pytest.mark.parametrize('text', [
    '', '-C -o  ControlMaster=auto ', '-o "ProxyCommand=ssh -W %h:%p a"', "-F ''", "'  a '", '-o\tA=b',
    '-o\nA=b', 'a\\ b', 'a\u00a0b', '#a b'])
def test_arguments_are_split_as_ansible_does(text):
    assert wrapping.split(text) == [word.strip() for word in shlex.split(text) if word.strip()]


def test_the_end_that_old_versions_add_is_taken_off():
    assert wrapping.without_trailer('echo ~root && sleep 0') == wrapping.without_trailer('echo ~root') == 'echo ~root'


def test_an_interpreter():
    found = commands.interpreter('/usr/bin/python3.11')
    assert found == (('/usr/bin/python3.11',), (), {})
    assert found.command() == ['/usr/bin/python3.11']


def test_an_interpreter_with_arguments():
    assert commands.interpreter('/usr/bin/env python3').words == ('/usr/bin/env', 'python3')


def test_variables_for_a_module():
    found = commands.interpreter("WORD='a b'\"'\"'c' N=1 EMPTY='' /usr/bin/python3")
    assert found.late == {'WORD': "a b'c", 'N': '1', 'EMPTY': ''}
    assert found.command() == ['/usr/bin/python3']


@pytest.mark.parametrize('name', ['LC_ALL', 'LANG', 'LANGUAGE', 'PYTHONPATH', 'PYTHONIOENCODING', 'LD_LIBRARY_PATH'])
def test_variables_that_an_interpreter_reads_when_it_starts(name):
    found = commands.interpreter('WORD=1 %s=x /usr/bin/python3' % name)
    assert found.late == {'WORD': '1'}
    assert found.command() == ['/usr/bin/env', name + '=x', '/usr/bin/python3']


@pytest.mark.parametrize('text', [
    '', 'A=1', '/usr/bin/python3; id', '/usr/bin/python3 $X', '/usr/bin/python3 | cat', '/usr/bin/python3 >x',
    'A=$B /usr/bin/python3', 'A=`id` /usr/bin/python3', '/usr/bin/python3 && id', "python3 'unclosed", '~/bin/python3',
    'A=~ python3', 'python3 *', '(python3)', 'A=1  python3', 'python3 # no'])
def test_what_is_more_than_an_interpreter(text):
    assert commands.interpreter(text) is None


@pytest.mark.parametrize('text, step', [
    ('echo ~', ['home', '~']),
    ('echo ~root', ['home', '~root']),
    ('echo ~some.body-else_1', ['home', '~some.body-else_1']),
    (FOLDER.format(PATH, TEMP), ['folder', '/root/.ansible/tmp', PATH, TEMP]),
    ('rm -f -r %s/ > /dev/null 2>&1' % PATH, ['remove', PATH + '/', True]),
    ('rm -f %s > /dev/null 2>&1' % PATH, ['remove', PATH, False]),
    ('chmod u+x {0}/ {0}/source'.format(PATH), ['chmod', 'x', [PATH + '/', PATH + '/source']]),
    ('chmod u+rwx %s' % PATH, ['chmod', 'rwx', [PATH]]),
    ('test -e /etc/passwd', ['exists', '/etc/passwd']),
])
def test_commands_about_temporary_files(text, step):
    assert commands.step(text) == step


@pytest.mark.parametrize('text', [
    'echo hello', 'echo ~root/x', 'echo ~root; id', 'echo ~root\n', 'rm -f -r /tmp/a b > /dev/null 2>&1', 'rm -f -r /x',
    "rm -f -r '/a b' > /dev/null 2>&1", 'rm -f -r $HOME > /dev/null 2>&1', 'rm -f -r /* > /dev/null 2>&1',
    'rm -f -r ~ > /dev/null 2>&1', 'chmod a+rx /x', 'chmod 755 /x', 'chmod u+x', 'chmod u+x /x; id',
    'test -e /x && id', FOLDER.format(PATH + '$(id)', TEMP), FOLDER.format(PATH, TEMP).replace(PATH, '/other', 1),
    FOLDER.format(PATH, TEMP) + ' && id'])
def test_what_looks_like_them_and_is_something_else(text):
    assert commands.step(text) is None


@pytest.mark.parametrize('step, told', [
    (['home', '~'], '/root\n'), (['home', '~ann'], None), (['exists', '/x'], None),
    (['folder', '/root/.ansible/tmp', PATH, TEMP], '%s=%s\n' % (TEMP, PATH)), (['folder', '~/x', '~/x/y', 'y'], None),
    (['remove', PATH + '/', True], ''), (['remove', '/root', True], None), (['remove', PATH + '2', True], None),
    (['remove', PATH + '/../x', True], None),
    (['chmod', 'x', [PATH + '/', PATH + '/source']], ''), (['chmod', 'x', [PATH, '/root']], None)])
def test_what_a_step_says_when_it_works(step, told):
    """What concerns anything but the task's own temporary folder is waited for."""
    assert commands.foretold(step, {'~': '/root'}, [PATH]) == told
