"""The univariate figures as a page: each with what to look for, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pbde_ref.cli.pages import grid, number
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.toy.catalogue import FIGURES, LETTERS
from pbde_ref.experiments.toy.closed_loops import LOOPS
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
    "it, and of the trained policy from p\\*. A dash: there is none, or no unique one. Losses and optima are those "
    "with the pretrained network as π_pre; with N(0, 5) itself their last digits are others."
)


def rows_of(records: Mapping[str, Record], names: Sequence[str]) -> list[list[str]]:
    """A line of numbers for each trained policy."""
    rows = []
    for name in names:
        numbers = records[name].numbers
        if "loss.trained.population" in numbers:
            losses = (f"loss.{which}.{where}" for where in ("population", "sample") for which in ("trained", "least"))
            # Where p* is itself the optimum, it is stored once.
            apart = ("trained", "optimum"), ("sample_optimum", "optimum"), ("trained", "preference", "optimum")
            rows.append([name, *(number(numbers[each]) for each in losses), *(_distance(numbers, *p) for p in apart)])
    return rows


def gallery_page(
    records: Mapping[str, Record], figures: Sequence[str], command: str, settings: ToySettings, image_format: str
) -> str:
    """Markdown that shows images ``<figure>.<format>`` of its own folder."""
    parts = [
        "# The univariate figures",
        f"Made by `{command}`, seed {settings.seed}: {settings.grid} grid points, "
        f"{settings.comparisons:,} comparisons, {settings.steps:,} steps of Adam from a learning rate of "
        f"{settings.learning_rate:g}. *Trained* is what Adam left, green; *exact* is what is optimal by a formula or a "
        "certified minimiser, red, and of the very sample that was trained on, grey. Blue dashes are p\\*, orange dots "
        "π_pre. Densities are per unit of x, which has no other unit. Both outcomes of a pair are drawn from π_pre, in "
        f"Fig. 1 and 7 {'too' if settings.reward_pairs == 'reference' else 'evenly'}; β is {settings.shared_beta:g} in "
        "Fig. 2."
        + (f" Answers by {', '.join(settings.annotators)} instead of Eq. 10." if settings.annotators else ""),
        LEGEND,
    ]
    for name in figures:
        figure = FIGURES[name]
        parts += [f"## {name.replace('-', ' ').capitalize()}: {figure.title}", f"![{name}]({name}.{image_format})"]
        letters = "; ".join(LETTERS[letter] for letter in figure.letters)
        parts.append(f"{figure.look_for} Here {letters}.")
        if figure.print_differs:
            parts.append(f"*Beside the print.* {figure.print_differs}")
        parts += _numbers_of(name, records, settings)
    return "\n\n".join(parts) + "\n"


def _numbers_of(figure: str, records: Mapping[str, Record], settings: ToySettings) -> list[str]:
    parts, names = [], [run.name for run in FIGURES[figure].runs(settings)]
    if rows := rows_of(records, names):
        parts.append(grid(rows, [header.replace("\n", " ") for header in HEADERS]))
        parts += [note for name in names if (note := undefeated(records[name]))]
    if figure == "figure-4":
        maps = [[m.title, f"{m.error:.3f}", f"{m.plateaus:.3f}"] for m in preference_maps(records, settings)]
        parts.append(grid(maps, ["map", "mean distance from (25)", "share at a weight, 0.4 or 0.6"]))
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
        parts.append(grid(curves, headers))
    if figure == "figure-11":
        numbers = records["two-annotators"].numbers
        measured = "weight.trained_{0}", "total_variation.trained_{0}.annotator_{0}", "kl.annotator_{0}.trained_{0}"
        count = len(settings.problem().annotator_weights)
        rows = [[f"{i}", *(number(numbers[m.format(i)], 3) for m in measured)] for i in range(1, count + 1)]
        parts.append(grid(rows, ["annotator", "weight", "total variation", "KL (nats)"]))
    if figure == "how-much-data":
        parts.append(_errors_table(records))
    if figure == "closed-loop":
        parts.append(_loops_table(records, settings))
    return parts


def _loops_table(records: Mapping[str, Record], settings: ToySettings) -> str:
    """A line for each loop: distances after some rounds, the least, what is left, and how long samples last."""
    shown = [t for t in (1, 4, settings.loop_rounds) if t <= settings.loop_rounds]
    rows = []
    for name, (loss, _, references) in LOOPS.items():
        record = records[f"loop-{loss}"]
        for reference in references:
            distance, share = (record.arrays[f"{reference}.{kind}"] for kind in ("distance", "share"))
            ended = record.numbers[f"{reference}.sampled"]
            rows.append([
                name, reference if len(references) > 1 else "none", *(f"{distance[t]:.3f}" for t in shown),
                f"{distance.min():.3f} in {int(distance.argmin())}", number(record.numbers[f"{reference}.entropy"], 2),
                *(f"{share[t]:.3f}" for t in shown), "–" if ended is None else f"{ended:.0f}",
            ])  # fmt: skip
    headers = ["loss", "reference", *(f"TV in {t}" for t in shown), "least TV", "entropy (nats)",
               *(f"share in {t}" for t in shown), "rounds on samples"]  # fmt: skip
    return grid(rows, headers)


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
    return grid(rows, ["", "N", "finite", "excess", "from", "to", "theory", "TV", "theory"])


def _distance(numbers: Mapping[str, float | None], one: str, *others: str) -> str:
    """From the first of others that is stored, in either order."""
    keys = (f"total_variation.{a}.{b}" for other in others for a, b in ((one, other), (other, one)))
    return number(next((numbers[key] for key in keys if key in numbers), None), 3)
