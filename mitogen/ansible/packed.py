"""
Modules that were packed before anybody asked for them: have it begun, and take what is ready.

Ring 2, imported by every worker, so small; mitogen.ansible.packer does the work. Ansible packs each kind of module once
for a playbook, into a file of its temporary folder, where its workers look for it. What was packed ahead is put there.
"""

import contextlib
import gc
import os
import shutil
from typing import Any

import ansible.constants as C

from mitogen.ansible import attach

#: What Ansible calls the folder, below its temporary one.
CACHE = 'ansiballz_cache'


def ready(place: str) -> str:
    """Return the part of a playbook's folder in which files are complete."""
    return os.path.join(place, 'ready')


def ahead(path: str) -> None:
    """Give Ansible what was packed ahead. The first worker of each play has that begun for the tasks that follow.

    A fork does it, as it has the play and all settings in memory. It costs the worker some milliseconds. What cannot be
    done is left to Ansible, as ever.

    :param path: of the socket that belongs to the playbook.
    """
    # An Ansible that has none of this, or has it elsewhere, is the slower for it, not worse.
    with contextlib.suppress(Exception):
        from ansible.executor.process.worker import current_worker
        task = current_worker._task
        place = path + attach.PACKED
        with contextlib.suppress(FileNotFoundError):
            _take(ready(place), os.path.join(C.DEFAULT_LOCAL_TMP, CACHE))
        play = task.get_play()
        if has_more(play):
            making = os.path.join(place, str(play._uuid))
            os.makedirs(ready(place), 0o700, exist_ok=True)
            os.mkdir(making)        # or somebody has begun
            _fork(making, task)


def has_more(play: Any) -> bool:
    """Whether a play has more than one task."""
    return bool(play.roles) or sum(len(block.block) for block in play.pre_tasks + play.tasks + play.post_tasks) > 1


def _fork(making: str, task: Any) -> None:
    if os.fork() == 0:
        try:
            gc.disable()        # nothing of the worker is to be ended here
            from mitogen.ansible import packer
            packer.main(making, task)
        finally:
            os._exit(0)


def _take(source: str, cache: str) -> None:
    for name in os.listdir(source):
        path = os.path.join(cache, name)
        if not os.path.exists(path):
            os.makedirs(cache, exist_ok=True)
            part = '%s-part-%d' % (path, os.getpid())       # nobody is to find half a file
            shutil.copyfile(os.path.join(source, name), part)
            os.rename(part, path)
