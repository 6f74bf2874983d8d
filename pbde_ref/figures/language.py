"""Fig. 6: lengths of sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.exact.lengths.length_bias import LENGTH_BINS
from pbde_ref.experiments.records import Record
from pbde_ref.figures.style import ANNOTATOR_2, PREFERENCE, REFERENCE, TRAINED

__all__ = ["draw_figure_6"]


def draw_figure_6(records: Mapping[str, Record]) -> Figure:
    """Histograms of lengths: of the three models (left), and of *whole* before and after adapting it (right).

    Parameters
    ----------
    records : mapping of str to Record
        "pairs", "samples-short", "samples-long", "annotator-mixture" and "density-mixture".
    """
    figure = Figure(figsize=(8.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    for name, label, style in (
        ("pairs", "whole", REFERENCE),
        ("samples-short", "short", PREFERENCE),
        ("samples-long", "long", ANNOTATOR_2),
    ):
        _steps(left, records[name], label, {**style, "linewidth": 1.4})
    for name, label, style in (
        ("pairs", "before", REFERENCE),
        ("annotator-mixture", "annotator mixture (27)", TRAINED),
        ("density-mixture", "density mixture (28)", {"color": "#0072B2", "linestyle": "--"}),
    ):
        _steps(right, records[name], label, {**style, "linewidth": 1.4})
    for axis, title in ((left, "models"), (right, "whole, adapted to two annotators")):
        # Medium-length sentences.
        axis.axvspan(LENGTH_BINS["M"][0] - 0.5, LENGTH_BINS["M"][1] + 0.5, color="#EEEEEE", zorder=0)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("pieces", fontsize=8)
        axis.set_xlim(0.5, 50.5)
        axis.set_ylim(bottom=0.0)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False)
    left.set_ylabel("share of sentences", fontsize=8)
    return figure


def _steps(axis: Axes, record: Record, label: str, style: Mapping[str, Any]) -> None:
    counts = record.arrays["length_counts"]
    axis.stairs(counts / counts.sum(), np.arange(counts.size + 1) + 0.5, label=label, **style)
