"""What a check works with, and how it says that something is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from pbde_ref.catalogue.records import Input, Outcome
from pbde_ref.oracle.calling.subjects import Computed, Subject, SubjectError, rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.diagnosis import diagnose, diagnose_check
from pbde_ref.oracle.tolerances import (
    DTYPES,
    Difference,
    agrees,
    allowance,
    condition_numbers,
    difference,
    is_right,
    least_allowance,
)

__all__ = ["Context", "FailedCheckError", "SkippedCheckError"]


class FailedCheckError(Exception):
    """A check failed."""

    def __init__(self, message: str, diagnosis: str = "") -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


class SkippedCheckError(Exception):
    """A check has nothing to say about this function; the message says why."""


def differentiated(given: Input) -> bool:
    """The inputs that a loss has gradients for."""
    return given.differentiated


def differentiated_or_reference(given: Input) -> bool:
    """The inputs that a gradient might wrongly flow into, too."""
    return given.differentiated or given.role == "reference"


# How often an equal call is made again to tell noise from state.
REPETITIONS = 16

# Examples that are tried alone to find one that shows what is wrong.
MOST_SINGLES = 8


@dataclass(eq=False)
class Context:
    """A function on the bench: the cases to call it with, and what it has returned so far.

    `first` is what its very first call returned, before anything could have changed.
    """

    subject: Subject
    generic: Case
    dtype: str
    gradients: bool
    first: Computed
    _known: dict[tuple[str, str], Computed] = field(default_factory=dict)
    _diagnoses: dict[str, tuple[bool, str]] = field(default_factory=dict)

    @cached_property
    def first_allowed(self) -> Outcome:
        """How far a result may be from that of the first call."""
        return self.allowance(self.batch("generic"))

    @property
    def differentiable(self) -> bool:
        """Whether gradients are to be looked at, and can be."""
        return self.gradients and self.subject.differentiable

    def batch(self, name: str, dtype: str | None = None) -> Case:
        """The fixed batch of that name, rounded to the precision; made once, as what is right is found once for it."""
        return _fixed_batch(self.generic, name, dtype or self.dtype)

    def has_batch(self, name: str) -> bool:
        """Whether the definition has a fixed batch of that name."""
        return name in self.generic.definition.batches

    def compute(
        self, case: Case, dtype: str | None = None, *, gradients: bool = False, reference: bool = False,
        apart: bool = False,
    ) -> Computed:  # fmt: skip
        """Call the function; what keeps it from returning a loss is a failure."""
        by = differentiated_or_reference if reference else differentiated
        wanted = by if gradients and self.differentiable else None
        try:
            return self.subject.compute(case, dtype or self.dtype, wanted, apart=apart)
        except SubjectError as error:
            raise FailedCheckError(str(error)) from error

    def known(self, name: str, dtype: str | None = None) -> Computed:
        """The function's outcome on a fixed batch, with gradients if there are any; computed once."""
        key = (name, dtype or self.dtype)
        if key not in self._known:
            self._known[key] = self.compute(self.batch(name, dtype), dtype, gradients=True)
        return self._known[key]

    def hold(self, case: Case, computed: Computed, names: Mapping[str, str], dtype: str | None = None) -> bool:
        """Compare with what is right; `names` maps "" (the value) or an input (its gradient) to how to speak of it.

        False if there was nothing to compare with: all that is right is beyond the numbers of the precision.
        """
        dtype = dtype or self.dtype
        right = case.expected()
        allowed = allowance(case, dtype)
        for name, called in names.items():
            if name and name not in computed.outcome.gradients:
                # A comparison with nothing would pass.
                raise FailedCheckError(f"{called} did not come back")
            found = _part(name, computed.outcome, right, allowed)
            if found is not None:
                raise FailedCheckError(
                    self._says(case, computed, name, called, found, dtype),
                    self._unrepeated(case, computed, dtype) or self.diagnosis(case, computed.outcome, dtype),
                )
        return any(not np.all(np.isposinf(allowed.gradients[n] if n else allowed.value)) for n in names)

    def is_right(self, case: Case) -> bool:
        """Whether the value and all gradients are what they should be; an exception is not."""
        try:
            outcome = self.compute(case, gradients=True).outcome
        except FailedCheckError:
            return False
        return is_right(case, outcome, self.dtype)

    def hold_relation(self, says: str, computed: np.ndarray, wanted: np.ndarray, allowed: np.ndarray) -> None:
        """Compare two numbers that both come from the function."""
        found = difference(computed, wanted, allowed)
        if found is not None:
            case = self.batch("generic")
            raise FailedCheckError(
                f"{says}\n{_numbers(found, self.dtype, 'found', 'wanted')}\n\n{self.subject.source(case, self.dtype)}",
                self._unrepeated(case, self.known("generic"), self.dtype)
                or self.diagnosis(case, self.known("generic").outcome, self.dtype),
            )

    def diagnosis(self, case: Case, outcome: Outcome, dtype: str) -> str:
        """What explains a wrong outcome, and is not refuted by the generic batch."""
        if dtype == "bfloat16" and self.dtype != dtype:
            # Two digits fit too many formulas.
            return ""
        seen = {}
        for name in ("generic", "near_certain", "zero_margin"):
            if self.has_batch(name):
                with contextlib.suppress(FailedCheckError):
                    seen[name] = (self.batch(name, dtype), self.known(name, dtype).outcome)
        if "generic" not in seen:
            return diagnose(case, outcome, dtype)
        generic = seen.pop("generic")
        if dtype not in self._diagnoses:
            found = diagnose(*generic, dtype, [], list(seen.values()))
            self._diagnoses[dtype] = (is_right(*generic, dtype), found)
        right, found = self._diagnoses[dtype]
        # What explains nothing of the generic batch, where that is wrong, explains nothing at all.
        if outcome is generic[1] or not (right or found):
            return found
        return diagnose(case, outcome, dtype, [generic], list(seen.values()))

    def allowance(self, case: Case, dtype: str | None = None) -> Outcome:
        """What is allowed for a case."""
        return allowance(case, dtype or self.dtype)

    def unsteadiness(self, case: Case, outcomes: Sequence[Outcome], dtype: str | None = None) -> str:
        """State or noise, if equal calls gave these: what it is called, by what the call gives again and again.

        What a state does to equal calls settles, repeats itself, or moves in one direction (a counter, a running mean);
        noise, even if it seldom strikes, comes back to a value that it had left.
        """
        again = [self.compute(case, dtype).outcome for _ in range(REPETITIONS)]
        series = np.array([np.sum(outcome.value) for outcome in (*outcomes, *again)])
        late, steps = series[len(series) // 2 :], np.diff(series)
        if np.all(late == series[-1]):
            before = np.flatnonzero(series != series[-1])
            state = not np.any(series[: before[-1]] == series[-1]) if before.size else True
        else:
            periodic = any(np.array_equal(late[period:], late[:-period]) for period in (2, 3))
            state = periodic or bool(np.all(steps >= 0.0) or np.all(steps <= 0.0))
        return diagnose_check(case, "state" if state else "noise")

    def _unrepeated(self, case: Case, computed: Computed, dtype: str) -> str:
        """What a wrong result is called if the same call gives another one now; empty if it does not."""
        try:
            again = self.compute(case, dtype, gradients=bool(computed.outcome.gradients)).outcome
            if agrees(again, computed.outcome, self.allowance(case, dtype), again.gradients):
                return ""
            return self.unsteadiness(case, [computed.outcome, again], dtype)
        except FailedCheckError:
            return ""

    def numbers_of(self, found: Difference, dtype: str) -> str:
        """The lines that tell what was computed, what is right, and what is allowed."""
        return _numbers(found, dtype, "computed", "expected")

    def _says(self, case: Case, computed: Computed, name: str, called: str, found: Difference, dtype: str) -> str:
        condition = float(condition_numbers(case, name, dtype)[found.index])
        numbers = f"{self.numbers_of(found, dtype)} (condition number {condition:.2g})"
        lines = [f"{called} is not what the definition gives", numbers]
        if computed.note:
            lines.append(f"note       {computed.note}")
        single = self._worst_single(case, name, dtype)
        if single is None:
            return "\n".join([*lines, "", self.subject.source(case, dtype)])
        index, alone, difference_alone = single
        lines += [
            f"shown by   example {index} alone: {difference_alone.computed!r} instead of {difference_alone.expected!r}",
            "",
            self.subject.source(alone, dtype),
        ]
        return "\n".join(lines)

    def _worst_single(self, case: Case, name: str, dtype: str) -> tuple[int, Case, Difference] | None:
        """The example that fails most clearly by itself; None if none does."""
        failing: list[tuple[float, int, Case, Outcome]] = []
        found: list[tuple[int, Case, Difference]] = []
        for index in range(min(case.size, MOST_SINGLES)):
            single = case.take([index])
            try:
                outcome = self.subject.compute(single, dtype, differentiated if name else None).outcome
            except SubjectError:
                return None
            far = _part(name, outcome, single.expected(), least_allowance(single, dtype))
            failing += [(far.excess, index, single, outcome)] if far is not None else []
        # What is allowed takes longest: those that cannot fail more clearly than another does are not asked for it.
        for most, index, single, outcome in sorted(failing, key=lambda each: -each[0]):
            if all(other[2].excess <= most for other in found):
                difference_alone = _part(name, outcome, single.expected(), allowance(single, dtype))
                found += [(index, single, difference_alone)] if difference_alone is not None else []
        return max(found, key=lambda each: (each[2].excess, -each[0]), default=None)


@lru_cache(maxsize=64)
def _fixed_batch(generic: Case, name: str, dtype: str) -> Case:
    case = generic.with_arrays(**generic.definition.batches[name])
    if name == "extreme" and dtype == "float16":
        # Its numbers end at 65504, which sums and squares of such gaps pass.
        case = case.with_arrays(**{i.name: case.arrays[i.name] / 64.0 for i in case.inputs if i.role != "constant"})
    case = rounded_case(case, dtype)
    within = case.within(DTYPES[dtype].largest)
    if within.all() or name == "generic":
        return case
    # Ordinary examples stand where exponentials overflow, so that batches of a loss keep one shape.
    both, places = rounded_case(generic, dtype).arrays, np.arange(case.size)
    return case.with_arrays(**{
        i.name: np.array([(case.arrays if within[k] else both)[i.name][k] for k in places]) for i in case.inputs
    })  # fmt: skip


def _part(name: str, computed: Outcome, right: Outcome, allowed: Outcome) -> Difference | None:
    if not name:
        return difference(computed.value, right.value, allowed.value)
    if name not in computed.gradients:
        return None
    return difference(computed.gradients[name], right.gradients[name], allowed.gradients[name])


def _numbers(found: Difference, dtype: str, one: str, other: str) -> str:
    where = "" if not found.index else f" at index {found.index[0] if len(found.index) == 1 else found.index}"
    many = f"; {found.wrong} of {found.entries} entries differ" if found.entries > 1 else ""
    rows = [
        (one, f"{found.computed!r}{where}{many}"),
        (other, f"{found.expected!r}"),
        ("difference", f"{abs(found.computed - found.expected):.3g}, where {found.allowed:.3g} is allowed in {dtype}"),
    ]
    return "\n".join(f"{label:<11}{text}" for label, text in rows)
