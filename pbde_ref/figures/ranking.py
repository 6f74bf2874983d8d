"""What comparisons say, as pictures that belong to no global state: leaderboard, who beats whom, how sure, for whom."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.estimation.annotator_models import AnnotatorModels
from pbde_ref.estimation.ranking import Ranking
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.figures.saving import save_figure
from pbde_ref.validation import FloatArray

__all__ = ["draw_annotators", "draw_calibration", "draw_ranking", "draw_wins", "save_ranking"]

# More names than this cannot be read in one picture.
NAMED = 60
BLUE, GREY = "#0072B2", "#999999"
COLORS = (BLUE, "#D55E00", "#009E73")


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
        ranks = [f"{a}" if a == b else f"{a}–{b}" for a, b in ranked.ranks.tolist()]
        if ranks:
            beside = axis.secondary_yaxis("right")
            beside.set_yticks(places[: len(ranks)], ranks)
            beside.tick_params(labelsize=8, length=0)
            beside.spines["right"].set_visible(False)
            axis.text(1.01, 1.0, "rank", transform=axis.transAxes, fontsize=8, va="bottom")
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


def draw_wins(fit: ComparisonFit) -> Figure:
    """How probable it is that the item of a row beats that of a column, best first; 60 items at most."""
    order = np.argsort(-fit.utilities, kind="stable")[:NAMED]
    chances = fit.win_probabilities()[np.ix_(order, order)]
    np.fill_diagonal(chances, np.nan)
    names = fit.distribution.support[order].tolist()
    figure, axis = _heat_map(chances, names, names, (0.0, 1.0), "P(row beats column)", 0.34)
    for row, column in zip(*np.nonzero(np.isfinite(chances)), strict=True) if order.size <= 16 else ():
        value = chances[row, column]
        dark = "white" if abs(value - 0.5) > 0.32 else "black"
        axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=dark)
    return figure


def draw_annotators(models: AnnotatorModels) -> Figure:
    """Each annotator's utilities beside the pooled ones: a row for each item, at most 60, best first; 12 annotators."""
    pooled = models.pooled
    order = np.argsort(-pooled.utilities, kind="stable")[:NAMED]
    names = pooled.distribution.support[order].tolist()
    busy = sorted(models.each.items(), key=lambda named: -named[1].n_comparisons)[:12]
    values = np.full((order.size, 1 + len(busy)), np.nan)
    for column, fit in enumerate([pooled, *(fit for _, fit in busy)]):
        own = dict(zip(fit.distribution.support.tolist(), fit.relative_utilities().tolist(), strict=True))
        values[:, column] = [own.get(name, np.nan) for name in names]
    reach = float(np.nanmax(np.abs(values))) or 1.0
    columns = ["pooled", *(name for name, _ in busy)]
    figure, axis = _heat_map(values, names, columns, (-reach, reach), "utility in nats", 0.5)
    axis.axvline(0.5, color="white", linewidth=3.0)
    return figure


def _heat_map(
    values: FloatArray, rows: list[Any], columns: list[Any], ends: tuple[float, float], what: str, width: float
) -> tuple[Figure, Axes]:
    """Blue is high; what is not known is grey."""
    size = (3.0 + width * len(columns), max(2.8, 1.6 + 0.28 * len(rows)))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("#dddddd")
    image = axis.imshow(values, cmap="RdBu", vmin=ends[0], vmax=ends[1], aspect="auto")
    axis.set_xticks(range(len(columns)), list(map(_plain_text, columns)), rotation=90)
    axis.set_yticks(range(len(rows)), list(map(_plain_text, rows)))
    bar = figure.colorbar(image, ax=axis)
    bar.set_label(what, fontsize=8)
    for one in (axis, bar.ax):
        one.tick_params(labelsize=8, length=0)
    return figure, axis


def draw_calibration(models: AnnotatorModels) -> Figure:
    """How often each model's favourites won, with a standard error, against how sure it was; areas are shares."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0.5, 1.0], [0.5, 1.0], color=GREY, linewidth=0.8, zorder=0)
    for (name, score), color in zip(models.scores.items(), COLORS, strict=True):
        seen = score.share > 0.0
        sure, won, share = score.confidence[seen], score.hit_rate[seen], score.share[seen]
        error = np.sqrt(won * (1.0 - won) / (share * models.n_held_out))
        axis.errorbar(sure, won, error, fmt="none", ecolor=color, linewidth=0.8, alpha=0.7)
        axis.scatter(sure, won, 400.0 * share, color=color, alpha=0.7)
        axis.plot([], [], "o", color=color, label=f"{name}, off by {score.calibration_error:.3f}")
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    axis.set_xlabel("how sure the model was of its favourite", fontsize=8)
    axis.set_ylabel("how often that won", fontsize=8)
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
