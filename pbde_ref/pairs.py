"""A block of pairs of outcomes: how pairwise quantities are read off vectors over the support, and summed back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["PairBlock", "all_pairs"]


@dataclass(frozen=True, eq=False)
class PairBlock:
    """Weighted pairs (A, B).

    Attributes
    ----------
    a, b : ndarray of int
        Outcomes' indices: a column and a row for a rectangle of pairs, or two vectors for a list of pairs.
    weight : ndarray
        Non-negative weight of each pair, of the shape that `a` and `b` broadcast to.
    """

    a: IndexArray
    b: IndexArray
    weight: FloatArray

    def difference(self, values: FloatArray, name: str) -> FloatArray:
        """`values[a] - values[b]`, zero where an outcome meets itself.

        Raises
        ------
        ValueError
            If a pair of positive weight joins two outcomes with the same infinite value: their comparison is 0/0.
            Where the weight is zero such a difference is reported as zero.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            result = values[self.a] - values[self.b]
        undefined = np.isnan(result)
        if undefined.any():
            asked = undefined & (self.weight > 0.0) & (self.a != self.b)
            if asked.any():
                i = np.unravel_index(int(np.argmax(asked)), asked.shape)
                a, b = (int(np.broadcast_to(index, asked.shape)[i]) for index in (self.a, self.b))
                raise ValueError(
                    f"`{name}` must not be the same infinity at both outcomes of a pair that the proposal draws "
                    f"(such a preference is 0/0); got {values[a]} at indices {a} and {b}"
                )
            result[undefined] = 0.0
        return result

    def exact_difference(self, high: FloatArray, low: FloatArray) -> FloatArray:
        """Differences of the unevaluated sums `high + low`, each to the last digit; undefined ones are zero."""
        with np.errstate(invalid="ignore", over="ignore"):
            result = (high[self.a] - high[self.b]) + (low[self.a] - low[self.b])
        return np.where(np.isnan(result), 0.0, result)

    def scatter(self, terms: FloatArray, size: int) -> FloatArray:
        """Gradient of the sum of `terms * (v[a] - v[b])` with respect to the vector `v` of `size` outcomes."""
        if terms.ndim == 2:
            result = np.zeros(size)
            result[self.a[:, 0]] += terms.sum(axis=1)
            result[self.b[0]] -= terms.sum(axis=0)
            return result
        return np.asarray(np.bincount(self.a, terms, size) - np.bincount(self.b, terms, size), dtype=np.float64)

    def add_to_laplacian(self, terms: FloatArray, laplacian: FloatArray) -> None:
        """Add the Hessian of the sum of `terms * (v[a] - v[b])**2 / 2` with respect to `v`, in place."""
        terms = np.where(self.a == self.b, 0.0, terms)
        diagonal = np.einsum("ii->i", laplacian)
        if terms.ndim == 2:
            laplacian[self.a, self.b] -= terms
            laplacian[self.b, self.a] -= terms
            diagonal[self.a[:, 0]] += terms.sum(axis=1)
            diagonal[self.b[0]] += terms.sum(axis=0)
        else:
            # The list may name a pair several times.
            np.subtract.at(laplacian, (self.a, self.b), terms)
            np.subtract.at(laplacian, (self.b, self.a), terms)
            diagonal += np.bincount(self.a, terms, len(laplacian)) + np.bincount(self.b, terms, len(laplacian))

    def add_to_matrix(self, terms: FloatArray, result: FloatArray, sign: float) -> None:
        """Add `terms` at (a, b) and `sign` times them at (b, a), in place; the diagonal is left out."""
        terms = np.where(self.a == self.b, 0.0, terms)
        if terms.ndim == 2:
            rows, columns = _run(self.a[:, 0]), _run(self.b[0])
            if isinstance(rows, slice) and isinstance(columns, slice):
                result[rows, columns] += terms
                result[columns, rows] += sign * terms.T
            else:
                result[self.a, self.b] += terms
                result[self.b, self.a] += sign * terms
        else:
            # The list may name a pair several times.
            np.add.at(result, (self.a, self.b), terms)
            np.add.at(result, (self.b, self.a), sign * terms)


def _run(index: IndexArray) -> slice | IndexArray:
    """A slice where indices follow one another, which is several times faster."""
    return slice(int(index[0]), int(index[-1]) + 1) if (np.diff(index) == 1).all() else index


def all_pairs(size: int) -> PairBlock:
    """All ordered pairs of `size` outcomes as one square block of weight 1."""
    index = np.arange(size)
    return PairBlock(index[:, None], index[None, :], np.ones((size, size)))
