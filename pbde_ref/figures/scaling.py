"""Draws time against size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pbde_ref.benchmarking.scaling import Series
from pbde_ref.figures.style import axis_of, grouped_panels

__all__ = ["draw_scaling"]

_MARKERS = "osD^vP*X"


def draw_scaling(series: Sequence[Series]) -> Figure:
    """One panel for each title, both axes logarithmic; the legend has each contender's fitted slope.

    Parameters
    ----------
    series : sequence of Series
        At least one.
    """
    if not series:
        raise ValueError("`series` must hold something measured at two sizes n at least; got nothing")
    return grouped_panels(((member.title, member) for member in series), _draw_panel, 3, (4.2, 3.3))[0]


def _draw_panel(axis: Axes, title: str, members: Sequence[Series]) -> None:
    colors = colormaps["viridis"](np.linspace(0.0, 0.85, len(members)))
    for index, (color, member) in enumerate(zip(colors, members, strict=True)):
        axis.loglog(
            member.sizes,
            member.seconds,
            color=color,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4,
            linewidth=1.2,
            label=f"{member.label}, slope {member.slope:.2f}",
        )
    seconds = np.log10([value for member in members for value in member.seconds])
    axis.set_ylim(10.0 ** np.floor(seconds.min()), 10.0 ** np.ceil(seconds.max()))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(members[0].sizes, [_size(size) for size in members[0].sizes])
    axis_of(axis, "\n".join(wrap(title, 60)), "n", "seconds")
    axis.title.set_fontsize(8)
    axis.legend(fontsize=7, frameon=False)


def _size(size: float) -> str:
    power = round(math.log10(size))
    return f"$10^{power}$" if size >= 1000 and size == 10.0**power else f"{size:g}"
