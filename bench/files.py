#!/usr/bin/env python3
"""Compare FileService with cat through the same number of pipes; print seconds, ratios and memory, as JSON.

usage: files.py [MEGABYTES [ROUNDS]]

Files go from a temporary folder to another file there: from the master to a child and from a child to the master, over
one hop and over two. `cat` does the same with a process and a pipe for each hop, in the same run, turn about. Of each
the best round counts. `memory` is the most that any process grew by, in MB.
"""

import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen.core  # noqa: E402
import mitogen.service  # noqa: E402
import mitogen.utils  # noqa: E402


@mitogen.core.takes_econtext
def fetch(path, out_path, econtext):
    """In a child: copy a file of the master."""
    master = econtext.router.context_by_id(0)
    with open(out_path, 'wb', 0) as fp:
        return mitogen.service.FileService.get(master, path, fp)[0]


def peak():
    """Most memory that this process has had, in MB."""
    with open('/proc/self/status') as fp:
        return max(int(line.split()[1]) for line in fp if line.startswith('VmHWM')) / 1000


def cat(path, out_path, hops):
    command = 'cat "$1"' + ' | cat' * hops + ' > "$2"'
    subprocess.run(['sh', '-c', command, 'sh', path, out_path], check=True)


def from_child(child, path, out_path):
    with open(out_path, 'wb', 0) as fp:
        assert mitogen.service.FileService.get(child, path, fp)[0]


def timed(fn, *args):
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def make_file(folder, megabytes):
    path = os.path.join(folder, 'source')
    with open(path, 'wb') as fp:
        for _ in range(megabytes):
            fp.write(os.urandom(1 << 20))
    return path


@mitogen.utils.with_router
def main(router, megabytes='512', rounds='3'):
    one = router.local()
    two = router.local(via=one)
    mitogen.service.Pool(router, [mitogen.service.FileService(router)], size=2)
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(folder, int(megabytes))
        mitogen.service.get_or_create_pool(router=router).get_service(mitogen.service.FileService).register_prefix('/')
        target = os.path.join(folder, 'target')
        ways = {
            'cat, 1 hop': (cat, path, target, 1),
            'to child, 1 hop': (one.call, fetch, path, target),
            'from child, 1 hop': (from_child, one, path, target),
            'cat, 2 hops': (cat, path, target, 2),
            'to child, 2 hops': (two.call, fetch, path, target),
            'from child, 2 hops': (from_child, two, path, target),
        }
        for context in one, two:            # what is imported for the first file is no growth
            context.call(fetch, __file__, target)
            from_child(context, __file__, target)
        before = [peak(), one.call(peak), two.call(peak)]
        seconds = {name: [] for name in ways}
        for _ in range(int(rounds)):
            for name, way in ways.items():
                seconds[name].append(timed(*way))
                assert filecmp.cmp(path, target, shallow=False), name
        after = [peak(), one.call(peak), two.call(peak)]
    best = {name: min(all_of_it) for name, all_of_it in seconds.items()}
    ratios = {name: best['cat, ' + name.partition(', ')[2]] / took for name, took in best.items() if 'cat' not in name}
    print(json.dumps({'megabytes': int(megabytes), 'seconds': best, 'ratio to cat': ratios,
                      'memory': max(new - old for new, old in zip(after, before))}, indent=2))


if __name__ == '__main__':
    main(*sys.argv[1:])
