"""
What the shell text means that Ansible wants to have run. Ring 2, pure.

Ansible speaks to connections in text for a shell, of which a few sentences make up nearly all: start this interpreter,
make this temporary folder, remove it. What is recognised here is done without a shell. A sentence counts as recognised
only if it is, to the letter, what Ansible's shell plugin for POSIX builds; anything else is left to a shell.
"""

import re
import shlex
from typing import Any, NamedTuple

#: Words that a shell takes as they are.
SAFE = r'[\w@%+=:,./-]+'

HOME = re.compile(r'echo (~[\w.-]*)\Z', re.A)
REMOVE = re.compile(r'rm -f (-r )?(%s) > /dev/null 2>&1\Z' % SAFE, re.A)
CHMOD = re.compile(r'chmod u\+([rwx]+)((?: %s)+)\Z' % SAFE, re.A)
EXISTS = re.compile(r'test -e (%s)\Z' % SAFE, re.A)
# The blanks are the shell plugin's, and the doubled path as well.
FOLDER = re.compile(r'\( umask 77 && mkdir -p "` echo (~?{0}) `"&& mkdir "` echo (~?{0}) `" && echo ([\w.-]+)='
                    r'"` echo (~?{0}) `" \)\Z'.format(SAFE), re.A)

#: Variables that an interpreter reads when it starts, or the linker before it. For one that runs they come too late.
EARLY = re.compile(r'(PYTHON|LD_|LC_|LANG|MALLOC_|OPENSSL_|GLIBC_|DYLD_)')


class Interpreter(NamedTuple):
    """A command that is nothing but an interpreter, to be given a module on its standard input.

    :ivar words: the interpreter and its arguments.
    :ivar early: variables that it has to be started with.
    :ivar late: variables for the module.
    """

    words: 'tuple[str, ...]'
    early: 'tuple[tuple[str, str], ...]'
    late: 'dict[str, str]'

    def only_word(self) -> 'str | None':
        """The interpreter, if that is all."""
        return self.words[0] if len(self.words) == 1 else None

    def command(self) -> 'list[str]':
        """What starts such an interpreter, without a shell."""
        if not self.early:
            return list(self.words)
        return ['/usr/bin/env'] + ['%s=%s' % pair for pair in self.early] + list(self.words)


def interpreter(text: str) -> 'Interpreter | None':
    """Read ``NAME=value ... /path/to/python``; None: it is something else."""
    text = text.strip()
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    variables: 'dict[str, str]' = {}
    rest = list(words)
    while rest and re.match(r'[A-Za-z_]\w*=', rest[0], re.A):
        name, _, value = rest.pop(0).partition('=')
        variables[name] = value
    # Written again it must be the same text, or a shell would have more to do than to take it to pieces.
    again = ['%s=%s' % (name, shlex.quote(value)) for name, value in variables.items()] + [shlex.quote(w) for w in rest]
    if not rest or ' '.join(again) != ' '.join(text.split(' ')):
        return None
    early = tuple(sorted(pair for pair in variables.items() if EARLY.match(pair[0])))
    return Interpreter(tuple(rest), early, {name: value for name, value in variables.items() if not EARLY.match(name)})


def step(text: str) -> 'list[Any] | None':
    """Return what a command about temporary files means, for mitogen.ansible.target.do(); None: it is no such one."""
    match = HOME.match(text)
    if match:
        return ['home', match.group(1)]
    match = FOLDER.match(text)
    if match and match.group(2) == match.group(4):
        return ['folder', match.group(1), match.group(2), match.group(3)]
    match = REMOVE.match(text)
    if match:
        return ['remove', match.group(2), bool(match.group(1))]
    match = CHMOD.match(text)
    if match:
        return ['chmod', match.group(1), match.group(2).split()]
    match = EXISTS.match(text)
    return ['exists', match.group(1)] if match else None


def foretold(step: 'list[Any]', homes: 'dict[str, str]', folders: 'list[str]') -> 'str | None':
    """Return what a step writes when it works; None: that is not known before, or others may see what it does.

    :param homes: ``~`` and ``~name`` -> folder, as far as they are known.
    :param folders: temporary ones of the same task.
    """
    kind = step[0]
    if kind == 'home':
        return homes[step[1]] + '\n' if step[1] in homes else None
    if kind == 'folder':
        return None if step[2].startswith('~') else '%s=%s\n' % (step[3], step[2])
    paths = {'remove': step[1:2], 'chmod': step[2] if kind == 'chmod' else []}.get(kind)
    return '' if paths and all(is_within(path, folders) for path in paths) else None


def is_within(path: str, folders: 'list[str]') -> bool:
    """Whether a path is one of these folders, or in one of them."""
    return '..' not in path.split('/') and any((path.rstrip('/') + '/').startswith(folder.rstrip('/') + '/')
                                               for folder in folders)
