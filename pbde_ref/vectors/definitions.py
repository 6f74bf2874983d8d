"""What a loss is for one example, by the text of `pbde_ref.paper`, or where the paper has none by its own formula.

The same lines run in any arithmetic: `DEFINITIONS[name](parameters, example, arithmetic)`, where `arithmetic` has `exp`
and `log`, and all numbers are of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pbde_ref import paper
from pbde_ref.vectors.derivatives import value_of

__all__ = ["DEFINITIONS", "IN_USE", "SHARED", "STEEP", "counted", "regulariser", "token_log_probabilities"]

Number = Any
Numbers = Mapping[str, Any]

# One comparison, which outcome 0 wins.
WON = [(0, 1, 1, 1)]
# Inputs that belong to all examples of a batch.
SHARED = ("weight_logits", "regularization")


def _policy(example: Numbers, arithmetic: Any) -> list[Number]:
    return [arithmetic.exp(example["policy_chosen"]), arithmetic.exp(example["policy_rejected"])]


def _reference(example: Numbers, arithmetic: Any) -> list[Number]:
    return [arithmetic.exp(example["reference_chosen"]), arithmetic.exp(example["reference_rejected"])]


def _logistic(probability: Callable[[int, int], Number], arithmetic: Any, D: Sequence[Any] = WON) -> Number:  # noqa: N803
    return paper.equation_1(D, probability, arithmetic)


def _bradley_terry(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    margin = example.get("margin", parameters.get("margin", 0))
    rewards = [example["chosen_rewards"] - margin, example["rejected_rewards"]]
    return _logistic(lambda a, b: paper.equation_2(rewards, a, b, arithmetic), arithmetic)


def _dpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    flipped, kept = parameters.get("label_smoothing", 0), 1 - parameters.get("label_smoothing", 0)
    if parameters.get("variant") == "robust":
        flipped, kept = -flipped / (kept - flipped), kept / (kept - flipped)
    pi, pre = _policy(example, arithmetic), _reference(example, arithmetic)
    # A flipped label is the other outcome's win.
    flips = [(0, 1, 1, kept), (1, 0, 1, flipped)] if flipped else WON
    return _logistic(lambda a, b: paper.equation_14(pi, pre, parameters["beta"], a, b, arithmetic), arithmetic, flips)


def _process(pi: list[Number], f: list[Number], g: list[Number], arithmetic: Any) -> Number:
    return _logistic(lambda a, b: paper.equation_11(pi, f, g, a, b, arithmetic), arithmetic)


def _pbde(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    f, g = ([example[f"{letter}_chosen"], example[f"{letter}_rejected"]] for letter in "fg")
    return _process(_policy(example, arithmetic), f, g, arithmetic)


def _geometric(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    inverse = 1 / parameters["alpha"]
    g = [(1 - inverse) * arithmetic.log(p) for p in _reference(example, arithmetic)]
    return _process(_policy(example, arithmetic), [inverse, inverse], g, arithmetic)


def _length_normalized(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    """Eq. (26) is Eq. (11) with one over the lengths; scale and margin are not the paper's."""
    scale = parameters["scale"]
    margin = parameters.get("margin", scale * parameters.get("margin_ratio", 0))
    f = [scale / example["chosen_lengths"], scale / example["rejected_lengths"]]
    return _process(_policy(example, arithmetic), f, [-margin, 0], arithmetic)


def _ipo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    if "chosen_lengths" in example:
        sides = {key: key.split("_")[1] + "_lengths" for key in example if not key.endswith("lengths")}
        example = {key: example[key] / example[length] for key, length in sides.items()}
    pi, pre = _policy(example, arithmetic), _reference(example, arithmetic)
    return paper.equation_23(WON, pi, pre, parameters["tau"], arithmetic)


