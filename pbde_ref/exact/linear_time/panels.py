r"""Sums over all pairs of points on a line, :math:`\sum_j v_j\, \phi(t_i - t_j)`, in linear time.

The line is cut into panels of one nat, each of them into fine panels of :math:`2^{-k}` nats. On a fine panel the kernel
is a polynomial of low degree to working precision, on a panel one of degree 15. So all that a fine panel's points mean
to the rest are their first moments, and all that a panel means are 16 weights at its Chebyshev nodes. `deposit` gathers
them, `convolve` lets the panels interact, `Field` reads the result at points. Why this is exact to rounding:
``proofs/kernel_sums.md``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.special import expit

from pbde_ref.exact.linear_time.panel_grid import NODES, REACH, ROWS, Grid, Points, Rows
from pbde_ref.numerics import softplus
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "Field", "add_moments", "bilinear", "chebyshev_nodes", "convolve", "curvature", "deposit", "entropy",
    "kernel_blocks", "offsets", "runs_of", "sigmoid", "to_nodes", "transfer_of",
]  # fmt: skip


# Terms added one by one to the same bin; more of them are sorted and added pairwise.
SEQUENTIAL = 128


def sigmoid(t: FloatArray) -> FloatArray:
    r""":math:`\sigma(t)`; its asymptotes are 0 and 1."""
    return expit(t)


def curvature(t: FloatArray) -> FloatArray:
    r""":math:`\sigma'(t) = \sigma(t) \sigma(-t)`."""
    return expit(t) * expit(-t)


def entropy(t: FloatArray) -> FloatArray:
    r"""Entropy of a comparison with logit t, :math:`h(t) = \log(1 + e^{-|t|}) + |t|\, \sigma(-|t|)`."""
    size = np.abs(t)
    return softplus(-size) + size * expit(-size)


def deposit(points: Points, *weights: FloatArray) -> list[FloatArray]:
    """The points' weights gathered at the nodes of the coarse panels, one table of shape (panels, 16) for each vector.

    Sums of ``weight * f(score)`` over a fine panel's points are kept for all polynomials f of degree below the order.
    """
    moments = np.zeros((len(weights), points.grid.order, points.grid.count))
    for part, index, offset in points:
        add_moments(moments, index, offset, [weight[part] for weight in weights])
    return [to_nodes(points.grid, table) for table in moments]


def add_moments(moments: FloatArray, index: IndexArray, offset: FloatArray, weights: Sequence[FloatArray]) -> None:
    """Add one chunk's moments, in place; shape (weight vectors, order, fine panels)."""
    # Additions to one and the same bin wait for each other. Sorted or repeated scores are therefore added run by run.
    starts = runs_of(index)
    bins = index if starts is None else index[starts]
    if np.bincount(bins).max() > SEQUENTIAL:
        # Sorting 16-bit numbers takes a quarter of the time.
        order = np.argsort(index.astype(np.uint16) if moments.shape[-1] <= 1 << 16 else index, kind="stable")
        index, offset, weights = index[order], offset[order], [weight[order] for weight in weights]
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        bins = index[starts]
    term = np.empty_like(offset)
    for table, weight in zip(moments, weights, strict=True):
        for power, row in enumerate(table):
            weight = np.multiply(weight, offset, out=term) if power else weight
            # First a chunk's own sums, then the total: with a million equal weights every rounding of one long sum
            # would go the same way.
            row += np.bincount(bins, weight if starts is None else np.add.reduceat(weight, starts), row.size)


def runs_of(index: IndexArray) -> IndexArray | None:
    """Where runs of equal entries start; None if such runs are short."""
    beginning = index[:2048]
    if np.count_nonzero(beginning[1:] != beginning[:-1]) > beginning.size // 4:
        return None
    return np.concatenate([[0], np.flatnonzero(index[1:] != index[:-1]) + 1])


def to_nodes(grid: Grid, moments: FloatArray) -> FloatArray:
    """Moments of fine panels, shape (order, fine panels), as weights at the coarse panels' nodes."""
    result = np.zeros((grid.positions.size, NODES))
    transfer = transfer_of(grid.bits, grid.order)
    if grid.keys is None:
        for rows, span in grid.rows():
            for row, matrix in zip(moments, transfer, strict=True):
                result[rows] += row[span].reshape(-1, 2**grid.bits) @ matrix
    else:
        for place, (fine, coarse) in enumerate(grid.members):
            result[coarse] += moments[:, fine].T @ transfer[:, place]
    return result


@dataclass(frozen=True, eq=False)
class Field:
    """A function on the grid, piecewise polynomial: coefficients of shape (order, fine panels)."""

    coefficients: FloatArray

    @classmethod
    def through(cls, grid: Grid, values: FloatArray) -> Field:
        """The polynomials through `values` at the coarse panels' nodes, shape (panels, 16)."""
        coefficients = np.empty((grid.order, grid.count))
        transfer = transfer_of(grid.bits, grid.order)
        if grid.keys is None:
            for rows, span in grid.rows():
                for row, matrix in zip(coefficients, transfer, strict=True):
                    np.matmul(values[rows], matrix.T, out=row[span].reshape(-1, 2**grid.bits))
        else:
            for place, (fine, coarse) in enumerate(grid.members):
                coefficients[:, fine] = (values[coarse] @ transfer[:, place].T).T
        return cls(coefficients)

    def __call__(self, index: IndexArray, offset: FloatArray) -> FloatArray:
        """Values at located points, by Horner's rule."""
        # Indices are right by construction; "clip" saves NumPy a copy.
        result, term = np.empty_like(offset), np.empty_like(offset)
        np.take(self.coefficients[-1], index, out=result, mode="clip")
        for coefficient in self.coefficients[-2::-1]:
            result *= offset
            result += np.take(coefficient, index, out=term, mode="clip")
        return result


