"""The findings over several trainings: each seed draws parameters, batches, sentences and answers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pbde_ref.experiments.intervals import Interval, mean_interval
from pbde_ref.experiments.language.findings import bin_share, dip
from pbde_ref.experiments.language.models import KINDS
from pbde_ref.experiments.records import Record
from pbde_ref.validation import FloatArray

__all__ = ["STATISTICS", "seed_headers", "seed_rows"]

Records = Mapping[str, Record]


def _number(record: str, name: str) -> Callable[[Records], float | None]:
    """None where there is no such run: finished models have no test sentences, a target has not all."""
    return lambda records: records[record].numbers[name] if record in records else None


def _of_lengths(record: str, read: Callable[[FloatArray], float]) -> Callable[[Records], float | None]:
    return lambda records: read(records[record].arrays["length_counts"]) if record in records else None


def _medium(counts: FloatArray) -> float:
    return bin_share(counts, "M").value


def _valley(counts: FloatArray) -> float:
    return dip(counts).depth


STATISTICS: Mapping[str, Callable[[Records], float | None]] = {
    "*long* prefers short to long, Luce rule (9)": _number("table-2", "long.luce.S>L"),
    "the same, length-normalised rule (26), c = 50": _number("table-2", "long.scale 50.S>L"),
    "*whole* prefers short to long, (26), c = 50": _number("table-2", "whole.scale 50.S>L"),
    "the same without the end piece": _number("table-2", "whole.scale 50 without end.S>L"),
    "the same without the last two pieces": _number("table-2", "whole.scale 50 without last two.S>L"),
    "medium-length sentences, annotator mixture (27)": _of_lengths("annotator-mixture", _medium),
    "the same, density mixture (28)": _of_lengths("density-mixture", _medium),
    "valley between the two peaks of (28), as a share of the lower peak": _of_lengths("density-mixture", _valley),
    "the same of (27)": _of_lengths("annotator-mixture", _valley),
    "draws without an end in 50 pieces, (27)": _number("annotator-mixture", "without_end"),
    "the same, (28)": _number("density-mixture", "without_end"),
    **{f"test loss of *{kind}*, nats per piece": _number("test-loss", kind) for kind in KINDS},
}
"""Lines of the table: what it is, and how it is read off the records of one seed's runs."""


def seed_headers(found: Mapping[int, Records]) -> list[str]:
    """Of the table's columns."""
    return ["", *(f"seed {seed}" for seed in found), "mean of trainings"]


def seed_rows(found: Mapping[int, Records]) -> list[list[str]]:
    """A line for each statistic: its value with each seed, and the mean with Student's 95 % interval over seeds.

    Shares cannot be outside [0, 1], nor can their intervals.

    Parameters
    ----------
    found : mapping of int to mapping
        Records of all runs by seed, at least two.
    """
    rows = []
    for name, read in STATISTICS.items():
        values = [read(records) for records in found.values()]
        known = np.array([value for value in values if value is not None])
        shown = ["–" if value is None else f"{value:.4f}" for value in values]
        mean = "–"
        if known.size == len(values):
            ends = (0.0, np.inf if name.startswith("test loss") else 1.0)
            mean = str(Interval(*(float(np.clip(end, *ends)) for end in mean_interval(known))))
        rows.append([name, *shown, mean])
    return rows
