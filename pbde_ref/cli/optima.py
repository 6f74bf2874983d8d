"""Print what each loss learns on the paper's problem."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

from tabulate import SEPARATING_LINE
from tqdm import tqdm

from pbde_ref.catalogue import LOSSES
from pbde_ref.cli.arguments import as_written, finite_or_none, option_of, output_path, real, table, whole
from pbde_ref.experiments.atlas import LETTERS, RULES, AtlasRow, atlas_row
from pbde_ref.files import write_atomically, write_json

__all__ = ["add_arguments", "run"]

HEADERS = ["", "loss", "gap", "±", "TV\np*", "TV\nref", "TV\n16", "won", "falls", "tells"]
FAMILIES = list(dict.fromkeys(rule.family for rule in RULES.values()))
INTRODUCTION = """# The atlas of preference losses

Where every loss of the catalogue leads on the problem of Eq. (10), on {size} grid points, with pairs drawn from the
reference and a Luce annotator: what `pbde-ref optima --support {size} --page docs/atlas.md` writes. `gap` bounds the
loss above the least possible one, `±` the policy's total variation from the best one; an empty cell: nothing is
proved. TV is the total variation to p\\*, to the reference and to Eq. (16) at the loss's own β, `won` the mean
log-ratio of policy and reference of the answers that were chosen, in nats: negative where these become rarer, -inf
where some are given up. `falls` says whether it is negative at the optimum or, if not there, anywhere on the way:
along the gradient flow of the logits from the reference (at end, before; no; empty: not computed, as where the loss
has kinks). `tells` is what the optimum determines of the annotator: p\\* itself, how often answers win (rates), or
which ones win more often than not (winners).

What a row does not name has the default of `pb.optimum`: f-DPO's divergence is the forward KL, RRHF's γ is 1. All
answers have length 1 and nobody calls a tie, so that LD-DPO is DPO here and Rao and Kupper's loss the one with an
offset. AOT's is that of large batches; unpaired and without label smoothing it has no optimum
([proof](../proofs/transport.md)).

In formulas a = log π/π_ref of the chosen answer, b of the rejected one, and m = β (a - b).
"""
PARAMETERS = list(dict.fromkeys(name for rule in RULES.values() for name in rule.sweep))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref optima``."""
    parser.description = (
        "The exact optimum of each loss on the problem of Eq. (10), pairs drawn from the reference: the loss there; a "
        "bound on its distance from the minimum, and on the policy's; total variation (TV) from the policy to p*, to "
        "the reference and to Eq. (16); the mean log-ratio of policy and reference of the answers that are chosen, "
        "negative where these become rarer; whether it is so in the end, or on the way from the reference; and what "
        "the optimum tells of p*."
    )
    parser.add_argument("--family", choices=FAMILIES, metavar="NAME", help=f"only one of: {', '.join(FAMILIES)}")
    parser.add_argument("--loss", metavar="NAME", choices=list(RULES), help=f"only this one of: {', '.join(RULES)}")
    parser.add_argument("--support", metavar="N", type=whole(8, 1024), default=256, help="grid points [256]")
    for name in PARAMETERS:
        kind = whole(2, 100) if name.startswith("n_") else real
        letter = LETTERS[name]
        parser.add_argument(option_of(name), dest=name, metavar="X", type=kind, help=f"{letter} instead of the sweep")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write all numbers and policies there")
    parser.add_argument("--plot", metavar="PATH", type=output_path(".png", ".pdf", ".svg", pictures=True),
                        help="also draw all policies there (PNG, PDF or SVG)")  # fmt: skip
    parser.add_argument("--page", metavar="PATH", type=output_path(".md", pictures=True),
                        help="also write a page with pictures there")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    settings = _settings(options)
    rows = [
        atlas_row(loss, size=options.support, **parameters)
        for loss, parameters in tqdm(settings, desc="optima", unit="policy", disable=None, leave=False)
    ]
    print(f"Eq. (10) on {options.support} grid points, pairs from the reference policy\n")
    titles = [[*line] for line in zip(*(f"{header}\n".split("\n")[:2] for header in HEADERS), strict=True)]
    # As rows, for tabulate makes its headers wider; with long labels in two lines it fills 80 columns.
    lines = table([*titles, SEPARATING_LINE, *map(_cells, rows)], [], maxcolwidths=[15] + [None] * 9,
                  colalign=["left"] + ["right"] * 7 + ["left"] * 2)  # fmt: skip
    print("\n".join(lines.splitlines()[1:-1]))
    for says, labels in _open_ends(rows).items():
        print("\n" + fill(as_written(f"{', '.join(labels)}: {says}"), 80))
    if options.json:
        write_json(options.json, _record(rows, options.support))
    if options.plot:
        _draw(rows, options.plot)
    if options.page:
        families = {f: [row for row in rows if RULES[row.name].family == f] for f in FAMILIES}
        page = Path(options.page)
        pictures = {f: page.with_name(f"{page.stem}-{f.replace(' ', '-')}.png") for f in families if families[f]}
        for family, path in pictures.items():
            _draw(families[family], path)
        text = _page(families, {f: path.name for f, path in pictures.items()}, options.support)
        write_atomically(page, text.encode())
    return 0


