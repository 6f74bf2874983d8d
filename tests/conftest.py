"""Hypothesis runs the same examples every time and never times one: a busy machine does not fail a law.

``HYPOTHESIS_PROFILE=thorough`` looks further, with new examples in every run.
"""

import os

from hypothesis import settings

# It imports Flax, which the tests do without.
collect_ignore = ["data/flax/make_fixture.py"]

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
