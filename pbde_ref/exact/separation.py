"""Rules without exceptions: directions along which a likelihood grows for ever."""

from __future__ import annotations

from typing import Any

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["separating_direction"]


def separating_direction(gains: Any) -> FloatArray | None:
    """Parameters, none beyond 1, with which no row of gains falls below 0 and some rise above; None if there are none.

    Gains are a matrix, dense or sparse. Found by a linear programme.

    Examples
    --------
    >>> separating_direction(np.array([[-1.0, 1.0], [-2.0, 0.0]]))
    array([-1.,  1.])
    >>> separating_direction(np.array([[1.0], [-1.0]])) is None
    True
    """
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import linprog

    found = linprog(-np.asarray(gains.sum(axis=0)).ravel(), -gains, np.zeros(gains.shape[0]), bounds=(-1.0, 1.0))
    return found.x if found.status == 0 and -found.fun >= 1e-7 else None
