r"""Comparisons added up pair by pair: what the likelihood needs of them, and its first two derivatives.

With :math:`T_{ij}` comparisons of i and j, of which i won :math:`N_{ij}`, :math:`W_i = \sum_j N_{ij}` and
:math:`d = \omega_i - \omega_j`,

.. math:: -\log L = \sum_{i<j} T_{ij} \log\big(2 \cosh \tfrac{d}{2}\big) - \tfrac12 \sum_i (W_i - L_i)\, \omega_i,
          \qquad g_i = \sum_j T_{ij}\, \sigma(\omega_i - \omega_j) - W_i,

so that beyond the totals of pairs only the wins of items matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from pbde_ref.validation import FloatArray

__all__ = ["CHUNK", "Curvature", "Tally", "exponentials", "likelihood_from_cost", "log_two_cosh", "slices"]

# 16,384 pairs make temporaries of 128 KiB, a few of which fit a core's second-level cache.
CHUNK = 1 << 14
# exp(±300) can be squared and still be divided by.
LARGEST_SPREAD = 600.0


class Curvature(Protocol):
    """A graph Laplacian with weights T σ(d) σ(−d), the Hessian of the negative log-likelihood."""

    @property
    def degree(self) -> FloatArray:
        """Each item's sum of weights, the Laplacian's diagonal."""

    def neighbours(self, values: FloatArray) -> FloatArray:
        """Sum over each item's pairs of their weight times the other item's value."""

    def dense(self) -> FloatArray:
        """The weights of all pairs, shape (n, n), zero on the diagonal."""

    def sparse(self) -> csr_array:
        """The same, sparse."""


class Tally(Protocol):
    """Comparisons added up: items' wins and games, and the totals of all pairs."""

    @property
    def wins(self) -> FloatArray:
        """Comparisons that each item won."""

    @property
    def games(self) -> FloatArray:
        """Comparisons that each item took part in."""

    @property
    def name(self) -> str:
        """How they are kept."""

    @property
    def n_pairs(self) -> int:
        """Unordered pairs with at least one comparison, or the room for them."""

    def room(self) -> FloatArray:
        """Memory for a Hessian."""

    def derivatives(self, utilities: FloatArray, out: FloatArray) -> tuple[FloatArray, Curvature]:
        """Gradient of the negative log-likelihood, and its Hessian, which lives in `out`."""

    def log_likelihood(self, utilities: FloatArray) -> float:
        """In nats."""


def slices(size: int, length: int = CHUNK) -> Iterator[slice]:
    """Consecutive slices of at most `length` that cover `size` entries."""
    return (slice(start, start + length) for start in range(0, size, length))


def exponentials(utilities: FloatArray) -> FloatArray | None:
    """Positive e with σ(ω_i − ω_j) = e_i / (e_i + e_j), one exponential for each item; None where they overflow."""
    low, high = float(utilities.min()), float(utilities.max())
    return np.exp(utilities - 0.5 * (low + high)) if high - low <= LARGEST_SPREAD else None


def log_two_cosh(margin: FloatArray) -> FloatArray:
    """``log(2 cosh(margin / 2))``, the mean cost of a win and a loss."""
    size = np.abs(margin)
    return np.asarray(0.5 * size + np.log1p(np.exp(-size)))


def likelihood_from_cost(tally: Tally, utilities: FloatArray, cost: float) -> float:
    """The log-likelihood, given the sum over pairs in it."""
    losses = tally.games - tally.wins
    return float(0.5 * ((tally.wins - losses) * utilities).sum() - cost)
