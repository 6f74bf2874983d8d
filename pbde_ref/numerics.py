r"""The few scalar functions that everything else is built from, each written once and accurate in relative terms.

Probabilities enter as logits wherever they can, because :math:`1 - \sigma(40)` is not zero but ``1 - expit(40)`` is.
All functions work elementwise, broadcast, and count in nats.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_expit

from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "EPS", "bernoulli_entropy", "bernoulli_kl", "expit", "grouped_logsumexp", "log1p_gap", "log_normalize",
    "log_sigmoid", "logsumexp", "sigmoid_difference", "sigmoids", "softplus", "two_difference", "weighted",
]  # fmt: skip


EPS = float(np.finfo(float).eps)
"""Distance from 1 to the next number in double precision."""


def log_sigmoid(z: FloatArray) -> FloatArray:
    r"""Logarithm of the logistic function, :math:`\log \sigma(z) = -\log(1 + e^{-z})`.

    Examples
    --------
    >>> float(log_sigmoid(-1000.0))
    -1000.0
    """
    return log_expit(z)


def sigmoids(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    r""":math:`\sigma(z)` and :math:`\sigma(-z)`, both right in relative terms.

    Examples
    --------
    >>> sigmoids(np.array([-800.0, 40.0]))
    (array([0., 1.]), array([1.00000000e+00, 4.24835426e-18]))
    """
    # One exponential is enough below e^709, and where time counts; SciPy's function takes three times as long.
    if z.size >= 1024 and float(np.abs(z).max()) < 700.0:
        odds = np.exp(-z)
        wins = 1.0 / (1.0 + odds)
        return wins, odds * wins
    return expit(z), expit(-z)


def softplus(z: FloatArray) -> FloatArray:
    r""":math:`\log(1 + e^z) = -\log \sigma(-z)`, the cross-entropy of a comparison lost with margin :math:`z`.

    Examples
    --------
    >>> float(softplus(1000.0)), float(softplus(0.0)) == float(np.log(2.0))
    (1000.0, True)
    """
    # No term is negative, so neither sum nor logarithm loses digits; SciPy's logarithm of σ takes six times as long.
    # Of an array and a number NumPy's maximum takes three times as long as of two arrays.
    return np.asarray(np.maximum(z, np.zeros(np.shape(z))) + np.log1p(np.exp(-np.abs(z))))


def log_normalize(log_weights: FloatArray) -> FloatArray:
    r"""Shift log-weights so that they are log-probabilities: :math:`\sum_i e^{\text{result}_i} = 1`.

    Examples
    --------
    >>> np.exp(log_normalize(np.log([1.0, 3.0])))
    array([0.25, 0.75])
    """
    # The largest weight leaves first: what is shared by all weights must not cost the differences their digits.
    with np.errstate(over="ignore"):
        shifted = log_weights - np.max(log_weights)
    return shifted - logsumexp(shifted)


def logsumexp(x: FloatArray, axis: int = -1) -> FloatArray:
    r""":math:`\log \sum_i e^{x_i}` along an axis; of nothing but :math:`-\infty` it is :math:`-\infty`.

    Entries may be :math:`-\infty` and must be below :math:`+\infty`. SciPy's function of that name takes arrays of any
    library, and ten times as long for a short vector.

    Examples
    --------
    >>> float(logsumexp(np.array([0.0, -50.0])))
    1.928749847963...e-22
    >>> float(logsumexp(np.array([-1000.0, -1000.0]))) == -1000.0 + float(np.log(2.0))
    True
    """
    largest = x.max(axis, keepdims=True)
    # k summands are as large as any; what the others add to these keeps its digits however little it is.
    leads = x == largest
    k = leads.sum(axis)
    with np.errstate(over="ignore"):
        below = x - np.where(np.isneginf(largest), 0.0, largest)
    others = np.exp(np.where(leads, -np.inf, below)).sum(axis)
    return largest.squeeze(axis) + np.log(k) + np.log1p(others / k)


def grouped_logsumexp(x: FloatArray, start: IndexArray, number: IndexArray) -> FloatArray:
    """`logsumexp` over runs of a vector: where each begins, and each entry's number of its run, shape (K,).

    Examples
    --------
    >>> grouped_logsumexp(np.array([0.0, -np.inf, 0.0, 0.0]), np.array([0, 2]), np.array([0, 0, 1, 1])).round(6)
    array([0.      , 0.693147])
    """
    largest = np.maximum.reduceat(x, start)
    leads = x == largest[number]
    k = np.add.reduceat(leads, start, dtype=np.float64)
    with np.errstate(over="ignore"):
        below = x - np.where(np.isneginf(largest), 0.0, largest)[number]
    others = np.add.reduceat(np.exp(np.where(leads, -np.inf, below)), start)
    return np.asarray(largest + np.log(k) + np.log1p(others / k))


def two_difference(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    r"""The rounded difference and its rounding error: :math:`x - y = \text{high} + \text{low}` exactly.

    Where `high` is infinite or undefined the error is reported as zero.

    Notes
    -----
    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B.

    Examples
    --------
    >>> high, low = two_difference(np.array(1.0), np.array(1e-20))
    >>> float(high), float(low)
    (1.0, -1e-20)
    """
    with np.errstate(invalid="ignore", over="ignore"):
        high = x - y
        virtual = x - high
        low = (x - (high + virtual)) + (virtual - y)
    return high, np.where(np.isfinite(high), low, 0.0)


def sigmoid_difference(c: FloatArray, d: FloatArray, u: FloatArray) -> FloatArray:
    r""":math:`\sigma(d) - \sigma(c)` without cancellation, where :math:`u = d - c` is known better than its parts.

    .. math:: \sigma(d) - \sigma(c) = \operatorname{sign}(u)\,\sigma(\max(c, d))\,\sigma(-\min(c, d))\,(1 - e^{-|u|})

    Parameters
    ----------
    c, d : array
        Logits; infinite ones are allowed.
    u : array
        Their difference; where `c` and `d` are the same infinity it is taken as zero.

    Examples
    --------
    >>> float(sigmoid_difference(np.array(50.0), np.array(50.0), np.array(1e-12)))  # 1 - sigma(50) is 1.9e-22
    1.9287498479...e-34
    """
    u = np.where(np.isinf(c) & (c == d), 0.0, u)
    return np.sign(u) * expit(np.maximum(c, d)) * expit(-np.minimum(c, d)) * -np.expm1(-np.abs(u))


def log1p_gap(x: FloatArray) -> FloatArray:
    r""":math:`x - \log(1 + x) \ge 0` for :math:`x > -1`, to full relative precision near zero.

    Notes
    -----
    With :math:`r = x / (2 + x)`, :math:`\log(1 + x) = 2 \operatorname{artanh} r` and :math:`x - 2r = x r`, so that
    :math:`x - \log(1 + x) = x r - 2 r^3 (1/3 + r^2/5 + r^4/7 + \dots)`.

    Examples
    --------
    >>> float(log1p_gap(np.array(1e-9)))
    4.99999999666...e-19
    """
    x = np.asarray(x, dtype=np.float64)
    near = np.abs(x) < 0.5
    result = np.asarray(x - np.log1p(x))
    small = x[near]
    r = small / (2.0 + small)
    # |r| < 1/3: fifteen terms leave less than 9^-15 / 33, below half a unit in the last place.
    square = r * r
    series = np.full_like(r, 1.0 / 31.0)
    for odd in range(29, 1, -2):
        series *= square
        series += 1.0 / odd
    result[near] = r * (small - 2.0 * square * series)
    return result


def weighted(weight: FloatArray, values: FloatArray) -> FloatArray:
    """`weight * values` where an outcome that never happens costs nothing, even at infinite value."""
    with np.errstate(invalid="ignore"):
        result = np.asarray(weight * values)
        # Looking at the sum is faster than choosing for each entry.
        return np.where(weight == 0.0, 0.0, result) if np.isnan(np.add.reduce(result, axis=None)) else result


def bernoulli_kl(p: FloatArray, p_complement: FloatArray, d: FloatArray, excess: FloatArray) -> FloatArray:
    r"""KL divergence of a preference probability from a logistic model of it, in nats.

    .. math:: D_{KL}(p \,\|\, s) = p \log\frac{p}{s} + \bar p \log\frac{\bar p}{\bar s}
              = p\,\psi\Big(\frac{s - p}{p}\Big) + \bar p\,\psi\Big(\frac{p - s}{\bar p}\Big),
              \qquad \psi(x) = x - \log(1 + x), \quad s = \sigma(d)

    Both terms of the second form are non-negative, so nothing cancels; the first form loses all digits once
    :math:`|s - p| < 10^{-8}`.

    Parameters
    ----------
    p, p_complement : array
        Probability that A is preferred to B, and that B is preferred to A; each accurate in relative terms.
    d : array
        The model's logit, :math:`\omega(x_A) - \omega(x_B)`; infinite where the model is certain.
    excess : array
        :math:`\sigma(d) - p`, accurate in relative terms (`sigmoid_difference`).

    Returns
    -------
    array
        Values in :math:`[0, \infty]`; infinite where the model excludes what the annotator does.

    Notes
    -----
    The inner part of Eq. (8). The identity holds because :math:`(s - p) + (\bar s - \bar p) = 0`.

    Examples
    --------
    >>> half = np.array(0.5)
    >>> float(bernoulli_kl(half, half, np.array(4e-8), np.array(1e-8)))  # 2 * 1e-8 ** 2
    2.0000000000...e-16
    """
    return _kl_term(p, d, excess) + _kl_term(p_complement, np.negative(d), np.negative(excess))


def _kl_term(p: FloatArray, d: FloatArray, excess: FloatArray) -> FloatArray:
    """`p * psi(excess / p)`; far from zero through logarithms, where the ratio over- or underflows."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.asarray(excess / p)
    near = (ratio > -0.9) & (ratio < 10.0)
    result = np.asarray(p * log1p_gap(np.where(near, ratio, 0.0)))
    far = ~near
    if far.any():
        p, d, excess = (np.broadcast_to(x, far.shape)[far] for x in (p, d, excess))
        with np.errstate(divide="ignore", invalid="ignore"):
            result[far] = excess + weighted(p, np.log(p) - log_sigmoid(d))
    return result


def bernoulli_entropy(p: FloatArray, p_complement: FloatArray) -> FloatArray:
    r"""Entropy of a comparison's outcome, :math:`-p \log p - \bar p \log \bar p`, in nats and in :math:`[0, \log 2]`.

    Examples
    --------
    >>> float(bernoulli_entropy(np.array(0.0), np.array(1.0)))
    0.0
    """
    return _entropy_term(p, p_complement) + _entropy_term(p_complement, p)


def _entropy_term(p: FloatArray, p_complement: FloatArray) -> FloatArray:
    """`-p log p`; close to 1 the logarithm comes from the complement, which carries the digits."""
    with np.errstate(divide="ignore"):
        log_p = np.where(p > 0.5, np.log1p(-np.minimum(p_complement, 0.5)), np.log(p))
    return weighted(p, -log_p)
