"""Comparisons added up while they stream by, in memory for the different ones only."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["Accumulator", "Labels"]

# Rows that wait before they are merged with what has been added up.
PENDING = 1 << 20


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

    def numbers(self, raw: Iterable[str], count: int) -> IndexArray:
        """Number of each of `count` labels; new ones get the next."""
        return np.fromiter(map(self.__getitem__, raw), dtype=np.intp, count=count)

    def known(self, raw: str) -> int:
        """Number of a label, or -1 if it has none."""
        return self.get(raw, self.get(_canonical(raw), -1))


def _canonical(raw: str) -> str:
    name = raw.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name).strip("\u200b\ufeff").strip()


class Accumulator:
    """Sums of weights over rows of small whole numbers, one per column."""

    def __init__(self, bits: tuple[int, ...]) -> None:
        self._bits = bits
        self._keys, self._sums = np.empty(0, dtype=np.int64), np.empty(0)
        self._pending: list[tuple[NDArray[np.int64], FloatArray]] = []
        self._waiting = 0

    def add(self, weights: FloatArray, *columns: NDArray[np.integer]) -> None:
        """Add rows."""
        key = np.zeros(weights.size, dtype=np.int64)
        for width, column in zip(self._bits, columns, strict=True):
            if column.size and int(column.max()) >> width:
                raise ValueError(f"a column of the file must have at most {1 << width} different labels; got more")
            key = (key << width) | column
        self._pending.append(_unique_sums(key, weights))
        self._waiting += self._pending[-1][0].size
        if self._waiting > max(PENDING, self._keys.size):
            self._merge()

    def result(self) -> tuple[FloatArray, list[IndexArray]]:
        """Weights and columns of the different rows, in the order of the columns' numbers."""
        self._merge()
        columns, key = [], self._keys
        for width in reversed(self._bits):
            columns.append((key & ((1 << width) - 1)).astype(np.intp))
            key = key >> width
        return self._sums, columns[::-1]

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, *(key for key, _ in self._pending)])
        sums = np.concatenate([self._sums, *(weight for _, weight in self._pending)])
        self._pending, self._waiting = [], 0
        self._keys, self._sums = _unique_sums(keys, sums)


def _unique_sums(key: NDArray[np.int64], weights: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    # Stable, so that sums of fractions do not depend on how the sort breaks ties.
    order = np.argsort(key, kind="stable")
    key, weights = key[order], weights[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return key[first], np.add.reduceat(weights, first) if first.size else weights
