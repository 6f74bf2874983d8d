"""Find the preference process that comparisons of texts follow."""

from __future__ import annotations

import argparse
from textwrap import fill
from typing import Any

import numpy as np
from tqdm import tqdm

from pbde_ref.cli.arguments import as_written, finite_or_none, output_path, table, whole
from pbde_ref.estimation.formats import FORMATS, Style
from pbde_ref.estimation.identification import ProcessIdentification, identify_process
from pbde_ref.estimation.processes import read_pairs
from pbde_ref.estimation.sources import DataError
from pbde_ref.experiments.process_simulation import SimulatedProcess, simulate_processes
from pbde_ref.files import write_json

__all__ = ["add_arguments", "run"]

DESCRIPTION = """\
Which process did these annotators follow? A file has a comparison a line, with the log-probabilities of the chosen and
of the rejected answer, and their lengths. Exit status 1 if the fit did not converge.

examples:
  pbde-ref process pairs.jsonl --cluster prompt
  pbde-ref process pairs.csv --log-p lp_w,lp_l --log-reference ref_w,ref_l --lengths n_w,n_l --json found.json
  pbde-ref process --simulate 2000 --seed random
"""
KEYS = {"log_p": "of p*, or of a model that may be it", "log_reference": "of the reference", "lengths": "in tokens"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("file", metavar="FILE", nargs="?", help='CSV, JSON or parquet, packed too; "-": stdin')
    for key, what in KEYS.items():
        parser.add_argument(f"--{key.replace('_', '-')}", metavar="CHOSEN,REJECTED", type=_two, dest=key,
                            help=f"columns: {what} [well-known names]")  # fmt: skip
    parser.add_argument("--covariate", metavar="COLUMN", action="append", default=[],
                        help="a number that speaks for the chosen answer (may be repeated)")  # fmt: skip
    parser.add_argument("--cluster", metavar="COLUMN", help="prompt or annotator, whose rows may depend on each other")
    parser.add_argument("--format", choices=FORMATS, help="[by the file's first bytes and its ending]")
    parser.add_argument("--simulate", metavar="N", type=whole(1, 10**6),
                        help="instead of a file: N data sets of each process; size, power and coverage")  # fmt: skip
    parser.add_argument("--pairs", metavar="N", type=whole(10, 10**6), default=500, help="of a data set [500]")
    parser.add_argument("--seed", default="0", help='of --simulate; "random" draws one [0]')
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write the results there")


def run(options: argparse.Namespace) -> int:
    """Read, fit, print; 0 if the fit converged, else 1."""
    if (options.file is None) == (options.simulate is None):
        raise ValueError("give either a FILE or --simulate N")
    if options.simulate is not None:
        return _simulate(options)
    try:
        columns = {key: getattr(options, key) for key in KEYS if getattr(options, key) is not None}
        arguments, names = read_pairs(options.file, columns=columns, covariates=options.covariate,
                                      cluster=options.cluster, style=Style(options.format))  # fmt: skip
    except DataError as error:
        raise ValueError(str(error)) from None
    found = identify_process(**arguments)
    print("\n".join(f"{key}: {', '.join(pair)}" for key, pair in names.items()))
    print(f"{found.n:,.0f} comparisons; errors {found.error_kind}\n\n{fill(as_written(found.sentence()), 80)}\n")
    print(_processes(found), _coefficients(found), _calibration(found), sep="\n\n")
    if options.json:
        write_json(options.json, _record(found))
    return 0 if found.converged else 1


def _processes(found: ProcessIdentification) -> str:
    statistic = "LR" if found.error_kind == "fisher" else "Wald"
    rows = [
        [test.name, test.estimate, f"{test.aic:.1f}", f"{test.statistic:.1f}", f"{test.degrees}", f"{test.p_value:.2g}"]
        for test in found.processes
    ]
    return table(rows, ["process", "parameter", "AIC", statistic, "df", "p"], colalign=["left"] * 2 + ["right"] * 4)


def _coefficients(found: ProcessIdentification) -> str:
    rows = [
        [name, f"{value:.4f}", f"{error:.4f}", f"{value / error:.1f}"]
        for name, value, error in zip(found.columns, found.coefficients, found.errors, strict=True)
    ]
    return table(rows, ["all columns", "coefficient", "error", "z"], colalign=["left"] + ["right"] * 3)


def _calibration(found: ProcessIdentification) -> str:
    rows = []
    for n, expected, won in found.calibration:
        error = np.sqrt(max(expected * (1.0 - expected), 1e-12) / n)
        rows.append([f"{n:.0f}", f"{expected:.3f}", f"{won:.3f}", f"{(won - expected) / error:+.1f}"])
    text = table(rows, ["comparisons", "expected", "favourite won", "z"], colalign=["right"] * 4)
    return f"{text}\n\nlink test (is the curve logistic?): p = {found.link:.2g}"


def _record(found: ProcessIdentification) -> dict[str, Any]:
    return {
        "sentence": found.sentence(), "n": found.n, "errors": found.error_kind, "converged": found.converged,
        "log_likelihood": found.log_likelihood, "aic": found.aic, "link_p_value": found.link,
        "coefficients": dict(zip(found.columns, found.coefficients.tolist(), strict=True)),
        "covariance": found.covariance.tolist(), "calibration": found.calibration.tolist(),
        "processes": [{**vars(test), "rejected": test.rejected} for test in found.processes],
    }  # fmt: skip


def _simulate(options: argparse.Namespace) -> int:
    try:
        seed = int(np.random.default_rng().integers(2**32)) if options.seed == "random" else int(options.seed)
    except ValueError:
        raise ValueError(f'`--seed` must be a whole number or "random"; got {options.seed!r}') from None
    total = 4 * options.simulate
    with tqdm(total=total, desc="simulate", unit="fit", disable=None, leave=False) as bar:
        found = simulate_processes(options.simulate, options.pairs, rng=seed, progress=bar.update)
    print(f"seed {seed}: {options.simulate:,} data sets of each process, {options.pairs:,} comparisons each\n")
    print(_shares(found, "rejected"), _shares(found, "chosen"), _covered(found), sep="\n\n")
    if options.json:
        rows = [{**vars(one), "coefficients_covered": one.coefficients_covered.tolist()} for one in found]
        values = [{key: finite_or_none(value) if isinstance(value, float) else value for key, value in row.items()}
                  for row in rows]  # fmt: skip
        write_json(options.json, {"seed": seed, "pairs": options.pairs, "processes": values})
    return 0


def _shares(found: list[SimulatedProcess], what: str) -> str:
    head = {"rejected": "rejected at 5 %", "chosen": "least AIC"}[what]
    rows = [[one.name, *(f"{share:.3f}" for share in getattr(one, what).values())] for one in found]
    return table(rows, [f"truth \\ {head}", *(one.name for one in found)], colalign=["left"] + ["right"] * len(found))


def _covered(found: list[SimulatedProcess]) -> str:
    rows = [
        [one.name if one.parameter is None else f"{one.name} ({one.parameter:g})",
         *(["", ""] if one.parameter is None else [f"{one.mean:.3f} ± {one.spread:.3f}", f"{one.covered:.3f}"]),
         *(f"{share:.3f}" for share in one.coefficients_covered)]
        for one in found
    ]  # fmt: skip
    text = table(rows, ["truth \\ covered", "estimates", "covered", "a", "b", "c", "d"],
                 colalign=["left"] + ["right"] * 6)  # fmt: skip
    lost = sum(one.separated for one in found)
    return f"{text}\n\n{lost} data sets that a rule explains without exception are left out" if lost else text


def _two(text: str) -> tuple[str, str]:
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2 or not all(parts):
        raise argparse.ArgumentTypeError(f"must be two columns, CHOSEN,REJECTED; got {text!r}")
    return parts[0], parts[1]
