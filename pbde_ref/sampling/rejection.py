"""Draws from an optimal policy by rejection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.numerics import logsumexp
from pbde_ref.sampling.outcomes import draw_outcomes, random_generator
from pbde_ref.validation import IndexArray, instance, positive_number, reject, vector, whole_number

__all__ = ["RejectionSample", "sample_optimal_policy"]

LEAST_ACCEPTANCE = 1e-8


@dataclass(frozen=True, eq=False)
class RejectionSample:
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
    accepted: list[IndexArray] = []
    missing, proposed = size, 0
    while missing > 0:
        batch = min(int(1.1 * missing / acceptance) + 16, 1 << 22)
        drawn = draw_outcomes(reference.pmf, batch, generator)
        kept = np.flatnonzero(generator.random(batch) < accept[drawn])[:missing]
        proposed += int(kept[-1]) + 1 if kept.size == missing else batch
        accepted.append(drawn[kept])
        missing -= kept.size
    return RejectionSample(np.concatenate([np.empty(0, dtype=np.intp), *accepted]), proposed, acceptance)
