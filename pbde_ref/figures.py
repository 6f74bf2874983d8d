"""Draws results; computes none. Every function returns a Matplotlib figure that belongs to no global state."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.experiments.optima import LOSSES, Optimum
from pbde_ref.files import write_atomically
from pbde_ref.validation import FloatArray

__all__ = ["draw_optima", "save_figure"]

# Okabe and Ito's palette, told apart by readers with any colour vision; the paper's line styles.
# What is learnt often lies on p*, which is therefore drawn on top of it.
PREFERENCE: dict[str, Any] = {"color": "#56B4E9", "linestyle": "--", "linewidth": 1.1, "zorder": 3}
REFERENCE: dict[str, Any] = {"color": "#E69F00", "linestyle": ":", "linewidth": 1.4}

# What would make the bytes of equal figures differ is left out.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, PDF or SVG, by the path's ending; equal figures give equal bytes.

    Raises
    ------
    ValueError
        If the ending is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"`path` must end in one of {', '.join(_METADATA)}; got {os.fspath(path)!r}")
    buffer = io.BytesIO()
    # Element names in SVG are random unless salted.
    with rc_context({"svg.hashsalt": "pbde_ref"}):
        figure.savefig(buffer, format=suffix[1:], metadata=_METADATA[suffix], dpi=150)
    write_atomically(path, buffer.getvalue())


def draw_optima(rows: Sequence[Optimum]) -> Figure:
    r"""One panel per loss: :math:`p^*`, :math:`\pi_{pre}` and the exact optimum for each parameter value.

    Parameters
    ----------
    rows : sequence of Optimum
        At least one.
    """
    panels: dict[str, list[Optimum]] = {}
    for row in rows:
        panels.setdefault(_panel_title(row), []).append(row)
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.3 * lines + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    for axis, (title, members) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, title, members)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[: len(panels)][-columns:]:
        axis.tick_params(labelbottom=True)
    handles = axes[0].get_lines()[:2]
    figure.legend(handles, ["$p^*$ (Eq. 10)", r"$\pi_{pre}$"], loc="outside upper center", ncols=2, frameon=False)
    return figure


def _panel_title(row: Optimum) -> str:
    """The loss, and all parameters but the one that is swept within the panel."""
    held = [f"λ = {value:g}" for name, value in row.parameters.items() if name == "lambda_"]
    figure = f" (Fig. {row.figure})" if row.figure else ""
    return ", ".join([LOSSES[row.loss].title, *held]) + figure


def _draw_panel(axis: Axes, title: str, members: Sequence[Optimum]) -> None:
    problem = members[0].problem
    axis.plot(problem.grid, _density(problem.implicit_preference_distribution, problem.grid), **PREFERENCE)
    axis.plot(problem.grid, _density(problem.reference, problem.grid), **REFERENCE)
    colors = colormaps["viridis"](np.linspace(0.0, 0.85, len(members)))
    for color, row in zip(colors, members, strict=True):
        swept = [part for part in row.label.split()[1:] if not part.startswith("λ")]
        axis.plot(problem.grid, _density(row.policy, problem.grid), color=color, linewidth=1.2, label=" ".join(swept))
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.set_xticks([-10, -5, 0, 5, 10])
    axis.spines[["top", "right"]].set_visible(False)
    if any(len(row.parameters) for row in members):
        axis.legend(handles=axis.get_lines()[2:], fontsize=7, frameon=False, handlelength=1.2)


def _density(p: FiniteDistribution, grid: FloatArray) -> FloatArray:
    return p.pmf / (grid[1] - grid[0])
