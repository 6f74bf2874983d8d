"""Comparisons added up in a list of pairs, for many items of which each meets few others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.special import expit

from pbde_ref.estimation.tallies import Curvature, exponentials, likelihood_from_cost, log_two_cosh, slices
from pbde_ref.validation import FloatArray

__all__ = ["SparseCurvature", "SparseTally", "sparse_tally"]


def sparse_tally(
    winner: NDArray[np.integer], loser: NDArray[np.integer], weights: FloatArray | None, wins: FloatArray,
    games: FloatArray,
) -> SparseTally:  # fmt: skip
    """Add up comparisons, given the items' wins and games."""
    size = wins.size
    cell = np.empty(winner.size, dtype=np.int64)
    for part in slices(winner.size):
        one, other = winner[part], loser[part]
        np.multiply(np.minimum(one, other), size, out=cell[part], dtype=np.int64, casting="unsafe")
        np.add(cell[part], np.maximum(one, other), out=cell[part], dtype=np.int64, casting="unsafe")
    if weights is None:
        cell.sort()
    else:
        order = np.argsort(cell)
        cell, weights = cell[order], weights[order]
        del order
    new = np.empty(cell.size, dtype=bool)
    new[0] = True
    np.not_equal(cell[1:], cell[:-1], out=new[1:])
    first = np.flatnonzero(new)
    total = np.diff(first, append=cell.size).astype(np.float64) if weights is None else np.add.reduceat(weights, first)
    row, column = np.empty(first.size, dtype=np.int32), np.empty(first.size, dtype=np.int32)
    for part in slices(first.size):
        row[part], column[part] = np.divmod(cell[first[part]], size)
    start = np.searchsorted(row, np.arange(size + 1))
    return SparseTally(row, csr_array((total, column, start), shape=(size, size)), wins, games)


@dataclass(frozen=True, eq=False)
class SparseTally:
    """The totals of the pairs (row, column), row < column, as an upper triangle with m entries."""

    row: NDArray[np.int32]
    pairs: csr_array
    wins: FloatArray
    games: FloatArray
    name: str = "sparse"

    @property
    def n_pairs(self) -> int:
        """Unordered pairs with at least one comparison."""
        return int(self.pairs.nnz)

    def room(self) -> FloatArray:
        """Memory for a Hessian."""
        return np.empty_like(self.pairs.data)

    def derivatives(self, utilities: FloatArray, out: FloatArray) -> tuple[FloatArray, Curvature]:
        """Gradient of the negative log-likelihood, and its Hessian, which lives in `out`."""
        total, column = self.pairs.data, self.pairs.indices
        scale = exponentials(utilities)
        ones = np.ones_like(utilities)
        core = csr_array((out, column, self.pairs.indptr), shape=self.pairs.shape)
        for part in slices(total.size):
            if scale is None:
                np.multiply(total[part], expit(utilities[self.row[part]] - utilities[column[part]]), out=out[part])
            else:
                either = scale[self.row[part]]
                either += scale[column[part]]
                np.divide(total[part], either, out=out[part])
        if scale is None:
            # What the row's item is not expected to win of a pair, the column's item is.
            expected = core @ ones - core.T @ ones + self.pairs.T @ ones
            for part in slices(total.size):
                out[part] *= expit(utilities[column[part]] - utilities[self.row[part]])
            return expected - self.wins, SparseCurvature(core, ones)
        expected = scale * (core @ ones + core.T @ ones)
        for part in slices(total.size):
            np.square(out[part], out=out[part])
            out[part] /= total[part]
        return expected - self.wins, SparseCurvature(core, scale)

    def log_likelihood(self, utilities: FloatArray) -> float:
        """In nats."""
        total = 0.0
        for part in slices(self.row.size):
            margin = utilities[self.row[part]] - utilities[self.pairs.indices[part]]
            total += (self.pairs.data[part] * log_two_cosh(margin)).sum()
        return likelihood_from_cost(self, utilities, total)


class SparseCurvature:
    """Weights of the pairs of an upper triangle, as ``scale[:, None] * core * scale``."""

    def __init__(self, core: csr_array, scale: FloatArray) -> None:
        self._upper, self._lower, self._scale = core, core.T, scale
        self.degree = self.neighbours(np.ones_like(scale))

    def neighbours(self, values: FloatArray) -> FloatArray:
        """Sum over each item's pairs of their weight times the other item's value."""
        scaled = self._scale * values
        return np.asarray(self._scale * (self._upper @ scaled + self._lower @ scaled))

    def dense(self) -> FloatArray:
        """The weights of all pairs, shape (n, n), zero on the diagonal."""
        upper = self._upper.toarray()
        return np.asarray(self._scale[:, None] * (upper + upper.T) * self._scale)

    def sparse(self) -> csr_array:
        """The same, sparse."""
        scale = diags_array(self._scale)
        return csr_array(scale @ (self._upper + self._lower) @ scale)
