"""Maximum likelihood from comparisons: this package, evalica on integer arrays, choix, arena-rank, L-BFGS."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
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

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        return {"gradient": self.largest_gradient(answer)}

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

    def time_scipy_lbfgs(self, comparisons: int, items: int) -> FloatArray:
        """As leaderboards are often made: comparisons added up, then SciPy's L-BFGS on all ordered pairs."""
        wins = np.bincount(self.winner * items + self.loser, minlength=items * items).reshape(items, items)

        def loss(utilities: FloatArray) -> tuple[float, FloatArray]:
            upset = wins * expit(np.subtract.outer(-utilities, -utilities))
            value = float((wins * np.logaddexp(0.0, np.subtract.outer(-utilities, -utilities))).sum())
            return value / comparisons, (upset.sum(axis=0) - upset.sum(axis=1)) / comparisons

        options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-10}
        return np.asarray(minimize(loss, np.zeros(items), jac=True, method="L-BFGS-B", options=options).x)

    @needs("arena_rank")
    def time_arena_rank(self, comparisons: int, items: int) -> FloatArray:
        """Its loss and optimiser on pairs that were added up beforehand, which is not counted."""
        from arena_rank.models.bradley_terry import BradleyTerry
        from arena_rank.utils.data_utils import PairDataset
        from jax import numpy

        if "arena_rank" not in self.others:
            cell, count = np.unique(self.winner * items + self.loser, return_counts=True)
            pairs, ones = numpy.asarray(np.stack(np.divmod(cell, items), 1)), numpy.ones(cell.size)
            counts = numpy.asarray(count, dtype=float)
            self.others["arena_rank"] = PairDataset(list(range(items)), pairs, ones, counts, ones, counts)
        model = BradleyTerry(items).fit(self.others["arena_rank"])
        return np.asarray(model.params["ratings"])


class LargeFits(_Comparisons):
    """Large fits, connectivity included"""

    params = ([10**7], [10**5])
    quick_params = ([10**5], [2000])
