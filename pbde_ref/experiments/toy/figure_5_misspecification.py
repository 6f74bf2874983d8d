"""Fig. 5: one policy for two annotators who disagree lies between what they like, Eq. (25).

About 20 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.experiments.annotators import pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, adapt, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pbde import luce
from pbde_ref.validation import FloatArray

__all__ = ["WHERE", "adapt_pooled", "maxima", "misfit", "runs"]

WHERE = (-1.6, 0.0)
"""Where trained curves have bumps that the exact one does not."""


def runs(settings: ToySettings) -> list[Run]:
    """One panel."""
    return [Run("pooled", adapt_pooled, ("pretrained",), settings.steps)]


def adapt_pooled(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """The Luce rule for one policy, on the answers of two annotators."""
    start = start_from(settings, needed)
    loss = Loss(BRADLEY_TERRY, luce(), start.reference)
    return adapt(settings, start, loss, pooled_annotators(start.problem), "two annotators", progress)


def maxima(policy: FiniteDistribution, least: float = 0.01) -> list[tuple[float, float]]:
    """Where a density on an equally spaced grid has its maxima, and how high they are, if above `least`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> grid = np.linspace(-10.0, 10.0, 201)
    >>> two = pb.mixture([0.5, 0.5], [pb.truncated_normal(grid, -5.0, 1.0), pb.truncated_normal(grid, 3.0, 1.0)])
    >>> [(round(x, 3), round(height, 3)) for x, height in maxima(two)]
    [(-5.0, 0.199), (3.0, 0.199)]
    """
    grid, density = _density(policy)
    inner = density[1:-1]
    found = np.flatnonzero((inner > density[:-2]) & (inner >= density[2:]) & (inner > least)) + 1
    return [(float(grid[i]), float(density[i])) for i in found]


def misfit(policy: FiniteDistribution, optimum: FiniteDistribution, x: float) -> float:
    """By how much a density exceeds another at x, linearly between their common grid's points."""
    (grid, one), (_, other) = _density(policy), _density(optimum)
    return float(np.interp(x, grid, one - other))


def _density(policy: FiniteDistribution) -> tuple[FloatArray, FloatArray]:
    grid = np.array(policy.support, dtype=np.float64)
    return grid, policy.pmf / (grid[1] - grid[0])
