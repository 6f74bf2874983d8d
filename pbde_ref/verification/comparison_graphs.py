"""Which outcomes are compared: graphs as matrices of non-negative factors, entry [A, B] for the ordered pair (A, B)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["bipartite", "complete", "diagonal", "nearly_disconnected", "path", "star", "tree", "two_components"]


def complete(rng: np.random.Generator, size: int) -> FloatArray:
    """Every ordered pair, an outcome with itself included."""
    return np.ones((size, size))


def diagonal(rng: np.random.Generator, size: int) -> FloatArray:
    """No outcome meets another."""
    return np.eye(size)


def tree(rng: np.random.Generator, size: int) -> FloatArray:
    """Each outcome joined to one drawn before it."""
    order = rng.permutation(size)
    return _directed(rng, size, ((order[i], order[rng.integers(i)]) for i in range(1, size)))


def star(rng: np.random.Generator, size: int) -> FloatArray:
    """All outcomes compared with one."""
    hub = int(rng.integers(size))
    return _directed(rng, size, ((hub, i) for i in range(size) if i != hub))


def path(rng: np.random.Generator, size: int) -> FloatArray:
    """Outcomes in a row, each compared with its neighbours."""
    order = rng.permutation(size)
    return _directed(rng, size, pairwise(order))


def bipartite(rng: np.random.Generator, size: int) -> FloatArray:
    """Every outcome of one side compared with every one of the other, and no two of a side."""
    left = np.isin(np.arange(size), rng.permutation(size)[: (size + 1) // 2])
    return _or_itself(np.where(left[:, None] & ~left, 1.0, 0.0))


def nearly_disconnected(rng: np.random.Generator, size: int) -> FloatArray:
    """Two halves, each fully compared, and one pair between them that is drawn next to never."""
    order = rng.permutation(size)
    half = np.isin(np.arange(size), order[: size // 2])
    edges = (half[:, None] == half).astype(np.float64)
    edges[order[0], order[-1]] = 10.0 ** rng.uniform(-30.0, -12.0)
    return edges


def two_components(rng: np.random.Generator, size: int) -> FloatArray:
    """Two trees."""
    cut = size // 2
    edges = np.zeros((size, size))
    edges[:cut, :cut], edges[cut:, cut:] = tree(rng, cut), tree(rng, size - cut)
    return _or_itself(edges)


def _directed(rng: np.random.Generator, size: int, edges: Iterable[tuple[int, int]]) -> FloatArray:
    """Each edge in one direction."""
    result = np.zeros((size, size))
    for a, b in edges:
        result[(a, b) if rng.random() < 0.5 else (b, a)] = 1.0
    return _or_itself(result)


def _or_itself(edges: FloatArray) -> FloatArray:
    """A support without edges still draws something: an outcome against itself."""
    if edges.size and not edges.any():
        edges[0, 0] = 1.0
    return edges
