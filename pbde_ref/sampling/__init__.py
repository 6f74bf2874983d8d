r"""Draws at random: outcomes, pairs, preferences, aggregated counts, optimal policies by rejection, Barker's chain.

Everything is drawn from the exact distribution, vectorised, with a generator or seed that the caller hands in; equal
seeds give equal bytes. Outcomes are indices into the support.
"""

from pbde_ref.sampling.chains import sample_barker_chain
from pbde_ref.sampling.comparisons import Comparisons, sample_comparisons, sample_pairs, sample_preferences
from pbde_ref.sampling.counts import sample_counts
from pbde_ref.sampling.outcomes import sample_outcomes
from pbde_ref.sampling.rejection import RejectionSample, rso_distribution, sample_optimal_policy

__all__ = [
    "Comparisons",
    "RejectionSample",
    "rso_distribution",
    "sample_barker_chain",
    "sample_comparisons",
    "sample_counts",
    "sample_optimal_policy",
    "sample_outcomes",
    "sample_pairs",
    "sample_preferences",
]
