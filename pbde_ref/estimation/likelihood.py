r"""Maximum likelihood from comparisons: the implicit preference distribution that explains them best."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, diags_array
from scipy.special import expit

from pbde_ref.distributions import FiniteDistribution, labels, same_support
from pbde_ref.estimation.connectivity import groups, refuse, strongly_connected
from pbde_ref.estimation.dense_tally import dense_tally
from pbde_ref.estimation.given import Given, Integers, given_comparisons
from pbde_ref.estimation.newton import SMALL, Maximum, maximize
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.reading import read_comparisons
from pbde_ref.estimation.regression import (
    Dependence,
    choices_of_pairs,
    choices_of_rankings,
    differences,
    fit_choices,
)
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.estimation.sparse_tally import sparse_tally
from pbde_ref.estimation.table import ComparisonTable, Ranking
from pbde_ref.estimation.tallies import Tally
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.pbde import PBDE, luce
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    choice,
    comparison_weights,
    instance,
    non_negative_number,
    positive_number,
    shown,
    whole_number,
)

__all__ = ["TIE_MODELS", "add_up", "fit_comparisons", "fit_rankings"]

TIE_MODELS = ("half", "davidson", "rao-kupper")

REMEDY = 'keep the largest group (incomparable="drop") or add prior=PseudoCounts(1)'


def fit_comparisons(
    winner: Sequence[Hashable] | NDArray[Any] | ComparisonTable | None = None,
    loser: Sequence[Hashable] | NDArray[Any] | None = None, weights: ArrayLike | None = None, *,
    ties: ArrayLike | None = None, tie_model: str = "half", covariates: Mapping[str, ArrayLike] | None = None,
    first: ArrayLike | None = None, clusters: ArrayLike | None = None, repeats: FloatArray | None = None,
    counts: ArrayLike | None = None, support: Sequence[Hashable] | NDArray[Any] | None = None,
    pbde: PBDE | None = None, prior: Prior | None = None, incomparable: str = "error",
    tolerance: float = 1e-10, max_steps: int = 100,
) -> ComparisonFit:  # fmt: skip
    r"""Estimate an annotator's implicit preference distribution from comparisons, by maximum likelihood.

    .. math:: \max_\omega \sum_m w_m \log \sigma\big(\omega(\text{winner}_m) - \omega(\text{loser}_m)\big)
              + \log p(\omega), \qquad \omega = f \log p^* + g + C, \quad \sum_x p^*(x) = 1

    The likelihood sees :math:`p^*` through its utilities alone, so that one concave problem, that of Bradley and Terry,
    serves every process; the process then turns utilities into the one normalised distribution that has them.

    Parameters
    ----------
    winner, loser : array_like, shape (m,)
        Indices of the items, from 0, or their labels; whole numbers are indices. Comparisons of an item with itself are
        ignored. Or, alone, a `ComparisonTable`, or a DataFrame of pandas or polars that `read_comparisons` understands.
    weights : array_like, shape (m,), optional
        How often each comparison happened; finite, non-negative, need not be whole. Default: once.
    ties : array_like, shape (m,), optional
        Which comparisons are ties, or how much of each weight is. It does not matter who is named as the winner.
    tie_model : {"half", "davidson", "rao-kupper"}
        What ties count for. As half a win of either side they pull utilities together, for a likely tie is taken for
        a coin's toss. Davidson: :math:`P(\text{tie}) = e^\kappa \sqrt{P(A)\, P(B)}`. Rao and Kupper:
        :math:`P(A) = \sigma(\omega_A - \omega_B - \tau)`.
    covariates : mapping of str to array_like, shape (m,), optional
        Effects to estimate beside the items' utilities: numbers that speak for the winner, such as how much longer
        its answer is.
    first : array_like of bool, shape (m,), optional
        Whether the winner stood on the left, or at home; what that is worth is then estimated as the effect "order".
    clusters : array_like of int, shape (m,), optional
        Comparisons with the same number may depend on each other; standard errors then allow for it.
    repeats : ndarray, optional
        How often each cluster happened. Default: once.
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

    Every `pbde` reaches the same likelihood, each with another distribution: comparisons alone do not tell which
    process made them (``proofs/process_identified.md``). `identify_process` asks log-probabilities and lengths.

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
    choice("tie_model", tie_model, TIE_MODELS)
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    process = luce() if pbde is None else pbde
    instance("pbde", process, PBDE, "a PBDE")
    if prior is not None:
        instance("prior", prior, Prior, "a GaussianPrior or PseudoCounts")
    table: Any = read_comparisons(winner, ties="keep") if hasattr(type(winner), "columns") else winner
    given = given_comparisons(table, loser, weights, counts, support, ties, covariates, first, clusters, repeats)
    names, dropped = labels(given.support, given.size), ()
    process.check_size(given.size)
    same_support("pbde", process.support, "support", names)

    components = np.zeros(given.size, dtype=np.intp)
    if given.ties is not None or not strongly_connected(given.winner, given.loser, given.size):
        found = groups(*given.arrows(), given.size)
        components = found.weak
        if prior is None and incomparable == "drop" and found.strong.any():
            keep = found.main
            dropped, names = tuple(names[~keep].tolist()), names[keep]
            process = PBDE(*(value[keep] if value.ndim else value for value in (process.f, process.g)))
            given, components = given.only(keep), np.zeros(names.size, dtype=np.intp)
        elif prior is None:
            refuse(found, names, REMEDY, incomparable == "separate")

    fixed, model = components if prior is None else None, "half" if given.ties is None else tie_model
    squared: csr_array | None = None
    if model != "half" or given.columns:
        rows = (given.winner, given.loser, given.times, given.tied, given.columns)
        choices, row = choices_of_pairs(*rows, given.size, model)
        choices = replace(choices, prior=prior, components=fixed)
        maximum = fit_choices(choices, names, tolerance, max_steps)
        at, likelihood, method = maximum.utilities, choices.log_likelihood(maximum.utilities), f"{model}, regression"
        effects = dict(zip(choices.effects, at[given.size :].tolist(), strict=True))
        wins, games = given.totals()
        if given.clusters is not None:
            squared = given.dependence(row).squared(choices.scores(at), choices.unit_weights)
    else:
        given = given.halved()
        tally = add_up(given.winner, given.loser, given.weights, given.size)
        maximum = maximize(tally, prior, fixed, tolerance, max_steps)
        at, likelihood, effects, method = maximum.utilities, tally.log_likelihood(maximum.utilities), {}, tally.name
        wins, games = tally.wins, tally.games
        if given.clusters is not None or given.ties is not None:
            squared = _sandwich(given, at)
    kind = "fisher" if squared is None else "sandwich" if given.clusters is None else "clustered"
    return _result(
        names, process, prior, maximum, likelihood, components, games, wins, float(wins.sum()), method, dropped=dropped,
        effects=effects, scores_squared=squared, error_kind=kind,
    )  # fmt: skip


