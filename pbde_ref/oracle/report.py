"""What a run of the checks gives back: results that can be read, raised, or written as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from types import MappingProxyType
from typing import Any, Literal

from pbde_ref.display import Shown
from pbde_ref.validation import shown

__all__ = ["EXPECT_CHECKS", "CheckResult", "LossCheckError", "Report", "Status", "as_expected", "as_many_as_expected"]

Status = Literal["passed", "failed", "skipped", "expected failure", "unexpected pass"]

WIDTH = 80

# What stands behind a convention that nobody declared.
CHOSEN = " (chosen here)"

# The option that pins how many checks hold something, and the name of the result that says whether they did.
EXPECT_CHECKS = "expect_checks"


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes
    ----------
    name : str
        The check's name, as in `iter_checks`.
    status : {"passed", "failed", "skipped", "expected failure", "unexpected pass"}
        The last two only where the caller expected a failure.
    message : str
        Why it failed or was skipped; empty if it passed.
    diagnosis : str
        Known bugs and other conventions that give the same numbers; empty if there is none.
    """

    name: str
    status: Status
    message: str = ""
    diagnosis: str = ""


def held_of(results: Iterable[CheckResult]) -> int:
    """How many of them held something."""
    return sum(result.status != "skipped" and result.name != EXPECT_CHECKS for result in results)


def as_many_as_expected(results: Sequence[CheckResult], expected: int) -> CheckResult:
    """Whether that many checks held something, so that one that is skipped silently is noticed.

    Examples
    --------
    >>> as_many_as_expected([CheckResult("value", "passed"), CheckResult("swap", "skipped")], 2).message
    '1 check held something, 2 were expected to; skipped: swap'
    """
    held = held_of(results)
    if held == expected:
        return CheckResult(EXPECT_CHECKS, "passed")
    skipped = ", ".join(result.name for result in results if result.status == "skipped") or "none"
    says = f"{held} check{'s' if held != 1 else ''} held something, {expected} were expected to; skipped: {skipped}"
    return CheckResult(EXPECT_CHECKS, "failed", says)


def as_expected(result: CheckResult, expected: Mapping[str, str]) -> CheckResult:
    """The result, or that it failed for a reason that was given before, or that it did not."""
    if result.name not in expected:
        return result
    if result.status == "failed":
        return replace(result, status="expected failure", message=expected[result.name])
    if result.status == "passed":
        return replace(result, status="unexpected pass", message=expected[result.name])
    return result


