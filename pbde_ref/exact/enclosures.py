r"""Boxes that hold a minimum: widths, on every side of which a gradient points outwards by more than its error.

Let no entry :math:`G_x` of a continuous vector field on a box rise with any other coordinate, let :math:`G_x \ge 0`
at the upper corner and :math:`G_x \le 0` at the lower one. Then :math:`G_x \ge 0` on the whole of the face where x is
largest, :math:`G_x \le 0` on the opposite one, and by the theorem of Poincaré and Miranda G has a zero in the box.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["largest_difference", "lies_between"]

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
    >>> lies_between(slope, zero + 1e-3, np.array([0.002, 0.003])).round(6), lies_between(slope, zero + 1.0, zero)
    (array([0.002, 0.003]), None)
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
    >>> largest_difference(np.array([0.0, 0.5, 0.25]))
    0.75
    """
    return float(np.sort(widths)[-2:].sum()) * (1.0 + 1e-15)
