"""What tests of mitogen.fakessh call in children."""

import os

import mitogen.core
import mitogen.fakessh


@mitogen.core.takes_router
def run_by_itself(dest, args, router):
    """Run a program without having been admitted to `dest` by a call of run()."""
    return mitogen.fakessh.run(dest, router, args)


def set_variable(name, value):
    os.environ[name] = value
