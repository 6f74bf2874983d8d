"""Measuring contenders in turn, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["QUICK", "SMALLEST", "THOROUGH", "Effort", "Spread", "interleaved", "spread"]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds : int
        In each round every contender is measured once.
    sample : float
        Seconds that a measurement lasts at least; what is faster is repeated.
    budget : float
        Seconds that a contest may take; slow ones get fewer rounds, but at least three.
    """

    rounds: int
    sample: float
    budget: float


THOROUGH = Effort(rounds=9, sample=0.02, budget=20.0)
QUICK = Effort(rounds=5, sample=0.002, budget=5.0)
SMALLEST = Effort(rounds=1, sample=0.0, budget=0.0)


class Spread(NamedTuple):
    """Minimum, median and maximum."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Minimum, median and maximum of some numbers.

    Examples
    --------
    >>> spread([3.0, 1.0, 2.0])
    Spread(low=1.0, median=2.0, high=3.0)
    """
    return Spread(min(values), statistics.median(values), max(values))


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], effort: Effort, first: Mapping[str, float]
) -> dict[str, list[float]]:
    """Seconds per call of each contender, one number for each round.

    Parameters
    ----------
    contenders : mapping of str to callable
    effort : Effort
    first : mapping of str to float
        Seconds that the first call of each took; that call has warmed it up.
    """
    repeats = {name: max(1, math.ceil(effort.sample / max(first[name], 1e-9))) for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    one_round = sum(first[name] * repeats[name] for name in contenders)
    rounds = min(effort.rounds, max(3, int(effort.budget / max(one_round, 1e-9))))
    names = list(contenders)
    with _no_collection():
        for index in range(rounds if names else 0):
            # Nobody always runs behind the same neighbour, whose memory is still in the caches.
            turn = index % len(names)
            for name in names[turn:] + names[:turn]:
                seconds[name].append(_seconds(contenders[name], repeats[name]))
    return seconds


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
