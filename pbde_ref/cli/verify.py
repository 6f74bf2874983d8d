"""Check every theorem and closed form."""

from __future__ import annotations

import argparse
import math
import secrets
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import add_workers, finite_or_none, output_path, table, whole, words, workers_of
from pbde_ref.files import write_json
from pbde_ref.verification import CLAIMS, Row, Verdict, check, joined, problem_named, problem_names, problems
from pbde_ref.verification.campaigns import Campaign, verdicts_by_seed

__all__ = ["add_arguments", "run"]

GREATEST_SEED = 2**63 - 1
# More problems say no more to a reader; `--json` has them all.
SHOWN = 4
LONGEST = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref verify``."""
    parser.description = (
        "Check each claim on the problem of Eq. (10) and on seeded families of random problems, nasty ones among them. "
        "Exit status 1 if a claim fails or its check raises, or a control is not caught."
    )
    parser.add_argument("--claims", metavar="A,B", type=words(CLAIMS, "claim"), default=list(CLAIMS),
                        help="only these; `pbde-ref list` shows all")  # fmt: skip
    # Independent paths form n by n matrices of all kinds.
    parser.add_argument("--support", metavar="N", type=whole(8, 2048), default=256, help="grid points [256]")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", metavar="S", type=_seed, default=0, help="of the random problems, or `random` [0]")
    seeds.add_argument("--seeds", metavar="A-B", type=_seeds, help="all of these, in a table")
    parser.add_argument("--repetitions", metavar="N", type=whole(1, 10**6), default=2, help="problems a family [2]")
    parser.add_argument("--problem", metavar="NAME", help="only this one, as a report names it")
    add_workers(parser)
    parser.add_argument("--journal", metavar="PATH", type=output_path(),
                        help="where --seeds is taken up again if interrupted")  # fmt: skip
    parser.add_argument("--controls", action="store_true", help="show that each broken claim is caught")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write the results there")


def _seed(text: str) -> int:
    return secrets.randbelow(2**32) if text == "random" else whole(0, GREATEST_SEED)(text)


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    low, high = (whole(0, GREATEST_SEED)(part) for part in ((first, last) if dash else (text, text)))
    if high < low:
        raise argparse.ArgumentTypeError(f"must go up, as in 0-499; got {text!r}")
    return range(low, high + 1)


def run(options: argparse.Namespace) -> int:
    """Print a row per claim; exit status 1 if one fails or a control is not caught."""
    if options.seeds is None and (options.workers > 1 or options.scheduler or options.journal):
        raise ValueError("`--workers`, `--scheduler` and `--journal` are for `--seeds`")
    if options.seeds is not None and options.problem is not None:
        raise ValueError("`--problem` is one of a single `--seed`; got `--seeds`")
    verdicts, failed_seeds = _one_seed(options) if options.seeds is None else _many_seeds(options)
    print(_claim_table(verdicts))
    if options.controls:
        print("\nControls: the claim is broken on purpose, and the check must notice\n")
        print(_control_table(verdicts))
    print()
    for verdict in verdicts:
        _print_faults(verdict)
    if failed_seeds:
        print(_wrapped(f"seeds that failed: {', '.join(map(str, failed_seeds))}"))
    # One problem alone need not be one that a control can be tried on.
    tried = [v for v in verdicts if v.control_cases or options.problem is None]
    holding, caught = sum(v.holds for v in verdicts), sum(v.control_caught for v in tried)
    print(f"{holding} of {len(verdicts)} claims hold; {caught} of {len(tried)} controls caught")
    if options.json:
        write_json(options.json, _record(verdicts, options, failed_seeds))
    return 0 if holding == len(verdicts) and caught == len(tried) else 1


def _one_seed(options: argparse.Namespace) -> tuple[list[Verdict], list[int]]:
    if options.problem is None:
        cases = problems(options.support, options.seed, options.repetitions)
        print(f"Eq. (10) on {options.support} grid points and {len(cases) - 1} random problems, seed {options.seed}\n")
    else:
        cases = [problem_named(options.problem, options.support, options.seed)]
        print(f"{cases[0].name}, seed {options.seed}\n")
    verdicts: list[Verdict] = []
    with tqdm(total=len(options.claims), desc="verify", unit="claim", disable=None, leave=False) as progress:
        for name in options.claims:
            progress.set_postfix_str(name)
            verdicts += check([CLAIMS[name]], cases)
            progress.update()
    return verdicts, []


def _many_seeds(options: argparse.Namespace) -> tuple[list[Verdict], list[int]]:
    campaign = Campaign({n: CLAIMS[n] for n in options.claims}, options.seeds, options.support, options.repetitions)
    journal = Path(options.journal) if options.journal else None
    found: list[list[Verdict]] = []
    failed: list[int] = []
    say = partial(tqdm.write, file=sys.stderr)
    bar = tqdm(total=len(options.seeds) + 1, desc="verify", unit="seed", disable=None, leave=False)
    with workers_of(options) as workers, bar as progress:
        for seed, verdicts in verdicts_by_seed(campaign, workers, journal, say):
            found.append(verdicts)
            if seed is not None and any(v.failures or v.missed for v in verdicts):
                failed.append(seed)
            progress.set_postfix_str(f"{len(failed)} failed")
            progress.update()
    drawn = len(problem_names(options.repetitions)) - 1
    which = f"each of seeds {options.seeds[0]} to {options.seeds[-1]}"
    print(_wrapped(f"Eq. (10) on {options.support} grid points, and {drawn} random problems for {which}") + "\n")
    return [joined(parts) for parts in zip(*found, strict=True)], sorted(failed)


def _claim_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.name, v.claim.place, v.claim.certified_by, v.cases, f"{v.error:.0e}",
         "" if v.worst is None else f"{v.worst.allowed:.0e}", _word(v)]
        for v in verdicts
    ]  # fmt: skip
    return table(rows, ["claim", "paper", "certified by", "n", "err", "tol", ""])


def _word(verdict: Verdict) -> str:
    if verdict.cases == 0:
        return "NO CASE"
    return "holds" if verdict.holds else "RAISED" if any(row.raised for row in verdict.failures) else "FAILS"


def _control_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.name, v.claim.broken, v.control_cases, f"{v.control_error:.0e}",
         "" if v.closest is None else f"{v.closest.allowed:.0e}",
         "caught" if v.control_caught else "MISSED" if v.control_cases else "NO CASE"]
        for v in verdicts
    ]  # fmt: skip
    return table(rows, ["claim", "what is broken", "n", "err", "tol", ""])


def _print_faults(verdict: Verdict) -> None:
    """What failed, where, and how to see the worst of it alone."""
    name = verdict.claim.name
    if verdict.worst is not None and verdict.failures:
        row = verdict.worst
        what = f"error: {row.raised}" if row.raised else f"error {_number(row.error)}, allowed {row.allowed:.1e}"
        _print_fault(f"{name} fails on {len(verdict.failures)} of {verdict.cases}", verdict.failures, what, row)
    if verdict.closest is not None and verdict.missed:
        row = verdict.closest
        what = f"error: {row.control_raised}" if row.control_raised else f"error {_number(row.control_error)}"
        _print_fault(
            f"{name}, control not caught on {len(verdict.missed)} of {verdict.control_cases}", verdict.missed, what, row
        )
    if verdict.cases == 0:
        print(f"{name} was tried on no problem")
    if verdict.control_cases == 0:
        print(f"{name}, control: was tried on no problem")


def _print_fault(heading: str, rows: Sequence[Row], what: str, worst: Row) -> None:
    where = list(dict.fromkeys(row.problem for row in rows))
    more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
    print(_wrapped(f"{heading}: {'; '.join(where[:SHOWN])}{more}"))
    # A message may be a page long; the replay shows all of it.
    print(_wrapped(textwrap.shorten(f"{worst.problem}: {what}", LONGEST), "    "))
    print(f"    --claims {worst.claim} --seed {worst.seed} --problem '{worst.problem}'")


def _number(value: float | None) -> str:
    return "not a number" if value is None or not math.isfinite(value) else f"{value:.1e}"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 80, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False)


def _record(verdicts: Sequence[Verdict], options: argparse.Namespace, failed_seeds: Sequence[int]) -> dict[str, Any]:
    seeds = {"seed": options.seed} if options.seeds is None else {"seeds": [options.seeds[0], options.seeds[-1]]}
    return {
        "version": version("pbde-ref"),
        "support": options.support,
        **seeds,
        "repetitions": options.repetitions,
        "problem": options.problem,
        "failed_seeds": list(failed_seeds),
        "claims": [
            {
                "name": v.claim.name,
                "place": v.claim.place,
                "statement": v.claim.statement,
                "certified_by": v.claim.certified_by,
                "cases": v.cases,
                "largest_error": finite_or_none(v.error),
                "worst_case": "no case" if v.worst is None else v.worst.problem,
                "tolerance": v.claim.tolerance,
                "holds": v.holds,
                "failures": [_row_record(row) for row in v.failures],
                "control": {
                    "broken": v.claim.broken,
                    "cases": v.control_cases,
                    "smallest_error": finite_or_none(v.control_error),
                    "caught": v.control_caught,
                    "missed": [_row_record(row) for row in v.missed],
                },
                "seconds": v.seconds,
            }
            for v in verdicts
        ],
    }


def _row_record(row: Row) -> dict[str, Any]:
    return {
        "seed": row.seed,
        "problem": row.problem,
        "error": None if row.error is None else finite_or_none(row.error),
        "allowed": row.allowed,
        "raised": row.raised,
        "control_error": None if row.control_error is None else finite_or_none(row.control_error),
        "control_raised": row.control_raised,
    }
