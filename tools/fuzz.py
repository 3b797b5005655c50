#!/usr/bin/env python3
"""Look for bytes that break an invariant of tests/fuzz/invariants.py, guided by which code they reach.

usage: tools/fuzz.py NAME [OPTION OF LIBFUZZER]...          such as -max_total_time=60, -runs=1000000

What reaches something new is added to tests/fuzz/corpus/NAME; what breaks it is written to a file crash-... here.
Needs atheris (pip install atheris). Without it, SOAK=1 scripts/test tests/fuzz does the same by chance.
"""

import importlib
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]


def main(argv: 'list[str]') -> int:
    """Return the exit status."""
    try:
        atheris = importlib.import_module('atheris')
    except ImportError:
        print('tools/fuzz.py needs atheris: pip install atheris', file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=['mitogen']):
        invariants = importlib.import_module('fuzz.invariants')
    if len(argv) < 2 or argv[1] not in invariants.INVARIANTS:
        print(__doc__, 'NAME is one of %s.' % ', '.join(invariants.INVARIANTS), file=sys.stderr, sep='\n')
        return 2
    name = argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(invariants.read_corpus(name)):
            pathlib.Path(folder, 'known-%d' % number).write_bytes(data)
        pid = os.fork()
        if not pid:         # libFuzzer ends its process when it is done
            atheris.Setup([argv[0], *argv[2:], '-max_len=1000', folder], invariants.INVARIANTS[name])
            atheris.Fuzz()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        invariants.write_corpus(name, [path.read_bytes() for path in pathlib.Path(folder).iterdir()])
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv))
