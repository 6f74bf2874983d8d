"""The checks by name, and which of them a loss has.

Each has one purpose, said by the first line of its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from pbde_ref.oracle import laws, masks
from pbde_ref.oracle.calling.subjects import rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError
from pbde_ref.oracle.corners import Corner, corners, is_defined, lopsided, shared, shifted, stacked, trial_values
from pbde_ref.oracle.diagnosis import diagnose_check
from pbde_ref.oracle.own import OWN_NUMBER
from pbde_ref.oracle.rewards import REWARD_SITUATIONS
from pbde_ref.oracle.tolerances import difference, reward_allowance

__all__ = ["DECLARE_REWARDS", "Check", "checks_of_loss"]

Check = Callable[[Context], None]


# How a caller has returned rewards looked at.
DECLARE_REWARDS = "returns_rewards=True"

# Families whose examples are sequences of tokens.
OF_TOKENS = ("sequence", "reading")

# One, two and three; the first that no micro-batch of two divides; a prime; and more than blocks of 64 and of 1024.
SIZES = (1, 2, 3, 5, 7, 100, 1031)

# Sums over a thousand, such as the gradient of what all share, are rounded to nothing there.
HALF = ("bfloat16", "float16")

# A hundred sequences of tokens take JAX long to compile.
SIZES_OF_SEQUENCES = SIZES[:5]


def checks_of_loss(
    case: Case, *, detached_reference: bool = False, returns_rewards: bool = False
) -> dict[str, Check]:
    """The checks of a loss under these conventions, in the order in which they run.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> definition = loss_named("pbde")
    >>> list(checks_of_loss(Case(definition, definition.batches["generic"], {"reduction": "mean"})))[:4]
    ['repeatability', 'statelessness', 'inputs_unmodified', 'value']
    """
    family = case.definition.family
    # The first ones must see the function before other calls could have changed it.
    checks: dict[str, Check] = {
        "repeatability": laws.repeatability,
        "statelessness": laws.statelessness,
        "inputs_unmodified": laws.inputs_unmodified,
        "value": value,
    }
    checks |= {f"gradient_{i.name}": partial(gradient, name=i.name) for i in case.inputs if i.differentiated}
    if any(i.role == "reference" for i in case.inputs):
        checks["no_gradient_to_reference"] = partial(laws.no_gradient_to_reference, detached=detached_reference)
    if family == "sequence":
        checks |= {
            "shift": masks.shift, "prompt": masks.prompt, "padding": masks.padding,
            "end_of_sequence": masks.end_of_sequence, "average": masks.average,
            "empty_completion": masks.empty_completion,
        }  # fmt: skip
        checks |= {"empty_mean": masks.empty_mean} if case.conventions["average"] else {}
        checks |= _situations(masks.SITUATIONS)
        checks |= {"mask_types": masks.mask_types} if case.conventions["layout"] != "labels" else {}
        checks["hyperparameters_used"] = hyperparameters_used
    elif family == "reading":
        checks |= {**_situations(REWARD_SITUATIONS), "mask_types": masks.mask_types}
    else:
        checks |= {"reduction": laws.reduction, "hyperparameters_used": hyperparameters_used}
        checks |= {"swap": laws.swap} if family != "ranking" else {"candidate_permutation": laws.candidate_permutation}
    if laws.is_translation_invariant(case):
        checks["translation_invariance"] = laws.translation_invariance
    # What is sorted, or averaged, over the batch makes each example's loss depend on the others.
    checks |= {} if family == "batch" else {"batch_independence": laws.batch_independence}
    checks |= {"batch_permutation": laws.batch_permutation, "batch_sizes": batch_sizes}
    for batch in ("zero_margin", "near_certain"):
        if batch in case.definition.batches:
            checks[batch] = partial(on_batch, batch=batch)
    checks["extreme_gaps"] = partial(on_batch, batch="extreme")
    if family not in OF_TOKENS:
        checks |= {"single_inputs": single_inputs, "lopsided_batches": lopsided_batches}
    checks |= {
        "finite": finite,
        "float32": partial(precision, dtype="float32"), "bfloat16": partial(precision, dtype="bfloat16"),
    }  # fmt: skip
    if returns_rewards:
        if not case.has_margins:
            raise TypeError(f"the loss {case.definition.name!r} has no rewards of pairs; got {DECLARE_REWARDS}")
        checks["rewards"] = rewards
    checks["many_calls"] = laws.many_calls
    return checks


def _situations(situations: Mapping[str, tuple[str, Callable[[Case], Case]]]) -> dict[str, Check]:
    return {name: partial(masks.on_situation, says=says, make=make) for name, (says, make) in situations.items()}


def value(context: Context) -> None:
    """The loss of a generic batch is that of the definition."""
    _hold_known(context, "generic", {"": "the value"})


def gradient(context: Context, name: str) -> None:
    """The gradient with respect to one input is that of the definition."""
    if not context.differentiable:
        raise SkippedCheckError(laws.no_derivative(context))
    _hold_known(context, "generic", {name: f"the gradient with respect to {name}"})


def on_batch(context: Context, batch: str) -> None:
    """Value and gradients are right on a batch of difficult inputs too, and on each of its examples alone."""
    case = context.batch(batch)
    held = context.hold(case, context.known(batch), _all_parts(context, f"on the batch {batch!r}"))
    # In a mean of losses of thousands a small one is not seen.
    for place in range(case.size) if case.definition.family not in OF_TOKENS else ():
        alone = case.take([place])
        where = f"on example {place} of the batch {batch!r} alone"
        held |= context.hold(alone, context.compute(alone, gradients=True), _all_parts(context, where))
    if not held:
        raise SkippedCheckError(_beyond(context, batch))


def _hold_known(context: Context, batch: str, parts: Mapping[str, str]) -> None:
    if not context.hold(context.batch(batch), context.known(batch), parts):
        raise SkippedCheckError(_beyond(context, batch))


def _beyond(context: Context, batch: str) -> str:
    return f"what is right on the batch {batch!r} is beyond the numbers of {context.dtype}"


def single_inputs(context: Context) -> None:
    """One input alone far off, nearly 0 or 0, all of one kind far off, two that are equal; alone, and in batches."""
    # float16 ends at 65504.
    generic, far = context.batch("generic"), {"far": 16.37} if context.dtype == "float16" else {}
    found = _rounded(corners(generic, **far), context.dtype)
    if not found:
        raise SkippedCheckError("no example of this kind has a finite loss")
    batches = [Corner("where single inputs are extreme, or equal", batch) for batch in stacked(found, generic.size)]
    together = _rounded([*shifted(generic, **far), *shared(context.batch("extreme"), **far)], context.dtype)
    for says, case in [*found, *together, *batches]:
        context.hold(case, context.compute(case, gradients=True), _all_parts(context, says))


def _rounded(made: Iterable[Corner], dtype: str) -> list[Corner]:
    """With numbers that the precision has; without those that it rounds to what the loss does not allow, such as 0."""
    found = [(case, Corner(says, rounded_case(case, dtype))) for says, case in made]
    return [after for before, after in found if is_defined(after.case, dtype) and _ties(after.case) == _ties(before)]


def _ties(case: Case) -> int:
    """How often two candidates have the same score: which of them is the better, a definition need not say."""
    rows = case.arrays["scores"].tolist() if case.definition.family == "ranking" else []
    return sum(len(row) - len(set(row)) for row in rows)


def lopsided_batches(context: Context) -> None:
    """Ordinary examples keep their losses and gradients in a batch that is won, or lost, by far."""
    found = list(lopsided(context.batch("generic"), context.batch("extreme")))
    if not found:
        raise SkippedCheckError("no single losses to tell the examples apart by")
    for says, case in found:
        context.hold(case, context.compute(case, gradients=True), _all_parts(context, says))


def batch_sizes(context: Context) -> None:
    """Value and gradients are right whatever the size of the batch, and wherever its entries stand in memory."""
    family = context.generic.definition.family
    # Of many that are sorted, neighbours may change places.
    most = len(SIZES) - (context.dtype in HALF) - (family == "batch")
    for size in SIZES_OF_SEQUENCES if family in OF_TOKENS else SIZES[:most]:
        case = rounded_case(context.batch("generic").of_size(size), context.dtype)
        where = f"on a batch of {size}"
        try:
            computed = context.compute(case, gradients=True)
        except FailedCheckError as failure:
            raise FailedCheckError(f"{where}: {failure}", failure.diagnosis) from failure
        context.hold(case, computed, _all_parts(context, where))
    case = context.batch("generic")
    thrice = case.take([0, 0, *range(case.size)])
    computed = context.compute(thrice, gradients=True)
    context.hold(thrice, computed, _all_parts(context, "where one example stands thrice"))
    # JAX sees no places in memory.
    if not context.subject.framework.mutable:
        return
    try:
        computed = context.compute(case, gradients=True, apart=True)
    except FailedCheckError:
        # An error misleads nobody.
        return
    context.hold(case, computed, _all_parts(context, "of arrays whose entries do not stand side by side (x[::2])"))


def precision(context: Context, dtype: str) -> None:
    """Value and gradients are right, within the precision's tolerance, on all fixed batches."""
    if dtype not in context.subject.framework.dtypes:
        raise SkippedCheckError(f"{context.subject.framework.name} arrays have no {dtype}")
    for batch in ("generic", "near_certain", "extreme"):
        if context.has_batch(batch):
            computed = context.known(batch, dtype)
            parts = _all_parts(context, f"in {dtype}, on the batch {batch!r},")
            context.hold(context.batch(batch, dtype), computed, parts, dtype)


