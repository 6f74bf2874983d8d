"""What the definitions of losses are put together from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Arrays, Conventions, Input, Outcome, Parameter
from pbde_ref.losses import BatchLoss

__all__ = [
    "FOUR", "LENGTHS", "POLICIES", "PROCESS", "REFERENCES", "REFERENCE_FREE", "REWARD_PAIR", "calls",
    "log_ratio_gap", "names_of", "outcome_of", "reduction_of", "referenced",
]  # fmt: skip

POLICIES = (Input("policy_chosen", "policy"), Input("policy_rejected", "policy"))
REFERENCES = (Input("reference_chosen", "reference"), Input("reference_rejected", "reference"))
LENGTHS = (Input("chosen_lengths", "constant", floating=False), Input("rejected_lengths", "constant", floating=False))
REWARD_PAIR = (Input("chosen_rewards", "reward"), Input("rejected_rewards", "reward"))
PROCESS = tuple(Input(name, "constant") for name in ("f_chosen", "f_rejected", "g_chosen", "g_rejected"))

# Declared of a function that takes the policy's two arrays alone; the reference is then constant.
REFERENCE_FREE = Parameter("switch", False)


def referenced(conventions: Conventions) -> tuple[Input, ...]:
    """Policy and reference, or the policy alone."""
    return POLICIES if conventions.get("reference_free") else POLICIES + REFERENCES


def outcome_of(result: BatchLoss, reduction: str) -> Outcome:
    """A batch loss as its caller declared to see it."""
    value = result.losses if reduction == "none" else np.asarray(result.value)
    return Outcome(value, result.gradients)


def reduction_of(conventions: Conventions) -> Any:
    """What a function of `pbde_ref.losses` has to be asked for."""
    # Each example's own loss is in every result; the gradients that belong to it are those of the sum.
    return "sum" if conventions["reduction"] == "none" else conventions["reduction"]


def calls(
    loss: Callable[..., BatchLoss], names: tuple[str, ...], keywords: Callable[[Arrays, Conventions], dict[str, Any]]
) -> Callable[[Arrays, Conventions], Outcome]:
    """What is right according to a function of `pbde_ref.losses`."""

    def evaluate(arrays: Arrays, conventions: Conventions) -> Outcome:
        given = keywords(arrays, conventions)
        result = loss(*(arrays[name] for name in names), **given, reduction=reduction_of(conventions))
        return outcome_of(result, conventions["reduction"])

    return evaluate


def names_of(inputs: tuple[Input, ...]) -> tuple[str, ...]:
    """The inputs' names, in their order."""
    return tuple(i.name for i in inputs)


FOUR = names_of(POLICIES + REFERENCES)


def log_ratio_gap(arrays: Arrays) -> Any:
    """Log-ratio of policy to reference, of the chosen less that of the rejected outcome."""
    chosen = arrays["policy_chosen"] - arrays["reference_chosen"]
    return chosen - (arrays["policy_rejected"] - arrays["reference_rejected"])
