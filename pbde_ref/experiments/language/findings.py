"""What section 5.2 finds, as statements with numbers: shown here, or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pbde_ref.experiments.records import Record
from pbde_ref.language.length_bias import bin_members
from pbde_ref.validation import FloatArray

__all__ = ["DEEP", "Finding", "bin_share", "dip", "findings", "with_error"]

CONFIDENCE = 1.96
"""Standard errors of a 95 % interval."""

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
    """The findings of section 5.2, judged by the records of all runs."""
    table = records["table-2"].numbers
    result = []
    for rule, equation, statement, above in (
        ("luce", "Eq. 9", "Under the Luce rule even the annotator *long* prefers short sentences to long ones", True),
        ("scale 50", "Eq. 26, c = 50", "Under the length-normalised rule it does not", False),
    ):
        value, error = table[f"long.{rule}.S>L"], table[f"long.{rule}.S>L.error"]
        if value is None or error is None:
            result.append(Finding(statement, "no sentences in one of the bins", False))
            continue
        reach = CONFIDENCE * error
        shown = value - reach > 0.5 if above else value + reach < 0.5
        result.append(Finding(statement, f"P(S ≻ L) = {with_error(value, reach)} ({equation})", shown))
    result.append(_more_medium_sentences(records))
    density = records["density-mixture"]
    valley = dip(density.arrays["length_counts"])
    result.append(
        Finding(
            "Adapted to the density mixture, its lengths have two modes",
            f"peaks at {valley.left} and {valley.right}, valley at {valley.at} with {valley.depth:.2f} of the lower "
            f"peak (z = {valley.z:.1f})",
            valley.z > DEEP and valley.depth < 0.8,
        )
    )
    return result


def _more_medium_sentences(records: Mapping[str, Record]) -> Finding:
    """The paper's samples are those that end; a model that seldom ends must not pass for one of medium sentences."""
    statement = (
        "Adapted to the annotator mixture, the model says more medium-length sentences than adapted to the density "
        "mixture, and than *short* or *long*"
    )
    names = ("annotator-mixture", "density-mixture", "samples-short", "samples-long")
    (one, *others), (of_all, *others_of_all) = (
        [share(records[name], "M") for name in names] for share in (_share_of_ended, _share_of_all)
    )
    ended, drawn = (
        [(a[0] - b[0], CONFIDENCE * float(np.hypot(a[1], b[1]))) for b in rest]
        for a, rest in ((one, others), (of_all, others_of_all))
    )
    without_end = [records[name].numbers["without_end"] or 0.0 for name in names[:2]]
    measured = (
        f"Of those that end {one[0]:.3f} against {others[0][0]:.3f} (difference {with_error(*ended[0])}; "
        f"*short* {others[1][0]:.3f}, *long* {others[2][0]:.3f}); of all draws {of_all[0]:.3f} against "
        f"{others_of_all[0][0]:.3f} (difference {with_error(*drawn[0])}), of which {without_end[0]:.3f} "
        f"and {without_end[1]:.3f} have no end"
    )
    return Finding(statement, measured, all(difference > reach for difference, reach in ended + drawn))


def _share_of_ended(record: Record, name: str) -> tuple[float, float]:
    return bin_share(record.arrays["length_counts"], name)


def _share_of_all(record: Record, name: str) -> tuple[float, float]:
    """Of all draws, with those that had no end."""
    counts = record.arrays["length_counts"]
    draws = float(counts.sum()) / (1.0 - (record.numbers["without_end"] or 0.0))
    share = bin_share(counts, name)[0] * float(counts.sum()) / draws
    return share, float(np.sqrt(share * (1.0 - share) / draws))


def bin_share(counts: FloatArray, name: str) -> tuple[float, float]:
    """Share of the sentences of 1, 2, … pieces that are in a bin, and its standard error.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.experiments.language.findings import bin_share
    >>> bin_share(np.eye(50)[24] * 7 + np.eye(50)[40] * 0, "M")
    (1.0, 0.0)
    """
    lengths = np.arange(1.0, counts.size + 1.0)
    share = float(counts[bin_members(lengths, name)].sum() / counts.sum())
    return share, float(np.sqrt(share * (1.0 - share) / counts.sum()))


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
