"""What autograd differentiates here and its own module has only together with all of `scipy.stats`."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import scipy.special
from autograd.extend import defvjp, primitive

__all__ = ["logsumexp"]


@primitive
def logsumexp(values: Any, axis: int | None = None) -> Any:
    """The logarithm of the sum of exponentials over an axis, or over all.

    Parameters
    ----------
    values : ndarray
    axis : int, optional

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from pbde_ref.models.primitives import logsumexp
    >>> grad(logsumexp)(np.log([1.0, 2.0, 5.0]))
    array([0.125, 0.25 , 0.625])
    """
    return scipy.special.logsumexp(values, axis=axis)


def _vjp(total: Any, values: Any, axis: int | None = None) -> Any:
    def along(part: Any) -> Any:
        return part if axis is None else anp.expand_dims(part, axis)

    return lambda g: along(g) * anp.exp(values - along(total))


defvjp(logsumexp, _vjp)
