r"""Where losses lead that put another function in the place of the logarithm: the policy of given utilities.

The expected loss is that of Eq. (1) for the utilities :math:`\beta h(\log \pi / \pi_{pre})`, h rising; these are known
up to a constant C, and :math:`\sum_x \pi_{pre}(x)\, e^{h^{-1}((\Omega_x + C) / \beta)}` rises with it: one policy has
them, if any has. Proof: ``proofs/links.md``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.losses.log_ratios import Link
from pbde_ref.numerics import logsumexp
from pbde_ref.validation import FloatArray

__all__ = ["linked_policy", "with_linked_policy"]

# Log-ratios beyond are none.
FAR = 800.0


def linked_policy(utilities: FloatArray, reference: FiniteDistribution, beta: float, of: Link) -> FloatArray | None:
    r"""The logarithm of the policy with :math:`\beta h(\log \pi / \pi_{pre}) = \Omega + C`, or None if there is none.

    Parameters
    ----------
    utilities : ndarray, shape (n,)
        :math:`\Omega`, finite.
    reference : FiniteDistribution
        :math:`\pi_{pre}`, positive.
    beta : float
    of : Link

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.losses.log_ratios import link
    >>> np.exp(linked_policy(np.log([3.0, 1.0]), pb.uniform([0, 1]), 1.0, link("reverse_kl"))).round(12)
    array([0.75, 0.25])
    """
    log_pre, wanted = reference.log_pmf, (utilities - utilities.max()) / beta

    def ratios(highest: float) -> FloatArray:
        """Log-ratios if that of the most wanted outcome is the highest."""
        low, high = np.full(wanted.size, -FAR), np.full(wanted.size, highest)
        with np.errstate(over="ignore"):
            aims = wanted + of.value(highest)
            for _ in range(70):
                middle = 0.5 * (low + high)
                short = of.value(middle) < aims
                low, high = np.where(short, middle, low), np.where(short, high, middle)
        return high

    low, high = -FAR, min(of.turn, FAR)
    if logsumexp(log_pre + ratios(high)) < 0.0:
        return None
    for _ in range(70):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if logsumexp(log_pre + ratios(middle)) > 0.0 else (middle, high)
    found = ratios(high)
    # An outcome that would need less than what none at all gives it is held at the end of the search.
    log_pmf = log_pre + found
    return None if found.min() < -0.999 * FAR else log_pmf - logsumexp(log_pmf)


def with_linked_policy(fit: Optimum, reference: FiniteDistribution, beta: float, of: Link) -> Optimum:
    """What is known of the utilities, with the policy that has them under the link."""
    log_pmf = linked_policy(fit.utilities, reference, beta, of)
    if log_pmf is None:
        reason = "no policy on the support has the best utilities: they are further apart than the link allows"
        return replace(fit, policy=None, policy_error=1.0, converged=False, unique=None, reason=reason)
    log_pmf.flags.writeable = False
    # How far the log-ratio may be off where its slope is least, times two for the constant.
    with np.errstate(divide="ignore"):
        slopes = beta * np.abs(of.derivative(log_pmf - reference.log_pmf))
        off = np.minimum(4.0 * (fit.utility_error + 1e-13 * (1.0 + np.abs(fit.utilities).max())) / slopes, 1.0)
    error = min(1.0, float(np.exp(log_pmf) @ np.expm1(off)))
    unique = fit.unique if math.isinf(of.turn) else None
    reason = fit.reason or unmet(("policy error", error, 1e-6))
    return replace(
        fit, policy=FiniteDistribution(log_pmf, reference.support), policy_error=error, unique=unique,
        converged=fit.converged and not reason, reason=reason,
    )  # fmt: skip
