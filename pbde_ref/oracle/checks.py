"""The checks by name, and which of them a loss has.

Each has one purpose, said by the first line of its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from pbde_ref.oracle import laws, masks
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.context import Context, FailedCheckError, SkippedCheckError
from pbde_ref.oracle.rewards import REWARD_SITUATIONS
from pbde_ref.oracle.subjects import Computed
from pbde_ref.oracle.tolerances import difference

__all__ = ["Check", "checks_of"]

Check = Callable[[Context], None]


def checks_of(case: Case, *, detached_reference: bool = False) -> dict[str, Check]:
    """The checks of a loss under these conventions, in the order in which they run.

    Examples
    --------
    >>> from pbde_ref.oracle.definitions import definition_of
    >>> definition = definition_of("pbde")
    >>> list(checks_of(Case(definition, definition.batches["generic"], {"reduction": "mean"})))[:4]
    ['statelessness', 'inputs_unmodified', 'value', 'gradient_policy_chosen']
    """
    family = case.definition.family
    # The first ones must see the function before other calls could have changed it.
    checks: dict[str, Check] = {
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
        checks |= {"hyperparameters_used": hyperparameters_used, "batch_sizes": masks.batch_sizes}
    elif family == "reading":
        checks |= _situations(REWARD_SITUATIONS)
        checks |= {"mask_types": masks.mask_types, "batch_sizes": masks.batch_sizes}
    else:
        checks |= {"reduction": laws.reduction, "hyperparameters_used": hyperparameters_used}
        checks |= {"swap": laws.swap} if family != "ranking" else {"candidate_permutation": laws.candidate_permutation}
    if laws.is_translation_invariant(case):
        checks["translation_invariance"] = laws.translation_invariance
    checks |= {"batch_independence": laws.batch_independence, "batch_permutation": laws.batch_permutation}
    if "near_certain" in case.definition.batches:
        checks["near_certain"] = partial(on_batch, batch="near_certain")
    checks |= {
        "extreme_gaps": partial(on_batch, batch="extreme"), "finite": finite,
        "float32": partial(precision, dtype="float32"), "bfloat16": partial(precision, dtype="bfloat16"),
    }  # fmt: skip
    return checks


def _situations(situations: Mapping[str, tuple[str, Callable[[Case], Case]]]) -> dict[str, Check]:
    return {name: partial(masks.on_situation, says=says, make=make) for name, (says, make) in situations.items()}


def value(context: Context) -> None:
    """The loss of a generic batch is that of the definition."""
    context.hold(context.batch("generic"), context.known("generic"), {"": "the value"})


def gradient(context: Context, name: str) -> None:
    """The gradient with respect to one input is that of the definition."""
    if not context.differentiable:
        raise SkippedCheckError(laws.no_derivative(context))
    context.hold(context.batch("generic"), context.known("generic"), {name: f"the gradient with respect to {name}"})


def on_batch(context: Context, batch: str) -> None:
    """Value and gradients are right on a batch of difficult inputs too."""
    computed = context.known(batch)
    context.hold(context.batch(batch), computed, _all_parts(computed, f"on the batch {batch!r}"))


def precision(context: Context, dtype: str) -> None:
    """Value and gradients are right, within the precision's tolerance, on all fixed batches."""
    if dtype not in context.subject.framework.dtypes:
        raise SkippedCheckError(f"{context.subject.framework.name} arrays have no {dtype}")
    for batch in ("generic", "near_certain", "extreme"):
        if context.has_batch(batch):
            computed = context.known(batch, dtype)
            parts = _all_parts(computed, f"in {dtype}, on the batch {batch!r},")
            context.hold(context.batch(batch, dtype), computed, parts, dtype)


def _all_parts(computed: Computed, where: str) -> dict[str, str]:
    gradients = {name: f"the gradient with respect to {name} {where}" for name in computed.outcome.gradients}
    return {"": f"the value {where}", **gradients}


def finite(context: Context) -> None:
    """Where the definition is finite, so are the function's value and gradients."""
    for batch in context.generic.definition.batches:
        case, computed = context.batch(batch), context.known(batch)
        parts = {"the value": computed.outcome.value}
        parts |= {f"the gradient with respect to {n}": g for n, g in computed.outcome.gradients.items()}
        for called, numbers in parts.items():
            if not np.all(np.isfinite(numbers)):
                raise FailedCheckError(
                    f"{called} on the batch {batch!r} is {np.array2string(np.asarray(numbers), threshold=8)}\n\n"
                    f"{context.subject.source(case, context.dtype)}",
                    context.diagnosis(case, computed.outcome, context.dtype),
                )


def hyperparameters_used(context: Context) -> None:
    """Each hyperparameter that the function takes as a keyword has the effect that the definition gives it."""
    definition, varied = context.generic.definition, 0
    for name, own in context.subject.keywords.items():
        other = definition.hyperparameters[name].other
        if other is None or isinstance(context.generic.conventions[name], str):
            continue
        varied += 1
        base = context.batch("generic")
        case = base.with_conventions(**{name: other})
        computed = context.compute(case, gradients=True)
        changed = difference(
            computed.outcome.value, context.known("generic").outcome.value, np.zeros_like(computed.outcome.value)
        )
        ignored = "" if changed else f" (it has no effect: {own}={base.conventions[name]} gives the same)"
        context.hold(case, computed, _all_parts(computed, f"with {own}={other}{ignored}"))
    if not varied:
        names = ", ".join(n for n, h in definition.hyperparameters.items() if h.other is not None) or "none"
        raise SkippedCheckError(f"the function takes none of its hyperparameters as a keyword ({names})")
