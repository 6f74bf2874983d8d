"""What is used instead of one cross-entropy of pairs: hinges, squares, rankings and mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np

import pbde_ref.losses as losses
from pbde_ref.catalogue import optima
from pbde_ref.catalogue.batches import MIXTURE, PAIRS, RANKING
from pbde_ref.catalogue.ingredients import (
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
from pbde_ref.catalogue.processes import DPO
from pbde_ref.catalogue.records import Arrays, Conventions, Input, Loss, Margins, Outcome, Parameter
from pbde_ref.objectives import hinge, ipo

__all__ = ["ALTERNATIVES"]


def _ipo_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    f_w, f_l = (1.0 / arrays[i.name] if conventions["average"] else 1.0 for i in LENGTHS)
    chosen = f_w * (arrays["policy_chosen"] - arrays["reference_chosen"])
    rejected = f_l * (arrays["policy_rejected"] - arrays["reference_rejected"])
    return Margins(chosen - rejected, {"policy_chosen": f_w, "policy_rejected": np.negative(f_l)})


def _ipo_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    lengths = {i.name: arrays[i.name] for i in LENGTHS} if conventions["average"] else {}
    return {"tau": conventions["tau"], "average": conventions["average"], **lengths}


IPO = Loss(
    name="ipo",
    title="identity preference optimisation",
    equation="Eq. (23)",
    family="pairwise",
    inputs=lambda c: referenced(c) + (LENGTHS if c["average"] or c["takes_lengths"] else ()),
    evaluate=calls(losses.ipo_loss, FOUR, _ipo_keywords),
    batches=PAIRS,
    parameters={
        "tau": Parameter("positive", None, 0.3, 0.8, ("tau", "beta"), "τ"),
        "average": Parameter("switch", False),
        "takes_lengths": Parameter("switch", False),
        "reference_free": REFERENCE_FREE,
    },
    margins=_ipo_margins,
    objective=lambda c: ipo(c["tau"]),
    batch=losses.ipo_loss,
    optimum=optima.best_ipo,
    learns="rates",
)


def _rso_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    return Margins(log_ratio_gap(arrays), {"policy_chosen": 1.0, "policy_rejected": -1.0})


RSO = Loss(
    name="rso",
    title="hinge of the log-ratios, as in RSO",
    equation="Eq. (21)",
    family="pairwise",
    inputs=referenced,
    evaluate=calls(losses.rso_loss, FOUR, lambda a, c: {"delta": c["delta"]}),
    batches=PAIRS,
    parameters={
        "delta": Parameter("non-negative", None, 1.2, 3.1, ("delta",), "δ"),
        "reference_free": REFERENCE_FREE,
    },
    margins=_rso_margins,
    objective=lambda c: hinge(c["delta"]),
    batch=losses.rso_loss,
    optimum=optima.best_rso,
)


def _scaled_hinge(arrays: Arrays, conventions: Conventions) -> Outcome:
    beta = conventions["beta"]
    inputs = (arrays[name] for name in FOUR)
    value, gradients = outcome_of(
        losses.rso_loss(*inputs, delta=1.0 / beta, reduction=reduction_of(conventions)), conventions["reduction"]
    )
    return Outcome(beta * value, {name: beta * gradient for name, gradient in gradients.items()})


SCALED_HINGE = Loss(
    name="scaled_hinge",
    title="(1 - beta m)^+, which is beta times RSO's hinge at delta = 1 / beta",
    equation="Eq. (21)",
    family="pairwise",
    inputs=referenced,
    evaluate=_scaled_hinge,
    batches=PAIRS,
    parameters={
        "beta": Parameter("positive", None, 0.3, 0.7, ("beta",), "β"),
        "reference_free": REFERENCE_FREE,
    },
    margins=DPO.margins,
    objective=lambda c: hinge(1.0),
    optimum=optima.best_hinge,
    aliases=("hinge",),
)


def _slic_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    given = {"delta": conventions["delta"], "lambda_": conventions["lambda_"]}
    return given | ({"regularization": arrays["regularization"]} if conventions["lambda_"] else {})


def _slic_margins(arrays: Arrays, conventions: Conventions) -> Margins:
    slopes = {"policy_chosen": 1.0, "policy_rejected": -1.0}
    return Margins(arrays["policy_chosen"] - arrays["policy_rejected"], slopes)


SLIC = Loss(
    name="slic",
    title="SLiC-HF",
    equation="Eq. (20)",
    family="pairwise",
    inputs=lambda c: POLICIES + ((Input("regularization", "policy"),) if c["lambda_"] else ()),
    evaluate=calls(losses.slic_loss, names_of(POLICIES), _slic_keywords),
    batches=PAIRS,
    parameters={
        "delta": Parameter("non-negative", None, 1.2, 3.1, ("delta",), "δ"),
        "lambda_": Parameter("non-negative", 0.0, 0.5, None, ("lambda_",), "λ"),
    },
    margins=_slic_margins,
    objective=lambda c: hinge(c["delta"]),
    batch=losses.slic_loss,
    optimum=optima.best_slic,
)


# More than one pair, more than one annotator


def _rrhf_keywords(arrays: Arrays, conventions: Conventions) -> dict[str, Any]:
    given = {name: conventions[name] for name in ("likelihood_weight", "average_likelihood")}
    return {**given, conventions["ranking"]: arrays[conventions["ranking"]]}


RRHF = Loss(
    name="rrhf",
    title="RRHF's ranking loss with the likelihood of the best",
    equation="Eq. (19)",
    family="ranking",
    inputs=lambda c: (
        Input("policy", "policy"),
        Input("lengths", "constant", floating=False),
        Input(c["ranking"], "constant", floating=c["ranking"] == "scores"),
    ),
    evaluate=calls(losses.rrhf_loss, ("policy", "lengths"), _rrhf_keywords),
    batches=RANKING,
    parameters={
        "likelihood_weight": Parameter("non-negative", 1.0, 0.6, 0.3, ("likelihood_weight",)),
        "average_likelihood": Parameter("switch", False),
        "ranking": Parameter(("scores", "ranks"), "scores"),
    },
    batch=losses.rrhf_loss,
    optimum=optima.best_rrhf,
)

MIXTURE_LOSS = Loss(
    name="annotator_mixture",
    title="mixture of two annotators",
    equation="Eq. (30)",
    family="mixture",
    inputs=lambda c: (*POLICIES, Input("weight_logits", "policy")),
    evaluate=calls(losses.annotator_mixture_loss, (*names_of(POLICIES), "weight_logits"), lambda a, c: {}),
    batches=MIXTURE,
    batch=losses.annotator_mixture_loss,
    optimum=optima.best_mixture,
    aliases=("mixture",),
)

ALTERNATIVES = (IPO, SLIC, RSO, SCALED_HINGE, RRHF, MIXTURE_LOSS)
