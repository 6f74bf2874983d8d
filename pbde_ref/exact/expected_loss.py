"""What every expectation over pairs returns."""

from __future__ import annotations

from dataclasses import dataclass

from pbde_ref.validation import FloatArray

__all__ = ["ExpectedLoss"]


@dataclass(frozen=True, eq=False)
class ExpectedLoss:
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
