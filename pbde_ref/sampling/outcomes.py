"""Independent draws from a finite distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.validation import FloatArray, IndexArray, generator_of, probability_weights, vector, whole_number

__all__ = ["CHUNK", "AliasTable", "draw_outcomes", "random_generator", "sample_outcomes"]

# Temporaries of 16,384 floats stay in a core's first two levels of cache.
CHUNK = 1 << 14

# Sums of multiples of 2^-26 are exact up to 2^27.
_GRID = 2.0**26


def random_generator(rng: Any) -> np.random.Generator:
    """The generator that `rng` is, or that it seeds.

    Examples
    --------
    >>> random_generator("dice")
    Traceback (most recent call last):
        ...
    TypeError: `rng` must be a numpy.random.Generator or a seed; got 'dice'
    """
    return generator_of(rng)


def sample_outcomes(weights: FiniteDistribution | ArrayLike, size: int, *, rng: Any = None) -> IndexArray:
    """Draw outcomes independently, as indices.

    Parameters
    ----------
    weights : FiniteDistribution or array_like, shape (n,)
        Probabilities, or non-negative weights.
    size : int
        Number of draws; may be 0.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (size,)

    Notes
    -----
    Few draws are looked up in the cumulative distribution, which needs no preparation. Many are drawn from an alias
    table (Walker, 1977), at constant cost each and in chunks that fit the cache. One uniform number of 53 bits decides
    each draw either way, so probabilities are met to about 1e-16 of the whole; an outcome of weight 0 is never drawn.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.sample_outcomes([0, 1, 0], size=4, rng=0)
    array([1, 1, 1, 1])
    """
    if isinstance(weights, FiniteDistribution):
        weights = weights.pmf
    pmf = probability_weights("weights", vector("weights", weights))
    return draw_outcomes(pmf, whole_number("size", size), random_generator(rng))


def draw_outcomes(pmf: FloatArray, size: int, generator: np.random.Generator) -> IndexArray:
    """Indices drawn with probabilities that sum to one."""
    # A table costs about as much as that many binary searches.
    if size < 1024 + pmf.size // 2:
        cumulative = np.cumsum(pmf)
        # The last outcome of positive probability ends at exactly 1, so that no draw falls beyond it.
        cumulative[np.flatnonzero(pmf)[-1] :] = 1.0
        return np.searchsorted(cumulative, generator.random(size), side="right").astype(np.intp)
    return AliasTable.of(pmf).draw(size, generator)


@dataclass(frozen=True, eq=False)
class AliasTable:
    """A distribution over n outcomes as n equally likely cells, each of which holds at most two outcomes.

    Attributes
    ----------
    keep : ndarray, shape (n,)
        Probability that a cell yields its own outcome.
    alias : ndarray of int, shape (n,)
        The outcome that it yields otherwise.
    """

    keep: FloatArray
    alias: IndexArray

    @classmethod
    def of(cls, pmf: FloatArray) -> AliasTable:
        """The table of probabilities that sum to one.

        Cells whose outcome has less than 1/n are filled up in turn by outcomes that have more; such an outcome gives to
        cells as long as it has some left, the last time even too much: its own cell is then filled up by the next one.
        Both rules are lookups in cumulative sums, so no loop is needed.
        """
        share = pmf * pmf.size
        poor, rich = np.flatnonzero(share < 1.0), np.flatnonzero(share > 1.0)
        keep, alias = np.ones(pmf.size), np.arange(pmf.size)
        if poor.size == 0 or rich.size == 0:
            return cls(keep, alias)  # all equal, up to rounding of 1/n
        needed, needed_rest = _running_sums(1.0 - share[poor])
        offered, offered_rest = _running_sums(share[rich] - 1.0)
        begin, end = _increasing(needed + needed_rest), _increasing(offered + offered_rest)[1:]
        keep[poor] = share[poor]
        # The first giver that has not run out when the cell's turn comes; the last one gives what rounding asks for.
        alias[poor] = rich[np.minimum(np.searchsorted(end, begin[:-1], side="right"), rich.size - 1)]
        filled = np.searchsorted(begin[:-1], end[:-1], side="left")
        too_much = (needed[filled] - offered[1:-1]) + (needed_rest[filled] - offered_rest[1:-1])
        keep[rich[:-1]] = np.clip(1.0 - too_much, 0.0, 1.0)
        alias[rich[:-1]] = rich[1:]
        return cls(keep, alias)

    def draw(self, size: int, generator: np.random.Generator) -> IndexArray:
        """Independent outcomes, shape (size,)."""
        n = self.keep.size
        threshold = np.arange(n) + self.keep
        # One table for both outcomes of a cell costs one lookup less than choosing between two.
        outcome = np.stack([self.alias, np.arange(n)], axis=1).ravel()
        result = np.empty(size, dtype=np.intp)
        place, limit = np.empty(CHUNK), np.empty(CHUNK)
        cell, own = np.empty(CHUNK, dtype=np.intp), np.empty(CHUNK, dtype=np.bool_)
        for start in range(0, size, CHUNK):
            part = result[start : start + CHUNK]
            u, t, c, k = place[: part.size], limit[: part.size], cell[: part.size], own[: part.size]
            generator.random(out=u)
            u *= n  # below n, because random() is at most 1 - 2^-53
            np.copyto(c, u, casting="unsafe")
            _look_up(threshold, c, t)
            np.less(u, t, out=k)
            c += c
            c += k
            _look_up(outcome, c, part)
        return result


def _look_up(table: NDArray[Any], index: IndexArray, out: NDArray[Any]) -> None:
    # All indices are valid; "clip" is the mode that writes into `out` without a buffer.
    np.take(table, index, out=out, mode="clip")


def _running_sums(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cumulative sums that begin with 0, as an exact coarse part and a small rest."""
    coarse = np.rint(values * _GRID) / _GRID
    return _cumulative(coarse), _cumulative(values - coarse)


def _cumulative(values: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _increasing(values: FloatArray) -> FloatArray:
    # Rounding of the rest can take a step back where a summand is 1e-16.
    return np.asarray(np.maximum.accumulate(values))
