"""How code reaches a child: what a module's source is, what it imports, who is sent what and when."""
