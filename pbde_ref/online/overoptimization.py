r"""What becomes of the true reward while a policy is optimised for another one.

Along :math:`\pi_\lambda \propto \pi_{pre}\, e^{\lambda r}`, the optima of Eq. (12) for a proxy reward r with
:math:`\lambda = 1 / \beta`, and along the best of N for r. Proof: ``proofs/overoptimization.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, kl_divergence, tilt
from pbde_ref.validation import FloatArray, instance, reject, vector, whole_number

__all__ = ["Overoptimization", "best_of_n_rewards", "overoptimization"]


@dataclass(frozen=True, eq=False)
class Overoptimization(Shown):
    r"""The true reward along the path of a proxy.

    Attributes
    ----------
    initial_slope : float
        :math:`\frac{d}{d\lambda} E_\lambda[g]` at :math:`\lambda = 0`: the covariance of both rewards under the
        reference.
    at_start, at_end : float
        Expected true reward of the reference, and for :math:`\lambda \to \infty`.
    turns : ndarray, shape (k,)
        :math:`\lambda > 0` where it changes between rising and falling, as far as found, rising.
    rewards : ndarray, shape (k,)
        Expected true reward there.
    divergences : ndarray, shape (k,)
        :math:`D_{KL}(\pi_\lambda \,\|\, \pi_{pre})` there, in nats.
    most_turns : int
        Proved upper bound on the number of turns; where as many were found, there are no others.
    eventually_falls : bool or None
        Whether it falls for all large :math:`\lambda`: whether the true reward of the proxy's best outcomes is below
        that of its second best; None where these are equal.
    """

    initial_slope: float
    at_start: float
    at_end: float
    turns: FloatArray
    rewards: FloatArray
    divergences: FloatArray
    most_turns: int
    eventually_falls: bool | None

    @property
    def all_found(self) -> bool:
        """Whether there are no other turns."""
        return self.most_turns == self.turns.size


def overoptimization(
    reference: FiniteDistribution, proxy_rewards: ArrayLike, true_rewards: ArrayLike
) -> Overoptimization:
    r"""When the true reward rises, when it falls, and how often it turns as KL control is relaxed.

    .. math:: \frac{d}{d\lambda} E_\lambda[g] = \operatorname{Cov}_\lambda(r, g)
              \propto \sum_{x < y} \pi_{pre}(x) \pi_{pre}(y)\, (r_x - r_y)(g_x - g_y)\, e^{\lambda (r_x + r_y)}

    By Descartes' rule for sums of exponentials there are at most as many zeros as the coefficients, in the order of
    :math:`r_x + r_y`, change sign; for positive :math:`\lambda`, as their sums from the top do. If the true reward of
    the proxy's levels turns once, the one along the path turns at most once.

    Parameters
    ----------
    reference : FiniteDistribution
        :math:`\pi_{pre}`; outcomes of probability zero play no part.
    proxy_rewards : array_like, shape (n,)
        r, finite.
    true_rewards : array_like, shape (n,)
        g, finite.

    Examples
    --------
    Three outcomes: the proxy's best is a bad one.

    >>> import pbde_ref as pb
    >>> from pbde_ref.online import overoptimization
    >>> found = overoptimization(pb.uniform("abc"), [0, 1, 2], [0, 3, 1])
    >>> found.turns.round(4), found.all_found, found.eventually_falls
    (array([0.6004]), True, True)
    >>> found.initial_slope > 0, found.rewards.round(3), found.at_end
    (True, array([1.431]), 1.0)
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    proxy, true = _finite(reference, proxy_rewards=proxy_rewards, true_rewards=true_rewards)
    weights, levels, means = _levels(reference, proxy, true)
    powers, coefficients = _pair_sums(weights, levels, means)
    most = _most_turns(coefficients, means)
    turns = _roots(powers, coefficients) if most else np.zeros(0)
    along = [tilt(reference, proxy, 1.0 / turn) for turn in turns]
    last = float(means[-1] - means[-2]) if means.size > 1 else 0.0
    return Overoptimization(
        initial_slope=float(coefficients.sum()),
        at_start=float(weights @ means),
        at_end=float(means[-1]),
        turns=turns,
        rewards=np.array([p.expectation(true) for p in along]),
        divergences=np.array([kl_divergence(p, reference) for p in along]),
        most_turns=most,
        eventually_falls=None if last == 0.0 else last < 0.0,
    )