def _result(
    names: NDArray[Any], process: PBDE, prior: Prior | None, maximum: Maximum, likelihood: float,
    components: IndexArray, games: FloatArray, wins: FloatArray, n: float, method: str, **more: Any,
) -> ComparisonFit:  # fmt: skip
    utilities = np.array(maximum.utilities[: names.size])
    for value in (utilities, components, games, wins):
        value.flags.writeable = False
    return ComparisonFit(
        utilities=utilities, distribution=FiniteDistribution(normalized_log_policy(utilities, process), names),
        pbde=process, prior=prior, log_likelihood=likelihood,
        log_prior=0.0 if prior is None else prior.log_density(utilities),
        criterion=maximum.criterion, remaining=maximum.remaining, converged=maximum.converged, steps=maximum.steps,
        components=components, comparisons=games, wins=wins, n_comparisons=n, method=method,
        information=maximum.information, **{"dropped": (), **more},
    )  # fmt: skip


def fit_rankings(
    rankings: Sequence[tuple[Ranking, float]], support: Sequence[Hashable] | NDArray[Any], *,
    prior: Prior | None = None, tolerance: float = 1e-10, max_steps: int = 100,
) -> ComparisonFit:  # fmt: skip
    r"""Estimate utilities from rankings by Plackett and Luce's model, a ranking being a choice of the best, then of the
    best of the rest, and so on.

    .. math:: P(x_1 \succ x_2 \succ \dots) = \prod_k \frac{e^{\omega(x_k)}}{\sum_{l \ge k} e^{\omega(x_l)}}

    Parameters
    ----------
    rankings : sequence of (ranking, weight)
        As `ComparisonTable.rankings` has them; one item at each place. Those that share the last place were not
        ranked among each other: the product ends before them, which is the probability of the order of the others.
    support : sequence of n labels
    prior, tolerance, max_steps
        As in `fit_comparisons`.

    Raises
    ------
    ValueError
        If items share another place than the last, an item comes twice, a weight is negative, or no ranking has two
        places; one that has not says nothing.

    Examples
    --------
    >>> from pbde_ref.estimation import fit_rankings
    >>> fit = fit_rankings([(((0,), (1,), (2,)), 2.0), (((2,), (1,), (0,)), 1.0), (((1,), (0,), (2,)), 1.0)], "abc")
    >>> fit.converged, fit.utilities.round(3)
    (True, array([ 0.439,  0.515, -0.954]))
    """
    names = labels(support, None)
    rankings = _checked_rankings(rankings, names.size)
    if prior is not None:
        instance("prior", prior, Prior, "a GaussianPrior or PseudoCounts")
    max_steps = whole_number("max_steps", max_steps, least=1)
    choices = choices_of_rankings(rankings, names.size)
    steps = chain.from_iterable(pairwise(ranking) for ranking, _ in rankings)
    one, other = np.array([(a[0], b) for a, left in steps for b in left]).T
    found = groups(one, other, names.size)
    if prior is None:
        refuse(found, names, REMEDY, False)
        choices = replace(choices, components=found.weak)
    choices = replace(choices, prior=prior)
    maximum = fit_choices(choices, names, positive_number("tolerance", tolerance), max_steps)
    return _result(
        names, luce(), prior, maximum, choices.log_likelihood(maximum.utilities), found.weak, choices.scale,
        choices.picked.T @ choices.weights, float(choices.unit_weights.sum()), "rankings",
    )  # fmt: skip


