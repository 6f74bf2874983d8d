"""Test vectors of losses: log-probabilities of sequences (or rewards) in, the loss and its gradients out.

All inputs and parameters are exact in bfloat16, so that an implementation in low precision is not blamed for rounding
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pbde_ref import losses
from pbde_ref.catalogue import LOSSES
from pbde_ref.catalogue.records import Loss
from pbde_ref.losses.result import BatchLoss
from pbde_ref.vectors.definitions import IN_USE, STEEP
from pbde_ref.vectors.format import Document, Group, Test, acceptable, invalid, valid

__all__ = ["SEQUENCE_DOCUMENTS", "evaluate"]

TINY = 2.0**-30

POLICY = {"policy_chosen": [-12.5, -3.75, -41.0, -7.25], "policy_rejected": [-10.25, -9.5, -38.5, -7.75]}
REFERENCE = {"reference_chosen": [-13.0, -3.25, -44.5, -6.5], "reference_rejected": [-9.75, -11.0, -37.25, -8.5]}
LENGTHS = {"chosen_lengths": [5, 2, 17, 3], "rejected_lengths": [4, 7, 15, 6]}
FAR_POLICY = {"policy_chosen": [-2.5, -240.0, -1000.0], "policy_rejected": [-152.0, -1.5, -4.0]}
FAR_REFERENCE = {"reference_chosen": [-3.0, -20.5, -6.5], "reference_rejected": [-2.75, -24.0, -9.0]}
FAR_LENGTHS = {"chosen_lengths": [3, 2, 4], "rejected_lengths": [2, 5, 3]}
SURE_POLICY = {"policy_chosen": [-3.0 * TINY, -5.5], "policy_rejected": [-TINY, -7.0 * TINY]}
SURE_REFERENCE = {"reference_chosen": [-0.5, -2.25], "reference_rejected": [-64.0 * TINY, -16.0 * TINY]}
SURE_LENGTHS = {"chosen_lengths": [3, 2], "rejected_lengths": [4, 5]}

SUM = "The loss is summed over the batch, not averaged."


def _first(values: Mapping[str, list[Any]], count: int = 1) -> dict[str, list[Any]]:
    return {name: entries[:count] for name, entries in values.items()}


def _start(reference: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The reference as policy."""
    return {name.replace("reference", "policy"): values for name, values in reference.items()}


def _with_reference(name: str, title: str, formula: str, groups: list[dict[str, Any]], **more: Any) -> Document:
    """A loss of the four vectors of log-probabilities: the same tests for each group of parameters."""
    tests = [
        valid("four pairs", "Generic", **POLICY, **REFERENCE),
        valid("one pair", "SingleExample", **_first(POLICY), **_first(REFERENCE)),
        valid("the policy is the reference", "FirstStep", **_start(REFERENCE), **REFERENCE),
        valid("margins of hundreds, of both signs", "ExtremeGap", **FAR_POLICY, **FAR_REFERENCE),
        valid("rejected sequences of probability almost 1", "NearCertain", **SURE_POLICY, **SURE_REFERENCE),
    ]
    valid_groups = [Group(parameters, tests) for parameters in groups]
    summed = Group(
        {**groups[0], "reduction": "sum"}, [acceptable("four pairs", "Generic", **POLICY, **REFERENCE)], SUM
    )
    refused = [
        invalid("three rejected sequences for four chosen ones", "InvalidShape", **POLICY,
                reference_chosen=REFERENCE["reference_chosen"],
                reference_rejected=REFERENCE["reference_rejected"][:3]),
        invalid("an empty batch", "InvalidShape", **_first(POLICY, 0), **_first(REFERENCE, 0)),
        invalid("a negative log-likelihood where a log-probability belongs", "InvalidLogProbability",
                **{**_first(POLICY), "policy_chosen": [12.5]}, **_first(REFERENCE)),
    ]  # fmt: skip
    bad = [Group(parameters, [_refused_parameter(**POLICY, **REFERENCE)]) for parameters in more.pop("bad", [])]
    return Document(
        name, "sequence", title, formula,
        [*valid_groups, summed, *more.pop("others", []), Group(groups[0], refused), *bad], **more,
    )  # fmt: skip


def _refused_parameter(**inputs: Any) -> Test:
    return invalid("four pairs, a parameter outside the definition", "InvalidParameter", **inputs)


