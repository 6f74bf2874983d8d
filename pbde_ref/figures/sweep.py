"""Draws one number of a sweep against the settings that vary."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.experiments.sweep import Sweep

__all__ = ["draw_sweep"]

# Averages are over these.
CHANCE = "seed"
MOST_LINES = 10


def draw_sweep(found: Sweep, number: str) -> Figure:
    """Lines against one setting, or a map of two that have three numbers each; averages over seeds.

    Raises
    ------
    ValueError
        If there is no such number, more than ten lines, or nothing varies.
    """
    if number not in found.numbers:
        raise ValueError(f"`number` must be one of {', '.join(found.numbers)}; got {number!r:.100}")
    varied = [name for name in found.varied if name != CHANCE] or list(found.varied)
    if not varied:
        raise ValueError("a figure needs a setting with several values; got none")
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axis = figure.subplots()
    values = {name: list(dict.fromkeys(found.settings[name])) for name in varied}
    if len(varied) == 2 and all(len(v) > 2 and _are_numbers(v) for v in values.values()):
        _map(figure, axis, found, number, values)
    else:
        _lines(axis, found, number, values)
    seeds = len(set(found.settings.get(CHANCE, []))) if CHANCE not in varied else 1
    axis.set_title(f"{number}, mean over {seeds} seeds" if seeds > 1 else number, fontsize=9)
    axis.set_xlabel(varied[0], fontsize=8)
    axis.tick_params(labelsize=7)
    return figure


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _mean(found: Sweep, number: str, point: dict[str, Any]) -> float:
    rows = zip(*(found.settings[name] for name in point), found.numbers[number], strict=True)
    there = [row[-1] for row in rows if row[:-1] == tuple(point.values()) and row[-1] is not None]
    return fmean(there) if there else float("nan")


def _map(figure: Figure, axis: Axes, found: Sweep, number: str, values: dict[str, list[Any]]) -> None:
    (x, across), (y, up) = ((name, sorted(known)) for name, known in values.items())
    cells = [[_mean(found, number, {x: a, y: b}) for a in across] for b in up]
    image = axis.imshow(cells, origin="lower", aspect="auto", cmap="viridis")
    axis.set_xticks(range(len(across)), [f"{value:g}" for value in across])
    axis.set_yticks(range(len(up)), [f"{value:g}" for value in up])
    axis.set_ylabel(y, fontsize=8)
    figure.colorbar(image).ax.tick_params(labelsize=7)


def _lines(axis: Axes, found: Sweep, number: str, values: dict[str, list[Any]]) -> None:
    (x, across), *others = values.items()
    across = sorted(across) if _are_numbers(across) else across
    places = across if _are_numbers(across) else list(map(str, across))
    lines = list(dict.fromkeys(zip(*(found.settings[name] for name, _ in others), strict=True))) if others else [()]
    if len(lines) > MOST_LINES:
        raise ValueError(f"a figure must have at most {MOST_LINES} lines beside {x}; got {len(lines)}")
    for color, line in zip(colormaps["viridis"](np.linspace(0.0, 0.85, len(lines))), lines, strict=True):
        fixed = dict(zip((name for name, _ in others), line, strict=True))
        means = [_mean(found, number, {x: value, **fixed}) for value in across]
        axis.plot(places, means, color=color, marker="o", markersize=4, linewidth=1.2,
                  label=", ".join(f"{name} = {value}" for name, value in fixed.items()))  # fmt: skip
    if _are_numbers(across) and min(across) > 0 and max(across) >= 20 * min(across):
        axis.set_xscale("log")
    axis.spines[["top", "right"]].set_visible(False)
    if others:
        axis.legend(fontsize=7, frameon=False)
