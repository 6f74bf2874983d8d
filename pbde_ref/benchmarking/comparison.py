"""What became slower since another report, told from noise.

The code of other libraries is the control: it did not change, so whatever its times changed by is the machine's doing.
The median of these changes is taken out of all others, and nothing that nine tenths of them reach is called a change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from pbde_ref.benchmarking.results import Measurement, Report
from pbde_ref.benchmarking.tables import duration, number

__all__ = ["Change", "Comparison", "as_table", "compare"]

# Fewer say nothing of a quantile.
FEWEST_CONTROLS = 5
# First words of the names of contenders that are no code of ours.
OTHERS = {"argsort", "arena", "choix", "evalica", "generator", "jax", "numpy", "one", "scipy", "torch"}


@dataclass(frozen=True)
class Change:
    """A contender of both reports: seconds before and now, and their ratio, of medians, without the machine's part."""

    before: Measurement
    now: Measurement
    ratio: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two reports held against each other.

    Attributes
    ----------
    changes : tuple of Change
        Of this package's code, what became slower by most first; the verdict is "slower", "faster", or empty.
    controls : int
        Contenders of other libraries in both reports.
    drift : float
        Median of their ratios: how much slower the whole machine was.
    noise : float
        The factor that nine tenths of them are within of it, to either side; infinite if there are fewer than five.
    same_machine : bool
        Processor, cores and thread limits; and versions of NumPy and SciPy.
    """

    changes: tuple[Change, ...]
    controls: int
    drift: float
    noise: float
    same_machine: bool


def compare(now: Report, before: Report) -> Comparison:
    """Contenders that both reports measured at the same parameters.

    A change is one if it exceeds the controls' noise, and no round of the faster run took as long as any of the slower.
    """
    old = {_key(m): m for m in before.measurements}
    pairs = [(old[_key(m)], m) for m in now.measurements if _key(m) in old]
    logs = np.array([math.log(m.time.median / o.time.median) for o, m in pairs])
    control = np.array([m.contender.split("_")[0] in OTHERS for _, m in pairs], dtype=bool)
    drift = float(np.median(logs[control])) if control.any() else 0.0
    enough = np.count_nonzero(control) >= FEWEST_CONTROLS
    noise = float(np.quantile(abs(logs[control] - drift), 0.9)) if enough else math.inf
    changes = []
    for (o, m), log, other in zip(pairs, logs, control, strict=True):
        scale = math.exp(drift)
        slower = log - drift > noise and m.time.low > o.time.high * scale
        faster = drift - log > noise and m.time.high < o.time.low * scale
        if not other:
            verdict = "slower" if slower else "faster" if faster else ""
            changes.append(Change(o, m, math.exp(log - drift), verdict))
    changes.sort(key=lambda change: -change.ratio)
    same = _place(now.machine) == _place(before.machine)
    return Comparison(tuple(changes), int(control.sum()), math.exp(drift), math.exp(noise), same)


def _key(m: Measurement) -> tuple[Any, ...]:
    return m.suite, m.contest, m.contender, tuple(m.parameters.items())


def _place(machine: Mapping[str, Any]) -> tuple[Any, ...]:
    versions = machine["versions"]
    return *(machine[name] for name in ("processor", "cores", "thread_limits")), *map(versions.get, ("numpy", "scipy"))


def as_table(found: Comparison) -> str:
    """What changed, and how much of it is noise."""
    changed = [change for change in found.changes if change.verdict]
    lines = [] if found.same_machine else ["Not the same machine, thread limits or NumPy: ratios are not code's alone."]
    if math.isinf(found.noise):
        lines.append(f"Only {found.controls} contenders of other libraries are in both reports, and {FEWEST_CONTROLS} "
                     "are needed to know the noise: nothing is called slower or faster.")  # fmt: skip
    else:
        lines.append(f"{found.controls} contenders of other libraries took {found.drift:.3g} times as long as before, "
                     f"nine tenths of them to within a factor of {found.noise:.3g}, which is the noise.")  # fmt: skip
    if changed:
        rows = [_row(change) for change in changed]
        lines.append(tabulate(rows, ["", "", "before", "now", "ratio", ""], tablefmt="simple", disable_numparse=True))
    counts = {verdict: sum(c.verdict == verdict for c in found.changes) for verdict in ("slower", "faster", "")}
    lines.append(f"{counts['slower']} slower, {counts['faster']} faster, {counts['']} within noise.")
    return "\n\n".join(lines)


def _row(change: Change) -> Sequence[str]:
    m = change.now
    where = ", ".join(f"{name} {number(value)}" for name, value in m.parameters.items())
    times = duration(change.before.time.median), duration(m.time.median)
    return [f"{m.contest} {m.contender.replace('_', ' ')}", where, *times, f"{change.ratio:.3g}", change.verdict]
