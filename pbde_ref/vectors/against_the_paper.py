"""Every number of a test vector that has an equation in the paper, held against the text of `pbde_ref.paper`.

The text computes in decimals, with derivatives, and what is written are its numbers, rounded once. The package's own
function must have the same, but for the rounding of its margins. Ways from logits to log-probabilities, and solvers'
proofs, have no equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, getcontext, localcontext
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from pbde_ref import paper
from pbde_ref.vectors.definitions import DEFINITIONS, SHARED, STEEP, counted, regulariser, token_log_probabilities
from pbde_ref.vectors.derivatives import Dual, differentiable, value_of

__all__ = ["DECIMAL", "batch_by_definition", "checked", "exact", "most_digits", "tokens_by_definition"]


def _remembered(function: Callable[[Decimal], Decimal]) -> Callable[[Decimal], Decimal]:
    """Batches of a document share most of their log-probabilities."""
    known = lru_cache(4096)(lambda x, digits: function(x))
    return lambda x: known(x, getcontext().prec)


DECIMAL = differentiable(SimpleNamespace(exp=_remembered(Decimal.exp), log=_remembered(Decimal.ln)))
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
    """`expected` with the paper's own numbers, rounded, in place of those that have an equation.

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
    ArithmeticError: bradley_terry: `losses` must be 0.693147180559945 by its definition; got 0.7 at index 0
    """
    slack = LEAST
    if name in DEFINITIONS:
        right = batch_by_definition(name, exact(parameters), exact(inputs), tuple(expected.get("gradients", ())))
    elif name == "sequence_log_probs":
        with localcontext(Context(prec=MOST_DIGITS)):
            right = tokens_by_definition(exact(parameters), inputs)
    elif name.startswith("population_"):
        with localcontext(Context(prec=80)):
            right, slack = _population(name, exact(parameters), exact(inputs), expected), ROUNDING
    else:
        return expected
    return expected | _agreed(f"{name}:", right, expected, slack)


def exact(value: Any, number: Callable[[float], Any] = Decimal) -> Any:
    """Numbers of all kinds of containers as decimals, or as another kind; words and switches as they are."""
    if isinstance(value, Mapping):
        return {name: exact(entry, number) for name, entry in value.items()}
    if isinstance(value, list | np.ndarray):
        return [exact(entry, number) for entry in value]
    return value if isinstance(value, str | bool) else number(float(value))


def _agreed(label: str, right: Mapping[str, Any], found: Mapping[str, Any], slack: Decimal) -> dict[str, Any]:
    """The exact numbers, rounded to the nearest double, if those found are the same."""
    rounded: dict[str, Any] = {}
    for key, numbers in right.items():
        if key not in found:
            continue
        if isinstance(numbers, Mapping):
            rounded[key] = _agreed(f"{label} gradient of", numbers, found[key], slack)
            continue
        # A sum over examples loses what cancels in it.
        allowed = ROUNDING if key in SHARED else slack
        exactly: Any = np.array(numbers, object)
        values = np.asarray(found[key])
        if exactly.shape != values.shape:
            raise ArithmeticError(f"{label} `{key}` must have shape {exactly.shape}; got {values.shape}")
        for place in np.ndindex(values.shape):
            _require(f"{label} `{key}`", values[place], exactly[place], allowed, place)
        rounded[key] = exactly.astype(float)
    return rounded


def _require(label: str, found: Any, right: Decimal, slack: Decimal, place: tuple[int, ...] = ()) -> None:
    if not abs(Decimal(float(found)) - right) <= slack + RELATIVE * abs(right):
        where = f" at index {', '.join(map(str, place))}" if place else ""
        raise ArithmeticError(
            f"{label} must be {float(right):.15g} by its definition; got {float(found):.15g}{where}"
        )


def _marked(values: Numbers, *key: Any) -> Numbers:
    """Numbers that carry their own derivative, under the name of their input and their place in it."""
    return [_marked(x, *key, i) if isinstance(x, list) else Dual(x, {(*key, i): 1}) for i, x in enumerate(values)]


def _gradient(slopes: Mapping[Any, Any], values: Numbers, *key: Any) -> Numbers:
    return [
        _gradient(slopes, x, *key, i) if isinstance(x, list) else slopes.get((*key, i), Decimal(0))
        for i, x in enumerate(values)
    ]


# --- Batches ---


def batch_by_definition(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Numbers], differentiated: Sequence[str],
    arithmetic: Any = DECIMAL,
) -> dict[str, Any]:  # fmt: skip
    """Value, losses and gradients of a batch by its definition, in numbers of `arithmetic`'s kind."""
    if name == "policy_gradient":
        inputs = {**inputs, "held_constant": inputs["policy"]}
    marked = {key: _marked(values, key) if key in differentiated else values for key, values in inputs.items()}
    size = len(next(values for key, values in inputs.items() if key not in SHARED))
    losses = []
    for i in range(size):
        digits = MOST_DIGITS if name in STEEP else most_digits(parameters, _example(inputs, i))
        with localcontext(Context(prec=digits)):
            losses.append(DEFINITIONS[name](parameters, _example(marked, i), arithmetic))
    with localcontext(Context(prec=MOST_DIGITS)):
        total = sum(losses) / (1 if parameters.get("reduction") == "sum" else size)
        value = total + regulariser(parameters, marked, arithmetic)
        slopes = value.slopes if differentiated else {}
        return {
            "losses": [value_of(loss) for loss in losses],
            "value": value_of(value),
            "gradients": {key: _gradient(slopes, inputs[key], key) for key in differentiated},
        }


