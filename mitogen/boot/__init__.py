"""How a child comes to life: what is put on the command line, what is sent, and what is said until it answers."""
