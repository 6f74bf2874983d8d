r"""Second paths in floating point to numbers that are verified: bracketing, mirror ascent, sums that keep their digits.

Nothing here uses the rest of the package. Sums run over the list of ordered pairs with :math:`q > 0`; they are quick on
the largest supports, at any spread of utilities, and held against the text of `pbde_ref.paper` by tests.
"""

from __future__ import annotations

from itertools import product
from math import log
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from pbde_ref.validation import FloatArray

__all__ = [
    "all_preferences", "clipped_dual", "connects", "cross_entropy", "curvatures", "entropy", "forward_slope",
    "gradient", "kl", "listed_sentences", "mirror_ascent", "normalized", "preferences", "return_gradient", "softmax",
    "stationary", "variation", "winners",
]  # fmt: skip


def _pairs(values: Any, q: FloatArray) -> Any:
    """Differences over the pairs that q draws; an outcome compared with itself differs by zero."""
    a, b = np.nonzero(q)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, values[a] - values[b])


def preferences(chi: FloatArray, q: FloatArray) -> FloatArray:
    """Eq. (2) over the pairs that q draws."""
    return np.exp(-np.logaddexp(0.0, -_pairs(chi, q)))


def all_preferences(chi: FloatArray) -> FloatArray:
    """Eq. (2) for all pairs, shape (n, n)."""
    everywhere = np.ones((len(chi), len(chi)))
    return np.reshape(preferences(chi, everywhere), everywhere.shape)


def winners(p: FloatArray, q: FloatArray) -> FloatArray:
    """How often each outcome is the one preferred, where A is preferred to B with p[A, B]."""
    return np.asarray((q * p).sum(axis=1) + (q * (1.0 - p)).sum(axis=0))


def cross_entropy(chi: FloatArray, omega: FloatArray, q: FloatArray) -> float:
    """Eq. (7) for an annotator with utilities `chi`, over the pairs that q draws; both answers keep their digits."""
    c, d = _pairs(chi, q), _pairs(omega, q)
    won, lost = np.exp(-np.logaddexp(0.0, -c)), np.exp(-np.logaddexp(0.0, c))
    with np.errstate(invalid="ignore"):
        winning, losing = won * np.logaddexp(0.0, -d), lost * np.logaddexp(0.0, d)
    return float(np.sum(q[q > 0] * (np.where(won > 0, winning, 0.0) + np.where(lost > 0, losing, 0.0))))


def entropy(chi: FloatArray, q: FloatArray) -> float:
    """Expected entropy of the answers: what they cost a model that has the annotator's own utilities."""
    return cross_entropy(chi, chi, q)


def kl(chi: FloatArray, omega: FloatArray, q: FloatArray) -> float:
    """Eq. (8)."""
    return cross_entropy(chi, omega, q) - entropy(chi, q)


def gradient(p: FloatArray, omega: Any, q: FloatArray) -> Any:
    """Gradient of Eq. (8); analytic in `omega`, so that a complex step differentiates it to the last digit."""
    a, b = np.nonzero(q)
    terms = q[a, b] * (0.5 + 0.5 * np.tanh(_pairs(omega, q) / 2) - p)
    result = np.zeros(len(omega), dtype=terms.dtype)
    np.add.at(result, a, terms)
    np.add.at(result, b, -terms)
    return result


def normalized(target: FloatArray, f: FloatArray | float) -> FloatArray:
    """Logarithm of ``exp((target + C) / f)`` with C from a bracketing root finder."""
    # What all targets share leaves first; it would cost C, and so every exponent, its digits.
    target = target - np.max(target)
    if len(target) == 1:
        return np.zeros(1)

    def excess(constant: float) -> float:
        return float(logsumexp((target + constant) / f))

    low = -float(np.max(f)) * (log(len(target)) + 1.0)
    return (target + brentq(excess, low, 0.0, xtol=1e-300, rtol=8.9e-16, maxiter=2000)) / f


