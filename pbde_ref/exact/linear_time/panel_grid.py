r"""How a line is cut into panels, and where points lie on them; see `exact.linear_time.panels`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["GRIDS", "NODES", "REACH", "ROUGH_GRIDS", "ROWS", "Grid", "Located", "Points", "Rows", "Shift", "buffers",
           "chunks", "lay_grid"]  # fmt: skip

NODES = 16
# Panels further apart than this many nats see each other's asymptote only: e^-40 = 4e-18.
REACH = 40
# Fine panels per nat, as a power k of two, and number m of moments. Interpolation errs by
# 4 (2^-k / 4)^m / π^(m + 1), here at most 4e-15. A finer grid has fewer moments to collect, but more panels, whose
# tables should fit the cache.
GRIDS = ((9, 4), (6, 5), (5, 6), (4, 7))
# The same with errors below 1e-11, for sums of positive terms that are right to ten digits then.
ROUGH_GRIDS = ((7, 4), (5, 5), (4, 6))
TABLE = 24_000
# Matrix products of no more multiplications than this are too small for BLAS to start threads, which stall on busy
# cores.
MULTIPLICATIONS = 1 << 17
ROWS = MULTIPLICATIONS // NODES**2

Rows = slice | IndexArray
Located = tuple[IndexArray, FloatArray]
Buffers = tuple[IndexArray, FloatArray, FloatArray]
# By how much a slice of the points is moved.
Shift = Callable[[slice], FloatArray]


@dataclass(frozen=True, eq=False)
class Grid:
    """How the line is cut.

    Attributes
    ----------
    bits, order : int
        A fine panel is 2**-bits nats wide and keeps `order` moments.
    origin : float
        Number of the fine panel with which the table begins; panels are numbered from zero at the point zero.
    count : int
        Length of the table of fine panels.
    keys : ndarray or None
        Numbers of the fine panels that hold points, if the table is not simply a range.
    positions : ndarray of int
        Where each coarse panel lies, in nats; gaps wider than the kernel's reach are shortened.
    nats : ndarray
        Where each coarse panel really lies, to within a nat.
    members : tuple of pairs
        If there are `keys`, for each of the 2**bits places in a panel: which of the fine panels lie there, and in which
        coarse ones.
    """

    bits: int
    order: int
    origin: float
    count: int
    keys: FloatArray | None
    positions: IndexArray
    nats: FloatArray
    members: tuple[tuple[IndexArray, IndexArray], ...] = ()

    def locate(self, scores: FloatArray, shift: FloatArray | None = None, out: Buffers | None = None) -> Located:
        """Table index of each point's fine panel, and where in it the point lies, from -1/2 to 1/2.

        `shift` moves each point by a little, without the rounding of ``scores + shift``. The result is stored in `out`.
        """
        index, offset, key = buffers(scores.size) if out is None else out
        index, offset, key = index[: scores.size], offset[: scores.size], key[: scores.size]
        # Scaling by a power of two and splitting off the whole part are exact, however large the scores.
        np.multiply(scores, 2.0**self.bits, out=offset)
        np.rint(offset, out=key)
        offset -= key
        if shift is not None:
            offset += shift * 2.0**self.bits
            moved = np.rint(offset)
            offset -= moved
            key += moved
        if self.keys is not None:
            index[:] = np.searchsorted(self.keys, key)
        else:
            key -= self.origin
            np.copyto(index, key, casting="unsafe")
        return index, offset

    def rows(self) -> Iterator[tuple[slice, slice]]:
        """Coarse panels and their fine ones, so few at a time that no matrix product is large."""
        places, size = 2**self.bits, self.positions.size
        step = max(1, MULTIPLICATIONS // (places * NODES))
        for start in range(0, size, step):
            stop = min(start + step, size)
            yield slice(start, stop), slice(start * places, stop * places)

    def coarse(self, index: IndexArray) -> IndexArray:
        """Coarse panels of fine ones."""
        if self.keys is None:
            return index >> self.bits
        return self._ranks[index]

    @functools.cached_property
    def _ranks(self) -> IndexArray:
        ranks = np.empty(self.count, dtype=np.intp)
        for fine, coarse in self.members:
            ranks[fine] = coarse
        return ranks


def lay_grid(
    scores: FloatArray,
    *,
    bounds: tuple[float, float] | None = None,
    margin: float = 0.0,
    shifts: Sequence[Shift] = (),
    reach: int = REACH,
    grids: tuple[tuple[int, int], ...] = GRIDS,
) -> Grid:
    """A grid for finite scores below 1e300 in size: a plain range of panels, or the occupied ones if they are few.

    Only these scores can be located, and what `shifts` make of them, none of which may exceed `margin`. Of `grids`,
    pairs of bits and order, the finest is chosen whose table is neither too long for the cache nor for so few points.
    `bounds` are the least and the largest score, if known.
    """
    # One fine panel more to each side, because the ends may be rounded to it.
    low, high = bounds or (float(scores.min()), float(scores.max()))
    low, high = float(np.floor(low - margin - 1.0)), float(np.floor(high + margin + 1.0))
    panels = high - low + 1.0
    if panels <= max(64.0, min(16384.0, scores.size / 8.0)):
        longest = min(float(TABLE), scores.size / 4.0)
        bits, order = next((grid for grid in grids if panels * 2 ** grid[0] <= longest), grids[-1])
        places, size = 2**bits, int(panels)
        return Grid(bits, order, low * places, size * places, None, np.arange(size), low + np.arange(float(size)))
    bits, order = grids[-1]
    keys = _occupied(scores, bits, shifts)
    nat = np.floor(keys / 2**bits)
    place = (keys - nat * 2**bits).astype(np.intp)
    nats, rank = np.unique(nat, return_inverse=True)
    # A gap that no kernel reaches across need not be longer than that; so positions stay small and exact.
    gaps = np.minimum(np.diff(nats), reach + 1.0).astype(np.intp)
    positions = np.concatenate([[0], np.cumsum(gaps)]).astype(np.intp)
    here = [np.flatnonzero(place == i) for i in range(2**bits)]
    return Grid(bits, order, 0.0, keys.size, keys, positions, nats, tuple((i, rank[i]) for i in here))


def _occupied(scores: FloatArray, bits: int, shifts: Sequence[Shift]) -> FloatArray:
    """Sorted numbers of the fine panels that hold a point, shifted in any of the ways given."""
    keys = []
    for part in chunks(scores.size):
        scaled = scores[part] * 2.0**bits
        key = np.rint(scaled)
        if not shifts:
            keys.append(np.unique(key))
        keys += [np.unique(key + np.rint(scaled - key + shift(part) * 2.0**bits)) for shift in shifts]
    return np.unique(np.concatenate(keys))


@dataclass(frozen=True, eq=False)
class Points:
    """Points on a grid, visited in chunks that fit the cache; located anew on each visit unless `kept`."""

    grid: Grid
    scores: FloatArray
    kept: tuple[Located, ...] | None = None

    def __iter__(self) -> Iterator[tuple[slice, IndexArray, FloatArray]]:
        """Which points, their fine panels, their offsets there; good until the next chunk."""
        if self.kept is not None:
            parts = chunks(self.scores.size, self.grid.count)
            yield from ((part, *located) for part, located in zip(parts, self.kept, strict=True))
            return
        out = None
        for part in chunks(self.scores.size, self.grid.count):
            out = out or buffers(part.stop)
            yield (part, *self.grid.locate(self.scores[part], out=out))

    def keep(self) -> Points:
        """The same points, located once and for all: 16 bytes for each."""
        kept = tuple((index.copy(), offset.copy()) for _, index, offset in self)
        return Points(self.grid, self.scores, kept)


def buffers(size: int) -> Buffers:
    """Room for the index, the offset and the panel number of each point of a chunk."""
    return np.empty(size, dtype=np.intp), np.empty(size), np.empty(size)


def chunks(size: int, table: int = 0) -> Iterator[slice]:
    """Slices of 32,768 points, or more where each visit costs a pass through a longer table."""
    step = 1 << 15
    while step < table and step < 1 << 18:
        step *= 2
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
