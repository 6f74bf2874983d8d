"""Every number of a test vector that has an equation in the paper, held against the text of `pbde_ref.paper`.

The text computes in decimals: a number of the vector must be its value, a gradient its derivative from above or lie
between those from both sides. Ways from logits to log-probabilities, and solvers' proofs, have no equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, getcontext, localcontext
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from pbde_ref import paper

__all__ = ["checked"]


def _remembered(function: Callable[[Decimal], Decimal]) -> Callable[[Decimal], Decimal]:
    """A derivative moves one input, and most of what the text computes of the others is what it was."""
    known = lru_cache(4096)(lambda x, digits: function(x))
    return lambda x: known(x, getcontext().prec)


DECIMAL = SimpleNamespace(exp=_remembered(Decimal.exp), log=_remembered(Decimal.ln))
# One comparison, which outcome 0 wins.
WON = [(0, 1, 1, 1)]
# Inputs that belong to all examples of a batch.
SHARED = ("weight_logits", "regularization")
STEP = Decimal("1e-30")
MOST_DIGITS = 420
# Margins of thousands are rounded to 1e-13 of themselves, and with them losses and gradients.
RELATIVE = Decimal("1e-11")
# Doubles end at 1e-308; sums over pairs in a population's gradient, of size 1, are rounded.
LEAST, ROUNDING = Decimal("1e-300"), Decimal("1e-14")
# A numerical optimum's loss.
NUMERICAL = Decimal("1e-9")

Numbers = Any  # a decimal, or lists of them


def checked(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any], expected: dict[str, Any]
) -> dict[str, Any]:
    """`expected` itself, if the paper says so.

    Raises
    ------
    ArithmeticError
        If a number is not the paper's.

    Examples
    --------
    >>> inputs = {"chosen_rewards": [1.0], "rejected_rewards": [1.0]}
    >>> checked("bradley_terry", {}, inputs, {"value": 0.7, "losses": [0.7], "gradients": {}})
    Traceback (most recent call last):
    ...
    ArithmeticError: bradley_terry: `losses` must be 0.693147180559945 by the paper's text; got 0.7 at index 0
    """
    if name in LOSSES:
        _check_batch(name, _decimals(parameters), _decimals(inputs), expected)
    elif name.startswith("population_"):
        with localcontext(Context(prec=80)):
            _check_population(name, _decimals(parameters), _decimals(inputs), expected)
    return expected


def _decimals(value: Any) -> Any:
    """Numbers of all kinds of containers as decimals; words and switches as they are."""
    if isinstance(value, Mapping):
        return {name: _decimals(entry) for name, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_decimals(entry) for entry in value]
    return value if isinstance(value, str | bool) else Decimal(float(value))


def _require(label: str, found: Any, low: Decimal, high: Decimal, slack: Decimal, place: str = "") -> None:
    if not _between(found, low, high, slack):
        right = f"{float(low):.15g}" if low == high else f"between {float(low):.15g} and {float(high):.15g}"
        raise ArithmeticError(f"{label} must be {right} by the paper's text; got {float(found):.15g}{place}")


def _between(found: Any, low: Decimal, high: Decimal, slack: Decimal) -> bool:
    tolerance = slack + RELATIVE * max(abs(low), abs(high))
    return low - tolerance <= Decimal(float(found)) <= high + tolerance


def _require_gradient(
    label: str, found: Any, values: Numbers, rise: Callable[[Numbers, tuple[int, ...]], Decimal], slack: Decimal
) -> None:
    """Hold a gradient against what a loss rises by when one of the values moves; only kinks are seen from below."""
    found, values = np.asarray(found), np.array(values, object)
    if found.shape != values.shape:
        raise ArithmeticError(f"{label} must have shape {values.shape}; got {found.shape}")

    def slope(place: tuple[int, ...], step: Decimal) -> Decimal:
        moved = values.copy()
        moved[place] += step
        return rise(moved.tolist(), place) / step

    for place in np.ndindex(found.shape):
        above = slope(place, STEP)
        if not _between(found[place], above, above, slack):
            ends = above, slope(place, -STEP)
            _require(label, found[place], min(ends), max(ends), slack, f" at index {place}")


# --- Batches ---


def _check_batch(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Numbers], expected: Mapping[str, Any]
) -> None:
    size = len(next(values for key, values in inputs.items() if key not in SHARED))
    weight = Decimal(1) if parameters.get("reduction") == "sum" else 1 / Decimal(size)
    if name == "policy_gradient":
        inputs = {**inputs, "held_constant": inputs["policy"]}

    contexts = [Context(prec=_digits(_example(inputs, i))) for i in range(size)]

    def loss(inputs: Mapping[str, Numbers], i: int) -> Decimal:
        with localcontext(contexts[i]):
            return LOSSES[name](parameters, _example(inputs, i))

    losses = [loss(inputs, i) for i in range(size)]
    for i, right in enumerate(losses):
        _require(f"{name}: `losses`", expected["losses"][i], right, right, LEAST, f" at index {i}")
    with localcontext(Context(prec=MOST_DIGITS)):
        penalty = _regulariser(parameters, inputs) if "regularization" in inputs else Decimal(0)
        value = weight * sum(losses) + penalty
        _require(f"{name}: `value`", expected["value"], value, value, LEAST)
        for key, found in expected["gradients"].items():

            def rise(moved: Numbers, place: tuple[int, ...], key: str = key) -> Decimal:
                if key == "regularization":
                    return _regulariser(parameters, {**inputs, key: moved}) - penalty
                touched = range(size) if key in SHARED else place[:1]
                return weight * sum((loss({**inputs, key: moved}, i) - losses[i] for i in touched), Decimal(0))

            _require_gradient(f"{name}: gradient of `{key}`", found, inputs[key], rise, LEAST)


def _example(inputs: Mapping[str, Numbers], i: int) -> dict[str, Numbers]:
    return {key: values if key in SHARED else values[i] for key, values in inputs.items()}


def _digits(example: Mapping[str, Numbers]) -> int:
    """What is left of 1 - p, and of a difference over 1e-30; losses below 1e-300 count as nothing."""
    most = max(float(abs(x)) for values in example.values() for x in np.ravel(np.array(values, object)))
    return min(MOST_DIGITS, 80 + int(1.4 * min(most, 1e3)))


def _probabilities(example: Mapping[str, Numbers], *names: str) -> list[Decimal]:
    return [DECIMAL.exp(example[name]) for name in names]


def _policy(example: Mapping[str, Numbers]) -> list[Decimal]:
    return _probabilities(example, "policy_chosen", "policy_rejected")


def _reference(example: Mapping[str, Numbers]) -> list[Decimal]:
    return _probabilities(example, "reference_chosen", "reference_rejected")


def _logistic(probability: Callable[[int, int], Decimal], D: Sequence[Any] = WON) -> Decimal:  # noqa: N803
    total: Decimal = paper.equation_1(D, probability, DECIMAL)
    return total


def _bradley_terry(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    margin = example.get("margin", parameters.get("margin", Decimal(0)))
    rewards = [example["chosen_rewards"] - margin, example["rejected_rewards"]]
    return _logistic(lambda a, b: paper.equation_2(rewards, a, b, DECIMAL))


def _dpo(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    flipped, kept = parameters.get("label_smoothing", Decimal(0)), 1 - parameters.get("label_smoothing", Decimal(0))
    if parameters.get("variant") == "robust":
        flipped, kept = -flipped / (kept - flipped), kept / (kept - flipped)
    pi, pre = _policy(example), _reference(example)
    # A flipped label is the other outcome's win.
    flips = [(0, 1, 1, kept), (1, 0, 1, flipped)] if flipped else WON
    return _logistic(lambda a, b: paper.equation_14(pi, pre, parameters["beta"], a, b, DECIMAL), flips)


def _process(pi: list[Decimal], f: list[Decimal], g: list[Decimal]) -> Decimal:
    return _logistic(lambda a, b: paper.equation_11(pi, f, g, a, b, DECIMAL))


def _pbde(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    f, g = ([example[f"{letter}_chosen"], example[f"{letter}_rejected"]] for letter in "fg")
    return _process(_policy(example), f, g)


def _geometric(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    inverse = 1 / parameters["alpha"]
    g = [(1 - inverse) * DECIMAL.log(p) for p in _reference(example)]
    return _process(_policy(example), [inverse, inverse], g)


def _length_normalized(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    """Eq. (26) is Eq. (11) with one over the lengths; scale and margin are not the paper's."""
    scale = parameters["scale"]
    margin = parameters.get("margin", scale * parameters.get("margin_ratio", 0))
    f = [scale / example["chosen_lengths"], scale / example["rejected_lengths"]]
    return _process(_policy(example), f, [-margin, Decimal(0)])


