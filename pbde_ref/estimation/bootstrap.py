r"""Many fits to comparisons drawn again: what the estimate would have been, had others been made.

Each draw is multinomial over the different comparisons, or over clusters of them. All draws are fitted together from
the estimate itself, with its inverse Hessian as that of every draw, :math:`\omega \leftarrow \omega - I^+ g_b(\omega)`,
which gains the same number of digits with each step; a draw that this does not settle is fitted by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from pbde_ref.estimation.aggregation import added_up
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.given import given_comparisons
from pbde_ref.estimation.likelihood import fit_comparisons
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.regression import differences
from pbde_ref.estimation.tallies import slices
from pbde_ref.validation import FloatArray, generator_of, reject, whole_number

__all__ = ["bootstrap_utilities"]

# Pairs times draws that are held at a time, steps that all draws take together, and nats that a step may still change.
HELD, STEPS, CLOSE = 1 << 20, 30, 1e-8


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
    kinds = [(times - tied) * (given.winner == a), (times - tied) * (given.winner == b), tied]
    group = np.zeros(a.size, dtype=np.intp) if given.clusters is None else given.clusters
    columns = [np.tile(group, 3), np.tile(a, 3), np.tile(b, 3), np.repeat(np.arange(3), a.size)]
    (amount,), cells = added_up([np.concatenate(kinds)], columns)
    group, a, b, kind = (part[amount > 0.0] for part in cells)
    amount = amount[amount > 0.0]
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
    share = np.array([1.0, 0.0, 0.5])[kind]
    shape = (pairs.size, unit_weights.size)
    totals, firsts = (csr_array((part, (pair, unit)), shape=shape) for part in (each, each * share))
    spread, inverse = csr_array(differences(first, second, [], size, size).T), fit.information.covariance()
    result = np.empty((count, size))
    n, chances = int(unit_weights.sum()), unit_weights / unit_weights.sum()
    for part in slices(count, max(1, HELD // max(pairs.size, unit_weights.size))):
        drawn = generator.multinomial(n, chances, len(result[part])).T.astype(np.float64)
        total = totals @ drawn
        result[part] = _fitted(total, firsts @ drawn, first, second, spread, fit.utilities, inverse, prior).T
    return result


def _fitted(
    total: FloatArray, won: FloatArray, first: NDArray[Any], second: NDArray[Any], spread: csr_array, start: FloatArray,
    inverse: FloatArray, prior: Prior | None,
) -> FloatArray:  # fmt: skip
    """Utilities of each draw, shape (n, draws)."""
    at = np.repeat(start[:, None], total.shape[1], axis=1)
    open_, before = np.arange(total.shape[1]), np.full(total.shape[1], np.inf)
    net = spread @ won
    for _ in range(STEPS):
        raised = np.exp(at[:, open_])
        expected = raised[first]
        expected /= expected + raised[second]
        expected *= total[:, open_] if open_.size < total.shape[1] else total
        gradient = spread @ expected - net[:, open_]
        if prior is not None:
            gradient += prior.slope(at[:, open_])
        step = inverse @ gradient
        at[:, open_] -= step
        size = np.abs(step).max(axis=0)
        # Steps that do not shrink lead nowhere.
        going = (size > CLOSE) & (size < 0.7 * before)
        at[:, open_[(size > CLOSE) & ~going]] = np.nan
        open_, before = open_[going], size[going]
    at[:, open_] = np.nan
    for draw in np.flatnonzero(np.isnan(at[0])).tolist():
        wins = np.stack([won[:, draw], total[:, draw] - won[:, draw]])
        with suppress(NoFiniteEstimateError):
            at[:, draw] = fit_comparisons(
                np.append(first, second), np.append(second, first), wins.ravel(), support=range(len(start)), prior=prior
            ).utilities
    return at
