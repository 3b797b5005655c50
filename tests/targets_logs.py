"""Logs and prints in children. Runs on Python 3.6 and later."""

import logging
import os
import subprocess
import sys
import threading

LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']


def log(name, level, text, *args):
    logging.getLogger(name).log(getattr(logging, level), text, *args)


def log_long(size, character='x'):
    log('long', 'WARNING', character * size)


def log_each_level():
    for level in LEVELS:
        log('each', level, 'at %s', level)


def log_exception(text):
    try:
        raise ValueError('the cause')
    except ValueError:
        logging.getLogger('failing').exception(text)


def log_wrongly():
    """Arguments that do not fit the format, as happens."""
    logging.getLogger('wrong').warning('%d pieces', 'no number')


def log_with_dictionary():
    logging.getLogger('named').warning('%(a)s and %(b)s', {'a': 1, 'b': 2})


def log_lines(number, threads=1):
    """Many records; each thread counts its own."""
    def work(which):
        for line in range(number):
            logging.getLogger('many').info('thread %d line %d', which, line)
    workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def is_enabled(level):
    return logging.getLogger('any').isEnabledFor(getattr(logging, level))


def own_handler():
    """A program that sets up logging for itself."""
    logging.basicConfig(level='DEBUG')
    logging.getLogger('configured').warning('still arrives')
    return len(logging.getLogger().handlers)


def print_each(lines):
    for line in lines:
        print(line)


def print_error(text):
    print(text, file=sys.stderr)


def print_lines(number):
    for line in range(number):
        print('line %d' % line)


def write_raw(fd, data):
    while data:
        data = data[os.write(fd, data):]


def run_program(command):
    """A program that inherits our standard streams."""
    return subprocess.call(['/bin/sh', '-c', command])


def read_input():
    """What standard input has for user code."""
    return sys.stdin.read(), os.read(0, 10)


def close_output():
    sys.stdout.close()


def descriptors():
    """Numbers of the descriptors that a program inherits from us."""
    # ls opens one for itself.
    found = subprocess.check_output(['/bin/sh', '-c', 'ls /proc/self/fd'])
    return sorted(map(int, found.split()))[:-1]


def encoding_of_output():
    print('Gr\u00fc\u00dfe \udcff')
    return sys.stdout.encoding
