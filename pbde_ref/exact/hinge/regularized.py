"""The least expected hinge loss with a regulariser, lambda > 0: the central path wherever the reference holds it.

Outcomes that nothing ties to the reference, or next to nothing, are cut off and left to the linear programme of
`hinge_linear`, as is everything at lambda = 0.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pbde_ref.distributions import FiniteDistribution, kl_divergence
from pbde_ref.exact.hinge.duality import (
    EPS,
    ROUNDING,
    SUMMED,
    Minimum,
    exact_flow,
    finished,
    hinge_and_slackness,
    net_flow,
    route,
)
from pbde_ref.exact.hinge.interior_point import interior_point
from pbde_ref.exact.hinge.linear import minimize_linear
from pbde_ref.exact.maximum_flow import filled_flow
from pbde_ref.numerics import logsumexp
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["feasible", "minimize_hinge", "regularized_point", "supported"]


def minimize_hinge(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, counted: NDArray[np.bool_],
    tolerance: float, max_steps: int, relative: float = 0.0, policy_tolerance: float = 1.0,
) -> Minimum:
    """The least expected hinge loss at any lambda >= 0; whether it is unique is asked of the outcomes counted.

    The wins are right to `relative`; at lambda > 0 the gap should bound the policy to `policy_tolerance` as well.
    """
    if lambda_ == 0.0:
        return minimize_linear(wins, delta, counted, tolerance, max_steps, relative)
    attained = supported(wins, reference, 0.0, 0.0)
    if not attained.all():
        # The rest never wins against what is kept: it sinks to -inf, free of charge but for comparisons inside it.
        inside, outside = _among(attained), _among(~attained)
        main = minimize_hinge(
            wins[inside], delta, lambda_, reference[attained], counted[attained], tolerance, max_steps, relative,
            policy_tolerance,
        )
        rest = minimize_linear(wins[outside], delta, counted[~attained], tolerance, max_steps, relative)
        s, dual = np.full(len(wins), -np.inf), np.zeros_like(wins)
        s[attained], dual[inside], dual[outside] = main.s, main.dual, rest.dual
        value, gap, steps = main.hinge + rest.hinge, main.gap + rest.gap, main.steps + rest.steps
        return replace(main, s=s, dual=dual, hinge=value, gap=gap, steps=steps)
    # Outcomes that are too weakly tied to the reference for the central path to hold them are cut off; how weakly that
    # is shows in the gap.
    total, prior = float(wins.sum()), FiniteDistribution.from_weights(reference)
    kinds: list[NDArray[np.bool_]] = []
    found: list[Minimum] = []
    for rare in (1e-14, 1e-12, 1e-10, 1e-8, 1e-6):
        held = supported(wins, reference, 1e-11 * total / (lambda_ * len(wins)), rare * total)
        if any((held == other).all() for other in kinds):
            continue
        kinds.append(held)
        one = _held_and_cut(wins, delta, lambda_, reference, held, tolerance, max_steps, policy_tolerance)
        found.append(_proven(one, wins, delta, lambda_, prior, relative))
        value = found[-1].hinge + lambda_ * kl_divergence(prior, FiniteDistribution(found[-1].s))
        if found[-1].gap <= max(found[-1].resolution, min(tolerance * value, 2.0 * lambda_ * policy_tolerance**2)):
            break
    return min(found, key=lambda one: one.gap)


def _held_and_cut(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, held: NDArray[np.bool_],
    tolerance: float, max_steps: int, policy_tolerance: float,
) -> Minimum:
    """The central path among the outcomes held; where lambda is next to nothing beside comparisons, as if it were."""
    if held.all():
        return _minimize_regularized(wins, delta, lambda_, reference, tolerance, max_steps, policy_tolerance)
    inside, outside = _among(held), _among(~held)
    s, dual, steps = np.zeros(len(wins)), np.zeros_like(wins), 0
    if held.any():
        main = _minimize_regularized(
            wins[inside], delta, lambda_, reference[held], tolerance, max_steps, policy_tolerance
        )
        s[held], dual[inside], steps = main.s - logsumexp(main.s), main.dual, main.steps
    rest = minimize_linear(wins[outside], delta, ~held[~held], tolerance, max_steps)
    level = math.log(max(float(reference[~held].sum()), 1e-300)) - float(logsumexp(rest.s))
    above = np.where(wins[held][:, ~held] > 0.0, s[held][:, None] - rest.s[None, :] - delta, np.inf)
    prior = FiniteDistribution.from_weights(reference)
    s[~held], dual[outside] = rest.s + min(level, float(above.min(initial=np.inf))), rest.dual
    return regularized_point(wins, delta, lambda_, prior, s, dual, steps + rest.steps)


def _among(kept: NDArray[np.bool_]) -> tuple[IndexArray, ...]:
    """Index of the pairs of these outcomes."""
    places = np.flatnonzero(kept)
    return np.ix_(places, places)


def supported(wins: FloatArray, reference: FloatArray, least: float, rare: float) -> NDArray[np.bool_]:
    """Outcomes that the reference has, and those from which a chain of possible wins leads to one."""
    kept = reference > least
    while True:
        wider = kept | ((wins > rare) & kept).any(axis=1)
        if (wider == kept).all():
            return kept
        kept = wider


def _minimize_regularized(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, tolerance: float, max_steps: int,
    policy_tolerance: float = 1.0,
) -> Minimum:
    # By Pinsker's inequality; what the interior point is asked for is ten times less.
    enough_for_policy = 0.2 * lambda_ * policy_tolerance**2
    prior = FiniteDistribution.from_weights(reference)
    # A floor far below rounding of the loss keeps the logarithms of vanishing reference probabilities in reach.
    floored = (reference + EPS) / (1.0 + len(wins) * EPS)
    # The reference itself comes first: at delta = 0 it may be optimal, with a loss of exactly zero.
    exact = np.log(np.where(reference > 0.0, reference, EPS))
    best = regularized_point(wins, delta, lambda_, prior, exact, np.zeros_like(wins), 0)
    if best.hinge == 0.0:
        return replace(best, gap=0.0)
    gaps = [best.gap]
    for s, dual, steps in interior_point(wins, delta, lambda_, floored, max_steps):
        point = regularized_point(wins, delta, lambda_, prior, s, dual, steps)
        best = point if point.gap <= best.gap else replace(best, steps=steps)
        gaps.append(best.gap)
        value = best.hinge + lambda_ * kl_divergence(prior, FiniteDistribution(best.s))
        if finished(gaps, min(tolerance * value, 1e3 * enough_for_policy), best.resolution):
            break
    return best


def regularized_point(
    wins: FloatArray, delta: float, lambda_: float, prior: FiniteDistribution,
    s: FloatArray, dual: FloatArray, steps: int,
) -> Minimum:
    r"""Loss at s and the gap to the dual point, term by term: no term is negative, so nothing cancels."""
    dual, r, _ = feasible(np.clip(dual, 0.0, wins), wins, lambda_, prior)
    s = s - s.max()
    value, slackness = hinge_and_slackness(wins, delta, s, dual)
    gap = slackness + lambda_ * kl_divergence(FiniteDistribution.from_weights(r), FiniteDistribution(s))
    return Minimum(s, dual, value, gap, ROUNDING * ((1.0 + delta) * float(wins.sum()) + lambda_), True, steps)


def _proven(
    found: Minimum, wins: FloatArray, delta: float, lambda_: float, prior: FiniteDistribution, relative: float
) -> Minimum:
    """The minimum with a dual point that is certainly feasible, and all that rounding may have done in the gap.

    Where the wins are right to `relative`, the dual point less that share of it is feasible, and moves r by the same
    share towards the reference.
    """
    if found.hinge == 0.0 and found.gap == 0.0:
        return found
    dual, r, noise = feasible(found.dual, wins, lambda_, prior)
    policy, target = FiniteDistribution(found.s), FiniteDistribution.from_weights(r)
    value, slackness = hinge_and_slackness(wins, delta, found.s, dual)
    # Margins are rounded differences; next to delta rounding decides which side of it they are on.
    margin = found.s[:, None] - found.s
    blur = EPS * (2.0 * np.abs(margin) + delta)
    counted = np.where(margin < delta - blur, wins - dual, np.where(margin > delta + blur, dual, 2.0 * wins))
    slackness += float((counted * blur).sum())
    held = r > 0.0
    ratio = np.abs(target.log_pmf[held] - policy.log_pmf[held])
    blurred = noise[held] / r[held] + EPS * (8.0 + np.abs(target.log_pmf[held]) + np.abs(policy.log_pmf[held]))
    divergence = kl_divergence(target, policy) + float((r[held] * blurred * (ratio + blurred)).sum())
    divergence += float(noise[~held].sum()) + relative * kl_divergence(prior, policy)
    gap = slackness + 2.0 * relative * value + lambda_ * divergence
    return replace(found, dual=dual, gap=(1.0 + SUMMED) * gap)


def feasible(
    dual: FloatArray, wins: FloatArray, lambda_: float, prior: FiniteDistribution
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""A dual point near this one whose r exceeds what rounding may hide, that r, and what may be hidden.

    With :math:`r = \pi_{pre} + \text{flow} / \lambda`. Where none is near, it is one of
    whole multiples of a power of two.
    """
    # What rounding of log-probabilities makes of probabilities.
    with np.errstate(invalid="ignore"):
        blurred = EPS * np.where(prior.pmf > 0.0, (4.0 - prior.log_pmf) * prior.pmf, 0.0)
    for attempt in range(60):
        flow, noise = exact_flow(dual)
        r = prior.pmf + flow / lambda_
        noise = noise / lambda_ + blurred + EPS * (np.abs(flow) / lambda_ + r)
        short = r < noise
        if not short.any():
            return dual, r, noise
        losses = dual.sum(axis=0)
        # Less than a few units in the last place of its flows would not change what an outcome has.
        enough = 4.0 * noise + 16.0 * EPS * (losses + dual.sum(axis=1)) / lambda_
        missing = np.where(r < 0.5 * enough, lambda_ * (enough - r), 0.0)
        if attempt < 3:
            # From the most probable outcome, by way of pairs with room for it.
            routed = route(dual, np.minimum(dual, wins - dual), -missing, r)[0]
            if (routed >= 0.0).all() and (routed <= wins).all():
                dual = routed
                continue
        # Otherwise fewer losses are counted against it, which takes wins from others.
        dual = dual * np.maximum(1.0 - missing / np.where(losses > 0.0, losses, 1.0), 0.0)
    dual = _feasible_on_grid(dual, wins, lambda_, prior.pmf)
    flow = net_flow(dual) / lambda_
    r = np.maximum(prior.pmf + flow, 0.0)
    return dual, r, blurred + 4.0 * EPS * (np.abs(flow) + r)


def _feasible_on_grid(dual: FloatArray, wins: FloatArray, lambda_: float, reference: FloatArray) -> FloatArray:
    """A feasible dual point of whole multiples of one power of two, whose sums are exact.

    So r cannot be negative, however rare an outcome is; but wins below that power, a few units in the last place of all
    wins together, are lost. Where the zero dual point is feasible, the flow that is missing always finds its way.
    """
    unit = 2.0 ** (int(np.frexp(float(wins.sum()) + lambda_)[1]) - 50)
    flows, most = np.floor(np.clip(dual, 0.0, wins) / unit), np.floor(wins / unit)
    due = np.floor((1.0 - 1e-6) * lambda_ * reference / unit)
    sent, _ = filled_flow(flows + (most - flows).T, net_flow(flows) + due)
    taken = np.clip(sent, 0.0, flows)
    return np.asarray((flows + (np.maximum(sent, 0.0) - taken).T - taken) * unit)
