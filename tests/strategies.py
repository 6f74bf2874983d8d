"""The public strategies with the degenerate points: laws must hold at ties, round numbers and supports of one outcome.

Everything is drawn as `pbde_ref.strategies.objects` says, with ``degenerate=True``.
"""

from functools import partial

from pbde_ref.strategies import KINDS, Problem, generators, proposals, zero_outcomes
from pbde_ref.strategies import objects as public

__all__ = [
    "KINDS", "Problem", "annotator_mixtures", "annotators", "distributions", "generators", "pbdes",
    "preference_matrices", "problems", "proposals", "sizes", "utilities", "vectors", "zero_outcomes",
]  # fmt: skip

sizes = partial(public.sizes, degenerate=True)
vectors = partial(public.vectors, degenerate=True)
utilities = partial(public.utilities, degenerate=True)
distributions = partial(public.distributions, degenerate=True)
pbdes = partial(public.pbdes, degenerate=True)
annotators = partial(public.annotators, degenerate=True)
annotator_mixtures = partial(public.annotator_mixtures, degenerate=True)
preference_matrices = partial(public.preference_matrices, degenerate=True)
problems = partial(public.problems, degenerate=True)
