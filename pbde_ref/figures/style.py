"""Colours and lines that mean the same in every figure."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.validation import FloatArray

__all__ = ["ANNOTATOR_2", "OPTIMUM", "PREFERENCE", "REFERENCE", "SAMPLE_OPTIMUM", "TRAINED", "density", "on_the_grid"]

# Okabe and Ito's palette, told apart by readers with any colour vision; the paper's line styles.
# What is learnt often lies on p*, which is therefore drawn on top of it.
PREFERENCE: dict[str, Any] = {"color": "#56B4E9", "linestyle": "--", "linewidth": 1.1, "zorder": 3}
REFERENCE: dict[str, Any] = {"color": "#E69F00", "linestyle": ":", "linewidth": 1.4}
ANNOTATOR_2: dict[str, Any] = {"color": "#CC79A7", "linestyle": "-.", "linewidth": 1.1, "zorder": 3}
TRAINED: dict[str, Any] = {"color": "#009E73", "linestyle": "-", "linewidth": 1.6}
OPTIMUM: dict[str, Any] = {"color": "#D55E00", "linestyle": (0, (4, 1.5, 1, 1.5)), "linewidth": 1.1, "zorder": 4}
SAMPLE_OPTIMUM: dict[str, Any] = {"color": "#999999", "linestyle": "-", "linewidth": 0.5, "zorder": 0, "alpha": 0.8}


def density(p: FiniteDistribution, grid: FloatArray) -> FloatArray:
    """Probabilities per unit of length."""
    return p.pmf / (grid[1] - grid[0])


def on_the_grid(axis: Axes, title: str) -> None:
    """An axis over [-10, 10]."""
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.set_xticks([-10, -5, 0, 5, 10])
    axis.spines[["top", "right"]].set_visible(False)
