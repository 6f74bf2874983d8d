"""Comparisons that a fitter is given, and how they change without their meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["CASES", "OUTCOMES", "TIE", "Votes", "generic", "with_ties"]

OUTCOMES = ("left", "right", "tie")
TIE = 2


@dataclass(frozen=True, eq=False)
class Votes:
    """Rows of comparisons: indices of who stood left and right, what came of it (0 left, 1 right, 2 tie), how often."""

    names: tuple[str, ...]
    left: IndexArray
    right: IndexArray
    outcome: IndexArray
    weights: FloatArray | None = None

    @property
    def times(self) -> FloatArray:
        """How often each row happened."""
        return np.ones(self.left.size) if self.weights is None else self.weights

    @cached_property
    def wins(self) -> FloatArray:
        """How often each item beat each other one, a tie being half a win of both, shape (n, n)."""
        size = len(self.names)
        result = np.zeros((size, size))
        for one, other, of_ties in ((self.left, self.right, 0), (self.right, self.left, 1)):
            won = np.where(self.outcome == TIE, 0.5, self.outcome == of_ties)
            np.add.at(result, (one, other), self.times * won)
        return result

    def arguments(self) -> tuple[list[str], list[str], list[str]]:
        """The three lists that a fitter is called with."""
        left, right = ([self.names[i] for i in side.tolist()] for side in (self.left, self.right))
        return left, right, [OUTCOMES[code] for code in self.outcome.tolist()]

    def rows(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> Votes:
        """Some rows, or all in another order."""
        weights = None if self.weights is None else self.weights[which]
        left, right, outcome = self.left[which], self.right[which], self.outcome[which]
        return Votes(self.names, left, right, outcome, weights)

    def turned(self, which: NDArray[np.bool_]) -> Votes:
        """Some rows seen from the other side."""
        left, right = np.where(which, self.right, self.left), np.where(which, self.left, self.right)
        outcome = np.where(which & (self.outcome < TIE), 1 - self.outcome, self.outcome)
        return replace(self, left=left, right=right, outcome=outcome)

    def more(self, left: list[int], right: list[int], outcome: list[int], names: tuple[str, ...] = ()) -> Votes:
        """With further rows, perhaps of further items."""
        columns = [np.append(a, b) for a, b in ((self.left, left), (self.right, right), (self.outcome, outcome))]
        return Votes((*self.names, *names), *columns)


def _drawn(utilities: FloatArray, left: IndexArray, right: IndexArray, rng: np.random.Generator) -> Votes:
    """Votes of these pairs, and each item beats the next one once, so that a finite estimate exists."""
    size = utilities.size
    won = rng.random(left.size) < expit(utilities[left] - utilities[right])
    ring = np.arange(size)
    votes = Votes(
        tuple(f"{word}{number}" for word, number in zip("nagfkbcdehijlmop" * 3, rng.permutation(size), strict=False)),
        np.append(left, ring), np.append(right, (ring + 1) % size), np.append(np.where(won, 0, 1), np.zeros(size, int)),
    )  # fmt: skip
    votes = votes.turned(np.arange(votes.left.size) >= left.size + size // 2)
    return votes.rows(rng.permutation(votes.left.size))


def _pairs(size: int, count: int, rng: np.random.Generator) -> tuple[IndexArray, IndexArray]:
    left = rng.integers(size, size=count)
    return left, (left + rng.integers(1, size, size=count)) % size


def generic(rng: np.random.Generator) -> Votes:
    """Seven items that met unequally often."""
    return _drawn(rng.normal(size=7), *_pairs(7, 110, rng), rng)


def with_ties(rng: np.random.Generator) -> Votes:
    """Seven items, a third of the comparisons ties, more of them where an item with an even number stands left."""
    votes = generic(rng)
    tied = rng.random(votes.left.size) < np.where(votes.left % 2 == 0, 0.5, 0.15)
    return replace(votes, outcome=np.where(tied, TIE, votes.outcome))


def many(rng: np.random.Generator) -> Votes:
    """Forty items."""
    return _drawn(1.5 * rng.normal(size=40), *_pairs(40, 1500, rng), rng)


def bridge(rng: np.random.Generator) -> Votes:
    """Two groups that few comparisons join: slow methods are not done when a step is small."""
    left, right = _pairs(6, 300, rng)
    group = 6 * rng.integers(2, size=300)
    return _drawn(rng.normal(size=12) + np.repeat([0.0, 2.0], 6), left + group, right + group, rng)


def one_sided(rng: np.random.Generator) -> Votes:
    """A ladder of five items, each nearly always beating the next: utilities span a dozen nats."""
    left = np.repeat(np.arange(4), rng.integers(15, 40, size=4))
    return _drawn(np.linspace(40.0, -40.0, 5), left, left + 1, rng)


CASES: dict[str, Callable[[np.random.Generator], Votes]] = {
    "generic": generic, "many": many, "bridge": bridge, "one_sided": one_sided,
}  # fmt: skip
