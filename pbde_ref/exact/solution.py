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
        Upper bound on the loss above the least possible one, in nats, up to rounding of the gradient and eigenvalue
        below; infinite where they prove nothing.
    gradient_norm : float
        Euclidean norm of the gradient.
    smallest_eigenvalue : float
        Of the Hessian, on the complement of its null space; positive where the solution is unique up to constants.
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph: one undetermined constant for each.
    """

    gap: float
    gradient_norm: float
    smallest_eigenvalue: float
    components: IndexArray


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
        Whether the certified gap is within the tolerance asked for.
    certificate : Certificate
    steps : int
        Newton steps taken.
    """

    value: FloatArray
    loss: float
    converged: bool
    certificate: Certificate
    steps: int