def _ipo(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    lengths = {side: example.get(f"{side}_lengths", Decimal(1)) for side in ("chosen", "rejected")}
    per_token = {key: x / lengths[key.split("_")[1]] for key, x in example.items() if "lengths" not in key}
    loss: Decimal = paper.equation_23(WON, _policy(per_token), _reference(per_token), parameters["tau"], DECIMAL)
    return loss


def _rso(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    scale = parameters.get("gamma", Decimal(1))
    delta = parameters["delta"] if "delta" in parameters else 1 / scale
    return scale * paper.equation_21(WON, _policy(example), _reference(example), delta, DECIMAL)


def _slic(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    loss: Decimal = paper.equation_20(WON, [], _policy(example), parameters["delta"], 0, DECIMAL)
    return loss


def _regulariser(parameters: Mapping[str, Any], inputs: Mapping[str, Numbers]) -> Decimal:
    """What Eq. (20) adds to the comparisons, for samples that are outcomes of equal frequency."""
    pi = [DECIMAL.exp(x) for x in inputs["regularization"]]
    return Decimal(0) + paper.equation_20([], [1 / Decimal(len(pi))] * len(pi), pi, 0, parameters["lambda"], DECIMAL)


def _rrhf(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    """Eq. (19) for each two candidates that are not tied, and the mean over the best of what it is added to."""
    scores, lengths = example["scores"], example["lengths"]
    pi = [DECIMAL.exp(x) for x in example["policy"]]
    candidates = range(len(pi))
    ranked = [((i, j), 1) for i in candidates for j in candidates if scores[i] > scores[j]]
    best = [i for i in candidates if scores[i] == max(scores)]
    per_token = [DECIMAL.exp(DECIMAL.log(p) / n) for p, n in zip(pi, lengths, strict=True)]
    likelihood = paper.best_likelihood(
        [((i,), 1 / Decimal(len(best))) for i in best],
        per_token if parameters.get("average_likelihood") else pi, DECIMAL,
    )  # fmt: skip
    return paper.equation_19(ranked, pi, lengths, DECIMAL) + parameters["likelihood_weight"] * likelihood


def _annotator_mixture(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    weights = [DECIMAL.exp(x) for x in example["weight_logits"]]
    policies = [
        [DECIMAL.exp(a), DECIMAL.exp(b)]
        for a, b in zip(example["policy_chosen"], example["policy_rejected"], strict=True)
    ]
    return _logistic(lambda a, b: paper.equation_30(weights, policies, a, b))


def _policy_gradient(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    """Minus what Eq. (5) sums for the sample, as an outcome of probability one, times its log-probability."""
    return -_advantage(parameters, example) * example["policy"]


def _advantage(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> Decimal:
    pi, pre = _probabilities(example, "held_constant", "reference")
    (slope,) = paper.equation_5([pi], [pre], [example["rewards"]], parameters["beta"], [[1 / pi]], DECIMAL)
    return Decimal(slope)


LOSSES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Numbers]], Decimal]] = {
    "annotator_mixture": _annotator_mixture, "bradley_terry": _bradley_terry, "dpo": _dpo, "geometric": _geometric,
    "ipo": _ipo, "length_normalized": _length_normalized, "pbde": _pbde, "policy_gradient": _policy_gradient,
    "rrhf": _rrhf, "rso": _rso, "slic": _slic,
}  # fmt: skip


# --- Populations ---


def _softmax(logits: Sequence[Decimal]) -> list[Decimal]:
    return paper.normalized([DECIMAL.exp(x) for x in logits])


def _check_population(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Numbers], expected: Mapping[str, Any]
) -> None:
    argument = "utilities" if name == "population_bradley_terry" else "policy_log_weights"
    loss = _population_loss(name, parameters, inputs)
    here = loss(inputs[argument])
    _require(f"{name}: `value`", expected["value"], here, here, LEAST)
    _require_gradient(
        f"{name}: gradient of `{argument}`", expected["gradients"][argument], inputs[argument],
        lambda moved, place: loss(moved) - here, ROUNDING,
    )  # fmt: skip
    least = loss(_decimals(expected["optimum"]))
    _require(f"{name}: `optimal_value`", expected["optimal_value"], least, least, NUMERICAL)
    closed = {"population_dpo": ("beta", paper.equation_16), "population_geometric": ("alpha", paper.equation_18)}
    if name in closed:
        letter, equation = closed[name]
        reference, preference = (_softmax(inputs[f"{key}_log_weights"]) for key in ("reference", "preference"))
        for i, probability in enumerate(equation(reference, preference, parameters[letter], DECIMAL)):
            right = DECIMAL.log(probability)
            _require(f"{name}: `optimum`", expected["optimum"][i], right, right, ROUNDING, f" at index {i}")


def _population_loss(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Numbers]
) -> Callable[[Sequence[Decimal]], Any]:
    """The expected loss as a function of utilities or of a policy's log-weights."""
    drawn = sum(sum(row) for row in inputs["proposal_weights"])
    q = [[weight / drawn for weight in row] for row in inputs["proposal_weights"]]
    if name == "population_bradley_terry":
        table = inputs["preferences"]
        return lambda r: paper.equation_7(
            q, lambda a, b: table[a][b], lambda a, b: paper.equation_2(r, a, b, DECIMAL), DECIMAL
        )
    p_star, pre = _softmax(inputs["preference_log_weights"]), _softmax(inputs["reference_log_weights"])

    def luce(a: int, b: int) -> Any:
        return paper.equation_9(p_star, a, b)

    data = paper.equation_6(q, luce)
    if name == "population_slic":
        delta, lambda_ = parameters["delta"], parameters["lambda"]
        return lambda x: paper.equation_20(data, pre, _softmax(x), delta, lambda_, DECIMAL)
    if name == "population_rso":
        return lambda x: paper.equation_21(data, _softmax(x), pre, parameters["delta"], DECIMAL)
    if name == "population_ipo":
        return lambda x: paper.equation_23(data, _softmax(x), pre, parameters["tau"], DECIMAL)
    if name == "population_dpo":
        return lambda x: _expected_cross_entropy(
            q, luce, lambda pi, a, b: paper.equation_14(pi, pre, parameters["beta"], a, b, DECIMAL), x
        )
    inverse = 1 / parameters["alpha"]
    f, g = [inverse] * len(pre), [(1 - inverse) * DECIMAL.log(p) for p in pre]
    return lambda x: _expected_cross_entropy(
        q, luce, lambda pi, a, b: paper.equation_11(pi, f, g, a, b, DECIMAL), x
    )


def _expected_cross_entropy(q: Any, annotator: Any, model: Callable[..., Any], log_weights: Sequence[Decimal]) -> Any:
    pi = _softmax(log_weights)
    return paper.equation_7(q, annotator, lambda a, b: model(pi, a, b), DECIMAL)
