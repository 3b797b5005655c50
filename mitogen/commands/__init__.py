"""What `python3 -m mitogen` does, one command in each file; mitogen.cli reads the command line."""
