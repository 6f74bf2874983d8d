r"""The logistic function to thirty digits, for the one place where sixteen are not enough.

A preference probability that is given as a number, and not as a difference of utilities, can be within 1e-8 of a
model's. Their difference then has eight digits in double precision, and the KL divergence no more.

A double-double is an unevaluated sum of two floats, the second at most half a unit in the last place of the first
(Dekker, Numerische Mathematik 18, 1971).
"""

from __future__ import annotations

import math

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["DoubleDouble", "sigmoid", "sigmoid_excess"]

DoubleDouble = tuple[FloatArray, FloatArray]

# log 2 in three parts; the first has 21 trailing zero bits, so that its product with an exponent is exact.
_LOG_2 = (0.6931471803691238, 1.9082149292705877e-10, 1.1612227229362532e-26)


def sigmoid(high: FloatArray, low: FloatArray) -> DoubleDouble:
    r""":math:`\sigma(z)` for :math:`z = \text{high} + \text{low} \le 0`, to about 30 digits.

    Examples
    --------
    >>> high, low = sigmoid(np.array(-1.0), np.array(0.0))
    >>> float(high), float(low)  # 0.26894142136999512074 884...
    (0.2689414213699951, 1.67972739964...e-17)
    """
    exponential = _exp(high, low)
    one_more = _sum(np.ones_like(high), np.zeros_like(high), *exponential)
    return _quotient(exponential, one_more)


def sigmoid_excess(high: FloatArray, low: FloatArray, p: FloatArray) -> FloatArray:
    r""":math:`\sigma(z) - p` for :math:`z = \text{high} + \text{low}`, accurate in relative terms.

    Examples
    --------
    >>> float(sigmoid_excess(np.array(4e-8), np.array(0.0), np.array(0.5)))  # z / 4 - z ** 3 / 48
    9.9999999999999...e-09
    """
    upper = high > 0.0
    model, model_low = sigmoid(-np.abs(high), np.where(upper, -low, low))
    # For positive z compare the complements: (1 − p) − σ(−z), with 1 − p as a double-double.
    other, other_low = _two_sum(np.where(upper, 1.0, 0.0), np.where(upper, -p, p))
    return np.where(upper, 1.0, -1.0) * ((other - model) + (other_low - model_low))


def _exp(high: FloatArray, low: FloatArray) -> DoubleDouble:
    """Exponential of a number in [-700, 0]."""
    power = np.rint(high / math.log(2.0))
    reduced = _sum(high - power * _LOG_2[0], np.zeros_like(high), *_product(-power, _LOG_2[1] * np.ones_like(high)))
    reduced = _sum(*reduced, low, -power * _LOG_2[2])
    # |r| < log 2 / 512 makes the first neglected term of the series smaller than 1e-35.
    reduced = reduced[0] / 256.0, reduced[1] / 256.0
    series = np.zeros_like(high), np.zeros_like(high)
    for k in range(11, 0, -1):
        # expm1(r) = r (1 + r/2 (1 + r/3 (1 + ...)))
        series = _sum(np.ones_like(high), np.zeros_like(high), *series)
        series = _times(series, _quotient(reduced, (np.full_like(high, k), np.zeros_like(high))))
    for _ in range(8):
        # expm1(2r) = expm1(r) (2 + expm1(r)) keeps the digits that squaring 1 + expm1(r) would spread thinner.
        series = _times(series, _sum(np.full_like(high, 2.0), np.zeros_like(high), *series))
    result = _sum(np.ones_like(high), np.zeros_like(high), *series)
    return np.ldexp(result[0], power.astype(int)), np.ldexp(result[1], power.astype(int))


def _two_sum(a: FloatArray, b: FloatArray) -> DoubleDouble:
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _sum(a: FloatArray, a_low: FloatArray, b: FloatArray, b_low: FloatArray) -> DoubleDouble:
    total, error = _two_sum(a, b)
    low, low_error = _two_sum(a_low, b_low)
    total, error = _two_sum(total, error + low)
    return _two_sum(total, error + low_error)


def _halves(a: FloatArray) -> DoubleDouble:
    """Two numbers of 26 bits that sum to a."""
    scaled = 134217729.0 * a
    high = scaled - (scaled - a)
    return high, a - high


def _product(a: FloatArray, b: FloatArray) -> DoubleDouble:
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _times(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    product, error = _product(a[0], b[0])
    return _two_sum(product, error + (a[0] * b[1] + a[1] * b[0]))


def _quotient(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    first = a[0] / b[0]
    product = _times((first, np.zeros_like(first)), b)
    remainder = _sum(*a, -product[0], -product[1])
    return _two_sum(first, (remainder[0] + remainder[1]) / b[0])
