"""A connection method for tests: `local`, with the core on the command line, as ssh has it."""

import mitogen.local


class Method(mitogen.local.Method):
    """As `local`."""

    name = 'carrying'
    carries_core = True
