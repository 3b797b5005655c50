"""A small package that no child has: to be fetched from the master, with its relative imports."""
