"""Configuration of Sphinx: ``sphinx-build docs docs/_build/html``."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mitogen  # noqa: E402

project = 'mitogen'
author = 'The mitogen authors'
copyright = '2026, ' + author
version = release = '.'.join(map(str, mitogen.__version__))
extensions = ['sphinx.ext.autodoc', 'sphinx.ext.doctest']
html_theme = 'furo'
exclude_patterns = ['_build']
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
nitpicky = False
