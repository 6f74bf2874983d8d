"""Colours and lines that mean the same in every figure: the paper's palette and line styles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.validation import FloatArray

__all__ = [
    "ANNOTATORS", "ANNOTATOR_2", "COMPONENTS", "CREST", "OPTIMUM", "PREFERENCE", "REFERENCE", "SAMPLE_OPTIMUM",
    "TRAINED", "axis_of", "density", "grouped_panels", "on_the_grid",
]  # fmt: skip

# Told apart by readers with any colour vision. What is learnt often lies on p*, which is therefore drawn on top of it;
# what is best for a sample is noise about all of them, and lies behind.
PREFERENCE: dict[str, Any] = {"color": "#0173B2", "linestyle": "--", "linewidth": 1.3, "zorder": 3}
REFERENCE: dict[str, Any] = {"color": "#DE8F05", "linestyle": ":", "linewidth": 1.6}
ANNOTATOR_2: dict[str, Any] = {"color": "#CC78BC", "linestyle": "-.", "linewidth": 1.3, "zorder": 3}
TRAINED: dict[str, Any] = {"color": "#029E73", "linestyle": "-", "linewidth": 2.2, "alpha": 0.7}
OPTIMUM: dict[str, Any] = {"color": "#D55E00", "linestyle": (0, (4, 1.5, 1, 1.5)), "linewidth": 1.2, "zorder": 4}
SAMPLE_OPTIMUM: dict[str, Any] = {"color": "#999999", "linestyle": "-", "linewidth": 0.5, "zorder": 0, "alpha": 0.6}

ANNOTATORS = (PREFERENCE, ANNOTATOR_2, {**PREFERENCE, "color": "#56B4E9"}, {**ANNOTATOR_2, "color": "#949494"})
"""Lines of several annotators; of more than these, they begin again."""
COMPONENTS = tuple({**TRAINED, "color": color} for color in ("#029E73", "#CA9161", "#ECE133", "#56B4E9"))
"""Lines of the models of several annotators."""

# The paper's heat maps: 0 is light, 1 dark, and 0.4 and 0.6 are told apart.
CREST = LinearSegmentedColormap.from_list("crest", ["#A5CD90", "#63AF8F", "#40938F", "#25788B", "#205C85", "#2C3172"])


def density(p: FiniteDistribution, grid: FloatArray) -> FloatArray:
    """Probabilities per unit of length."""
    return p.pmf / (grid[1] - grid[0])


def grouped_panels(
    groups: Iterable[tuple[str, Any]], draw: Callable[[Axes, str, list[Any]], object], most: int,
    size: tuple[float, float], above: float = 0.0, share: bool = False,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A panel for each title, of all that goes with it, at most so many side by side; the figure and its panels."""
    panels: dict[str, list[Any]] = {}
    for title, member in groups:
        panels.setdefault(title, []).append(member)
    columns = min(most, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * lines + above), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=share, sharey=share, squeeze=False).ravel()
    for axis, (title, members) in zip(axes, panels.items(), strict=False):
        draw(axis, title, members)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure, list(axes[: len(panels)])


def axis_of(axis: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title and labels, in print's sizes."""
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def on_the_grid(axis: Axes, title: str, y: str = "density (per unit of $x$)") -> None:
    """An axis over [-10, 10], whose unit is that of x: the paper names none."""
    axis_of(axis, title, "$x$", y)
    axis.set_xticks([-10, -5, 0, 5, 10])
    axis.label_outer()
