r"""From cells of text to comparisons of numbered items, with a reason for every line that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.aggregation import Accumulator, Labels
from pbde_ref.estimation.sources import SHOWN, BadLine, Chunk, DataError
from pbde_ref.estimation.table import ComparisonTable
from pbde_ref.validation import FloatArray, IndexArray, generator_of

__all__ = ["Assembler", "Words"]

# What a cell of the winner's column may say beside an item's name and the names of the two columns.
LEFT_WORDS, RIGHT_WORDS, TIE_WORDS = ("left", "a", "l"), ("right", "b", "r"), ("draw", "both", "equal")
LEFT, RIGHT, TIE, UNKNOWN = 0, 1, 2, -1
# Bad lines that are kept for a report where they are skipped.
KEPT = 5
UNDECLARED = "a tie; say what ties count for, half (to either side) or drop"


class Words:
    """What the cells of a winner's column stand for: 0 left, 1 right, 2 tie, -1 unknown."""

    def __init__(self, roles: Mapping[str, str], left: Sequence[str], right: Sequence[str], tie: Sequence[str]) -> None:
        self.declared: dict[str, int] = {}
        for code, values in enumerate((left, right, tie)):
            for value in values:
                if self.declared.setdefault(value.strip(), code) != code:
                    raise ValueError(f"`left_wins`, `right_wins`, `tie_values` must differ; got {value!r:.100} twice")
        self.usual = {
            **dict.fromkeys(LEFT_WORDS, 0),
            **dict.fromkeys(RIGHT_WORDS, 1),
            **dict.fromkeys(TIE_WORDS, 2),
            roles.get("left", "left").casefold(): 0,
            roles.get("right", "right").casefold(): 1,
        }

    def usual_code(self, cell: str) -> int:
        """By convention."""
        word = cell.strip().casefold()
        return 2 if word.startswith("tie") else self.usual.get(word, -1)

    def declared_code(self, cell: str) -> int:
        """By the user's word."""
        return self.declared.get(cell.strip(), -1)