def _reference_free(
    name: str, title: str, formula: str, groups: list[dict[str, Any]], *, lengths: bool = False, **more: Any
) -> Document:
    """A loss of the policy alone."""
    here, far, sure = (LENGTHS, FAR_LENGTHS, SURE_LENGTHS) if lengths else ({}, {}, {})
    tests = [
        valid("four pairs", "Generic ReferenceFree", **POLICY, **here),
        valid("one pair", "SingleExample", **_first(POLICY), **_first(here)),
        valid("margins of hundreds, of both signs", "ExtremeGap", **FAR_POLICY, **far),
        valid("rejected sequences of probability almost 1", "NearCertain", **SURE_POLICY, **sure),
    ]
    summed = Group({**groups[0], "reduction": "sum"}, [acceptable("four pairs", "Generic", **POLICY, **here)], SUM)
    refused = [
        invalid("an empty batch", "InvalidShape", **_first(POLICY, 0), **_first(here, 0)),
        invalid("a negative log-likelihood where a log-probability belongs", "InvalidLogProbability",
                **{**_first(POLICY), "policy_chosen": [12.5]}, **_first(here)),
        *([invalid("a sequence of no tokens", "InvalidLength", **_first(POLICY),
                   chosen_lengths=[0], rejected_lengths=[4])] if lengths else []),
    ]  # fmt: skip
    bad = [Group(parameters, [_refused_parameter(**POLICY, **here)]) for parameters in more.pop("bad", [])]
    return Document(
        name, "sequence", title, formula,
        [*(Group(parameters, tests) for parameters in groups), summed, *more.pop("others", []),
         Group(groups[0], refused), *bad], **more,
    )  # fmt: skip


REWARDS = {"chosen_rewards": [1.25, 0.5, -2.0, 3.75], "rejected_rewards": [-0.5, 2.25, -2.75, 0.125]}
FAR_REWARDS = {"chosen_rewards": [300.0, -250.0], "rejected_rewards": [-200.0, 500.0]}
MIXTURE = {
    "policy_chosen": [[-6.0, -2.5], [-9.25, -4.0], [-3.75, -8.0]],
    "policy_rejected": [[-5.0, -7.25], [-3.5, -1.75], [-8.5, -0.5]],
    "weight_logits": [-0.75, 0.5],
}
FAR_MIXTURE = {
    "policy_chosen": [[-240.0, -2.5], [-TINY, -3.0 * TINY]],
    "policy_rejected": [[-1.5, -152.0], [-44.0, -60.0]],
    "weight_logits": [4.0, -3.5],
}
RANKING = {
    "policy": [[-8.0, -3.0, -6.5, -10.0], [-2.25, -9.0, -5.0, -3.5]],
    "lengths": [[4, 3, 2, 8], [3, 6, 2, 7]],
    "scores": [[0.5, 2.25, -1.0, 1.5], [1.75, -0.5, 3.0, 0.25]],
}
TIED = {"policy": [[-8.0, -3.0, -6.5]], "lengths": [[4, 3, 2]], "scores": [[2.25, -1.0, 2.25]]}
PROCESS = {
    "f_chosen": [0.5, 1.75, 0.25, 3.0], "f_rejected": [0.75, 0.375, 0.5, 2.5],
    "g_chosen": [-1.0, 2.5, 0.25, -4.0], "g_rejected": [1.5, -0.75, 3.25, -5.5],
}  # fmt: skip
ON_THE_KINK = {"policy_chosen": [-5.0, -7.0], "policy_rejected": [-7.5, -6.25]}
KINK_REFERENCE = {"reference_chosen": [-4.0, -6.0], "reference_rejected": [-5.0, -3.75]}

