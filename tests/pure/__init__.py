"""Tests of decisions: no process, thread, socket or sleep."""
