r"""Prior beliefs about utilities, which keep an estimate finite where the comparisons alone would not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import expit

from pbde_ref.display import Shown
from pbde_ref.numerics import softplus
from pbde_ref.validation import FloatArray, array, positive_number

__all__ = ["GaussianPrior", "Prior", "PseudoCounts"]


@runtime_checkable
class Prior(Protocol):
    """Independent log-concave densities of the utilities, all with mode zero."""

    @property
    def pseudo_count(self) -> float:
        """The `PseudoCounts` with the same curvature at zero."""

    def log_density(self, utilities: FloatArray) -> float:
        """Sum of the log-densities, without the constants."""

    def slope(self, utilities: FloatArray) -> FloatArray:
        """Derivative of the negative log-density, elementwise."""

    def curvature(self, utilities: FloatArray) -> FloatArray:
        """Its second derivative, positive."""


@dataclass(frozen=True)
class GaussianPrior(Shown):
    r"""Independent normal utilities, :math:`\omega_i \sim N(0, s^2)`.

    .. math:: -\log p(\omega) = \sum_i \frac{\omega_i^2}{2 s^2} + \text{const}

    For DPO's process it is the belief that the policy is close to its reference.

    Parameters
    ----------
    scale : float
        :math:`s` in nats, from 1e-150 to 1e150. Two utilities that are 1.4 s apart are a difference of one standard
        deviation.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.estimation import GaussianPrior
    >>> GaussianPrior(2.0).log_density(np.array([2.0, 0.0]))
    -0.5
    """

    scale: float

    def __post_init__(self) -> None:
        scale = positive_number("scale", self.scale)
        if not 1e-150 <= scale <= 1e150:
            raise ValueError(f"`scale` must be from 1e-150 to 1e150, or its square is not a number; got {scale}")
        object.__setattr__(self, "scale", scale)

    def __str__(self) -> str:
        return f"normal, standard deviation {self.scale:g}"

    @property
    def pseudo_count(self) -> float:
        """The `PseudoCounts` with the same curvature at zero."""
        return 2.0 / self.scale**2

    @np.errstate(over="ignore")
    def log_density(self, utilities: FloatArray) -> float:
        """Sum of the log-densities, without the constants."""
        return -0.5 * float(np.square(array("utilities", utilities) / self.scale).sum())

    @np.errstate(over="ignore")
    def slope(self, utilities: FloatArray) -> FloatArray:
        """Derivative of the negative log-density, elementwise."""
        return array("utilities", utilities) / self.scale**2

    def curvature(self, utilities: FloatArray) -> FloatArray:
        """Its second derivative, positive."""
        return np.full_like(array("utilities", utilities), 1.0 / self.scale**2)


@dataclass(frozen=True)
class PseudoCounts(Shown):
    r"""As if each item had won and lost so many comparisons with an outcome of utility zero.

    .. math:: -\log p(\omega) = c \sum_i \big[\log(1 + e^{\omega_i}) + \log(1 + e^{-\omega_i})\big] + \text{const}

    The probability of beating that outcome, :math:`\sigma(\omega_i)`, has the density Beta(c, c).

    Parameters
    ----------
    count : float
        :math:`c`, from 1e-200 to 1e200; need not be whole.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.estimation import PseudoCounts
    >>> PseudoCounts(1.0).slope(np.array([0.0, 1000.0]))  # a win to come against a loss that happened
    array([0., 1.])
    """

    count: float

    def __post_init__(self) -> None:
        count = positive_number("count", self.count)
        if not 1e-200 <= count <= 1e200:
            raise ValueError(f"`count` must be from 1e-200 to 1e200; got {count}")
        object.__setattr__(self, "count", count)

    def __str__(self) -> str:
        return f"pseudo-counts, {self.count:g} wins and losses for each item"

    @property
    def pseudo_count(self) -> float:
        """The same as `count`."""
        return self.count

    @np.errstate(over="ignore")
    def log_density(self, utilities: FloatArray) -> float:
        """Sum of the log-densities, without the constants."""
        utilities = array("utilities", utilities)
        return -self.count * float((softplus(utilities) + softplus(-utilities)).sum())

    def slope(self, utilities: FloatArray) -> FloatArray:
        """Derivative of the negative log-density, elementwise."""
        return np.asarray(self.count * np.tanh(0.5 * array("utilities", utilities)))

    def curvature(self, utilities: FloatArray) -> FloatArray:
        """Its second derivative, positive."""
        utilities = array("utilities", utilities)
        return np.asarray(2.0 * self.count * expit(utilities) * expit(-utilities))
