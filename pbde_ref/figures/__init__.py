"""Draws results; computes none. Every function returns a Matplotlib figure that belongs to no global state."""

from pbde_ref.figures.atlas import draw_optima
from pbde_ref.figures.saving import FORMATS, save_figure

__all__ = ["FORMATS", "draw_optima", "save_figure"]