def _draw(rows: list[AtlasRow], path: str | Path) -> None:
    from pbde_ref.figures import draw_optima, save_figure

    save_figure(draw_optima([row for row in rows if row.policy is not None]), path)


def _open_ends(rows: list[AtlasRow]) -> dict[str, list[str]]:
    """What is not proved, and of which rows."""
    found: dict[str, list[str]] = {}
    for row in rows:
        says = row.optimum.reason or "nothing proves the policy" * (row.optimum.policy_error >= 1.0)
        if says:
            found.setdefault(says, []).append(row.label)
    return found


def _page(families: dict[str, list[AtlasRow]], pictures: dict[str, str], size: int) -> str:
    """The documentation's page: formulas, sources, optima and a picture of each family."""
    parts = [INTRODUCTION.format(size=size)]
    headings = " | ".join(h.replace("\n", " ") for h in HEADERS)
    for family, rows in families.items():
        if not rows:
            continue
        names = list(dict.fromkeys(RULES[row.name].loss for row in rows))
        records = [LOSSES[name] for name in names if isinstance(name, str)]
        parts.append(f"## {family.capitalize()}\n\n| loss | formula | source |\n|---|---|---|")
        cells = ((f"`{r.name}` {r.title}", r.formula or r.equation, r.source or "the paper") for r in records)
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        parts.append(f"\n| {headings} |\n|---|" + "---:|" * 7 + "---|---|")
        parts += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
        parts += ["", *(f"- {', '.join(labels)}: {says}." for says, labels in _open_ends(rows).items())]
        parts.append(f"\n![The best policies: {family}]({pictures[family]})\n")
    return "\n".join([*parts, ""])


def _settings(options: argparse.Namespace) -> list[tuple[str, dict[str, float]]]:
    """Losses and parameters; a value that is given replaces the sweep of the losses that have that parameter."""
    given = {name: getattr(options, name) for name in PARAMETERS if getattr(options, name) is not None}
    members = [name for name, rule in RULES.items() if options.family in (None, rule.family)]
    losses = [options.loss] if options.loss else [name for name in members if set(given) <= set(RULES[name].sweep)]
    for name in given:
        if not losses or name not in RULES[losses[0]].sweep:
            where = f"the loss {options.loss!r}" if options.loss else "any loss, together with the other options given"
            raise ValueError(f"{option_of(name)} is not a parameter of {where}")
    settings = []
    for loss in losses:
        sweep = {name: (given[name],) if name in given else values for name, values in RULES[loss].sweep.items()}
        settings += [(loss, dict(zip(sweep, values, strict=True))) for values in product(*sweep.values())]
    return settings


def _cells(row: AtlasRow) -> list[str]:
    distances = [row.distances.get(f"total_variation_{other}") for other in ("preference", "reference", "product")]
    return [
        row.label,
        f"{row.optimum.loss:.3f}",
        f"{row.optimum.gap:.0e}",
        f"{row.optimum.policy_error:.0e}" if row.optimum.policy_error < 1.0 else "",
        *("" if distance is None else f"{distance:.3f}" for distance in distances),
        "" if row.policy is None else f"{row.chosen:.{1 if row.chosen > -99.0 else 0}f}",
        row.falls,
        RULES[row.name].learns,
    ]


def _record(rows: list[AtlasRow], size: int) -> dict[str, Any]:
    return {
        "version": version("pbde-ref"),
        "support": size,
        "grid": rows[0].problem.grid.tolist(),
        "optima": [
            {
                "loss": row.name, "parameters": dict(row.parameters), "figure": row.figure, "value": row.optimum.loss,
                "gap": finite_or_none(row.optimum.gap), "certificate": row.optimum.proof,
                "policy_error": row.optimum.policy_error,
                **{name: finite_or_none(value) for name, value in row.distances.items()},
                "mode_masses": [finite_or_none(mass) for mass in row.mode_masses],
                "chosen_log_ratio": finite_or_none(row.chosen),
                "chosen_falls": row.falls,
                "policy": None if row.policy is None else row.policy.pmf.tolist(),
                "reason": row.optimum.reason,
            }
            for row in rows
        ],
    }  # fmt: skip
