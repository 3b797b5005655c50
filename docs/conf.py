"""Configuration of Sphinx: ``sphinx-build docs docs/_build/html``."""

import os
import pathlib
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import drawings  # noqa: E402
import plots  # noqa: E402

import mitogen  # noqa: E402

project = 'mitogen'
author = 'The mitogen authors'
copyright = '2026, ' + author
version = release = '.'.join(map(str, mitogen.__version__))
extensions = ['sphinx.ext.autodoc', 'sphinx.ext.doctest']
html_theme = 'furo'
exclude_patterns = ['_build']
html_static_path = ['_static']
html_css_files = ['wide.css']
html_title = 'mitogen ' + version
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
nitpicky = False


def read_changelog(app, docname, source):
    """CHANGELOG.md, which is written for the repository, is the page of that name here."""
    if docname == 'changelog':
        text = pathlib.Path(app.srcdir).with_name('CHANGELOG.md').read_text(encoding='utf-8')
        text = re.sub(r'`([^`]+)`', r'``\1``', text)
        source[0] = re.sub('^(##?) (.+)$', lambda title: '%s\n%s' % (title[2], '=-'[len(title[1]) - 1] * len(title[2])),
                           text, flags=re.M)


def for_users(app, what, name, obj, options, lines):
    """Leave out what the head of a file says to those who work on it."""
    if what == 'module':
        first = lines.index('') if '' in lines else len(lines)
        if name in ('mitogen', 'mitogen.core'):
            del lines[first:]
        lines[first + 1:] = re.sub(r'^Ring \d[^.:;]*[.:;] ?', '', '\n'.join(lines[first + 1:]), flags=re.M).split('\n')


def draw(app):
    """Draw what the pages show."""
    folder = os.path.join(app.srcdir, '_build', 'drawings')
    drawings.write(folder)
    plots.write(os.path.join(app.srcdir, 'curves.json'), folder)


def setup(app):
    app.connect('autodoc-process-docstring', for_users)
    app.connect('source-read', read_changelog)
    app.connect('builder-inited', draw)