SEQUENCE_DOCUMENTS = [
    _with_reference(
        "dpo", "Direct preference optimisation, Eq. (14), with label smoothing",
        "-log sigmoid(m), m = beta (log(pi/ref)(chosen) - log(pi/ref)(rejected)); with smoothing e: "
        "cdpo -(1-e) log sigmoid(m) - e log sigmoid(-m), "
        "robust [-(1-e) log sigmoid(m) + e log sigmoid(-m)] / (1-2e)",
        [{"beta": 0.3125}, {"beta": 2.5}, {"beta": 0.3125, "label_smoothing": 0.125, "variant": "cdpo"},
         {"beta": 0.3125, "label_smoothing": 0.125, "variant": "robust"}],
        bad=[{"beta": 0.0}, {"beta": 0.3125, "label_smoothing": 0.5, "variant": "robust"}],
    ),
    _with_reference(
        "geometric", "The loss whose optimum is a geometric mean, Eq. (18)",
        "-log sigmoid(m), m = (1/alpha) (log(pi/ref)(chosen) - log(pi/ref)(rejected)) + log(ref(chosen)/ref(rejected))",
        [{"alpha": 0.375}, {"alpha": 2.5}], bad=[{"alpha": -0.5}],
    ),
    _with_reference(
        "ipo", "Identity preference optimisation, Eq. (23)",
        "(m - 1/(2 tau))^2, m = log(pi/ref)(chosen) - log(pi/ref)(rejected); log-probabilities summed over tokens",
        [{"tau": 0.3125}, {"tau": 2.5}], bad=[{"tau": 0.0}],
        others=[Group(
            {"tau": 0.3125, "average": True},
            [acceptable("four pairs", "Generic", **POLICY, **REFERENCE, **LENGTHS)],
            "Each log-probability is divided by its sequence's number of tokens, as TRL, HALOs and LLaMA-Factory do; "
            "gradients are with respect to the sums.",
        )],
    ),
    _with_reference(
        "rso", "SLiC normalised by the reference, as in RSO, Eq. (21)",
        "max(delta - m, 0), m = log(pi/ref)(chosen) - log(pi/ref)(rejected)",
        [{"delta": 0.75}, {"delta": 2.5}], bad=[{"delta": -0.5}],
        others=[
            Group({"gamma": 0.3125}, [acceptable("four pairs", "Generic", **POLICY, **REFERENCE)],
                  "max(1 - gamma m, 0), as in Liu et al. and most code: gamma times the loss at delta = 1/gamma."),
            Group({"delta": 1.5}, [valid("margins of exactly delta", "Kink", **ON_THE_KINK, **KINK_REFERENCE)]),
        ],
    ),
    _reference_free(
        "slic", "SLiC-HF-direct with its regulariser, Eq. (20) repaired",
        "mean max(delta - log(pi(chosen)/pi(rejected)), 0) - lambda mean(regularization)",
        [{"delta": 0.75}, {"delta": 2.5}], bad=[{"delta": -0.5}],
        others=[
            Group({"delta": 0.75, "lambda": 0.375},
                  [valid("with three samples for the regulariser", "Generic", **POLICY,
                         regularization=[-3.5, -20.0, -7.75])]),
            Group({"delta": 2.5}, [valid("margins of exactly delta and of less", "Kink", **ON_THE_KINK)]),
        ],
        notes=["Eq. (20) is printed with the bracket delta - (...)^+, from which delta drops out."],
    ),
    _reference_free(
        "length_normalized", "The length-normalised Luce rule, Eq. (26), with scale and margin (SimPO)",
        "-log sigmoid(scale log pi(chosen)/|chosen| - scale log pi(rejected)/|rejected| - margin)",
        [{"scale": 2.5}, {"scale": 0.375, "margin": 0.75}], lengths=True, bad=[{"scale": 0.0}, {"margin": -0.5}],
        others=[Group({"scale": 2.5, "margin_ratio": 0.3125},
                      [acceptable("four pairs", "Generic", **POLICY, **LENGTHS)],
                      "The margin is given as its ratio to the scale: margin = scale * margin_ratio.")],
    ),
    Document(
        "pbde", "sequence", "Cross-entropy under any preference behaviour distribution equation, Eq. (11)",
        "-log sigmoid(f_chosen log pi(chosen) + g_chosen - f_rejected log pi(rejected) - g_rejected)",
        [
            Group({}, [
                valid("four pairs", "Generic ReferenceFree", **POLICY, **PROCESS),
                valid("margins of hundreds, of both signs", "ExtremeGap", **FAR_POLICY, **{
                    name: values[:3] for name, values in PROCESS.items()}),
                invalid("a process that prefers the less probable", "InvalidParameter", **_first(POLICY), **{
                    **_first(PROCESS), "f_chosen": [-0.5]}),
            ]),
            Group({"reduction": "sum"}, [acceptable("four pairs", "Generic", **POLICY, **PROCESS)], SUM),
        ],
    ),
    Document(
        "bradley_terry", "sequence", "The reward model's loss, Eq. (1), with a margin",
        "-log sigmoid(chosen_rewards - rejected_rewards - margin)",
        [
            *(Group(parameters, [
                valid("four pairs", "Generic", **REWARDS),
                valid("one pair", "SingleExample", **_first(REWARDS)),
                valid("margins of hundreds, of both signs", "ExtremeGap", **FAR_REWARDS),
            ]) for parameters in ({}, {"margin": 0.75})),
            Group({}, [valid("a margin for each pair", "Generic", **REWARDS, margin=[0.25, 0.625, 1.5, 0.375]),
                       invalid("three rejected rewards for four chosen ones", "InvalidShape",
                               chosen_rewards=REWARDS["chosen_rewards"],
                               rejected_rewards=REWARDS["rejected_rewards"][:3])]),
            Group({"reduction": "sum"}, [acceptable("four pairs", "Generic", **REWARDS)], SUM),
        ],
    ),
    Document(
        "rrhf", "sequence", "RRHF, Eq. (19) repaired, with the likelihood of the best candidate",
        "sum over ranked pairs of max(p_worse - p_better, 0) - likelihood_weight log pi(best), p = log pi / length",
        [
            *(Group(parameters, [
                valid("two prompts, four candidates each", "Generic ReferenceFree", **RANKING),
                valid("the two best are tied: the likelihood term is their mean", "Ties", **TIED),
            ]) for parameters in ({"likelihood_weight": 0.0}, {"likelihood_weight": 0.375})),
            Group({"likelihood_weight": 0.375, "average_likelihood": True},
                  [acceptable("two prompts, four candidates each", "Generic", **RANKING)],
                  "The likelihood of the best candidate is per token too."),
            Group({"likelihood_weight": 0.0},
                  [invalid("a candidate of no tokens", "InvalidLength", **{**TIED, "lengths": [[4, 0, 2]]})]),
        ],
        ["Eq. (19) is printed with -(p_better - p_worse)^+, which rewards without bound a margin that is right."],
    ),
    Document(
        "annotator_mixture", "sequence", "A mixture of Luce annotators, each with a policy of its own, Eq. (30)",
        "-log sum_i w_i sigmoid(policy_chosen_i - policy_rejected_i), w = softmax(weight_logits)",
        [
            Group({}, [valid("three pairs, two annotators", "Generic ReferenceFree", **MIXTURE),
                       valid("annotators that are sure, of both signs", "ExtremeGap NearCertain", **FAR_MIXTURE),
                       invalid("weights for three annotators, policies of two", "InvalidShape",
                               **{**MIXTURE, "weight_logits": [0.0, 0.5, 1.0]})]),
            Group({"reduction": "sum"}, [acceptable("three pairs, two annotators", "Generic", **MIXTURE)], SUM),
        ],
    ),
    Document(
        "policy_gradient", "sequence", "The surrogate of the KL-controlled policy gradient, Eq. (5)",
        "-A policy, A = rewards - beta (policy - reference) held constant; its gradient is -A / batch size",
        [
            Group({"beta": 0.3125}, [
                valid("four samples", "Generic", policy=POLICY["policy_chosen"],
                      reference=REFERENCE["reference_chosen"], rewards=REWARDS["chosen_rewards"]),
            ]),
            Group({"beta": -0.5}, [
                invalid("a penalty that rewards leaving the reference", "InvalidParameter", policy=[-12.5],
                        reference=[-13.0], rewards=[1.25]),
            ]),
        ],
    ),
]  # fmt: skip


