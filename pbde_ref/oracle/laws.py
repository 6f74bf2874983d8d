"""Checks that hold the function against itself: what must not change, and what must change in a known way."""

from __future__ import annotations

import numpy as np

from pbde_ref.oracle.calling.subjects import Computed, rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError
from pbde_ref.oracle.diagnosis import diagnose_check
from pbde_ref.oracle.tolerances import agrees
from pbde_ref.validation import FloatArray

__all__ = [
    "batch_independence", "batch_permutation", "candidate_permutation", "inputs_unmodified", "is_translation_invariant",
    "many_calls", "no_derivative", "no_gradient_to_reference", "reduction", "repeatability", "statelessness", "swap",
    "translation_invariance",
]  # fmt: skip


def repeatability(context: Context) -> None:
    """Two equal calls in a row give the same."""
    _hold_first(context, "at once afterwards")


def statelessness(context: Context) -> None:
    """A call gives the same result whatever was called before."""
    # Other numbers in the same shapes.
    context.compute(context.batch("generic").take(np.arange(context.generic.size)[::-1]))
    _hold_first(context, "after other calls")


# More than any number of calls that the other checks make, so that what is counted to is passed.
CALLS = 100


def many_calls(context: Context) -> None:
    """The same call gives the same however often it is made, gradients too; all other checks were made by few calls."""
    for _ in range(CALLS):
        _hold_first(context, "after many calls")
    case = context.batch("generic")
    last, known = context.compute(case, gradients=True).outcome, context.known("generic").outcome
    for name, gradient in last.gradients.items():
        context.hold_relation(
            f"after many calls the gradient with respect to {name} must be what it was", gradient,
            known.gradients[name], 2.0 * context.allowance(case).gradients[name],
        )  # fmt: skip


def _hold_first(context: Context, when: str) -> None:
    """The very first call's result, made again."""
    case, first = context.batch("generic"), context.first
    again = context.compute(case)
    if not agrees(again.outcome, first.outcome, context.first_allowed, None):
        raise FailedCheckError(
            f"the same call gave {_shown(first)} first, and {_shown(again)} {when}\n\n"
            f"{context.subject.source(case, context.dtype)}",
            context.unsteadiness(case, [first.outcome, again.outcome]),
        )


def _shown(computed: Computed) -> str:
    return np.array2string(computed.outcome.value, precision=12, threshold=8)


def inputs_unmodified(context: Context) -> None:
    """The function leaves its inputs alone."""
    if not context.subject.framework.mutable:
        raise SkippedCheckError(f"{context.subject.framework.name} arrays cannot be changed")
    if context.first.modified:
        raise FailedCheckError(
            f"it changed its own input: {', '.join(context.first.modified)}\n\n"
            f"{context.subject.source(context.batch('generic'), context.dtype)}"
        )


def reduction(context: Context) -> None:
    """Each example twice: a mean stays, a sum doubles, single losses are repeated."""
    case = context.batch("generic")
    declared = case.conventions["reduction"]
    if case.conventions.get("lambda_") and declared == "sum":
        raise SkippedCheckError("the regulariser is summed over samples of its own")
    twice = case.take(np.tile(np.arange(case.size), 2))
    once, both = context.known("generic").outcome.value, context.compute(twice).outcome.value
    wanted = {"mean": once, "sum": 2.0 * once, "none": np.tile(np.atleast_1d(once), 2)}[declared]
    if declared == "none" and case.definition.family == "batch":
        # Their order is that of the whole batch.
        both, wanted = np.sort(both), np.sort(wanted)
    says = f"with each example twice, {declared!r} must {_REPEATED[declared]}"
    context.hold_relation(says, both, wanted, 3.0 * context.allowance(twice).value)


_REPEATED = {"mean": "stay as it is", "sum": "double", "none": "repeat each example's own loss"}


def swap(context: Context) -> None:
    """What changes when chosen and rejected outcomes are exchanged is what the definition says."""
    case = context.batch("generic")
    exchanged = case.exchanged()
    before, after = context.known("generic").outcome.value, context.compute(exchanged).outcome.value
    wanted = case.expected().value - exchanged.expected().value
    allowed = context.allowance(case).value + context.allowance(exchanged).value
    says = "exchanging chosen and rejected outcomes must change the loss as the definition says"
    context.hold_relation(says, before - after, wanted, allowed)


def candidate_permutation(context: Context) -> None:
    """The order in which a prompt's candidates are listed has no effect."""
    case = context.batch("generic")
    order = np.array([2, 0, 1])
    listed = case.with_arrays(**{i.name: case.arrays[i.name][:, order] for i in case.inputs})
    value = context.compute(listed).outcome.value
    says = "listing each prompt's candidates in another order must change nothing"
    context.hold_relation(says, value, context.known("generic").outcome.value, 2.0 * context.allowance(case).value)


def translated(case: Case) -> Case:
    """Each pair's utilities moved together; by the same amount for both, another for each pair."""
    amount = -1.25 - 0.5 * np.arange(case.size)
    prefixes = ("policy_", "reference_") if "reference_chosen" in {i.name for i in case.inputs} else ("policy_",)
    names = [i.name for i in case.inputs if i.name.startswith(prefixes) or i.role == "reward"]
    moved = {}
    for name in names:
        values = case.arrays[name]
        own = amount.reshape(-1, *[1] * (values.ndim - 1)) * (1.0 if name.startswith("policy") else 0.5)
        moved[name] = values + own
    return case.with_arrays(**moved)


