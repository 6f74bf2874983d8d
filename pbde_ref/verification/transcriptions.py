r"""The paper's equations written down once more, plainly, as the second path to every number that is verified.

Nothing here uses the rest of the package. Sums run over the list of ordered pairs with :math:`q > 0`.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import product
from math import log
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, xlogy

from pbde_ref.validation import FloatArray

__all__ = [
    "cross_entropy", "decimal_kl", "entropy", "gradient", "kl", "listed_sentences", "mirror_ascent", "newton_minimum",
    "normalized", "preferences", "regularized_reward",
]  # fmt: skip


def _pairs(values: Any, q: FloatArray) -> Any:
    """Differences over the pairs that q draws; an outcome compared with itself differs by zero."""
    a, b = np.nonzero(q)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, values[a] - values[b])


def preferences(chi: FloatArray, q: FloatArray) -> FloatArray:
    """Eq. (11) over the pairs that q draws."""
    return np.exp(-np.logaddexp(0.0, -_pairs(chi, q)))


def cross_entropy(p: FloatArray, omega: FloatArray, q: FloatArray) -> float:
    """Eq. (7) for preference probabilities `p` over the pairs that q draws."""
    d = _pairs(omega, q)
    with np.errstate(invalid="ignore"):
        won, lost = p * np.logaddexp(0.0, -d), (1 - p) * np.logaddexp(0.0, d)
    return float(np.sum(q[q > 0] * (np.where(p > 0, won, 0.0) + np.where(p < 1, lost, 0.0))))


def entropy(p: FloatArray, q: FloatArray) -> float:
    """Expected entropy of the answers."""
    return float(-np.sum(q[q > 0] * (xlogy(p, p) + xlogy(1 - p, 1 - p))))


def kl(p: FloatArray, omega: FloatArray, q: FloatArray) -> float:
    """Eq. (8)."""
    return cross_entropy(p, omega, q) - entropy(p, q)


def gradient(p: FloatArray, omega: Any, q: FloatArray) -> Any:
    """Gradient of Eq. (8); analytic in `omega`, so that a complex step differentiates it to the last digit."""
    a, b = np.nonzero(q)
    terms = q[a, b] * (0.5 + 0.5 * np.tanh(_pairs(omega, q) / 2) - p)
    result = np.zeros(len(omega), dtype=terms.dtype)
    np.add.at(result, a, terms)
    np.add.at(result, b, -terms)
    return result


def normalized(target: FloatArray, f: FloatArray) -> FloatArray:
    """Logarithm of ``exp((target + C) / f)`` with C from a bracketing root finder."""
    low, high = np.min(-target[np.isfinite(target)]) - np.max(f) * np.log(len(target)) - 1.0, np.min(-target) + 1.0

    def excess(constant: float) -> float:
        return float(logsumexp((target + constant) / f))

    return (target + brentq(excess, low, high, xtol=1e-14, rtol=8.9e-16, maxiter=500)) / f


def newton_minimum(p: FloatArray, q: FloatArray) -> FloatArray:
    """Utilities with the least expected cross-entropy, by SciPy's trust-region method; the first utility is zero."""
    size = len(q)
    a, b = np.nonzero(q)

    def full(free: FloatArray) -> FloatArray:
        return np.concatenate([[0.0], free])

    def hessian(free: FloatArray) -> FloatArray:
        half = np.tanh(_pairs(full(free), q) / 2)
        weight = np.zeros((size, size))
        np.add.at(weight, (a, b), q[a, b] * (1 - half) * (1 + half) / 4)
        weight += weight.T
        return (np.diag(weight.sum(axis=1)) - weight)[1:, 1:]

    found = minimize(
        lambda free: cross_entropy(p, full(free), q),
        np.zeros(size - 1),
        jac=lambda free: gradient(p, full(free), q)[1:],
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-13, "maxiter": 200},
    )
    # The trust region stops where the loss is flat to rounding; two plain Newton steps use the gradient's own digits.
    free = found.x
    for _ in range(2):
        free = free - np.linalg.solve(hessian(free), gradient(p, full(free), q)[1:])
    return full(free)


def listed_sentences(log_length_pmf: FloatArray, n_tokens: int) -> tuple[FloatArray, FloatArray]:
    """Lengths and log-probabilities of all sentences of at most ``len(log_length_pmf)`` pieces, one after the other.

    All pieces but the last, which ends the sentence, are any of `n_tokens` tokens with equal probability.
    """
    lengths, log_p = [], []
    for length, log_h in enumerate(log_length_pmf, start=1):
        for tokens in product(range(n_tokens), repeat=length - 1):
            lengths.append(float(length))
            log_p.append(float(log_h) + sum(-log(n_tokens) for _ in tokens))
    return np.array(lengths), np.array(log_p)


def regularized_reward(log_policy: Any, rewards: FloatArray, beta: float, log_reference: FloatArray) -> Any:
    """Eq. (12)."""
    policy = np.exp(log_policy)
    return np.sum(policy * rewards) - beta * np.sum(policy * (log_policy - log_reference))


def mirror_ascent(rewards: FloatArray, beta: float, log_reference: FloatArray, steps: int = 80) -> FloatArray:
    """Log-policy that maximises Eq. (12), by exponentiated gradient steps; the error halves with each."""
    log_policy = np.full(len(rewards), -np.log(len(rewards)))
    for _ in range(steps):
        log_policy = log_policy + 0.5 * (rewards / beta - log_policy + log_reference)
        log_policy = log_policy - logsumexp(log_policy)
    return log_policy


def decimal_kl(chi: FloatArray, omega: FloatArray, a: int, b: int, digits: int = 60) -> Decimal:
    r"""KL divergence for one pair in decimal arithmetic, with enough digits for the smaller probability as well."""
    with localcontext() as context:
        d_chi, d_omega = (Decimal(float(v[a])) - Decimal(float(v[b])) for v in (chi, omega))
        context.prec = digits + int(2 * max(abs(d_chi), abs(d_omega)) / 2)

        def sigma(z: Decimal) -> Decimal:
            return 1 / (1 + (-z).exp())

        return sum(
            (sigma(s * d_chi) * (sigma(s * d_chi) / sigma(s * d_omega)).ln() for s in (1, -1)), start=Decimal(0)
        )
