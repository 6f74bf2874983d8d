"""Definitions of what is used instead of one cross-entropy of pairs: hinges, squares, rankings and mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np

import pbde_ref.losses as losses
from pbde_ref.objectives import hinge, ipo
from pbde_ref.oracle.batches import MIXTURE, PAIRS, RANKING
from pbde_ref.oracle.cases import Arrays, Conventions, Definition, Hyperparameter, Input, Margins, Outcome
from pbde_ref.oracle.definitions_of_processes import DPO
from pbde_ref.oracle.ingredients import (
    FOUR,
    LENGTHS,
    POLICIES,
    REFERENCE_FREE,
    calls,
    log_ratio_gap,
    names_of,
    outcome_of,
    reduction_of,
    referenced,
)

__all__ = ["HINGE", "IPO", "MIXTURE_LOSS", "RRHF", "RSO", "SLIC"]


def _ipo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    f_w, f_l = (1.0 / arrays[i.name] if conventions["average"] else 1.0 for i in LENGTHS)
    chosen = f_w * (arrays["policy_chosen"] - arrays["reference_chosen"])
    rejected = f_l * (arrays["policy_rejected"] - arrays["reference_rejected"])
    return Margins(chosen - rejected, {"policy_chosen": f_w, "policy_rejected": np.negative(f_l)})


def _ipo_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    lengths = {i.name: arrays[i.name] for i in LENGTHS} if conventions["average"] else {}
    return {"tau": conventions["tau"], "average": conventions["average"], **lengths}


IPO = Definition(
    "ipo",
    "identity preference optimisation, Eq. (23)",
    "pairwise",
    lambda c: referenced(c) + (LENGTHS if c["average"] or c.get("lengths_given") else ()),
    calls(losses.ipo_loss, FOUR, _ipo_keywords),
    PAIRS,
    {
        "tau": Hyperparameter(None, 0.3, 0.8, ("tau", "beta")),
        "average": Hyperparameter(False, False, None, ()),
        "reference_free": REFERENCE_FREE,
    },
    _ipo_margins,
    lambda c: ipo(c["tau"]),
)


def _rso_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    return Margins(log_ratio_gap(arrays), {"policy_chosen": 1.0, "policy_rejected": -1.0})


RSO = Definition(
    "rso",
    "hinge of the log-ratios, as in RSO, Eq. (21)",
    "pairwise",
    referenced,
    calls(losses.rso_loss, FOUR, lambda a, c: {"delta": c["delta"]}),
    PAIRS,
    {"delta": Hyperparameter(None, 1.2, 3.1, ("delta",)), "reference_free": REFERENCE_FREE},
    _rso_margins,
    lambda c: hinge(c["delta"]),
)


def _scaled_hinge(arrays: Arrays, conventions: Conventions) -> Outcome:
    beta = conventions["beta"]
    inputs = (arrays[name] for name in FOUR)
    value, gradients = outcome_of(
        losses.rso_loss(*inputs, delta=1.0 / beta, reduction=reduction_of(conventions)), conventions["reduction"]
    )
    return Outcome(beta * value, {name: beta * gradient for name, gradient in gradients.items()})


HINGE = Definition(
    "hinge",
    "(1 - beta m)^+, which is beta times Eq. (21) at delta = 1 / beta",
    "pairwise",
    referenced,
    _scaled_hinge,
    PAIRS,
    {"beta": Hyperparameter(None, 0.3, 0.7, ("beta",)), "reference_free": REFERENCE_FREE},
    DPO.margins,
    lambda c: hinge(1.0),
)


def _slic_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    given = {"delta": conventions["delta"], "lambda_": conventions["lambda_"]}
    return given | ({"regularization": arrays["regularization"]} if conventions["lambda_"] else {})


def _slic_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    slopes = {"policy_chosen": 1.0, "policy_rejected": -1.0}
    return Margins(arrays["policy_chosen"] - arrays["policy_rejected"], slopes)


SLIC = Definition(
    "slic",
    "SLiC-HF, Eq. (20)",
    "pairwise",
    lambda c: POLICIES + ((Input("regularization", "policy"),) if c["lambda_"] else ()),
    calls(losses.slic_loss, names_of(POLICIES), _slic_keywords),
    PAIRS,
    {
        "delta": Hyperparameter(None, 1.2, 3.1, ("delta",)),
        "lambda_": Hyperparameter(0.0, 0.5, None, ("lambda_",)),
    },
    _slic_margins,
    lambda c: hinge(c["delta"]),
)


# More than one pair, more than one annotator


def _rrhf_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    given = {name: conventions[name] for name in ("likelihood_weight", "average_likelihood")}
    return {**given, conventions["ranking"]: arrays[conventions["ranking"]]}


RRHF = Definition(
    "rrhf",
    "RRHF's ranking loss with the likelihood of the best, Eq. (19)",
    "ranking",
    lambda c: (
        Input("policy", "policy"),
        Input("lengths", "constant", floating=False),
        Input(c["ranking"], "constant", floating=c["ranking"] == "scores"),
    ),
    calls(losses.rrhf_loss, ("policy", "lengths"), _rrhf_keywords),
    RANKING,
    {
        "likelihood_weight": Hyperparameter(1.0, 0.6, 0.3, ("likelihood_weight",)),
        "average_likelihood": Hyperparameter(False, False, None, ()),
        "ranking": Hyperparameter("scores", "scores", None, ()),
    },
)

MIXTURE_LOSS = Definition(
    "mixture",
    "mixture of two annotators, Eq. (30)",
    "mixture",
    lambda c: (*POLICIES, Input("weight_logits", "policy")),
    calls(losses.annotator_mixture_loss, (*names_of(POLICIES), "weight_logits"), lambda a, c: {}),
    MIXTURE,
    aliases=("annotator_mixture",),
)
