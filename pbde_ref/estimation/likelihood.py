r"""Maximum likelihood from comparisons: the implicit preference distribution that explains them best."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.distributions import FiniteDistribution, labels
from pbde_ref.estimation.connectivity import groups, refuse, strongly_connected
from pbde_ref.estimation.dense_tally import dense_tally
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.estimation.newton import SMALL, maximize
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.sparse_tally import sparse_tally
from pbde_ref.estimation.tallies import Tally
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.pbde import PBDE, luce
from pbde_ref.validation import (
    FloatArray,
    choice,
    comparison_weights,
    instance,
    matrix,
    plain_array,
    positive_number,
    reject,
    shown,
    vector,
    whole_number,
)

__all__ = ["fit_comparisons"]

REMEDY = (
    'keep only the largest group that has an estimate (incomparable="drop"), or add a prior, '
    "such as prior=PseudoCounts(1)"
)
_Integers = NDArray[np.integer[Any]]


def fit_comparisons(
    winner: Sequence[int] | NDArray[Any] | None = None,
    loser: Sequence[int] | NDArray[Any] | None = None,
    weights: ArrayLike | None = None,
    *,
    counts: ArrayLike | None = None,
    support: Sequence[Hashable] | NDArray[Any] | None = None,
    pbde: PBDE | None = None,
    prior: Prior | None = None,
    incomparable: str = "error",
    tolerance: float = 1e-10,
    max_steps: int = 100,
) -> ComparisonFit:
    r"""Estimate an annotator's implicit preference distribution from comparisons, by maximum likelihood.

    .. math:: \max_\omega \sum_m w_m \log \sigma\big(\omega(\text{winner}_m) - \omega(\text{loser}_m)\big)
              + \log p(\omega), \qquad \omega = f \log p^* + g + C, \quad \sum_x p^*(x) = 1

    The likelihood sees :math:`p^*` through its utilities alone, so that one concave problem, that of Bradley and Terry,
    serves every process; the process then turns utilities into the one normalised distribution that has them.

    Parameters
    ----------
    winner, loser : array_like of int, shape (m,)
        Indices of the items, from 0. Comparisons of an item with itself are ignored.
    weights : array_like, shape (m,), optional
        How often each comparison happened; finite, non-negative, need not be whole. Default: once. A tie is half a win
        for either side.
    counts : array_like, shape (n, n), optional
        Instead: entry [A, B] is how often A beat B. The diagonal is ignored.
    support : sequence of n distinct hashable labels, optional
        Names of the items. Default: the numbers up to the largest index.
    pbde : PBDE, optional
        The process. Default: the Luce choice rule, whose distribution is the softmax of the utilities.
    prior : GaussianPrior or PseudoCounts, optional
        Makes the result the posterior's mode (MAP), which is finite whatever the comparisons are.
    incomparable : {"error", "drop", "separate"}
        What to do without a prior where comparisons do not lead from each item to each other one. "drop" keeps the
        largest set of items for which they do. "separate" accepts items that fall into groups without a comparison
        between them; the utilities of each have mean zero, and the groups' shares of the distribution are a convention.
    tolerance : float
        Value of the `criterion` at which the result counts as converged, unless a Newton step would still change
        utilities by more than 1e-6.
    max_steps : int
        Bound on Newton steps, at least 1.

    Returns
    -------
    ComparisonFit
        `converged` is False where the steps or the digits ran out.

    Raises
    ------
    NoFiniteEstimateError
        If the estimate is infinite or undetermined; the message and the attributes name the items.
    TypeError, ValueError
        If an argument has the wrong shape or an entry is out of range.

    Notes
    -----
    Time and memory are linear in the number of comparisons and of different pairs; an array with all pairs of items is
    formed only where it is small beside the comparisons. Newton's method, its steps by conjugate gradients.

    References
    ----------
    L. R. Ford, Jr.: Solution of a ranking problem from binary comparisons. American Mathematical Monthly 64 (1957).

    Examples
    --------
    Journals citing each other (Stigler, 1994), a citation being a win of the cited journal:

    >>> import pbde_ref as pb
    >>> from pbde_ref.estimation import fit_comparisons, stigler_citations
    >>> journals, counts = stigler_citations()
    >>> fit = fit_comparisons(counts=counts, support=journals)
    >>> for journal, utility in zip(journals, fit.utilities - fit.utilities[0]):
    ...     print(f"{journal:16} {utility:8.4f}")
    Biometrika         0.0000
    Comm. Statist.    -2.9491
    JASA              -0.4796
    JRSS-B             0.2690
    >>> fit.standard_errors(relative_to=0).round(4)
    array([0.    , 0.1025, 0.0606, 0.0708])
    >>> fit.distribution.pmf.round(4)
    array([0.3356, 0.0176, 0.2077, 0.4391])
    """
    choice("incomparable", incomparable, ("error", "drop", "separate"))
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    process = luce() if pbde is None else pbde
    instance("pbde", process, PBDE, "a PBDE")
    if prior is not None:
        instance("prior", prior, Prior, "a GaussianPrior or PseudoCounts")
    winner, loser, weights, size = _comparisons(winner, loser, weights, counts, support)
    names = labels(support, size)
    process.check_size(size)

    components, dropped = np.zeros(size, dtype=np.intp), names[:0]
    if not strongly_connected(winner, loser, size):
        found = groups(winner, loser, size)
        components = found.weak
        if prior is None and incomparable == "drop":
            keep = found.main
            dropped, names = names[~keep], names[keep]
            process = PBDE(*(value[keep] if value.ndim else value for value in (process.f, process.g)))
            winner, loser, weights = _only(keep, winner, loser, weights)
            size, components = names.size, np.zeros(names.size, dtype=np.intp)
        elif prior is None:
            refuse(found, names, REMEDY, incomparable == "separate")

    tally = _add_up(winner, loser, weights, size)
    found_maximum = maximize(tally, prior, components if prior is None else None, tolerance, max_steps)
    utilities = found_maximum.utilities
    for value in (utilities, components, tally.games, tally.wins):
        value.flags.writeable = False
    return ComparisonFit(
        utilities=utilities,
        distribution=FiniteDistribution(normalized_log_policy(utilities, process), names),
        pbde=process,
        prior=prior,
        log_likelihood=tally.log_likelihood(utilities),
        log_prior=0.0 if prior is None else prior.log_density(utilities),
        criterion=found_maximum.criterion,
        remaining=found_maximum.remaining,
        converged=found_maximum.converged,
        steps=found_maximum.steps,
        components=components,
        comparisons=tally.games,
        wins=tally.wins,
        n_comparisons=float(tally.wins.sum()),
        dropped=tuple(dropped.tolist()),
        method=tally.name,
        information=found_maximum.information,
    )


def _comparisons(
    winner: Sequence[int] | NDArray[Any] | None,
    loser: Sequence[int] | NDArray[Any] | None,
    weights: ArrayLike | None,
    counts: ArrayLike | None,
    support: Sequence[Hashable] | NDArray[Any] | None,
) -> tuple[_Integers, _Integers, FloatArray | None, int]:
    """Winners, losers and weights of comparisons between different items, and the number of items."""
    won: _Integers
    lost: _Integers
    times: FloatArray | None
    if counts is not None:
        if winner is not None or loser is not None or weights is not None:
            raise TypeError("`counts` must come alone; got also `winner`, `loser` or `weights`")
        given = matrix("counts", counts)
        comparison_weights("counts", given)
        size = len(given)
        won, lost = np.nonzero(given)
        times = given[won, lost]
    else:
        won, lost, times = _items("winner", winner), _items("loser", loser), None
        size = 1 + max(int(won.max(initial=0)), int(lost.max(initial=0)))
        _same_length("loser", lost.size, won.size)
        if weights is not None:
            times = vector("weights", weights)
            _same_length("weights", times.size, won.size)
            comparison_weights("weights", times)
    if support is not None:
        size = _support_size(support, size, exactly=counts is not None)
    elif size > 2 * won.size and counts is None:
        raise ValueError(
            f"`winner` and `loser` must number the items from 0 where no `support` is given "
            f"(numpy.unique(..., return_inverse=True) does); got {won.size} comparisons and index {size - 1}"
        )
    counted = won != lost
    if times is not None:
        counted &= times > 0.0
    if not counted.all():
        won, lost, times = won[counted], lost[counted], None if times is None else times[counted]
    if won.size == 0:
        raise ValueError("`comparisons` must hold one of different items with positive weight; got none")
    return won, lost, times, size


def _items(name: str, value: Sequence[int] | NDArray[Any] | None) -> _Integers:
    """Indices as they came, without a copy."""
    if value is None:
        raise TypeError(f"`{name}` must be given, or `counts` instead")
    result = plain_array(name, value)
    if result.ndim != 1 or not np.issubdtype(result.dtype, np.integer):
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


def _only(
    keep: NDArray[np.bool_], winner: _Integers, loser: _Integers, weights: FloatArray | None
) -> tuple[_Integers, _Integers, FloatArray | None]:
    """Comparisons among the items to keep, renumbered."""
    number = np.cumsum(keep) - 1
    inside = keep[winner] & keep[loser]
    if not inside.any():
        raise ValueError(
            "`comparisons` must lead from some item to another one and back for a maximum-likelihood estimate; "
            "got none that do; add a prior, such as prior=PseudoCounts(1)"
        )
    return number[winner[inside]], number[loser[inside]], None if weights is None else weights[inside]


def _add_up(winner: _Integers, loser: _Integers, weights: FloatArray | None, size: int) -> Tally:
    """As a matrix of all pairs or a list of those compared, whichever is smaller."""
    wins = np.bincount(winner, weights, size).astype(np.float64)
    games = wins + np.bincount(loser, weights, size)
    dense = size <= SMALL or size * size <= 4 * winner.size
    add_up: Callable[..., Tally] = dense_tally if dense else sparse_tally
    return add_up(winner, loser, weights, wins, games)
