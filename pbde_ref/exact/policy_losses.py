r"""Where losses of two scores lead: the best policy of a finite support, with a gap that convexity proves.

With :math:`s = \log \pi` the expected loss :math:`F(s) = \sum_{A, B} c_{AB}\, \ell(s_A, s_B) - \lambda \sum_x w_x s_x`
is least among all s with :math:`\sum_x e^{s_x} = 1`. Let :math:`v = -\nabla F(s) \ge 0` and :math:`V = \sum_x v_x`. If
:math:`\ell` is convex,

.. math:: F(s') - F(s) \ge V\, [D_{KL}(v / V \,\|\, \pi') - D_{KL}(v / V \,\|\, \pi)],

so that the gap is at most the second term, and no other policy is as good as one where it vanishes. At a kink v may be
of any subgradient: of two linear functions the smaller one is no more than a mean of both. Where rounding hides the
sign of some entries of v, they enter with the range of log-probabilities: a bound for policies that give no answer less
than exp(-1,000,000).
Proof: ``proofs/policy_losses.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.optima import with_luce_policy
from pbde_ref.exact.results import Certificate, NoMinimumError, Optimum, unmet
from pbde_ref.exact.selection import win_weights, win_weights_error
from pbde_ref.losses.log_ratios import PairObjective
from pbde_ref.numerics import EPS, expit, logsumexp, softplus
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, non_negative_number

__all__ = [
    "Kinks", "PolicyProblem", "descend", "kind_of_point", "minimize_policy_loss", "minimize_reward_loss", "promised",
    "wins_with_ties",
]  # fmt: skip

POLICY_TOLERANCE = 1e-6
# Kinks are softened by so many nats, one after the other, around shares that settle: in the end nothing is.
SOFTNESS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6, 1e-4, 1e-3)
# Each derivative is a few rounded operations on numbers of the size of its argument.
ULPS = 32.0
# Nats that one step may move a log-probability by.
FARTHEST = 20.0
# Of what derivatives are differenced by for second ones, which only steer.
STEP = 1e-5
# A step that would lower the loss by no more of itself says that none is left.
SETTLED = 1e-9
# Probability that all outcomes have together whose pulls nobody can tell from rounding.
RARE = 1e-9
# Nats: a bound that needs one holds for policies that give every answer more than exp(-LEAST).
LEAST = 1e6

Evaluate = Callable[[FloatArray], tuple[float, FloatArray, FloatArray]]


def wins_with_ties(annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    """Probability that A meets B and wins, shape (n, n); on the diagonal, that an outcome meets itself.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> wins_with_ties(annotator, pb.ProductProposal([1, 1]))
    array([[0.25 , 0.375],
           [0.125, 0.25 ]])
    """
    check_models(annotator, proposal)
    wins, _ = win_weights(annotator, proposal)
    return wins + np.diag(proposal.matrix(annotator.size).diagonal())


@dataclass(frozen=True, eq=False)
class Kinks:
    r"""A loss :math:`-\log \sigma(\min(p, q))` with :math:`\min_t\, t p + (1 - t) q + \tfrac{\mu}{2} (t - s)^2` for m.

    With t in [0, 1] that is no less than the smaller of both, and smooth; and the loss is as convex.

    Attributes
    ----------
    branches : two pairs of floats
        As in `PairObjective`.
    shares : ndarray, shape (n, n)
        :math:`s`, in [0, 1].
    softness : float
        :math:`\mu`, in nats; if infinite, each pair's margin is the mean that its share says.
    """

    branches: tuple[tuple[float, float], tuple[float, float]]
    shares: FloatArray
    softness: float

    def margins(self, a: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The margins, :math:`p - q` and t, each of shape (n, n)."""
        (p_a, p_b), (q_a, q_b) = self.branches
        apart = (p_a - q_a) * a[:, None] + (p_b - q_b) * a
        t = np.clip(self.shares - apart / self.softness, 0.0, 1.0)
        margins = q_a * a[:, None] + q_b * a + t * apart
        if math.isfinite(self.softness):
            margins += (0.5 * self.softness) * (t - self.shares) ** 2
        return margins, apart, t

    def parts(self, a: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Losses and their derivatives, as those of `PairObjective`."""
        (p_a, p_b), (q_a, q_b) = self.branches
        margins, _, t = self.margins(a)
        slope = -expit(-margins)
        return softplus(-margins), slope * (q_a + (p_a - q_a) * t), slope * (q_b + (p_b - q_b) * t)

    def expanded(self, a: FloatArray, wins: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """The expected loss, its gradient and its Hessian in the scores."""
        (p_a, p_b), (q_a, q_b) = self.branches
        margins, _, t = self.margins(a)
        lost = expit(-margins)
        value = float((wins * softplus(-margins)).sum())
        pull = wins * lost
        curved, turning = pull * (1.0 - lost), np.where((t > 0.0) & (t < 1.0), pull / self.softness, 0.0)
        of_a, of_b = q_a + (p_a - q_a) * t, q_b + (p_b - q_b) * t
        gradient = -(pull * of_a).sum(axis=1) - (pull * of_b).sum(axis=0)
        by_a = curved * of_a
        bend = by_a * of_b + ((p_a - q_a) * (p_b - q_b)) * turning
        bend = bend + bend.T
        own = (by_a * of_a).sum(axis=1) + (curved * of_b * of_b).sum(axis=0)
        own += (p_a - q_a) ** 2 * turning.sum(axis=1) + (p_b - q_b) ** 2 * turning.sum(axis=0)
        bend[np.diag_indices_from(bend)] += own
        return value, gradient, bend


def expanded(objective: PairObjective, a: FloatArray, wins: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The expected loss, its gradient and its Hessian in the scores, the last perhaps from differences."""
    with np.errstate(all="ignore"):
        value, won, lost = objective.parts(a[:, None], a)
        total, gradient = float((wins * value).sum()), (wins * won).sum(axis=1) + (wins * lost).sum(axis=0)
        if objective.second:
            of_aa, of_ab, of_bb = (wins * x for x in objective.second(a[:, None], a))
        else:
            ends = [objective.parts(a[:, None] + s * STEP, a) for s in (1.0, -1.0)]
            of_aa, of_ab = ((ends[0][i] - ends[1][i]) / (2.0 * STEP) * wins for i in (1, 2))
            ends = [objective.parts(a[:, None], a + s * STEP) for s in (1.0, -1.0)]
            of_bb = (ends[0][2] - ends[1][2]) / (2.0 * STEP) * wins
    bend = of_ab + of_ab.T
    bend[np.diag_indices_from(bend)] += of_aa.sum(axis=1) + of_bb.sum(axis=0)
    return total, gradient, bend


@dataclass(frozen=True, eq=False)
class PolicyProblem:
    """An expected loss as a function of log-probabilities, with derivatives.

    Attributes
    ----------
    objective : PairObjective
    wins : ndarray, shape (n, n)
        As in `wins_with_ties`.
    reference : ndarray, shape (n,)
        Its log-probabilities; zero where scores are the policy's own.
    scale : ndarray, shape (n,)
        What log-ratios are multiplied by: one over lengths, or one.
    likelihood : ndarray, shape (n,)
        The weight of each outcome's log-probability, where it is chosen.
    relative : float
        Bound on the error of `wins`, relative to it.
    """

    objective: PairObjective
    wins: FloatArray
    reference: FloatArray
    scale: FloatArray
    likelihood: FloatArray
    relative: float

    def parts(self, log_pmf: FloatArray, kinks: Kinks | None = None) -> tuple[float, FloatArray, FloatArray]:
        """The expected loss, its gradient, and bounds of the errors of the gradient's entries."""
        a = (log_pmf - self.reference) * self.scale
        with np.errstate(all="ignore"):
            value, won, lost = kinks.parts(a) if kinks else self.objective.parts(a[:, None], a)
            won, lost = self.wins * won, self.wins * lost
            total = float((self.wins * value).sum() - self.likelihood @ log_pmf)
        # By rows, whose sums are pairwise.
        lost = np.ascontiguousarray(lost.T)
        gradient = self.scale * (won.sum(axis=1) + lost.sum(axis=1)) - self.likelihood
        both, far = np.abs(won) + np.abs(lost), np.abs(a)
        size = self.scale * both.sum(axis=1)
        terms, sums = (1.0 + far) * size + self.scale * (both @ far), size + self.likelihood
        return total, gradient, EPS * (ULPS * terms + (ULPS + np.log2(a.size)) * sums) + self.relative * sums

    def expanded(self, log_pmf: FloatArray, kinks: Kinks | None = None) -> tuple[float, FloatArray, FloatArray]:
        """The expected loss and its first two derivatives in log-probabilities, but for differences' errors."""
        a = (log_pmf - self.reference) * self.scale
        value, gradient, bend = kinks.expanded(a, self.wins) if kinks else expanded(self.objective, a, self.wins)
        value, gradient = value - float(self.likelihood @ log_pmf), self.scale * gradient - self.likelihood
        return value, gradient, bend * np.outer(self.scale, self.scale)

    def evaluate(self, theta: FloatArray, kinks: Kinks | None = None) -> tuple[float, FloatArray, FloatArray]:
        """The same of the softmax of theta, whose entries beyond the outcomes are answers that are never compared."""
        n, log_pmf = self.scale.size, theta - logsumexp(theta)
        unseen, pi = theta.size - n, np.exp(log_pmf)
        value, gradient, bend = self.expanded(log_pmf[:n], kinks)
        if unseen:
            gradient, bend = np.pad(gradient, (0, unseen)), np.pad(bend, (0, unseen))
        total, along = float(gradient.sum()), bend.sum(axis=1)
        of_both = np.outer(pi, along - 0.5 * (float(along.sum()) + total) * pi)
        hessian = bend - of_both - of_both.T
        hessian[np.diag_indices_from(hessian)] -= total * pi
        return value, gradient - total * pi, hessian

    def descended(self, start: FloatArray) -> tuple[FloatArray, Kinks | None, int]:
        """Where Newton's method ends; the kinks with their shares; steps.

        Shares are multipliers: each minimum with softened kinks moves them to where it has its derivatives, and the
        next one is nearer to the minimum with kinks. The last ones are softer again, as shares are then more precise.
        """
        branches = self.objective.branches
        if branches is None:
            theta, steps = descend(self.evaluate, start)
            return theta, None, steps
        theta, shares, steps = start, np.full(self.wins.shape, 0.5), 0
        for softness in SOFTNESS:
            kinks = Kinks(branches, shares, softness)
            theta, more = descend(lambda x, kinks=kinks: self.evaluate(x, kinks), theta)  # type: ignore[misc]
            log_pmf = (theta - logsumexp(theta))[: self.scale.size]
            shares, steps = kinks.margins((log_pmf - self.reference) * self.scale)[2], steps + more
        return theta, Kinks(branches, shares, math.inf), steps

    def bound(self, log_pmf: FloatArray, kinks: Kinks | None = None) -> tuple[float, float, float]:
        """The loss, its gap, and the total variation to the best policy; infinite and 1 where nothing is proved."""
        value, gradient, error = self.parts(log_pmf)
        rest = 0.0
        if kinks:
            _, gradient, error = self.parts(log_pmf, kinks)
            # What the loss has above that of the means: the slope at the smaller margin, times how far the mean is.
            margins, apart, t = kinks.margins((log_pmf - self.reference) * self.scale)
            above = np.where(apart > 0.0, t, t - 1.0) * apart
            rest = float((self.wins * expit(above - margins) * above).sum())
        pulls, pi = -gradient, np.exp(log_pmf)
        if not self.objective.convex:
            return value, math.inf, 1.0
        # Pulls whose sign is not known, or that rounding has moved far from a tiny probability, cost what the range of
        # log-probabilities lets them.
        cost = LEAST * (np.abs(pulls) + error)
        total = max(float(pulls[pulls > error].sum()), 1e-300)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            most, even = pulls + error, total * pi
            # What each adds to the divergence, v log v / Vπ - v + Vπ, which is at most its χ².
            parts = np.where(
                most > 2.0 * even, most * np.log(most / even) - most + even, (np.abs(pulls - even) + error) ** 2 / even
            )
        held = (pulls > error) & ~(parts > cost)
        total, left = float(pulls[held].sum()), float(pi[~held].sum())
        # Where all pulls all but vanish the point is the least of all, normalised or not.
        plain, rounding = float(cost.sum()) + rest, 64.0 * EPS * abs(value)
        if total <= 0.0:
            return value, plain + rounding, 1.0
        # What is left is at most log 1 / (1 - left) where only these are held.
        gap = float(parts[held].sum()) + total * left + float(cost[~held].sum()) + rest
        return value, min(plain, gap) + rounding, min(1.0, math.sqrt(2.0 * gap / total))

    def proved(self, log_pmf: FloatArray, kinks: Kinks | None) -> tuple[float, float, float, FloatArray]:
        """The policy, or one that is all but the same and has a better `bound`, with that in front of it.

        What pulls a rare outcome may be less than its error. A little lower, where a Newton step says, it is more than
        that, and the outcome as rare.
        """
        best = (*self.bound(log_pmf, kinks), log_pmf)
        _, gradient, error = self.parts(log_pmf, kinks)
        rare = np.flatnonzero(-gradient <= 2.0 * error)
        if self.objective.convex and best[2] > POLICY_TOLERANCE and 0.0 < float(np.exp(log_pmf[rare]).sum()) < RARE:
            bend = self.expanded(log_pmf, kinks)[2][np.ix_(rare, rare)]
            for times in (2.0, 4.0, 8.0):
                lower = log_pmf.copy()
                lower[rare] -= np.linalg.lstsq(bend, times * error[rare] + gradient[rare])[0]
                lower -= logsumexp(lower)
                best = min(best, (*self.bound(lower, kinks), lower), key=lambda each: each[1])
        return best

    def least_of_all(self, theta: FloatArray, kinks: Kinks | None) -> tuple[float, float]:
        """No less than this has any policy on more answers, and the mass that the best one leaves to these.

        Theta is where `descended` ends with one such answer. Of convex losses, and of policies that give no compared
        answer less than exp(-`LEAST`).
        """
        log_pmf = (theta - logsumexp(theta))[:-1]
        value, gradient, error = self.parts(log_pmf, kinks)
        least = value - 64.0 * EPS * abs(value)
        return least - LEAST * float((np.abs(gradient) + error).sum()), max(1.0 - float(np.exp(log_pmf).sum()), 0.0)


def descend(evaluate: Evaluate, start: FloatArray, max_steps: int = 100) -> tuple[FloatArray, int]:
    """Newton's method with a line search for a function that does not notice constants.

    Coordinates count in units of their own curvature, so that rare outcomes move as freely as others; as much of the
    identity in these units is added as descent needs.

    Examples
    --------
    >>> def bowl(x):
    ...     d = x[0] - x[1] - 1.0
    ...     return d * d, 2.0 * d * np.array([1.0, -1.0]), 2.0 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> point, steps = descend(bowl, np.zeros(2))
    >>> (point - point.mean()).round(9)
    array([ 0.5, -0.5])
    """
    point, damping, stalled = start - start.mean(), 0.0, 0
    here = evaluate(point)
    for steps in range(max_steps):
        value, gradient, hessian = here
        if not np.isfinite(hessian).all():
            return point, steps
        bends = _bends(hessian)
        # Where it bends downwards its own curvature says nothing of how far to go.
        unit = np.sqrt(bends if hessian.diagonal().min() > -1e-3 * bends.max() else np.full(bends.size, bends.max()))
        units = np.outer(unit, unit)
        scaled = hessian / units + units / float(unit @ unit)
        own = scaled.diagonal().copy()
        new = None
        while new is None and damping < 1e8:
            try:
                np.fill_diagonal(scaled, own + (damping + 1e-14))
                solved = cho_solve(cho_factor(scaled, check_finite=False), gradient / unit, check_finite=False)
                # Nobody goes further than FARTHEST; without curvature a step would have no size.
                step = np.clip(-solved, -1e200 * unit, 1e200 * unit) / unit
            except np.linalg.LinAlgError:
                damping = max(10.0 * damping, 1e-10)
                continue
            step -= step[np.argmax(unit)]
            # What hardly bends moves far, and is not to hold up the rest.
            short = np.clip(step, -FARTHEST, FARTHEST)
            step = short if gradient @ short < 0.0 else step * min(1.0, FARTHEST / max(np.abs(step).max(), 1e-300))
            found = _along(evaluate, point, step, here)
            if found is None:
                damping = max(10.0 * damping, 1e-6)
            else:
                step, new = found
        if new is None:
            return point, steps
        left, was = promised(new), promised(here)
        if new[0] >= value and left >= was:
            return point, steps
        stalled = stalled + 1 if new[0] >= value - 1e-14 * abs(value) and left > 0.25 * was else 0
        point, here, damping = point + step, new, 0.1 * damping if damping > 1e-12 else 0.0
        if stalled > 2:
            return point, steps
    return point, max_steps


def _bends(hessian: FloatArray) -> FloatArray:
    # No entry, and no gradient, over the root of two of them leaves the range of doubles.
    return np.maximum(np.abs(hessian.diagonal()), max(1e-200, 1e-200 * float(np.abs(hessian).max())))


def promised(here: tuple[float, FloatArray, FloatArray]) -> float:
    """About twice what a step may lower the value by."""
    with np.errstate(over="ignore"):
        return float((here[1] ** 2 / _bends(here[2])).sum())


def kind_of_point(here: tuple[float, FloatArray, FloatArray]) -> str:
    """What a descent that does not notice constants has ended at, by its value, gradient and Hessian.

    Examples
    --------
    >>> flat = np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> kind_of_point((1.0, np.zeros(2), flat)), kind_of_point((1.0, np.zeros(2), -flat))
    ('a local minimum', 'a stationary point')
    >>> kind_of_point((1.0, np.array([0.1, -0.1]), flat))
    'where the descent ended'
    """
    value, gradient, hessian = here
    if not promised(here) <= SETTLED * max(abs(value), float(np.abs(gradient).max())):
        return "where the descent ended"
    # The direction in which all utilities move together has no curvature.
    shifted = hessian + np.max(np.abs(hessian)) / gradient.size
    curvature = float(np.linalg.eigvalsh(shifted)[0]) if np.isfinite(shifted).all() else -math.inf
    return "a local minimum" if curvature > 0.0 else "a stationary point"


def _along(
    evaluate: Evaluate, point: FloatArray, step: FloatArray, here: tuple[float, FloatArray, FloatArray]
) -> tuple[FloatArray, tuple[float, FloatArray, FloatArray]] | None:
    """A part of the step that lowers the value, or leaves it but for rounding, and what is there."""
    value, slope, was = here[0], float(here[1] @ step), promised(here)
    part = 1.0
    for _ in range(6):
        new = evaluate(point + part * step)
        lower = new[0] <= value + 1e-4 * part * slope + 4.0 * EPS * abs(value)
        if math.isfinite(new[0]) and (lower or (new[0] <= value + 1e-13 * abs(value) and promised(new) < 0.5 * was)):
            return part * step, new
        # To the bottom of the parabola through both values.
        above = new[0] - value - part * slope
        part *= min(max(-0.5 * part * slope / above, 0.1), 0.5) if math.isfinite(above) and above > 0.0 else 0.5
    return None


def minimize_policy_loss(
    objective: PairObjective,
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    reference: FiniteDistribution | None = None,
    lengths: FloatArray | None = None,
    per_token: bool = False,
    likelihood_weight: float = 0.0,
    tolerance: float = 1e-9,
    n_starts: int = 3,
) -> Optimum:
    r"""The policy of least expected loss :math:`\ell(a, b) - \lambda \log \pi(x_w)`, of all policies on the support.

    Parameters
    ----------
    objective : PairObjective
    annotator, proposal
        Who answers, and which pairs are asked. An outcome that meets itself counts too.
    reference : FiniteDistribution, optional
        Positive. Without it scores are log-probabilities.
    lengths : array_like, shape (n,), optional
        With them the likelihood's term is per token, and if `per_token` so are the scores.
    likelihood_weight : float
        :math:`\lambda`, non-negative.
    tolerance : float
        Of the gap; the policy is to be known to within a total variation of 1e-6.
    n_starts : int
        How many points losses that are not convex are descended from.

    Returns
    -------
    Optimum
        `proof` is "divergence" where convexity proves the gap; then `unique` is True. Elsewhere `gap` is the distance
        from a lower bound, and the policy is stationary at best, which `reason` says. Where only normalisation stands
        in the way, that bound is for policies that give no answer less than exp(-1,000,000).

    Raises
    ------
    NoMinimumError
        If outcomes that are compared have their losses fall with their probability for ever.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.losses.log_ratios import sppo
    >>> p, pair = pb.FiniteDistribution.from_weights([3, 1]), pb.ProductProposal([1, 1])
    >>> found = minimize_policy_loss(sppo(1.0), pb.Annotator(p, pb.luce()), pair, reference=pb.uniform([0, 1]))
    >>> found.policy.pmf.round(4), found.unique
    (array([0.5617, 0.4383]), True)
    """
    n, weight = annotator.size, non_negative_number("likelihood_weight", likelihood_weight)
    wins = wins_with_ties(annotator, proposal)
    tokens = np.ones(n) if lengths is None else np.asarray(lengths, dtype=np.float64)
    problem = PolicyProblem(
        objective=objective,
        wins=wins,
        reference=np.zeros(n) if reference is None else reference.log_pmf,
        scale=1.0 / tokens if per_token else np.ones(n),
        likelihood=weight * wins.sum(axis=1) / tokens,
        relative=win_weights_error(annotator, proposal),
    )
    if not np.isfinite(problem.reference).all():
        raise ValueError("`reference` must be positive; got a probability of 0")
    open_ones = np.flatnonzero(wins.sum(axis=0) + wins.sum(axis=1) == 0.0)
    if open_ones.size:
        name = np.asarray(annotator.support).tolist()[int(open_ones[0])]
        raise NoMinimumError(f"{name!r:.40} is never compared: nothing says what share it gets")
    rng = np.random.default_rng(0)
    starts = [problem.reference] if objective.convex else [
        problem.reference, np.zeros(n), *(rng.normal(scale=2.0, size=n) for _ in range(n_starts - 2))
    ]  # fmt: skip
    found, beyond = [], None
    for start in starts:
        theta, kinks, steps = problem.descended(start)
        # Where all kinks are kept the reference is the best, and has them without an error.
        points = [(theta, kinks, steps), *([(problem.reference, kinks, 0)] if kinks else [])]
        found += [(*problem.proved(x - logsumexp(x), each), each, more) for x, each, more in points]
    if kinks and min(each[2] for each in found) > POLICY_TOLERANCE:
        # Where more answers would change nothing, shares that give them nothing prove it; elsewhere starts matter.
        beyond = problem.descended(np.append(problem.reference, 0.0))
        others = [(beyond[0][:-1], *beyond[1:]), (problem.reference, beyond[1], 0), problem.descended(np.zeros(n))]
        found += [(*problem.proved(x - logsumexp(x), each), each, more) for x, each, more in others]
    loss, gap, policy_error, log_pmf, kinks, _ = min(found, key=lambda each: _rank(each, tolerance))
    if np.isnan(loss):
        raise NoMinimumError(f"{objective.name!r} has no value where an answer is sure")
    proved = gap < loss - objective.floor(wins)
    if proved:
        reason = unmet(("gap", gap, tolerance), ("policy error", policy_error, POLICY_TOLERANCE))
    else:
        floor = objective.floor(wins) + weight * _least_likelihood(problem.likelihood / (weight or 1.0))
        reason = _stationary(problem, log_pmf, kinks, found)
        if objective.convex:
            lower, left = problem.least_of_all(*(beyond or problem.descended(np.append(problem.reference, 0.0)))[:2])
            floor = max(floor, lower)
            reason += f"; on more answers it would leave {left:.2g} of the mass to those never compared"
        gap = max(loss - floor, 0.0) + 64.0 * EPS * abs(loss)
    log_pmf.flags.writeable = False
    return Optimum(
        policy=FiniteDistribution(log_pmf, annotator.support),
        utilities=log_pmf,
        loss=loss,
        gap=gap,
        utility_error=math.inf,
        policy_error=policy_error,
        converged=not reason,
        unique=True if proved and not reason else None,
        proof="divergence" if proved else "dual",
        steps=sum(each[-1] for each in found),
        reason=reason,
    )


def minimize_reward_loss(objective: PairObjective, annotator: PreferenceModel, proposal: Proposal) -> Optimum:
    r"""The rewards of least expected loss, of a convex loss that also says where they lie, and their softmax.

    The loss is strongly convex with a modulus that its Hessian has everywhere: that of the pull towards zero.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.losses.log_ratios import centred
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> found = minimize_reward_loss(centred(0.1), annotator, pb.ProductProposal([1, 1]))
    >>> np.diff(found.utilities).round(3), found.converged  # less than log 3: ties pull as well
    (array([-0.564]), True)
    """
    n = annotator.size
    wins = wins_with_ties(annotator, proposal)
    zeros, relative = np.zeros(n), win_weights_error(annotator, proposal)
    problem = PolicyProblem(objective, wins, zeros, np.ones(n), zeros, relative)

    # One more coordinate, which is taken off the others, makes the loss one that does not notice constants.
    lift = np.hstack([np.eye(n), -np.ones((n, 1))])

    def evaluate(x: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        rewards = lift @ x
        value, gradient, _ = problem.parts(rewards)
        return value, lift.T @ gradient, lift.T @ expanded(objective, rewards, wins)[2] @ lift

    x, steps = descend(evaluate, np.zeros(n + 1))
    rewards = lift @ x
    loss, gradient, errors = problem.parts(rewards)
    # At margins without end the logistic part has no curvature left.
    modulus = 0.99 * float(np.linalg.eigvalsh(expanded(objective, zeros, wins)[2] - _logistic(wins))[0])
    error = float(np.linalg.norm(np.abs(gradient) + errors))
    if modulus <= 0.0:
        raise NoMinimumError("`proposal` must hold all rewards in place: some may move together without a loss")
    gap = error * error / (2.0 * modulus) + 64.0 * EPS * abs(loss)
    rewards.flags.writeable = False
    certificate = Certificate(gap, error, modulus, np.zeros(n, int), 2.0 * error / modulus)
    reason = unmet(("gap", gap, 1e-9), ("utility error", certificate.utility_error, 1e-8))
    return with_luce_policy(rewards, annotator, loss, certificate, steps, reason)


def _logistic(wins: FloatArray) -> FloatArray:
    """What the logistic part bends by at zero."""
    quarter = 0.25 * (wins + wins.T)
    return np.asarray(np.diag(quarter.sum(axis=1)) - quarter)


def _least_likelihood(weights: FloatArray) -> float:
    """The least value of the likelihood's term alone, an entropy."""
    held = weights[weights > 0.0]
    return float(-(held @ np.log(held / held.sum()))) if held.size else 0.0


def _rank(found: tuple[Any, ...], tolerance: float) -> tuple[bool, float]:
    """What is proved comes first, and of that what is known best."""
    loss, gap, policy_error = found[:3]
    return gap > tolerance, loss if gap > tolerance else policy_error


def _stationary(problem: PolicyProblem, log_pmf: FloatArray, kinks: Kinks | None, found: list[Any]) -> str:
    """What is known of a policy that nothing proves to be the best."""
    here = problem.evaluate(log_pmf, kinks)
    kind, gradient = kind_of_point(here), here[1]
    values = sorted({round(each[0], 9) for each in found})
    why = "its loss is not convex" if not problem.objective.convex else "normalisation holds it from below"
    others = f", other starts led to losses up to {values[-1]:.6g}" if len(values) > 1 else ""
    return f"{kind}, with a gradient of {float(np.abs(gradient).max()):.0e}: {why}{others}"
