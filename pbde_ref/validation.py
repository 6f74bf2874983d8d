"""Arguments become float64 arrays here, or an error that names the argument, the rule and the offending value."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

__all__ = [
    "FloatArray", "IndexArray", "array", "comparison_weights", "flip_probability", "indices", "instance", "matrix",
    "non_negative_number", "number", "positive_number", "probability_weights", "reject", "same_size",
    "transition_matrix", "vector", "whole_number",
]  # fmt: skip


def reject(name: str, rule: str, values: NDArray[Any], bad: NDArray[np.bool_]) -> None:
    """Raise ``ValueError`` for the first entry of `values` that `bad` marks; do nothing if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> f = np.array([1.0, 2.0, 0.5, -0.5])
    >>> reject("f", "positive", f, f <= 0)
    Traceback (most recent call last):
        ...
    ValueError: `f` must be positive; got -0.5 at index 3
    """
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = values[place]
    at = "" if not place else f" at index {place[0] if len(place) == 1 else tuple(int(i) for i in place)}"
    raise ValueError(f"`{name}` must be {rule}; got {value}{at}")


def array(name: str, value: ArrayLike) -> FloatArray:
    """A float64 copy of `value` without NaN."""
    try:
        # Text, dates and complex numbers would convert, but not to what anyone meant.
        if np.asarray(value).dtype.kind not in "biufO":
            raise TypeError("not real numbers")
        result = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be an array of real numbers; got {value!r}") from error
    reject(name, "free of NaN", result, np.isnan(result))
    return result


def instance(name: str, value: Any, kind: type, description: str) -> None:
    """Raise ``TypeError`` unless `value` is of a kind.

    Examples
    --------
    >>> instance("reference", [0.5, 0.5], dict, "a dictionary")
    Traceback (most recent call last):
        ...
    TypeError: `reference` must be a dictionary; got list
    """
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be {description}; got {type(value).__name__}")


def vector(name: str, value: ArrayLike, *, size: int | None = None) -> FloatArray:
    """A read-only float64 copy of `value`, one-dimensional, not empty and without NaN."""
    result = array(name, value)
    if result.ndim != 1 or result.size == 0:
        raise ValueError(f"`{name}` must be a vector with at least one entry; got shape {result.shape}")
    if size is not None:
        same_size(name, result.size, size)
    result.flags.writeable = False
    return result


def matrix(name: str, value: ArrayLike, *, size: int | None = None) -> FloatArray:
    """A read-only float64 copy of `value`, square, not empty and without NaN."""
    result = array(name, value)
    if result.ndim != 2 or result.shape[0] != result.shape[1] or result.size == 0:
        raise ValueError(f"`{name}` must be a square matrix with at least one entry; got shape {result.shape}")
    if size is not None:
        same_size(name, result.shape[0], size)
    result.flags.writeable = False
    return result


def same_size(name: str, size: int, expected: int) -> None:
    """Raise unless an argument's number of outcomes is the expected one."""
    if size != expected:
        raise ValueError(f"`{name}` must have {expected} outcomes, one for each of the support; got {size}")


def comparison_weights(name: str, values: FloatArray) -> None:
    """Raise unless numbers of comparisons are non-negative and so small that nothing made of their sum overflows.

    Examples
    --------
    >>> import numpy as np
    >>> comparison_weights("weights", np.array([1e308, 1e-308, 1e308]))
    Traceback (most recent call last):
        ...
    ValueError: `weights` must be below 1e150 divided by how many they are; got 1e+308 at index 0
    """
    reject(name, "finite", values, np.isinf(values))
    reject(name, "non-negative", values, values < 0.0)
    reject(name, "below 1e150 divided by how many they are", values, values >= 1e150 / max(values.size, 1))


def probability_weights(name: str, values: FloatArray) -> FloatArray:
    """Finite non-negative weights of any shape, divided by their sum, read-only."""
    reject(name, "finite", values, ~np.isfinite(values))
    reject(name, "non-negative", values, values < 0)
    largest = values.max()
    if largest == 0:
        raise ValueError(f"`{name}` must have positive mass; got weights that are all 0")
    # Dividing by the largest weight first keeps the sum of very large or very small weights finite and non-zero.
    weights = values / largest
    weights = weights / weights.sum()
    weights.flags.writeable = False
    return weights


def number(name: str, value: Any) -> float:
    """A finite real number."""
    result = array(name, value)
    if result.ndim != 0:
        raise TypeError(f"`{name}` must be a single number; got shape {result.shape}")
    reject(name, "finite", result, ~np.isfinite(result))
    return float(result)


def positive_number(name: str, value: Any) -> float:
    """A finite real number above zero."""
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"`{name}` must be positive; got {result}")
    return result


def non_negative_number(name: str, value: Any) -> float:
    """A finite real number of at least zero."""
    result = number(name, value)
    if result < 0.0:
        raise ValueError(f"`{name}` must be non-negative; got {result}")
    return result


def flip_probability(name: str, value: Any) -> float:
    """A real number in [0, 1/2)."""
    result = number(name, value)
    if not 0.0 <= result < 0.5:
        raise ValueError(f"`{name}` must be in [0, 1/2); got {result}")
    return result


def transition_matrix(name: str, value: ArrayLike, *, size: int | None = None) -> FloatArray:
    """A read-only square matrix whose rows are probabilities, up to rounding of their sums.

    Examples
    --------
    >>> transition_matrix("kernel", [[0.5, 0.5], [1.0, 1.0]])
    Traceback (most recent call last):
        ...
    ValueError: `row sums of kernel` must be 1 within 1e-12; got 2.0 at index 1
    """
    result = matrix(name, value, size=size)
    reject(name, "non-negative", result, result < 0.0)
    sums = result.sum(axis=1)
    tolerance = max(1e-12, len(result) * float(np.finfo(float).eps))
    reject(f"row sums of {name}", f"1 within {tolerance:.0e}", sums, ~(np.abs(sums - 1.0) <= tolerance))
    return result


def whole_number(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number of at least `least`."""
    try:
        result = operator.index(value)
    except TypeError as error:
        raise TypeError(f"`{name}` must be a whole number; got {value!r}") from error
    if result < least:
        raise ValueError(f"`{name}` must be at least {least}; got {result}")
    return result


def indices(name: str, value: Sequence[int] | NDArray[Any]) -> IndexArray:
    """A read-only vector of non-negative whole numbers."""
    result = np.array(value)
    if result.ndim != 1 or result.size == 0 or not np.issubdtype(result.dtype, np.integer):
        raise TypeError(
            f"`{name}` must be a vector of whole numbers with at least one entry; "
            f"got shape {result.shape} and dtype {result.dtype}"
        )
    reject(name, "non-negative", result, result < 0)
    result = result.astype(np.intp)
    result.flags.writeable = False
    return result