class Assembler:
    """Turns cells into numbers, finds what is wrong with them, and adds them up."""

    def __init__(
        self, file: str, roles: Mapping[str, str], words: Words, ties: str, skip: bool, share: float, rng: Any
    ) -> None:
        self._file, self._roles, self._words, self._ties = file, dict(roles), words, ties
        self._skip, self._share, self._rng = skip, share, generator_of(rng)
        self._items, self._annotators = Labels(), Labels()
        # Winner and loser; if they are asked for, annotator and test set too. 63 bits are what a key can hold.
        self._wide = "annotator" in roles or share > 0.0
        self._sums = Accumulator((20, 21, 21, 1) if self._wide else (31, 31))
        self._n_rows = self._n_ties = self._n_bad = 0
        self._bad: list[BadLine] = []

    def add(self, chunk: Chunk) -> None:
        """Add up a chunk's rows, or raise for the first that is no comparison."""
        size = len(chunk.cells)
        # Drawn for every row, good or bad, so that the split of a row depends on where it stands and nothing else.
        held_out = self._rng.random(size) < self._share if self._share else np.zeros(size, dtype=bool)
        bad = list(chunk.bad)
        if size:
            cells = dict(zip(self._roles, zip(*chunk.cells, strict=True), strict=True))
            checks = _Checks(size)
            winner, loser, tie = self._outcomes(cells, checks)
            weights = self._weights(cells, checks)
            annotator = self._who(cells, checks)
            if self._ties == "error":
                undeclared = np.flatnonzero(tie & checks.good)
                if self._skip and undeclared.size:
                    # Not the line's fault: skipping it would decide for the user.
                    raise DataError(f"{self._file}, {BadLine(chunk.lines[undeclared[0]], UNDECLARED)}")
                checks.reject(tie, lambda i: UNDECLARED)
            bad += [BadLine(chunk.lines[i], reason) for i, reason in checks.reasons()]
            self._n_rows += int(checks.good.sum())
            self._n_ties += int((tie & checks.good).sum())
            used = checks.good & (weights > 0.0)
            self._count(winner, loser, weights, annotator, held_out, used & ~tie)
            if self._ties == "half":
                for one, other in ((winner, loser), (loser, winner)):
                    self._count(one, other, 0.5 * weights, annotator, held_out, used & tie)
        if bad:
            bad.sort(key=lambda line: line.line)
            if not self._skip:
                raise DataError(f"{self._file}, {bad[0]}")
            self._n_bad += len(bad)
            self._bad = (self._bad + bad)[:KEPT]

    def result(self) -> ComparisonTable:
        """Everything added up, with the items that take part in a comparison."""
        weights, columns = self._sums.result()
        if not weights.size:
            skipped = f" ({self._n_bad} lines skipped, the first: {self._bad[0]})" if self._bad else ""
            raise DataError(f"{self._file}: no comparisons{skipped}")
        annotator, held_out = columns[0], columns[-1].astype(bool)
        winner, loser = columns[1:3] if self._wide else columns
        items, (winner, loser) = _used(self._items.names, winner, loser)
        annotators = None
        if "annotator" in self._roles:
            annotators, (annotator,) = _used(self._annotators.names, annotator)
        arrays = (items, winner, loser, weights, annotators, annotator, held_out)
        for value in arrays:
            if value is not None:
                value.flags.writeable = False
        return ComparisonTable(
            items=items,
            winner=winner,
            loser=loser,
            weights=weights,
            annotators=annotators,
            annotator=None if annotators is None else annotator,
            held_out=held_out if self._share else None,
            n_rows=self._n_rows,
            n_ties=self._n_ties,
            n_bad=self._n_bad,
            bad_lines=tuple(self._bad),
        )

    def _outcomes(
        self, cells: Mapping[str, Sequence[str]], checks: _Checks
    ) -> tuple[IndexArray, IndexArray, NDArray[np.bool_]]:
        """Winner, loser and whether it is a tie."""
        first, second = list(self._roles)[:2]
        both = chain.from_iterable(zip(cells[first], cells[second], strict=True))
        one, other = np.ascontiguousarray(self._items.numbers(both, 2 * checks.good.size).reshape(-1, 2).T)
        checks.reject(one < 0, lambda i: f"{self._roles[first]!r} is empty")
        checks.reject(other < 0, lambda i: f"{self._roles[second]!r} is empty")
        checks.reject(one == other, lambda i: f"{cells[first][i].strip()[:SHOWN]!r} is compared with itself")
        if first == "chosen":
            return one, other, np.zeros(one.size, dtype=bool)
        said = cells["winner"]
        different = set(said)
        item = _looked_up(said, {cell: self._items.known(cell) for cell in different})
        usual = _looked_up(said, {cell: self._words.usual_code(cell) for cell in different})
        declared = _looked_up(said, {cell: self._words.declared_code(cell) for cell in different})
        code = np.select([declared != UNKNOWN, item == one, item == other], [declared, LEFT, RIGHT], usual)
        checks.reject(code == UNKNOWN, lambda i: self._who_won(cells, i))
        return np.where(code == RIGHT, other, one), np.where(code == RIGHT, one, other), code == TIE

    def _who_won(self, cells: Mapping[str, Sequence[str]], row: int) -> str:
        left, right, said = (cells[role][row].strip()[:SHOWN] for role in ("left", "right", "winner"))
        return f"{self._roles['winner']!r} says {said!r}, which is neither {left!r} nor {right!r} nor a tie"

    def _weights(self, cells: Mapping[str, Sequence[str]], checks: _Checks) -> FloatArray:
        if "weight" not in cells:
            return np.ones(checks.good.size)
        given = cells["weight"]
        known = {cell: _weight(cell) for cell in set(given)}
        result = np.fromiter(map(known.__getitem__, given), dtype=np.float64, count=len(given))
        name = self._roles["weight"]
        checks.reject(
            np.isnan(result), lambda i: f"{name!r} must be a finite non-negative number; got {given[i][:SHOWN]!r}"
        )
        return result

    def _who(self, cells: Mapping[str, Sequence[str]], checks: _Checks) -> IndexArray:
        if "annotator" not in cells:
            return np.zeros(checks.good.size, dtype=np.intp)
        result = self._annotators.numbers(cells["annotator"], checks.good.size)
        checks.reject(result < 0, lambda i: f"{self._roles['annotator']!r} is empty")
        return result

    def _count(
        self,
        winner: IndexArray,
        loser: IndexArray,
        weights: FloatArray,
        annotator: IndexArray,
        held_out: NDArray[np.bool_],
        which: NDArray[np.bool_],
    ) -> None:
        wide: tuple[NDArray[Any], ...] = (annotator, winner, loser, held_out)
        columns = wide if self._wide else wide[1:3]
        if which.any():
            self._sums.add(weights[which], *(column[which] for column in columns))


class _Checks:
    """Which rows are good, and the first thing that is wrong with each of the others."""

    def __init__(self, size: int) -> None:
        self.good = np.ones(size, dtype=bool)
        self._found: list[tuple[IndexArray, Callable[[int], str]]] = []

    def reject(self, wrong: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        wrong = wrong & self.good
        if wrong.any():
            self._found.append((np.flatnonzero(wrong), reason))
            self.good &= ~wrong

    def reasons(self) -> list[tuple[int, str]]:
        return [(row, reason(row)) for rows, reason in self._found for row in rows.tolist()]


def _weight(cell: str) -> float:
    """A weight; NaN for what is none."""
    try:
        value = float(cell)
    except ValueError:
        return float("nan")
    return value if 0.0 <= value < float("inf") else float("nan")


def _looked_up(cells: Sequence[str], codes: Mapping[str, int]) -> IndexArray:
    return np.fromiter(map(codes.__getitem__, cells), dtype=np.intp, count=len(cells))


def _used(names: Sequence[str], *columns: IndexArray) -> tuple[NDArray[Any], list[IndexArray]]:
    """The names that occur, and the columns renumbered."""
    occurs = np.zeros(len(names), dtype=bool)
    for column in columns:
        occurs[column] = True
    number = np.cumsum(occurs) - 1
    return np.array(names)[occurs], [number[column] for column in columns]
