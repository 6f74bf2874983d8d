"""Naming what is wrong: the failing case computed under every other convention and with every known bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pbde_ref.oracle.cases import Case, Outcome
from pbde_ref.oracle.conventions import CONVENTIONS, Convention
from pbde_ref.oracle.head_bugs import HEAD_BUGS, fitted
from pbde_ref.oracle.known_bugs import CATALOGUE, bugs_of
from pbde_ref.oracle.tolerances import DTYPES, agrees, allowance

__all__ = ["diagnose", "diagnose_check", "diagnose_shape"]

MOST = 4


Seen = tuple[Case, Outcome]
Formula = Callable[[Case, str], "Outcome | None"]


def diagnose(case: Case, computed: Outcome, dtype: str, others: Sequence[Seen] = ()) -> str:
    """What gives the numbers that the function gave: lines, the likeliest first; empty if nothing does.

    First everything has to agree, the value and the gradients that are known; then the value alone. A single convention
    or bug is preferred to both together. Whatever gives the right numbers on this case explains nothing, and neither
    does what is refuted by the `others`, cases that the function has been called with in the same precision.
    """
    evidence = _evidence(case, computed, dtype)
    if agrees(computed, evidence.right, evidence.allowed, computed.gradients):
        return ""
    if dtype == "float64" and _is_single(computed) and _agrees_in_single(evidence):
        return "agrees to the precision of float32, not of float64; declare dtype='float32' if that is meant"
    refuting = [_evidence(*seen, dtype) for seen in others]
    if _rounds_with_its_logits(evidence) and all(_is_right(other) for other in refuting):
        return (
            "off by no more than the last places of the logits: logit - logsumexp was formed in float32; subtract the "
            "largest logit first, as log_softmax does"
        )
    passes: list[tuple[str, ...]] = [tuple(computed.gradients)]
    if computed.gradients and not agrees(computed, evidence.right, evidence.allowed, ()):
        passes.append(())
    for names in passes:
        for candidates in (_single(case), _with_a_number(evidence), _double(case)):
            found = [
                text
                for text, formula in candidates
                if _explains(formula, evidence, names)
                and all(_is_not_refuted(formula, other, names) for other in refuting)
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
    right = case.expected()
    return _Evidence(case, dtype, computed, right, allowance(case, right, dtype))


def diagnose_check(case: Case, check: str) -> str:
    """The known bug that a failing check shows by itself."""
    return "\n".join(b.says() for b in CATALOGUE if b.shown_by == check and case.definition.name in b.losses)


def diagnose_shape(case: Case, numbers: np.ndarray, dtype: str) -> str:
    """Which other reduction has this shape and these numbers."""
    lines = []
    for convention in (c for c in CONVENTIONS if c.name.startswith("reduction")):
        changed = convention.change(case)
        if changed is None:
            continue
        expected = changed.expected()
        if expected.value.shape == numbers.shape and agrees(
            Outcome(numbers, {}), expected, allowance(changed, expected, dtype), None
        ):
            lines.append(convention.says(case))
    return "\n".join(lines)


def _single(case: Case) -> Iterator[tuple[str, Formula]]:
    for convention in _conventions(case):
        yield convention.says(case), _under(convention)
    for bug in bugs_of(case.definition.name):
        yield bug.says(), bug.formula


def _with_a_number(evidence: _Evidence) -> Iterator[tuple[str, Formula]]:
    """Bugs with a number that nobody declared, at the number that the result asks for."""
    if evidence.case.definition.name != "sequence_log_probs":
        return
    for bug in HEAD_BUGS:
        for number in fitted(bug, evidence.case, evidence.computed):
            # What another number explains as well is not evidence for this one.
            if not _agrees_with(bug.formula(evidence.case, 1.01 * number), evidence, ()):
                yield bug.says(number), lambda case, dtype, b=bug, n=number: b.formula(case, n)


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
                yield f"{says}; and {other.says(case)}", _under(convention, _under(other))


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
    except ValueError:
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


def _agrees_with(candidate: Outcome, evidence: _Evidence, names: tuple[str, ...]) -> bool:
    if not candidate.value.shape == evidence.computed.value.shape == evidence.right.value.shape:
        return False
    # What is allowed depends on how the definition magnifies rounding, and on the size of the candidate's own numbers.
    allowed, relative = evidence.allowed, DTYPES[evidence.dtype].relative
    with np.errstate(invalid="ignore"):
        wider = Outcome(
            allowed.value + relative * np.abs(candidate.value),
            {n: a + relative * np.abs(candidate.gradients.get(n, 0.0)) for n, a in allowed.gradients.items()},
        )
    return agrees(evidence.computed, candidate, wider, names)


def _is_right(evidence: _Evidence) -> bool:
    return agrees(evidence.computed, evidence.right, evidence.allowed, evidence.computed.gradients)


def _rounds_with_its_logits(evidence: _Evidence) -> bool:
    """Whether two roundings of a number as large as the logits, at each token, explain the difference.

    The logarithm of the sum of exponentials is rounded as its own size is, by half a last place for the logarithm and
    half a last place for the shift that is added back; what remains of it beside the label's logit keeps that error.
    """
    if evidence.case.definition.family != "sequence" or evidence.dtype != "float32":
        return False
    logits = evidence.case.arrays["logits"]
    largest = np.abs(logits).max(axis=(1, 2)) + np.log(logits.shape[2])
    rounding = logits.shape[1] * largest * 2.0**-23
    allowed = Outcome(evidence.allowed.value + rounding, evidence.allowed.gradients)
    return agrees(evidence.computed, evidence.right, allowed, evidence.computed.gradients)


def _is_single(computed: Outcome) -> bool:
    """Whether all numbers are such as float32 has."""
    with np.errstate(over="ignore"):
        return all(np.all(n.astype(np.float32) == n) for n in (computed.value, *computed.gradients.values()))


def _agrees_in_single(evidence: _Evidence) -> bool:
    allowed = allowance(evidence.case, evidence.right, "float32")
    return agrees(evidence.computed, evidence.right, allowed, evidence.computed.gradients)
