"""What each loss learns: one panel per loss, its optima over the sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.experiments.atlas import RULES, AtlasRow
from pbde_ref.figures.style import PREFERENCE, REFERENCE, density, grouped_panels, on_the_grid

__all__ = ["draw_optima"]


def draw_optima(rows: Sequence[AtlasRow]) -> Figure:
    r"""One panel per loss: :math:`p^*`, :math:`\pi_{pre}` and the exact optimum for each parameter value.

    Parameters
    ----------
    rows : sequence of AtlasRow
        At least one.
    """
    titled = ((_panel_title(row), row) for row in rows)
    figure, axes = grouped_panels(titled, _draw_panel, 4, (3.0, 2.3), above=0.4, share=True)
    for axis in axes[-4:]:
        axis.tick_params(labelbottom=True)
    # A policy on one answer would flatten all others.
    top = min(axes[0].get_ylim()[1], 2.0 * float(np.max(axes[0].get_lines()[0].get_ydata())))
    axes[0].set_ylim(-0.04 * top, top)
    handles = axes[0].get_lines()[:2]
    figure.legend(handles, ["$p^*$ (Eq. 10)", r"$\pi_{pre}$"], loc="outside upper center", ncols=2, frameon=False)
    return figure


def _panel_title(row: AtlasRow) -> str:
    """The loss, and all parameters but the one that is swept within the panel."""
    held = [f"λ = {value:g}" for name, value in row.parameters.items() if name == "lambda_"]
    figure = f" (Fig. {row.figure})" if row.figure else ""
    return ", ".join([RULES[row.name].title, *held]) + figure


def _draw_panel(axis: Axes, title: str, members: Sequence[AtlasRow]) -> None:
    problem = members[0].problem
    axis.plot(problem.grid, density(problem.implicit_preference_distribution, problem.grid), **PREFERENCE)
    axis.plot(problem.grid, density(problem.reference, problem.grid), **REFERENCE)
    colors = colormaps["viridis"](np.linspace(0.0, 0.85, len(members)))
    for color, row in zip(colors, members, strict=True):
        assert row.policy is not None
        swept = [part for part in row.label.split()[1:] if not part.startswith("λ")]
        axis.plot(problem.grid, density(row.policy, problem.grid), color=color, linewidth=1.2, label=" ".join(swept))
    on_the_grid(axis, title)
    if any(len(row.parameters) for row in members):
        axis.legend(handles=axis.get_lines()[2:], fontsize=7, frameon=False, handlelength=1.2)

