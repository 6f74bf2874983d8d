"""Checks of sequence log-probabilities: each about one kind of token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle.calling.subjects import SubjectError, rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError, differentiated
from pbde_ref.oracle.diagnosis import diagnose_check
from pbde_ref.oracle.sequences import relabelled, sequence_mask
from pbde_ref.oracle.tolerances import agrees, difference

__all__ = [
    "SITUATIONS", "average", "empty_completion", "empty_mean", "end_of_sequence", "mask_types", "on_situation",
    "padding", "prompt", "shift",
]  # fmt: skip


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
    _moved_with(context, case, _last(mask), "the last token of each completion")


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
    """Sum or mean over tokens, as declared: a shorter prompt adds tokens, the longest leaves a single one."""
    case = context.batch("generic")
    called = "mean" if case.conventions["average"] else "sum"
    before_the_last = np.argmax(_last(case.arrays["attention_mask"] != 0), axis=1)
    for prompts, tokens in ((np.ones_like(before_the_last), "the tokens"), (before_the_last, "a single token")):
        other = relabelled(case, prompt_lengths=prompts)
        context.hold(other, context.compute(other), {"": f"the {called} over {tokens}"})


def on_situation(context: Context, says: str, make: Callable[[Case], Case]) -> None:
    """Value and gradient are right where padding, prompts or masks are not what most code is written for."""
    case = rounded_case(make(context.batch("generic")), context.dtype)
    if case.conventions.get("layout") == "lengths" and case.arrays["gaps"].any():
        raise SkippedCheckError("an attention mask and the prompts' lengths cannot say that a completion has gaps")
    names = [i.name for i in case.inputs if i.differentiated and context.differentiable]
    gradients = {name: f"the gradient with respect to {name} {says}" for name in names}
    context.hold(case, context.compute(case, gradients=True), {"": f"the value {says}", **gradients})


def _completion_at_start(case: Case) -> Case:
    return relabelled(case, prompt_lengths=np.array([0, 2, 0, 0]))


def _left_padding(case: Case) -> Case:
    """On the left, on both sides, and nowhere; lengths of prompts count what stands before the completion."""
    attended = np.ones_like(case.arrays["attention_mask"])
    attended[0, :2] = attended[1, :3] = attended[2, :1] = 0
    attended[2, 6:] = 0
    return relabelled(case, attention_mask=attended, prompt_lengths=np.array([4, 5, 3, 2]))


def _several_turns(case: Case) -> Case:
    gaps = np.zeros(case.arrays["labels"].shape, dtype=bool)
    gaps[0, 4:6] = gaps[1, 3] = gaps[2, 5] = gaps[3, 2:4] = True
    return relabelled(case, prompt_lengths=np.array([2, 2, 3, 1]), gaps=gaps)


def _end_pads(case: Case) -> Case:
    """Each completion ends with the token 0, its prompt has one too, and padding goes on with it."""
    labels, mask = case.arrays["labels"].copy(), sequence_mask(case.arrays)
    labels[labels == 0] = 4
    labels[_last(mask) | (case.arrays["attention_mask"] == 0)] = 0
    labels[:, 0] = 0
    return relabelled(case, labels=labels)


def _masked_infinities(case: Case) -> Case:
    """Labels that do not count are impossible; so is token 0 there, which often stands in for a label of -100."""
    logits, mask = case.arrays["logits"].copy(), sequence_mask(case.arrays)
    first = int(case.conventions["shift"])
    for row, column in np.argwhere(~mask[:, first:]):
        logits[row, column, [0, case.arrays["labels"][row, column + first]]] = -np.inf
    return relabelled(case, logits=logits)


SITUATIONS: dict[str, tuple[str, Callable[[Case], Case]]] = {
    "completion_at_start": ("where completions start at position 0", _completion_at_start),
    "left_padding": ("where padding stands on the left, or on both sides,", _left_padding),
    "several_turns": ("where the mask has gaps, as with several turns,", _several_turns),
    "end_pads": ("where the end-of-sequence token is the padding token, and stands in the prompt,", _end_pads),
    "masked_infinities": ("where labels that do not count have a logit of -inf", _masked_infinities),
}
"""Batches that are made from the generic one: how to speak of each, and how it is made."""


def mask_types(context: Context) -> None:
    """A mask of numbers, whole or not, or of truth values has the same effect; a function may refuse it."""
    case = context.batch("generic")
    name = "attention_mask" if case.conventions.get("layout") == "lengths" else "mask"
    given = case.arrays[name]
    refused = []
    others = [kind for kind in (np.bool_, np.int64, np.float32) if np.dtype(kind) != given.dtype]
    for kind in others:
        typed = case.with_arrays(**{name: given.astype(kind)})
        called = np.dtype(kind).name
        try:
            computed = context.subject.compute(typed, context.dtype, differentiated if context.differentiable else None)
        except SubjectError as error:
            if error.original is None:
                says = f"given a {name} of {called}, {error}"
                raise FailedCheckError(says, diagnose_check(case, "mask_types")) from error
            refused.append(f"{called} ({type(error.original).__name__:.60})")
            continue
        own, allowed = context.known("generic").outcome, context.allowance(case)
        if not agrees(computed.outcome, own, allowed, computed.outcome.gradients):
            found = np.array2string(computed.outcome.value, precision=6, threshold=8)
            raise FailedCheckError(
                f"the same {name} as an array of {called} instead of {given.dtype} gives {found}, or another gradient\n"
                f"\n{context.subject.source(typed, context.dtype)}",
                diagnose_check(case, "mask_types"),
            )
    if len(refused) == len(others):
        raise SkippedCheckError(f"the function refuses a {name} of another type: {', '.join(refused)}")


def empty_completion(context: Context) -> None:
    """A sequence without completion leaves the others alone; its own sum is 0, its own mean finite."""
    case, outcome = _without_completion(context)
    empty = ~sequence_mask(case.arrays).any(axis=1)
    right, allowed = case.expected(), context.allowance(case)
    own = {"": outcome.value, **outcome.gradients}
    finite = all(np.isfinite(numbers).all() for numbers in own.values())
    compared = ~empty | (not case.conventions["average"])
    found = difference(outcome.value[compared], right.value[compared], allowed.value[compared])
    which = "the value"
    for name in outcome.gradients if found is None else ():
        which = f"the gradient with respect to {name}"
        found = found or difference(outcome.gradients[name], right.gradients[name], allowed.gradients[name])
    if found is None and finite:
        return
    rows = ", ".join(str(i) for i in np.flatnonzero(empty))
    says = f"{which} is {found.computed!r} instead of {found.expected!r}" if found else "its own mean is not finite"
    raise FailedCheckError(
        f"where sequence {rows} has no completion, {says} (its own sum is 0, its own mean may be anything finite, the "
        f"others stay as they are)\n\n{context.subject.source(case, context.dtype)}",
        context.diagnosis(case, outcome, context.dtype),
    )


def empty_mean(context: Context) -> None:
    """What the mean of a sequence without completion is; said, not held against anything."""
    case, outcome = _without_completion(context)
    own = outcome.value[~sequence_mask(case.arrays).any(axis=1)]
    raise SkippedCheckError(
        f"a mean over no tokens is not defined, so it was not compared; the function gives {float(own[0])!r}"
    )


def _without_completion(context: Context) -> tuple[Case, Outcome]:
    case = relabelled(context.batch("generic"), prompt_lengths=np.array([3, 6, 4, 1]))
    try:
        computed = context.subject.compute(case, context.dtype, differentiated if context.differentiable else None)
    except SubjectError as error:
        if isinstance(error.original, ValueError):
            raise SkippedCheckError("the function refuses a sequence without completion, with ValueError") from error
        raise FailedCheckError(str(error)) from error
    return case, computed.outcome


def _last(mask: Any) -> Any:
    """Where each run of true entries ends."""
    return mask & ~np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), dtype=bool)], axis=1)
