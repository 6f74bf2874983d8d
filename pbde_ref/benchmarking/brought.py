"""Measuring a batch loss that the user brings, on the inputs of this package's own, and checking its value."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.benchmarking.batch_problems import BATCH_LOSSES, BatchProblem, batch_arrays
from pbde_ref.benchmarking.contests import relative_errors
from pbde_ref.benchmarking.machine import machine
from pbde_ref.benchmarking.results import Measurement, Report
from pbde_ref.benchmarking.runner import first_calls
from pbde_ref.benchmarking.timing import Effort, interleaved
from pbde_ref.foreign import raised

__all__ = ["TOLERANCES", "Brought", "loss_called", "measure_brought", "wrong_values"]

# Relative to the value; relative to the largest entry for gradients. Sums of 10^5 float32 losses keep 4 to 5 digits.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}

_FRAMEWORKS = ("auto", "numpy", "torch")


@dataclass(frozen=True, eq=False)
class Brought:
    """A function to measure.

    Attributes
    ----------
    name : str
        As the user called it.
    function : callable
        Called like the function of `pbde_ref.losses` that computes the same loss.
    loss : str
        Key of `BATCH_LOSSES`.
    parameters : mapping of str to float
        Replace those of the benchmark.
    framework : {"auto", "numpy", "torch"}
        Whose arrays it takes.
    dtype : {"float64", "float32"}
        Of the arrays.
    """

    name: str
    function: Callable[..., Any]
    loss: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    framework: str = "auto"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("loss", self.loss, tuple(BATCH_LOSSES)),
            ("framework", self.framework, _FRAMEWORKS),
            ("dtype", self.dtype, tuple(TOLERANCES)),
        ):
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}; got {value!r}")
        known = inspect.signature(self.problem.function).parameters
        for name in self.parameters:
            if name not in known or name in self.problem.arrays or name == "reduction":
                raise ValueError(f"`parameters` must be those of {self.problem.function.__name__}; got {name!r:.100}")

    @property
    def problem(self) -> BatchProblem:
        """The loss that it should compute."""
        return BATCH_LOSSES[self.loss]

    @property
    def settings(self) -> dict[str, float]:
        """All hyperparameters."""
        return dict(self.problem.parameters) | dict(self.parameters)


def loss_called(name: str) -> str:
    """The loss that a function's name speaks of.

    Examples
    --------
    >>> loss_called("my_package.training:fast_dpo_loss")
    'dpo'
    """
    own = name.rpartition(":")[2].lower()
    found = [loss for loss in BATCH_LOSSES if loss in own]
    if len(found) != 1:
        known = ", ".join(BATCH_LOSSES)
        raise ValueError(f"`loss` must be given (one of {known}), as the function's name does not say it; got {name!r}")
    return found[0]


def measure_brought(brought: Brought, sizes: Sequence[int], effort: Effort) -> Report:
    """Measure it beside this package's function, value and gradients, for several batch sizes.

    Raises
    ------
    ValueError
        If the function cannot be called, or returns no loss.
    """
    before, measurements = machine(), []
    keywords, framework = _accepted(brought), _framework(brought)
    for size in sizes:
        arrays = batch_arrays(brought.problem, size, brought.dtype)
        ours = brought.problem.function(*arrays, **brought.settings)
        theirs = _Caller(brought, arrays, keywords, framework)
        contenders: dict[str, Callable[[], Any]] = {
            "pbde_ref": partial(brought.problem.function, *arrays, **brought.settings),
            brought.name: theirs.call,
        }
        if theirs.differentiates:
            contenders[f"{brought.name}, no gradients"] = theirs.value_alone

        def errors(ours: Any = ours, theirs: _Caller = theirs) -> dict[str, float]:
            value, gradients = theirs.call()
            own = [ours.gradients[name] for name in brought.problem.differentiated]
            return relative_errors(value, gradients or [], ours.value, own if gradients else [])

        first = errors()
        seconds = interleaved(contenders, effort, first_calls(contenders)[0])
        # What was timed may have stopped computing the loss on the way, or have kept what it found for this batch.
        turned = [np.roll(arrays[0], 1), *arrays[1:]]
        last = errors(
            brought.problem.function(*turned, **brought.settings), _Caller(brought, turned, keywords, framework)
        )
        tracked = {brought.name: {name: float(np.maximum(first[name], last[name])) for name in first}}
        title = f"{brought.problem.function.__name__} and {brought.name}: value and gradients of a batch of n"
        measurements += [
            Measurement(
                "brought", brought.loss, title, name, "pbde_ref", {"n": size}, tuple(times),
                tuple(t / r for t, r in zip(times, seconds["pbde_ref"], strict=True)), tracked.get(name, {}), None,
            )
            for name, times in seconds.items()
        ]  # fmt: skip
    return Report(before | {"load_average_after": machine()["load_average"]}, "brought", tuple(measurements), ())


def wrong_values(report: Report, dtype: str) -> list[str]:
    """A line for each thing that differs from this package's by more than rounding explains."""
    return [
        f"{m.contender}, n = {m.parameters['n']}: {quantity.replace('_', ' ')} {error:.1e}, "
        f"where {TOLERANCES[dtype]:.0e} is allowed in {dtype}"
        for m in report.measurements
        for quantity, error in m.tracked.items()
        if not error <= TOLERANCES[dtype]
    ]