def _rso(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    scale = parameters.get("gamma", 1)
    delta = parameters["delta"] if "delta" in parameters else 1 / scale
    pi, pre = _policy(example, arithmetic), _reference(example, arithmetic)
    return scale * paper.equation_21(WON, pi, pre, delta, arithmetic)


def _slic(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    return paper.equation_20(WON, [], _policy(example, arithmetic), parameters["delta"], 0, arithmetic)


def regulariser(parameters: Numbers, inputs: Numbers, arithmetic: Any) -> Number:
    """What Eq. (20) adds to the comparisons, for samples that are outcomes of equal frequency; 0 without samples."""
    pi = [arithmetic.exp(x) for x in inputs.get("regularization", [])]
    return paper.equation_20([], [1] * len(pi), pi, 0, parameters["lambda"], arithmetic) / len(pi) if pi else 0


def _rrhf(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    """Eq. (19) for each two candidates that are not tied, and the mean over the best of what it is added to."""
    scores, lengths = example["scores"], example["lengths"]
    pi = [arithmetic.exp(x) for x in example["policy"]]
    candidates = range(len(pi))
    ranked = [((i, j), 1) for i in candidates for j in candidates if scores[i] > scores[j]]
    best = [i for i in candidates if scores[i] == max(scores)]
    per_token = [arithmetic.exp(arithmetic.log(p) / n) for p, n in zip(pi, lengths, strict=True)]
    likelihood = paper.best_likelihood(
        [((i,), 1) for i in best], per_token if parameters.get("average_likelihood") else pi, arithmetic
    ) / len(best)  # fmt: skip
    return paper.equation_19(ranked, pi, lengths, arithmetic) + parameters["likelihood_weight"] * likelihood


def _annotator_mixture(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    weights = [arithmetic.exp(x) for x in example["weight_logits"]]
    policies = [
        [arithmetic.exp(a), arithmetic.exp(b)]
        for a, b in zip(example["policy_chosen"], example["policy_rejected"], strict=True)
    ]
    return _logistic(lambda a, b: paper.equation_30(weights, policies, a, b), arithmetic)


def _policy_gradient(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    """Minus what Eq. (5) sums for the sample, as an outcome of probability one, times its log-probability."""
    pi, pre = arithmetic.exp(example["held_constant"]), arithmetic.exp(example["reference"])
    (slope,) = paper.equation_5([pi], [pre], [example["rewards"]], parameters["beta"], [[1 / pi]], arithmetic)
    return -slope * example["policy"]


# --- Losses in use that the paper does not have; a and b are the log-ratios of the chosen and the rejected outcome ---


def _nll(z: Number, arithmetic: Any) -> Number:
    """-log sigma(z)"""
    return -arithmetic.log(paper.sigma(z, arithmetic))


def _of_ratios(formula: Callable[..., Number]) -> Callable[[Numbers, Numbers, Any], Number]:
    """A loss from ``formula(a, b, parameters, arithmetic)``."""

    def definition(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
        a = example["policy_chosen"] - example["reference_chosen"]
        b = example["policy_rejected"] - example["reference_rejected"]
        if "chosen_lengths" in example:
            a, b = a / example["chosen_lengths"], b / example["rejected_lengths"]
        return formula(a, b, parameters, arithmetic)

    return definition


def _exo(a: Number, b: Number, p: Numbers, arithmetic: Any) -> Number:
    return paper.bernoulli_kl(paper.sigma(p["beta"] * (a - b), arithmetic), 1 - p["epsilon"], arithmetic)


def _discopop(a: Number, b: Number, p: Numbers, arithmetic: Any) -> Number:
    m = p["beta"] * (a - b)
    s = paper.sigma(m / p["discopop_tau"], arithmetic)
    return (1 - s) * _nll(m, arithmetic) + s * arithmetic.exp(-m)


def _linked(h: Callable[..., Number]) -> Callable[[Numbers, Numbers, Any], Number]:
    """-log sigma(beta (h(a) - h(b)))"""
    return _of_ratios(
        lambda a, b, p, arithmetic: _nll(p["beta"] * (h(a, p, arithmetic) - h(b, p, arithmetic)), arithmetic)
    )


def _f_dpo_link(t: Number, p: Numbers, arithmetic: Any) -> Number:
    """f'(e^t) up to a constant."""
    if p["divergence"] == "forward_kl":
        return -arithmetic.exp(-t)
    if p["divergence"] == "js_divergence":
        return -_nll(t, arithmetic)
    if p["divergence"] == "alpha_divergence":
        return arithmetic.exp((p["alpha"] - 1) * t) / (p["alpha"] - 1)
    return t


def _clipped_chi_po(a: Number, b: Number, p: Numbers, arithmetic: Any) -> Number:
    m, most = p["beta"] * (arithmetic.exp(a) + a - arithmetic.exp(b) - b), p["bound"]
    return _nll(0 * m + most if m > most else 0 * m - most if -m > most else m, arithmetic)


def _alphapo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    alpha, margin = parameters["alpha"], parameters["margin"]
    rewards = [
        (1 - arithmetic.exp(-alpha * example[f"policy_{side}"] / example[f"{side}_lengths"])) / alpha
        for side in ("chosen", "rejected")
    ]
    return _nll(parameters["beta"] * (rewards[0] - rewards[1]) - margin, arithmetic)


def _ld_dpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    """DPO of what is left if tokens beyond the shorter answer's length are tempered."""
    whole = {n: x + parameters["share"] * example[f"{n}_excess"] for n, x in example.items() if "excess" not in n}
    return _dpo(parameters, whole, arithmetic)


def _rao_kupper(m: Number, p: Numbers, tied: bool, arithmetic: Any) -> Number:
    alpha = p["threshold"]
    won = _nll(m - alpha, arithmetic)
    return won + _nll(-m - alpha, arithmetic) - arithmetic.log(arithmetic.exp(2 * alpha) - 1) if tied else won


def _davidson(m: Number, p: Numbers, tied: bool, arithmetic: Any) -> Number:
    """From the shares of a win, a tie and a loss: e^(m/2), 2 nu and e^(-m/2)."""
    win, tie, loss = arithmetic.exp(m / 2), 2 * p["tendency"], arithmetic.exp(-m / 2)
    return arithmetic.log(win + tie + loss) - arithmetic.log(tie if tied else win)


def _with_ties(formula: Callable[..., Number]) -> Callable[[Numbers, Numbers, Any], Number]:
    def definition(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
        ratios = _of_ratios(lambda a, b, p, arithmetic: formula(p["beta"] * (a - b), p, example["ties"], arithmetic))
        return ratios(parameters, example, arithmetic)

    return definition


def _targets(a: Number, b: Number, p: Numbers) -> Number:
    return (a - 1 / (2 * p["beta"])) ** 2 + (b + 1 / (2 * p["beta"])) ** 2


def _with_likelihood(loss: Callable[..., Number]) -> Callable[[Numbers, Numbers, Any], Number]:
    """Less the weight times the log-likelihood of the chosen outcome, per token where lengths are there."""

    def definition(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
        likelihood = example["policy_chosen"]
        if "chosen_lengths" in example:
            likelihood = likelihood / example["chosen_lengths"]
        return loss(parameters, example, arithmetic) - parameters["likelihood_weight"] * likelihood

    return definition


def _sums_only(example: Numbers) -> Numbers:
    return {key: x for key, x in example.items() if not key.endswith("lengths")}


def _cpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    return _nll(parameters["beta"] * (example["policy_chosen"] - example["policy_rejected"]), arithmetic)


def _orpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    per_token = [
        arithmetic.exp(example[f"policy_{side}"] / example[f"{side}_lengths"]) for side in ("chosen", "rejected")
    ]
    odds = [arithmetic.log(p / (1 - p)) for p in per_token]
    return parameters["beta"] * _nll(odds[0] - odds[1], arithmetic)


def _soft_dpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    pi, pre = _policy(example, arithmetic), _reference(example, arithmetic)
    kept = example["labels"]
    answers = [(0, 1, 1, kept), (1, 0, 1, 1 - kept)]
    return _logistic(lambda a, b: paper.equation_14(pi, pre, parameters["beta"], a, b, arithmetic), arithmetic, answers)


def _wpo(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
    """DPO, weighted by both answers' probabilities per token, into which no gradient flows."""
    per_token = sum(value_of(example[f"policy_{side}"]) / example[f"{side}_lengths"] for side in ("chosen", "rejected"))
    return arithmetic.exp(per_token) * _dpo(parameters, _sums_only(example), arithmetic)


def _of_answers(good: Callable[..., Number], bad: Callable[..., Number]) -> Callable[[Numbers, Numbers, Any], Number]:
    def definition(parameters: Numbers, example: Numbers, arithmetic: Any) -> Number:
        wanted = example["desirable"]
        t = example["policy"] - example["reference"] - parameters["baseline"]
        z = parameters["beta"] * t
        weight = parameters["desirable_weight" if wanted else "undesirable_weight"]
        return weight * (good if wanted else bad)(z, arithmetic)

    return definition


IN_USE: dict[str, Callable[[Numbers, Numbers, Any], Number]] = {
    "exo": _of_ratios(_exo),
    "discopop": _of_ratios(_discopop),
    "odpo": _of_ratios(lambda a, b, p, arithmetic: _nll(p["beta"] * (a - b) - p["offset"], arithmetic)),
    "clipped_chi_po": _of_ratios(_clipped_chi_po),
    "alphapo": _alphapo,
    "ld_dpo": _ld_dpo,
    "rao_kupper": _with_ties(_rao_kupper),
    "davidson": _with_ties(_davidson),
    "ln_dpo": _of_ratios(lambda a, b, p, arithmetic: _nll(p["beta"] * (a - b), arithmetic)),
    "f_dpo": _linked(_f_dpo_link),
    "chi_po": _linked(lambda t, p, arithmetic: arithmetic.exp(t) + t),
    "squared_po": _linked(lambda t, p, arithmetic: t * arithmetic.exp(-t)),
    "nca": _of_ratios(
        lambda a, b, p, arithmetic: _nll(p["beta"] * a, arithmetic)
        + (_nll(-p["beta"] * a, arithmetic) + _nll(-p["beta"] * b, arithmetic)) / 2
    ),
    "bco": _of_ratios(
        lambda a, b, p, arithmetic: _nll(p["beta"] * (a - p["baseline"]), arithmetic)
        + _nll(p["beta"] * (p["baseline"] - b), arithmetic)
    ),
    "sppo": _of_ratios(lambda a, b, p, arithmetic: _targets(a, b, p)),
    "apo_zero": _of_ratios(
        lambda a, b, p, arithmetic: paper.sigma(-p["beta"] * a, arithmetic) + paper.sigma(p["beta"] * b, arithmetic)
    ),
    "apo_down": _of_ratios(
        lambda a, b, p, arithmetic: paper.sigma(p["beta"] * a, arithmetic)
        + paper.sigma(p["beta"] * (b - a), arithmetic)
    ),
    "cal_dpo": _of_ratios(lambda a, b, p, arithmetic: _nll(a - b, arithmetic) + _targets(a, b, p)),
    "dpop": _of_ratios(
        lambda a, b, p, arithmetic: _nll(p["beta"] * (a - b - p["penalty"] * paper.positive_part(-a)), arithmetic)
    ),
    "bpo": _of_ratios(
        lambda a, b, p, arithmetic: _nll(
            p["beta"] * (a - paper.positive_part(a + p["balance"] * b)), arithmetic
        )
    ),
    "soft_dpo": _soft_dpo,
    "wpo": _wpo,
    "centred_reward": lambda p, example, arithmetic: (
        _nll(example["chosen_rewards"] - example["rejected_rewards"], arithmetic)
        + p["coefficient"] * (example["chosen_rewards"] + example["rejected_rewards"]) ** 2
    ),
    "rpo": _with_likelihood(lambda p, example, arithmetic: _dpo(p, _sums_only(example), arithmetic)),
    "cpo": _with_likelihood(_cpo),
    "orpo": _with_likelihood(_orpo),
    "kto": _of_answers(
        lambda z, arithmetic: paper.sigma(-z, arithmetic), lambda z, arithmetic: paper.sigma(z, arithmetic)
    ),
    "bco_single": _of_answers(_nll, lambda z, arithmetic: _nll(-z, arithmetic)),
}  # fmt: skip

# With exponentials of log-ratios, which far apart are no doubles.
STEEP = ("alphapo", "clipped_chi_po", "discopop", "f_dpo", "chi_po", "squared_po")

DEFINITIONS: dict[str, Callable[[Numbers, Numbers, Any], Number]] = {
    "annotator_mixture": _annotator_mixture, "bradley_terry": _bradley_terry, "dpo": _dpo, "geometric": _geometric,
    "ipo": _ipo, "length_normalized": _length_normalized, "pbde": _pbde, "policy_gradient": _policy_gradient,
    "rrhf": _rrhf, "rso": _rso, "slic": _slic, **IN_USE,
}  # fmt: skip


def counted(labels: Sequence[int], prompt: int, end: int, padding: int) -> list[int]:
    """Positions of the completion's tokens: up to its first end, which counts; padding does not."""
    positions: list[int] = []
    for position in range(prompt, len(labels)):
        if labels[position] == end:
            return [*positions, position]
        if labels[position] != padding:
            positions.append(position)
    return positions


def token_log_probabilities(logits: Sequence[Any], labels: Sequence[int], arithmetic: Any) -> list[Number]:
    """The log of softmax of each row of logits at its label."""
    return [
        row[label] - arithmetic.log(sum(arithmetic.exp(z) for z in row))
        for row, label in zip(logits, labels, strict=False)
    ]
