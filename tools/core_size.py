#!/usr/bin/env python3
"""Print what a child costs before its first call: bytes on the command line, bytes sent. Fails above the budget.

usage: tools/core_size.py
"""

import os
import shlex
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen.boot.payload as payload  # noqa: E402
import mitogen.master  # noqa: E402
from mitogen.boot.first_stage import CARRYING, READING  # noqa: E402

NAME = 'mitogen:deploy@control:12345'


def typical() -> bytes:
    """Return core and configuration of a child three hops away from the master."""
    router = mitogen.master.Router()
    try:
        config = payload.configuration(12345, [1234, 123, 0], '%032x' % 0xfedcba9876543210fedcba9876543210,
                                       {'max_message_size': router.max_message_size, 'unidirectional': False,
                                        'log_level': 30})
        return router.payload.build(config)
    finally:
        router.broker.shutdown()
        router.broker.join()


def main() -> int:
    """Return the exit status: 0 when all is within the budget."""
    sent = typical()
    command = ' '.join(shlex.quote(word) for word in payload.command(['python3'], READING, NAME, sent))
    carried = ' '.join(payload.command(['python3'], CARRYING, NAME, sent))
    rows = [('command line of the first stage', len(command), payload.MAX_COMMAND),
            ('core and configuration, compressed', len(sent), payload.MAX_PAYLOAD)]
    for what, size, limit in rows:
        print('%-36s %6d bytes, limit %6d%s' % (what, size, limit, '  TOO LARGE' if size > limit else ''))
    print('%-36s %6d bytes' % ('command line that carries the core', len(carried)))
    return 1 if any(size > limit for _, size, limit in rows) else 0


if __name__ == '__main__':
    sys.exit(main())
