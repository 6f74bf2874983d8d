"""Table 2: whom each model as an annotator prefers, short, medium or long sentences, by Eq. (9) and Eq. (26).

A second.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from pbde_ref.experiments.language.models import KINDS
from pbde_ref.experiments.language.sentences import pairs_of
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.language.length_bias import GROUP_PAIRS, LENGTH_BINS, bin_members
from pbde_ref.validation import FloatArray

__all__ = ["RULES", "mean_preference", "runs", "table_2"]

RULES = ("luce", "scale 1", "scale 50")
"""Eq. (9), Eq. (26) as printed, and Eq. (26) as it was computed."""


def runs(place: Workplace) -> list[Run]:
    """One table."""
    return [Run("table-2", table_2, ("pairs",))]


def table_2(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    r"""Mean preferences over all cross pairs of the first sentences drawn from *whole*, with standard errors.

    Returns
    -------
    Record
        ``<annotator>.<rule>.S>L`` and the same with ``.error``; ``sentences.S`` and so on.
    """
    pairs, count = pairs_of(place), place.settings.table_sentences
    lengths = pairs.lengths[:count].astype(np.float64)
    members = {name: bin_members(lengths, name) for name in LENGTH_BINS}
    numbers: dict[str, float | None] = {f"sentences.{name}": float(chosen.sum()) for name, chosen in members.items()}
    for kind in KINDS:
        log_probs = pairs.log_probs[kind][:count]
        utilities = {"luce": log_probs, "scale 1": log_probs / lengths, "scale 50": 50.0 * log_probs / lengths}
        for rule, utility in utilities.items():
            for first, second in GROUP_PAIRS:
                found = mean_preference(utility[members[first]], utility[members[second]])
                name = f"{kind}.{rule}.{first}>{second}"
                numbers[name], numbers[f"{name}.error"] = found if found is not None else (None, None)
    return Record("table-2", {}, numbers, {})


def mean_preference(first: FloatArray, second: FloatArray) -> tuple[float, float] | None:
    r"""Mean of :math:`\sigma(u_i - v_j)` over all pairs of two samples, and its standard error; None below two each.

    The pairs share sentences. The error is that of a two-sample U-statistic: the variance of the means over the other
    sample, divided by the size, for each of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.experiments.language.table_2 import mean_preference
    >>> mean_preference(np.zeros(2), np.zeros(3))
    (0.5, 0.0)
    """
    if first.size < 2 or second.size < 2:
        return None
    probabilities = expit(first[:, None] - second[None, :])
    variance = sum(
        float(np.var(means, ddof=1)) / means.size
        for means in (probabilities.mean(axis=1), probabilities.mean(axis=0))
    )
    return float(probabilities.mean()), float(np.sqrt(variance))
