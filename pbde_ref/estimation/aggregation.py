"""Comparisons added up while they stream by, in memory for the different ones only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["Accumulator", "Coded", "Labels", "added_up", "coded"]

# Rows that wait before they are merged with what has been added up.
PENDING = 1 << 20
# Of a table of all rows that there can be; 32 MiB.
MOST_CELLS = 1 << 22
_Keys = list[NDArray[np.int64]]


class Labels(dict[str, int]):
    """Numbers of labels in order of appearance, -1 for a label without a visible character.

    Space around a label does not count, and one written with combining accents is the one with composed letters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, raw: str) -> int:
        name = _canonical(raw)
        if name != raw:
            number = self[name] if name else -1
        elif not name:
            number = -1
        else:
            number = len(self.names)
            self.names.append(name)
        self[raw] = number
        return number

    def numbers(self, raw: Iterable[str] | Coded, count: int) -> IndexArray:
        """Number of each of `count` labels; new ones get the next."""
        if isinstance(raw, Coded):
            return self.numbers(raw.cells, len(raw.cells))[raw.codes]
        return np.fromiter(map(self.__getitem__, raw), dtype=np.intp, count=count)

    def numbers_after(self, other: Labels) -> IndexArray:
        """The number here of each label there, new ones getting the next; -1 remains -1."""
        return np.append(self.numbers(other.names, len(other.names)), -1)

    def known(self, raw: str) -> int:
        """Number of a label, or -1 if it has none."""
        return self.get(raw, self.get(_canonical(raw), -1))


def _canonical(raw: str) -> str:
    name = raw.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name).strip("\u200b\ufeff").strip()


@dataclass(frozen=True, eq=False)
class Coded:
    """A column as numbers of its different cells."""

    codes: NDArray[np.integer]
    cells: Sequence[Any]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> Any:
        return self.cells[self.codes[row]]

    def __iter__(self) -> Iterator[Any]:
        return (self.cells[code] for code in self.codes.tolist())


def coded(column: Sequence[Any] | Coded) -> Coded:
    """The same column as numbers, in order of appearance.

    Examples
    --------
    >>> coded(["b", "a", "b"])
    Coded(codes=array([0, 1, 0]), cells=['b', 'a'])
    """
    if isinstance(column, Coded):
        return column
    cells = dict.fromkeys(column)
    numbers = dict(zip(cells, range(len(cells)), strict=True))
    return Coded(np.fromiter(map(numbers.__getitem__, column), dtype=np.intp, count=len(column)), list(cells))


class Accumulator:
    """Sums of weights over rows of small whole numbers, one per column."""

    def __init__(self, bits: tuple[int, ...]) -> None:
        self._bits = bits
        # Columns whose numbers share a key of 63 bits.
        self._shared: list[list[int]] = [[]]
        for column, width in enumerate(bits):
            if sum(bits[other] for other in self._shared[-1]) + width > 63:
                self._shared.append([])
            self._shared[-1].append(column)
        self._keys: _Keys = [np.empty(0, dtype=np.int64) for _ in self._shared]
        self._sums = np.empty(0)
        self._pending: list[tuple[_Keys, FloatArray]] = []
        self._waiting = self._rows = 0
        # Sums over rows of numbers below the lengths of its axes.
        self._table = np.zeros((0,) * len(bits))

    def add(self, weights: FloatArray, *columns: NDArray[np.integer]) -> None:
        """Add rows."""
        if not weights.size:
            return
        sizes = [int(column.max()) + 1 for column in columns]
        for width, size in zip(self._bits, sizes, strict=True):
            if (size - 1) >> width:
                raise ValueError(f"a column of the file must have at most {1 << width} different labels; got more")
        self._rows += weights.size
        shape = tuple(max(1 << (size - 1).bit_length(), n) for size, n in zip(sizes, self._table.shape, strict=True))
        if math.prod(shape) <= min(4 * self._rows, MOST_CELLS) and weights.min() > 0.0:
            # Where so few rows can differ counting is faster than sorting.
            if shape != self._table.shape:
                grown = np.zeros(shape)
                grown[tuple(map(slice, self._table.shape))] = self._table
                self._table = grown
            cell = np.ravel_multi_index([column.astype(np.intp) for column in columns], shape)
            np.add.at(self._table.reshape(-1), cell, weights)
            return
        self._pending.append(_unique_sums(self._row_keys(columns), weights))
        self._waiting += self._pending[-1][1].size
        if self._waiting > max(PENDING, self._sums.size):
            self._merge()

    def result(self) -> tuple[FloatArray, list[IndexArray]]:
        """Weights and columns of the different rows, in the order of the columns' numbers."""
        self._merge()
        columns: dict[int, IndexArray] = {}
        for shared, key in zip(self._shared, self._keys, strict=True):
            for column in reversed(shared):
                width = self._bits[column]
                columns[column] = (key & ((1 << width) - 1)).astype(np.intp)
                key = key >> width
        return self._sums, [columns[column] for column in range(len(self._bits))]

    def _row_keys(self, columns: Sequence[NDArray[np.integer]]) -> _Keys:
        keys = []
        for shared in self._shared:
            key = np.zeros(columns[0].size, dtype=np.int64)
            for column in shared:
                key = (key << self._bits[column]) | columns[column]
            keys.append(key)
        return keys

    def _merge(self) -> None:
        counted = np.nonzero(self._table)
        parts = [(self._keys, self._sums), (self._row_keys(counted), self._table[counted]), *self._pending]
        keys = [np.concatenate(part) for part in zip(*(keys for keys, _ in parts), strict=True)]
        sums = np.concatenate([sums for _, sums in parts])
        self._table, self._pending, self._waiting = np.zeros((0,) * len(self._bits)), [], 0
        self._keys, self._sums = _unique_sums(keys, sums)


def _unique_sums(keys: _Keys, weights: FloatArray) -> tuple[_Keys, FloatArray]:
    (weights,), keys = added_up([weights], keys)
    return keys, weights


def added_up(values: list[FloatArray], columns: _Keys) -> tuple[list[FloatArray], _Keys]:
    """Values of equal rows of columns added up, and the different rows in their order.

    Examples
    --------
    >>> import numpy as np
    >>> added_up([np.array([1.0, 2.0, 4.0])], [np.array([7, 3, 7])])
    ([array([2., 5.])], [array([3, 7])])
    """
    # Stable, so that sums of fractions do not depend on how the sort breaks ties.
    order = np.argsort(columns[0], kind="stable") if len(columns) == 1 else np.lexsort(columns[::-1])
    columns = [column[order] for column in columns]
    new = np.zeros(order.size, dtype=bool)
    for column in columns:
        new |= np.diff(column, prepend=-1) != 0
    first = np.flatnonzero(new)
    sums = [np.add.reduceat(value[order], first) if first.size else value for value in values]
    return sums, [column[first] for column in columns]
