"""Utilities with their intervals as a picture that belongs to no global state."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pbde_ref.estimation.ranking import Ranking
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.figures.saving import save_figure

__all__ = ["draw_ranking", "save_ranking"]

# More names than this cannot be read in one picture.
NAMED = 60
BLUE, GREY = "#0072B2", "#999999"


def draw_ranking(fit: ComparisonFit, ranked: Ranking) -> Figure:
    """Items from best to worst with their intervals: a named row for each, or beyond 60 items a curve over ranks."""
    size = ranked.order.size
    low, high = ranked.intervals.T
    reach = np.nan_to_num(np.stack([ranked.utilities - low, high - ranked.utilities]))
    zero = ranked.reference if ranked.reference is not None else "mean"
    about = f"utility in nats, {_plain_text(zero)} at 0, {100 * ranked.level:g} % intervals"
    style: dict[str, Any] = {
        "fmt": "o",
        "color": BLUE,
        "ecolor": BLUE,
        "markersize": 4.0,
        "linewidth": 1.2,
        "capsize": 2.0,
    }
    if size <= NAMED:
        figure = Figure(figsize=(7.0, 1.2 + 0.24 * size), layout="constrained")
        axis = figure.subplots()
        places = np.arange(size)
        axis.errorbar(ranked.utilities, places, xerr=reach, **style)
        axis.set_yticks(places, [_plain_text(fit.distribution.support[item]) for item in ranked.order.tolist()])
        axis.set_ylim(size - 0.4, -0.6)
        axis.set_xlabel(about)
        axis.axvline(0.0, color=GREY, linewidth=0.8, zorder=0)
        axis.grid(axis="x", linewidth=0.4, alpha=0.6)
    else:
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        axis = figure.subplots()
        places = np.arange(1, size + 1)
        axis.fill_between(places, low, high, color=BLUE, alpha=0.25, linewidth=0.0, label="interval")
        axis.plot(places, ranked.utilities, color=BLUE, linewidth=1.2)
        axis.set_xlim(1, size)
        axis.set_xlabel("rank")
        axis.set_ylabel(about, fontsize=8)
        axis.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
        axis.grid(axis="y", linewidth=0.4, alpha=0.6)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def save_ranking(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, PDF or SVG; equal figures give equal bytes."""
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; the picture is right all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        save_figure(figure, path)


def _plain_text(name: object) -> str:
    """A label that fits, in which nothing is taken for a formula."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in str(name))
    return (text if len(text) <= 40 else text[:39] + "…").replace("$", r"\$")
