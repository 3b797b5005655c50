"""
Packs the modules of a playbook's coming tasks, so that workers find them packed.

Ring 2. The main thread of a process of its own, forked from the first worker of a play. To pack a module takes Ansible
as long as to run it, and it packs one after the other, when it comes to them. Here it does so on another processor,
while the first task is on its way. What could come out otherwise later is not packed ahead:

* a module about which Ansible has something to say: the worker that needs it is to say so;
* any module, if a role or playbook that is yet to be read could replace a module or what belongs to it.
"""

import contextlib
import contextvars
import glob
import itertools
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import ansible.constants as C
from ansible import context
from ansible.executor import module_common
from ansible.playbook.block import Block
from ansible.plugins.loader import module_loader, module_utils_loader
from ansible.utils.display import Display

from mitogen.ansible import attach, packed

#: Modules that are packed ahead for one play. Each takes a tenth of a second and 150 KB, and may not be needed.
MODULES = 200

#: Action -> modules that it runs. Others run the module of their own name, or none.
RUNS = {'assemble': ('stat', 'assemble', 'copy', 'file'), 'command': ('command',), 'copy': ('stat', 'copy', 'file'),
        'fetch': ('stat', 'slurp'), 'gather_facts': ('setup',), 'shell': ('command',),
        'template': ('stat', 'copy', 'file'), 'unarchive': ('stat', 'unarchive'), 'uri': ('uri',)}

#: How names end of files beside those of packed modules.
UNFINISHED = '-part', '.lock'


class Listener:
    """Stands where a worker has its queue to the main process, and notes whether something was to be shown there."""

    heard = False

    def send_display(self, *_: Any, **__: Any) -> None:
        """Something is to be shown."""
        self.heard = True


def leave_the_worker() -> None:
    """Let go of everything that the worker has open; Ctrl-C is for the playbook, whose end is this process's end."""
    os.setsid()
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.closerange(3, max(os.sysconf('SC_OPEN_MAX'), 1 << 16))      # where there is no limit, that tells -1
    with contextlib.suppress(ImportError):      # up to 2.18: locks that are shared with all workers
        from ansible.executor.action_write_locks import action_write_locks
        for name in action_write_locks:
            action_write_locks[name] = contextlib.nullcontext()


def flat(blocks: 'Iterable[Any]') -> 'Iterator[Any]':
    """Return the tasks of blocks."""
    for item in blocks:
        if isinstance(item, Block):
            yield from flat(item.block + item.rescue + item.always)
        else:
            yield item


def is_wanted(task: Any, play: Any) -> bool:
    """Whether a task has the tags that are asked for; that cannot be told while they depend on variables."""
    try:
        return bool(task.evaluate_tags(play.only_tags, play.skip_tags, all_vars={}))
    except Exception:
        return False


def tasks_behind(current: Any, play: Any) -> 'list[Any]':
    """Return the tasks of a play that come after one; all, if that is none of them: then it gathers facts."""
    found: list[Any] = []
    for task in flat(play.compile() + play.handlers):
        if task._uuid == current._uuid:
            found = []
        elif is_wanted(task, play):
            found.append(task)
    return found


def modules_of(tasks: 'Iterable[Any]') -> 'Iterator[tuple[str, str]]':
    """Return (name, path) of the modules that tasks run, each once."""
    seen = set()
    for task in tasks:
        action = str(task.action)
        short = action.removeprefix('ansible.builtin.').removeprefix('ansible.legacy.')
        for name in ['ansible.legacy.' + module for module in RUNS.get(short, ())] or [action]:
            path = None
            with contextlib.suppress(Exception):        # removed, or moved to where it is not: the worker will tell
                path = module_loader.find_plugin(name, collection_list=task.collections)
            if path and path.endswith('.py') and path not in seen:
                seen.add(path)
                yield name, path


def may_be_replaced() -> bool:
    """Whether there are modules, or parts of them, that Ansible does not look for as yet, but may later."""
    known = {os.path.realpath(path) for loader in (module_loader, module_utils_loader)
             for path in loader._get_paths(subdirs=False)}
    playbooks = [os.path.dirname(os.path.abspath(path)) for path in context.CLIARGS.get('args') or ()]
    roles = [os.path.join(path, '*') for path in C.DEFAULT_ROLES_PATH]
    roles += [os.path.join(glob.escape(path), 'roles', '*') for path in playbooks]
    found = [path for base in roles + [glob.escape(path) for path in playbooks]
             for name in ('library', 'module_utils') for path in glob.glob(os.path.join(base, name))]
    return any(os.path.realpath(path) not in known for path in found)


def pack(name: str, path: str, listener: Listener) -> bool:
    """Have Ansible pack a module.

    :returns: whether it has said nothing about it. It may have packed nothing: not every module is written in Python.
    """
    listener.heard = False
    # What it then makes of what it has packed, for a host, does not matter; it fails for want of variables.
    with contextlib.suppress(Exception):
        module_common.modify_module(
            module_name=name, module_path=path, module_args={}, templar=None, task_vars={},
            module_compression=C.config.get_config_value('DEFAULT_MODULE_COMPRESSION', variables={}))
    return not listener.heard


def is_packed(folders: 'Iterable[str]', path: str) -> bool:
    """Whether a worker has packed a module meanwhile, or another play had it."""
    try:
        name = module_common._get_ansible_module_fqn(path)
    except (AttributeError, ValueError):
        return False
    return any(glob.glob(os.path.join(glob.escape(folder), name + '-*')) for folder in folders)


def publish(fine: bool, new: str, ready: str) -> None:
    """Let workers have what was packed, or drop it."""
    for name in os.listdir(new):
        if fine and not name.endswith(UNFINISHED):
            os.rename(os.path.join(new, name), os.path.join(ready, name))
        else:
            os.unlink(os.path.join(new, name))


def work(making: str, task: Any, listener: Listener) -> None:
    """Pack, as long as there is something to pack, and a playbook to pack it for."""
    place, cache = os.path.dirname(making), os.path.join(C.DEFAULT_LOCAL_TMP, packed.CACHE)
    C.DEFAULT_LOCAL_TMP, new = making, os.path.join(making, packed.CACHE)
    os.mkdir(new)
    if not may_be_replaced():
        for name, path in itertools.islice(modules_of(tasks_behind(task, task.get_play())), MODULES):
            if attach.is_over(place):
                break
            if not is_packed([cache, packed.ready(place)], path):
                publish(pack(name, path, listener), new, packed.ready(place))
    shutil.rmtree(place if attach.is_over(place) else new, ignore_errors=True)


def main(making: str, task: Any) -> None:
    """Pack what will be needed.

    :param making: folder to work in, in that of the playbook. It stays, so that nobody else begins with the same play.
    :param task: the task at which the play is.
    """
    leave_the_worker()
    listener = Listener()
    Display().set_queue(listener)
    # Since 2.19 warnings are collected for the result of a task, by one of Python's context variables. Here is no task.
    contextvars.Context().run(work, making, task, listener)
