"""How good the oracle is, measured: the kill table and the false-alarm table, as Markdown.

``python -m tests.oracle.selftest.tables`` prints them, for the frameworks that are installed or named; after the word
``pairs``, ``tokens`` or ``reductions``, at that level alone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pbde_ref.oracle.calling.frameworks import framework_named
from pbde_ref.oracle.conventions import CONVENTIONS
from pbde_ref.oracle.entry import check_loss, check_sequence_log_probs, check_sequence_rewards
from pbde_ref.oracle.known_bugs import CATALOGUE
from pbde_ref.oracle.report import Report
from pbde_ref.oracle.selftest.sources import CORRECT, Planted, Subject, build
from pbde_ref.processes import Workers, in_order
from tests.oracle.selftest.mutants import KNOWN, UNKNOWN
from tests.oracle.selftest.reductions import CORRECT_REDUCTIONS, PLANTED_REDUCTIONS, reports

__all__ = ["Alarm", "Kill", "false_alarm_table", "false_alarms", "installed_frameworks", "kill_table", "kills", "main"]

REDUCTIONS = ("mean", "sum", "none")

OF_TOKENS = {"sequence_log_probs": check_sequence_log_probs, "sequence_rewards": check_sequence_rewards}


@dataclass(frozen=True)
class Kill:
    """What became of a planted bug; `named` is whether the diagnosis has its name, None if it has no name."""

    planted: Planted
    framework: str
    report: Report
    named: bool | None
    seconds: float

    @property
    def killed_by(self) -> tuple[str, ...]:
        """The checks that failed."""
        return tuple(result.name for result in self.report.results if result.status == "failed")


@dataclass(frozen=True)
class Alarm:
    """What became of a correct implementation."""

    subject: Subject
    framework: str
    dtype: str
    report: Report
    seconds: float


def kills(planted: Sequence[Planted], framework: str = "numpy", executor: Workers = 1) -> Iterator[Kill]:
    """Check every planted bug that a framework can show, on an executor if one is given."""
    yield from in_order(((_kill, (bug, framework)) for bug in planted if framework in bug.frameworks), executor)


def _kill(bug: Planted, framework: str) -> Kill:
    function = build(bug.subject, framework, bug.old, bug.new)
    start = perf_counter()
    report = held(function, bug.subject, framework, detached_reference=framework != "numpy" or _own(bug.subject))
    text = _said(bug.bug)
    named = None if not bug.bug else any(text in line for line in report.diagnoses)
    return Kill(bug, framework, report, named, perf_counter() - start)


def held(function: Any, subject: Subject, framework: str, **options: Any) -> Report:
    """The report on a subject."""
    if subject.loss in OF_TOKENS:
        options.pop("detached_reference", None)
        check = OF_TOKENS[subject.loss]
        return check(function, **subject.conventions, framework=framework, on_failure="report", **options)
    return check_loss(
        function, subject.loss, **subject.conventions, framework=framework, on_failure="report",
        returns_gradients=_own(subject), returns_rewards="with rewards" in subject.source, **options,
    )  # fmt: skip


def _own(subject: Subject) -> bool:
    """Whether the source returns its own gradients."""
    return "with gradients" in subject.source


def _said(name: str) -> str:
    """What a diagnosis says of a bug or a convention."""
    for bug in CATALOGUE:
        if bug.name == name:
            return bug.says()
    return next((c.agrees_with.split("{")[0] for c in CONVENTIONS if c.name == name), name)


def kill_table(
    frameworks: Sequence[str] = ("numpy",), planted: Sequence[Planted] = KNOWN, executor: Workers = 1
) -> str:
    """Markdown: a line for each planted bug, with the checks that found it and whether it was named."""
    lines = ["| bug | loss | planted | in | found by | named |", "|---|---|---|---|---|---|"]
    found = [kill for framework in frameworks for kill in kills(planted, framework, executor)]
    for kill in found:
        bug = kill.planted
        named = {True: "yes", False: "**no**", None: ""}[kill.named]
        killed = ", ".join(kill.killed_by) or "**nothing**"
        change = f"`{_one_line(bug.old)}` → `{_one_line(bug.new)}`"
        cells = [bug.bug or "(unknown)", bug.subject.loss, change, kill.framework, killed, named]
        lines.append(f"| {' | '.join(cells)} |")
    killed_count = sum(bool(kill.killed_by) for kill in found)
    with_name = [kill for kill in found if kill.named is not None]
    says = f"{killed_count} of {len(found)} found"
    if with_name:
        says += f", {sum(bool(kill.named) for kill in with_name)} of {len(with_name)} named"
    return "\n".join([*lines, "", says + "."])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or " "


def false_alarms(
    framework: str, correct_ones: Sequence[Subject] = CORRECT, executor: Workers = 1, share: int = 1
) -> Iterator[Alarm]:
    """Check every correct implementation under every reduction and precision, on an executor if one is given.

    With a share, one in so many of all these.
    """
    subjects = []
    for correct in correct_ones:
        for reduction in REDUCTIONS if correct.loss not in OF_TOKENS else (None,):
            if reduction != "none" or not correct.conventions.get("lambda_"):
                declared = {**correct.conventions, **({"reduction": reduction} if reduction else {})}
                subjects.append(Subject(correct.source, correct.loss, declared))
    dtypes = framework_named(framework).dtypes
    all_of_them = [(_alarm, (s, framework, dtype)) for s in subjects for dtype in dtypes]
    yield from in_order(all_of_them[::share], executor)


def _alarm(subject: Subject, framework: str, dtype: str) -> Alarm:
    start = perf_counter()
    detached = framework != "numpy"
    report = held(build(subject, framework), subject, framework, dtype=dtype, detached_reference=detached)
    return Alarm(subject, framework, dtype, report, perf_counter() - start)


def false_alarm_table(frameworks: Sequence[str] = ("numpy",), correct_ones: Sequence[Subject] = CORRECT) -> str:
    """Markdown: a line for each loss and framework, with how many checks ran and failed."""
    lines = ["| loss | in | conventions × dtypes | checks | false alarms |", "|---|---|---|---|---|"]
    total = alarms = 0
    for framework in frameworks:
        by_loss: dict[str, list[Report]] = {}
        for alarm in false_alarms(framework, correct_ones):
            by_loss.setdefault(alarm.subject.loss, []).append(alarm.report)
        for loss, own in by_loss.items():
            ran = sum(r.status != "skipped" for report in own for r in report.results)
            failed = sum(r.status == "failed" for report in own for r in report.results)
            total, alarms = total + ran, alarms + failed
            lines.append(f"| {loss} | {framework} | {len(own)} | {ran} | {failed} |")
    return "\n".join([*lines, "", f"{alarms} false alarms in {total} checks."])


def installed_frameworks() -> list[str]:
    """NumPy, and those of PyTorch and JAX that are installed."""
    return ["numpy", *(name for name in ("torch", "jax") if importlib.util.find_spec(name))]


def reduction_table(frameworks: Sequence[str] = ("numpy",)) -> str:
    """Markdown: a line for each planted reduction and each right one, with the checks that failed."""
    lines = ["| bug | mean over | loss of a part | in | found by | named |", "|---|---|---|---|---|---|"]
    found = named = alarms = 0
    for framework in frameworks:
        for one, report in reports(framework, (*PLANTED_REDUCTIONS, *CORRECT_REDUCTIONS)):
            failed = ", ".join(result.name for result in report.results if result.status == "failed")
            name = any(f": {one.bug}" in line for line in report.diagnoses)
            found, named = found + bool(one.bug and failed), named + bool(one.bug and name)
            alarms += bool(failed and not one.bug)
            cells = [one.bug or "(right)", one.over, f"`{one.text}`", framework, failed or "nothing"]
            lines.append(f"| {' | '.join([*cells, 'yes' if one.bug and name else ''])} |")
    count, right = len(PLANTED_REDUCTIONS) * len(frameworks), len(CORRECT_REDUCTIONS) * len(frameworks)
    says = f"{found} of {count} found, {named} of {count} named; {alarms} false alarms in {right} right ones."
    return "\n".join([*lines, "", says])


LEVELS = ("pairs", "tokens", "reductions")


def main(arguments: Sequence[str]) -> int:
    """Print the tables of a level, or of both, for the frameworks named, or for all that are installed."""
    levels = [word for word in arguments if word in LEVELS] or LEVELS
    frameworks = [word for word in arguments if word not in LEVELS] or installed_frameworks()

    def meant(subject: Subject) -> bool:
        return LEVELS[subject.loss in OF_TOKENS] in levels

    if "reductions" in levels:
        print("## Losses of parts\n")
        print(reduction_table(frameworks), "\n")
    if levels == ["reductions"]:
        return 0
    print("## Known bugs and undeclared conventions\n")
    print(kill_table(frameworks, [bug for bug in KNOWN if meant(bug.subject)]))
    print("\n## Bugs that the catalogue does not know\n")
    print(kill_table(frameworks, [bug for bug in UNKNOWN if meant(bug.subject)]))
    print("\n## Correct implementations\n")
    print(false_alarm_table(frameworks, [correct for correct in CORRECT if meant(correct)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
