r"""Where losses that are sigmoids of one answer's log-ratio lead, KTO's and APO-zero's: which answers they keep.

With :math:`u_x = \pi(x) / \pi_{pre}(x)` the expected loss is a constant plus :math:`-\sum_x \kappa_x h(u_x)`,
:math:`h(u) = \sigma(\beta \log u - z)` and :math:`\kappa_x` the weight with which x is wanted less that with which it
is not. An answer with :math:`\kappa_x \le 0` gets nothing as long as another has :math:`\kappa > 0`; the others share
everything so that :math:`\kappa_x h'(u_x) = \mu \pi_{pre}(x)`. If none is wanted more than not and
:math:`\beta \le 1`, one answer gets everything. Proof: ``proofs/kept_answers.md``.
"""

from __future__ import annotations

import math

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.numerics import EPS, expit, logsumexp
from pbde_ref.validation import FloatArray

__all__ = ["minimize_sigmoids"]



def minimize_sigmoids(
    wanted: FloatArray,
    unwanted: FloatArray,
    reference: FiniteDistribution,
    *,
    beta: float,
    baseline: float = 0.0,
    tolerance: float = 1e-9,
) -> Optimum:
    r"""The policy of least :math:`\sum_x [w_x (1 - \sigma(m_x)) + v_x \sigma(m_x)]`, :math:`m = \beta \log u - z`.

    Parameters
    ----------
    wanted, unwanted : ndarray, shape (n,)
        :math:`w` and :math:`v`, non-negative.
    reference : FiniteDistribution
        :math:`\pi_{pre}`, positive.
    beta, baseline : float
        :math:`\beta`, positive, and :math:`z`, in units of :math:`\beta t`.
    tolerance : float
        Gap at which the result counts as converged.

    Returns
    -------
    Optimum
        The gap is that of a Lagrangian dual; `unique` only where :math:`\beta \le 1` proves it.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> wanted, unwanted = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    >>> found = minimize_sigmoids(wanted, unwanted, pb.uniform("abc"), beta=0.5)
    >>> found.policy.pmf, found.unique  # nothing for what is wanted no more often than not
    (array([1., 0., 0.]), True)
    """
    kappa, log_pre = wanted - unwanted, reference.log_pmf
    # A weight that is rounding's alone says nothing.
    kappa = np.where(np.abs(kappa) <= 64.0 * EPS * (wanted + unwanted), 0.0, kappa)
    if not np.isfinite(log_pre).all():
        raise ValueError("`reference` must be positive; got a probability of 0")
    kept, unique = kappa > 0.0, beta <= 1.0
    log_pmf = np.full(kappa.size, -np.inf)
    if kept.any():
        log_pmf[kept], dual, policy_error = _shared(kappa[kept], log_pre[kept], beta, baseline)
    else:
        costs = -kappa * expit(-beta * log_pre - baseline)
        first = int(np.argmin(costs))
        unique = unique and int(np.sum(costs <= costs[first] * (1.0 + 64.0 * EPS))) == 1
        log_pmf[first], policy_error = 0.0, 0.0
        dual = float(costs[first]) if beta <= 1.0 else 0.0
    with np.errstate(invalid="ignore"):
        reached = float(-(kappa @ expit(beta * (log_pmf - log_pre) - baseline)))
    gap = max(reached - dual, 0.0) + 64.0 * EPS * float(wanted.sum() + unwanted.sum())
    loss = float(wanted.sum()) + reached
    policy_error = policy_error if unique else 1.0
    reason = unmet(("gap", gap, tolerance), *([("policy error", policy_error, 1e-6)] if unique else []))
    log_pmf.flags.writeable = False
    return Optimum(
        policy=FiniteDistribution(log_pmf, reference.support),
        utilities=log_pmf,
        loss=loss,
        gap=gap,
        policy_error=policy_error,
        converged=not reason,
        unique=True if unique and not reason else None,
        proof="dual",
        certificate=dual,
        reason=reason,
    )


def _shared(kappa: FloatArray, log_pre: FloatArray, beta: float, baseline: float) -> tuple[FloatArray, float, float]:
    """Log-probabilities of the answers that are kept, the dual's value, and how far apart its multiplier's ends are."""
    low, high = -800.0, 800.0
    while high - low > 1e-15 * max(abs(low), abs(high), 1e-3):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        ratio, _ = _best_ratios(kappa, log_pre, beta, baseline, middle)
        low, high = (middle, high) if logsumexp(log_pre + ratio) > 0.0 else (low, middle)
    ends = [_best_ratios(kappa, log_pre, beta, baseline, end) for end in (low, high)]
    dual = max(float(values.sum()) - math.exp(end) for (_, values), end in zip(ends, (low, high), strict=True))
    # What is kept at both ends has the same ratio there; what one end drops is kept where that is better.
    candidates = [log_pre + ratio for ratio, _ in ends]
    between = 0.5 * float(np.abs(np.exp(candidates[0]) - np.exp(candidates[1])).sum()) + 1e-12
    candidates = [c - logsumexp(c) for c in candidates if np.isfinite(c).any()]
    return min(candidates, key=lambda c: float(-(kappa @ expit(beta * (c - log_pre) - baseline)))), dual, between


def _best_ratios(
    kappa: FloatArray, log_pre: FloatArray, beta: float, baseline: float, log_mu: float
) -> tuple[FloatArray, FloatArray]:
    """Log-ratios at which :math:`-κ h(u) + μ π_pre u` is least, or -inf for u = 0, and these least values."""
    # h'(u) u = β σ σ(-) falls in u relative to u itself beyond the inflection, and everywhere if β ≤ 1.
    turn = (baseline + math.log((beta - 1.0) / (beta + 1.0))) / beta if beta > 1.0 else -1e4
    low, high = np.full(kappa.size, turn), np.maximum(-log_pre, turn + 1e-9)
    log_size = np.log(kappa * beta) - log_pre - log_mu

    def rising(t: FloatArray) -> FloatArray:
        m = beta * t - baseline
        with np.errstate(over="ignore"):
            return log_size - np.abs(m) - 2.0 * np.log1p(np.exp(-np.abs(m))) - t

    # Beyond an upper end where the loss still falls, an answer has all there is.
    for _ in range(90):
        middle = 0.5 * (low + high)
        above = rising(middle) > 0.0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    t = 0.5 * (low + high)
    values = -kappa * expit(beta * t - baseline) + np.exp(np.minimum(log_mu + log_pre + t, 700.0))
    nothing = -kappa * 0.0
    dropped = (values >= nothing) | (rising(t) < -1.0)
    return np.where(dropped, -np.inf, t), np.where(dropped, nothing, values)