# --- Losses in use: their tests follow from their records ---

# Their kink is where the policy is the reference.
WITH_A_KINK = ("dpop", "bpo")
LABELS = [0.75, 0.25, 1.0, 0.5]


def _answers(policy: Mapping[str, list[float]], reference: Mapping[str, list[float]]) -> dict[str, list[Any]]:
    """Pairs' outcomes as single answers, every other one desirable."""
    answers = [*policy["policy_chosen"], *policy["policy_rejected"]]
    return {
        "policy": answers, "reference": [*reference["reference_chosen"], *reference["reference_rejected"]],
        "desirable": [1 - place % 2 for place in range(len(answers))],
    }  # fmt: skip


def _of_record(record: Loss) -> Document:
    """The same tests for each choice of parameters; the words of a parameter are all tried."""
    words = {name: p.rule for name, p in record.parameters.items() if isinstance(p.rule, tuple)}
    generic = {name: _dyadic(value) for name, value in record.generic.items() if isinstance(value, float)}
    other = {name: _dyadic(p.other) for name, p in record.parameters.items() if isinstance(p.other, float)}
    spelled = [{}] if not words else [{name: word} for name, rule in words.items() for word in rule]
    groups = [numbers | spelling for spelling in spelled for numbers in (generic, generic | other)]
    names = [i.name for i in record.inputs(record.generic)]

    def batch(
        policy: dict[str, list[float]], reference: dict[str, list[float]], lengths: Any, rewards: Any = REWARDS
    ) -> dict[str, Any]:
        labels = {"labels": LABELS[: len(policy["policy_chosen"])]}
        everything = policy | reference | lengths | rewards | labels | _answers(policy, reference)
        everything["ties"] = [place % 2 for place in range(len(policy["policy_chosen"]))]
        everything |= {f"{n}_excess": [x / 4.0 for x in values] for n, values in (policy | reference).items()}
        return {name: everything[name] for name in names}

    generic_batch = batch(POLICY, REFERENCE, LENGTHS)
    tests = [
        valid("a generic batch", "Generic" if record.has_reference else "Generic ReferenceFree", **generic_batch),
        valid("one example", "SingleExample", **_first(generic_batch)),
    ]
    if record.has_policy:
        sure = batch(SURE_POLICY, SURE_REFERENCE, SURE_LENGTHS)
        tests.append(valid("probabilities of almost 1", "NearCertain", **sure))
    if record.has_reference:
        flags = "FirstStep Kink" if record.name in WITH_A_KINK else "FirstStep"
        tests.append(valid("the policy is the reference", flags, **batch(_start(REFERENCE), REFERENCE, LENGTHS)))
    if record.name not in STEEP:
        far = batch(FAR_POLICY, FAR_REFERENCE, FAR_LENGTHS, FAR_REWARDS)
        tests.append(valid("margins of hundreds, of both signs", "ExtremeGap", **far))
    summed = Group({**groups[0], "reduction": "sum"}, [acceptable("a generic batch", "Generic", **generic_batch)], SUM)
    shorter = {**generic_batch, names[0]: [-1.0]}
    refused = Group(groups[0], [
        invalid("arrays of different lengths", "InvalidShape", **shorter),
        invalid("an empty batch", "InvalidShape", **_first(generic_batch, 0)),
    ])  # fmt: skip
    bad = Group(dict.fromkeys(groups[0], -0.5), [_refused_parameter(**generic_batch)])
    everything = [*(Group(parameters, tests) for parameters in groups), summed, refused, bad]
    return Document(record.name, "sequence", record.title, record.formula, everything, [record.source])


