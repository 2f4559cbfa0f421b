"""Stages on other machines: the only room that knows of Ray, and `driver` is the only module that imports it."""