@dataclass(frozen=True)
class Report(Shown):
    """What all checks found.

    Attributes
    ----------
    subject : str
        The function's name.
    loss : str
        The definition that it was held against.
    conventions : mapping of str to object
        What the caller declared, and the defaults for what was left open. Read-only.
    results : tuple of CheckResult
        In the order in which the checks ran.
    framework, dtype : str
        What arrays the function was given.
    notes : tuple of str
        What no check has looked at, though the function returned it.
    changes : tuple of str
        What it did besides computing, such as changing the global generator; that alone fails no check.
    chosen : tuple of str
        Conventions that nobody declared and that have no default: the checks passed a value of their own.

    Examples
    --------
    >>> report = Report("mine", "dpo", {"beta": 0.3}, (CheckResult("value", "passed"),), "numpy", "float64")
    >>> report.passed, report.held
    (True, 1)
    >>> print(report)
    mine held against dpo (beta=0.3), NumPy arrays of float64
    1 check: 1 passed
    <BLANKLINE>
    1 of 1 check held something (pinned by expect_checks=1)
    """

    subject: str
    loss: str
    conventions: Mapping[str, Any]
    results: tuple[CheckResult, ...]
    framework: str
    dtype: str
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "conventions", MappingProxyType(dict(self.conventions)))

    def __reduce__(self) -> Any:
        # Other processes send their reports here, and a read-only mapping cannot be sent.
        return Report, tuple({**vars(self), "conventions": dict(self.conventions)}.values())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    @property
    def passed(self) -> bool:
        """Whether some check held something, and none failed that was not expected to."""
        return self.held > 0 and all(result.status != "failed" for result in self.results)

    @property
    def held(self) -> int:
        """How many checks compared something with what is right: all but the skipped ones."""
        return held_of(self.results)

    @property
    def diagnoses(self) -> tuple[str, ...]:
        """What the failed checks were diagnosed with: lines, each once."""
        lines = [line for result in self.results if result.status == "failed" for line in result.diagnosis.splitlines()]
        return tuple(dict.fromkeys(lines))

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON has.

        Examples
        --------
        >>> Report("mine", "dpo", {}, (), "numpy", "float64").as_dict()["passed"]
        False
        """
        return {
            "subject": self.subject,
            "loss": self.loss,
            "conventions": dict(self.conventions),
            "framework": self.framework,
            "dtype": self.dtype,
            "passed": self.passed,
            "held": self.held,
            "notes": list(self.notes),
            "diagnoses": list(self.diagnoses),
            "results": [
                {"name": r.name, "status": r.status, "message": r.message, "diagnosis": r.diagnosis}
                for r in self.results
            ],
            "changes": list(self.changes),
            "chosen": list(self.chosen),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """The report that `as_dict` has put into types of JSON.

        Examples
        --------
        >>> report = Report("mine", "dpo", {"beta": 0.3}, (CheckResult("value", "passed"),), "numpy", "float64")
        >>> Report.from_dict(report.as_dict()) == report
        True
        """
        try:
            kept = {field.name: content[field.name] for field in fields(cls)}
            results = tuple(CheckResult(**result) for result in content["results"])
            listed = {name: tuple(content[name]) for name in ("notes", "changes", "chosen")}
            return cls(**kept | listed | {"results": results})
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"`content` must be what `as_dict` returns; got {shown(content)}") from error

    def __str__(self) -> str:
        lines = [self._headline(), self._counts()]
        if self.diagnoses:
            lines += ["", "Diagnosis"]
            for line in self.diagnoses:
                lines += _wrapped(line, "  - ", "    ")
        by_status = {status: [r for r in self.results if r.status == status] for status in _SHOWN}
        for place, result in enumerate(by_status["failed"]):
            # The call that can be pasted stands after an empty line; one of them is enough to read.
            message = result.message if place == 0 else result.message.split("\n\n")[0]
            lines += ["", f"{result.name}: failed", *_indented(message)]
        for status in _SHOWN[1:]:
            reasons: dict[str, list[str]] = {}
            for result in by_status[status]:
                reasons.setdefault(" ".join(result.message.split()), []).append(result.name)
            if reasons:
                lines += ["", _SHOWN_AS[status]]
            for reason, names in reasons.items():
                text = f"{', '.join(names)}: {reason}".rstrip(": ")
                lines += _wrapped(text, "  ", "    ")
        if self.notes:
            lines += ["", "Not looked at", *(line for note in self.notes for line in _wrapped(note, "  ", "    "))]
        lines += [""] if self.changes else []
        for change in self.changes:
            lines += _wrapped(change, "note: it ", "  ")
        return "\n".join([*lines, "", self._held()])

    def _held(self) -> str:
        count = sum(result.name != EXPECT_CHECKS for result in self.results)
        checks = f"{count} check{'s' if count != 1 else ''}"
        return f"{self.held} of {checks} held something (pinned by {EXPECT_CHECKS}={self.held})"

    def _headline(self) -> str:
        marks = dict.fromkeys(self.chosen, CHOSEN)
        declared = ", ".join(f"{name}={value!r}{marks.get(name, '')}" for name, value in self.conventions.items())
        text = f"{self.subject} held against {self.loss} ({declared}), {_ARRAYS[self.framework]} of {self.dtype}"
        return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent="  "))

    def _counts(self) -> str:
        counts = [(status, sum(r.status == status for r in self.results)) for status in ("passed", *_SHOWN)]
        words = ", ".join(f"{count} {status}" for status, count in counts if count)
        return f"{len(self.results)} check{'s' if len(self.results) != 1 else ''}: {words or 'none'}"


_ARRAYS = {"auto": "arrays", "lists": "lists", "numpy": "NumPy arrays", "torch": "PyTorch tensors", "jax": "JAX arrays"}
_SHOWN: tuple[Status, ...] = ("failed", "unexpected pass", "expected failure", "skipped")
_SHOWN_AS = {
    "unexpected pass": "Expected to fail, but passed",
    "expected failure": "Failed as expected",
    "skipped": "Skipped",
}


def _wrapped(text: str, first: str, following: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=following, break_on_hyphens=False)


_LABELS = {"computed", "expected", "difference", "found", "wanted", "note", "shown by", "called", "hint"}


def _indented(message: str) -> list[str]:
    """Lines of a message; source code, which follows the empty line, is left as it is."""
    prose, *source = message.split("\n\n", 1)
    lines = []
    for line in prose.splitlines():
        # What a label such as "computed" stands before stays in its column.
        hanging = 13 if line[:11].strip() in _LABELS else len(line) - len(line.lstrip()) + 4
        lines += _wrapped(line, "  ", " " * hanging)
    if source:
        lines += ["", *(f"  {line}" if line else "" for line in source[0].splitlines())]
    return lines


class LossCheckError(AssertionError):
    """Some check failed; `report` has the details.

    Examples
    --------
    >>> failed = Report("mine", "dpo", {}, (CheckResult("value", "failed", "not a number"),), "numpy", "float64")
    >>> LossCheckError(failed).report.passed
    False
    """

    def __init__(self, report: Report) -> None:
        super().__init__(f"\n{report}")
        self.report = report
