r"""Boxes that hold a minimum: widths, on every side of which a gradient points outwards by more than its error.

Let no entry :math:`G_x` of a continuous vector field on a box rise with any other coordinate, let :math:`G_x \ge 0`
at the upper corner and :math:`G_x \le 0` at the lower one. Then :math:`G_x \ge 0` on the whole of the face where x is
largest, :math:`G_x \le 0` on the opposite one, and by the theorem of Poincaré and Miranda G has a zero in the box.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pbde_ref.numerics import EPS, two_difference
from pbde_ref.validation import FloatArray

__all__ = ["largest_difference", "lies_between", "policy_distance", "policy_rounding"]


Slope = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def lies_between(slope: Slope, center: FloatArray, widths: FloatArray) -> FloatArray | None:
    """Distances from the centre within which the field has a zero, or None if its corners do not prove that.

    Parameters
    ----------
    slope : callable
        A point to the field there and a bound on the error of each entry; an entry whose coordinate is fixed, width
        zero, is not asked.
    center, widths : ndarray, shape (n,)
        Middle of the box, and how far it should extend each way.

    Returns
    -------
    ndarray, shape (n,), or None
        `widths`, with the rounding of the corners.

    Examples
    --------
    >>> def slope(x):
    ...     return np.array([2.0 * x[0] - x[1] - 0.5, x[1] - x[0]]), np.full(2, 1e-15)
    >>> zero = np.array([0.5, 0.5])
    >>> lies_between(slope, zero + 1e-3, np.array([0.003, 0.004])).round(6), lies_between(slope, zero + 1.0, zero)
    (array([0.003, 0.004]), None)
    """
    free = widths > 0.0
    for sign in (1.0, -1.0):
        corner = np.where(free, center + sign * widths, center)
        values, errors = slope(corner)
        if not (sign * values >= errors)[free].all():
            return None
    return np.where(free, (1.0 + 1e-12) * widths + np.spacing(np.abs(center) + widths), 0.0)


def largest_difference(widths: FloatArray) -> float:
    """What two coordinates of points within these distances of each other's centre may differ by at most.

    Examples
    --------
    >>> round(largest_difference(np.array([0.0, 0.5, 0.25])), 12)
    0.75
    """
    return float(np.sort(widths)[-2:].sum()) * (1.0 + 1e-15)


def policy_distance(pmf: FloatArray, errors: FloatArray, f: FloatArray | float = 1.0) -> float:
    r"""Bound on the total variation between a policy and one whose utilities are within `errors` of its own.

    .. math:: \log \frac{\pi'(x)}{\pi(x)} = \frac{v_x + C}{f_x}, \qquad |v_x| \le e_x

    Parameters
    ----------
    pmf : ndarray, shape (n,)
        :math:`\pi`, normalised.
    errors : ndarray, shape (n,)
        :math:`e`, in nats; may be infinite.
    f : ndarray, shape (n,), or float
        Of the policy's process, positive; 1 for a softmax.

    Returns
    -------
    float
        In [0, 1]. With errors so small that they add up it is about the mean of :math:`(e_x + c) / f_x` under the
        policy, c the mean of e under :math:`\pi / f`.

    Examples
    --------
    >>> pmf = np.array([0.5, 0.25, 0.25])
    >>> round(policy_distance(pmf, np.array([0.0, 1e-3, 1e-3])), 5)  # at most half of the mass moves by 2e-3
    0.001
    """
    held = pmf > 0.0
    pmf, errors = pmf[held], errors[held]
    f = np.broadcast_to(np.asarray(f, dtype=np.float64), held.shape)[held]
    if not np.isfinite(errors).all():
        return 1.0
    largest = float(errors.max())
    mean = float((pmf / f * errors).sum() / (pmf / f).sum())
    # C ≥ −c where the sum of π exp((e − c) / f) is at most 1, and |C| ≤ max e.
    lower = min(largest, (1.0 + 1e-9) * mean)
    while lower < largest and (pmf * np.expm1(np.minimum((errors - lower) / f, 700.0))).sum() > -1e-12 * lower:
        lower = min(largest, 1.5 * lower)
    distance = float((pmf * -np.expm1(-(errors + lower) / f)).sum())
    # C ≤ mean, because the exponential function is convex.
    with np.errstate(over="ignore"):
        above = float((pmf * np.expm1((errors + (1.0 + 1e-9) * mean) / f)).sum())
    return min(1.0, (1.0 + 1e-12) * min(distance, above))


def policy_rounding(log_pmf: FloatArray, *parts: FloatArray) -> FloatArray:
    """Bound on how far rounding moved each log-probability from the sum of one or two parts, up to a constant, in nats.

    Examples
    --------
    >>> reference, s = np.log([0.25, 0.75]), np.array([0.1, 0.0])
    >>> bool(np.all(policy_rounding(reference + s, reference, s) < 1e-16))
    True
    """
    held = np.isfinite(log_pmf)
    result = np.zeros(log_pmf.size)
    rest, low = log_pmf[held], np.zeros(int(held.sum()))
    for part in parts:
        # Each subtraction leaves its rounding error behind, exactly.
        rest, error = two_difference(rest, part[held])
        low = low + error
    most = int(np.argmax(log_pmf[held]))
    rest, error = two_difference(rest, np.full(rest.size, rest[most]))
    tiny = 4.0 * EPS * (np.abs(low) + np.abs(low[most]) + np.abs(error))
    result[held] = np.abs(rest + ((low - low[most]) + error)) * (1.0 + 4.0 * EPS) + tiny
    return result
