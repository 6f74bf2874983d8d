"""95 % intervals for shares, differences and means, also where few sentences were drawn or all of them agree."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from pbde_ref.validation import FloatArray

__all__ = ["TAIL", "Interval", "difference", "mean_interval", "share_interval"]

TAIL = 0.975
"""Probability below the upper end of an interval."""


class Interval(NamedTuple):
    """An estimate, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """With three decimals, or as many as show two digits of the interval's length.

        Examples
        --------
        >>> from pbde_ref.experiments.intervals import Interval
        >>> str(Interval(0.379, 0.3586, 0.3994)), str(Interval(0.99923, 0.99851, 1.0))
        ('0.379 [0.359, 0.399]', '0.9992 [0.9985, 1.0000]')
        """
        length = self.high - self.low
        decimals = 3 if length <= 0.0 else max(3, 1 - math.floor(math.log10(length)))
        value, low, high = (f"{number:.{decimals}f}" for number in self)
        return f"{value} [{low}, {high}]"


def share_interval(count: float, total: float) -> Interval:
    """A share of independent draws, with Wilson's (1927) interval.

    Examples
    --------
    >>> from pbde_ref.experiments.intervals import share_interval
    >>> str(share_interval(0, 10)), str(share_interval(7, 10))
    ('0.000 [0.000, 0.278]', '0.700 [0.397, 0.892]')
    """
    z2, share = float(ndtri(TAIL)) ** 2, count / total
    centre = (share + z2 / (2.0 * total)) / (1.0 + z2 / total)
    reach = math.sqrt(z2 * (share * (1.0 - share) + z2 / (4.0 * total)) / total) / (1.0 + z2 / total)
    return Interval(share, max(0.0, centre - reach), min(1.0, centre + reach))


def difference(one: Interval, other: Interval) -> Interval:
    """Of two independent estimates, by Newcombe's (1998) rule: each side's reaches are added as squares.

    Examples
    --------
    >>> from pbde_ref.experiments.intervals import difference, share_interval
    >>> str(difference(share_interval(56, 70), share_interval(48, 80)))
    '0.200 [0.052, 0.334]'
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    return Interval(value, low, value + math.hypot(one.high - one.value, other.value - other.low))


def mean_interval(values: FloatArray) -> Interval:
    """Mean of at least two independent numbers, with Student's interval.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.experiments.intervals import mean_interval
    >>> str(mean_interval(np.array([1.0, 2.0, 3.0])))
    '2.000 [-0.484, 4.484]'
    """
    mean = float(np.mean(values))
    reach = float(stdtrit(values.size - 1, TAIL)) * float(np.std(values, ddof=1)) / math.sqrt(values.size)
    return Interval(mean, mean - reach, mean + reach)
