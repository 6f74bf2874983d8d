r"""The logistic function to thirty digits, for the one place where sixteen are not enough.

A preference probability that is given as a number, and not as a difference of utilities, can be within 1e-8 of a
model's. Their difference then has eight digits in double precision, and the KL divergence no more.

A double-double is an unevaluated sum of two floats, the second at most half a unit in the last place of the first
(Dekker, Numerische Mathematik 18, 1971).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["DoubleDouble", "sigmoid", "sigmoid_excess"]

DoubleDouble = tuple[FloatArray | float, FloatArray | float]

# log 2 in three parts; the first has 21 trailing zero bits, so that its product with an exponent is exact.
_LOG_2 = (0.6931471803691238, 1.9082149292705877e-10, 1.1612227229362532e-26)
# The exponential series' 1 / k!: k from 10 down to 6, then, to thirty digits, from 5 to 1.
_LATER = [1.0 / math.factorial(k) for k in range(10, 5, -1)]
_TERMS = ((1.0 / 120.0, 1.1564823173178714e-19), (1.0 / 24.0, 2.3129646346357427e-18),
          (1.0 / 6.0, 9.25185853854297e-18), (0.5, 0.0), (1.0, 0.0))  # fmt: skip


def sigmoid(high: FloatArray, low: FloatArray) -> DoubleDouble:
    r""":math:`\sigma(z)` for :math:`z = \text{high} + \text{low} \le 0`, to about 30 digits.

    Examples
    --------
    >>> high, low = sigmoid(np.array(-1.0), np.array(0.0))
    >>> float(high), float(low)  # 0.26894142136999512074 884...
    (0.2689414213699951, 1.67972739964...e-17)
    """
    exponential = _exp(high, low)
    return _quotient(exponential, _sum((1.0, 0.0), exponential))


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
    reduced = _sum((high - power * _LOG_2[0], low), _product(-power, _LOG_2[1]))
    reduced = _sum(reduced, (-power * _LOG_2[2], 0.0))
    # |r| < log 2 / 512 makes the first neglected term of the series smaller than 1e-35.
    reduced = reduced[0] / 256.0, reduced[1] / 256.0
    # Of what is beyond the fifth term sixteen digits are enough.
    series: Any = np.polyval(_LATER, reduced[0]) * reduced[0], 0.0
    for term in _TERMS:
        series = _times(_sum(term, series), reduced)
    for _ in range(8):
        # expm1(2r) = expm1(r) (2 + expm1(r)) keeps the digits that squaring 1 + expm1(r) would spread thinner.
        series = _times(series, _sum((2.0, 0.0), series))
    result = _sum((1.0, 0.0), series)
    return np.ldexp(result[0], power.astype(int)), np.ldexp(result[1], power.astype(int))


def _two_sum(a: FloatArray | float, b: FloatArray | float) -> DoubleDouble:
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _sum(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Thirty digits of the larger of the two."""
    total, error = _two_sum(a[0], b[0])
    return _two_sum(total, error + (a[1] + b[1]))


def _halves(a: FloatArray | float) -> DoubleDouble:
    """Two numbers of 26 bits that sum to a."""
    scaled = 134217729.0 * a
    high = scaled - (scaled - a)
    return high, a - high


def _product(a: FloatArray | float, b: FloatArray | float) -> DoubleDouble:
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _times(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    product, error = _product(a[0], b[0])
    return _two_sum(product, error + (a[0] * b[1] + a[1] * b[0]))


def _quotient(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    first = a[0] / b[0]
    product = _times((first, 0.0), b)
    remainder = _sum(a, (-product[0], -product[1]))
    return _two_sum(first, (remainder[0] + remainder[1]) / b[0])
