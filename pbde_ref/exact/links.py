r"""Where losses lead that put another function in the place of the logarithm: the policy of given utilities.

The expected loss is that of Eq. (1) for the utilities :math:`\beta h(\log \pi / \pi_{pre})`, h rising; these are known
up to a constant C, and :math:`\sum_x \pi_{pre}(x)\, e^{h^{-1}((\Omega_x + C) / \beta)}` rises with it: one policy has
them, if any has. Proof: ``proofs/links.md``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.exact.selection import win_weights
from pbde_ref.losses.log_ratios import Link
from pbde_ref.numerics import EPS, logsumexp, softplus
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = ["clipped", "linked_policy", "with_linked_policy"]

# Log-ratios beyond are none.
FAR = 800.0


def linked_policy(
    utilities: FloatArray, log_pre: FloatArray, tokens: FloatArray, beta: float, of: Link
) -> FloatArray | None:
    r"""The logarithm of the policy with :math:`\beta h(s) = \Omega + C`, or None if there is none.

    Parameters
    ----------
    utilities : ndarray, shape (n,)
        :math:`\Omega`, finite.
    log_pre, tokens : ndarray, shape (n,)
        :math:`s = (\log \pi - \log \pi_{pre}) / |x|`: the reference's log-probabilities, or zeros; lengths, or ones.
    beta : float
    of : Link

    Examples
    --------
    >>> from pbde_ref.losses.log_ratios import link
    >>> even, ones = np.log([0.5, 0.5]), np.ones(2)
    >>> np.exp(linked_policy(np.log([3.0, 1.0]), even, ones, 1.0, link("reverse_kl"))).round(12)
    array([0.75, 0.25])
    """
    wanted = (utilities - utilities.max()) / beta

    def ratios(highest: float) -> FloatArray:
        """Log-ratios if that of the most wanted outcome is the highest."""
        with np.errstate(over="ignore"):
            return _inverse(of, wanted + of.value(highest), highest)

    low, high = -FAR, min(of.turn, FAR)
    if logsumexp(log_pre + tokens * ratios(high)) < 0.0:
        return None
    for _ in range(70):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if logsumexp(log_pre + tokens * ratios(middle)) > 0.0 else (middle, high)
    found = ratios(high)
    # An outcome that would need less than what none at all gives it is held at the end of the search.
    log_pmf = log_pre + tokens * found
    return None if found.min() < -0.999 * FAR else log_pmf - logsumexp(log_pmf)


def _inverse(of: Link, aims: FloatArray, highest: float) -> FloatArray:
    """Log-ratios up to the highest, above which the link is not below its aims."""
    low, high = np.full(aims.size, -FAR), np.full(aims.size, highest)
    with np.errstate(over="ignore"):
        for _ in range(70):
            middle = 0.5 * (low + high)
            short = of.value(middle) < aims
            low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def with_linked_policy(
    fit: Optimum, support: NDArray[Any], log_pre: FloatArray, tokens: FloatArray, beta: float, of: Link
) -> Optimum:
    """What is known of the utilities, with the policy that has them under the link."""
    log_pmf = linked_policy(fit.utilities, log_pre, tokens, beta, of)
    if log_pmf is None:
        reason = "no policy on the support has the best utilities: they are further apart than the link allows"
        return replace(fit, policy=None, policy_error=1.0, converged=False, unique=None, reason=reason)
    log_pmf.flags.writeable = False
    # Utilities and the constant are each off by no more than a difference of utilities; the link rises.
    ratio = (log_pmf - log_pre) / tokens
    with np.errstate(over="ignore", invalid="ignore"):
        at = of.value(ratio)
        off = 2.0 * (fit.utility_error + 1e-13 * (1.0 + np.abs(fit.utilities).max())) / beta + 8.0 * EPS * np.abs(at)
        above, below = (tokens * (_inverse(of, at + s * off, min(of.turn, FAR)) - ratio) for s in (1.0, -1.0))
        error = float(np.exp(log_pmf) @ np.maximum(np.expm1(above), -np.expm1(below)))
    error = min(error, 1.0) if error >= 0.0 else 1.0
    unique = fit.unique if math.isinf(of.turn) else None
    reason = fit.reason or unmet(("policy error", error, 1e-6))
    return replace(
        fit, policy=FiniteDistribution(log_pmf, support), policy_error=error, unique=unique,
        converged=fit.converged and not reason, reason=reason,
    )  # fmt: skip


def clipped(fit: Optimum, annotator: PreferenceModel, proposal: Proposal, bound: float) -> Optimum:
    r"""What the unclipped loss's optimum is worth if the margin is held within :math:`\pm R`.

    No policy has less than each pair alone: :math:`P \ell(m) + (1 - P) \ell(-m)` is least at :math:`\log
    \frac{P}{1 - P}`, held within the same bounds. Where the annotator's utilities are the fit's, it has no more.
    """
    wins, ties = win_weights(annotator, proposal)
    met = wins + wins.T
    with np.errstate(divide="ignore", invalid="ignore"):
        aims = np.where(met > 0.0, np.log(wins) - np.log(wins.T), 0.0)
    utilities = fit.utilities[:, None] - fit.utilities

    def loss(margins: FloatArray) -> float:
        return float((wins * softplus(-np.clip(margins, -bound, bound))).sum()) + ties * math.log(2.0)

    value, floor = loss(utilities), loss(aims)
    gap, known = max(value - floor, 0.0) + 64.0 * EPS * value, bool((np.abs(aims) < bound).all())
    reason = fit.reason or unmet(("gap", gap, 1e-9))
    if not known:
        reason = reason or "other policies are as good: some pairs are answered more surely than the bound lets count"
    return replace(
        fit, loss=value, gap=gap, proof="dual", reason=reason, converged=fit.converged and not reason,
        policy_error=fit.policy_error if known else 1.0, unique=fit.unique if known and gap <= 1e-9 else None,
    )  # fmt: skip
