r"""Pairwise objectives as functions of the winner's margin, each with its first two derivatives.

For a pair (A, B) with :math:`d = \omega_A - \omega_B` the loss is :math:`\ell(d)` if A won and :math:`\ell(-d)` if B
did; batch losses and expectations are both built from :math:`\ell`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import expit

from pbde_ref.numerics import softplus
from pbde_ref.validation import FloatArray

__all__ = ["BRADLEY_TERRY", "Objective", "as_objective"]


@dataclass(frozen=True)
class Objective:
    r"""One pair's loss as a function of the winner's margin :math:`m`.

    Attributes
    ----------
    name : str
    value, derivative, second_derivative : callable
        :math:`\ell(m)`, :math:`\ell'(m)` and :math:`\ell''(m)`, elementwise.
    """

    name: str
    value: Callable[[FloatArray], FloatArray]
    derivative: Callable[[FloatArray], FloatArray]
    second_derivative: Callable[[FloatArray], FloatArray]


BRADLEY_TERRY = Objective(
    "bradley_terry",
    value=lambda m: softplus(-m),
    derivative=lambda m: -expit(-m),
    second_derivative=lambda m: expit(m) * expit(-m),
)
r"""Eq. (1), (2), (7): :math:`\ell(m) = -\log \sigma(m)`, the cross-entropy of a logistic preference."""

_BY_NAME = {objective.name: objective for objective in (BRADLEY_TERRY,)}


def as_objective(objective: str | Objective) -> Objective:
    """The objective of that name, or the objective itself.

    Examples
    --------
    >>> as_objective("bradley-terry")
    Traceback (most recent call last):
        ...
    ValueError: `objective` must be one of 'bradley_terry'; got 'bradley-terry'
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in _BY_NAME:
        raise ValueError(f"`objective` must be one of {', '.join(map(repr, _BY_NAME))}; got {objective!r}")
    return _BY_NAME[objective]
