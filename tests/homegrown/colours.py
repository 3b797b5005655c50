"""Imported by its sibling package."""

FAVOURITE = 'green'
