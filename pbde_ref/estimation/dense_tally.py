"""Comparisons added up in a matrix of all pairs, for few items or many comparisons of each pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit

from pbde_ref.estimation.tallies import CHUNK, Curvature, exponentials, likelihood_from_cost, log_two_cosh, slices
from pbde_ref.validation import FloatArray

__all__ = ["DenseCurvature", "DenseTally", "dense_tally"]


def dense_tally(
    winner: NDArray[np.integer], loser: NDArray[np.integer], weights: FloatArray | None, wins: FloatArray,
    games: FloatArray,
) -> DenseTally:  # fmt: skip
    """Add up comparisons, given the items' wins and games."""
    size = wins.size
    cell = np.empty(winner.size, dtype=np.intp)
    for part in slices(winner.size):
        np.multiply(winner[part], size, out=cell[part], dtype=np.intp, casting="unsafe")
        np.add(cell[part], loser[part], out=cell[part], dtype=np.intp, casting="unsafe")
    counts = np.bincount(cell, weights, size * size).reshape(size, size)
    return DenseTally(np.add(counts, counts.T, dtype=np.float64), wins, games)


@dataclass(frozen=True, eq=False)
class DenseTally:
    """All pairs' totals as a symmetric matrix `total`, shape (n, n), zero on the diagonal."""

    total: FloatArray
    wins: FloatArray
    games: FloatArray
    name: str = "dense"

    @property
    def n_pairs(self) -> int:
        """The room for unordered pairs."""
        return self.total.size // 2

    def room(self) -> FloatArray:
        """Memory for a Hessian."""
        return np.empty_like(self.total)

    def derivatives(self, utilities: FloatArray, out: FloatArray) -> tuple[FloatArray, Curvature]:
        """Gradient of the negative log-likelihood, and its Hessian, which lives in `out`."""
        scale = exponentials(utilities)
        core, expected = out.reshape(self.total.shape), np.empty_like(utilities)
        buffer = np.empty_like(core[next(_rows(len(core)))])
        for rows in _rows(len(core)):
            inverse, part = buffer[: len(core[rows])], core[rows]
            if scale is None:
                np.subtract.outer(utilities[rows], utilities, out=inverse)
                np.multiply(self.total[rows], expit(inverse), out=part)
                np.negative(inverse, out=inverse)
                expit(inverse, out=inverse)
            else:
                np.add.outer(scale[rows], scale, out=inverse)
                np.reciprocal(inverse, out=inverse)
                np.multiply(self.total[rows], inverse, out=part)
            part.sum(axis=1, out=expected[rows])
            part *= inverse
        if scale is None:
            return expected - self.wins, DenseCurvature(core, np.ones_like(utilities))
        return expected * scale - self.wins, DenseCurvature(core, scale)

    def log_likelihood(self, utilities: FloatArray) -> float:
        """In nats."""
        total = 0.0
        for rows in _rows(len(self.total)):
            total += (self.total[rows] * log_two_cosh(np.subtract.outer(utilities[rows], utilities))).sum()
        return likelihood_from_cost(self, utilities, 0.5 * total)


class DenseCurvature:
    """Weights of all pairs as ``scale[:, None] * core * scale``."""

    def __init__(self, core: FloatArray, scale: FloatArray) -> None:
        self._core, self._scale = core, scale
        self.degree = self.neighbours(np.ones_like(scale))

    def neighbours(self, values: FloatArray) -> FloatArray:
        """Sum over each item's pairs of their weight times the other item's value."""
        scaled = self._scale * values
        # Products of this size stay below what makes BLAS start threads, which cost more than they do on busy cores.
        return self._scale * np.concatenate([self._core[rows] @ scaled for rows in _rows(len(scaled))])

    def dense(self) -> FloatArray:
        """The weights of all pairs, shape (n, n), zero on the diagonal."""
        return self._scale[:, None] * self._core * self._scale

    def sparse(self) -> csr_array:
        """The same, sparse."""
        return csr_array(self.dense())


def _rows(size: int) -> Iterator[slice]:
    """Slices of a matrix' rows, of 128 thousand entries or of one row."""
    return slices(size, max(1, 8 * CHUNK // size))