def _dyadic(number: float) -> float:
    """A parameter near it that is exact in bfloat16, and not a whole number where it was none."""
    return round(number * 16) / 16 if number >= 0.125 else round(number * 256) / 256


SEQUENCE_DOCUMENTS += [_of_record(LOSSES[name]) for name in IN_USE]

FUNCTIONS: dict[str, Callable[..., BatchLoss]] = {
    **{record.name: record.batch for record in LOSSES.values() if record.batch},
    "policy_gradient": losses.kl_controlled_policy_gradient_loss,
}


def evaluate(name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The loss, each example's own loss, and the gradients of the loss.

    Examples
    --------
    >>> inputs = {"chosen_rewards": [3.0, 1.0], "rejected_rewards": [1.0, 1.0]}
    >>> evaluate("bradley_terry", {"reduction": "sum"}, inputs)["value"]
    0.820075...
    """
    scale, given = 1.0, dict(parameters)
    if "lambda" in given:
        given["lambda_"] = given.pop("lambda")
    if "gamma" in given:
        scale = given.pop("gamma")
        given["delta"] = 1.0 / scale
    if "margin_ratio" in given:
        given["margin"] = given["scale"] * given.pop("margin_ratio")
    result = FUNCTIONS[name](**inputs, **given)
    return {
        "value": scale * result.value,
        "losses": scale * result.losses,
        "gradients": {argument: scale * gradient for argument, gradient in result.gradients.items()},
    }
