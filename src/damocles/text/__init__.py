"""Texts for people and from people: TOML with positions, units, spelling, terminals, and what stays hidden.

Imports no other part of damocles but each other.
"""
