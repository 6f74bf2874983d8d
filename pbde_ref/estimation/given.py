"""Comparisons as a caller gives them: numbers, labels, counts, tables; checked once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.regression import Dependence
from pbde_ref.estimation.table import ComparisonTable
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    comparison_weights,
    hashable,
    indices,
    matrix,
    plain_array,
    reject,
    shown,
    vector,
)

__all__ = ["Given", "Integers", "given_comparisons"]

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Given:
    """Comparisons between different items with positive weight."""

    winner: Integers
    loser: Integers
    weights: FloatArray | None
    size: int
    support: Sequence[Hashable] | NDArray[Any] | None = None
    ties: FloatArray | None = None
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    clusters: IndexArray | None = None
    repeats: FloatArray | None = None

    @property
    def times(self) -> FloatArray:
        """Weights, all of them."""
        return np.ones(self.winner.size) if self.weights is None else self.weights

    @property
    def tied(self) -> FloatArray:
        """How much of each weight are ties."""
        return np.zeros(self.winner.size) if self.ties is None else self.ties

    def dependence(self, row: IndexArray | slice) -> Dependence:
        """Of the rows' comparisons."""
        return Dependence(None if self.clusters is None else self.clusters[row], self.repeats)

    def arrows(self) -> tuple[Integers, Integers]:
        """From winners to losers, and both ways between items that tied."""
        back = np.flatnonzero(self.tied)
        return np.append(self.winner, self.loser[back]), np.append(self.loser, self.winner[back])

    def totals(self) -> tuple[FloatArray, FloatArray]:
        """Wins, a tie being half of one, and games of each item."""
        half = 0.5 * self.tied
        wins = np.bincount(self.winner, self.times - half, self.size) + np.bincount(self.loser, half, self.size)
        games = np.bincount(self.winner, self.times, self.size) + np.bincount(self.loser, self.times, self.size)
        return np.asarray(wins, dtype=np.float64), np.asarray(games, dtype=np.float64)

    def chosen(self, which: NDArray[Any]) -> Given:
        """Some rows."""
        weights, ties, clusters = (
            None if value is None else value[which] for value in (self.weights, self.ties, self.clusters)
        )
        columns = {name: value[which] for name, value in self.columns.items()}
        ties = ties if ties is not None and ties.any() else None
        return replace(self, winner=self.winner[which], loser=self.loser[which], weights=weights, ties=ties,
                       clusters=clusters, columns=columns)  # fmt: skip

    def only(self, keep: NDArray[np.bool_]) -> Given:
        """Comparisons among the items to keep, renumbered."""
        number = np.cumsum(keep) - 1
        inside = keep[self.winner] & keep[self.loser]
        if not inside.any():
            raise NoFiniteEstimateError(
                "`comparisons` must lead from some item to another one and back for a maximum-likelihood estimate; "
                "got none that do",
                "add a prior, such as prior=PseudoCounts(1)",
            )
        kept = self.chosen(inside)
        return replace(kept, winner=number[kept.winner], loser=number[kept.loser], size=int(keep.sum()))

    def halved(self) -> Given:
        """Each tie as half a win of either side."""
        if self.ties is None:
            return self
        tied = np.flatnonzero(self.ties)
        row = np.concatenate([np.arange(self.winner.size), tied])
        half = 0.5 * self.ties
        turned = self.chosen(row)
        back = np.arange(row.size) >= self.winner.size
        return replace(
            turned, winner=np.where(back, turned.loser, turned.winner),
            loser=np.where(back, turned.winner, turned.loser),
            weights=np.where(back, half[row], self.times[row] - half[row]), ties=half[row],
        )  # fmt: skip


def given_comparisons(
    winner: Any, loser: Any, weights: ArrayLike | None, counts: ArrayLike | None,
    support: Sequence[Hashable] | NDArray[Any] | None, ties: ArrayLike | None = None,
    covariates: Mapping[str, ArrayLike] | None = None, first: ArrayLike | None = None,
    clusters: ArrayLike | None = None, repeats: FloatArray | None = None, numbered: bool = False,
) -> Given:  # fmt: skip
    """Comparisons between different items with positive weight; if `numbered`, whole numbers are surely indices."""
    won: Integers
    lost: Integers
    times: FloatArray | None
    if isinstance(winner, ComparisonTable):
        if loser is not None or weights is not None or counts is not None:
            raise TypeError("a table of comparisons must come alone; got also `loser`, `weights` or `counts`")
        table = winner
        return given_comparisons(
            table.winner, table.loser, table.weights, None, table.items, table.ties, table.covariates, table.first,
            table.clusters, table.repeats, numbered=True,
        )  # fmt: skip
    if counts is not None:
        if winner is not None or loser is not None or weights is not None:
            raise TypeError("`counts` must come alone; got also `winner`, `loser` or `weights`")
        given = matrix("counts", counts)
        comparison_weights("counts", given)
        size = len(given)
        won, lost = np.nonzero(given)
        times = given[won, lost]
    else:
        if winner is not None and loser is not None:
            winner, loser, support = _numbered(winner, loser, support)
        won, lost, times = _items("winner", winner), _items("loser", loser), None
        size = 1 + max(int(won.max(initial=0)), int(lost.max(initial=0)))
        _same_length("loser", lost.size, won.size)
        if weights is not None:
            times = vector("weights", weights)
            _same_length("weights", times.size, won.size)
            comparison_weights("weights", times)
    if support is not None:
        if counts is None and not numbered:
            _unmistakable(support, (won, lost))
        size = _support_size(support, size, exactly=counts is not None)
    elif size > 2 * won.size and counts is None:
        raise ValueError(
            f"`winner` and `loser` must number the items from 0 where no `support` is given "
            f"(numpy.unique(..., return_inverse=True) does); got {won.size} comparisons and index {size - 1}"
        )
    tied = _tied(ties, times, won.size)
    covariates = {} if covariates is None else covariates
    if not hasattr(type(covariates), "items"):
        raise TypeError(f"`covariates` must be a mapping from names to columns; got {shown(covariates)}")
    columns = {str(name): vector(f"covariates[{name!r}]", column) for name, column in covariates.items()}
    if first is not None:
        columns["order"] = np.where(vector("first", first) > 0.0, 1.0, -1.0)
    for name, column in columns.items():
        _same_length(name, column.size, won.size)
        reject(f"covariates[{name!r}]", "finite", column, ~np.isfinite(column))
    grouped = None if clusters is None else indices("clusters", clusters)  # type: ignore[arg-type]
    _same_length("clusters", won.size if grouped is None else grouped.size, won.size)
    result = Given(won, lost, times, size, support, tied, columns, grouped, repeats)
    counted = won != lost
    if times is not None:
        counted &= times > 0.0
    if not counted.all():
        result = result.chosen(counted)
    if result.winner.size == 0:
        raise ValueError("`comparisons` must hold one of different items with positive weight; got none")
    return result


