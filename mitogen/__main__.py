"""``python3 -m mitogen``: see mitogen.cli."""

import sys

import mitogen.cli

if __name__ == '__main__':
    sys.exit(mitogen.cli.main())
