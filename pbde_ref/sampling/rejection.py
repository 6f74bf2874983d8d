"""Draws from an optimal policy by rejection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.numerics import logsumexp
from pbde_ref.sampling.outcomes import draw_outcomes, random_generator
from pbde_ref.validation import IndexArray, instance, positive_number, reject, vector, whole_number

__all__ = ["RejectionSample", "rso_distribution", "sample_optimal_policy"]

LEAST_ACCEPTANCE = 1e-8


@dataclass(frozen=True, eq=False)
class RejectionSample(Shown):
    """Draws from an optimal policy.

    Attributes
    ----------
    outcomes : ndarray of int, shape (m,)
    proposed : int
        Draws from the reference that it took.
    acceptance : float
        The expected share of them that is accepted.
    """

    outcomes: IndexArray
    proposed: int
    acceptance: float


def sample_optimal_policy(
    reference: FiniteDistribution, rewards: ArrayLike, beta: float, size: int, *, rng: Any = None
) -> RejectionSample:
    r"""Draw from the policy of Eq. (13) by statistical rejection sampling from the reference, as RSO does.

    A draw :math:`x \sim \pi_{pre}` is accepted with probability :math:`e^{(r(x) - \max r) / \beta}`; what is accepted
    has exactly the distribution :math:`\pi \propto \pi_{pre}\, e^{r / \beta}`.

    Parameters
    ----------
    reference : FiniteDistribution
        :math:`\pi_{pre}`.
    rewards : array_like, shape (n,)
        Finite, or -inf for outcomes to exclude. The maximum is over the outcomes that the reference has.
    beta : float
        Positive.
    size : int
        Number of accepted draws; may be 0.
    rng : numpy.random.Generator or seed, optional

    Raises
    ------
    ValueError
        If fewer than one draw in 10^8 would be accepted; the message names the share.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> sample = pb.sample_optimal_policy(pb.uniform([0, 1]), [0.0, float("-inf")], 1.0, size=3, rng=0)
    >>> sample.outcomes, sample.acceptance
    (array([0, 0, 0]), 0.5)
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    rewards = vector("rewards", rewards, size=len(reference))
    reject("rewards", "below +inf", rewards, np.isposinf(rewards))
    beta, size, generator = positive_number("beta", beta), whole_number("size", size), random_generator(rng)
    # Not `pmf > 0`: a probability that underflows may carry all of the optimal policy.
    largest = rewards[reference.log_pmf > -np.inf].max()
    if np.isneginf(largest):
        raise ValueError("`rewards` must be finite at an outcome of positive probability; got -inf at all of them")
    with np.errstate(over="ignore"):
        log_accept = np.minimum((rewards - largest) / beta, 0.0)
    log_acceptance = float(logsumexp(reference.log_pmf + log_accept))
    if log_acceptance < math.log(LEAST_ACCEPTANCE):
        share = f"{math.exp(log_acceptance):.2g}" if log_acceptance > -700.0 else f"exp({log_acceptance:.4g})"
        raise ValueError(f"`beta` must leave an acceptance of at least 1e-8; got {share} for beta = {beta}")
    accept, acceptance = np.exp(log_accept), min(math.exp(log_acceptance), 1.0)
    # What does not fit into memory is better known now.
    accepted: IndexArray = np.empty(size, dtype=np.intp)
    missing, proposed = size, 0
    while missing > 0:
        batch = min(int(1.1 * missing / acceptance) + 16, 1 << 22)
        drawn = draw_outcomes(reference.pmf, batch, generator)
        kept = np.flatnonzero(generator.random(batch) < accept[drawn])[:missing]
        proposed += int(kept[-1]) + 1 if kept.size == missing else batch
        accepted[size - missing : size - missing + kept.size] = drawn[kept]
        missing -= kept.size
    return RejectionSample(accepted, proposed, acceptance)


def rso_distribution(
    reference: FiniteDistribution, rewards: ArrayLike, beta: float, candidates: int
) -> FiniteDistribution:
    r"""The law of what RSO's sampler keeps first of a finite number of candidates.

    N candidates are drawn from :math:`\pi_{pre}` and tried in turn, each accepted with probability
    :math:`e^{(r - R) / \beta}`, R the largest reward *among the candidates*, as Liu et al. (2023b) compute it. With
    :math:`\alpha_R = \sum_{r \le R} \pi_{pre}\, e^{(r - R) / \beta}`, :math:`F_R` the reference's mass where
    :math:`r \le R`, and :math:`\alpha_R^-, F_R^-` the same where :math:`r < R`,

    .. math:: P(x) = \pi_{pre}(x) \sum_{R \ge r(x)} e^{(r(x) - R) / \beta} \Big[
              \frac{F_R^N - (F_R - \alpha_R)^N}{\alpha_R} - [r(x) < R]
              \frac{(F_R^-)^N - (F_R^- - \alpha_R^-)^N}{\alpha_R^-} \Big]

    Parameters
    ----------
    reference : FiniteDistribution
        Positive everywhere.
    rewards : array_like, shape (n,)
        Finite.
    beta : float
        Positive.
    candidates : int
        N, at least 1.

    Notes
    -----
    One candidate is the reference itself; for :math:`N \to \infty` the law tends to Eq. (13). It is no farther from it
    in total variation than the probability that no candidate has the greatest reward. Proof:
    ``proofs/rejection_sampling.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> [pb.rso_distribution(pb.uniform([0, 1]), [0.0, 3.0], 1.0, n).pmf.round(4) for n in (1, 2, 100)]
    [array([0.5, 0.5]), array([0.2624, 0.7376]), array([0.0474, 0.9526])]
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    reject("reference", "positive everywhere", reference.pmf, reference.pmf == 0.0)
    rewards = vector("rewards", rewards, size=len(reference))
    reject("rewards", "finite", rewards, ~np.isfinite(rewards))
    beta, candidates = positive_number("beta", beta), whole_number("candidates", candidates, least=1)
    mass, result = reference.pmf, np.zeros(len(reference))
    for level in np.unique(rewards):
        with np.errstate(over="ignore"):
            accept = np.exp(np.minimum((rewards - level) / beta, 0.0))
        for included, sign in ((rewards <= level, 1.0), (rewards < level, -1.0)):
            result += sign * np.where(included, accept * _first(mass[included], accept[included], candidates), 0.0)
    return FiniteDistribution.from_weights(np.maximum(mass * result, 0.0), reference.support)


def _first(mass: NDArray[np.float64], accept: NDArray[np.float64], candidates: int) -> float:
    """Sum over the candidates' places of the chance that all lie in a set and none before is accepted."""
    inside, accepted = float(mass.sum()), float(mass @ accept)
    share = min(accepted / inside, 1.0) if inside > 0.0 else 0.0
    if share == 0.0:
        return candidates * inside ** (candidates - 1)
    none = candidates * math.log1p(-share) if share < 1.0 else -math.inf
    return inside ** (candidates - 1) * -math.expm1(none) / share
