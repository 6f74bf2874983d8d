"""Hypothesis runs the same examples every time and never times one: a busy machine does not fail a law."""

from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ci")
