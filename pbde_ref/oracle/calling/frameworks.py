"""NumPy, PyTorch and JAX: making their arrays, calling a function with them, differentiating it.

PyTorch and JAX are imported when the first function needs one, never before.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import choice

__all__ = ["FRAMEWORKS", "Framework", "Given", "Returned", "framework_named"]


class Given(NamedTuple):
    """One array to call with; `dtype` is one of the framework's, or "" for one that keeps its own.

    `apart` asks for entries that do not stand side by side in memory, as those of a slice do not.
    """

    values: NDArray[Any]
    dtype: str
    differentiate: bool
    apart: bool = False


class Returned(NamedTuple):
    """What came back, as it came, and the gradients that were asked for; a note if there was nothing to differentiate.

    `modified` has the positions of those inputs that are no longer what they were.
    """

    result: Any
    gradients: dict[int, NDArray[Any]]
    note: str
    modified: tuple[int, ...]


class Framework(Protocol):
    """How the oracle speaks to one kind of array."""

    name: str
    dtypes: tuple[str, ...]
    differentiates: bool
    mutable: bool

    def call(self, function: Callable[..., Any], given: Sequence[Given], keywords: Mapping[str, Any]) -> Returned:
        """Call the function, and differentiate the sum of its first result."""

    def numbers(self, result: Any) -> NDArray[Any] | None:
        """What the function returned as float64 numbers; None if it is not numbers."""

    def expression(self, given: Given) -> str:
        """Source code that makes the array."""


def first_of(result: Any) -> Any:
    """The loss in what a function returned: a tuple's or a list's first element, or the result itself."""
    return result[0] if isinstance(result, (tuple, list)) and len(result) else result


def _literal(values: NDArray[Any]) -> str:
    """Source code of the numbers; infinities have no literal of their own."""
    return re.sub(r"\b(inf|nan)\b", r"float('\1')", repr(values.tolist()))


def _float64(result: Any) -> NDArray[Any] | None:
    """As float64; None if it is no array of real numbers."""
    # What stands behind a mask is no number that anybody may use.
    if result is None or isinstance(result, (str, dict)) or np.ma.is_masked(result):
        return None
    try:
        values = np.asarray(result)
        # A complex loss has an imaginary part that a comparison would not see.
        return values.astype(np.float64) if values.dtype.kind not in "OcSU" else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _no_gradients(given: Sequence[Given]) -> dict[int, NDArray[Any]]:
    """What training sees of a result that cannot be differentiated: nothing that moves it."""
    return {i: np.zeros(g.values.shape) for i, g in enumerate(given) if g.differentiate}


def _laid_out(values: Any, apart: bool, zeros: Callable[..., Any]) -> Any:
    """The same, or every second place of an array that is twice as long."""
    if not apart or not values.ndim:
        return values
    room = zeros((*values.shape[:-1], 2 * values.shape[-1]), dtype=values.dtype)[..., ::2]
    room[...] = values
    return room


def _not_an_array(loss: Any, wanted: str) -> str:
    return (
        f"the result is a {type(loss).__name__}, not a {wanted}: it has no gradient (float() and .item() cut it off; "
        "if only its value is used, declare gradients=False)"
    )


class Numpy:
    """Plain arrays. A NumPy function has no derivative but the one that it returns itself."""

    name = "numpy"
    dtypes = ("float64", "float32", "float16")
    differentiates = False
    mutable = True

    def call(self, function: Callable[..., Any], given: Sequence[Given], keywords: Mapping[str, Any]) -> Returned:
        """Call the function with fresh arrays."""
        copies = [g.values.astype(g.dtype) if g.dtype else g.values.copy() for g in given]
        arrays = [_laid_out(copy, g.apart, np.zeros) for copy, g in zip(copies, given, strict=True)]
        before = [array.copy() for array in arrays]
        # The function's own overflow warnings are not the caller's concern; its results are checked.
        with np.errstate(all="ignore"):
            result = function(*arrays, **keywords)
        changed = (not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(arrays, before, strict=True))
        return Returned(result, {}, "", tuple(i for i, different in enumerate(changed) if different))

    numbers = staticmethod(_float64)

    def expression(self, given: Given) -> str:
        """Source code that makes the array."""
        dtype = f", dtype=np.{given.dtype}" if given.dtype not in ("", "float64") else ""
        return f"np.array({_literal(given.values)}{dtype})"


class Torch:
    """PyTorch on the CPU; gradients by its own backward pass."""

    name = "torch"
    dtypes = ("float64", "float32", "bfloat16", "float16")
    differentiates = True
    mutable = True

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")

    def call(self, function: Callable[..., Any], given: Sequence[Given], keywords: Mapping[str, Any]) -> Returned:
        """Call the function with fresh leaves and differentiate the sum of its first result."""
        torch = self.torch
        copies = [torch.tensor(g.values.copy(), dtype=getattr(torch, g.dtype) if g.dtype else None) for g in given]
        tensors = [
            _laid_out(copy, g.apart, torch.zeros).requires_grad_(g.differentiate)
            for copy, g in zip(copies, given, strict=True)
        ]
        before = [tensor.detach().clone() for tensor in tensors]
        result = function(*tensors, **keywords)
        modified = tuple(i for i, (a, b) in enumerate(zip(tensors, before, strict=True)) if not torch.equal(a, b))
        places = [i for i, g in enumerate(given) if g.differentiate]
        loss = first_of(result)
        if not places:
            return Returned(result, {}, "", modified)
        if not isinstance(loss, torch.Tensor):
            return Returned(result, _no_gradients(given), _not_an_array(loss, "tensor"), modified)
        if not loss.requires_grad:
            note = "the result is detached from its inputs (requires_grad is False)"
            return Returned(result, _no_gradients(given), note, modified)
        leaves = [tensors[i] for i in places]
        found = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
        gradients = {
            i: np.zeros(given[i].values.shape) if g is None else g.detach().to(torch.float64).cpu().numpy()
            for i, g in zip(places, found, strict=True)
        }
        return Returned(result, gradients, "", modified)

    def numbers(self, result: Any) -> NDArray[Any] | None:
        """As float64."""
        if isinstance(result, self.torch.Tensor) and not result.is_complex():
            return np.asarray(result.detach().to(dtype=self.torch.float64).cpu().numpy())
        return _float64(result) if isinstance(result, (float, int, np.ndarray, np.number)) else None

    def expression(self, given: Given) -> str:
        """Source code that makes the tensor."""
        dtype = f", dtype=torch.{given.dtype}" if given.dtype else ""
        return f"torch.tensor({_literal(given.values)}{dtype})"


# What JAX has compiled, by what it was compiled from; the oldest go first.
_PROGRAMS: dict[str, Callable[..., Any]] = {}
MOST_PROGRAMS = 256


class Jax:
    """JAX with 64-bit numbers while the oracle calls; gradients by `jax.vjp`.

    Calls with arrays like those of the first are made without ``jax.jit``: a function that is traced only once would
    hide its state, and fused operations round less than those that the caller wrote. All else is computed as under
    ``jax.jit``, one program for each type and shape, because JAX compiles operations that are called singly one by one.
    """

    name = "jax"
    dtypes = ("float64", "float32", "bfloat16", "float16")
    differentiates = True
    mutable = False

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        self._first: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def _for_small_arrays(self) -> Iterator[None]:
        """64-bit numbers, and compilation that does not optimise: it takes most of the time of all checks."""
        # Older releases have it elsewhere.
        place = self.jax if hasattr(self.jax, "enable_x64") else importlib.import_module("jax.experimental")
        before = self.jax.config.read("jax_disable_most_optimizations")
        self.jax.config.update("jax_disable_most_optimizations", True)
        try:
            with place.enable_x64(True):
                yield
        finally:
            self.jax.config.update("jax_disable_most_optimizations", before)

    def call(self, function: Callable[..., Any], given: Sequence[Given], keywords: Mapping[str, Any]) -> Returned:
        """Call the function, and differentiate the sum of its first result."""
        jnp = self.jax.numpy
        with self._for_small_arrays():
            # NumPy converts: JAX would compile a conversion for each type and shape.
            arrays = [jnp.asarray(g.values.astype(getattr(jnp, g.dtype)) if g.dtype else g.values) for g in given]
            kinds = [(array.shape, array.dtype) for array in arrays]
            self._first = self._first or kinds
            own = kinds == self._first
            places = [i for i, g in enumerate(given) if g.differentiate]

            def differentiated(*arrays: Any) -> Any:
                def loss(*leaves: Any) -> Any:
                    moved = dict(zip(places, leaves, strict=True))
                    return first_of(function(*(moved.get(i, array) for i, array in enumerate(arrays)), **keywords))

                value, pull = self.jax.vjp(loss, *(arrays[i] for i in places))
                return value, pull(jnp.ones_like(value))

            result, found = None, None
            if places and not own:
                # One program has both; what it returns beside the loss is looked at in calls like the first.
                with contextlib.suppress(TypeError):
                    result, found = self._run(differentiated, arrays)
            if found is None:
                result = function(*arrays, **keywords) if own else self._run(partial(function, **keywords), arrays)
                if not places:
                    return Returned(result, {}, "", ())
                if not isinstance(first_of(result), self.jax.Array):
                    return Returned(result, _no_gradients(given), _not_an_array(first_of(result), "JAX array"), ())
                _, found = self._run(differentiated, arrays)
            gradients = {i: np.asarray(g).astype(np.float64) for i, g in zip(places, found, strict=True)}
        return Returned(result, gradients, "", ())

    def _run(self, function: Callable[..., Any], arrays: Sequence[Any]) -> Any:
        """Call it as one program, if it is one: a function may branch on values."""
        try:
            # Without arguments that are not used, functions of different arguments would have one text.
            traced = self.jax.jit(function, keep_unused=True).trace(*arrays)
        except (TypeError, IndexError):
            return function(*arrays)
        # Traced every time, so that state shows; equal programs are compiled once in a process. Arrays that the
        # function has closed over are not in the text.
        closed = [(np.shape(c), str(np.asarray(c).dtype), np.asarray(c).tobytes()) for c in traced.jaxpr.consts]
        text = f"{traced.jaxpr} {closed}"
        if "callback" in text or " at 0x" in text:
            # What stands behind an address may be another function next time.
            return traced.lower().compile()(*arrays)
        if text not in _PROGRAMS:
            if len(_PROGRAMS) >= MOST_PROGRAMS:
                del _PROGRAMS[next(iter(_PROGRAMS))]
            _PROGRAMS[text] = traced.lower().compile()
        return _PROGRAMS[text](*arrays)

    numbers = staticmethod(_float64)

    def expression(self, given: Given) -> str:
        """Source code that makes the array."""
        dtype = f", dtype=jnp.{given.dtype}" if given.dtype else ""
        return f"jnp.array({_literal(given.values)}{dtype})"


FRAMEWORKS: dict[str, type[Any]] = {"numpy": Numpy, "torch": Torch, "jax": Jax}


def framework_named(name: str) -> Framework:
    """The framework of that name, imported now if it has not been.

    Examples
    --------
    >>> framework_named("numpy").dtypes
    ('float64', 'float32', 'float16')
    """
    choice("framework", name, ("auto", *FRAMEWORKS))
    try:
        framework: Framework = FRAMEWORKS[name]()
    except ImportError as error:
        raise ImportError(f"framework={name!r} needs a package that cannot be imported: {error}") from error
    return framework
