"""Making a function ready to be checked: its framework, its conventions, and its very first call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Loss
from pbde_ref.oracle.calling.frameworks import FRAMEWORKS, framework_named
from pbde_ref.oracle.calling.preparation import conventions_of, keywords_of, misplaced_arguments, with_lengths
from pbde_ref.oracle.calling.recognition import frameworks_to_try
from pbde_ref.oracle.calling.subjects import Subject, SubjectError, WrongResultError, name_of, rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.checks import DECLARE_REWARDS, Check, checks_of_loss
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError
from pbde_ref.oracle.diagnosis import diagnose_shape
from pbde_ref.oracle.report import CheckResult
from pbde_ref.oracle.search import random_search_check
from pbde_ref.oracle.tolerances import DTYPES
from pbde_ref.validation import choice, shown, switch, whole_number

__all__ = ["Bench", "Options", "bench_for", "checks_of", "generic_case"]


@dataclass(frozen=True)
class Options:
    """How a function is to be called; the fields are keywords of `check_loss`."""

    framework: str = "auto"
    dtype: str = "float64"
    gradients: bool = True
    returns_gradients: bool = False
    detached_reference: bool = False
    random_search: int = 0
    seed: int = 0
    returns_rewards: bool = False
    expect_checks: int | None = None

    def __post_init__(self) -> None:
        choice("dtype", self.dtype, DTYPES)
        choice("framework", self.framework, ("auto", *FRAMEWORKS))
        for name in ("gradients", "returns_gradients", "detached_reference", "returns_rewards"):
            switch(name, getattr(self, name))
        for name in ("random_search", "seed"):
            whole_number(name, getattr(self, name))
        if self.expect_checks is not None:
            whole_number("expect_checks", self.expect_checks, least=1)


@dataclass(frozen=True)
class Bench:
    """A function ready to be checked, or the reason why it cannot be called."""

    case: Case
    subject: Subject
    context: Context | None
    broken: CheckResult | None
    checks: Mapping[str, Check]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the function returned, and no check looks at."""
        extras = self.context.first.extras if self.context else ()
        if not extras or "rewards" in self.checks:
            return ()
        says = f"{len(extras)} further result{'s' if len(extras) > 1 else ''} beside the loss"
        can = f"; {DECLARE_REWARDS} holds (loss, chosen rewards, rejected rewards)" if self.case.has_margins else ""
        return (f"{says}{can}",)

    def run(self, names: list[str]) -> Iterator[CheckResult]:
        """The results of these checks, one after the other."""
        for name in names:
            if name == "call":
                yield self.broken or CheckResult("call", "passed")
            elif self.context is None:
                yield CheckResult(name, "skipped", "the function could not be called")
            else:
                yield _result(name, self.checks[name], self.context)


def generic_case(definition: Loss, conventions: Mapping[str, Any]) -> Case:
    """The generic batch under these conventions."""
    return Case(definition, definition.batches["generic"], conventions)


def checks_of(case: Case, options: Options) -> dict[str, Check]:
    """The checks of a loss, with those that the options add."""
    found = checks_of_loss(
        case, detached_reference=options.detached_reference, returns_rewards=options.returns_rewards
    )
    if options.random_search:
        found["random_search"] = random_search_check(options.random_search, options.seed)
    return found


def bench_for(
    function: Callable[..., Any], definition: Loss, declared: Mapping[str, Any], options: Options
) -> Bench:
    """Find the framework by calling the function, for the first time, on the generic batch."""
    if isinstance(function, type):
        name = function.__name__
        raise TypeError(f"`function` must be a function or an instance; got the class {name}, so pass {name}(...)")
    if not callable(function):
        raise TypeError(f"`function` must be callable; got {shown(function)}")
    keywords = keywords_of(function, definition, declared)
    conventions = with_lengths(function, definition, conventions_of(definition, declared, set(keywords)))
    case = rounded_case(generic_case(definition, conventions), options.dtype)
    checks = checks_of(case, options)
    tried = frameworks_to_try(function) if options.framework == "auto" else [options.framework]
    misplaced = misplaced_arguments(function, case)
    if misplaced:
        subject = Subject(function, name_of(function), framework_named(tried[0]), keywords)
        says = "\n".join([misplaced, *subject.why_not(case)])
        return Bench(case, subject, None, CheckResult("call", "failed", says), checks)
    subjects: list[Subject] = []
    errors: list[SubjectError] = []
    for name in tried:
        if errors and not (isinstance(errors[0].original, (TypeError, AttributeError)) and subjects[0].takes(case)):
            break
        subject = Subject(function, name_of(function), framework_named(name), keywords, options.returns_gradients)
        if options.dtype not in subject.framework.dtypes:
            raise ValueError(f"`dtype` must be one of {subject.framework.dtypes} for {name}; got {options.dtype!r}")
        try:
            first = subject.compute(case, options.dtype)
        except SubjectError as error:
            subjects.append(subject)
            errors.append(error)
        else:
            if options.framework == "auto" and first.framework not in (None, name):
                # It takes NumPy arrays too, but only its own framework's can be differentiated.
                return bench_for(function, definition, declared, replace(options, framework=first.framework))
            return Bench(case, subject, Context(subject, case, options.dtype, options.gradients, first), None, checks)
    # The error of the likeliest framework is the one that its author will understand.
    return Bench(case, subjects[0], None, _broken(errors[0], case, options.dtype), checks)


def _broken(error: SubjectError, case: Case, dtype: str) -> CheckResult:
    numbers = error.numbers if isinstance(error, WrongResultError) else None
    return CheckResult("call", "failed", str(error), "" if numbers is None else diagnose_shape(case, numbers, dtype))


def _result(name: str, check: Check, context: Context) -> CheckResult:
    try:
        # In a short format two results may both be beyond the last number.
        with np.errstate(invalid="ignore", over="ignore"):
            check(context)
    except FailedCheckError as failure:
        return CheckResult(name, "failed", str(failure), failure.diagnosis)
    except SkippedCheckError as reason:
        return CheckResult(name, "skipped", str(reason))
    return CheckResult(name, "passed")
