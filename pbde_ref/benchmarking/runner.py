"""Running benchmarks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from pbde_ref.benchmarking.contests import Contest, contests, missing_package
from pbde_ref.benchmarking.machine import machine
from pbde_ref.benchmarking.memory import peak_beyond_inputs
from pbde_ref.benchmarking.results import Measurement, Report, Skipped
from pbde_ref.benchmarking.timing import QUICK, SMALLEST, THOROUGH, Effort, interleaved

__all__ = ["first_calls", "measure_contest", "run_suites"]

EFFORTS = {"full": THOROUGH, "quick": QUICK, "smallest": SMALLEST}


def run_suites(suites: Sequence[str], size: str = "full", *, memory: bool = True) -> Report:
    """Measure every contest of some suites.

    Parameters
    ----------
    suites : sequence of str
        Keys of `SUITES`.
    size : {"full", "quick", "smallest"}
        "smallest" runs everything once; its times mean nothing.
    memory : bool
        Whether to measure memory too, which runs benchmarks once more, in processes of their own.

    Returns
    -------
    Report
    """
    if size not in EFFORTS:
        raise ValueError(f"`size` must be one of {', '.join(EFFORTS)}; got {size!r:.100}")
    before = machine()
    cases = [(contest, values) for contest in contests(suites) for values in contest.cases(size)]
    measurements: list[Measurement] = []
    skipped: list[Skipped] = []
    with tqdm(cases, desc="bench", unit="case", disable=None, leave=False) as progress:
        for contest, values in progress:
            progress.set_postfix_str(f"{contest.name} {', '.join(map(str, values))}")
            found, not_found = measure_contest(contest, values, EFFORTS[size], memory=memory)
            measurements += found
            skipped += not_found
    after = machine()["load_average"]
    return Report(before | {"load_average_after": after}, size, tuple(measurements), tuple(skipped))


def measure_contest(
    contest: Contest, values: Sequence[Any], effort: Effort, *, memory: bool = False
) -> tuple[list[Measurement], list[Skipped]]:
    """Measure all contenders of a contest at one setting of its parameters."""
    parameters = dict(zip(contest.parameter_names, values, strict=True))
    instance = contest.kind()
    try:
        instance.setup(*values)
    except NotImplementedError as error:
        return [], [Skipped(contest.suite, contest.name, "", parameters, str(error))]
    methods = {name: getattr(instance, method) for name, method in contest.methods("time_").items()}
    reasons = {name: f"{package} is not installed" for name, m in methods.items() if (package := missing_package(m))}
    present = {name: partial(method, *values) for name, method in methods.items() if name not in reasons}
    accuracy = getattr(instance, "accuracy", None)
    tracked: dict[str, dict[str, float]] = {}

    def look(name: str, answer: Any) -> None:
        tracked[name] = {} if accuracy is None else {q: _finite(x) for q, x in accuracy(name, answer).items()}

    first, failed = first_calls(present, look)
    reasons |= failed
    seconds = interleaved({name: present[name] for name in first}, effort, first)
    measurers = contest.methods("peakmem_") if memory else {}
    measurements = [
        Measurement(
            contest.suite,
            contest.name,
            contest.title,
            name,
            contest.reference,
            parameters,
            tuple(times),
            _ratios(times, seconds.get(contest.reference, [])),
            tracked[name],
            peak_beyond_inputs(contest, measurers[name], values) if name in measurers else None,
        )
        for name, times in seconds.items()
    ]
    return measurements, [Skipped(contest.suite, contest.name, n, parameters, r) for n, r in reasons.items()]


def first_calls(
    contenders: Mapping[str, Callable[[], Any]], look: Callable[[str, Any], None] | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of each contender's second call, the first one having warmed it up; and who is not there, and why.

    `look` is given each name and what the first call returned.
    """
    seconds, reasons = {}, {}
    for name, function in contenders.items():
        start = time.perf_counter()
        try:
            answer = function()
        except NotImplementedError as error:
            reasons[name] = str(error)
            continue
        elapsed = time.perf_counter() - start
        if look is not None:
            look(name, answer)
        del answer
        # Imports and caches weigh on a short first call; a long one tells enough.
        if elapsed < 0.5:
            start = time.perf_counter()
            function()
            elapsed = time.perf_counter() - start
        seconds[name] = elapsed
    return seconds, reasons


def _ratios(times: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    return tuple(t / r for t, r in zip(times, reference, strict=True)) if reference else ()


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a tracked quantity must be finite; got {value}")
    return float(value)
