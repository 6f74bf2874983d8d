"""What comes of exact analysis: an expectation with its gradient, and an optimum with what proves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.display import Shown
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["Certificate", "ExpectedLoss", "NoMinimumError", "Optimum", "Solution", "undetermined", "unmet"]


class NoMinimumError(ValueError):
    """No finite utilities have the least loss: it falls on for ever, or towards an infimum."""


@dataclass(frozen=True, eq=False)
class ExpectedLoss(Shown):
    """An expected loss.

    Attributes
    ----------
    value : float
        In nats for the Bradley–Terry objective; may be infinite.
    gradient : ndarray, shape (n,)
        Derivative with respect to the utilities; its entries sum to zero. Read-only.
    method : str
        How the sum over pairs was formed: "dense", pair by pair; "kernel_sum", in linear time; "close_kernel_sum", the
        same with a value whose relative error is small although the value is.
    """

    value: float
    gradient: FloatArray
    method: str = "dense"


@dataclass(frozen=True, eq=False)
class Certificate(Shown):
    """Why utilities are a minimum of a smooth loss.

    Attributes
    ----------
    gap : float
        Upper bound on the loss above the least possible one, in nats; infinite where nothing is proved.
    gradient_norm : float
        Euclidean norm of the gradient.
    smallest_eigenvalue : float
        Of the Hessian, on the complement of its null space; positive where the solution is unique up to constants.
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph: one undetermined constant for each.
    utility_error : float
        Upper bound, in nats, on the error of any difference of two utilities of one component; centred utilities are
        no further off than that. Infinite where nothing is proved, 0 where there is nothing to determine.
    """

    gap: float
    gradient_norm: float
    smallest_eigenvalue: float
    components: IndexArray
    utility_error: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Optimum(Shown):
    r"""What a loss is least at, and what proves it: the result of every minimiser.

    Attributes
    ----------
    policy : FiniteDistribution, ConditionalDistribution or None
        The best policy: as a limit where no policy attains the infimum; None where the loss determines none.
    utilities : ndarray, shape (n,)
        What the loss determines up to constants, in nats: :math:`\Omega` of the cross-entropy losses, the log-ratio of
        policy and reference of IPO and RSO, :math:`\log \pi` of SLiC-HF and RRHF. Read-only. NaN where it determines
        none, and `policy` is None.
    loss : float
        The expected loss there; in nats, for squared losses in nats squared.
    gap : float
        Upper bound on `loss` above the least possible one, rounding included; infinite where nothing is proved.
    utility_error : float
        Upper bound, in nats, on the error of any difference of two utilities that the loss determines; infinite where
        nothing is proved.
    policy_error : float
        Upper bound on the total variation between `policy` and the best one; 1 where nothing is proved.
    converged : bool
        Whether what is proved is within the tolerances asked for.
    unique : bool or None
        Whether no other policy is as good; None where neither is proved.
    proof : str
        What the bounds rest on: "curvature" (gradient and effective resistances), "dual" (a feasible dual point),
        "equations" (the residual of linear equations), "divergence" (an expected divergence, which is never negative),
        or nothing.
    certificate : object
        The evidence itself: a `Certificate`, a dual point, a residual, a lower bound.
    steps : int
        Steps taken.
    reason : str
        Why the result is not converged, or what to know about it, in a sentence; mostly empty.
    """

    policy: Any
    utilities: FloatArray
    loss: float
    gap: float
    utility_error: float = math.inf
    policy_error: float = 1.0
    converged: bool
    unique: bool | None
    proof: str
    certificate: Any = None
    steps: int = 0
    reason: str = ""

    @property
    def value(self) -> FloatArray:
        """`utilities`."""
        return self.utilities


def undetermined(size: int, reason: str, loss: float = math.nan) -> Optimum:
    """No policy is the best one.

    Examples
    --------
    >>> found = undetermined(2, "nobody was asked")
    >>> found.policy is None, found.utilities, found.reason
    (True, array([nan, nan]), 'nobody was asked')
    """
    nothing = np.full(size, np.nan)
    nothing.flags.writeable = False
    return Optimum(
        policy=None, utilities=nothing, loss=loss, gap=math.inf, converged=False, unique=False, proof="", reason=reason
    )


Solution = Optimum
"""Another name of `Optimum`."""


def unmet(*bounds: tuple[str, float, float]) -> str:
    """Which of several bounds is above what was asked for, in a sentence; empty if none is.

    Examples
    --------
    >>> unmet(("gap", 1e-9, 1e-8), ("policy error", 2e-3, 1e-3))
    'its policy error is 2.0e-03, and was to be at most 1e-03'
    """
    for name, found, asked in bounds:
        if not found <= asked:
            return f"its {name} is {found:.1e}, and was to be at most {asked:.0e}"
    return ""
