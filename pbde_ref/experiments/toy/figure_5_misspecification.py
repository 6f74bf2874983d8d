"""Fig. 5, measured: where a density has its maxima, and by how much it misses another."""

from __future__ import annotations

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.validation import FloatArray

__all__ = ["WHERE", "maxima", "misfit"]

WHERE = (-1.6, 0.0)
"""Where trained curves have bumps that the exact one does not."""


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
