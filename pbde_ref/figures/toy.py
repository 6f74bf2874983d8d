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
from pbde_ref.experiments.toy.closed_loops import LOOPS
from pbde_ref.experiments.toy.figure_4_preferences import preference_maps
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.figures.style import (
    ANNOTATOR_2,
    ANNOTATORS,
    COMPONENTS,
    CREST,
    OPTIMUM,
    PREFERENCE,
    REFERENCE,
    SAMPLE_OPTIMUM,
    TRAINED,
    axis_of,
    density,
    on_the_grid,
)
from pbde_ref.validation import choice

__all__ = ["draw_toy_figure"]

Records = Mapping[str, Record]
Lines = dict[str, tuple[str, dict[str, Any]]]
HEADROOM = 1.08
FEW = 5
"""Points on which a sample's best policy has all its mass, and is no curve."""


def draw_toy_figure(name: str, records: Records, settings: ToySettings) -> Figure:
    """A figure of the catalogue, from the records of its runs.

    Parameters
    ----------
    name : str
        "figure-1", …, "how-much-data" or "closed-loop".
    records : mapping of str to Record
        At least those that the figure needs.
    settings : ToySettings
        Those of the runs.

    Raises
    ------
    ValueError
        If there is no figure of that name.
    """
    choice("name", name, FIGURES)
    if name in _FIGURES:
        return _FIGURES[name](records, settings)
    return _sweep(name, records, settings)


def _panels(rows: int, columns: int, height: float = 2.4, sharey: Any = True) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(min(9.0, max(4.4, 2.6 * columns)), height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False)


def _legend(figure: Figure, axis: Axes, columns: int | None = None) -> None:
    """In so many columns above the panels, or in fewer if they are wider than the figure."""
    handles, labels = axis.get_legend_handles_labels()
    for ncols in range(columns or len(labels), 0, -1):
        legend = figure.legend(handles, labels, loc="outside upper center", ncols=ncols, frameon=False, fontsize=8)
        if ncols == 1 or legend.get_window_extent().width < figure.bbox.width:
            return
        legend.remove()


def _draw_policies(axis: Axes, record: Record, title: str, lines: Lines) -> dict[str, float]:
    """Some of a record's policies, by name; what the record lacks is left out. The highest value of each."""
    grid, highest = record.arrays["grid"], {}
    for name, (label, style) in lines.items():
        if f"policy.{name}" in record.arrays:
            policy = record.policy(name)
            # The best policy for a sample is free at each point: it may leave the picture, or be a spike.
            if name != "sample_optimum":
                highest[name] = float(density(policy, grid).max())
            elif np.count_nonzero(policy.pmf) <= FEW:
                continue
            axis.plot(grid, density(policy, grid), label=label, **style)
    on_the_grid(axis, title)
    return highest


def _draw_annotators(axis: Axes, settings: ToySettings) -> float:
    problem, highest = settings.problem(), 0.0
    for i, p in enumerate(problem.annotator_distributions):
        heights = density(p, problem.grid)
        axis.plot(problem.grid, heights, label=f"annotator {i + 1}", **ANNOTATORS[i % len(ANNOTATORS)])
        highest = max(highest, float(heights.max()))
    return highest


_SAMPLE = {"sample_optimum": ("exact, best for the sample", SAMPLE_OPTIMUM)}
_REFERENCE = {"reference": (r"$\pi_{\mathrm{pre}}$", REFERENCE)}
_TRAINED = {"trained": ("trained", TRAINED)}
_PREFERENCE = {"preference": ("$p^*$", PREFERENCE)}


def _optimum(label: str) -> Lines:
    return {"optimum": (label, OPTIMUM)}


