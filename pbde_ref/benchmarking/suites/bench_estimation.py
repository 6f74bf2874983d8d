"""Maximum likelihood from comparisons: this package, evalica's public call on integer arrays, choix."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

import pbde_ref as pb
from pbde_ref.benchmarking.contests import needs
from pbde_ref.validation import FloatArray

__all__ = ["Fits", "LargeFits"]


class _Comparisons:
    """Random pairs of items with normal utilities, answered by the Luce rule."""

    param_names = ("comparisons", "items")
    reference = "fit_comparisons"

    def setup(self, comparisons: int, items: int) -> None:
        self.fit_comparisons = pb.fit_comparisons
        rng = np.random.default_rng(7)
        utilities = rng.normal(size=items)
        first = rng.integers(items, size=comparisons)
        second = (first + rng.integers(1, items, size=comparisons)) % items
        won = rng.random(comparisons) < expit(utilities[first] - utilities[second])
        self.winner, self.loser = np.where(won, first, second), np.where(won, second, first)

    def time_fit_comparisons(self, comparisons: int, items: int) -> FloatArray:
        return np.asarray(self.fit_comparisons(self.winner, self.loser).utilities)

    peakmem_fit_comparisons = time_fit_comparisons

    def track_gradient_fit_comparisons(self, comparisons: int, items: int) -> float:
        return self.largest_gradient(self.time_fit_comparisons(comparisons, items))

    def largest_gradient(self, utilities: FloatArray) -> float:
        """Of the log-likelihood, each entry per comparison of its item."""
        size, upset = utilities.size, expit(utilities[self.loser] - utilities[self.winner])
        gradient = np.bincount(self.winner, upset, size) - np.bincount(self.loser, upset, size)
        played = np.bincount(self.winner, minlength=size) + np.bincount(self.loser, minlength=size)
        return float(np.abs(gradient / played).max())


class Fits(_Comparisons):
    """Fits in memory"""

    params = ([10**6], [1000])
    quick_params = ([5000], [50])

    def setup(self, comparisons: int, items: int) -> None:
        super().setup(comparisons, items)
        self.others: dict[str, Any] = {}

    @needs("evalica")
    def time_evalica(self, comparisons: int, items: int) -> FloatArray:
        import evalica

        if "evalica" not in self.others:
            # Not counted: the winners as evalica wants them, all on the left.
            self.others["evalica"] = [evalica.Winner.X] * comparisons
        result = evalica.bradley_terry(self.winner, self.loser, self.others["evalica"])
        return np.log(result.scores.sort_index().to_numpy())

    @needs("choix")
    def time_choix_ilsr(self, comparisons: int, items: int) -> FloatArray:
        import choix

        if "choix" not in self.others:
            # Not counted: the pairs as choix wants them.
            self.others["choix"] = list(zip(self.winner.tolist(), self.loser.tolist(), strict=True))
        return np.asarray(choix.ilsr_pairwise(items, self.others["choix"]))

    def track_gradient_evalica(self, comparisons: int, items: int) -> float:
        return self.largest_gradient(self.time_evalica(comparisons, items))

    def track_gradient_choix_ilsr(self, comparisons: int, items: int) -> float:
        return self.largest_gradient(self.time_choix_ilsr(comparisons, items))


class LargeFits(_Comparisons):
    """Large fits, connectivity included"""

    params = ([10**7], [10**5])
    quick_params = ([10**5], [2000])
