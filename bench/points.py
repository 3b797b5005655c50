#!/usr/bin/env python3
"""Measure one point of a curve of bench/curves.py; print its figures, as JSON.

usage: points.py CURVE X SECONDS

SECONDS: how long to repeat what takes less. Only what mitogen 0.3 has too is used: whose library is measured is decided
by PYTHONPATH. For `delay`, TARGET in the environment is `HOST PORT IDENTITY_FILE` of an sshd.
"""

# Each child is sent this file and runs these imports: what else is needed is imported where that is.
import os
import sys
import threading
import time

now = time.perf_counter

#: Threads that start contexts at once.
STARTERS = 8

#: Contexts that are asked what memory they take.
ASKED = 10

#: Modules of the package that a far machine imports.
FAR_MODULES = 100

#: A program that computes until whoever started it is gone.
COMPUTE = 'import os; parent = os.getppid()\nwhile os.getppid() == parent: pass'


def nothing():
    pass


def length(data):
    return len(data)


def import_it(name):
    __import__(name)


def private_memory():
    """MB that would be free if this process were not."""
    with open('/proc/self/smaps_rollup') as fp:
        return sum(int(line.split()[1]) for line in fp if line.startswith('Private_')) / 1024.0


def resident_memory():
    with open('/proc/self/statm') as fp:
        return int(fp.read().split()[1]) * os.sysconf('SC_PAGESIZE') / 1048576.0


def median(values):
    return sorted(values)[len(values) // 2]


def repeated(seconds, fn, *args):
    """Call a function for some time, three times at least; return seconds per call, the median."""
    times, end = [], now() + seconds
    while len(times) < 3 or now() < end:
        start = now()
        fn(*args)
        times.append(now() - start)
    return median(times)


def in_threads(count, fn, *args):
    """Call a function in so many threads at once; return how long the last took."""
    threads = [threading.Thread(target=fn, args=args) for _ in range(count)]
    start = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return now() - start


def start_contexts(router, count):
    """Return contexts that have answered a call, and how many seconds that took."""
    contexts, left = [], list(range(count))

    def start_some():
        while True:
            try:
                left.pop()
            except IndexError:
                return
            context = router.local()
            context.call(nothing)
            contexts.append(context)
    took = in_threads(min(count, STARTERS), start_some)
    if len(contexts) < count:
        raise SystemExit('%d of %d contexts did not start' % (count - len(contexts), count))
    return contexts, took


def size(router, count, seconds):
    """A call with so many bytes as its argument."""
    context = router.local()
    data = b'x' * count
    context.call(length, data)
    return {'seconds': repeated(seconds, context.call, length, data)}


def contexts(router, count, seconds):
    """So many contexts: to start them, to call all of them at once, and what they take."""
    found, took = start_contexts(router, count)

    def call_all():
        for receiver in [context.call_async(nothing) for context in found]:
            receiver.get()
    call_all()
    return {'start': took, 'calls': count / repeated(seconds, call_all), 'master': resident_memory(),
            'descriptors': len(os.listdir('/proc/self/fd')),
            'child': median([context.call(private_memory) for context in found[:ASKED]])}


def threads(router, count, seconds):
    """So many threads that call, each a context of its own."""
    found, done = start_contexts(router, count)[0], []

    def call_one():
        context, calls = found.pop(), 0
        end = now() + seconds
        while now() < end:
            context.call(nothing)
            calls += 1
        done.append(calls)
    took = in_threads(count, call_one)
    return {'calls': sum(done) / took}


def busy(router, count, seconds):
    """Calls beside so many programs that compute: all of them, also those that had to wait for the processor."""
    import subprocess
    context, programs = router.local(), []
    context.call(nothing)
    try:
        for _ in range(count):
            programs.append(subprocess.Popen([sys.executable, '-c', COMPUTE]))
        start, calls = now(), 0
        while now() < start + 4 * seconds:      # what the system gives to whom, evens out slowly
            context.call(nothing)
            calls += 1
        return {'seconds': (now() - start) / calls}
    finally:
        for program in programs:
            program.kill()
            program.wait()


def make_package(count):
    """Make a package of so many modules that only this process finds, each imported by another; return its name."""
    import tempfile
    folder = tempfile.mkdtemp()     # curves.py removes it
    os.mkdir(os.path.join(folder, 'only_here'))
    with open(os.path.join(folder, 'only_here', '__init__.py'), 'w') as fp:
        fp.write('from only_here import m0\n')
    for number in range(count):
        with open(os.path.join(folder, 'only_here', 'm%d.py' % number), 'w') as fp:
            fp.write('"""Module %d."""\nimport os\n' % number)
            for below in 2 * number + 1, 2 * number + 2:
                fp.write('from only_here import m%d\n' % below if below < count else '')
            for function in range(40):
                fp.write('def f%d(a, b=%d):\n    """Return a sum."""\n    return a + b\n' % (function, number))
    sys.path.insert(0, folder)
    return 'only_here'


def imports(router, count, seconds):
    """The import of a package of so many modules: in the first context, and in later ones."""
    package, times = make_package(count), []
    for _ in range(4):
        context = router.local()
        context.call(nothing)
        start = now()
        context.call(import_it, package)
        times.append(now() - start)
    return {'first': times[0], 'later': median(times[1:])}


def delay(router, milliseconds, seconds):
    """The import of a package, known to the master, on a machine that is so far away."""
    host, port, identity = os.environ['TARGET'].split()
    context = router.ssh(hostname=host, port=int(port), username='root', identity_file=identity,
                         python_path=sys.executable, check_host_keys='ignore', ssh_args=['-F', '/dev/null'])
    context.call(nothing)
    package = make_package(FAR_MODULES)
    router.local().call(import_it, package)
    start = now()
    context.call(import_it, package)
    return {'seconds': now() - start}


CURVES = {'size': size, 'contexts': contexts, 'threads': threads, 'busy': busy, 'imports': imports, 'delay': delay}


def main(curve, x, seconds):
    import json

    import mitogen.utils
    print(json.dumps(mitogen.utils.run_with_router(CURVES[curve], int(x), float(seconds))))


if __name__ == '__main__':
    main(*sys.argv[1:])
