"""What batch losses demand of their arguments, and the precision that they come in.

A `Rule` says it twice: as a check of every entry, which makes them float64 or raises, and as a quick look at a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.result import Precision
from pbde_ref.validation import FloatArray, array, reject

__all__ = [
    "FINITE", "LENGTHS", "LOG_PROBABILITIES", "NON_NEGATIVE", "NUMBERS", "POSITIVE", "REAL", "REFERENCE", "Rule",
    "batch", "defined_pairs", "finite", "finite_and_at_least", "lengths_of", "log_probabilities", "log_ratio_margins",
    "per_example", "policies", "precision", "reference_log_probabilities",
]  # fmt: skip


class Rule(NamedTuple):
    """What an argument must obey.

    Attributes
    ----------
    checked : callable
        From name, value and ``shape=`` (None for the first argument) to a float64 array, or a number for all examples,
        or an error.
    holds : callable
        Whether a chunk obeys, apart from NaN and infinities, which the loss must show. False is only a doubt.
    """

    checked: Callable[..., FloatArray | float]
    holds: Callable[[NDArray[Any]], bool]


def precision(*values: ArrayLike) -> Precision:
    """float32 if every array is float32 or float16, else float64."""
    try:
        small = all(np.asarray(value).dtype in (np.float16, np.float32) for value in values)
    except Exception:
        # Whatever an object raises that is no array, the argument is named where it is checked.
        return np.float64
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


def reference_log_probabilities(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None) -> FloatArray:
    """Numbers in (-inf, 0]: a reference of zero would make the policy's utility infinite."""
    result = log_probabilities(name, value, shape=shape)
    reject(name, "finite", result, np.isinf(result))
    return result


def per_example(name: str, value: ArrayLike, *, shape: tuple[int, ...], sign: str = "any") -> FloatArray | float:
    """Finite numbers: one for all examples, or one for each."""
    if type(value) is float and 0.0 < value < math.inf:
        return value
    result = array(name, value)
    if result.shape not in ((), shape):
        raise ValueError(f"`{name}` must be a number or have shape {shape}; got shape {result.shape}")
    reject(name, "finite", result, np.isinf(result))
    if sign != "any":
        reject(name, sign, result, result <= 0.0 if sign == "positive" else result < 0.0)
    return result if result.ndim else float(result)


def lengths_of(name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> FloatArray:
    """Numbers of tokens: positive and finite."""
    result = batch(name, value, shape=shape)
    reject(name, "positive", result, result <= 0.0)
    reject(name, "finite", result, np.isinf(result))
    return result


def defined_pairs(chosen_name: str, chosen: FloatArray, rejected_name: str, margins: FloatArray) -> None:
    """Raise for the first pair of two excluded outcomes, whose margin is not a number."""
    undefined = np.isnan(margins)
    if undefined.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(undefined)), undefined.shape))
        raise ValueError(
            f"`{chosen_name}` and `{rejected_name}` must not be the same infinity in a pair "
            f"(such a preference is 0/0); got {math.copysign(math.inf, chosen[place])} twice "
            f"at index {place[0] if len(place) == 1 else place}"
        )


def _at_most_zero(chunk: NDArray[Any]) -> bool:
    return bool(np.maximum.reduce(chunk, axis=None) <= 0.0)


def finite_and_at_least(least: float, chunk: NDArray[Any]) -> bool:
    """Whether all of a chunk is."""
    return bool(np.minimum.reduce(chunk, axis=None) >= least and np.maximum.reduce(chunk, axis=None) < math.inf)


# The least positive number.
_above_zero = partial(finite_and_at_least, math.ulp(0.0))
REAL = Rule(batch, lambda chunk: True)
FINITE = Rule(finite, lambda chunk: True)
LOG_PROBABILITIES = Rule(log_probabilities, _at_most_zero)
REFERENCE = Rule(reference_log_probabilities, _at_most_zero)
LENGTHS = Rule(lengths_of, _above_zero)
NUMBERS = Rule(per_example, lambda chunk: True)
POSITIVE = Rule(partial(per_example, sign="positive"), _above_zero)
NON_NEGATIVE = Rule(partial(per_example, sign="non-negative"), partial(finite_and_at_least, 0.0))


def policies(policy_chosen: ArrayLike, policy_rejected: ArrayLike, *references: ArrayLike) -> dict[str, Any]:
    """The policy's, and perhaps the reference's, log-probabilities of each pair, with what they must obey."""
    both = {"policy_chosen": policy_chosen, "policy_rejected": policy_rejected}
    others = zip(("reference_chosen", "reference_rejected"), references, strict=False)
    return {name: (value, LOG_PROBABILITIES) for name, value in both.items()} | {n: (x, REFERENCE) for n, x in others}


def log_ratio_margins(pc: FloatArray, pr: FloatArray, rc: FloatArray, rr: FloatArray, *tokens: Any) -> FloatArray:
    """Log-ratio of policy to reference of the chosen less that of the rejected outcome, per token if asked."""
    # A policy is close to its reference, so these two differences lose nothing; those of chosen and rejected would.
    chosen, rejected = pc - rc, pr - rr
    if tokens:
        chosen, rejected = chosen / tokens[0], rejected / tokens[1]
    chosen -= rejected
    return chosen
