"""Arguments become float64 arrays here, or an error that names the argument, the rule and the offending value."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

__all__ = [
    "FloatArray", "IndexArray", "array", "choice", "comparison_weights", "flip_probability", "function_or_none",
    "generator_of", "hashable", "indices", "instance", "matrix", "non_negative_number", "number", "plain_array",
    "positive_number", "probability_weights", "reject", "same_size", "shown", "switch", "transition_matrix", "vector",
    "whole_number",
]  # fmt: skip

MOST_SHOWN = 100
MOST_SEEDS = 10_000


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
    value = shown(value) if values.dtype.hasobject else value
    at = "" if not place else f" at index {place[0] if len(place) == 1 else tuple(int(i) for i in place)}"
    raise ValueError(f"`{name}` must be {rule}; got {value}{at}")


def shown(value: Any) -> str:
    """A value for an error message, in at most 100 characters.

    Examples
    --------
    >>> shown([0.5, "a"]), len(shown("x" * 1000))
    ("[0.5, 'a']", 100)
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # Its own code; or a number of so many digits that Python refuses to write them.
        return f"an object of type {type(value).__name__:.60}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 4]} ..."


def plain_array(name: str, value: Any, kind: str = "an array") -> NDArray[Any]:
    """What NumPy makes of a value, of any type, or an error that names the argument.

    Raises
    ------
    TypeError
        If it cannot be an array.
    ValueError
        If entries are masked: what they stand for is not known here.
    """
    if isinstance(value, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(value).sum())
        if masked:
            raise ValueError(f"`{name}` must be free of masked entries; got {masked} of {value.size}")
    if isinstance(value, bytearray | memoryview):
        raise TypeError(f"`{name}` must be {kind}; got {shown(value)}")
    if isinstance(value, list | tuple) and any(entry is np.ma.masked for entry in value):
        raise ValueError(f"`{name}` must be free of masked entries; got one")
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:
        # An object's own conversion may raise anything.
        raise TypeError(f"`{name}` must be {kind}{_part(name, value)}; got {shown(value)}") from error


def _part(name: str, value: Any) -> str:
    """What of a value may have been meant."""
    # Asked of the type: what an object answers itself may be anything.
    known = getattr(type(value), "__dataclass_fields__", ())
    own = next((part for part in ("log_pmf", "utility", "utilities") if part in known), "")
    # Probabilities are numbers too, but as utilities or rewards not what anyone meant.
    probabilities = " or `pmf`" if own == "log_pmf" and name not in ("utilities", "rewards") else ""
    return f", such as its `{own}`{probabilities}" if own else ""


def array(name: str, value: ArrayLike, *, nan: bool = False) -> FloatArray:
    """A float64 copy of `value`, without NaN unless it is allowed."""
    given = plain_array(name, value, "an array of real numbers")
    # Text, dates and complex numbers would convert, but not to what anyone meant.
    numbers = given.dtype.kind in "biuf" or (
        given.dtype.kind == "O" and not any(isinstance(entry, (str, bytes)) for entry in given.flat)
    )
    try:
        if not numbers:
            raise TypeError("not real numbers")
        if given.dtype == np.float64:
            result = np.array(given)
        else:
            with np.errstate(over="raise"):
                result = np.array(given, dtype=np.float64)
    except (OverflowError, FloatingPointError) as error:
        raise ValueError(f"`{name}` must be in the range of float64; got {shown(value)}") from error
    except MemoryError as error:
        raise ValueError(f"`{name}` must fit into memory; got shape {given.shape}") from error
    except Exception as error:
        raise TypeError(f"`{name}` must be an array of real numbers{_part(name, value)}; got {shown(value)}") from error
    if not nan:
        reject(name, "free of NaN", result, np.isnan(result))
    return result


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """One of several words; the error has all of them, or the nearest if they are many.

    Examples
    --------
    >>> choice("reduction", "median", ("mean", "sum"))
    Traceback (most recent call last):
        ...
    ValueError: `reduction` must be 'mean' or 'sum'; got 'median'
    >>> choice("month", "mai", (f"month {number}" for number in range(99)))
    Traceback (most recent call last):
        ...
    ValueError: `month` must be one of 99 words, such as ...; got 'mai'
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        lead = ""
        if sum(map(len, words)) > MOST_SHOWN:
            lead = f"one of {len(words)} words, such as "
            words = difflib.get_close_matches(shown(value), words, 3, 0.0)
        *first, last = [repr(word) for word in words]
        rule = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"`{name}` must be {lead}{rule}; got {shown(value)}")
    return value


def switch(name: str, value: Any) -> bool:
    """True or False, and nothing that is merely taken for it."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {shown(value)}")
    return bool(value)


