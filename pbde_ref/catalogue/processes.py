"""Cross-entropies: of rewards, and of policies under a preference behaviour distribution equation."""

from __future__ import annotations

from typing import Any

import pbde_ref.losses as losses
from pbde_ref.catalogue import optima
from pbde_ref.catalogue.batches import PAIRS, REWARDS
from pbde_ref.catalogue.ingredients import (
    FOUR,
    LENGTHS,
    POLICIES,
    PROCESS,
    REFERENCE_FREE,
    REFERENCES,
    REWARD_PAIR,
    calls,
    log_ratio_gap,
    names_of,
    referenced,
)
from pbde_ref.catalogue.records import PER_EXAMPLE, Arrays, Conventions, Input, Loss, Margins, Parameter
from pbde_ref.objectives import BRADLEY_TERRY, Objective, robust, smoothed

__all__ = ["CROSS_ENTROPIES", "DPO"]


def _reward_margin(arrays: Arrays, conventions: Conventions) -> Any:
    return arrays["margins"] if conventions["margin"] == PER_EXAMPLE else conventions["margin"]


def _reward_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    gap = arrays["chosen_rewards"] - arrays["rejected_rewards"] - _reward_margin(arrays, conventions)
    return Margins(gap, {"chosen_rewards": 1.0, "rejected_rewards": -1.0})


BRADLEY_TERRY_REWARDS = Loss(
    name="bradley_terry",
    title="Bradley–Terry reward loss",
    equation="Eq. (1) and (2)",
    family="pairwise",
    inputs=lambda c: (*REWARD_PAIR, *([Input("margins", "constant")] if c["margin"] == PER_EXAMPLE else [])),
    evaluate=calls(losses.bradley_terry_loss, names_of(REWARD_PAIR), lambda a, c: {"margin": _reward_margin(a, c)}),
    batches=REWARDS,
    parameters={"margin": Parameter("margin", 0.0, 0.4, 0.8, ("margin",), "γ")},
    margins=_reward_margins,
    objective=lambda c: BRADLEY_TERRY,
    batch=losses.bradley_terry_loss,
    optimum=optima.best_reward,
    learns="p*",
    aliases=("reward",),
)


def _dpo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    beta = conventions["beta"]
    return Margins(beta * log_ratio_gap(arrays), {"policy_chosen": beta, "policy_rejected": -beta})


def _dpo_objective(conventions: Conventions) -> Objective:
    make = smoothed if conventions["variant"] == "cdpo" else robust
    return make(conventions["label_smoothing"])


DPO = Loss(
    name="dpo",
    title="direct preference optimisation",
    equation="Eq. (14)",
    family="pairwise",
    inputs=referenced,
    evaluate=calls(losses.dpo_loss, FOUR, lambda a, c: {n: c[n] for n in ("beta", "label_smoothing", "variant")}),
    batches=PAIRS,
    parameters={
        "beta": Parameter("positive", None, 0.3, 0.7, ("beta",), "β"),
        "label_smoothing": Parameter("flip probability", 0.0, 0.1, 0.2, ("label_smoothing",), "ε"),
        "variant": Parameter(("cdpo", "robust"), "cdpo"),
        "reference_free": REFERENCE_FREE,
    },
    margins=_dpo_margins,
    objective=_dpo_objective,
    batch=losses.dpo_loss,
    optimum=optima.best_dpo,
    learns="p*",
)


def _geometric_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    inverse = 1.0 / conventions["alpha"]
    gap = inverse * log_ratio_gap(arrays) + arrays["reference_chosen"] - arrays["reference_rejected"]
    return Margins(gap, {"policy_chosen": inverse, "policy_rejected": -inverse})


GEOMETRIC = Loss(
    name="geometric",
    title="the loss of the geometric mean",
    equation="Eq. (18)",
    family="pairwise",
    inputs=lambda c: POLICIES + REFERENCES,
    evaluate=calls(losses.geometric_loss, FOUR, lambda a, c: {"alpha": c["alpha"]}),
    batches=PAIRS,
    parameters={"alpha": Parameter("positive", None, 0.7, 1.6, ("alpha",), "α")},
    margins=_geometric_margins,
    objective=lambda c: BRADLEY_TERRY,
    batch=losses.geometric_loss,
    optimum=optima.best_geometric,
    learns="p*",
)


def _pbde_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    chosen = arrays["f_chosen"] * arrays["policy_chosen"] + arrays["g_chosen"]
    rejected = arrays["f_rejected"] * arrays["policy_rejected"] + arrays["g_rejected"]
    return Margins(chosen - rejected, {"policy_chosen": arrays["f_chosen"], "policy_rejected": -arrays["f_rejected"]})


PBDE_LOSS = Loss(
    name="pbde",
    title="cross-entropy under any preference behaviour distribution equation",
    equation="Eq. (11)",
    family="pairwise",
    inputs=lambda c: POLICIES + PROCESS,
    evaluate=calls(losses.pbde_loss, names_of(POLICIES), lambda a, c: {i.name: a[i.name] for i in PROCESS}),
    batches=PAIRS,
    margins=_pbde_margins,
    objective=lambda c: BRADLEY_TERRY,
    batch=losses.pbde_loss,
    optimum=optima.best_pbde,
    learns="p*",
)


def _normalized_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    f_w, f_l = (conventions["scale"] / arrays[i.name] for i in LENGTHS)
    gap = f_w * arrays["policy_chosen"] - f_l * arrays["policy_rejected"] - conventions["margin"]
    return Margins(gap, {"policy_chosen": f_w, "policy_rejected": -f_l})


LENGTH_NORMALIZED = Loss(
    name="length_normalized",
    title="length-normalised Luce choice rule with a margin",
    equation="Eq. (26)",
    family="pairwise",
    inputs=lambda c: POLICIES + LENGTHS,
    evaluate=calls(
        losses.length_normalized_loss,
        names_of(POLICIES + LENGTHS),
        lambda a, c: {"scale": c["scale"], "margin": c["margin"]},
    ),
    batches=PAIRS,
    parameters={
        "scale": Parameter("positive", 1.0, 2.5, 4.0, ("scale", "beta"), "c"),
        "margin": Parameter("non-negative", 0.0, 0.4, 0.8, ("margin", "gamma"), "γ"),
    },
    margins=_normalized_margins,
    objective=lambda c: BRADLEY_TERRY,
    batch=losses.length_normalized_loss,
    optimum=optima.best_length_normalized,
    learns="p*",
    aliases=("simpo",),
)

CROSS_ENTROPIES = (BRADLEY_TERRY_REWARDS, DPO, PBDE_LOSS, LENGTH_NORMALIZED, GEOMETRIC)