def _sweep(name: str, records: Records, settings: ToySettings) -> Figure:
    """One panel for each value of the parameters; a row for each value of the last of two, on scales of their own."""
    adapted = ADAPTED[name]
    panels = adapted.sweep(settings)
    rows = len({list(parameters.values())[-1] for parameters in panels}) if len(panels[0]) > 1 else 1
    figure, axes = _panels(rows, len(panels) // rows, 2.4 if rows == 1 else 2.0, sharey="row")
    lines = _SAMPLE | _REFERENCE | _TRAINED | _PREFERENCE | _optimum(adapted.optimum)
    highest = [
        _draw_policies(axis, records[adapted.run.format(**parameters)], _values(parameters), lines)
        for axis, parameters in zip(axes.ravel(), panels, strict=True)
    ]
    for i, row in enumerate(axes):
        # From the second row on p* may leave the picture, so that what is learnt can be seen.
        seen = [
            height for found in highest[i * len(row) : (i + 1) * len(row)] for which, height in found.items()
            if i == 0 or which != "preference"
        ]  # fmt: skip
        row[0].set_ylim(0.0, HEADROOM * max(seen))
    # A sample's optimum is not in every panel.
    _legend(figure, max(axes.ravel(), key=lambda axis: len(axis.get_lines())))
    return figure


def _values(parameters: Mapping[str, float]) -> str:
    return ", ".join(rf"$\{name.rstrip('_')}$ = {value:g}" for name, value in parameters.items())


def _single(record: Record, title: str, lines: Lines, columns: int) -> Figure:
    figure, axes = _panels(1, 1)
    highest = _draw_policies(axes[0, 0], record, title, lines)
    axes[0, 0].set_ylim(0.0, HEADROOM * max(highest.values()))
    _legend(figure, axes[0, 0], columns)
    return figure


def _figure_1(records: Records, settings: ToySettings) -> Figure:
    trained = {"trained": (r"trained, $e^{r_\phi} / Z$", TRAINED)}
    lines = _SAMPLE | trained | {"preference": ("$p^*$, the exact optimum", PREFERENCE)}
    return _single(records["reward"], "Reward model on Luce preferences", lines, 3)


def _figure_2(records: Records, settings: ToySettings) -> Figure:
    lines = _SAMPLE | _REFERENCE | _TRAINED | {"preference": ("$p^*$, the exact optimum", PREFERENCE)}
    return _single(records["shared-process"], rf"DPO, shared process, $\beta$ = {settings.shared_beta:g}", lines, 3)


def _figure_4(records: Records, settings: ToySettings) -> Figure:
    maps = preference_maps(records, settings)
    figure = Figure(figsize=(2.1 * len(maps) + 0.6, 2.7), layout="constrained")
    axes = figure.subplots(1, len(maps), sharex=True, sharey=True)
    # As fine as print shows, from the paper's grid.
    thin = max(1, maps[0].grid.size // 512)
    for axis, each in zip(axes, maps, strict=True):
        # As in the paper, x_B grows downwards.
        image = axis.imshow(
            each.probabilities[::thin, ::thin].T, origin="upper", extent=(-10, 10, 10, -10), vmin=0.0, vmax=1.0,
            cmap=CREST, interpolation="nearest",
        )  # fmt: skip
        axis_of(axis, each.title, "$x_A$")
        axis.set_xticks([-10, 0, 10])
        axis.set_yticks([-10, 0, 10])
    axes[0].set_ylabel("$x_B$", fontsize=8)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.2, 0.4, 0.6, 0.8, 1], shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(r"Prob($x_A \succ x_B$)", fontsize=8)
    return figure


def _figure_5(records: Records, settings: ToySettings) -> Figure:
    figure, axes = _panels(1, 1, 2.6)
    axis = axes[0, 0]
    lines = _SAMPLE | _REFERENCE | _TRAINED | _optimum("exact projection")
    _draw_policies(axis, records["pooled"], "One policy for all annotators", lines)
    axis.set_ylim(0.0, HEADROOM * _draw_annotators(axis, settings))
    _legend(figure, axis, 3)
    return figure


def _figure_7(records: Records, settings: ToySettings) -> Figure:
    record = records["reward"]
    grid, p_star = record.arrays["grid"], record.policy("preference")
    figure, axes = _panels(1, 1)
    axis = axes[0, 0]
    rewards = record.arrays["log_weights.trained"] / np.log(10.0)
    log_density = (p_star.log_pmf - np.log(grid[1] - grid[0])) / np.log(10.0)
    offset = p_star.expectation(np.where(p_star.pmf > 0.0, rewards - log_density, 0.0))
    axis.plot(grid, rewards, label=r"trained, $e^{r_\phi}$, not normalised", **TRAINED)
    axis.plot(grid, log_density, label="$p^*$ (per unit of $x$)", **PREFERENCE)
    shifted = {**PREFERENCE, "linewidth": 0.8, "alpha": 0.6}
    axis.plot(grid, log_density + offset, label=rf"$10^{{{offset:.1f}}} p^*$, the mean offset under $p^*$", **shifted)
    on_the_grid(axis, "The reward is the log of p*, plus a constant", r"$\log_{10}$ of weight or density")
    _legend(figure, axis, 2)
    return figure


def _figure_11(records: Records, settings: ToySettings) -> Figure:
    record = records["two-annotators"]
    figure, axes = _panels(1, 2, sharey=False)
    left, right = axes[0]
    exact = {"preference": ("$p^*$, the exact optimum", PREFERENCE)}
    highest = _draw_policies(left, record, "marginal", _REFERENCE | _TRAINED | exact)
    weights = record.arrays["weights.trained"]
    components = {
        f"trained_{i + 1}": (f"trained, {weight:.2f}", COMPONENTS[i % len(COMPONENTS)])
        for i, weight in enumerate(weights)
    }
    tallest = _draw_policies(right, record, "components", components)
    left.set_ylim(0.0, HEADROOM * max(highest.values()))
    right.set_ylim(0.0, HEADROOM * max(*tallest.values(), _draw_annotators(right, settings)))
    # What is on other scales has numbers of its own.
    right.yaxis.set_tick_params(labelleft=True)
    right.set_ylabel("density (per unit of $x$)", fontsize=8)
    for axis in (left, right):
        axis.legend(fontsize=7, frameon=False, loc="upper right", handlelength=1.4)
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
    axis_of(excess, "loss above the least possible", "comparisons $N$", "excess loss (nats)")
    axis_of(error, "policy, distance from the optimum", "comparisons $N$", "total variation")
    axis_of(share, "samples with a finite estimate", "comparisons $N$", "share of samples")
    excess.set(xscale="log", yscale="log")
    error.set(yscale="log", ylim=(None, 1.0))
    share.set(ylim=(0.0, 1.03))
    excess.legend(fontsize=7, frameon=False)
    share.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _closed_loop(records: Records, settings: ToySettings) -> Figure:
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    policies, distance, share = figure.subplots(1, 3)
    problem = settings.problem(settings.loop_points)
    grid, heights = problem.grid, density(problem.implicit_preference_distribution, problem.grid)
    policies.plot(grid, density(problem.reference, grid), label=r"$\pi_0$", **REFERENCE)
    policies.plot(grid, heights, label="$p^*$", **PREFERENCE)
    for rounds, color in ((1, "#ECA96A"), (4, "#D55E00"), (settings.loop_rounds, "#5B2800")):
        found = records["loop-dpo"].arrays["last.policies"][min(rounds, settings.loop_rounds)]
        policies.plot(grid, found / (grid[1] - grid[0]), color=color, linewidth=1.2, label=f"round {rounds}")
    on_the_grid(policies, r"DPO, $\beta$ = 4, last reference")
    policies.set_ylim(0.0, 2.2 * float(heights.max()))
    colors = ("#D55E00", "#029E73", "#0173B2", "#CC78BC", "#CA9161", "#949494", "#000000")
    for (name, (loss, _, references)), color in zip(LOOPS.items(), colors, strict=True):
        for reference in references:
            last = reference == references[-1]
            line = {"color": color, "linestyle": "-" if last else ":", "label": name if last else None}
            for axis, kind in ((distance, "distance"), (share, "share")):
                values = records[f"loop-{loss}"].arrays[f"{reference}.{kind}"]
                axis.plot(np.arange(values.size), values, linewidth=1.2, **line)
    weight = float(problem.annotator_weights[0])
    share.axhline(weight, color="#999999", linewidth=0.6)
    share.annotate("her weight", (settings.loop_rounds, weight), fontsize=6, ha="right", va="bottom")
    axis_of(distance, "one Luce annotator", "round", "total variation from $p^*$")
    axis_of(share, "pooled annotators", "round", "share of annotator 1 in a draw")
    for axis in (distance, share):
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks([r for r in (0, 1, 2, 4, 8, 16, 40) if r <= settings.loop_rounds])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set(xlim=(0, settings.loop_rounds), ylim=(0, None))
    policies.legend(fontsize=7, frameon=False, loc="upper right")
    _legend(figure, distance, 7)
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
    "closed-loop": _closed_loop,
}
