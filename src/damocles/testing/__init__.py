"""Helpers for tests of damocles and of programs around it; not imported by the daemons."""
