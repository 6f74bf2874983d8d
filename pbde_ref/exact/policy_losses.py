r"""Where losses of two scores lead: the best policy of a finite support, with a gap that convexity proves.

With :math:`s = \log \pi` the expected loss :math:`F(s) = \sum_{A, B} c_{AB}\, \ell(s_A, s_B) - \lambda \sum_x w_x s_x`
is least among all s with :math:`\sum_x e^{s_x} = 1`. Let :math:`v = -\nabla F(s) \ge 0` and :math:`V = \sum_x v_x`. If
:math:`\ell` is convex,

.. math:: F(s') - F(s) \ge V\, [D_{KL}(v / V \,\|\, \pi') - D_{KL}(v / V \,\|\, \pi)],

so that the gap is at most the second term, and no other policy is as good as one where it vanishes. Where rounding
hides the sign of some entries of v, they enter with the range of log-probabilities: a bound for policies that give no
answer less than exp(-1,000,000).
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
from pbde_ref.numerics import EPS, logsumexp
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, non_negative_number

__all__ = ["PolicyProblem", "descend", "minimize_policy_loss", "minimize_reward_loss", "wins_with_ties"]

POLICY_TOLERANCE = 1e-6
# Kinks are softened by so many nats, one after the other; the last one stays in the bound.
SOFTNESS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
# Each derivative is a few rounded operations on numbers of the size of its argument.
ULPS = 32.0
# Of what derivatives are differenced by for second ones, which only steer.
STEP = 1e-5
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

    def parts(self, log_pmf: FloatArray, softness: float) -> tuple[float, FloatArray, FloatArray]:
        """The expected loss, its gradient, and the size of what the gradient's entries are sums of."""
        a = (log_pmf - self.reference) * self.scale
        with np.errstate(all="ignore"):
            value, won, lost = self.objective.parts(a[:, None], a[None, :], softness)
            won, lost = self.wins * won, self.wins * lost
            total = float((self.wins * value).sum() - self.likelihood @ log_pmf)
        gradient = self.scale * (won.sum(axis=1) + lost.sum(axis=0)) - self.likelihood
        size = self.scale * (np.abs(won).sum(axis=1) + np.abs(lost).sum(axis=0)) * (1.0 + np.abs(a)) + self.likelihood
        return total, gradient, size

    def evaluate(self, theta: FloatArray, softness: float) -> tuple[float, FloatArray, FloatArray]:
        """The expected loss of the softmax of theta, its gradient, and its Hessian but for the differences' error.

        Entries of theta beyond the outcomes are those of answers that are never compared.
        """
        n, log_pmf = self.scale.size, theta - logsumexp(theta)
        unseen, pi, log_pmf = theta.size - n, np.exp(log_pmf), log_pmf[:n]
        a = (log_pmf - self.reference) * self.scale
        value, gradient, _ = self.parts(log_pmf, softness)
        step = np.maximum(STEP * softness, 1e-12) if softness else STEP
        with np.errstate(all="ignore"):
            ends = [self.objective.parts(a[:, None] + s * step, a[None, :], softness) for s in (1.0, -1.0)]
            of_aa, of_ab = ((ends[0][i] - ends[1][i]) / (2.0 * step) * self.wins for i in (1, 2))
            ends = [self.objective.parts(a[:, None], a[None, :] + s * step, softness) for s in (1.0, -1.0)]
            of_bb = (ends[0][2] - ends[1][2]) / (2.0 * step) * self.wins
        bend = of_ab + of_ab.T
        bend[np.diag_indices_from(bend)] += of_aa.sum(axis=1) + of_bb.sum(axis=0)
        bend = np.pad(bend * np.outer(self.scale, self.scale), (0, unseen))
        gradient = np.pad(gradient, (0, unseen))
        total, along = float(gradient.sum()), bend.sum(axis=1)
        hessian = bend - np.outer(pi, along) - np.outer(along, pi) + float(along.sum()) * np.outer(pi, pi)
        hessian += total * (np.outer(pi, pi) - np.diag(pi))
        return value, gradient - total * pi, hessian

    def bound(self, log_pmf: FloatArray, softness: float) -> tuple[float, float, float]:
        """The loss, its gap, and the total variation to the best policy; infinite and 1 where nothing is proved."""
        value, _, _ = self.parts(log_pmf, 0.0)
        _, gradient, size = self.parts(log_pmf, softness)
        error = (self.relative + ULPS * EPS * (1.0 + np.log2(log_pmf.size))) * size
        pulls, pi = -gradient, np.exp(log_pmf)
        if not self.objective.convex:
            return value, math.inf, 1.0
        # Pulls whose sign is not known, or that rounding has moved far from a tiny probability, cost what the range of
        # log-probabilities lets them.
        cost = LEAST * (np.abs(pulls) + error)
        total = max(float(pulls[pulls > error].sum()), 1e-300)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            parts = (np.abs(pulls - total * pi) + error) ** 2 / (total * pi)
        held = (pulls > error) & ~(parts > cost)
        total, left = float(pulls[held].sum()), float(pi[~held].sum())
        rest = self.objective.slack * softness * float(self.wins.sum()) + 64.0 * EPS * abs(value)
        # Where all pulls all but vanish the point is the least of all, normalised or not.
        plain = float(cost.sum()) + rest
        if total <= 0.0:
            return value, plain, 1.0
        # The divergence of v / V from π is at most its χ², and log 1 / (1 - left) where only these are held.
        parts = (np.abs(pulls - total * pi) + error)[held] ** 2 / (total * pi[held])
        gap = float(parts.sum()) + total * left + float(cost[~held].sum())
        gap += rest - 64.0 * EPS * abs(value)
        return value, min(plain, gap + 64.0 * EPS * abs(value)), min(1.0, math.sqrt(2.0 * gap / total))

    def least_of_all(self, softness: float) -> tuple[float, float]:
        """No less than this has any policy on more answers, and the mass that the best one leaves to these.

        Of convex losses, and of policies that give no compared answer less than exp(-`LEAST`).
        """
        start = np.append(self.reference, 0.0)
        theta, _ = descend(lambda x: self.evaluate(x, softness), start)
        log_pmf = (theta - logsumexp(theta))[:-1]
        value, gradient, size = self.parts(log_pmf, softness)
        error = (self.relative + ULPS * EPS * (1.0 + np.log2(log_pmf.size))) * size
        least = value - self.objective.slack * softness * float(self.wins.sum()) - 64.0 * EPS * abs(value)
        return least - LEAST * float((np.abs(gradient) + error).sum()), 1.0 - float(np.exp(log_pmf).sum())


