r"""Which objective a trained policy fits best: families of optima of one sample, and the member nearest to the policy.

Each family is :math:`\log \pi = b + \theta v + \text{const}` (see `sample_optima`), so the nearest member is a
projection: :math:`\theta` by least squares on centred log-probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["UNTRAINED", "Family", "Fit", "families", "fit_family", "smoothed_family", "spread"]

UNTRAINED = "the reference itself, untrained"


@dataclass(frozen=True, eq=False)
class Family:
    """Optima of one objective over all values of its parameter, or of several that nothing fixes."""

    objective: str
    base: FloatArray
    direction: FloatArray | None
    parameter: str = ""
    value_of: Callable[[float], float] = float


@dataclass(frozen=True)
class Fit:
    """An objective's optimum that is nearest to the policy.

    Attributes
    ----------
    objective : str
        In words, such as "IPO" or "DPO without the reference".
    parameter : str
        Name of its parameter; empty if it has none.
    value : float
        The parameter at which its optimum is nearest; infinite where that is the base itself. NaN if it has none.
    distance : float
        From the policy, in units of the distance between the reference and the declared optimum.
    """

    objective: str
    parameter: str
    value: float
    distance: float

    def __str__(self) -> str:
        with_value = f" with {self.parameter}={self.value:.3g}" if self.parameter else ""
        return f"{self.objective}{with_value}, at distance {self.distance:.2g}"


def spread(log_probs: FloatArray) -> float:
    """Root mean square about the mean: a norm in which constants do not count.

    Examples
    --------
    >>> spread(np.array([3.0, 5.0]))
    1.0
    """
    return float(np.sqrt(np.mean((log_probs - log_probs.mean()) ** 2)))


def families(
    reference: FloatArray, logistic: FloatArray, quadratic: FloatArray, hinge: FloatArray, wins: FloatArray
) -> list[Family]:
    """The objectives that a trainer may have minimised on this sample.

    Parameters
    ----------
    reference : ndarray, shape (n,)
        Its log-probabilities.
    logistic, quadratic, hinge : ndarray, shape (n,)
        What `direction` finds on the sample for "bradley_terry", "ipo" and "hinge".
    wins : ndarray, shape (n,)
        How often each outcome was chosen, positive.
    """
    nothing = np.zeros_like(reference)
    # Those without a parameter come first: they are the simpler explanation.
    return [
        Family(UNTRAINED, reference, None),
        Family("maximum likelihood of the chosen outcomes", np.log(wins), None),
        Family("DPO", reference, logistic, "beta", _inverse),
        Family("the Luce rule (DPO without the reference)", nothing, logistic, "beta", _inverse),
        Family("the geometric loss", reference, logistic - reference, "alpha"),
        Family("IPO", reference, quadratic, "tau", _half_inverse),
        Family("IPO without the reference", nothing, quadratic, "tau", _half_inverse),
        Family("RSO", reference, hinge, "delta"),
        Family("SLiC without regulariser (RSO without the reference)", nothing, hinge, "delta"),
    ]


def smoothed_family(reference: FloatArray, logistic: FloatArray, epsilon: float) -> Family:
    """DPO with smoothed labels; `logistic` is the direction that these give."""
    return Family(f"DPO with label smoothing {epsilon:g}", reference, logistic, "beta", _inverse)


def fit_family(family: Family, log_probs: FloatArray, unit: float) -> Fit:
    """The member nearest to a policy.

    Examples
    --------
    >>> ramp = np.array([0.0, 1.0, 2.0])
    >>> print(fit_family(Family("DPO", np.zeros(3), ramp, "beta", lambda x: 1 / x), 4 * ramp - 7.0, unit=1.0))
    DPO with beta=0.25, at distance 0
    """
    offset = log_probs - family.base
    offset = offset - offset.mean()
    if family.direction is None:
        return Fit(family.objective, "", math.nan, spread(offset) / unit)
    along = family.direction - family.direction.mean(axis=0)
    if along.ndim == 2:
        left = offset - along @ np.linalg.lstsq(along, offset)[0]
        return Fit(family.objective, "", math.nan, spread(left) / unit)
    length = float(along @ along)
    theta = float(offset @ along) / length if length > 0.0 else 0.0
    return Fit(family.objective, family.parameter, family.value_of(theta), spread(offset - theta * along) / unit)


def _inverse(theta: float) -> float:
    return 1.0 / theta if theta else math.inf


def _half_inverse(theta: float) -> float:
    return 0.5 / theta if theta else math.inf
