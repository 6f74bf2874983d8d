"""Test vectors of expected losses over small finite supports: value and gradient at a point, and the exact optimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceMatrix, PreferenceModel
from pbde_ref.catalogue import loss_named, optimum
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import expected_loss
from pbde_ref.exact.hinge import expected_slic
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.objectives import BRADLEY_TERRY, Objective
from pbde_ref.oracle.training.sample_optima import direction
from pbde_ref.pbde import PBDE, dpo, geometric_average, length_normalized, luce
from pbde_ref.proposals import JointProposal
from pbde_ref.validation import FloatArray
from pbde_ref.vectors.format import Document, Group, Test, invalid, valid

__all__ = ["POPULATION_DOCUMENTS", "evaluate"]

SMALL = {
    "preference_log_weights": [0.0, -1.5, 0.75, -2.25],
    "reference_log_weights": [-0.5, 0.25, -1.75, -1.0],
    "policy_log_weights": [0.25, -0.75, -1.25, 0.5],
}
LARGE = {
    "preference_log_weights": [0.0, -3.5, 1.25, -0.75, 2.0, -6.0],
    "reference_log_weights": [-2.5, 0.5, -0.25, -1.75, -4.0, 1.0],
    "policy_log_weights": [0.25, -0.75, -1.25, 0.5, -2.0, 1.5],
}
EVEN = {"proposal_weights": [[1.0] * 4] * 4}
CHAIN = {  # neighbours only, and one direction of some
    "proposal_weights": [
        [0.0, 8.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 5.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.25, 0.0], [0.0, 0.0, 0.0, 3.0, 0.0, 1.5], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ],
}  # fmt: skip
UNEQUAL = {
    "proposal_weights": [[0.0, 8.0, 0.25, 1.0], [0.5, 0.0, 2.0, 0.125], [4.0, 0.25, 1.0, 0.0], [0.0, 3.0, 0.0, 0.0]]
}
CYCLE = {
    "preferences": [[0.5, 0.875, 0.25, 0.75], [0.125, 0.5, 0.9375, 0.625], [0.75, 0.0625, 0.5, 0.5],
                    [0.25, 0.375, 0.5, 0.5]],
    "utilities": [0.25, -0.75, -1.25, 0.5],
}  # fmt: skip
AT_PROMPTS = {  # of two, three and two answers
    "prompts": [0, 0, 1, 1, 1, 2, 2], "lengths": [3.0, 5.0, 2.0, 9.0, 4.0, 7.0, 1.0],
    "preference_log_weights": [0.0, -1.5, 0.75, -2.25, 1.0, 0.5, -0.75],
    "policy_log_weights": [0.25, -0.75, -1.25, 0.5, -2.0, 1.5, 0.0],
    "proposal_weights": [
        [0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.25, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0],
        [0.0] * 7,
    ],
}  # fmt: skip
NEVER = {
    "preferences": [[0.5, 1.0, 1.0], [0.0, 0.5, 0.75], [0.0, 0.25, 0.5]], "utilities": [0.0, 0.5, 1.0],
    "proposal_weights": [[1.0] * 3] * 3,
}  # fmt: skip




def _populations(flag: str) -> list[Test]:
    return [
        valid("four outcomes, all pairs alike", flag, **SMALL, **EVEN),
        valid("four outcomes, unequal proposal", f"{flag} UnequalProposal", **SMALL, **UNEQUAL),
        valid("six outcomes, neighbours only", f"{flag} UnequalProposal", **LARGE, **CHAIN),
    ]


OF_LUCE, APPROXIMATE = _populations("WellSpecified"), _populations("Misspecified")

LUCE = (
    "A Luce annotator prefers A to B with probability p(A) / (p(A) + p(B)), p = softmax(preference_log_weights); the "
    "proposal draws (A, B) with probability proposal_weights[A][B], normalised. Weights need not be normalised."
)
AT = (
    "value and gradient are those of the expected loss at policy_log_weights, by these (normalisation included); "
    "optimum has the log-probabilities of the best policy, optimal_value its expected loss."
)

POPULATION_DOCUMENTS = [
    Document("population_dpo", "population", "The optimum of DPO under a Luce annotator, Eq. (16)",
             "proportional to ref(x) p(x)^(1/beta)", [Group({"beta": 0.3125}, OF_LUCE), Group({"beta": 2.5}, OF_LUCE)],
             [LUCE, AT]),
    Document("population_geometric", "population",
             "The optimum of the geometric loss under a Luce annotator, Eq. (18)",
             "proportional to ref(x)^(1-alpha) p(x)^alpha",
             [Group({"alpha": 0.375}, OF_LUCE), Group({"alpha": 2.5}, OF_LUCE)], [LUCE, AT]),
    Document("population_ipo", "population", "The optimum of IPO under a Luce annotator, Eq. (23)",
             "log(pi/ref) solves a weighted least-squares problem with targets (P(A over B) - P(B over A)) / (2 tau)",
             [Group({"tau": 0.3125}, APPROXIMATE), Group({"tau": 2.5}, APPROXIMATE)], [LUCE, AT]),
    Document("population_rso", "population", "The optimum of RSO under a Luce annotator, Eq. (21)",
             "log(pi/ref) minimises the expected max(delta - margin, 0)",
             [Group({"delta": 0.875}, APPROXIMATE)],
             [LUCE, AT, "dual[A][B], in [0, c], c = probability that A meets B and beats it, proves optimal_value: "
              "rows and columns have equal sums, and delta times the sum of all is the optimal value less that of an "
              "outcome meeting itself. Where several policies are optimal only optimal_value is comparable; unique "
              "says so."]),
    Document("population_slic", "population", "The optimum of SLiC-HF under a Luce annotator, Eq. (20) repaired",
             "minimises the expected max(delta - log(pi(A)/pi(B)), 0) of winner A, plus lambda E_ref[-log pi]",
             [Group({"delta": 0.75, "lambda": 0.375}, APPROXIMATE),
              Group({"delta": 2.25, "lambda": 0.0625}, APPROXIMATE)],
             [LUCE, AT, "The optimum is numerical, with optimal_value right to about 1e-10 of itself."]),
    Document("population_bradley_terry", "population", "The Bradley-Terry model closest to any preferences, Eq. (7)",
             "utilities that minimise the expected cross-entropy, with mean zero",
             [Group({}, [
                 valid("a cycle, all pairs alike", "Misspecified", **CYCLE, **EVEN),
                 valid("a cycle, unequal proposal", "Misspecified UnequalProposal", **CYCLE, **UNEQUAL),
                 invalid("an outcome that always wins: no finite utilities fit best", "InvalidParameter", **NEVER),
             ])],
             ["preferences[A][B] is the probability that A beats B.",
              "value and gradient are at utilities, by these; optimum are the best utilities."]),
    Document("population_prompts", "population",
             "The optimum of the length-normalised loss, Eq. (26), under a Luce annotator, at each of three prompts",
             "log pi(x|x0) = length(x) (log p(x|x0) + C(x0)) / scale, normalised at each prompt",
             [Group({"scale": scale}, [valid("three prompts", "WellSpecified UnequalProposal", **AT_PROMPTS)])
              for scale in (1.0, 3.5)],
             [LUCE, AT, "prompts[i] is the number of answer i's prompt; every softmax runs over the answers to one "
              "prompt, and nobody compares answers to two."]),
]  # fmt: skip


def _at_prompts(scale: float, inputs: Mapping[str, Any]) -> dict[str, Any]:
    prompts, process = Prompts(inputs["prompts"]), length_normalized(inputs["lengths"], scale)
    p, pi = (ConditionalDistribution(inputs[f"{who}_log_weights"], prompts) for who in ("preference", "policy"))
    annotator, proposal = Annotator(p, luce()), JointProposal(inputs["proposal_weights"])
    best = optimal_policy(annotator, process).log_pmf
    found = _expected(BRADLEY_TERRY, annotator, proposal, process.utility(pi.log_pmf), process.utility(best), best)
    slope = process.f * found["gradients"]["utilities"]
    return found | {"gradients": {"policy_log_weights": slope - pi.pmf * prompts.sums(slope)[prompts.number]}}


def evaluate(name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Expected loss and gradient at the given point, the optimum, and the expected loss there.

    Examples
    --------
    >>> inputs = {"preferences": [[0.5, 0.75], [0.25, 0.5]], "utilities": [0.0, 0.0],
    ...           "proposal_weights": [[0.0, 1.0], [0.0, 0.0]]}
    >>> evaluate("population_bradley_terry", {}, inputs)["optimum"]  # log 3 apart
    array([ 0.54930614, -0.54930614])
    """
    proposal = JointProposal(inputs["proposal_weights"])
    if name == "population_bradley_terry":
        matrix = PreferenceMatrix(inputs["preferences"])
        best = direction("bradley_terry", matrix, proposal)
        return _expected(BRADLEY_TERRY, matrix, proposal, np.array(inputs["utilities"]), best, best)
    if name == "population_prompts":
        return _at_prompts(parameters["scale"], inputs)
    loss = loss_named(name.removeprefix("population_"))
    preference = FiniteDistribution(inputs["preference_log_weights"])
    reference = FiniteDistribution(inputs["reference_log_weights"])
    annotator, logits = Annotator(preference, luce()), np.array(inputs["policy_log_weights"])
    given = {{"lambda": "lambda_"}.get(word, word): value for word, value in parameters.items()}
    found = optimum(loss.name, annotator, proposal, reference=reference, **given)
    assert found.policy is not None
    best = found.policy.log_pmf
    if loss.name == "slic":
        here = expected_slic(annotator, logits, proposal, reference=reference, **given)
        gradients = {"policy_log_weights": here.gradient}
        return {"value": here.value, "gradients": gradients, "optimum": best, "optimal_value": found.loss}
    more = {"dual": found.certificate, "unique": found.unique} if loss.name == "rso" else {}
    process = PROCESSES[loss.name](reference, given)
    assert loss.objective is not None
    objective = loss.objective({**loss.generic, **given})
    return _of_policy(objective, annotator, proposal, process, logits, best) | more