def _example(inputs: Mapping[str, Numbers], i: int) -> dict[str, Numbers]:
    return {key: values if key in SHARED else values[i] for key, values in inputs.items()}


def most_digits(parameters: Mapping[str, Any], example: Mapping[str, Numbers]) -> int:
    """What is left of 1 - p at the largest margin there may be; losses below 1e-300 count as nothing."""
    most = max(abs(float(x)) for values in example.values() for x in np.ravel(np.array(values, object)))
    scales = (abs(float(x)) for x in parameters.values() if not isinstance(x, str | bool) and x)
    most *= max((max(x, 1 / x) for x in scales), default=1.0)
    return min(MOST_DIGITS, 80 + int(1.4 * min(most, 1e3)))


# --- Tokens ---


def tokens_by_definition(
    parameters: Mapping[str, Any], inputs: Mapping[str, Any], arithmetic: Any = DECIMAL,
    number: Callable[[float], Any] = Decimal,
) -> dict[str, Any]:  # fmt: skip
    """Log-probabilities of tokens and sequences, and what the logits are told of the latter."""
    shift = int(parameters["shift"])
    temperature = parameters.get("temperature", 1)
    tokens: list[Numbers] = []
    sequences: list[Numbers] = []
    total: Any = 0
    logits = exact(inputs["logits"], number)
    marked = _marked(logits, "logits")
    for row, labels, prompt, upstream in zip(
        marked, inputs["labels"], inputs["prompt_lengths"], exact(inputs["upstream"], number), strict=True
    ):
        scaled = [[z / temperature if temperature != 1 else z for z in position] for position in row]
        log_probs = token_log_probabilities(scaled, labels[shift:], arithmetic)
        positions = counted(labels, prompt, inputs["end_of_sequence"], inputs["padding"])
        # What no position before it predicts is not there.
        places = [t - shift for t in positions if t >= shift]
        sequence = sum(log_probs[t] for t in places) / (len(places) if parameters["average"] else 1)
        tokens.append([value_of(x) for x in log_probs])
        sequences.append(value_of(sequence))
        total = total + upstream * sequence
    return {
        "token_log_probs": tokens, "log_probs": sequences,
        "gradients": {"logits": _gradient(total.slopes, logits, "logits")},
    }  # fmt: skip


# --- Populations ---


def _softmax(logits: Sequence[Any]) -> list[Any]:
    return paper.normalized([DECIMAL.exp(x) for x in logits])


def _at_each(inputs: Mapping[str, Numbers], logits: Sequence[Any]) -> list[Any]:
    """Softmax at each prompt, whose answers stand together."""
    number = inputs["prompts"]
    parts = ([x for x, n in zip(logits, number, strict=True) if n == k] for k in dict.fromkeys(number))
    return [p for part in parts for p in _softmax(part)]


def _population(
    name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Numbers], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """Value and gradient at the policy; the optimum's loss, and the optimum where the paper has it, are checked."""
    argument = "utilities" if name == "population_bradley_terry" else "policy_log_weights"
    loss = _population_loss(name, parameters, inputs)
    here = loss(_marked(inputs[argument], argument))
    least = loss(exact(expected["optimum"]))
    _require(f"{name}: `optimal_value`", expected["optimal_value"], least, NUMERICAL)
    closed = {"population_dpo": ("beta", paper.equation_16), "population_geometric": ("alpha", paper.equation_18)}
    if name in closed:
        letter, equation = closed[name]
        reference, preference = (_softmax(inputs[f"{key}_log_weights"]) for key in ("reference", "preference"))
        for i, probability in enumerate(equation(reference, preference, parameters[letter], DECIMAL)):
            _require(f"{name}: `optimum`", expected["optimum"][i], DECIMAL.log(probability), ROUNDING, (i,))
    return {"value": value_of(here), "gradients": {argument: _gradient(here.slopes, inputs[argument], argument)}}


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
    if name == "population_prompts":
        p, f = _at_each(inputs, inputs["preference_log_weights"]), [parameters["scale"] / x for x in inputs["lengths"]]

        def at_prompts(x: Sequence[Any]) -> Any:
            pi = _at_each(inputs, x)
            return paper.equation_7(
                q, lambda a, b: paper.equation_9(p, a, b),
                lambda a, b: paper.equation_11(pi, f, [0] * len(f), a, b, DECIMAL), DECIMAL,
            )  # fmt: skip

        return at_prompts
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
