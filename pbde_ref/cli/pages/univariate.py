"""The univariate figures as a page: each with what to look for, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from pbde_ref.experiments.records import Record
from pbde_ref.experiments.toy.catalogue import FIGURES
from pbde_ref.experiments.toy.figure_4_preferences import preference_maps
from pbde_ref.experiments.toy.figure_5_misspecification import WHERE, maxima, misfit
from pbde_ref.experiments.toy.settings import ToySettings

__all__ = ["gallery_page", "rows_of", "undefeated"]

FEW = 5
HEADERS = ["run", "loss", "least", "sample", "least\nthere", "trained\noptimum", "sample\noptimum", "trained\np*"]

LEGEND = (
    "`loss` is the trained policy's expected loss and `least` the least possible one; `sample` and `least there` the "
    "same for the mean over the sample, where each policy may choose every point's probability freely. The last three "
    "columns are total variations: of the trained policy from the population's optimum, of the sample's optimum from "
    "it, and of the trained policy from p\\*. A dash: there is none, or no unique one."
)


def rows_of(records: Mapping[str, Record], names: Sequence[str]) -> list[list[str]]:
    """A line of numbers for each trained policy."""
    rows = []
    for name in names:
        numbers = records[name].numbers
        if "loss.trained.population" in numbers:
            rows.append(
                [
                    name,
                    *(
                        _number(numbers[f"loss.{which}.{where}"])
                        for where in ("population", "sample")
                        for which in ("trained", "least")
                    ),
                    _distance(numbers, "trained", "optimum"),
                    _distance(numbers, "sample_optimum", "optimum"),
                    # Where p* is itself the optimum, it is stored once.
                    _distance(numbers, "trained", "preference") if _has(numbers, "preference") else _distance(
                        numbers, "trained", "optimum"),
                ]
            )  # fmt: skip
    return rows


def gallery_page(
    records: Mapping[str, Record], figures: Sequence[str], command: str, settings: ToySettings, image_format: str
) -> str:
    """Markdown that shows images ``<figure>.<format>`` of its own folder."""
    parts = [
        "# The univariate figures",
        f"Made by `{command}`, seed {settings.seed}: {settings.grid} grid points, "
        f"{settings.comparisons:,} comparisons, {settings.steps:,} steps of Adam from a learning rate of "
        f"{settings.learning_rate:g}. Colours: blue p\\*, orange the reference, green what was trained, red what is "
        f"optimal by the exact formula or minimiser, grey the exact optimum of the very sample that was trained on.",
        LEGEND,
    ]
    for name in figures:
        figure = FIGURES[name]
        parts += [f"## {name.replace('-', ' ').capitalize()}: {figure.title}", f"![{name}]({name}.{image_format})"]
        parts.append(figure.look_for)
        if figure.print_differs:
            parts.append(f"*Beside the print.* {figure.print_differs}")
        parts += _numbers_of(name, records, [run.name for run in figure.runs(settings)])
    return "\n\n".join(parts) + "\n"


def _numbers_of(figure: str, records: Mapping[str, Record], names: Sequence[str]) -> list[str]:
    parts = []
    if rows := rows_of(records, names):
        headers = [header.replace("\n", " ") for header in HEADERS]
        parts.append(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
        parts += [note for name in names if (note := undefeated(records[name]))]
    if figure == "figure-4":
        maps = [[m.title, f"{m.error:.3f}", f"{m.plateaus:.3f}"] for m in preference_maps(records)]
        parts.append(
            tabulate(maps, ["map", "mean distance from (25)", "share at 0.4 or 0.6"], "github", disable_numparse=True)
        )
    if figure == "figure-5":
        optimum = records["pooled"].policy("optimum")
        curves = [
            [
                name,
                ", ".join(f"{height:.4f} at {x:.2f}" for x, height in maxima(policy)),
                *(f"{misfit(policy, optimum, x):+.4f}" for x in WHERE),
            ]
            for name, policy in (("exact", optimum), ("trained", records["pooled"].policy("trained")))
        ]
        headers = ["curve", "maxima of the density", *(f"less the exact at x = {x:g}" for x in WHERE)]
        parts.append(tabulate(curves, headers, tablefmt="github", disable_numparse=True))
    if figure == "figure-11":
        numbers = records["two-annotators"].numbers
        rows = [
            [
                str(i),
                _number(numbers[f"weight.trained_{i}"], 3),
                _number(numbers[f"total_variation.trained_{i}.annotator_{i}"], 3),
                _number(numbers[f"kl.annotator_{i}.trained_{i}"], 3),
            ]
            for i in (1, 2)
        ]
        headers = ["annotator", "weight", "total variation", "KL (nats)"]
        parts.append(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    if figure == "how-much-data":
        parts.append(_errors_table(records))
    return parts


def undefeated(record: Record) -> str:
    """Why a sample's best policy keeps its mass on few points, if it does."""
    if "policy.sample_optimum" not in record.arrays:
        return ""
    points = np.flatnonzero(record.arrays["policy.sample_optimum"])
    if points.size > FEW:
        return ""
    where = ", ".join(f"x = {record.arrays['grid'][i]:.2f}" for i in points)
    return (
        f"In the sample of {record.name}, {where} never lost to any other point, so the sample's best policy keeps all "
        "its mass there: what a free probability for each point makes of luck."
    )


def _errors_table(records: Mapping[str, Record]) -> str:
    rows = []
    for name in ("data-one-annotator", "data-two-annotators"):
        arrays = records[name].arrays
        for i, size in enumerate(arrays["comparisons"]):
            share = arrays["finite"][list(arrays["all_comparisons"]).index(size)]
            rows.append(
                [
                    name.removeprefix("data-").replace("-", " "),
                    f"{int(size):,}",
                    f"{share:.3f}",
                    *(f"{arrays[f'excess.{part}'][i]:.3g}" for part in ("mean", "low", "high", "theory")),
                    *(f"{arrays[f'error.{part}'][i]:.3f}" for part in ("mean", "theory")),
                ]
            )
    headers = ["", "N", "finite", "excess", "from", "to", "theory", "TV", "theory"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _has(numbers: Mapping[str, float | None], name: str) -> bool:
    return f"total_variation.trained.{name}" in numbers


def _distance(numbers: Mapping[str, float | None], one: str, other: str) -> str:
    for key in (f"total_variation.{one}.{other}", f"total_variation.{other}.{one}"):
        if key in numbers:
            return _number(numbers[key], 3)
    return "–"


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
