"""Naming what is wrong: the failing case computed under every other convention and with every known bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle.batch_bugs import BROADCASTS, broadcast_losses
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.conventions import CONVENTIONS, Convention
from pbde_ref.oracle.known_bugs import CATALOGUE, bugs_of
from pbde_ref.oracle.tolerances import DTYPES, agrees, allowance

__all__ = ["diagnose", "diagnose_check", "diagnose_shape"]

MOST = 4


Seen = tuple[Case, Outcome]
Formula = Callable[[Case, str], "Outcome | None"]


def diagnose(
    case: Case, computed: Outcome, dtype: str, others: Sequence[Seen] = (), confirming: Sequence[Seen] = ()
) -> str:
    """What gives the numbers that the function gave: lines, the likeliest first; empty if nothing does.

    First everything has to agree, the value and the gradients that are known; then the value alone. A single convention
    or bug is preferred to both together. Whatever gives the right numbers on this case explains nothing, and neither
    does what is refuted by the `others`, cases that the function has been called with in the same precision. A formula
    whose number was found from the result has to explain the `confirming` cases as well.

    Whatever goes wrong here, the verdict stands: nothing is raised.
    """
    try:
        with np.errstate(all="ignore"):
            return _diagnosed(case, computed, dtype, others, confirming)
    except Exception as error:
        return f"{NO_DIAGNOSIS}, which is a fault of the oracle: {type(error).__name__:.60}: {error}"


NO_DIAGNOSIS = "looking for a diagnosis failed"


def _diagnosed(
    case: Case, computed: Outcome, dtype: str, others: Sequence[Seen], confirming: Sequence[Seen]
) -> str:
    evidence = _evidence(case, computed, dtype)
    if agrees(computed, evidence.right, evidence.allowed, computed.gradients):
        return ""
    if dtype == "float64" and _is_single(computed) and _agrees_in_single(evidence):
        return "agrees to the precision of float32, not of float64; declare dtype='float32' if that is meant"
    refuting = [_evidence(*seen, dtype) for seen in others]
    passes: list[tuple[str, ...]] = [tuple(computed.gradients)]
    if computed.gradients and not agrees(computed, evidence.right, evidence.allowed, ()):
        passes.append(())
    confirmed_by = [_evidence(*seen, dtype) for seen in confirming]
    for names in passes:
        for candidates, fitted in ((_single(case), False), (_fitted(evidence), True), (_double(case), False)):
            required = [*refuting, *(confirmed_by if fitted else [])]
            found = [
                text
                for text, formula in candidates
                if _explains(formula, evidence, names)
                and all(_is_not_refuted(formula, other, names) for other in required)
                and (not fitted or _is_confirmed(formula, evidence, required, names))
            ]
            if found:
                return "\n".join(dict.fromkeys(found[:MOST]))
    return ""


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the function gave for a case, and what it should have given."""

    case: Case
    dtype: str
    computed: Outcome
    right: Outcome
    allowed: Outcome


def _evidence(case: Case, computed: Outcome, dtype: str) -> _Evidence:
    return _Evidence(case, dtype, computed, case.expected(), allowance(case, dtype))


def diagnose_check(case: Case, check: str) -> str:
    """The known bug that a failing check shows by itself."""
    return "\n".join(b.says() for b in CATALOGUE if b.shown_by == check and case.definition.name in b.losses)


def diagnose_shape(case: Case, numbers: np.ndarray, dtype: str) -> str:
    """Which other reduction has this shape and these numbers."""
    lines = []
    if case.has_margins and numbers.shape == (case.size, case.size):
        for losses in broadcast_losses(case):
            if agrees(Outcome(numbers, {}), losses, _allowed_for(losses, dtype), None):
                lines += [bug.says() for bug in CATALOGUE if bug.formula is BROADCASTS[0]]
                break
    for convention in (c for c in CONVENTIONS if c.name.startswith("reduction")):
        changed = convention.change(case)
        if changed is None:
            continue
        right = changed.expected()
        if right.value.shape == numbers.shape and agrees(Outcome(numbers, {}), right, allowance(changed, dtype), None):
            lines.append(convention.says(case))
    return "\n".join(lines)


def _allowed_for(candidate: Outcome, dtype: str) -> Outcome:
    """A relative tolerance, for numbers whose inputs' rounding is not known; a name needs no more."""
    return Outcome(10.0 * DTYPES[dtype].relative * (1.0 + np.abs(candidate.value)), {})


def _single(case: Case) -> Iterator[tuple[str, Formula]]:
    for convention in _conventions(case):
        yield convention.says(case), _under(convention)
    for bug in bugs_of(case.definition.name):
        for formula in (bug.formula, *bug.variants):
            yield bug.says(), formula


