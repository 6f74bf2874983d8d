"""Fig. 6: lengths of sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.exact.lengths.length_bias import LENGTH_BINS
from pbde_ref.experiments.records import Record
from pbde_ref.figures.style import axis_of

__all__ = ["draw_figure_6"]


def draw_figure_6(records: Mapping[str, Record]) -> Figure:
    """Histograms of lengths: of the three models (left), and of *whole* before and after adapting it (right).

    Parameters
    ----------
    records : mapping of str to Record
        "pairs", "samples-short", "samples-long", "annotator-mixture" and "density-mixture".
    """
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    for name, label, color in (
        ("pairs", "whole", "#0173B2"), ("samples-short", "short", "#DE8F05"), ("samples-long", "long", "#029E73"),
    ):  # fmt: skip
        _steps(left, records[name], label, {"color": color})
    for name, label, style in (
        ("pairs", "whole, before", {"color": "#949494", "linestyle": ":"}),
        ("annotator-mixture", "annotator mixture (27)", {"color": "#0173B2"}),
        ("density-mixture", "density mixture (28)", {"color": "#DE8F05", "linestyle": "--"}),
    ):
        _steps(right, records[name], label, style)
    for axis, title in ((left, "trained models"), (right, "whole, adapted to two annotators")):
        # Medium-length sentences.
        axis.axvspan(LENGTH_BINS["M"][0] - 0.5, LENGTH_BINS["M"][1] + 0.5, color="#EEEEEE", zorder=0)
        axis_of(axis, title, "sentence length (pieces)", "share of sentences")
        axis.set_xlim(0.5, 50.5)
        axis.set_ylim(bottom=0.0)
        axis.legend(fontsize=7, frameon=False)
    return figure


def _steps(axis: Axes, record: Record, label: str, style: Mapping[str, Any]) -> None:
    counts = record.arrays["length_counts"]
    axis.stairs(counts / counts.sum(), np.arange(counts.size + 1) + 0.5, label=label, linewidth=1.4, **style)
