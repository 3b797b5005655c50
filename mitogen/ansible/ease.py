"""
What the template does once, so that no module has to wait for it, or do it again.

Ring 1. It runs in the template, see mitogen.ansible.template, where nothing of this library can be imported. What it
changes in the standard library meets all modules alike.
"""

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

#: Seconds that modules may wait for no file at all, see _hurry().
NOTHING = 0.01

#: Name of the function that run_command() has called in a new process.
PREPARES = 'AnsibleModule.run_command.<locals>.preexec'

#: What it may make use of, if it is to do nothing without a umask: the first, in 2.16, is for Python 2.
USES = {'_restore_signal_handlers', 'os', 'umask'}


def ease() -> None:
    """Do all of it, when what modules have in common is imported."""
    _hurry()
    _spare_forks()
    _rehearse()


def _hurry() -> None:
    """Have modules wait no longer than NOTHING where they wait for files, and there are none.

    Ansible's run_command() asks twice in a row whether a command has ended that has closed its output. If it ends in
    between, run_command() goes on to wait for output, for a second: after one command in sixty, with two processors.
    """
    import selectors
    selector = getattr(selectors, 'PollSelector', selectors.SelectSelector)     # as run_command() chooses
    select = selector.select

    @functools.wraps(select)
    def select_something(self: 'Any', timeout: 'Optional[float]' = None) -> 'Any':
        return select(self, timeout if timeout is None or self.get_map() else min(timeout, NOTHING))
    selector.select = select_something       # type: ignore[method-assign]


def _spare_forks() -> None:
    """Have run_command() start programs by vfork(2), as Python 3.10 can, where it has nothing to do in between.

    It has a function called in the new process, which sets a umask if one was given. For this Python forks, and both
    processes copy what they touch.
    """
    import subprocess
    begin = subprocess.Popen.__init__

    @functools.wraps(begin)
    def begin_soon(self: 'Any', *args: 'Any', **kwargs: 'Any') -> None:
        if _does_nothing(kwargs.get('preexec_fn')):
            kwargs['preexec_fn'] = None
        begin(self, *args, **kwargs)
    subprocess.Popen.__init__ = begin_soon      # type: ignore[method-assign]


def _does_nothing(fn: 'Any') -> bool:
    """Whether it is that function, and no umask was given."""
    if getattr(fn, '__qualname__', '') != PREPARES:
        return False
    bound = dict(zip(fn.__code__.co_freevars, fn.__closure__))
    return USES.issuperset(fn.__code__.co_names) and 'umask' in bound and bound['umask'].cell_contents is None


def _rehearse() -> None:
    """Find out what each module would: the files of the locale, which values are what to `collections.abc`."""
    import collections.abc
    import locale
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, '')
    except locale.Error:
        pass
    finally:
        locale.setlocale(locale.LC_ALL, before)
    kinds = [getattr(collections.abc, name) for name in collections.abc.__all__]
    for example in dict, list, tuple, set, str, bytes, int, float, bool, type(None):
        for kind in kinds:
            issubclass(example, kind)
