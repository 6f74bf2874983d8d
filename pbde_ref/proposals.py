r"""Proposals: which pairs of outcomes the annotator is shown, :math:`q(x_A, x_B)`.

Every objective of the paper treats (A, B, y) and (B, A, 1 − y) alike, so an expectation needs only
:math:`q(A, B) + q(B, A)`. `blocks` yields each unordered pair once with that weight, in blocks that fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.conditional import Prompts
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, common_support, labels
from pbde_ref.pairs import PairBlock
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    indices,
    matrix,
    probability_weights,
    reject,
    same_size,
    vector,
    whole_number,
)  # fmt: skip

__all__ = ["JointProposal", "PairListProposal", "ProductProposal", "Proposal"]

# 2^15 pairs make temporaries of a quarter of a megabyte, a few of which fit a core's second-level cache.
BLOCK_PAIRS = 1 << 15
# So few pairs take as long as calling NumPy for them, in all the ways that a block is asked about.
FEW_PAIRS = 1 << 14


@runtime_checkable
class Proposal(Protocol):
    """What every proposal can do."""

    def blocks(self, size: int) -> Iterator[PairBlock]:
        """Each unordered pair of a support of `size` outcomes once, with weight q(A, B) + q(B, A)."""

    def matrix(self, size: int) -> FloatArray:
        """The joint probabilities q(A, B), shape (size, size)."""


@dataclass(frozen=True, eq=False, init=False)
class ProductProposal(Shown):
    r"""Pairs of independent outcomes, :math:`q(x_A, x_B) = a(x_A)\, b(x_B)`.

    Parameters
    ----------
    a : FiniteDistribution or array_like of weights, shape (n,)
        Weights are non-negative and need not sum to one.
    b : the same, optional
        Default: `a`.

    Attributes
    ----------
    support : ndarray or None
        The outcomes of a distribution that was given: the proposal is refused beside an annotator who has others, or
        in another order. Weights belong to outcomes by their place.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.ProductProposal([1, 3]).matrix(2)
    array([[0.0625, 0.1875],
           [0.1875, 0.5625]])
    """

    a: FloatArray
    b: FloatArray
    support: Any = field(repr=False)

    def __init__(self, a: FiniteDistribution | ArrayLike, b: FiniteDistribution | ArrayLike | None = None) -> None:
        named = {name: p for name, p in (("a", a), ("b", b)) if isinstance(p, FiniteDistribution)}
        object.__setattr__(self, "support", common_support(**named) if named else None)
        object.__setattr__(self, "a", _factor("a", a))
        object.__setattr__(self, "b", self.a if b is None else _factor("b", b))
        same_size("b", self.b.size, self.a.size)

    def blocks(self, size: int) -> Iterator[PairBlock]:
        """Each unordered pair once, with weight a(A) b(B) + a(B) b(A), or a(A) b(A) for A = B."""
        same_size("proposal", self.a.size, size := whole_number("size", size))
        for rows, columns in _triangle(size):
            weight = np.multiply.outer(self.a[rows], self.b[columns]) + np.multiply.outer(self.b[rows], self.a[columns])
            yield _triangle_block(rows, columns, weight)

    def matrix(self, size: int) -> FloatArray:
        """The joint probabilities q(A, B), shape (size, size)."""
        same_size("proposal", self.a.size, whole_number("size", size))
        return np.multiply.outer(self.a, self.b)


def _factor(name: str, value: FiniteDistribution | ArrayLike) -> FloatArray:
    return probability_weights(name, value.pmf if isinstance(value, FiniteDistribution) else vector(name, value))


@dataclass(frozen=True, eq=False, init=False)
class JointProposal(Shown):
    """Pairs from any joint distribution.

    Parameters
    ----------
    weights : array_like, shape (n, n)
        Non-negative, entry [A, B] for the ordered pair (A, B); need not sum to one.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.JointProposal([[0, 1], [3, 0]]).matrix(2)
    array([[0.  , 0.25],
           [0.75, 0.  ]])
    """

    weights: FloatArray

    def __init__(self, weights: ArrayLike) -> None:
        object.__setattr__(self, "weights", probability_weights("weights", matrix("weights", weights)))

    def blocks(self, size: int) -> Iterator[PairBlock]:
        """Each unordered pair once, with weight q(A, B) + q(B, A), or q(A, A) for A = B."""
        same_size("proposal", len(self.weights), size := whole_number("size", size))
        for rows, columns in _triangle(size):
            # Copied before it is transposed, a narrow strip is read once; as a view, once for each of its columns.
            weight = self.weights[columns, rows].copy().T.copy()
            weight += self.weights[rows, columns]
            yield _triangle_block(rows, columns, weight)

    def matrix(self, size: int) -> FloatArray:
        """The joint probabilities q(A, B), shape (size, size)."""
        same_size("proposal", len(self.weights), whole_number("size", size))
        return self.weights


@dataclass(frozen=True, eq=False, init=False)
class PairListProposal(Shown):
    """Pairs from a list, such as the comparisons of a data set.

    Parameters
    ----------
    x_a, x_b : array_like of int, shape (m,)
        Indices into the support. A pair may occur several times, in either order.
    weights : array_like, shape (m,), optional
        Non-negative, need not sum to one. Default: all equal.
    support : ndarray or Prompts, optional
        The outcomes that indices mean, as in `PBDE`. Default: whatever stands at that place.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.PairListProposal([0, 1, 0], [1, 0, 1], [1, 1, 2]).matrix(3)
    array([[0.  , 0.75, 0.  ],
           [0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  ]])
    """

    x_a: IndexArray
    x_b: IndexArray
    weights: FloatArray
    support: Any = field(repr=False)

    def __init__(
        self,
        x_a: Sequence[int] | NDArray[Any],
        x_b: Sequence[int] | NDArray[Any],
        weights: ArrayLike | None = None,
        *,
        support: Any = None,
    ) -> None:
        x_a, x_b = indices("x_a", x_a), indices("x_b", x_b)
        given = np.ones(x_a.size) if weights is None else vector("weights", weights)
        for name, value in (("x_b", x_b), ("weights", given)):
            if value.size != x_a.size:
                raise ValueError(f"`{name}` must have one entry for each pair, {x_a.size}; got {value.size}")
        for name, value in (("x_a", x_a), ("x_b", x_b), ("weights", probability_weights("weights", given))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "support", support if isinstance(support, Prompts | None) else labels(support, None))
        if support is not None:
            self._check_size(len(self.support))

    def blocks(self, size: int) -> Iterator[PairBlock]:
        """The pairs as listed, in slices."""
        self._check_size(whole_number("size", size))
        for start in range(0, self.x_a.size, BLOCK_PAIRS):
            part = slice(start, start + BLOCK_PAIRS)
            yield PairBlock(self.x_a[part], self.x_b[part], self.weights[part])

    def matrix(self, size: int) -> FloatArray:
        """The joint probabilities q(A, B), shape (size, size)."""
        self._check_size(size := whole_number("size", size, most=2**24))
        flat = np.bincount(self.x_a * size + self.x_b, self.weights, size * size)
        return np.asarray(flat, dtype=np.float64).reshape(size, size)

    def _check_size(self, size: int) -> None:
        for name, value in (("x_a", self.x_a), ("x_b", self.x_b)):
            reject(name, f"an index below the number of outcomes, {size}", value, value >= size)


def _triangle(size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of rectangles that cover the upper triangle of a square."""
    start = 0
    while start < size:
        width = size - start
        # A rectangle as high as it is wide would be half below the diagonal.
        stop = min(size, start + max(1, min(BLOCK_PAIRS // width, max(width // 3, FEW_PAIRS // width))))
        yield slice(start, stop), slice(start, size)
        start = stop


def _triangle_block(rows: slice, columns: slice, weight: FloatArray) -> PairBlock:
    """The rectangle's pairs on or above the diagonal; `weight` counted the diagonal twice and is changed in place."""
    height = rows.stop - rows.start
    square = weight[:, :height]
    square *= _half(height)
    return PairBlock(
        np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)[None, :], weight
    )


@lru_cache(maxsize=32)
def _half(height: int) -> FloatArray:
    """Ones above a square's diagonal, a half on it: a block is no higher than the root of its pairs."""
    return np.triu(np.ones((height, height)), 1) + 0.5 * np.eye(height)
