"""The command line: parses, calls, prints. Results go to stdout, progress and errors to stderr.

Exit status: 0 all well, 1 a check failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from tabulate import tabulate
from tqdm import tqdm

from pbde_ref.files import write_json
from pbde_ref.verification import CLAIMS, Claim, Verdict, check, problems

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Wrong usage gets one line that names it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.

    Returns
    -------
    int
        The exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"pbde-ref {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pbde-ref", description="Exact referee for learning from pairwise preferences.")
    parser.add_argument("--version", action="version", version=f"pbde-ref {version('pbde-ref')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    verify = commands.add_parser(
        "verify",
        help="check every theorem and closed form",
        description="Check each claim on the problem of Eq. (10) and on a seeded family of random problems. "
        "Exit status 1 if a claim fails, or a control is not caught.",
    )
    verify.add_argument("--claims", metavar="A,B", type=_claims, default=list(CLAIMS.values()), help="only these")
    verify.add_argument("--support", metavar="N", type=_support, default=256, help="grid points of Eq. (10) [256]")
    verify.add_argument("--seed", type=_seed, default=0, help="of the random problems [0]")
    verify.add_argument("--controls", action="store_true", help="show that each broken claim is caught")
    verify.add_argument("--json", metavar="PATH", help="also write the results there")
    verify.set_defaults(run=_verify)

    listing = commands.add_parser("list", help="say which claims there are", description="All claims, a line each.")
    listing.set_defaults(run=_list)
    return parser


def _claims(text: str) -> list[Claim]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in CLAIMS:
            raise argparse.ArgumentTypeError(f"unknown claim {name!r}; `pbde-ref list` shows all")
    if not names:
        raise argparse.ArgumentTypeError("names no claim; `pbde-ref list` shows all")
    return [CLAIMS[name] for name in names]


def _whole(text: str, least: int, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"must be from {least} to {most}; got {value}")
    return value


def _support(text: str) -> int:
    # Independent paths form n by n matrices of all kinds.
    return _whole(text, 8, 2048)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1)


def _list(options: argparse.Namespace) -> int:
    rows = [[claim.name, claim.place, claim.statement] for claim in CLAIMS.values()]
    print(tabulate(rows, ["claim", "paper", "statement"], tablefmt="simple", maxcolwidths=[None, None, 44]))
    return 0


def _verify(options: argparse.Namespace) -> int:
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
    return _table(rows, ["claim", "paper", "certified by", "n", "error", "bound", "verdict"])


def _control_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.claim.name, v.claim.broken, v.control_cases, f"{v.control_error:.0e}", f"{v.claim.tolerance:.0e}",
         "caught" if v.control_caught else "MISSED"]
        for v in verdicts
    ]  # fmt: skip
    return _table(rows, ["claim", "what is broken", "n", "error", "bound", "verdict"])


def _table(rows: list[list[Any]], headers: list[str]) -> str:
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


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
                "largest_error": _finite(v.error),
                "worst_case": v.worst,
                "tolerance": v.claim.tolerance,
                "holds": v.holds,
                "control": {
                    "broken": v.claim.broken,
                    "cases": v.control_cases,
                    "smallest_error": _finite(v.control_error),
                    "caught": v.control_caught,
                },
                "seconds": v.seconds,
            }
            for v in verdicts
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
