r"""One evaluator for all batch losses: values and gradients, chunk by chunk.

A loss says what a chunk's arrays make of it; here that is done for as many examples as fit a core's cache, in two
threads if there are many. Whether the arguments are as they must be is read off each chunk's extremes and sums. Where
these leave a doubt, or the loss is infinite, every entry is looked at: an error names the first that is out of range,
or there is none, and all is computed again in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.inputs import Rule
from pbde_ref.losses.result import BatchLoss, Precision, batch_loss, batch_size
from pbde_ref.threads import in_threads, keep_freed_memory, own_cores
from pbde_ref.validation import FloatArray

__all__ = ["Arguments", "evaluated", "write"]

# Numbers of one argument: all that is made of them fits a core's second-level cache, and computing it takes longer than
# threads need to change turns.
CHUNK = 1 << 14
# From here on a second thread gains more than starting it costs.
MANY = 1 << 17

_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))

Arguments = Mapping[str, tuple[ArrayLike, Rule]]


def evaluated(
    arguments: Arguments, compute: Callable[..., Any], *, reduction: str, dtype: Precision,
    defined: Callable[..., None] = lambda *_: None, differentiated: int = 2, shared: str = "", ndim: int = 1,
    width: int = 1, threads: int = 2, penalty: float = 0.0,
    penalty_gradients: Mapping[str, NDArray[Any]] | None = None,
) -> BatchLoss:  # fmt: skip
    """The loss of a batch.

    Parameters
    ----------
    arguments : mapping of str to (array_like, Rule)
        By name, with an entry or a row for each example, or a number that holds for all.
    compute : callable
        Of ``(*own, out=, share=, usual=)``. `own` are a chunk's arguments in float64; `out` the parts of the result to
        write to: losses, and gradients times `share`. Returns the losses' sum, and the chunk's part of the gradient of
        what is shared. If `usual`, a sum that is infinite or NaN says that there may be infinite or undefined numbers,
        which must lead to such a sum; if not, these are ordinary.
    reduction : {"mean", "sum"}
    dtype : {float64, float32}
        Of the result's arrays.
    defined : callable
        From float64 arrays of all arguments: raises if a loss is undefined.
    differentiated : int
        How many of the arguments, the first ones, gradients are for.
    shared : str
        Name of what all examples have in common, if it has a gradient.
    ndim : int
        Axes of the first argument.
    width : int
        How many numbers an example means in `compute`.
    threads : int
        At most.
    penalty, penalty_gradients
        What is added to the value, and its gradients, both reduced already.
    """
    keep_freed_memory()
    given: list[Any] = []
    for name, (value, rule) in arguments.items():
        given.append(_as_given(name, value, rule, given[0].shape if given else None, ndim))
    shape, rules = given[0].shape, [rule for _, rule in arguments.values()]
    count = batch_size(reduction, shape[0])
    losses = np.empty(shape[0], dtype)
    gradients = {name: np.empty(shape, dtype) for name in list(arguments)[:differentiated]}

    def part(piece: slice, *, usual: bool = True) -> tuple[float, Any]:
        own = [x if isinstance(x, float) else x[piece] for x in given]
        if usual and not all(isinstance(x, float) or rule.holds(x) for rule, x in zip(rules, own, strict=True)):
            return math.nan, 0.0
        own = [x if isinstance(x, float) else x.astype(np.float64, copy=False) for x in own]
        out = [result[piece] for result in (losses, *gradients.values())]
        with np.errstate(invalid="ignore", over="ignore"):
            total, common = compute(*own, out=out, share=1.0 / count, usual=usual)
        return float(total), common

    rows = max(1, CHUNK // width)
    pieces = [slice(start, start + rows) for start in range(0, shape[0], rows)]
    parts = in_threads(part, pieces, min(threads, own_cores()) if shape[0] * width >= MANY else 1)
    if not math.isfinite(sum(total for total, _ in parts)):
        given = [rule.checked(name, value, shape=shape) for name, (value, rule) in arguments.items()]
        defined(*given)
        parts = [part(piece, usual=False) for piece in pieces]
    if shared:
        gradients[shared] = np.asarray(sum(common for _, common in parts), dtype)
    value = sum(total for total, _ in parts) / count + penalty
    return batch_loss(value, losses, gradients | dict(penalty_gradients or {}))


def _as_given(
    name: str, value: Any, rule: Rule, shape: tuple[int, ...] | None, ndim: int
) -> NDArray[Any] | FloatArray | float:
    """The array that came, if it can be read chunk by chunk; otherwise all of it, checked."""
    fits = type(value) is np.ndarray and value.dtype in _FLOATS
    if fits and (value.shape == shape or (shape is None and value.ndim == ndim and value.size > 0)):
        return value
    return rule.checked(name, value, shape=shape)


def write(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy values to the result. -0.0 becomes 0.0; what exceeds single precision becomes infinite there."""
    np.add(values, 0.0, out=out, casting="same_kind")