def is_translation_invariant(case: Case) -> bool:
    """Whether the definition itself does not notice."""
    if case.definition.family not in ("pairwise", "mixture"):
        return False
    return bool(np.allclose(case.expected().value, translated(case).expected().value, rtol=1e-9, atol=1e-9))


def translation_invariance(context: Context) -> None:
    """What moves both outcomes of a pair alike has no effect."""
    case = context.batch("generic")
    moved = rounded_case(translated(case), context.dtype)
    value = context.compute(moved).outcome.value
    allowed = 2.0 * context.allowance(case).value + context.allowance(moved).value
    if context.dtype != "float64":
        # Rounding may move the two outcomes of a pair by different amounts.
        allowed = allowed + np.abs(moved.expected().value - case.expected().value)
    says = "adding the same to both outcomes of a pair must change nothing"
    context.hold_relation(says, value, context.known("generic").outcome.value, allowed)


def batch_independence(context: Context) -> None:
    """Each example's loss is the same alone as among others."""
    case = context.batch("generic")
    if case.conventions.get("lambda_") and case.conventions["reduction"] == "sum":
        raise SkippedCheckError("the regulariser is summed over samples of its own")
    singles = [context.compute(case.take([i])).outcome.value for i in range(case.size)]
    together = context.known("generic").outcome.value
    alone = np.concatenate([np.atleast_1d(single) for single in singles])
    allowed = 2.0 * context.allowance(case).value
    if together.ndim:
        context.hold_relation("alone, an example must have the loss that it has in a batch", together, alone, allowed)
        return
    # Whether it is the mean or the sum is another check's question.
    candidates = [alone.mean(), alone.sum()]
    nearest = min(candidates, key=lambda value: abs(value - together))
    says = "the loss of a batch must be made of the losses that its examples have alone"
    context.hold_relation(says, together, nearest, case.size * allowed)


def batch_permutation(context: Context) -> None:
    """The order of the examples has no effect on a reduced loss, and permutes losses and gradients that are not."""
    case = context.batch("generic")
    order = np.roll(np.arange(case.size), 1)
    listed = context.compute(case.take(order), gradients=True).outcome
    known, allowed = context.known("generic").outcome, context.allowance(case)
    each = known.value.ndim > 0 and case.definition.family != "batch"
    says = "the order of the examples must have no effect"
    context.hold_relation(
        says, listed.value, known.value[order] if each else known.value,
        2.0 * (allowed.value[order] if each else allowed.value),
    )  # fmt: skip
    for name in listed.gradients:
        if len(known.gradients[name]) == case.size and name not in ("weight_logits", "regularization"):
            context.hold_relation(
                f"{says} on the gradient with respect to {name}", listed.gradients[name],
                known.gradients[name][order], 2.0 * allowed.gradients[name][order],
            )  # fmt: skip


def no_gradient_to_reference(context: Context, detached: bool) -> None:
    """No gradient flows into the reference; only demanded of a function that is declared to see to it itself."""
    if not context.differentiable:
        raise SkippedCheckError(no_derivative(context))
    case = context.batch("generic")
    computed = context.compute(case, gradients=True, reference=True)
    if computed.note:
        raise SkippedCheckError(f"there is no gradient at all: {computed.note}")
    names = [name for name in computed.outcome.gradients if name.startswith("reference")]
    if not names:
        raise SkippedCheckError("the function returns no gradient with respect to the reference")
    flowing = [name for name in names if np.any(computed.outcome.gradients[name] != 0.0)]
    for name in () if detached else flowing:
        wanted = _by_differences(case, name)
        says = f"the gradient with respect to {name} must be 0, or what the definition gives by differences of 1e-6"
        allowed = 1e-5 * np.abs(wanted).max() + 1e3 * context.allowance(case).value.max()
        context.hold_relation(says, computed.outcome.gradients[name], wanted, np.full(wanted.shape, allowed))
    if flowing and not detached:
        raise SkippedCheckError(
            "a gradient flows into the reference if its log-probabilities carry one; compute them without gradient, or "
            "declare detached_reference=True to have the function held to it"
        )
    if flowing:
        outcome = computed.outcome
        raise FailedCheckError(
            f"the gradient with respect to {', '.join(flowing)} is not zero: "
            f"{np.array2string(outcome.gradients[flowing[0]], precision=6)}\n\n"
            f"{context.subject.source(case, context.dtype)}",
            diagnose_check(case, "no_gradient_to_reference"),
        )


def _by_differences(case: Case, name: str) -> FloatArray:
    """The gradient of the definition's value, summed over the batch if it has one each."""
    result, step = np.zeros_like(case.arrays[name]), 1e-6
    for place in np.ndindex(result.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = case.arrays[name].copy()
            moved[place] += sign * step
            ends.append(float(np.sum(case.with_arrays(**{name: moved}).expected().value)))
        result[place] = (ends[0] - ends[1]) / (2.0 * step)
    return result


def no_derivative(context: Context) -> str:
    """Why gradients are not looked at."""
    if not context.gradients:
        return "gradients=False"
    return (
        "NumPy functions have no derivative of their own; declare returns_gradients=True if yours returns it, or "
        "framework='torch' (or 'jax') if it takes such arrays too, as mere arithmetic does"
    )
