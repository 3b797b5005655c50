"""
Call Python functions on other machines, in other accounts and in containers, with nothing installed there.

Ring 0: a child has the same names, given to it by mitogen.core, so there is no more here than who this process is.
Importing it has no side effects.
"""

#: Version of the library: major, minor, patch.
__version__ = (1, 0, 0)

#: Whether this process is the root of a tree of contexts.
is_master = True

#: Id of this process in its tree; the master's is 0.
context_id = 0

#: Id of the context that started this one; None in a master.
parent_id = None

#: Ids of the parent, its parent and so on up to the master; empty in a master.
parent_ids: 'list[int]' = []


def main(log_level: str = 'INFO', profiling: bool = False):     # type: ignore[no-untyped-def]
    """Decorate the main function of a script: it runs at once, as ``func(router)``; its result is the exit status.

    In a child, which imports the same script to find its functions, nothing runs. The router is shut down when the
    function returns or raises.

    :param log_level: level of the log on standard error.
    :param profiling: write profiles of all threads, in children too.
    """
    def decorate(func):     # type: ignore[no-untyped-def]
        if not is_master:
            return func
        import mitogen.utils
        return mitogen.utils.run_main(func, log_level, profiling)
    return decorate
