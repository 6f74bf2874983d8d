"""What every batch loss returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pbde_ref.display import Shown
from pbde_ref.validation import shown

__all__ = ["BatchLoss", "Precision", "Reduction", "batch_loss", "batch_size"]

Precision = type[np.floating[Any]]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True, eq=False)
class BatchLoss(Shown):
    """A loss over a batch with its gradients.

    Attributes
    ----------
    value : float
        The loss: the mean or the sum over the batch, as asked. May be infinite.
    losses : ndarray, shape (B,)
        Each example's own loss, not divided by anything. Read-only.
    gradients : mapping of str to ndarray
        Derivative of `value` with respect to each differentiable argument, under its name and in its shape. Arguments
        that no gradient flows into are absent. Read-only.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> result = losses.dpo_loss([-1.0], [-2.0], [-2.0], [-2.0], beta=2.0)
    >>> round(result.value, 6), sorted(result.gradients)  # log(1 + exp(-2))
    (0.126928, ['policy_chosen', 'policy_rejected'])
    """

    value: float
    losses: NDArray[Any]
    gradients: Mapping[str, NDArray[Any]]

    def __reduce__(self) -> Any:
        """A read-only mapping cannot be stored; what it shows can."""
        return batch_loss, (self.value, self.losses, dict(self.gradients))


def batch_size(reduction: str, size: int) -> int:
    """What the sum over a batch of `size` examples is divided by."""
    if not isinstance(reduction, str) or reduction not in ("mean", "sum"):
        raise ValueError(
            f"`reduction` must be 'mean' or 'sum' (each example's own loss is in the result's `losses`); "
            f"got {shown(reduction)}"
        )
    return size if reduction == "mean" else 1


def batch_loss(value: float, losses: NDArray[Any], gradients: dict[str, NDArray[Any]]) -> BatchLoss:
    """The result; its arrays become read-only."""
    if math.isnan(value):
        raise ValueError("the losses of a batch must have a sum; got both inf and -inf among them")
    for array in (losses, *gradients.values()):
        array.flags.writeable = False
    return BatchLoss(value, losses, MappingProxyType(gradients))