def descend(evaluate: Evaluate, start: FloatArray, max_steps: int = 100) -> tuple[FloatArray, int]:
    """Newton's method for a function that does not notice constants, with as much of the identity as descent needs.

    Examples
    --------
    >>> def bowl(x):
    ...     d = x[0] - x[1] - 1.0
    ...     return d * d, 2.0 * d * np.array([1.0, -1.0]), 2.0 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> point, steps = descend(bowl, np.zeros(2))
    >>> point.round(9)
    array([ 0.5, -0.5])
    """
    point, damping, stalled = start - start.mean(), 0.0, 0
    value, gradient, hessian = evaluate(point)
    for steps in range(max_steps):
        largest = max(float(np.abs(hessian).max()), 1e-300)
        shift = hessian + largest / point.size
        step = None
        while step is None:
            try:
                shifted = shift + (damping + 1e-15) * largest * np.eye(point.size)
                step = -cho_solve(cho_factor(shifted, check_finite=False), gradient, check_finite=False)
            except np.linalg.LinAlgError:
                damping = max(10.0 * damping, 1e-12)
        step -= step.mean()
        step *= min(1.0, 20.0 / max(float(np.abs(step).max()), 1e-300))
        new = evaluate(point + step)
        if math.isfinite(new[0]) and (
            new[0] < value or (new[0] <= value + 1e-13 * abs(value) and np.abs(new[1]).sum() < np.abs(gradient).sum())
        ):
            stalled = stalled + 1 if np.abs(new[1]).sum() > 0.5 * np.abs(gradient).sum() and new[0] >= value else 0
            point, (value, gradient, hessian) = point + step, new
            damping = 0.1 * damping if damping > 1e-14 else 0.0
        else:
            if damping > 1e8 or np.abs(step).max() < 4.0 * EPS * (1.0 + np.abs(point).max()):
                return point, steps
            damping = max(10.0 * damping, 1e-8)
        if stalled > 3:
            return point, steps
    return point, max_steps


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
    softness = SOFTNESS if objective.slack else (0.0,)
    found = []
    for start in starts:
        theta, steps = start, 0
        for soft in softness:
            theta, more = descend(lambda x, soft=soft: problem.evaluate(x, soft), theta)  # type: ignore[misc]
            steps += more
        log_pmf = theta - logsumexp(theta)
        found.append((*problem.bound(log_pmf, softness[-1]), log_pmf, steps))
    loss, gap, policy_error, log_pmf, _ = min(found, key=lambda each: each[0])
    proved = gap < loss - objective.floor(wins)
    if proved:
        reason = unmet(("gap", gap, tolerance), ("policy error", policy_error, POLICY_TOLERANCE))
    else:
        floor = objective.floor(wins) + weight * _least_likelihood(problem.likelihood / (weight or 1.0))
        reason = _stationary(problem, log_pmf, softness[-1], found)
        if objective.convex:
            lower, left = problem.least_of_all(softness[-1])
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

    def bend(rewards: FloatArray) -> FloatArray:
        a, b = rewards[:, None], rewards[None, :]
        ends = [objective.parts(a + s * STEP, b, 0.0) for s in (1.0, -1.0)]
        of_aa, of_ab = ((ends[0][i] - ends[1][i]) / (2.0 * STEP) * wins for i in (1, 2))
        ends = [objective.parts(a, b + s * STEP, 0.0) for s in (1.0, -1.0)]
        of_bb = (ends[0][2] - ends[1][2]) / (2.0 * STEP) * wins
        return np.asarray(of_ab + of_ab.T + np.diag(of_aa.sum(axis=1) + of_bb.sum(axis=0)))

    # One more coordinate, which is taken off the others, makes the loss one that does not notice constants.
    lift = np.hstack([np.eye(n), -np.ones((n, 1))])

    def evaluate(x: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        rewards = lift @ x
        value, gradient, _ = problem.parts(rewards, 0.0)
        return value, lift.T @ gradient, lift.T @ bend(rewards) @ lift

    x, steps = descend(evaluate, np.zeros(n + 1))
    rewards = lift @ x
    loss, gradient, size = problem.parts(rewards, 0.0)
    # At margins without end the logistic part has no curvature left.
    modulus = 0.99 * float(np.linalg.eigvalsh(bend(np.zeros(n)) - _logistic(wins))[0])
    error = float(np.linalg.norm(np.abs(gradient) + (relative + ULPS * EPS * n) * size))
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


def _stationary(problem: PolicyProblem, log_pmf: FloatArray, softness: float, found: list[Any]) -> str:
    """What is known of a policy that nothing proves to be the best."""
    _, gradient, hessian = problem.evaluate(log_pmf, softness)
    # The direction in which all utilities move together has no curvature.
    curvature = float(np.linalg.eigvalsh(hessian + np.max(np.abs(hessian)) / log_pmf.size)[0])
    kind = "a local minimum" if curvature > 0.0 else "a stationary point"
    values = sorted({round(each[0], 9) for each in found})
    why = "its loss is not convex" if not problem.objective.convex else "normalisation holds it from below"
    others = f", other starts led to losses up to {values[-1]:.6g}" if len(values) > 1 else ""
    return f"{kind}, with a gradient of {float(np.abs(gradient).max()):.0e}: {why}{others}"
