"""What a claim is, and how it is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pbde_ref.verification.problems import Problem

__all__ = ["ROUNDING", "SOLVER", "Claim", "Verdict", "check"]

ROUNDING = 1e-12
"""Bound where both paths are sums: up to 65,536 terms, each rounded at 1e-16, rarely in the same direction."""

SOLVER = 1e-9
"""Bound where one path is a minimiser: a certified gap of 1e-20 leaves the mean error of the preferences below 7e-11
(Pinsker's inequality), and that of pairs compared rarely above it."""

Check = Callable[[Problem], float | None]
r"""Error of a claim on one problem, or None where the problem does not meet the claim's assumptions."""


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
        What rounding and the second path's own accuracy may leave of it.
    broken : str
        What the negative control changes.
    control : callable
        Problem to error of the broken claim, which must exceed the tolerance.
    """

    name: str
    place: str
    statement: str
    certified_by: str
    error: Check
    tolerance: float
    broken: str
    control: Check


@dataclass(frozen=True)
class Verdict:
    """What a claim's check found.

    Attributes
    ----------
    claim : Claim
    cases : int
        Problems that meet the claim's assumptions.
    error : float
        The largest error among them.
    worst : str
        The problem where it occurred.
    holds : bool
        Whether there was a case and no error exceeded the tolerance.
    control_cases : int
    control_error : float
        The smallest error of the broken claim.
    control_caught : bool
        Whether there was a case and every error exceeded the tolerance.
    seconds : float
    """

    claim: Claim
    cases: int
    error: float
    worst: str
    holds: bool
    control_cases: int
    control_error: float
    control_caught: bool
    seconds: float


def check(claims: Sequence[Claim], problems: Iterable[Problem]) -> Iterator[Verdict]:
    """Check each claim, and its negative control, on every problem that meets its assumptions."""
    problems = list(problems)
    for claim in claims:
        start = time.perf_counter()
        errors = [(error, problem.name) for problem in problems if (error := claim.error(problem)) is not None]
        controls = [error for problem in problems if (error := claim.control(problem)) is not None]
        # An error that is not a number is no evidence: it counts as infinite, and never as a caught control.
        errors = [(error if error == error else float("inf"), name) for error, name in errors]
        controls = [error if error == error else 0.0 for error in controls]
        worst = max(errors, default=(float("inf"), "no case"))
        smallest = min(controls, default=0.0)
        yield Verdict(
            claim=claim,
            cases=len(errors),
            error=worst[0],
            worst=worst[1],
            holds=worst[0] <= claim.tolerance,
            control_cases=len(controls),
            control_error=smallest,
            control_caught=smallest > claim.tolerance,
            seconds=time.perf_counter() - start,
        )