def _fitted(evidence: _Evidence) -> Iterator[tuple[str, Formula]]:
    """Formulas whose number is found from what was computed; two digits would fit any."""
    if evidence.dtype in ("bfloat16", "float16"):
        return
    for bug in bugs_of(evidence.case.definition.name):
        for text, formula in bug.fit(evidence.case, evidence.computed) if bug.fit else ():
            yield f"{bug.says()}; here {text}", formula


def _double(case: Case) -> Iterator[tuple[str, Formula]]:
    """A bug under another convention, and two conventions at once."""
    for convention in _conventions(case):
        changed = convention.change(case)
        if changed is None:
            continue
        says = convention.says(case)
        for bug in bugs_of(changed.definition.name):
            yield f"{says}; and {bug.says()}", _under(convention, bug.formula)
        for other in _conventions(changed):
            if other.name > convention.name:
                yield f"{says}; and {other.says(case, changed)}", _under(convention, _under(other))


def _under(convention: Convention, formula: Formula | None = None) -> Formula:
    """A formula, or the definition, under another convention."""

    def changed(case: Case, dtype: str) -> Outcome | None:
        other = convention.change(case)
        if other is None:
            return None
        return other.expected() if formula is None else formula(other, dtype)

    return changed


def _conventions(case: Case) -> Iterator[Convention]:
    return (c for c in CONVENTIONS if case.definition.name in c.losses)


def _outcome(formula: Formula, evidence: _Evidence) -> Outcome | None:
    try:
        return formula(evidence.case, evidence.dtype)
    except (ValueError, ArithmeticError):
        # The wrong formula may leave the range that the right one accepts.
        return None


def _explains(formula: Formula, evidence: _Evidence, names: tuple[str, ...]) -> bool:
    """Whether a formula gives the computed numbers, and these are not the right ones."""
    candidate = _outcome(formula, evidence)
    if candidate is None:
        return False
    compared = tuple(name for name in names if name in candidate.gradients)
    if agrees(evidence.right, candidate, evidence.allowed, compared):
        return False
    return _agrees_with(candidate, evidence, compared)


def _is_not_refuted(formula: Formula, evidence: _Evidence, names: tuple[str, ...]) -> bool:
    """Whether a formula gives the computed numbers; where it does not apply, the right ones are computed."""
    candidate = _outcome(formula, evidence) or evidence.right
    return _agrees_with(candidate, evidence, tuple(n for n in names if n in candidate.gradients))


# More numbers than a formula has unknown ones, twice.
CONFIRMING = 4


def _is_confirmed(
    formula: Formula, evidence: _Evidence, others: Sequence[_Evidence], names: tuple[str, ...]
) -> bool:
    """Whether a formula with a fitted number explains more wrong numbers than that one."""
    if evidence.computed.value.size + sum(evidence.computed.gradients[n].size for n in names) >= CONFIRMING:
        return True
    return any(_explains(formula, other, names) for other in others if not _is_same(other.case, evidence.case))


def _is_same(one: Case, other: Case) -> bool:
    return one.conventions == other.conventions and all(
        np.array_equal(one.arrays[i.name], other.arrays[i.name]) for i in one.inputs
    )


def _agrees_with(candidate: Outcome, evidence: _Evidence, names: tuple[str, ...]) -> bool:
    if not candidate.value.shape == evidence.computed.value.shape == evidence.right.value.shape:
        return False
    # What is allowed depends on how the definition magnifies rounding, and on the size of the candidate's own numbers.
    allowed, relative = evidence.allowed, DTYPES[evidence.dtype].relative
    with np.errstate(invalid="ignore"):
        wider = Outcome(
            allowed.value + relative * _size(candidate.value),
            {n: a + relative * _size(candidate.gradients.get(n, 0.0)) for n, a in allowed.gradients.items()},
        )
    return agrees(evidence.computed, candidate, wider, names)


def _size(numbers: Any) -> Any:
    """What a relative tolerance is relative to; an infinite candidate is only matched by infinity."""
    return np.where(np.isfinite(numbers), np.abs(numbers), 0.0)


def _is_single(computed: Outcome) -> bool:
    """Whether all numbers are such as float32 has."""
    with np.errstate(over="ignore"):
        return all(np.all(n.astype(np.float32) == n) for n in (computed.value, *computed.gradients.values()))


def _agrees_in_single(evidence: _Evidence) -> bool:
    allowed = allowance(evidence.case, "float32")
    return agrees(evidence.computed, evidence.right, allowed, evidence.computed.gradients)
