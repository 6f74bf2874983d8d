"""Time against size, and the fitted exponent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pbde_ref.benchmarking.results import Measurement

__all__ = ["Series", "fitted_slope", "scaling_series"]

# The parameter that is drawn on the horizontal axis.
AXIS = "n"


class Series(NamedTuple):
    """Median seconds of one contender at several sizes; the title names the other parameters, which are equal."""

    title: str
    label: str
    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Exponent of the fitted power law."""
        return fitted_slope(self.sizes, self.seconds)


def fitted_slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Least-squares slope of log time against log size: the exponent of the power law.

    Examples
    --------
    >>> round(fitted_slope([10, 100, 1000], [0.2, 20.0, 2000.0]), 6)
    2.0
    """
    x = np.log(np.asarray(sizes, dtype=np.float64))
    centred = x - x.mean()
    return float(centred @ np.log(np.asarray(seconds, dtype=np.float64)) / (centred @ centred))


def scaling_series(measurements: Iterable[Measurement]) -> list[Series]:
    """Everything that was measured at two sizes or more."""
    found: dict[tuple[str, str, str], dict[float, float]] = {}
    for m in measurements:
        if AXIS in m.parameters:
            others = [f"{name} = {value}" for name, value in m.parameters.items() if name != AXIS]
            key = m.contest, ", ".join([m.title, *others]), m.contender.replace("_", " ")
            found.setdefault(key, {})[float(m.parameters[AXIS])] = m.time.median
    return [
        Series(title, label, tuple(sorted(points)), tuple(points[size] for size in sorted(points)))
        for (_, title, label), points in found.items()
        if len(points) > 1
    ]
