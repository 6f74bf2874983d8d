r"""Best of N: the law of the best of N draws from a reference policy, exactly, ties included."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.numerics import logsumexp, weighted
from pbde_ref.validation import FloatArray, instance, vector, whole_number

__all__ = ["BestOfN", "best_of_n"]


@dataclass(frozen=True, eq=False)
class BestOfN(Shown):
    r"""The best of N draws, and how far it is from one.

    Attributes
    ----------
    policy : FiniteDistribution
        Its law.
    kl : float
        :math:`D_{KL}(\pi_N \,\|\, \pi_{ref})`, in nats.
    kl_bound : float
        :math:`\log N - (N - 1) / N`: what `kl` would be if no two draws ever had the same reward, which finite supports
        do not allow; it is never exceeded, and reached for N = 1 only.
    win_rate : float
        Probability that it has a greater reward than one draw from the reference, ties counted by half; at most
        :math:`N / (N + 1)`.
    tilted : FiniteDistribution
        :math:`\pi_{ref} F^{N - 1} / Z`, the optimum of Eq. (12) for the reward log F at :math:`\beta = 1 / (N - 1)`,
        where F(x) is the probability that a draw has no greater reward than x, ties counted by half. What `policy`
        tends to as atoms become small.
    """

    policy: FiniteDistribution
    kl: float
    kl_bound: float
    win_rate: float
    tilted: FiniteDistribution


def best_of_n(reference: FiniteDistribution, rewards: ArrayLike, n: int) -> BestOfN:
    r"""The law of the best of N independent draws from the reference.

    .. math:: \pi_N(x) = \frac{\pi_{ref}(x)}{m_x} \left[F_x^N - (F_x - m_x)^N\right]

    :math:`F_x` is the probability of a reward of at most r(x), :math:`m_x` that of exactly r(x). Among draws that tie,
    each is as likely to be taken.

    Parameters
    ----------
    reference : FiniteDistribution
        :math:`\pi_{ref}`; outcomes of probability zero keep it.
    rewards : array_like, shape (n,)
        Compared with each other, nothing else; -inf and +inf are allowed.
    n : int
        N, from 1 to 10**15.

    Raises
    ------
    ValueError
        If sizes differ or `n` is out of range.

    Notes
    -----
    Probabilities have small relative error, also where N is large or an outcome is hardly ever the best.
    Proof: ``proofs/best_of_n.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import best_of_n
    >>> best = best_of_n(pb.FiniteDistribution.from_weights([1, 2, 1]), [0.0, 1.0, 1.0], 2)
    >>> best.policy.pmf  # the two that tie share 15/16
    array([0.0625, 0.625 , 0.3125])
    >>> best.win_rate, best.kl < best.kl_bound
    (0.59375, True)
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    rewards = vector("rewards", rewards, size=len(reference))
    n = whole_number("n", n, least=1, most=10**15)
    _, level = np.unique(rewards, return_inverse=True)
    log_mass = np.full(int(level.max()) + 1, -np.inf)
    for i in range(log_mass.size):
        log_mass[i] = logsumexp(reference.log_pmf[level == i])
    log_at_most = _log_cumulated(log_mass)
    log_below = np.append(-np.inf, log_at_most[:-1])
    possible = log_mass > -np.inf
    law = np.full(log_mass.size, -np.inf)
    share = np.exp(np.minimum(log_mass - np.where(possible, log_at_most, 0.0), 0.0))
    with np.errstate(divide="ignore", over="ignore"):
        # F^N − (F − m)^N = F^N [1 − (1 − m / F)^N].
        log_rest = np.where(share > 0.5, log_below - np.where(possible, log_at_most, 0.0), np.log1p(-share))
        law[possible] = (n * log_at_most + np.log(-np.expm1(n * log_rest)))[possible]
        middle = np.logaddexp(np.log(0.5) + log_mass, log_below)
        tilted = reference.log_pmf + ((n - 1) * middle[level] if n > 1 else 0.0)
    # Within a level the best of N is as likely as a draw from the reference.
    gain = np.where(possible, law - np.where(possible, log_mass, 0.0), 0.0)
    return BestOfN(
        policy=FiniteDistribution(reference.log_pmf + gain[level], reference.support),
        kl=max(float(weighted(np.exp(law), gain).sum()), 0.0),
        kl_bound=math.log(n) - (n - 1) / n,
        win_rate=float(weighted(np.exp(law), np.exp(middle)).sum()),
        tilted=FiniteDistribution(tilted, reference.support),
    )


def _log_cumulated(log_mass: FloatArray) -> FloatArray:
    """Logs of cumulated sums: from below, and where these are near 1 from what is left above."""
    from_below = np.logaddexp.accumulate(log_mass)
    above = np.append(np.logaddexp.accumulate(log_mass[::-1])[::-1][1:], -np.inf)
    near = above < math.log(0.5)
    return np.where(near, np.log1p(-np.exp(np.where(near, above, -1.0))), from_below)