def _all_parts(context: Context, where: str) -> dict[str, str]:
    """The value, and every gradient that there must be."""
    names = [i.name for i in context.generic.inputs if i.differentiated] if context.differentiable else []
    return {"": f"the value {where}", **{name: f"the gradient with respect to {name} {where}" for name in names}}


def finite(context: Context) -> None:
    """Where the definition is finite, so are the function's value and gradients."""
    for batch in context.generic.definition.batches:
        case, computed = context.batch(batch), context.known(batch)
        allowed = context.allowance(case)
        parts = {"the value": (computed.outcome.value, allowed.value)}
        parts |= {
            f"the gradient with respect to {n}": (g, allowed.gradients[n])
            for n, g in computed.outcome.gradients.items()
        }
        for called, (numbers, within) in parts.items():
            if not np.all(np.isfinite(numbers) | np.isposinf(within)):
                raise FailedCheckError(
                    f"{called} on the batch {batch!r} is {np.array2string(np.asarray(numbers), threshold=8)}\n\n"
                    f"{context.subject.source(case, context.dtype)}",
                    context.diagnosis(case, computed.outcome, context.dtype),
                )


def hyperparameters_used(context: Context) -> None:
    """Each hyperparameter that the function takes as a keyword has the effect that the definition gives it."""
    definition, varied = context.generic.definition, 0
    for name, own in context.subject.keywords.items():
        other = definition.parameters[name].other
        if other is None or isinstance(context.generic.conventions[name], str):
            continue
        varied += 1
        base = context.batch("generic")
        rule = definition.parameters[name]
        values = trial_values(other, partial(rule.checked, name), near=rule.rule == OWN_NUMBER, dtype=context.dtype)
        for place, tried in enumerate(values):
            case = base.with_conventions(**{name: tried})
            # Gradients at each value would be one more program for JAX.
            each = place == 0 or context.subject.framework.mutable
            computed = context.compute(case, gradients=each)
            changed = difference(
                computed.outcome.value, context.known("generic").outcome.value, np.zeros_like(computed.outcome.value)
            )
            ignored = "" if changed else f" (it has no effect: {own}={base.conventions[name]} gives the same)"
            parts = _all_parts(context, f"with {own}={tried:.6g}{ignored}")
            context.hold(case, computed, parts if each else {"": parts[""]})
            if tried > base.conventions[name]:
                # What clips a scaled input is seen far off alone.
                case = context.batch("extreme").with_conventions(**{name: tried})
                if not is_defined(case, context.dtype):
                    continue
                context.hold(case, context.compute(case), {"": f"{parts['']}, on the batch 'extreme',"})
    if not varied:
        names = ", ".join(n for n, h in definition.parameters.items() if h.other is not None) or "none"
        raise SkippedCheckError(f"the function takes none of its hyperparameters as a keyword ({names})")