def _tied(ties: ArrayLike | None, times: FloatArray | None, size: int) -> FloatArray | None:
    """How much of each weight are ties."""
    if ties is None:
        return None
    given = plain_array("ties", ties)
    weights = np.ones(size) if times is None else times
    _same_length("ties", given.size, size)
    tied = np.where(given, weights, 0.0) if given.dtype == bool else vector("ties", ties)
    reject("ties", "from 0 to the comparison's weight", tied, ~((tied >= 0.0) & (tied <= weights)))
    return tied if tied.any() else None


def _numbered(winner: Any, loser: Any, support: Any) -> tuple[Any, Any, Any]:
    """Labels as numbers, in order of appearance or as the support has them."""
    one, other = plain_array("winner", winner), plain_array("loser", loser)
    if isinstance(winner, list) and one.ndim == 2 and all(isinstance(label, tuple) for label in (*winner, *loser)):
        one, other = (_as_objects(labels) for labels in (winner, loser))
    if one.ndim != 1 or other.ndim != 1 or not {one.dtype.kind, other.dtype.kind} & set("USO"):
        return winner, loser, support
    # As they came: in an array 1 and "1", or "a" and "a\0", would be one label.
    won, lost = (list(x) if isinstance(x, list | tuple) else y.tolist() for x, y in ((winner, one), (loser, other)))
    for name, labels in (("winner", won), ("loser", lost), ("support", support)):
        for index, label in enumerate(() if labels is None else labels):
            hashable(name, label, index)
            if _is_missing(label):
                raise ValueError(f"`{name}` must hold labels; got {shown(label)} at index {index}")
    named = zip(won, lost, strict=False)
    names = dict.fromkeys(label for pair in named for label in pair) if support is None else dict.fromkeys(support)
    number = {label: i for i, label in enumerate(names)}
    for name, labels in (("winner", won), ("loser", lost)):
        if strange := [label for label in labels if label not in number][:1]:
            raise ValueError(f"`{name}` must hold labels of `support`; got {shown(strange[0])}")
    numbers = [np.array([number[label] for label in labels], dtype=np.intp) for labels in (won, lost)]
    return numbers[0], numbers[1], list(names) if support is None else support


def _unmistakable(support: Any, numbers: tuple[Integers, Integers]) -> None:
    """Raise where a whole number may be an item's label as well as another item's index."""
    held = plain_array("support", support)
    if held.ndim != 1 or held.dtype.kind not in "iu":
        return
    places = np.flatnonzero(held != np.arange(held.size))
    meant = places[np.isin(held[places], np.concatenate(numbers))] if places.size else places
    if meant.size:
        raise ValueError(
            "`support` must hold no whole numbers but 0, 1, …, in order, where items are whole numbers, or these could "
            f"be labels or indices; got {held[meant[0]]} at index {meant[0]}"
        )


def _is_missing(label: Any) -> bool:
    """None, or what does not equal itself; pandas' NA does not even say."""
    try:
        return label is None or bool(label != label)
    except TypeError:
        return True


def _as_objects(labels: list[Any]) -> NDArray[Any]:
    result = np.empty(len(labels), dtype=object)
    result[:] = labels
    return result


def _items(name: str, value: Sequence[int] | NDArray[Any] | None) -> Integers:
    """Indices as they came, without a copy."""
    if value is None:
        raise TypeError(f"`{name}` must be given, or `counts` instead")
    result = plain_array(name, value)
    if result.ndim != 1 or result.dtype.kind not in "iu":
        raise TypeError(
            f"`{name}` must be a vector of whole numbers; got shape {result.shape} and dtype {result.dtype}"
        )
    if result.size and int(result.min()) < 0:
        reject(name, "non-negative", result, result < 0)
    return result


def _same_length(name: str, size: int, expected: int) -> None:
    """Raise unless an argument has an entry for each winner."""
    if size != expected:
        raise ValueError(f"`{name}` must have one entry for each winner, {expected}; got {size}")


def _support_size(support: Sequence[Hashable] | NDArray[Any], needed: int, exactly: bool) -> int:
    try:
        given = len(support)
    except TypeError:
        raise TypeError(f"`support` must be a sequence of labels; got {shown(support)}") from None
    if given < needed or (exactly and given > needed):
        rule = "one label for each row of counts" if exactly else "a label for each index"
        raise ValueError(f"`support` must have {rule}, {needed}; got {given}")
    return given


