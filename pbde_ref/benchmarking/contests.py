"""Finding benchmarks: the classes of the suites, their parameters and their methods."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

__all__ = ["SUITES", "Contest", "contests", "missing_package", "needs"]

SUITES = {
    "expected-losses": "bench_expected_losses",
    "batch-losses": "bench_batch_losses",
    "samplers": "bench_samplers",
    "estimation": "bench_estimation",
    "minimizers": "bench_minimizers",
    "training": "bench_training",
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
        return list(product(*values))

    def methods(self, prefix: str) -> dict[str, str]:
        """Names of the methods with a prefix, without and with it, in the order of their definition."""
        names = dict.fromkeys(name for kind in reversed(self.kind.__mro__) for name in vars(kind))
        return {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

    def tracked(self) -> Iterator[tuple[str, str, str]]:
        """Contender, quantity and method of each ``track_<quantity>_<contender>``."""
        contenders = sorted(self.methods("time_"), key=len, reverse=True)
        for rest, method in self.methods("track_").items():
            contender = next(name for name in contenders if rest.endswith(f"_{name}"))
            yield contender, rest.removesuffix(f"_{contender}"), method


def contests(suites: Sequence[str]) -> list[Contest]:
    """All contests of some suites.

    Examples
    --------
    >>> [contest.name for contest in contests(["samplers"])]
    ['ManyOutcomes', 'FewOutcomes', 'Counts', 'Samplers']
    """
    found = []
    for suite in suites:
        if suite not in SUITES:
            raise ValueError(f"`suite` must be one of {', '.join(SUITES)}; got {suite!r:.100}")
        module = importlib.import_module(f"pbde_ref.benchmarking.suites.{SUITES[suite]}")
        kinds = (vars(module)[name] for name in module.__all__)
        found += [Contest(suite, kind.__name__, kind) for kind in kinds]
    return found
