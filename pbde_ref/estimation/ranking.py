"""Items in order, with errors, intervals and the ranks that the comparisons leave possible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.display import Shown
from pbde_ref.estimation.newton import DENSE_LIMIT
from pbde_ref.estimation.result import ComparisonFit, interval_reach
from pbde_ref.validation import FloatArray, IndexArray, generator_of

__all__ = ["Ranking", "rank_intervals", "ranking"]

# Draws of a normal vector for the largest of many differences, and items up to which they are drawn.
DRAWS, MOST_RANKED = 4000, 1000


@dataclass(frozen=True, eq=False)
class Ranking(Shown):
    """Items in order of utility, best first, with errors where they were computed and NaN elsewhere.

    Attributes
    ----------
    order : ndarray of int, shape (n,)
        Indices of the items.
    utilities, errors : ndarray, shape (n,)
        In that order, relative to the reference, or to their mean.
    intervals : ndarray, shape (n, 2)
    level : float
        Of the intervals.
    reference : str or None
        Label of the item at zero.
    ranks : ndarray of int, shape (k, 2)
        Best and worst rank that each of the first items may have, from `rank_intervals`; none where that was not
        computed.
    """

    order: IndexArray
    utilities: FloatArray
    errors: FloatArray
    intervals: FloatArray
    level: float
    reference: str | None
    ranks: IndexArray


def ranking(fit: ComparisonFit, level: float, reference: int | None, most: int) -> Ranking:
    """Rank the items; beyond 1,000 of them only the first `most` get errors, and none get intervals of ranks."""
    size = fit.utilities.size
    order = np.argsort(-fit.utilities, kind="stable")
    known = size if size <= MOST_RANKED else min(most, size)
    errors, intervals = np.full(size, math.nan), np.full((size, 2), math.nan)
    if known:
        everything = known == size <= DENSE_LIMIT
        found = fit.confidence_intervals(level, None if everything else order[:known], relative_to=reference)
        intervals[:known] = found[order] if everything else found
        errors[:known] = 0.5 * np.ptp(intervals[:known], axis=1) / interval_reach(level)
    utilities = fit.relative_utilities(reference)[order]
    name = None if reference is None else str(fit.distribution.support[reference])
    ranked = size if size <= MOST_RANKED and fit.components.max() == 0 else 0
    ranks = rank_intervals(fit, level, order[: min(most, ranked)]) if ranked else np.empty((0, 2), dtype=np.intp)
    return Ranking(order, utilities, errors, intervals, level, name, ranks)


def rank_intervals(fit: ComparisonFit, level: float, items: IndexArray, rng: Any = 0) -> IndexArray:
    r"""Best and worst rank that each item may have, shape (k, 2).

    An item is ahead of those whose utility is surely lower: simultaneously over all others, the difference is more than
    c standard errors, c being the `level` quantile of :math:`\max_j |Z_i - Z_j| / \operatorname{se}_{ij}` of a normal
    vector with the estimate's covariance. Covers an item's rank with at least that probability, whatever the gaps
    (Mogstad, Romano, Shaikh and Wilhelm 2024); quantiles of a bootstrap's ranks do not.

    Examples
    --------
    >>> from pbde_ref.estimation import fit_comparisons
    >>> fit = fit_comparisons(counts=[[0, 90, 90], [10, 0, 52], [10, 48, 0]])
    >>> rank_intervals(fit, 0.95, fit.utilities.argsort()[::-1])
    array([[1, 1],
           [2, 3],
           [2, 3]])
    """
    size = fit.utilities.size
    covariance = fit.covariance()[:size, :size]
    values, vectors = np.linalg.eigh(covariance)
    draws = generator_of(rng).normal(size=(DRAWS, size)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    result = np.empty((items.size, 2), dtype=np.intp)
    diagonal = covariance.diagonal()
    for place, item in enumerate(items.tolist()):
        error = np.sqrt(np.maximum(diagonal + diagonal[item] - 2.0 * covariance[item], 0.0))
        error[item] = np.inf
        largest = np.max(np.abs(draws - draws[:, [item]]) / np.maximum(error, 1e-300), axis=1)
        lead = (fit.utilities - fit.utilities[item]) / np.maximum(error, 1e-300)
        critical = float(np.quantile(largest, level))
        result[place] = 1 + np.count_nonzero(lead > critical), size - np.count_nonzero(lead < -critical)
    return result
