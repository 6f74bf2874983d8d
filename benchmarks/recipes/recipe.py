"""What the recipes share: run the oracle on a list of functions, and print what it found, with versions."""

from __future__ import annotations
import __future__

import argparse
import ast
import importlib.util
import inspect
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pbde_ref.files import write_json
from pbde_ref.oracle import Report, check_loss, check_reduction, check_sequence_log_probs, check_sequence_rewards

__all__ = ["Declaration", "main", "taken", "varied"]

OTHERS = {
    "sequence_log_probs": check_sequence_log_probs, "sequence_rewards": check_sequence_rewards,
    "reduction": check_reduction,
}  # fmt: skip


@dataclass(frozen=True)
class Declaration:
    """A function, and what it is declared to compute.

    `loss` is one of `check_loss`, or "sequence_log_probs", "sequence_rewards" or "reduction"; it is empty if there is
    an ``objective`` among the conventions. `says` is where the declaration comes from.
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
    if one.loss in OTHERS:
        return OTHERS[one.loss](one.function, **call)
    return check_loss(one.function, one.loss or None, **call)


def taken(package: str, path: str, name: str, **names: Any) -> Any:
    """One function, method or class of an installed file, run by itself: nothing that the file imports is imported.

    `name` is like "Trainer.dpo_loss"; `names` are what its text refers to.
    """
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations
    source = Path(found.submodule_search_locations[0], path).read_text("utf-8")
    node: Any = ast.parse(source)
    for part in name.split("."):
        node = next(one for one in ast.walk(node) if getattr(one, "name", None) == part)
    node.decorator_list = []
    module = ast.fix_missing_locations(ast.Module([node], []))
    # Annotations name what was not imported.
    exec(compile(module, f"<{package}/{path}>", "exec", flags=__future__.annotations.compiler_flag), names)
    return names[node.name]


def varied(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function of arrays and of any keywords a signature with these, so that the oracle varies them."""

    def named(function: Callable[..., Any]) -> Callable[..., Any]:
        arrays = inspect.Parameter("arrays", inspect.Parameter.VAR_POSITIONAL)
        keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        function.__signature__ = inspect.Signature([arrays, *keywords])  # type: ignore[attr-defined]
        return function

    return named


def _line(one: Declaration, report: Report, seconds: float) -> str:
    shown = {name: value for name, value in one.conventions.items() if name != "objective"}
    declared = ", ".join(f"{name}={value}" for name, value in shown.items())
    counts: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for result in report.results:
        counts[result.status].append(result.name)
    verdict = "agrees" if report.passed else "DIFFERS"
    against = f"{one.loss or 'its formula'}({declared}){f' [{one.says}]' if one.says else ''}"
    lines = [
        f"{verdict:8} {one.name}, declared as {against}: "
        f"{len(counts['passed'])} checks passed, {len(counts['skipped'])} skipped, {len(counts['failed'])} failed "
        f"({seconds:.1f} s)"
    ]
    if counts["failed"]:
        lines.append(f"         failed: {', '.join(counts['failed'])}")
    return "\n".join([*lines, *(f"         {diagnosis}" for diagnosis in report.diagnoses)])
