"""Check every theorem and closed form."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import finite_or_none, output_path, table, whole
from pbde_ref.files import write_json
from pbde_ref.verification import CLAIMS, Claim, Verdict, check, problems

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref verify``."""
    parser.description = (
        "Check each claim on the problem of Eq. (10) and on a seeded family of random problems. Exit status 1 if a "
        "claim fails, or a control is not caught."
    )
    parser.add_argument("--claims", metavar="A,B", type=_claims, default=list(CLAIMS.values()), help="only these")
    # Independent paths form n by n matrices of all kinds.
    parser.add_argument("--support", metavar="N", type=whole(8, 2048), default=256, help="grid points [256]")
    parser.add_argument("--seed", metavar="S", type=whole(0, 2**63 - 1), default=0, help="of the random problems [0]")
    parser.add_argument("--controls", action="store_true", help="show that each broken claim is caught")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write the results there")


def _claims(text: str) -> list[Claim]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in CLAIMS:
            raise argparse.ArgumentTypeError(f"unknown claim {name!r}; `pbde-ref list` shows all")
    if not names:
        raise argparse.ArgumentTypeError("names no claim; `pbde-ref list` shows all")
    return [CLAIMS[name] for name in names]


def run(options: argparse.Namespace) -> int:
    """Print a row per claim; exit status 1 if one fails or a control is not caught."""
    verdicts: list[Verdict] = []
    cases = problems(options.support, options.seed)
    with tqdm(total=len(options.claims), desc="verify", unit="claim", disable=None, leave=False) as progress:
        for claim in options.claims:
            progress.set_postfix_str(claim.name)
            verdicts += check([claim], cases)
            progress.update()
    print(f"Eq. (10) on {options.support} grid points and {len(cases) - 1} random problems, seed {options.seed}\n")
    print(_claim_table(verdicts))
    if options.controls:
        print("\nControls: the claim is broken on purpose, and the check must notice\n")
        print(_control_table(verdicts))
    failed = [verdict.claim.name for verdict in verdicts if not verdict.holds]
    missed = [verdict.claim.name for verdict in verdicts if not verdict.control_caught]
    print()
    for verdict in verdicts:
        if not verdict.holds:
            print(f"{verdict.claim.name} fails, worst on: {verdict.worst}")
    if missed:
        print(f"controls not caught: {', '.join(missed)}")
    print(f"{len(verdicts) - len(failed)} of {len(verdicts)} claims hold; "
          f"{len(verdicts) - len(missed)} of {len(verdicts)} controls caught")  # fmt: skip
    if options.json:
        write_json(options.json, _record(verdicts, options))
    return 1 if failed or missed else 0


def _claim_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.name, v.claim.place, v.claim.certified_by, v.cases, f"{v.error:.0e}", f"{v.claim.tolerance:.0e}",
         "holds" if v.holds else "FAILS"]
        for v in verdicts
    ]  # fmt: skip
    return table(rows, ["claim", "paper", "certified by", "n", "err", "tol", ""])


def _control_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.name, v.claim.broken, v.control_cases, f"{v.control_error:.0e}", f"{v.claim.tolerance:.0e}",
         "caught" if v.control_caught else "MISSED"]
        for v in verdicts
    ]  # fmt: skip
    return table(rows, ["claim", "what is broken", "n", "err", "tol", ""])


def _record(verdicts: Sequence[Verdict], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "version": version("pbde-ref"),
        "support": options.support,
        "seed": options.seed,
        "claims": [
            {
                "name": v.claim.name,
                "place": v.claim.place,
                "statement": v.claim.statement,
                "certified_by": v.claim.certified_by,
                "cases": v.cases,
                "largest_error": finite_or_none(v.error),
                "worst_case": v.worst,
                "tolerance": v.claim.tolerance,
                "holds": v.holds,
                "control": {
                    "broken": v.claim.broken,
                    "cases": v.control_cases,
                    "smallest_error": finite_or_none(v.control_error),
                    "caught": v.control_caught,
                },
                "seconds": v.seconds,
            }
            for v in verdicts
        ],
    }
