"""What a numerical minimiser returns: the minimum, and what certifies it."""

from __future__ import annotations

from dataclasses import dataclass

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["Certificate", "Solution"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """Why a solution is a minimum.

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


@dataclass(frozen=True, eq=False)
class Solution:
    """A numerical minimum.

    Attributes
    ----------
    value : ndarray, shape (n,)
        The minimiser; utilities with mean zero in each component of the comparison graph. Read-only.
    loss : float
        The objective there, in nats.
    converged : bool
        Whether the certified gap and the certified error of the utilities are within the tolerances asked for.
    certificate : Certificate
    steps : int
        Newton steps taken.
    reason : str
        Why the solution is not converged, in a sentence; empty where it is.
    """

    value: FloatArray
    loss: float
    converged: bool
    certificate: Certificate
    steps: int
    reason: str = ""