def _checked_rankings(rankings: Any, size: int) -> list[tuple[Ranking, float]]:
    """Each with whole numbers below `size`, none of which comes twice, and a weight that is no less than 0."""
    instance("rankings", rankings, Sequence, "a sequence of rankings with their weights")
    checked, said = [], "a ranking, a tuple of tuples of items, and its weight"
    for i, entry in enumerate(rankings):
        pair = isinstance(entry, Sequence) and len(entry) == 2 and isinstance(entry[0], Sequence)
        if not pair or not all(isinstance(place, Sequence) and place for place in entry[0]):
            raise TypeError(f"`rankings[{i}]` must be {said}; got {shown(entry)}")
        items = [whole_number(f"rankings[{i}][0]", item, most=size - 1) for place in entry[0] for item in place]
        if len(set(items)) < len(items):
            raise ValueError(f"`rankings[{i}]` must name an item once; got {shown(entry[0])}")
        checked.append((entry[0], non_negative_number(f"rankings[{i}][1]", entry[1])))
    comparison_weights("weights of rankings", np.array([weight for _, weight in checked]))
    return checked


def _sandwich(given: Given, utilities: FloatArray) -> csr_array:
    """Squared scores of comparisons, a tie's being that of half a win."""
    lost, ties = expit(utilities[given.loser] - utilities[given.winner]), given.tied
    apart = differences(given.winner, given.loser, [], given.size, given.size)
    if given.clusters is None:
        return Dependence().squared(apart, (given.times - ties) * lost**2 + ties * (lost - 0.5) ** 2)
    score = (given.times - ties) * lost + ties * (lost - 0.5)
    return given.dependence(slice(None)).squared(csr_array(diags_array(score) @ apart), np.ones(score.size))


def add_up(winner: Integers, loser: Integers, weights: FloatArray | None, size: int) -> Tally:
    """As a matrix of all pairs or a list of those compared, whichever is smaller."""
    wins = np.bincount(winner, weights, size).astype(np.float64)
    games = wins + np.bincount(loser, weights, size)
    dense = size <= SMALL or size * size <= 4 * winner.size
    add_up: Callable[..., Tally] = dense_tally if dense else sparse_tally
    return add_up(winner, loser, weights, wins, games)
