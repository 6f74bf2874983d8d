"""Print what each loss learns on the paper's problem."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from itertools import product
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import finite_or_none, option_of, output_path, real, table, whole
from pbde_ref.experiments.atlas import LETTERS, RULES, AtlasRow, atlas_row
from pbde_ref.files import write_json

__all__ = ["add_arguments", "run"]

PARAMETERS = list(dict.fromkeys(name for rule in RULES.values() for name in rule.sweep))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref optima``."""
    parser.description = (
        "The exact optimum of each loss on the problem of Eq. (10), pairs drawn from the reference: the loss there, a "
        "bound on its distance from the minimum, total variation (TV) and KL from the policy to p* and to the "
        "reference, and the probability near the two modes."
    )
    parser.add_argument("--loss", metavar="NAME", choices=list(RULES), help=f"only this one of: {', '.join(RULES)}")
    parser.add_argument("--support", metavar="N", type=whole(8, 1024), default=256, help="grid points [256]")
    for name in PARAMETERS:
        kind = whole(2, 100) if name.startswith("n_") else real
        letter = LETTERS[name]
        parser.add_argument(option_of(name), dest=name, metavar="X", type=kind, help=f"{letter} instead of the sweep")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write all numbers and policies there")
    parser.add_argument("--plot", metavar="PATH", type=output_path(".png", ".pdf", ".svg"),
                        help="also draw all policies there (PNG, PDF or SVG)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    settings = _settings(options)
    rows = [
        atlas_row(loss, size=options.support, **parameters)
        for loss, parameters in tqdm(settings, desc="optima", unit="policy", disable=None, leave=False)
    ]
    print(f"Eq. (10) on {options.support} grid points, pairs from the reference policy\n")
    headers = ["", "loss", "gap", "policy\n±", "TV\np*", "KL\np*", "TV\nref", "KL\nref", "at\n-2.5", "at\n2.5"]
    print(table([_cells(row) for row in rows], headers, colalign=["left"] + ["right"] * 9))
    unproven = [row.label for row in rows if row.optimum.policy_error >= 1.0]
    if unproven:
        print(f"\n{', '.join(unproven)}: the loss is near its minimum, but nothing proves that of the policy")
    if options.json:
        write_json(options.json, _record(rows, options.support))
    if options.plot:
        from pbde_ref.figures import draw_optima, save_figure

        save_figure(draw_optima(rows), options.plot)
    return 0


def _settings(options: argparse.Namespace) -> list[tuple[str, dict[str, float]]]:
    """Losses and parameters; a value that is given replaces the sweep of the losses that have that parameter."""
    given = {name: getattr(options, name) for name in PARAMETERS if getattr(options, name) is not None}
    losses = [options.loss] if options.loss else [name for name in RULES if set(given) <= set(RULES[name].sweep)]
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
    distances, (left, right) = row.distances, row.mode_masses
    return [
        row.label,
        f"{row.optimum.loss:.4f}",
        f"{row.optimum.gap:.0e}",
        f"{row.optimum.policy_error:.0e}" if row.optimum.policy_error < 1.0 else "",
        f"{distances['total_variation_preference']:.3f}",
        f"{distances['kl_preference']:.2f}",
        f"{distances['total_variation_reference']:.3f}",
        f"{distances['kl_reference']:.2f}",
        f"{left:.3f}",
        f"{right:.3f}",
    ]


def _record(rows: list[AtlasRow], size: int) -> dict[str, Any]:
    return {
        "version": version("pbde-ref"),
        "support": size,
        "grid": rows[0].problem.grid.tolist(),
        "optima": [
            {
                "loss": row.name,
                "parameters": dict(row.parameters),
                "figure": row.figure,
                "value": row.optimum.loss,
                "gap": finite_or_none(row.optimum.gap),
                "certificate": row.optimum.proof,
                "policy_error": row.optimum.policy_error,
                **{name: finite_or_none(value) for name, value in row.distances.items()},
                "mode_masses": list(row.mode_masses),
                "policy": row.policy.pmf.tolist(),
            }
            for row in rows
        ],
    }
