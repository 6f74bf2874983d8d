"""What a run of benchmarks returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pbde_ref.benchmarking.timing import Spread, spread

__all__ = ["Measurement", "Report", "Skipped"]


@dataclass(frozen=True)
class Measurement:
    """One contender at one setting of the parameters.

    Attributes
    ----------
    suite, contest, title, contender, reference : str
    parameters : mapping of str to int, float or str
    seconds : tuple of float
        Per call, one for each round.
    ratios : tuple of float
        These divided by the reference's seconds of the same round; empty where there is no reference.
    tracked : mapping of str to float
        Accuracy and the like.
    peak_bytes : int or None
        Memory beyond the inputs, where measured.
    """

    suite: str
    contest: str
    title: str
    contender: str
    reference: str
    parameters: Mapping[str, Any]
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    tracked: Mapping[str, float]
    peak_bytes: int | None

    @property
    def time(self) -> Spread:
        """Spread of the seconds."""
        return spread(self.seconds)

    @property
    def ratio(self) -> Spread | None:
        """Spread of the ratios to the reference."""
        return spread(self.ratios) if self.ratios else None


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why."""

    suite: str
    contest: str
    contender: str
    parameters: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Report:
    """All of a run.

    Attributes
    ----------
    machine : mapping
    size : str
        "full", "quick" or "smallest".
    measurements : tuple of Measurement
    skipped : tuple of Skipped
    """

    machine: Mapping[str, Any]
    size: str
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is tracked and not finite is None."""
        content = asdict(self)
        for measurement in content["measurements"]:
            tracked = measurement["tracked"]
            measurement["tracked"] = {name: x if math.isfinite(x) else None for name, x in tracked.items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """The report that `as_dict` made; what was not finite is NaN."""
        measurements = [
            Measurement(
                **measurement
                | {name: tuple(measurement[name]) for name in ("seconds", "ratios")}
                | {"tracked": {n: math.nan if x is None else x for n, x in measurement["tracked"].items()}}
            )
            for measurement in content["measurements"]
        ]
        skipped = tuple(Skipped(**reason) for reason in content["skipped"])
        return cls(content["machine"], content["size"], tuple(measurements), skipped)
