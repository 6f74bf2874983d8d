r"""Many fits to comparisons drawn again: what the estimate would have been, had others been made.

Each draw is multinomial over the different comparisons, or over clusters of them. It is fitted from the estimate,
with its inverse Hessian as that of every draw, :math:`\omega \leftarrow \omega - I^+ g_b(\omega)`, which gains the same
number of digits with each step; a draw that this does not settle is fitted by Newton's method.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import pdtr

from pbde_ref.estimation.aggregation import Accumulator
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.given import given_comparisons
from pbde_ref.estimation.likelihood import fit_comparisons
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.tallies import slices
from pbde_ref.validation import FloatArray, generator_of, reject, whole_number

__all__ = ["bootstrap_utilities", "drawn_again"]

# Units times draws that are held at a time, steps of a draw, and nats that a step may still change.
HELD, STEPS, CLOSE = 1 << 22, 30, 1e-8
# Comparisons that are listed one by one.
MOST_LISTED = 10**8


def bootstrap_utilities(
    winner: Any, loser: Any = None, weights: ArrayLike | None = None, *, ties: ArrayLike | None = None,
    clusters: ArrayLike | None = None, support: Sequence[Hashable] | NDArray[Any] | None = None,
    prior: Prior | None = None, draws: int = 1000, rng: Any = None,
) -> FloatArray:  # fmt: skip
    """Utilities fitted to comparisons that are drawn again, with replacement, shape (draws, n).

    Parameters
    ----------
    winner, loser, weights, ties, clusters, support, prior
        As in `fit_comparisons`, or a table. Weights, or a table's `repeats`, must be whole: so many comparisons each.
        A tie is half a win of either side. With clusters, these are drawn and not the comparisons.
    draws : int
        At least 1.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray, shape (draws, n)
        With mean zero, or relative to the prior's mode; NaN in draws that have no finite estimate.

    Raises
    ------
    NoFiniteEstimateError
        If the comparisons themselves have none.
    ValueError
        If weights are not whole.

    Examples
    --------
    >>> from pbde_ref.estimation import bootstrap_utilities
    >>> drawn = bootstrap_utilities([0, 1], [1, 0], [30, 10], draws=2000, rng=0)
    >>> drawn.std(axis=0).round(1)  # the delta method: half of √(1/30 + 1/10), 0.18
    array([0.2, 0.2])
    """
    generator, count = generator_of(rng), whole_number("draws", draws, least=1)
    given = given_comparisons(winner, loser, weights, None, support, ties, clusters=clusters)
    size, tied, times = given.size, given.tied, given.times
    fit = fit_comparisons(given.winner, given.loser, times, ties=tied, support=range(size), prior=prior)
    a, b = np.minimum(given.winner, given.loser), np.maximum(given.winner, given.loser)
    # Each cell is one kind of result of one pair: a won, b won, or neither did.
    group = np.zeros(a.size, dtype=np.intp) if given.clusters is None else given.clusters
    cells = Accumulator((40, 30, 30, 2))
    for kind, amount in enumerate(((times - tied) * (given.winner == a), (times - tied) * (given.winner == b), tied)):
        some = np.flatnonzero(amount)
        cells.add(amount[some], group[some], a[some], b[some], np.full(some.size, kind))
    amount, (group, a, b, kinds) = cells.result()
    pairs, pair = np.unique(a * size + b, return_inverse=True)
    first, second = pairs // size, pairs % size
    if given.clusters is None:
        unit, unit_weights = np.arange(amount.size), amount
    else:
        numbers, unit = np.unique(group, return_inverse=True)
        unit_weights = np.ones(numbers.size) if given.repeats is None else given.repeats[numbers]
    reject("weights", "whole numbers", unit_weights, unit_weights != np.round(unit_weights))
    # Totals of pairs, and wins of the first of each, from how often each unit was drawn.
    each = amount / unit_weights[unit]
    share = np.array([1.0, 0.0, 0.5])[kinds]
    shape = (pairs.size, unit_weights.size)
    totals, firsts = (csr_array((part, (pair, unit)), shape=shape) for part in (each, each * share))
    inverse, result = fit.information.covariance(), np.empty((count, size))
    for part in slices(count, max(1, HELD // unit_weights.size)):
        drawn = drawn_again(unit_weights, len(result[part]), generator)
        counts = zip((totals @ drawn).T, (firsts @ drawn).T, result[part], strict=True)
        for total, won, row in counts:
            row[:] = _fitted(total, won, first, second, fit.utilities, inverse, prior)
    return result


def drawn_again(weights: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """How often each unit comes in as many as there are, drawn with replacement, shape (units, draws).

    Somewhat fewer than that are Poisson numbers, which units of the same weight share a table for; given their sum they
    are multinomial. The rest is drawn one by one.

    Examples
    --------
    >>> import numpy as np
    >>> drawn_again(np.array([3.0, 1.0]), 4, np.random.default_rng(0)).sum(axis=0)
    array([4., 4., 4., 4.])
    """
    total, kinds = int(weights.sum()), np.unique(weights)
    if total > MOST_LISTED or kinds.size > weights.size // 4:
        return np.asarray(rng.multinomial(total, weights / weights.sum(), draws).T, dtype=np.float64)
    part = max(0.0, 1.0 - 6.0 / np.sqrt(total))
    result, rest = np.empty((weights.size, draws)), np.full(draws, -1)
    while (rest < 0).any():
        again = np.flatnonzero(rest < 0)
        for weight in kinds.tolist():
            alike, mean = np.flatnonzero(weights == weight), part * weight
            table = pdtr(np.arange(30.0 + mean + 12.0 * np.sqrt(mean)), mean)
            result[np.ix_(alike, again)] = np.searchsorted(table, rng.random((alike.size, again.size)), side="right")
        rest[again] = total - result[:, again].sum(axis=0).astype(np.intp)
    listed = np.repeat(np.arange(weights.size), weights.astype(np.intp))
    cell = listed[rng.integers(total, size=int(rest.sum()))] * draws + np.repeat(np.arange(draws), rest)
    return np.asarray(result + np.bincount(cell, minlength=result.size).reshape(result.shape))


def _fitted(
    total: FloatArray, won: FloatArray, first: NDArray[Any], second: NDArray[Any], start: FloatArray,
    inverse: FloatArray, prior: Prior | None,
) -> FloatArray:  # fmt: skip
    """Utilities of one draw, shape (n,)."""
    at, before, size = start, np.inf, start.size
    net = won - 0.5 * total
    wins = np.bincount(first, net, size) - np.bincount(second, net, size)
    for _ in range(STEPS):
        raised = np.exp(at)
        lead = raised[first]
        # σ(d) − ½
        lead = total * (lead / (lead + raised[second]) - 0.5)
        gradient = np.bincount(first, lead, size) - np.bincount(second, lead, size) - wins
        if prior is not None:
            gradient += prior.slope(at)
        step = inverse @ gradient
        at, change = at - step, float(np.abs(step).max())
        if change <= CLOSE:
            return at
        # Steps that do not shrink lead nowhere.
        if not change < 0.7 * before:
            break
        before = change
    both, back = np.append(first, second), np.append(second, first)
    with suppress(NoFiniteEstimateError):
        wins = np.append(won, total - won)
        return fit_comparisons(both, back, wins, support=range(size), prior=prior).utilities
    return np.full(size, np.nan)
