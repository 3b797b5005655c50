"""Tests of the bytes that are really sent, with every Python that is found."""
