"""What section 5.2 finds, as statements with numbers: shown here, or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pbde_ref.experiments.records import Record
from pbde_ref.language.length_bias import bin_members
from pbde_ref.validation import FloatArray

__all__ = ["DEEP", "Finding", "bin_share", "dip", "findings"]

CONFIDENCE = 1.96
"""Standard errors of a 95 % interval."""

WINDOW = 5
"""Lengths over which a histogram is averaged before peaks and the valley between them are read off."""

DEEP = 4.0
"""Standard errors that make a valley. Peaks and valley are chosen for being extreme: of flat histograms, one in 30
exceeds 3 standard errors, and fewer than one in 1,000 exceeds 4."""


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
        result.append(Finding(statement, f"P(S ≻ L) = {value:.3f} ± {reach:.3f} ({equation})", shown))
    annotators, density = (records[name] for name in ("annotator-mixture", "density-mixture"))
    (one, one_error), (other, other_error) = (
        bin_share(record.arrays["length_counts"], "M") for record in (annotators, density)
    )
    reach = CONFIDENCE * float(np.hypot(one_error, other_error))
    result.append(
        Finding(
            "Adapted to the annotator mixture, the model says more medium-length sentences than to the density mixture",
            f"{one:.3f} against {other:.3f}; difference {one - other:.3f} ± {reach:.3f}",
            one - other > reach,
        )
    )
    valley = dip(density.arrays["length_counts"])
    result.append(
        Finding(
            "Adapted to the density mixture, its lengths have two modes",
            f"peaks at {valley.left} and {valley.right}, valley at {valley.at} with {valley.depth:.2f} of the lower "
            f"peak (z = {valley.z:.1f})",
            valley.z > DEEP,
        )
    )
    return result


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
    smooth = np.convolve(counts, np.ones(WINDOW), mode="same")
    lengths = np.arange(1, counts.size + 1)
    left, right = (
        int(lengths[members][np.argmax(smooth[members])])
        for members in (bin_members(lengths.astype(float), name) for name in ("S", "L"))
    )
    between = slice(left - 1, right)
    at = int(lengths[between][np.argmin(smooth[between])])
    lower, lowest = min(smooth[left - 1], smooth[right - 1]), smooth[at - 1]
    return Dip(left, right, at, float(lowest / lower), float((lower - lowest) / np.sqrt(lower + lowest)))


