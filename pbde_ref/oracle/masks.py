"""Checks of sequence log-probabilities: each about one kind of token."""

from __future__ import annotations

from typing import Any

import numpy as np

from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError
from pbde_ref.oracle.sequences import relabelled, sequence_mask
from pbde_ref.oracle.subjects import SubjectError
from pbde_ref.oracle.tolerances import difference

__all__ = ["average", "empty_completion", "end_of_sequence", "padding", "prompt", "shift"]


def _disturbed(case: Case, positions: Any) -> Case:
    """Other logits at the positions from which the marked labels are predicted, and other labels there."""
    labels, logits = case.arrays["labels"].copy(), case.arrays["logits"].copy()
    read_at = positions
    if case.conventions["shift"]:
        read_at = np.concatenate([positions[:, 1:], np.zeros((len(positions), 1), dtype=bool)], axis=1)
    logits[read_at] = logits[read_at][:, ::-1] * 1.5 + 0.25
    labels[positions] = (labels[positions] + 3) % logits.shape[2]
    return relabelled(case, logits=logits, labels=labels)


def _unmoved_by(context: Context, positions: Any, what: str) -> None:
    case = context.batch("generic")
    disturbed = _disturbed(case, positions)
    value = context.compute(disturbed).outcome.value
    context.hold_relation(
        f"other {what} must not change the result", value, context.known("generic").outcome.value,
        2.0 * context.allowance(case).value,
    )  # fmt: skip


def prompt(context: Context) -> None:
    """What the prompt's tokens are, and how likely, has no effect."""
    case = context.batch("generic")
    before = np.arange(case.arrays["labels"].shape[1]) < case.arrays["prompt_lengths"][:, None]
    _unmoved_by(context, before, "prompt tokens, and other logits for them,")


def padding(context: Context) -> None:
    """What stands after the end of a sequence has no effect."""
    case = context.batch("generic")
    _unmoved_by(context, case.arrays["attention_mask"] == 0, "padding, and other logits for it,")


def end_of_sequence(context: Context) -> None:
    """The last token of a completion counts: if it becomes less likely, so does the sequence."""
    case = context.batch("generic")
    mask = sequence_mask(case.arrays)
    last = mask & ~np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), dtype=bool)], axis=1)
    _moved_with(context, case, last, "the last token of each completion")


def shift(context: Context) -> None:
    """Each token is predicted by the logits that the declared layout has for it."""
    case = context.batch("generic")
    mask = sequence_mask(case.arrays)
    first = mask & ~np.concatenate([np.zeros((len(mask), 1), dtype=bool), mask[:, :-1]], axis=1)
    _moved_with(context, case, first, "the first token of each completion")


def _moved_with(context: Context, case: Case, positions: Any, what: str) -> None:
    disturbed = _disturbed(case, positions)
    change = context.compute(disturbed).outcome.value - context.known("generic").outcome.value
    wanted = disturbed.expected().value - case.expected().value
    allowed = context.allowance(case).value + context.allowance(disturbed).value
    says = f"other logits for {what} must change the result as the definition says"
    context.hold_relation(says, change, wanted, allowed)


def average(context: Context) -> None:
    """Sum or mean over tokens, as declared: a shorter prompt adds tokens."""
    case = context.batch("generic")
    longer = relabelled(case, prompt_lengths=np.ones_like(case.arrays["prompt_lengths"]))
    computed = context.compute(longer)
    context.hold(longer, computed, {"": f"the {'mean' if case.conventions['average'] else 'sum'} over the tokens"})


def empty_completion(context: Context) -> None:
    """A sequence without completion leaves the others alone; its own sum is 0, its own mean may be anything."""
    case = context.batch("empty")
    empty = ~sequence_mask(case.arrays).any(axis=1)
    names = None if not context.differentiable else (lambda i: i.differentiated)
    try:
        outcome = context.subject.compute(case, context.dtype, names).outcome
    except SubjectError as error:
        if isinstance(error.original, ValueError):
            raise SkippedCheckError("the function refuses a sequence without completion, with ValueError") from error
        raise FailedCheckError(str(error)) from error
    right, allowed = case.expected(), context.allowance(case)
    compared = ~empty | (not case.conventions["average"])
    found = difference(outcome.value[compared], right.value[compared], allowed.value[compared])
    which = "the value"
    for name in outcome.gradients if found is None else ():
        which = f"the gradient with respect to {name}"
        found = found or difference(
            outcome.gradients[name][~empty], right.gradients[name][~empty], allowed.gradients[name][~empty]
        )
    if found is not None:
        rows = ", ".join(str(i) for i in np.flatnonzero(empty))
        raise FailedCheckError(
            f"where sequence {rows} has no completion, {which} is {found.computed!r} instead of {found.expected!r} "
            f"(its own sum is 0, the others stay as they are)\n\n{context.subject.source(case, context.dtype)}",
            context.diagnosis(case, outcome, context.dtype),
        )
