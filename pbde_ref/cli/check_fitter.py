"""Hold a fitter of Bradley and Terry's model against the certified optimum.

For example pbde-ref check-fitter package.module:function --scale elo. The
function takes three lists: labels on the left, labels on the right, and "left",
"right" or "tie". It returns a mapping from labels to scores; or two of them, the
second with errors or intervals. The exit status is 0 if every function passed, 1
if a check failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pbde_ref.cli.arguments import whole
from pbde_ref.cli.check import add_outputs, expected_failure, report_on_each
from pbde_ref.foreign import Reached
from pbde_ref.oracle.calling.naming import subject_named
from pbde_ref.oracle.fitters.check import check_fitter
from pbde_ref.oracle.fitters.definition import TIES
from pbde_ref.oracle.report import CheckResult, Report

__all__ = ["add_arguments", "check_there", "run"]

DECLARED = ("ties", "scale", "ridge", "anchor", "tolerance", "level", "repetitions", "seed", "expect_checks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the subcommand takes.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["package.module:function", "--scale", "elo"]).scale
    'elo'
    """
    parser.description = __doc__
    parser.add_argument("subjects", nargs="+", metavar="MODULE:FUNCTION", help="what to check; several make a table")
    says = parser.add_argument_group("what the function computes")
    says.add_argument("--ties", choices=TIES, help="what ties count for [it is given none]")
    says.add_argument("--scale", type=_number_or("elo", "odds"), default=1.0, metavar="NUMBER",
                      help="units of a score in a nat; or elo, or odds, for strengths [1]")  # fmt: skip
    says.add_argument("--ridge", type=_number_or("pseudo:"), default=0.0, metavar="NUMBER",
                      help="of the penalty ridge/2 Σ ω²; or pseudo:COUNT [0]")  # fmt: skip
    says.add_argument("--anchor", metavar="WHAT:VALUE", help="what is pinned: mean:1000, sum:1, first:0, last:0")
    says.add_argument("--tolerance", type=float, default=1e-5, metavar="NATS", help="that may be missing [1e-5]")
    says.add_argument("--level", type=float, default=0.95, help="of intervals [0.95]")
    calling = parser.add_argument_group("how it is tried")
    calling.add_argument("--repetitions", type=whole(1, 10**6), default=200, metavar="N", help="of coverage [200]")
    calling.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, help="of what it is tried on [0]")
    calling.add_argument("--expect", action="append", default=[], metavar="CHECK=REASON", help="a check known to fail")
    calling.add_argument("--expect-checks", type=whole(1, 10**6), metavar="N", help="how many must hold something")
    calling.add_argument("--timeout", type=whole(1, 10**6), default=600, metavar="SECONDS",
                         help="after which a subject's process is ended [600]")  # fmt: skip
    add_outputs(parser)


def run(options: argparse.Namespace) -> int:
    """Check every subject in a process of its own, print what was found, and return the exit status."""
    declared = {name: getattr(options, name) for name in DECLARED[:5]}
    return report_on_each(options, "pbde_ref.cli.check_fitter:check_there", lambda name, fault: Report(
        name, "bradley_terry", declared, (CheckResult("process", "failed", fault),), "lists", "labels"
    ))  # fmt: skip


def check_there(request: Mapping[str, Any], reached: Reached) -> dict[str, Any]:
    """Check one subject, in the process that has been started for it."""
    reached("while its module was imported")
    function = subject_named(request["subject"])
    reached("while it was checked")
    expected = dict(expected_failure(text) for text in request["expect"])
    options = {name: request[name] for name in DECLARED}
    return check_fitter(function, **options, expected_failed_checks=expected, on_failure="report").as_dict()


def _number_or(*words: str) -> Any:
    def convert(text: str) -> float | str:
        if text.startswith(words):
            return text
        try:
            return float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number or {', '.join(words)}; got {text!r}") from None

    return convert
