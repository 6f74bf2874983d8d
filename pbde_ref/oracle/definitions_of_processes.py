"""Definitions of the cross-entropy losses: rewards, and policies under a preference behaviour distribution equation."""

from __future__ import annotations

from typing import Any

import pbde_ref.losses as losses
from pbde_ref.objectives import BRADLEY_TERRY, Objective, robust, smoothed
from pbde_ref.oracle.batches import PAIRS, REWARDS
from pbde_ref.oracle.cases import Arrays, Conventions, Definition, Hyperparameter, Input, Margins
from pbde_ref.oracle.ingredients import (
    FOUR,
    LENGTHS,
    PER_EXAMPLE,
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

__all__ = ["BRADLEY_TERRY_REWARDS", "DPO", "GEOMETRIC", "LENGTH_NORMALIZED", "PBDE_LOSS"]


# Bradley–Terry rewards


def _reward_margin(arrays: Arrays, conventions: Conventions) -> Any:
    return arrays["margins"] if conventions["margin"] == PER_EXAMPLE else conventions["margin"]


def _reward_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    gap = arrays["chosen_rewards"] - arrays["rejected_rewards"] - _reward_margin(arrays, conventions)
    return Margins(gap, {"chosen_rewards": 1.0, "rejected_rewards": -1.0})


BRADLEY_TERRY_REWARDS = Definition(
    "bradley_terry",
    "Bradley–Terry reward loss, Eq. (1) and (2)",
    "pairwise",
    lambda c: (*REWARD_PAIR, *([Input("margins", "constant")] if c["margin"] == PER_EXAMPLE else [])),
    calls(losses.bradley_terry_loss, names_of(REWARD_PAIR), lambda a, c: {"margin": _reward_margin(a, c)}),
    REWARDS,
    {"margin": Hyperparameter(0.0, 0.4, 0.8, ("margin",))},
    _reward_margins,
    lambda c: BRADLEY_TERRY,
    aliases=("reward",),
)


# DPO and its relatives


def _dpo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    beta = conventions["beta"]
    return Margins(beta * log_ratio_gap(arrays), {"policy_chosen": beta, "policy_rejected": -beta})


def _dpo_objective(conventions: Conventions) -> Objective:
    make = smoothed if conventions["variant"] == "cdpo" else robust
    return make(conventions["label_smoothing"])


DPO = Definition(
    "dpo",
    "direct preference optimisation, Eq. (14)",
    "pairwise",
    referenced,
    calls(losses.dpo_loss, FOUR, lambda a, c: {n: c[n] for n in ("beta", "label_smoothing", "variant")}),
    PAIRS,
    {
        "beta": Hyperparameter(None, 0.3, 0.7, ("beta",)),
        "label_smoothing": Hyperparameter(0.0, 0.1, 0.2, ("label_smoothing",)),
        "variant": Hyperparameter("cdpo", "cdpo", None, ()),
        "reference_free": REFERENCE_FREE,
    },
    _dpo_margins,
    _dpo_objective,
)


def _geometric_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    inverse = 1.0 / conventions["alpha"]
    gap = inverse * log_ratio_gap(arrays) + arrays["reference_chosen"] - arrays["reference_rejected"]
    return Margins(gap, {"policy_chosen": inverse, "policy_rejected": -inverse})


GEOMETRIC = Definition(
    "geometric",
    "the loss of the geometric mean, Eq. (18)",
    "pairwise",
    lambda c: POLICIES + REFERENCES,
    calls(losses.geometric_loss, FOUR, lambda a, c: {"alpha": c["alpha"]}),
    PAIRS,
    {"alpha": Hyperparameter(None, 0.7, 1.6, ("alpha",))},
    _geometric_margins,
    lambda c: BRADLEY_TERRY,
)


def _pbde_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    chosen = arrays["f_chosen"] * arrays["policy_chosen"] + arrays["g_chosen"]
    rejected = arrays["f_rejected"] * arrays["policy_rejected"] + arrays["g_rejected"]
    return Margins(chosen - rejected, {"policy_chosen": arrays["f_chosen"], "policy_rejected": -arrays["f_rejected"]})


PBDE_LOSS = Definition(
    "pbde",
    "cross-entropy under any preference behaviour distribution equation, Eq. (11)",
    "pairwise",
    lambda c: POLICIES + PROCESS,
    calls(losses.pbde_loss, names_of(POLICIES), lambda a, c: {i.name: a[i.name] for i in PROCESS}),
    PAIRS,
    {},
    _pbde_margins,
    lambda c: BRADLEY_TERRY,
)


def _normalized_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    f_w, f_l = (conventions["scale"] / arrays[i.name] for i in LENGTHS)
    gap = f_w * arrays["policy_chosen"] - f_l * arrays["policy_rejected"] - conventions["margin"]
    return Margins(gap, {"policy_chosen": f_w, "policy_rejected": -f_l})


LENGTH_NORMALIZED = Definition(
    "length_normalized",
    "length-normalised Luce choice rule with a margin, Eq. (26)",
    "pairwise",
    lambda c: POLICIES + LENGTHS,
    calls(
        losses.length_normalized_loss,
        names_of(POLICIES + LENGTHS),
        lambda a, c: {"scale": c["scale"], "margin": c["margin"]},
    ),
    PAIRS,
    {
        "scale": Hyperparameter(1.0, 2.5, 4.0, ("scale", "beta")),
        "margin": Hyperparameter(0.0, 0.4, 0.8, ("margin", "gamma")),
    },
    _normalized_margins,
    lambda c: BRADLEY_TERRY,
    aliases=("simpo",),
)
