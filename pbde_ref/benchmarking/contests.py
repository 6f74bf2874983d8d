"""Finding benchmarks: the classes of the suites, their parameters and their methods."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np

__all__ = ["SUITES", "Contest", "JaxCompiled", "contests", "missing_package", "needs", "relative_errors"]

SUITES = {
    "expected-losses": "bench_expected_losses",
    "batch-losses": "bench_batch_losses",
    "samplers": "bench_samplers",
    "estimation": "bench_estimation",
    "minimizers": "bench_minimizers",
    "transformer": "bench_transformer",
    "oracle": "bench_oracle",
}

Method = TypeVar("Method", bound=Callable[..., Any])


def needs(package: str) -> Callable[[Method], Method]:
    """Mark a benchmark method that is skipped where a package is not installed."""

    def mark(method: Method) -> Method:
        method.needs = package  # type: ignore[attr-defined]
        return method

    return mark


def missing_package(method: Callable[..., Any]) -> str | None:
    """The package that a method needs and that is not installed."""
    package = getattr(method, "needs", None)
    return package if package is not None and importlib.util.find_spec(package) is None else None


@dataclass(frozen=True)
class Contest:
    """Contenders for the same job.

    Attributes
    ----------
    suite, name : str
    kind : type
        The benchmark class.
    """

    suite: str
    name: str
    kind: type

    @property
    def title(self) -> str:
        """First line of the class's docstring."""
        return (self.kind.__doc__ or self.name).strip().split("\n")[0].rstrip(".")

    @property
    def reference(self) -> str:
        """The contender that ratios are taken to; empty if the contenders do different jobs."""
        return str(getattr(self.kind, "reference", ""))

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in the order in which methods take them."""
        return list(self.kind.param_names)  # type: ignore[attr-defined]

    def cases(self, size: str) -> list[tuple[Any, ...]]:
        """Values of the parameters: of "full" or "quick" size, or the "smallest" of each that is a number."""
        values = self.kind.params if size == "full" else self.kind.quick_params  # type: ignore[attr-defined]
        if size == "smallest":
            values = [options if isinstance(options[0], str) else options[:1] for options in values]
        wanted = getattr(self.kind, "wanted", lambda *_: True)
        return [case for case in product(*values) if wanted(*case)]

    def methods(self, prefix: str) -> dict[str, str]:
        """Names of the methods with a prefix, without and with it, in the order of their definition."""
        names = dict.fromkeys(name for kind in reversed(self.kind.__mro__) for name in vars(kind))
        return {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}


def relative_errors(value: float, gradients: Sequence[Any], right: float, own: Sequence[Any]) -> dict[str, float]:
    """Of a value, and of gradients: the largest difference, relative to the largest entry.

    Examples
    --------
    >>> relative_errors(2.5, [[1.0, 5.0]], 2.0, [[1.0, 4.0]])
    {'value_error': 0.25, 'gradient_error': 0.25}
    """
    errors = {"value_error": abs(value - right) / max(abs(right), 1e-300)}
    for a, b in zip(map(np.asarray, own), map(np.asarray, gradients), strict=True):
        error = float(np.abs(a - b).max() / np.abs(a).max())
        errors["gradient_error"] = max(errors.get("gradient_error", 0.0), error)
    return errors


class JaxCompiled:
    """A function of arrays, compiled by JAX for one precision; the first call compiles it."""

    def __init__(self, transform: Callable[[Any], Callable[..., Any]], arrays: Sequence[Any], dtype: str) -> None:
        import jax

        self._jax, self._double = jax, dtype == "float64"
        with jax.enable_x64(self._double):
            self._function, self._arrays = jax.jit(transform(jax)), [jax.numpy.asarray(a) for a in arrays]

    def __call__(self) -> Any:
        """What it returns, when it is there."""
        with self._jax.enable_x64(self._double):
            return self._jax.block_until_ready(self._function(*self._arrays))


def contests(suites: Sequence[str]) -> list[Contest]:
    """All contests of some suites.

    Examples
    --------
    >>> [contest.name for contest in contests(["samplers"])]
    ['ManyOutcomes', 'FewOutcomes', 'Counts']
    """
    found = []
    for suite in suites:
        if suite not in SUITES:
            raise ValueError(f"`suite` must be one of {', '.join(SUITES)}; got {suite!r:.100}")
        module = importlib.import_module(f"pbde_ref.benchmarking.suites.{SUITES[suite]}")
        kinds = (vars(module)[name] for name in module.__all__)
        found += [Contest(suite, kind.__name__, kind) for kind in kinds]
    return found