class _Caller:
    """The function with its inputs, as its framework wants them."""

    def __init__(
        self, brought: Brought, arrays: Sequence[NDArray[Any]], keywords: Mapping[str, float], framework: str
    ) -> None:
        self._function = partial(brought.function, **keywords)
        self._arrays: Sequence[Any] = arrays
        self._torch: Any = None
        self.differentiates = False
        if framework == "torch":
            self._torch = importlib.import_module("torch")
            self._arrays = [self._torch.tensor(a, requires_grad=i < 2) for i, a in enumerate(arrays)]
            self.differentiates = bool(getattr(_first(self.value_alone()), "requires_grad", False))

    def value_alone(self) -> Any:
        """Call it, no more."""
        return self._function(*self._arrays)

    def call(self) -> tuple[float, Sequence[NDArray[Any]] | None]:
        """The mean loss, and its gradients where there are any."""
        result = self.value_alone()
        if self.differentiates:
            loss = _first(result).mean()
            gradients = self._torch.autograd.grad(loss, self._arrays[:2])
            return float(loss.detach()), [g.numpy() for g in gradients]
        gradients = getattr(result, "gradients", None)
        return _number(result), list(gradients.values())[:2] if isinstance(gradients, Mapping) else None


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) and len(result) else result


def _number(result: Any) -> float:
    value = _first(getattr(result, "value", result))
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    try:
        return float(np.mean(np.asarray(value, dtype=np.float64)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`function` must return a loss, or a tuple starting with it; got {result!r:.80}") from error


def _accepted(brought: Brought) -> dict[str, float]:
    """The hyperparameters that the function takes by keyword; others it must have been given already."""
    try:
        known = inspect.signature(brought.function).parameters
    except (TypeError, ValueError):
        return brought.settings
    anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
    return {name: value for name, value in brought.settings.items() if anything or name in known}


def _framework(brought: Brought) -> str:
    """Whose arrays the function takes: NumPy's, unless it does not work with them or returns something of PyTorch."""
    if brought.framework != "auto":
        return brought.framework
    arrays, failures = batch_arrays(brought.problem, 4, brought.dtype), []
    for framework in ("numpy", "torch"):
        if framework == "torch" and importlib.util.find_spec("torch") is None:
            continue
        try:
            result = _first(_Caller(brought, arrays, _accepted(brought), framework).value_alone())
            if framework == "torch" or not hasattr(result, "detach"):
                _number(result)
                return framework
        except Exception as error:
            failures.append(f"with {framework}: {raised(error)}")
    called = ", ".join([*brought.problem.arrays, *(f"{n}={v}" for n, v in _accepted(brought).items())])
    raise ValueError(f"`function` must take ({called}); got {'; '.join(failures)}")