def rewards(context: Context) -> None:
    """The rewards returned beside the loss are the two utilities whose difference is the margin."""
    case = context.batch("generic")
    came = [context.subject.framework.numbers(extra) for extra in _rewards_in(context.known("generic").extras)]
    right, allowed = case.rewards(), reward_allowance(case, context.dtype)
    numbers = [n for n in came if n is not None and n.shape == right[0].shape]
    if len(numbers) != 2:
        raise FailedCheckError(
            "no rewards came beside the loss\n"
            f"{context.subject.call_description(case, context.dtype)}\n"
            "expected   (loss, chosen rewards, rejected rewards), or a mapping with both behind the loss; "
            f"each of shape {right[0].shape}"
        )
    for side, returned, wanted, margin in zip(("chosen", "rejected"), numbers, right, allowed, strict=True):
        found = difference(returned, wanted, margin)
        if found is not None:
            exchanged = all(
                difference(n, r, a) is None
                for n, r, a in zip(numbers, reversed(right), reversed(allowed), strict=True)
            )
            raise FailedCheckError(
                f"the returned rewards of the {side} outcomes are not what the definition gives\n"
                f"{context.numbers_of(found, context.dtype)}\n\n{context.subject.source(case, context.dtype)}",
                diagnose_check(case, "rewards exchanged") if exchanged else "",
            )


def _rewards_in(extras: tuple[Any, ...]) -> tuple[Any, ...]:
    """The chosen and the rejected rewards among what stood behind the loss."""
    for extra in extras:
        if isinstance(extra, Mapping):
            sides = [[v for k, v in extra.items() if "reward" in k and side in k] for side in ("chosen", "rejected")]
            return tuple(found[0] for found in sides) if all(len(found) == 1 for found in sides) else ()
    return extras[:2]
