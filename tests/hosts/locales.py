"""A language of the system's that is not English, for programs that speak it."""

import contextlib
import pathlib
import shutil

import pytest

from hosts import lab

LOCALES = pathlib.Path('/usr/lib/locale')
NAME = 'de_DE.utf8'


@contextlib.contextmanager
def german():
    """Have a German locale, and take it away again if there was none; yields its name."""
    if NAME in lab.run(['locale', '-a']).stdout.split():
        yield NAME
        return
    if not pathlib.Path('/usr/share/i18n/locales/de_DE').exists():
        pytest.skip('the package locales is not installed, and without it nobody learns German')
    # Not into the archive, which others use: a folder of its own can go again.
    lab.run([lab.program('localedef'), '--no-archive', '-i', 'de_DE', '-f', 'UTF-8', LOCALES / NAME])
    try:
        yield NAME
    finally:
        shutil.rmtree(LOCALES / NAME)