def _finite(reference: FiniteDistribution, **rewards: ArrayLike) -> list[FloatArray]:
    result = []
    for name, given in rewards.items():
        values = vector(name, given, size=len(reference))
        reject(name, "finite", values, ~np.isfinite(values))
        result.append(values)
    return result


def _levels(
    reference: FiniteDistribution, proxy: FloatArray, true: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Probability of each value of the proxy, these values, and the mean true reward there."""
    held = reference.pmf > 0.0
    levels, place = np.unique(proxy[held], return_inverse=True)
    weights: FloatArray = np.bincount(place, reference.pmf[held]).astype(float)
    return weights, levels, np.asarray(np.bincount(place, reference.pmf[held] * true[held]) / weights)


def _pair_sums(weights: FloatArray, levels: FloatArray, means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sums of two levels, rising, and the coefficients of the slope."""
    x, y = np.triu_indices(levels.size, 1)
    terms = weights[x] * weights[y] * (levels[x] - levels[y]) * (means[x] - means[y])
    powers, place = np.unique(levels[x] + levels[y], return_inverse=True)
    return powers, np.bincount(place, terms, minlength=powers.size).astype(float)


def _sign_changes(values: FloatArray) -> int:
    signs = np.sign(values[values != 0.0])
    return int((signs[1:] != signs[:-1]).sum())


def _is_unimodal(means: FloatArray) -> bool:
    """Whether the means of the levels rise and then fall, or fall and then rise; or only one of both."""
    return _sign_changes(np.diff(means)) <= 1


def _most_turns(coefficients: FloatArray, means: FloatArray) -> int:
    """Proved upper bound on the changes of sign of the slope for positive strengths."""
    tails = np.cumsum(coefficients[::-1])[::-1]
    bounds = [_sign_changes(coefficients), _sign_changes(tails), *([1] if _is_unimodal(means) else [])]
    # Between equal signs at both ends their number is even, between different ones odd.
    ends = np.sign(tails[:1].sum()) * np.sign(coefficients[coefficients != 0.0][-1:].sum())
    return max(min(b - (b % 2 == (1 if ends > 0.0 else 0)) if ends else b for b in bounds), 0)


def _slope(powers: FloatArray, coefficients: FloatArray, strength: float) -> float:
    """The slope up to a positive factor, from the largest exponential."""
    return float(coefficients @ np.exp(strength * (powers - powers[-1])))


def _roots(powers: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Where the slope changes sign, of 4,000 strengths that cover all scales of the rewards."""
    spread = float(np.ptp(powers)) or 1.0
    tried = np.append(0.0, np.geomspace(1e-6, 1e4, 4000) / spread)
    values = np.array([_slope(powers, coefficients, at) for at in tried])
    found = np.flatnonzero(np.sign(values[1:]) * np.sign(values[:-1]) < 0.0)
    return np.array(
        [brentq(lambda at: _slope(powers, coefficients, at), tried[i], tried[i + 1], xtol=1e-14) for i in found]
    )


def best_of_n_rewards(
    reference: FiniteDistribution, proxy_rewards: ArrayLike, true_rewards: ArrayLike, most: int
) -> FloatArray:
    r"""Expected true reward of the best of N by the proxy, for N = 1, …, most.

    .. math:: E_N[g] = g_K - \sum_{k < K} (g_{k + 1} - g_k)\, F_k^N

    for the levels of the proxy, of mean true rewards :math:`g_k` and cumulated probabilities :math:`F_k`. It turns at
    most as often as :math:`g_k` does along the levels.

    Parameters
    ----------
    reference, proxy_rewards, true_rewards
        As for `overoptimization`.
    most : int
        From 1 to 1,000,000.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.online import best_of_n_rewards
    >>> best_of_n_rewards(pb.uniform("abc"), [0, 1, 2], [0, 3, 1], 4).round(3)
    array([1.333, 1.556, 1.481, 1.358])
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    most = whole_number("most", most, least=1, most=1_000_000)
    proxy, true = _finite(reference, proxy_rewards=proxy_rewards, true_rewards=true_rewards)
    weights, _, means = _levels(reference, proxy, true)
    cumulated = np.minimum(np.cumsum(weights)[:-1], 1.0)
    result = np.full(most, means[-1])
    for below, step in zip(cumulated, np.diff(means), strict=True):
        result -= step * below ** np.arange(1.0, most + 1.0)
    return result
