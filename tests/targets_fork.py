"""What forked children are asked. Runs on Python 3.6 and later."""

import logging
import os
import random
import sys
import threading

import mitogen
import mitogen.core

# Changed by the hooks of a fork, in the child.
happened = []


@mitogen.core.takes_router
def keep(router):
    """Start a child, which a fork of this process will not have."""
    global kept
    kept = router.local()
    return kept.call(os.getpid)


def call_kept():
    return kept.call(os.getpid)


def note(word):
    happened.append((word, os.getpid()))


def note_start(econtext):
    happened.append(('start', econtext.context.context_id, mitogen.context_id))


def get_happened():
    return happened


def raise_in_hook(*args):
    raise RuntimeError('the hook failed')


def exit_in_hook(*args):
    sys.exit(7)


def random_numbers():
    return [random.random() for _ in range(4)]


def thread_names():
    return sorted(thread.name for thread in threading.enumerate())


def who():
    return mitogen.is_master, mitogen.context_id, mitogen.parent_ids


def descriptor_targets():
    """What each open descriptor leads to."""
    found = {}
    for number in os.listdir('/proc/self/fd'):
        try:
            found[int(number)] = os.readlink('/proc/self/fd/' + number)
        except OSError:
            pass
    return found


def session():
    return os.getsid(0)


def log(text):
    logging.getLogger('after.fork').warning(text)
    return text


def ssl_bytes():
    import ssl
    return ssl.RAND_bytes(16)


def log_to_noise():
    """By the logger, and so the handler and its lock, that the program's threads were using."""
    logging.getLogger('noise').warning('from the fork')
    return True


stop_logging = threading.Event()


def start_logging_threads(number):
    """Threads that keep the locks of logging busy, and nobody else."""
    def work():
        while not stop_logging.is_set():
            logging.getLogger('busy').debug('nobody reads it')
            logging.NullHandler().close()
    for _ in range(number):
        threading.Thread(target=work).start()


def stop_logging_threads():
    stop_logging.set()
