"""What section 5.2 finds, as statements with numbers: shown here, or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pbde_ref.exact.lengths.length_bias import bin_members
from pbde_ref.experiments.intervals import Interval, difference, share_interval
from pbde_ref.experiments.records import Record
from pbde_ref.validation import FloatArray

__all__ = ["DEEP", "Finding", "bin_share", "dip", "findings", "preference_of", "with_error"]

WINDOW = 5
"""Lengths over which a histogram is averaged before peaks and the valley between them are read off."""

DEEP = 4.5
"""Standard errors that make a valley. Peaks and valley are chosen for being extreme: of flat histograms one in 30
exceeds 3 standard errors, of those with one mode and a flat tail one in 1,000 exceeds 4.2."""


@dataclass(frozen=True)
class Finding:
    """A statement, and what was measured.

    Attributes
    ----------
    statement : str
    measured : str
        Numbers with 95 % intervals.
    shown : bool
        Whether the interval excludes the opposite.
    """

    statement: str
    measured: str
    shown: bool


def with_error(value: float, error: float) -> str:
    """A number and its error, with three decimals, or as many as show a digit of the error.

    Examples
    --------
    >>> from pbde_ref.experiments.language.findings import with_error
    >>> with_error(0.379, 0.0204), with_error(0.99923, 0.00041)
    ('0.379 ± 0.020', '0.9992 ± 0.0004')
    """
    decimals = 3 if error <= 0.0 else max(3, -math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def findings(records: Mapping[str, Record]) -> list[Finding]:
    """The findings of section 5.2, judged by the records of all runs of one seed.

    Intervals are about sentences drawn from these very models; models trained with another seed differ by more.
    """
    return (_of_table_2(records["table-2"].numbers) if "table-2" in records else []) + (
        [_more_medium_sentences(records), _two_modes(records)] if "density-mixture" in records else []
    )


def _of_table_2(table: Mapping[str, float | None]) -> list[Finding]:
    result = []
    for rule, equation, statement, above in (
        ("luce", "Eq. 9", "Under the Luce rule even the annotator *long* prefers short sentences to long ones", True),
        ("scale 50", "Eq. 26, c = 50", "Under the length-normalised rule it does not", False),
    ):
        found = preference_of(table, f"long.{rule}.S>L")
        if found is None:
            result.append(Finding(statement, "too few sentences in one of the bins", False))
            continue
        shown = found.low > 0.5 if above else found.high < 0.5
        result.append(Finding(statement, f"P(S ≻ L) = {found} ({equation})", shown))
    return result


def _two_modes(records: Mapping[str, Record]) -> Finding:
    valley = dip(records["density-mixture"].arrays["length_counts"])
    return Finding(
        "Adapted to the density mixture, its lengths have two modes",
        f"peaks at {valley.left} and {valley.right}, valley at {valley.at} with {valley.depth:.2f} of the lower "
        f"peak (z = {valley.z:.1f})",
        valley.z > DEEP and valley.depth < 0.8,
    )


def preference_of(numbers: Mapping[str, float | None], name: str) -> Interval | None:
    """An entry of the record "table-2"; None if there are too few sentences for it."""
    value, low, high = (numbers[f"{name}{end}"] for end in ("", ".low", ".high"))
    return None if value is None or low is None or high is None else Interval(value, low, high)


def _more_medium_sentences(records: Mapping[str, Record]) -> Finding:
    """The paper's samples are those that end; a model that seldom ends must not pass for one of medium sentences."""
    statement = (
        "Adapted to the annotator mixture, the model says more medium-length sentences than adapted to the density "
        "mixture, and than *short* or *long*"
    )
    names = ("annotator-mixture", "density-mixture", "samples-short", "samples-long")
    ended = [bin_share(records[name].arrays["length_counts"], "M") for name in names]
    drawn = [_medium_of_all(records[name]) for name in names]
    less_ended, less_drawn = ([difference(shares[0], other) for other in shares[1:]] for shares in (ended, drawn))
    without_end = [records[name].numbers["without_end"] or 0.0 for name in names[:2]]
    measured = (
        f"Of those that end {ended[0].value:.3f} against {ended[1].value:.3f} (difference {less_ended[0]}; "
        f"*short* {ended[2].value:.3f}, *long* {ended[3].value:.3f}); of all draws {drawn[0].value:.3f} against "
        f"{drawn[1].value:.3f} (difference {less_drawn[0]}), of which {without_end[0]:.3f} "
        f"and {without_end[1]:.3f} have no end"
    )
    return Finding(statement, measured, all(found.low > 0.0 for found in less_ended + less_drawn))


def _medium_of_all(record: Record) -> Interval:
    """Of all draws, with those that had no end."""
    counts = record.arrays["length_counts"]
    draws = float(counts.sum()) / (1.0 - (record.numbers["without_end"] or 0.0))
    return share_interval(_members_of(counts, "M"), draws)


def bin_share(counts: FloatArray, name: str) -> Interval:
    """Share of the sentences of 1, 2, … pieces that are in a bin, with its 95 % interval.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.experiments.language.findings import bin_share
    >>> str(bin_share(np.eye(50)[24] * 700 + np.eye(50)[40] * 0, "M"))
    '1.0000 [0.9945, 1.0000]'
    """
    return share_interval(_members_of(counts, name), float(counts.sum()))


def _members_of(counts: FloatArray, name: str) -> float:
    return float(counts[bin_members(np.arange(1.0, counts.size + 1.0), name)].sum())


@dataclass(frozen=True)
class Dip:
    """A histogram's peaks among short and among long sentences, and the lowest place between them.

    Attributes
    ----------
    left, right, at : int
        Lengths.
    depth : float
        Height of the valley relative to the lower peak; below 1 if there is a valley.
    z : float
        By how many standard errors the valley is lower than the lower peak.
    """

    left: int
    right: int
    at: int
    depth: float
    z: float


def dip(counts: FloatArray) -> Dip:
    """Peaks and valley of the counts of sentences of 1, 2, … pieces, averaged over five neighbouring lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.experiments.language.findings import dip
    >>> lengths = np.arange(1, 51)
    >>> two_modes = 100 * (np.exp(-0.1 * (lengths - 8) ** 2) + np.exp(-0.1 * (lengths - 40) ** 2))
    >>> found = dip(two_modes)
    >>> (found.left, found.right, found.z > 10)
    (8, 40, True)
    """
    smooth = np.convolve(counts, np.ones(WINDOW), mode="valid")
    # Windows that reach beyond the shortest or the longest sentence would be lower for that alone.
    lengths = np.arange(1, counts.size + 1)[WINDOW // 2 : counts.size - WINDOW // 2]
    left, right = (
        int(np.flatnonzero(members)[np.argmax(smooth[members])])
        for members in (bin_members(lengths.astype(float), name) for name in ("S", "L"))
    )
    at = left + int(np.argmin(smooth[left : right + 1]))
    lower, lowest = min(smooth[left], smooth[right]), smooth[at]
    depth = float(lowest / lower) if lower > 0.0 else 1.0
    z = float((lower - lowest) / np.sqrt(lower + lowest)) if lower > lowest else 0.0
    return Dip(int(lengths[left]), int(lengths[right]), int(lengths[at]), depth, z)
