"""What the paper prints and its notebook draws, beside what is found here: Table 2 entry by entry, shares of Fig. 6."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.exact.lengths.length_bias import GROUP_PAIRS
from pbde_ref.experiments.idealized_lengths import PUBLISHED, PUBLISHED_TABLE_2
from pbde_ref.experiments.intervals import Interval
from pbde_ref.experiments.language.findings import preference_of
from pbde_ref.experiments.records import Record

__all__ = ["NOTEBOOK_FROM_THEOREM_2", "NOTEBOOK_SHARES", "entries", "from_theorem_2", "orders_as_printed", "verdict"]

NOTEBOOK_SHARES: Mapping[str, list[float]] = PUBLISHED["notebook_shares"]
"""S, M and L in the histograms stored in the authors' notebook, by the heights of their bars in pixels, to 0.002."""

NOTEBOOK_FROM_THEOREM_2 = 0.25
"""Total variation of the notebook's lengths under (28) from the mean of its *short* and *long*, measured likewise."""

Records = Mapping[str, Record]


def entries(records: Records) -> list[tuple[str, str, str, float, Interval | None, str]]:
    """Annotator, rule, columns, what is printed, what is here, and the verdict, for each entry of Table 2."""
    numbers, result = records["table-2"].numbers, []
    for kind, rows in PUBLISHED_TABLE_2.items():
        for rule, row in zip(("luce", "scale 50"), rows, strict=True):
            for (first, second), printed in zip(GROUP_PAIRS, row, strict=True):
                ours = preference_of(numbers, f"{kind}.{rule}.{first}>{second}")
                said = "too few sentences" if ours is None else verdict(printed, ours)
                result.append((kind, rule, f"{first} ≻ {second}", printed, ours, said))
    return result


def verdict(printed: float, ours: Interval) -> str:
    """Whether a preference is the printed one.

    Returns
    -------
    str
        "shown": on its side of 1/2, and at least half as far from it; "weak": on its side, but nearer to 1/2;
        "reversed": on the other side; "undecided": the interval holds 1/2.

    Examples
    --------
    >>> from pbde_ref.experiments.intervals import Interval
    >>> [verdict(0.9, Interval(p, p - 0.05, p + 0.05)) for p in (0.8, 0.6, 0.52, 0.3)]
    ['shown', 'weak', 'undecided', 'reversed']
    """
    if ours.low <= 0.5 <= ours.high:
        return "undecided"
    if (ours.value > 0.5) != (printed > 0.5):
        return "reversed"
    return "shown" if abs(ours.value - 0.5) >= 0.5 * abs(printed - 0.5) else "weak"


def orders_as_printed(records: Records) -> int:
    """In how many of Table 2's six columns the three annotators stand in the printed order."""
    columns: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _, rule, pair, printed, ours, _ in entries(records):
        columns.setdefault((rule, pair), []).append((printed, np.nan if ours is None else ours.value))
    return sum([b for _, b in sorted(column)] == sorted(b for _, b in column) for column in columns.values())


def from_theorem_2(records: Records) -> tuple[float, float]:
    """Total variation of lengths under (28) from Theorem 2's optimum, (short + long) / 2, and what chance makes of 0.

    Lengths of sentences: the sentences themselves are at least as far apart. By chance alone, samples of so many
    sentences would be about the second number apart.
    """
    short, long, adapted = (records[name].arrays["length_counts"] for name in (
        "samples-short", "samples-long", "density-mixture"))  # fmt: skip
    best, found = 0.5 * (short / short.sum() + long / long.sum()), adapted / adapted.sum()
    variance = found / adapted.sum() + 0.25 * (short / short.sum() ** 2 + long / long.sum() ** 2)
    return 0.5 * float(np.abs(found - best).sum()), 0.5 * float(np.sqrt(2.0 / np.pi * variance).sum())