def instance(name: str, value: Any, kind: type | tuple[type, ...], description: str) -> None:
    """Raise ``TypeError`` unless `value` is of a kind.

    Examples
    --------
    >>> instance("reference", [0.5, 0.5], dict, "a dictionary")
    Traceback (most recent call last):
        ...
    TypeError: `reference` must be a dictionary; got list
    """
    try:
        # A type has the methods of its instances, but no values.
        fits = isinstance(value, kind) and not isinstance(value, type)
    except Exception:
        # A protocol asks the value for its attributes, which may raise anything.
        fits = False
    if not fits:
        raise TypeError(f"`{name}` must be {description}; got {type(value).__name__:.60}")


def function_or_none(name: str, value: Any) -> None:
    """Raise ``TypeError`` unless `value` can be called, or is None.

    Examples
    --------
    >>> function_or_none("callback", 3)
    Traceback (most recent call last):
        ...
    TypeError: `callback` must be a function; got 3
    """
    if value is not None and not callable(value):
        raise TypeError(f"`{name}` must be a function; got {shown(value)}")


def hashable(name: str, label: Any, index: int) -> None:
    """Raise ``TypeError`` unless a label can be the key of a dictionary, ``ValueError`` where it is not itself.

    Examples
    --------
    >>> hashable("support", ["tea"], 2)
    Traceback (most recent call last):
        ...
    TypeError: `support` must hold hashable labels; got ['tea'] at index 2
    """
    try:
        hash(label)
    except Exception:
        raise TypeError(f"`{name}` must hold hashable labels; got {shown(label)} at index {index}") from None
    if not _equals_itself(label):
        raise ValueError(f"`{name}` must hold labels that equal themselves; got {shown(label)} at index {index}")


def _equals_itself(label: Any) -> bool:
    """Whether it does: NaN does not, and pandas' NA is not known to."""
    try:
        return bool(label == label)
    except Exception:
        return False


def vector(name: str, value: ArrayLike, *, size: int | None = None) -> FloatArray:
    """A read-only float64 copy of `value`, one-dimensional, not empty and without NaN."""
    return _sized(name, array(name, value), 1, "a vector", size)


def matrix(name: str, value: ArrayLike, *, size: int | None = None) -> FloatArray:
    """A read-only float64 copy of `value`, square, not empty and without NaN."""
    return _sized(name, array(name, value), 2, "a square matrix", size)


def _sized(name: str, result: FloatArray, axes: int, kind: str, size: int | None) -> FloatArray:
    if result.ndim != axes or len(set(result.shape)) != 1 or result.size == 0:
        raise ValueError(f"`{name}` must be {kind} with at least one entry; got shape {result.shape}")
    if size is not None:
        same_size(name, len(result), size)
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
    if type(value) is float and math.isfinite(value):
        return value
    result = array(name, value)
    if result.ndim != 0:
        raise TypeError(f"`{name}` must be a single number; got shape {result.shape}")
    reject(name, "finite", result, ~np.isfinite(result))
    return float(result)


def positive_number(name: str, value: Any, *, least: float = 0.0) -> float:
    """A finite real number above zero, and at least `least`."""
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"`{name}` must be positive; got {result}")
    if result < least:
        raise ValueError(f"`{name}` must be at least {least:g}; got {result}")
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


def probability(name: str, value: Any) -> float:
    """A real number in [0, 1]."""
    result = number(name, value)
    if not 0.0 <= result <= 1.0:
        raise ValueError(f"`{name}` must be in [0, 1]; got {result}")
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


def whole_number(name: str, value: Any, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """A whole number from `least` to `most`; True and False are none."""
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value")
        result = operator.index(value)
    except Exception as error:
        raise TypeError(f"`{name}` must be a whole number; got {shown(value)}") from error
    if result < least:
        raise ValueError(f"`{name}` must be at least {least}; got {shown(result)}")
    if result > most:
        raise ValueError(f"`{name}` must be at most {most}; got {shown(result)}")
    return result


def generator_of(rng: Any) -> np.random.Generator:
    """The generator that `rng` is, or that it seeds.

    Examples
    --------
    >>> generator_of("dice")
    Traceback (most recent call last):
        ...
    TypeError: `rng` must be a numpy.random.Generator or a seed; got 'dice'
    """
    try:
        if isinstance(rng, (Sequence, np.ndarray)):
            # NumPy follows a list that holds itself, or a matrix, whose rows are matrices, until the process ends.
            if len(rng) > MOST_SEEDS:
                raise ValueError("too long")
            rng = [operator.index(part) for part in rng]
        return np.random.default_rng(rng)
    except Exception as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"`rng` must be a numpy.random.Generator or a seed; got {shown(rng)}") from error


def indices(name: str, value: Sequence[int] | NDArray[Any]) -> IndexArray:
    """A read-only vector of non-negative whole numbers."""
    result = plain_array(name, value)
    if result.ndim != 1 or result.size == 0 or not np.issubdtype(result.dtype, np.integer):
        raise TypeError(
            f"`{name}` must be a vector of whole numbers with at least one entry; "
            f"got shape {result.shape} and dtype {result.dtype}"
        )
    reject(name, "non-negative", result, result < 0)
    reject(name, "below 2**63", result, result > np.iinfo(np.intp).max)
    result = result.astype(np.intp)
    result.flags.writeable = False
    return result