def softmax(log_weights: FloatArray) -> FloatArray:
    """Probabilities in proportion to ``exp(log_weights)``."""
    weights = np.exp(log_weights - np.max(log_weights))
    return np.asarray(weights / weights.sum())


def variation(p: FloatArray, r: FloatArray) -> float:
    """Total variation distance of probabilities."""
    return 0.5 * float(np.abs(p - r).sum())



def curvatures(omega: FloatArray, q: FloatArray) -> FloatArray:
    """Weights of the Hessian's graph, entry by entry."""
    both = q + q.T
    np.fill_diagonal(both, 0.0)
    small = np.exp(-np.abs(np.subtract.outer(omega, omega)))
    return np.asarray(both * small / (1.0 + small) ** 2)


def connects(edges: Any) -> bool:
    """Whether a symmetric matrix of edges joins all outcomes."""
    reached = np.zeros(len(edges), dtype=bool)
    reached[0] = True
    for _ in range(len(edges)):
        reached = reached | (edges[reached] > 0).any(axis=0)
    return bool(reached.all())


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



def mirror_ascent(rewards: FloatArray, beta: float, log_reference: FloatArray, steps: int = 80) -> FloatArray:
    """Log-policy that maximises Eq. (12), by exponentiated gradient steps; the error halves with each."""
    log_policy = np.full(len(rewards), -np.log(len(rewards)))
    for _ in range(steps):
        # What normalisation would subtract is the same for all outcomes, at every step.
        log_policy = log_policy + 0.5 * (rewards / beta - log_policy + log_reference)
    return np.asarray(log_policy - logsumexp(log_policy))


def _chain(transition: FloatArray, logits: Any) -> tuple[Any, Any]:
    """A softmax policy, and the state chains that it makes."""
    weights = np.exp(logits)
    policy = weights / weights.sum(axis=-1, keepdims=True)
    return policy, np.einsum("...xa,xay->...xy", policy, transition)


def stationary(transition: FloatArray, logits: FloatArray) -> FloatArray:
    """The stationary distribution of a policy's chain, which reaches every state from every other, by squaring."""
    _, chain = _chain(transition, logits)
    for _ in range(40):
        chain = chain @ chain
        chain = chain / chain.sum(axis=1, keepdims=True)
    return np.asarray(chain[0])


def return_gradient(
    transition: FloatArray, rewards: FloatArray, gamma: float, logits: FloatArray, start: FloatArray
) -> FloatArray:
    """Gradient of the discounted return from a start, as a sum over all times, by a complex step for each logit."""
    steps = logits + 1e-30j * np.eye(logits.size).reshape(-1, *logits.shape)
    policy, chain = _chain(transition, steps)
    total, power = (policy * rewards).sum(axis=-1)[..., None], gamma * chain
    # Each pass doubles the number of terms; after the twelfth, 4096, what is left is below 0.97^4096.
    for _ in range(12):
        total, power = total + power @ total, power @ power
    return np.asarray((total[..., 0] @ start).imag.reshape(logits.shape) * 1e30)


def clipped_dual(old: FloatArray, advantages: FloatArray, epsilon: float) -> float:
    """Least upper bound on the clipped surrogate: a price for mass, at which each outcome takes what pays."""
    gains = np.maximum(advantages, 0.0)
    prices = np.append(gains, 0.0)
    lost = float(np.minimum(advantages, 0.0) @ old) * (1.0 - epsilon)
    return float(np.min(prices + np.maximum(gains - prices[:, None], 0.0) @ old * (1.0 + epsilon))) + lost


def forward_slope(log_p: FloatArray, logits: FloatArray, direction: FloatArray) -> float:
    """Derivative of the divergence of a softmax policy from p, along a direction of the logits, by a complex step."""
    moved = logits + 1e-30j * direction
    log_policy = moved - np.log(np.exp(moved).sum())
    p = np.exp(log_p)
    return float((p @ np.where(p > 0.0, log_p - log_policy, 0.0)).imag * 1e30)
