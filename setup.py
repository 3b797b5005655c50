"""For tools that still look for this file. Everything that setuptools wants to know is in pyproject.toml."""

from setuptools import setup

setup()
