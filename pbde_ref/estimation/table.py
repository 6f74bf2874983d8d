"""Comparisons of labelled items, added up, with who made them and which are set aside for a test."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.display import Shown
from pbde_ref.distributions import labels
from pbde_ref.estimation.aggregation import Accumulator
from pbde_ref.estimation.layouts import Roles
from pbde_ref.estimation.sources import BadLine, Note
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    comparison_weights,
    generator_of,
    indices,
    number,
    shown,
    vector,
)

__all__ = ["ComparisonTable", "comparison_table", "held_out_share"]

Ranking = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class ComparisonTable(Shown):
    """Comparisons, equal ones added up; all arrays are read-only.

    Attributes
    ----------
    items : ndarray, shape (n,)
        Labels, in order of appearance.
    winner, loser : ndarray of int, shape (m,)
        Indices into `items`, one row for each different comparison.
    weights : ndarray, shape (m,)
        How often it happened.
    annotators : ndarray, shape (k,), or None
        Names of the annotators, if they are known.
    annotator : ndarray of int, shape (m,), or None
        Who made each row's comparisons.
    held_out : ndarray of bool, shape (m,), or None
        Rows set aside for a test, if a share was asked for.
    n_rows, n_ties : int
        Comparisons in the file, and ties among them.
    n_bad : int
        Lines that were skipped.
    bad_lines : tuple of BadLine
        The first few of them.
    ties : ndarray, shape (m,), or None
        How much of each weight are ties, or halves of them, if there are any.
    first : ndarray of bool, shape (m,), or None
        Whether the winner stood on the left, if sides were asked for.
    clusters : ndarray of int, shape (m,), or None
        Which rows may depend on each other.
    repeats : ndarray, shape (k,), or None
        How often each cluster happened. Default: once.
    covariates : mapping of str to ndarray, shape (m,)
        What speaks for the winner.
    rankings : tuple of (ranking, weight)
        Whole rankings, best first, as tuples of indices of items that share a place.
    roles : Roles or None
        What each column was taken for.
    notes : tuple of Note
        What a reader of the result should know about the file.
    sample : tuple of str
        The first rows as they were understood.
    """

    items: NDArray[Any]
    winner: IndexArray
    loser: IndexArray
    weights: FloatArray
    annotators: NDArray[Any] | None
    annotator: IndexArray | None
    held_out: NDArray[np.bool_] | None
    n_rows: int
    n_ties: int
    n_bad: int
    bad_lines: tuple[BadLine, ...]
    ties: FloatArray | None = None
    first: NDArray[np.bool_] | None = None
    clusters: IndexArray | None = None
    repeats: FloatArray | None = None
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)
    rankings: tuple[tuple[Ranking, float], ...] = ()
    roles: Roles | None = None
    notes: tuple[Note, ...] = ()
    sample: tuple[str, ...] = ()


def comparison_table(
    winner: Sequence[int] | NDArray[Any], loser: Sequence[int] | NDArray[Any], weights: ArrayLike | None = None, *,
    annotator: Sequence[int] | NDArray[Any] | None = None, items: Sequence[Hashable] | NDArray[Any] | None = None,
    annotators: Sequence[Hashable] | NDArray[Any] | None = None, held_out: float = 0.0, rng: Any = None,
) -> ComparisonTable:  # fmt: skip
    """Add up comparisons that are in memory, as `read_comparisons` does for those in a file.

    Parameters
    ----------
    winner, loser : array_like of int, shape (m,)
        Indices of the items.
    weights : array_like, shape (m,), optional
        How often each comparison happened. Default: once.
    annotator : array_like of int, shape (m,), optional
        Index of who made it.
    items, annotators : sequence of labels, optional
        Default: the numbers from 0 to the largest index.
    held_out : float
        Share of the comparisons, drawn at random, to mark as held out; in [0, 1).
    rng : numpy.random.Generator or seed, optional
        For `held_out`.

    Examples
    --------
    >>> from pbde_ref.estimation import comparison_table
    >>> table = comparison_table([0, 0, 1], [1, 1, 2], items=["tea", "coffee", "water"])
    >>> table.winner, table.loser, table.weights
    (array([0, 1]), array([1, 2]), array([2., 1.]))
    """
    won, lost = indices("winner", winner), indices("loser", loser)
    times = np.ones(won.size) if weights is None else vector("weights", weights)
    who = np.zeros(won.size, dtype=np.intp) if annotator is None else indices("annotator", annotator)
    for name, value in (("loser", lost), ("weights", times), ("annotator", who)):
        if value.size != won.size:
            raise ValueError(f"`{name}` must have one entry for each winner, {won.size}; got {value.size}")
    comparison_weights("weights", times)
    names = _names("items", items, 1 + max(int(won.max()), int(lost.max())))
    who_names = None if annotator is None else _names("annotators", annotators, 1 + int(who.max()))
    share = held_out_share(held_out)
    aside = generator_of(rng).random(won.size) < share
    sums = Accumulator((20, 21, 21, 1))
    sums.add(times, who, won, lost, aside.astype(np.intp))
    total, (who, won, lost, set_aside) = sums.result()
    test = set_aside.astype(bool)
    for value in (names, won, lost, total, who, test):
        value.flags.writeable = False
    return ComparisonTable(
        items=names, winner=won, loser=lost, weights=total, annotators=who_names,
        annotator=None if who_names is None else who, held_out=test if share else None, n_rows=times.size, n_ties=0,
        n_bad=0, bad_lines=(),
    )  # fmt: skip


def held_out_share(value: Any) -> float:
    """A share in [0, 1)."""
    share = number("held_out", value)
    if not 0.0 <= share < 1.0:
        raise ValueError(f"`held_out` must be in [0, 1); got {share}")
    return share


def _names(name: str, given: Sequence[Hashable] | NDArray[Any] | None, needed: int) -> NDArray[Any]:
    unordered = isinstance(given, set | frozenset) or not hasattr(given, "__len__")
    if given is not None and (unordered or getattr(given, "ndim", 1) == 0):
        raise TypeError(f"`{name}` must be a sequence of labels; got {shown(given)}")
    if given is not None and len(given) < needed:
        raise ValueError(f"`{name}` must have a label for each index, {needed}; got {len(given)}")
    return labels(given, needed if given is None else None)
