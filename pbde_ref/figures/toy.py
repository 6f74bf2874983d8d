"""The univariate figures: training beside the exact optimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbde_ref.experiments.records import Record
from pbde_ref.experiments.toy.adapted import ADAPTED
from pbde_ref.experiments.toy.catalogue import FIGURES
from pbde_ref.experiments.toy.figure_4_preferences import preference_maps
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.figures.style import (
    ANNOTATOR_2,
    OPTIMUM,
    PREFERENCE,
    REFERENCE,
    SAMPLE_OPTIMUM,
    TRAINED,
    density,
    on_the_grid,
)
from pbde_ref.paper_problem import paper_problem
from pbde_ref.validation import FloatArray

__all__ = ["draw_toy_figure"]

Records = Mapping[str, Record]
Lines = dict[str, tuple[str, dict[str, Any]]]
HEADROOM = 1.08


def draw_toy_figure(name: str, records: Records, settings: ToySettings) -> Figure:
    """A figure of the catalogue, from the records of its runs.

    Parameters
    ----------
    name : str
        "figure-1", …, or "how-much-data".
    records : mapping of str to Record
        At least those that the figure needs.
    settings : ToySettings
        Those of the runs.

    Raises
    ------
    ValueError
        If there is no figure of that name.
    """
    if name not in FIGURES:
        raise ValueError(f"`name` must be one of {', '.join(map(repr, FIGURES))}; got {name!r:.100}")
    if name in _FIGURES:
        return _FIGURES[name](records, settings)
    return _sweep(name, records, settings)


def _panels(rows: int, columns: int, height: float = 2.3) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(min(9.0, max(4.4, 2.6 * columns)), height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def _legend(figure: Figure, axis: Axes, columns: int | None = None) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns or len(labels), frameon=False, fontsize=8
    )


def _draw_policies(axis: Axes, record: Record, title: str, lines: Lines) -> float:
    """Some of a record's policies, by name; what the record lacks is left out. The highest value that must be seen."""
    grid, highest = record.arrays["grid"], 0.0
    for name, (label, style) in lines.items():
        if f"policy.{name}" in record.arrays:
            heights = density(record.policy(name), grid)
            axis.plot(grid, heights, label=label, **style)
            # The best policy for a sample is free at each point, and may leave the picture.
            highest = max(highest, 0.0 if name == "sample_optimum" else float(heights.max()))
    on_the_grid(axis, title)
    return highest


def _draw_annotators(axis: Axes, grid: FloatArray) -> float:
    annotators, highest = paper_problem(grid.size).annotator_distributions, 0.0
    for i, (p, style) in enumerate(zip(annotators, (PREFERENCE, ANNOTATOR_2), strict=True), 1):
        axis.plot(grid, density(p, grid), label=f"annotator {i}", **style)
        highest = max(highest, float(density(p, grid).max()))
    return highest


_SAMPLE = {"sample_optimum": ("best for the sample", SAMPLE_OPTIMUM)}
_REFERENCE = {"reference": (r"$\pi_{pre}$", REFERENCE)}
_TRAINED = {"trained": ("trained", TRAINED)}
_PREFERENCE = {"preference": ("$p^*$", PREFERENCE)}


def _optimum(label: str) -> Lines:
    return {"optimum": (label, OPTIMUM)}


