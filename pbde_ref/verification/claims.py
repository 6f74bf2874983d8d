"""What a claim is, how it is checked on a problem, and what becomes of a check that raises."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pbde_ref.validation import FloatArray
from pbde_ref.verification import second_paths
from pbde_ref.verification.problems import Problem

__all__ = [
    "MARGIN", "ROUNDING", "SOLVER", "Claim", "DoesNotApply", "Row", "Verdict", "check", "joined", "known", "leave_if",
    "leave_if_alike", "row",
]  # fmt: skip

Value = TypeVar("Value")

ROUNDING = 1e-12
"""Bound where both paths are sums: up to 65,536 terms, each rounded at 1e-16, rarely in the same direction."""

SOLVER = 1e-9
"""Bound where one path is a minimiser: a certified gap of 1e-20 leaves the mean error of the preferences below 7e-11
(Pinsker's inequality), and that of pairs compared rarely above it."""

MARGIN = 1e-6
"""By how much a broken claim must be wrong, by the transcribed equations, for its control to be tried: of two outcomes
that are preferred alike it is hard to say anything wrong."""

Check = Callable[[Problem], float | None]
"""Error of a claim on one problem; None, or `DoesNotApply`, where the problem does not meet its assumptions."""


class DoesNotApply(Exception):  # noqa: N818 (no error: nothing is claimed of such a problem)
    """What a check raises on a problem that the claim, or its control, says nothing of."""


def leave_if(outside: object) -> None:
    """Leave a check, of whose claim the problem does not meet the assumptions."""
    if outside:
        raise DoesNotApply


def leave_if_alike(right: FloatArray, wrong: FloatArray) -> None:
    """Leave a control where what it breaks makes no policy, of these log-weights, that the check must tell apart."""
    leave_if(second_paths.variation(second_paths.softmax(right), second_paths.softmax(wrong)) < MARGIN)


def known(value: Value | None) -> Value:
    """The value, for a check that is left where there is none."""
    if value is None:
        raise DoesNotApply
    return value


def _nothing(problem: Problem) -> float:
    return 0.0


@dataclass(frozen=True)
class Claim:
    """One statement, how it is certified, and what must not pass.

    Attributes
    ----------
    name : str
        Also the name of its file in ``proofs/``.
    place : str
        Where the paper states it.
    statement : str
        In one line.
    certified_by : str
        The second path, which shares no code with the first.
    error : callable
        Problem to error; zero in exact arithmetic.
    tolerance : float
        What rounding and the second path's own accuracy may leave of it on any problem.
    broken : str
        What the negative control changes.
    control : callable
        Problem to error of the broken claim, which must exceed what is allowed there; None where the broken claim is
        true, or too nearly true to be told from a true one.
    rounding : callable
        Problem to what the rounding of its own numbers may add to the tolerance there. Its docstring derives it; zero
        unless said otherwise.
    """

    name: str
    place: str
    statement: str
    certified_by: str
    error: Check
    tolerance: float
    broken: str
    control: Check
    rounding: Callable[[Problem], float] = _nothing


@dataclass(frozen=True)
class Row:
    """What one claim's check and its control found on one problem.

    Seed and problem name the problem for good: it can be drawn again without any other.

    Attributes
    ----------
    claim : str
    seed : int
        That the problems were drawn from.
    problem : str
        Family and index.
    error : float or None
        None where the problem does not meet the claim's assumptions; infinite where the check raised or its error is
        not a number.
    allowed : float
        What the error may be here: the claim's tolerance, and what rounding of the problem's own numbers may do.
    raised : str
        What the check raised, or "".
    control_error : float or None
        Of the broken claim; None where it does not apply. A control that raises, or whose error is not a number, has
        caught nothing: zero.
    control_raised : str
    """

    claim: str
    seed: int
    problem: str
    error: float | None
    allowed: float
    raised: str
    control_error: float | None
    control_raised: str

    @property
    def fails(self) -> bool:
        """Whether the claim's assumptions are met and its error is too large."""
        return self.error is not None and not self.error <= self.allowed

    @property
    def missed(self) -> bool:
        """Whether the control applies and was not caught."""
        return self.control_error is not None and not self.control_error > self.allowed


@dataclass(frozen=True)
class Verdict:
    """What a claim's check found on all problems.

    Attributes
    ----------
    claim : Claim
    cases : int
        Problems that meet the claim's assumptions.
    worst : Row or None
        The row with the largest error, measured by what is allowed there.
    failures : tuple of Row
        Rows whose error is too large, or whose check raised.
    control_cases : int
    closest : Row or None
        The row where the control's error exceeds least what is allowed.
    missed : tuple of Row
        Rows whose control was not caught.
    seconds : float
    """

    claim: Claim
    cases: int
    worst: Row | None
    failures: tuple[Row, ...]
    control_cases: int
    closest: Row | None
    missed: tuple[Row, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether there was a case and no error was too large: what was tried nowhere does not hold."""
        return self.cases > 0 and not self.failures

    @property
    def control_caught(self) -> bool:
        """Whether there was a case and every control was caught."""
        return self.control_cases > 0 and not self.missed

    @property
    def error(self) -> float:
        """The largest error, measured by what is allowed; infinite without a case."""
        return math.inf if self.worst is None or self.worst.error is None else self.worst.error

    @property
    def control_error(self) -> float:
        """The smallest error of the broken claim, measured by what is allowed; zero without a case."""
        return 0.0 if self.closest is None or self.closest.control_error is None else self.closest.control_error


def row(claim: Claim, problem: Problem) -> Row:
    """Check one claim, and its control, on one problem; whatever they raise is written down."""
    error, raised = _tried(claim.error, problem, math.inf)
    control_error, control_raised = _tried(claim.control, problem, 0.0)
    rounding, problem_raised = _tried(claim.rounding, problem, math.nan)
    if rounding is None or math.isnan(rounding):
        rounding = 0.0
        if error is not None:
            error, raised = math.inf, raised or problem_raised or "what rounding may do is not a number"
    allowed = claim.tolerance + rounding
    return Row(claim.name, problem.run, problem.name, error, allowed, raised, control_error, control_raised)


def _tried(check: Check, problem: Problem, otherwise: float) -> tuple[float | None, str]:
    """What a check finds, or `otherwise` and what it raised; an error that is not a number is no evidence either."""
    try:
        found = check(problem)
    except DoesNotApply:
        return None, ""
    except Exception as error:
        return otherwise, f"{type(error).__name__:.60}: {error}"
    return (otherwise if found is not None and math.isnan(found) else found), ""


def check(claims: Sequence[Claim], problems: Iterable[Problem]) -> Iterator[Verdict]:
    """Check each claim, and its negative control, on every problem that meets its assumptions."""
    problems = list(problems)
    for claim in claims:
        start = time.perf_counter()
        rows = [row(claim, problem) for problem in problems]
        yield _verdict(claim, rows, time.perf_counter() - start)


def joined(verdicts: Sequence[Verdict]) -> Verdict:
    """One claim's verdict on the problems of several of its verdicts together."""
    first, rows = verdicts[0], [r for v in verdicts for r in (v.worst, v.closest) if r is not None]
    added: dict[str, Any] = {n: sum(getattr(v, n) for v in verdicts) for n in ("cases", "control_cases", "seconds")}
    added |= {name: tuple(r for v in verdicts for r in getattr(v, name)) for name in ("failures", "missed")}
    return Verdict(claim=first.claim, worst=_worst(rows), closest=_closest(rows), **added)


def _verdict(claim: Claim, rows: Sequence[Row], seconds: float) -> Verdict:
    return Verdict(
        claim=claim,
        cases=sum(r.error is not None for r in rows),
        worst=_worst(rows),
        failures=tuple(r for r in rows if r.fails),
        control_cases=sum(r.control_error is not None for r in rows),
        closest=_closest(rows),
        missed=tuple(r for r in rows if r.missed),
        seconds=seconds,
    )


def _worst(rows: Sequence[Row]) -> Row | None:
    tried = [(r.error / r.allowed, r) for r in rows if r.error is not None]
    return max(tried, key=lambda pair: pair[0], default=(0.0, None))[1]


def _closest(rows: Sequence[Row]) -> Row | None:
    tried = [(r.control_error / r.allowed, r) for r in rows if r.control_error is not None]
    return min(tried, key=lambda pair: pair[0], default=(0.0, None))[1]
