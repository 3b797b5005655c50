"""Tests against real programs on this machine: sshd, sudo and what else people reach their interpreters through."""