def _sweep(name: str, records: Records, settings: ToySettings) -> Figure:
    """One panel for each value of the parameters, on common scales; a row for each value of the last of two."""
    adapted = ADAPTED[name]
    panels = adapted.sweep(settings)
    rows = len({list(parameters.values())[-1] for parameters in panels}) if len(panels[0]) > 1 else 1
    figure, axes = _panels(rows, len(panels) // rows, 2.3 if rows == 1 else 1.9)
    lines = _SAMPLE | _REFERENCE | _TRAINED | _PREFERENCE | _optimum(adapted.optimum)
    highest = max(
        _draw_policies(axis, records[adapted.run.format(**parameters)], _values(parameters), lines)
        for axis, parameters in zip(axes.ravel(), panels, strict=True)
    )
    axes[0, 0].set_ylim(0.0, HEADROOM * highest)
    # A sample's optimum is not in every panel.
    _legend(figure, max(axes.ravel(), key=lambda axis: len(axis.get_lines())))
    return figure


def _values(parameters: Mapping[str, float]) -> str:
    return ", ".join(rf"$\{name.rstrip('_')}$ = {value:g}" for name, value in parameters.items())


def _figure_1(records: Records, settings: ToySettings) -> Figure:
    figure, axes = _panels(1, 1)
    lines = _SAMPLE | {"trained": (r"trained, $e^{r_\phi} / Z$", TRAINED)} | _PREFERENCE
    highest = _draw_policies(axes[0, 0], records["reward"], "Reward model on Luce preferences", lines)
    axes[0, 0].set_ylim(0.0, HEADROOM * highest)
    _legend(figure, axes[0, 0])
    return figure


def _figure_2(records: Records, settings: ToySettings) -> Figure:
    figure, axes = _panels(1, 1)
    lines = _SAMPLE | _REFERENCE | _TRAINED | {"preference": ("$p^*$, the optimum", PREFERENCE)}
    title = rf"DPO, shared process, $\beta$ = {settings.shared_beta:g}"
    highest = _draw_policies(axes[0, 0], records["shared-process"], title, lines)
    axes[0, 0].set_ylim(0.0, HEADROOM * highest)
    _legend(figure, axes[0, 0], 2)
    return figure


def _figure_4(records: Records, settings: ToySettings) -> Figure:
    maps = preference_maps(records)
    figure = Figure(figsize=(2.6 * len(maps), 2.9), layout="constrained")
    axes = figure.subplots(1, len(maps), sharex=True, sharey=True)
    # Every eighth point of the paper's grid is as fine as print shows.
    thin = max(1, maps[0].grid.size // 128)
    for axis, each in zip(axes, maps, strict=True):
        image = axis.imshow(
            each.probabilities[::thin, ::thin].T, origin="lower", extent=(-10, 10, -10, 10), vmin=0.0, vmax=1.0,
            cmap="cividis", interpolation="nearest",
        )  # fmt: skip
        axis.set_title(each.title, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("$x_A$", fontsize=8)
    axes[0].set_ylabel("$x_B$", fontsize=8)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.4, 0.6, 1], shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(r"Prob($x_A \succ x_B$)", fontsize=8)
    return figure


def _figure_5(records: Records, settings: ToySettings) -> Figure:
    record = records["pooled"]
    figure, axes = _panels(1, 1, 2.6)
    axis = axes[0, 0]
    lines = _SAMPLE | _REFERENCE | _TRAINED | _optimum("exact projection")
    _draw_policies(axis, record, "One policy for two annotators", lines)
    axis.set_ylim(0.0, HEADROOM * _draw_annotators(axis, record.arrays["grid"]))
    _legend(figure, axis, 3)
    return figure


def _figure_7(records: Records, settings: ToySettings) -> Figure:
    record = records["reward"]
    grid, preference = record.arrays["grid"], density(record.policy("preference"), record.arrays["grid"])
    figure, axes = _panels(1, 1)
    axis = axes[0, 0]
    rewards = record.arrays["log_weights.trained"] / np.log(10.0)
    with np.errstate(divide="ignore"):
        axis.plot(grid, rewards, label=r"$\log_{10} e^{r_\phi}$, not normalised", **TRAINED)
        axis.plot(grid, np.log10(preference), label=r"$\log_{10} p^*$", **PREFERENCE)
    on_the_grid(axis, "The reward is the log of p*, plus a constant")
    _legend(figure, axis)
    return figure


def _figure_11(records: Records, settings: ToySettings) -> Figure:
    record = records["two-annotators"]
    figure, axes = _panels(1, 2)
    left, right = axes[0]
    grid = record.arrays["grid"]
    _draw_policies(left, record, "marginal", _REFERENCE | _TRAINED | _PREFERENCE)
    weights = record.arrays["weights.trained"]
    _draw_policies(
        right,
        record,
        "annotators",
        {f"trained_{i}": (f"trained, weight {weights[i - 1]:.2f}", TRAINED) for i in (1, 2)},
    )
    left.set_ylim(0.0, HEADROOM * _draw_annotators(right, grid))
    for axis in (left, right):
        axis.legend(fontsize=7, frameon=False, loc="center right")
    return figure


def _how_much_data(records: Records, settings: ToySettings) -> Figure:
    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    excess, error, share = figure.subplots(1, 3, sharex=True)
    cases = {
        "data-one-annotator": ("one annotator", PREFERENCE["color"], "o"),
        "data-two-annotators": ("two, fitted as one", ANNOTATOR_2["color"], "s"),
    }
    for name, (label, color, marker) in cases.items():
        arrays = records[name].arrays
        numbers = arrays["comparisons"]
        for axis, quantity in ((excess, "excess"), (error, "error")):
            mean = arrays[f"{quantity}.mean"]
            reach = [mean - arrays[f"{quantity}.low"], arrays[f"{quantity}.high"] - mean]
            axis.errorbar(numbers, mean, reach, label=label, color=color, marker=marker, markersize=3, linestyle="none")
            axis.plot(numbers, arrays[f"{quantity}.theory"], color=color, linewidth=0.9, label=f"theory, {label}")
        share.plot(arrays["all_comparisons"], arrays["finite"], color=color, marker=marker, markersize=3, label=label)
    excess.set(xscale="log", yscale="log", ylabel="excess loss (nats)", title="loss above the least possible")
    error.set(yscale="log", ylim=(None, 1.0), ylabel="total variation", title="policy, distance from the optimum")
    share.set(ylim=(0.0, 1.03), title="samples with a finite estimate")
    for axis in (excess, error, share):
        axis.set_xlabel("comparisons N", fontsize=8)
        axis.title.set_fontsize(9)
        axis.yaxis.label.set_fontsize(8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    excess.legend(fontsize=7, frameon=False)
    share.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


# All others are a sweep.
_FIGURES: Mapping[str, Callable[[Records, ToySettings], Figure]] = {
    "figure-1": _figure_1,
    "figure-2": _figure_2,
    "figure-4": _figure_4,
    "figure-5": _figure_5,
    "figure-7": _figure_7,
    "figure-11": _figure_11,
    "how-much-data": _how_much_data,
}
