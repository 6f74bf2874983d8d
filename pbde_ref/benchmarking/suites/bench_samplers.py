"""Samplers, beside NumPy's and SciPy's."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats.sampling import DiscreteAliasUrn

import pbde_ref as pb
from pbde_ref.sampling.outcomes import AliasTable

__all__ = ["ManyOutcomes", "FewOutcomes", "Counts"]  # noqa: RUF022 (the order of the tables)


class _Outcomes:
    param_names = ("n", "size")
    reference = "sample_outcomes"

    def setup(self, n: int, size: int) -> None:
        self.rng = np.random.default_rng(4)
        pmf = self.rng.dirichlet(np.ones(n))
        self.pmf = pmf / pmf.sum()

    def time_sample_outcomes(self, n: int, size: int) -> Any:
        return pb.sample_outcomes(self.pmf, size, rng=self.rng)

    def time_generator_choice(self, n: int, size: int) -> Any:
        return self.rng.choice(n, size, p=self.pmf)

    def time_scipy_alias_urn(self, n: int, size: int) -> Any:
        return DiscreteAliasUrn(self.pmf, random_state=self.rng).rvs(size)


class ManyOutcomes(_Outcomes):
    """Independent draws from a distribution over n outcomes"""

    params = ([10**3, 10**5, 10**6], [10**7])
    quick_params = ([10**3, 10**5], [10**5])
    peakmem_sample_outcomes = _Outcomes.time_sample_outcomes
    peakmem_generator_choice = _Outcomes.time_generator_choice

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        """Largest error of a probability in the table that the draws come from."""
        if contender != "sample_outcomes":
            return {}
        table, n = AliasTable.of(self.pmf), self.pmf.size
        found = table.keep / n + np.bincount(table.alias, (1.0 - table.keep) / n, n)
        return {"probability_error": float(np.abs(found - self.pmf).max())}


class FewOutcomes(_Outcomes):
    """A hundred independent draws from a distribution over n outcomes"""

    params = ([10**4, 10**6], [100])
    quick_params = ([10**4], [100])


class Counts:
    """How often each of n outcomes beats each other in 10^9 comparisons"""

    params = ([64, 256, 1000],)
    quick_params = ([16, 64],)
    param_names = ("n",)
    reference = "sample_counts"

    def setup(self, n: int) -> None:
        self.rng = np.random.default_rng(5)
        self.annotator = pb.Annotator(pb.FiniteDistribution(self.rng.normal(size=n)), pb.luce())
        self.proposal = pb.ProductProposal(self.rng.exponential(size=n))
        self.pairs = self.proposal.matrix(n).ravel()
        self.preferences = self.annotator.preference_probabilities().ravel()

    def time_sample_counts(self, n: int) -> Any:
        return pb.sample_counts(self.annotator, self.proposal, 10**9, rng=self.rng)

    def time_numpy_multinomial(self, n: int) -> Any:
        """NumPy's multinomial over ordered pairs; rounding may give counts to pairs of weight 0 there."""
        drawn = self.rng.multinomial(10**9, self.pairs)
        return self.rng.binomial(drawn, self.preferences)

    def time_a_thousandth_one_by_one(self, n: int) -> Any:
        """10^6 comparisons drawn one by one and counted: a thousandth of the job."""
        drawn = pb.sample_comparisons(self.annotator, self.proposal, 10**6, rng=self.rng)
        return np.bincount(n * drawn.chosen + drawn.rejected, minlength=n * n)
