"""What batch losses demand of their arguments; all becomes float64, the caller's precision is noted beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.losses.result import Precision
from pbde_ref.validation import FloatArray, array, reject

__all__ = [
    "PolicyAndReference", "batch", "difference", "finite", "lengths_of", "log_probabilities", "per_example",
    "policy_and_reference", "policy_pair", "precision", "reference_log_probabilities",
]  # fmt: skip


def precision(*values: ArrayLike) -> Precision:
    """float32 if every array is float32 or float16, else float64."""
    small = all(np.asarray(value).dtype in (np.float16, np.float32) for value in values)
    return np.float32 if small else np.float64


def batch(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None, ndim: int = 1) -> FloatArray:
    """An array without NaN that has at least one entry, of the given shape or number of axes."""
    result = array(name, value)
    if shape is not None:
        if result.shape != shape:
            raise ValueError(f"`{name}` must have shape {shape}, as the arguments before it; got shape {result.shape}")
    elif result.ndim != ndim or result.size == 0:
        kind = "a vector" if ndim == 1 else f"an array of {ndim} axes"
        raise ValueError(f"`{name}` must be {kind} with at least one entry; got shape {result.shape}")
    return result


def finite(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> FloatArray:
    """A vector of finite numbers."""
    result = batch(name, value, shape=shape)
    reject(name, "finite", result, np.isinf(result))
    return result


def log_probabilities(
    name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None, ndim: int = 1
) -> FloatArray:
    """Numbers in [-inf, 0]."""
    result = batch(name, value, shape=shape, ndim=ndim)
    reject(name, "at most 0 (a log-probability)", result, result > 0.0)
    return result


def reference_log_probabilities(name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> FloatArray:
    """Numbers in (-inf, 0]: a reference of zero would make the policy's utility infinite."""
    result = log_probabilities(name, value, shape=shape)
    reject(name, "finite", result, np.isinf(result))
    return result


def per_example(name: str, value: ArrayLike, size: int, *, sign: str = "any") -> FloatArray:
    """Finite numbers, shape (size,), from one for all examples or one for each."""
    result = array(name, value)
    if result.shape not in ((), (size,)):
        raise ValueError(f"`{name}` must be a number or have shape {(size,)}; got shape {result.shape}")
    reject(name, "finite", result, np.isinf(result))
    if sign != "any":
        reject(name, sign, result, result <= 0.0 if sign == "positive" else result < 0.0)
    return np.broadcast_to(result, (size,))


def lengths_of(name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> FloatArray:
    """Numbers of tokens: positive and finite."""
    result = batch(name, value, shape=shape)
    reject(name, "positive", result, result <= 0.0)
    reject(name, "finite", result, np.isinf(result))
    return result


def difference(chosen_name: str, chosen: FloatArray, rejected_name: str, rejected: FloatArray) -> FloatArray:
    """`chosen - rejected`, where a pair must not consist of two excluded outcomes."""
    with np.errstate(invalid="ignore"):
        result = chosen - rejected
    undefined = np.isnan(result)
    if undefined.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(undefined)), undefined.shape))
        raise ValueError(
            f"`{chosen_name}` and `{rejected_name}` must not be the same infinity in a pair "
            f"(such a preference is 0/0); got {chosen[place]} twice at index {place[0] if len(place) == 1 else place}"
        )
    return result


def policy_pair(policy_chosen: ArrayLike, policy_rejected: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The policy's log-probabilities of the chosen and of the rejected outcomes."""
    chosen = log_probabilities("policy_chosen", policy_chosen)
    return chosen, log_probabilities("policy_rejected", policy_rejected, shape=chosen.shape)


class PolicyAndReference(NamedTuple):
    """The four vectors of most losses, checked, and the precision that they came in."""

    policy_chosen: FloatArray
    policy_rejected: FloatArray
    reference_chosen: FloatArray
    reference_rejected: FloatArray
    dtype: Precision

    def log_ratio_margins(self, tokens_w: FloatArray | float = 1.0, tokens_l: FloatArray | float = 1.0) -> FloatArray:
        """Log-ratio of policy to reference of the chosen less that of the rejected outcome, per token if asked."""
        # A policy is close to its reference, so these two differences lose nothing; those of chosen and rejected would.
        chosen = (self.policy_chosen - self.reference_chosen) / tokens_w
        rejected = (self.policy_rejected - self.reference_rejected) / tokens_l
        return difference("policy_chosen", chosen, "policy_rejected", rejected)


def policy_and_reference(
    policy_chosen: ArrayLike, policy_rejected: ArrayLike, reference_chosen: ArrayLike, reference_rejected: ArrayLike
) -> PolicyAndReference:
    """The four vectors of log-probabilities, checked."""
    chosen, rejected = policy_pair(policy_chosen, policy_rejected)
    return PolicyAndReference(
        chosen,
        rejected,
        reference_log_probabilities("reference_chosen", reference_chosen, shape=chosen.shape),
        reference_log_probabilities("reference_rejected", reference_rejected, shape=chosen.shape),
        precision(policy_chosen, policy_rejected, reference_chosen, reference_rejected),
    )