def offsets(positions: IndexArray, reach: int) -> Iterator[tuple[int, Rows, Rows]]:
    """For each distance in nats from -reach to reach: pairs of coarse panels (target, source) at that distance."""
    size = positions.size
    contiguous = positions[-1] - positions[0] == size - 1
    near: Sequence[int] = range(-reach, reach + 1)
    if size < 64:
        # Few panels have few distances.
        near = [d for d in np.unique(np.subtract.outer(positions, positions)).tolist() if abs(d) <= reach]
    for distance in near:
        if contiguous:
            overlap = size - abs(distance)
            for start in range(0, overlap, ROWS):
                stop = min(start + ROWS, overlap)
                yield distance, _slice(start, stop, max(distance, 0)), _slice(start, stop, max(-distance, 0))
        else:
            found = np.searchsorted(positions, positions - distance)
            found[found == size] = 0
            targets = np.flatnonzero(positions[found] == positions - distance)
            for start in range(0, targets.size, ROWS):
                target = targets[start : start + ROWS]
                yield distance, target, found[target]


def _slice(start: int, stop: int, by: int) -> slice:
    return slice(start + by, stop + by)


def convolve(grid: Grid, kernel: str, weights: FloatArray, reach: int = REACH) -> FloatArray:
    """The sum over all points at each node, from weights at the nodes; both of shape (panels, 16).

    `kernel` is "sigmoid", "curvature" or "entropy".
    """
    result = np.zeros_like(weights)
    blocks = kernel_blocks(kernel, reach)
    for distance, target, source in offsets(grid.positions, reach):
        result[target] += weights[source] @ blocks[distance + reach]
    if kernel == "sigmoid":
        # What lies more than `reach` below loses for certain.
        total = np.cumsum(np.concatenate([[0.0], weights.sum(axis=1)]), dtype=np.longdouble)
        result += total[np.searchsorted(grid.positions, grid.positions - reach)][:, None]
    return result


def bilinear(grid: Grid, kernel: str, left: FloatArray, right: FloatArray) -> float:
    """The double sum over the points of both weight tables."""
    return float((left * convolve(grid, kernel, right)).sum())


@functools.lru_cache(maxsize=8)
def kernel_blocks(kernel: str, reach: int) -> FloatArray:
    """Kernel values for two panels' nodes, shape (2 reach + 1, source node, target node)."""
    function = {"sigmoid": sigmoid, "curvature": curvature, "entropy": entropy}[kernel]
    distance = np.arange(-reach, reach + 1.0)[:, None, None]
    nodes = chebyshev_nodes(NODES).astype(np.float64)
    blocks = np.asarray(function(distance + nodes[None, None, :] - nodes[None, :, None]))
    blocks.flags.writeable = False
    return blocks


def chebyshev_nodes(count: int) -> NDArray[np.longdouble]:
    """Chebyshev points of a panel of width 1 around zero."""
    quarter_turns = np.arange(1 - count, count, 2).astype(np.longdouble) / count
    return 0.5 * np.sin(quarter_turns * 2.0 * np.arctan(np.longdouble(1.0)))


def _interpolation(points: NDArray[np.longdouble], count: int) -> NDArray[np.longdouble]:
    """Lagrange polynomials of the Chebyshev points of [-1/2, 1/2] in Chebyshev coefficients, evaluated at `points`."""
    scale = np.where(np.arange(count) == 0, 1.0, 2.0) / np.longdouble(count)
    at_nodes = chebyshev.chebvander(2.0 * chebyshev_nodes(count), count - 1) * scale
    return chebyshev.chebvander(2.0 * points, count - 1) @ at_nodes.T


@functools.lru_cache(maxsize=2)
def transfer_of(bits: int, order: int) -> FloatArray:
    """What a fine panel's moments contribute to its panel's nodes, shape (order, 2**bits, 16).

    Entry [r, place, j] is the coefficient of offset**r in the Lagrange polynomial of node j, interpolated at `order`
    Chebyshev points of the fine panel at that place.
    """
    # In extended precision: an error here would be one and the same for all points, and not average out.
    fine = (np.arange(2**bits)[:, None] + 0.5 + chebyshev_nodes(order)) / 2**bits - 0.5
    lagrange = _interpolation(fine, NODES)
    scale = np.where(np.arange(order) == 0, 1.0, 2.0) / np.longdouble(order)
    coefficients = (chebyshev.chebvander(2.0 * chebyshev_nodes(order), order - 1) * scale).T
    # The conversion from Chebyshev coefficients to powers is a matrix of whole numbers.
    powers = np.zeros((order, order))
    for degree in range(order):
        powers[: degree + 1, degree] = chebyshev.cheb2poly(np.eye(order)[degree])[: degree + 1]
    monomials = (2.0 ** np.arange(order)[:, None] * powers) @ coefficients
    result = np.einsum("ri,pij->rpj", monomials, lagrange).astype(np.float64)
    result.flags.writeable = False
    return result