# A policy's utilities, of which the loss is a function.
PROCESSES: dict[str, Callable[[FiniteDistribution, Mapping[str, float]], PBDE]] = {
    "dpo": lambda reference, given: dpo(given["beta"], reference),
    "geometric": lambda reference, given: geometric_average(given["alpha"], reference),
    "ipo": lambda reference, given: dpo(1.0, reference),
    "rso": lambda reference, given: dpo(1.0, reference),
}


def _of_policy(
    objective: Objective, annotator: PreferenceModel, proposal: JointProposal, process: PBDE, logits: FloatArray,
    best: FloatArray,
) -> dict[str, Any]:  # fmt: skip
    """For a process with constant f, whose utilities a policy's normaliser does not matter to."""
    result = _expected(objective, annotator, proposal, process.utility(logits), process.utility(best), best)
    return result | {"gradients": {"policy_log_weights": result["gradients"]["utilities"] * process.f}}


def _expected(
    objective: Objective, annotator: PreferenceModel, proposal: JointProposal, utilities: FloatArray,
    best_utilities: FloatArray, best: FloatArray,
) -> dict[str, Any]:  # fmt: skip
    here = expected_loss(objective, annotator, utilities, proposal)
    return {
        "value": here.value,
        "gradients": {"utilities": here.gradient},
        "optimum": best,
        "optimal_value": expected_loss(objective, annotator, best_utilities, proposal).value,
    }
