"""What the recipes share: run the oracle on a list of functions, and print what it found, with versions."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pbde_ref.files import write_json
from pbde_ref.oracle import Report, check_loss, check_sequence_log_probs

__all__ = ["Declaration", "main"]


@dataclass(frozen=True)
class Declaration:
    """A function, and what it is declared to compute.

    `loss` is one of `check_loss`, or "sequence_log_probs". `says` is where the declaration comes from.
    """

    name: str
    function: Callable[..., Any]
    loss: str
    conventions: dict[str, Any] = field(default_factory=dict)
    says: str = ""


def main(title: str, packages: Sequence[str], declarations: Sequence[Declaration], framework: str) -> None:
    """Check all declarations and print what was found; with ``--json PATH`` also write it."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", metavar="PATH", help="also write all reports there")
    parser.add_argument("--verbose", action="store_true", help="print each report with a failed check in full")
    options = parser.parse_args()
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("pbde-ref", *packages)}
    print(title)
    print(", ".join(f"{name} {number}" for name, number in versions.items()), "\n")
    records = []
    for one in declarations:
        began = time.perf_counter()
        report = _check(one, framework)
        seconds = time.perf_counter() - began
        print(_line(one, report, seconds))
        if options.verbose and not report.passed:
            print(f"{report}\n")
        records.append({"name": one.name, "says": one.says, "seconds": seconds, **report.as_dict()})
    if options.json:
        write_json(options.json, {"title": title, "versions": versions, "reports": records})


def _check(one: Declaration, framework: str) -> Report:
    call = {"framework": framework, "on_failure": "report", **one.conventions}
    if one.loss == "sequence_log_probs":
        return check_sequence_log_probs(one.function, **call)
    return check_loss(one.function, one.loss, **call)


def _line(one: Declaration, report: Report, seconds: float) -> str:
    declared = ", ".join(f"{name}={value}" for name, value in one.conventions.items())
    counts: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for result in report.results:
        counts[result.status].append(result.name)
    verdict = "agrees" if report.passed else "DIFFERS"
    lines = [
        f"{verdict:8} {one.name}, declared as {one.loss}({declared}){f' [{one.says}]' if one.says else ''}: "
        f"{len(counts['passed'])} checks passed, {len(counts['skipped'])} skipped, {len(counts['failed'])} failed "
        f"({seconds:.1f} s)"
    ]
    if counts["failed"]:
        lines.append(f"         failed: {', '.join(counts['failed'])}")
    return "\n".join([*lines, *(f"         {diagnosis}" for diagnosis in report.diagnoses)])
