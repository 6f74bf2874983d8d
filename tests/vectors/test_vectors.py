"""The test vectors, consumed as somebody else would: through the schema, by a reader that knows nothing of the package.

The reader below works from the formulas in exact arithmetic of 600 digits (mpmath), differentiates numerically, and
proves optima instead of computing them.
"""

import copy
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from functools import cache, partial
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
from mpmath import mp, mpf

from pbde_ref.cli import vectors as command
from pbde_ref.vectors import expected_losses as vectors_of_populations
from pbde_ref.vectors import sequences as vectors_of_sequences
from pbde_ref.vectors import tokens as vectors_of_tokens
from pbde_ref.vectors import writing as vectors
from pbde_ref.vectors.against_the_paper import checked
from pbde_ref.vectors.definitions import DEFINITIONS, IN_USE
from pbde_ref.vectors.drawn import drawn_groups
from pbde_ref.vectors.theorems import theorems
from tests.seeds import drawn_seed

DIGITS = 600
DRAWN = 1  # of each drawn group; see the slow test for all of them
STEP = mpf(10) ** -150  # f' of 1e-300 still has 150 digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors")
    vectors.write_vectors(path, DRAWN)
    return path


@pytest.fixture(scope="module")
def documents(folder):
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != vectors.SCHEMA
    }


@pytest.fixture(autouse=True)
def precision():
    with mp.workdps(DIGITS):
        yield


def vectors_in(documents, results=("valid", "acceptable"), level=None):
    for document in documents.values():
        if level in (None, document["level"]):
            for group in document["groups"]:
                for test in group["tests"]:
                    if test["result"] in results:
                        yield document["name"], group["parameters"], test


# ---------------------------------------------------------------------------------------------- the reader: losses


def nll(margin):
    """-log sigmoid(margin)."""
    return mp.log1p(mp.exp(-margin)) if margin > 0 else mp.log1p(mp.exp(margin)) - margin


def relu(x):
    return max(x, mpf(0))


def pair_margin(i, lengths=(1, 1)):
    chosen = (i["policy_chosen"] - i["reference_chosen"]) / lengths[0]
    return chosen - (i["policy_rejected"] - i["reference_rejected"]) / lengths[1]


def dpo(p, i):
    margin, e = p["beta"] * pair_margin(i), mpf(p.get("label_smoothing", 0))
    if p.get("variant") == "robust":
        return ((1 - e) * nll(margin) - e * nll(-margin)) / (1 - 2 * e)
    return (1 - e) * nll(margin) + e * nll(-margin)


def geometric(p, i):
    return nll(pair_margin(i) / mpf(p["alpha"]) + i["reference_chosen"] - i["reference_rejected"])


def ipo(p, i):
    lengths = (i["chosen_lengths"], i["rejected_lengths"]) if p.get("average") else (1, 1)
    return (pair_margin(i, lengths) - 1 / (2 * mpf(p["tau"]))) ** 2


def rso(p, i):
    if "gamma" in p:
        return relu(1 - p["gamma"] * pair_margin(i))
    return relu(p["delta"] - pair_margin(i))


def slic(p, i):
    return relu(p["delta"] - (i["policy_chosen"] - i["policy_rejected"]))


def length_normalized(p, i):
    scale = mpf(p.get("scale", 1))
    margin = scale * p["margin_ratio"] if "margin_ratio" in p else p.get("margin", 0)
    chosen, rejected = (i[f"policy_{who}"] / i[f"{who}_lengths"] for who in ("chosen", "rejected"))
    return nll(scale * chosen - scale * rejected - margin)


def pbde(p, i):
    chosen, rejected = (i[f"f_{who}"] * i[f"policy_{who}"] + i[f"g_{who}"] for who in ("chosen", "rejected"))
    return nll(chosen - rejected)


def bradley_terry(p, i):
    return nll(i["chosen_rewards"] - i["rejected_rewards"] - i.get("margin", p.get("margin", 0)))


def rrhf(p, i):
    per_token = [x / n for x, n in zip(i["policy"], i["lengths"], strict=True)]
    pairs = itertools.permutations(range(len(per_token)), 2)
    ranking = sum(relu(per_token[b] - per_token[a]) for a, b in pairs if i["scores"][a] > i["scores"][b])
    best = [k for k, score in enumerate(i["scores"]) if score == max(i["scores"])]
    likelihoods = per_token if p.get("average_likelihood") else i["policy"]
    return ranking - mpf(p["likelihood_weight"]) * sum(likelihoods[k] for k in best) / len(best)


def annotator_mixture(p, i):
    weights = [mp.exp(x) for x in i["weight_logits"]]
    pairs = zip(i["policy_chosen"], i["policy_rejected"], strict=True)
    wins = [1 / (1 + mp.exp(rejected - chosen)) for chosen, rejected in pairs]
    return -mp.log(sum(w * q for w, q in zip(weights, wins, strict=True)) / sum(weights))


LOSSES = {f.__name__: f for f in (annotator_mixture, bradley_terry, dpo, geometric, ipo, length_normalized, pbde, rrhf,
                                  rso, slic)}  # fmt: skip
DIFFERENTIABLE = ("policy", "policy_chosen", "policy_rejected", "chosen_rewards", "rejected_rewards", "weight_logits")
SHARED = ("weight_logits", "regularization")


def exact(value):
    return [exact(x) for x in value] if isinstance(value, list) else mpf(value)


def examples(inputs):
    """One dictionary for each example of the batch."""
    size = max(len(values) for name, values in inputs.items() if name not in SHARED)
    return [{n: exact(v if n in SHARED else v[b]) for n, v in inputs.items() if n != "regularization"}
            for b in range(size)]  # fmt: skip


def derivative(function, value):
    """Central differences of a function of a number or a list of numbers."""
    if not isinstance(value, list):
        return (function(value + STEP) - function(value - STEP)) / (2 * STEP)
    return [derivative(lambda x, k=k: function([*value[:k], x, *value[k + 1 :]]), value[k]) for k in range(len(value))]


def read_loss(name, parameters, inputs):
    """What the reader finds: value, losses and gradients."""
    if name == "policy_gradient":
        return read_policy_gradient(parameters, inputs)
    rows, loss = examples(inputs), LOSSES[name]
    losses = [loss(parameters, row) for row in rows]
    count = 1 if parameters.get("reduction") == "sum" else len(losses)
    gradients = {}
    for argument in DIFFERENTIABLE:
        if argument in inputs:
            by_row = [derivative(lambda x, r=row, a=argument: loss(parameters, {**r, a: x}), row[argument])
                      for row in rows]  # fmt: skip
            if argument in SHARED:
                gradients[argument] = [sum(column) / count for column in zip(*by_row, strict=True)]
            else:
                gradients[argument] = scaled(by_row, count)
    value = sum(losses) / count
    if "regularization" in inputs:
        samples = exact(inputs["regularization"])
        value -= mpf(parameters["lambda"]) * sum(samples) / len(samples)
        gradients["regularization"] = [-mpf(parameters["lambda"]) / len(samples)] * len(samples)
    return {"value": value, "losses": losses, "gradients": gradients}


def scaled(values, count):
    return [scaled(v, count) for v in values] if isinstance(values, list) else values / count


def read_policy_gradient(parameters, inputs):
    rows = examples(inputs)
    advantages = [row["rewards"] - parameters["beta"] * (row["policy"] - row["reference"]) for row in rows]
    losses = [-a * row["policy"] for a, row in zip(advantages, rows, strict=True)]
    return {
        "value": sum(losses) / len(losses),
        "losses": losses,
        "gradients": {"policy": [-a / len(rows) for a in advantages]},
    }


def assert_close(found, expected, tolerance=1e-13, place="expected"):
    """Relative to the exact number; what underflows may be 0."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for name, value in expected.items():
            assert_close(found[name], value, tolerance, f"{place}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, tolerance, f"{place}[{k}]")
    else:
        assert abs(found - expected) <= tolerance * abs(found) + mpf("1e-307"), (
            f"{place}: exact {mp.nstr(found, 20)}, in the file {expected!r}"
        )


# ---------------------------------------------------------------------------------------------- the reader: tokens


def counted_positions(labels, prompt, inputs):
    """Positions of the completion's tokens, its end included."""
    positions = []
    for position in range(prompt, len(labels)):
        if labels[position] == inputs["end_of_sequence"]:
            return [*positions, position]
        if labels[position] != inputs["padding"]:
            positions.append(position)
    return positions


def read_rewards(inputs):
    rewards, gradients = [], []
    for scores, mask, upstream in zip(inputs["scores"], inputs["mask"], inputs["upstream"], strict=True):
        last = max(t for t, m in enumerate(mask) if m)
        rewards.append(scores[last])
        gradients.append([upstream if t == last else 0.0 for t in range(len(scores))])
    return {"rewards": rewards, "gradients": {"scores": gradients}}


def read_tokens(parameters, inputs):
    shift = 1 if parameters["shift"] else 0
    mask, token_log_probs, log_probs, gradients = [], [], [], []
    rows = zip(inputs["logits"], inputs["labels"], inputs["prompt_lengths"], inputs["upstream"], strict=True)
    for logits, labels, prompt, upstream in rows:
        counted = set(counted_positions(labels, prompt, inputs))
        columns = range(len(labels) - shift)
        mask.append([int(t + shift in counted) for t in columns])
        temperature = mpf(parameters.get("temperature", 1))
        softmax = [[mp.exp(z / temperature) for z in row] for row in exact(logits)]
        softmax = [[e / sum(row) for e in row] for row in softmax]
        tokens = [mp.log(softmax[t][labels[t + shift]]) for t in columns]
        divisor = len(counted & {t + shift for t in columns}) if parameters["average"] else 1
        token_log_probs.append(tokens)
        log_probs.append(sum(x for x, m in zip(tokens, mask[-1], strict=True) if m) / divisor)
        slopes = [mpf(upstream) * m / divisor for m in mask[-1]] + [mpf(0)] * shift
        labels_at = [*(labels[t + shift] for t in columns), *[0] * shift]
        gradients.append([[s / temperature * ((v == label) - q) for v, q in enumerate(row)]
                          for s, label, row in zip(slopes, labels_at, softmax, strict=True)])  # fmt: skip
    return {"mask": mask, "token_log_probs": token_log_probs, "log_probs": log_probs,
            "gradients": {"logits": gradients}}  # fmt: skip


# ----------------------------------------------------------------------------------------- the reader: populations


def at_each(prompts, weights):
    """log_softmax over the answers to each prompt, which stand together."""
    parts = ([w for w, n in zip(weights, prompts, strict=True) if n == k] for k in dict.fromkeys(prompts))
    return [x for part in parts for x in log_softmax(part)]


def log_softmax(weights):
    total = mp.log(sum(mp.exp(w) for w in weights))
    return [w - total for w in weights]


class Population:
    """An expected loss as a function of the policy's log-weights, written out as a double sum."""

    def __init__(self, name, parameters, inputs):
        self.parameters, self.inputs = {k: mpf(v) for k, v in parameters.items()}, inputs
        self.name = name.removeprefix("population_")
        total = sum(map(sum, inputs["proposal_weights"]))
        self.proposal = [[mpf(w) / total for w in row] for row in inputs["proposal_weights"]]
        self.log_softmax = partial(at_each, inputs["prompts"]) if "prompts" in inputs else log_softmax
        if "preferences" in inputs:
            self.wins = exact(inputs["preferences"])
        elif self.name == "prompts":
            p = [mp.exp(x) for x in self.log_softmax(exact(inputs["preference_log_weights"]))]
            self.wins = [[a / (a + b) for b in p] for a in p]
        else:
            self.preference = log_softmax(exact(inputs["preference_log_weights"]))
            self.reference = log_softmax(exact(inputs["reference_log_weights"]))
            p = [mp.exp(x) for x in self.preference]
            self.wins = [[a / (a + b) for b in p] for a in p]
        self.size = len(self.wins)

    @property
    def start(self):
        return exact(self.inputs["utilities" if self.name == "bradley_terry" else "policy_log_weights"])

    def utilities(self, log_weights):
        if self.name == "bradley_terry":
            return log_weights
        log_policy, p = self.log_softmax(log_weights), self.parameters
        if self.name == "prompts":
            return [p["scale"] * x / n for x, n in zip(log_policy, exact(self.inputs["lengths"]), strict=True)]
        if self.name == "slic":
            return log_policy
        ratio = [x - r for x, r in zip(log_policy, self.reference, strict=True)]
        if self.name == "dpo":
            return [p["beta"] * x for x in ratio]
        if self.name == "geometric":
            return [x / p["alpha"] + r for x, r in zip(ratio, self.reference, strict=True)]
        return ratio

    def pair(self, margin):
        p = self.parameters
        if self.name == "ipo":
            return (margin - 1 / (2 * p["tau"])) ** 2
        return relu(p["delta"] - margin) if self.name in ("rso", "slic") else nll(margin)

    def value(self, log_weights):
        u, n = self.utilities(log_weights), range(self.size)
        result = sum(
            self.proposal[a][b] * (self.wins[a][b] * self.pair(u[a] - u[b]) + self.wins[b][a] * self.pair(u[b] - u[a]))
            for a in n
            for b in n
        )
        if self.name == "slic":
            result -= self.parameters["lambda"] * sum(mp.exp(r) * x for r, x in zip(self.reference, u, strict=True))
        return result

    def gradient(self, log_weights):
        return derivative(self.value, log_weights)


def assert_no_group_wants_to_move(population, optimum, value):
    """For losses of differences: no descent if no group of outcomes gains by moving together, up or down.

    The directional derivative is L-natural convex and positively homogeneous, so indicator vectors decide.
    """
    for chosen in itertools.product([0, 1], repeat=population.size):
        for step in (mpf("1e-5"), mpf("-1e-5")):
            moved = [x + step * c for x, c in zip(optimum, chosen, strict=True)]
            assert population.value(moved) >= value * (1 - mpf("1e-9")), chosen


def assert_dual_proves(population, dual, optimal_value):
    """A flow within its bounds, conserved at each outcome, worth as much as the primal loss."""
    n, flow, delta = range(population.size), exact(dual), population.parameters["delta"]
    for a in n:
        assert abs(sum(flow[a][b] for b in n) - sum(flow[b][a] for b in n)) < 1e-12
        for b in n:
            met = population.proposal[a][b] + population.proposal[b][a] if a != b else mpf(0)
            assert 0 <= flow[a][b] <= met * population.wins[a][b] * (1 + mpf("1e-12"))
    ties = sum(population.proposal[a][a] for a in n)
    assert abs(delta * (sum(map(sum, flow)) + ties) - optimal_value) < 1e-12


# ------------------------------------------------------------------------------------------------------- the tests


def test_schema_is_a_schema():
    """The schema itself is valid under its draft."""
    jsonschema.Draft202012Validator.check_schema(vectors.vector_schema())


def test_every_document_keeps_the_schema(folder, documents):
    """Each file written validates against the schema that was written beside it."""
    schema = json.loads((folder / vectors.SCHEMA).read_text("utf-8"))
    assert schema == vectors.vector_schema()
    for name, document in documents.items():
        jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
        assert document["name"] == name


@pytest.mark.parametrize(
    "breakage",
    [
        lambda d: d.pop("format"),
        lambda d: d.update(format="pbde-ref-vectors/2"),
        lambda d: d["groups"][0]["tests"][0].pop("expected"),
        lambda d: d["groups"][0]["tests"][0].update(result="acceptable"),
        lambda d: d["groups"][0]["tests"][0].update(result="invalid"),
        lambda d: d["groups"][0]["tests"][0]["inputs"].update(policy_chosen="-1"),
        lambda d: d["groups"][0]["tests"][0]["expected"].update(gradient={}),
    ],
)
def test_schema_sees_breakage(documents, breakage):
    """Control: each broken document is refused."""
    broken = copy.deepcopy(documents["dpo"])
    breakage(broken)
    assert list(jsonschema.Draft202012Validator(vectors.vector_schema()).iter_errors(broken))


def test_ids_flags_and_counts(documents):
    """Ids count from 1; the flags explained are those used; every level, result and loss is there."""
    for document in documents.values():
        tests = [test for group in document["groups"] for test in group["tests"]]
        assert [test["id"] for test in tests] == list(range(1, document["number_of_tests"] + 1))
        assert {flag for test in tests for flag in test["flags"]} == set(document["flags"])
    losses = {name for name in documents if documents[name]["level"] == "sequence"}
    assert losses == {*LOSSES, *IN_USE, "policy_gradient"}  # the reader's own, and those with a formula in definitions
    assert {document["level"] for document in documents.values()} == {"sequence", "token", "population"}
    assert {test["result"] for *_, test in vectors_in(documents, ("valid", "invalid", "acceptable"))} == {
        "valid", "invalid", "acceptable"}  # fmt: skip


def numbers_in(value):
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_numbers_survive_the_round_trip(folder, documents):
    """Reading and writing again gives the same text, so each float reads back to the same bits; all are finite."""
    for name, document in documents.items():
        text = (folder / f"{name}.json").read_text("utf-8")
        assert json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n" == text
        assert all(math.isfinite(x) for x in numbers_in(document))


def significant_bits(x):
    mantissa = abs(float(x).as_integer_ratio()[0])
    return (mantissa >> ((mantissa & -mantissa).bit_length() - 1)).bit_length() if mantissa else 0


def test_inputs_are_exact_in_bfloat16(documents):
    """Inputs and parameters have at most eight significant bits, so rounding them is not blamed on a loss."""
    assert significant_bits(0.3125) == 3  # 101
    assert significant_bits(0.1) > 8
    for document in documents.values():
        for group in document["groups"]:
            given = [group["parameters"], *(test["inputs"] for test in group["tests"])]
            assert max((significant_bits(x) for x in numbers_in(given)), default=0) <= 8, document["name"]


@pytest.mark.parametrize("name", [*LOSSES, "policy_gradient"])
def test_reader_agrees_on_losses(documents, name):
    """Value, each example's loss and all gradients, to thirteen digits, at every valid and acceptable test."""
    for _, parameters, test in vectors_in({name: documents[name]}):
        found = read_loss(name, parameters, test["inputs"])
        if "Kink" in test["flags"]:
            found.pop("gradients")
        assert_close(found, test["expected"], place=f"{name} {test['id']}")


def test_reader_agrees_on_tokens(documents):
    """Masks, log-probabilities of tokens and sequences, the gradient in the logits; rewards and where they are read."""
    for name, parameters, test in vectors_in(documents, level="token"):
        read = read_rewards(test["inputs"]) if name == "sequence_rewards" else read_tokens(parameters, test["inputs"])
        assert_close(read, test["expected"], 1e-13, f"{name} {test['id']}")


def test_a_policy_normalised_over_all_prompts_is_told_apart(documents):
    """Control: with one softmax for all answers, value and optimum are others."""
    mp.dps = 30
    for _, parameters, test in vectors_in({"population_prompts": documents["population_prompts"]}):
        population, expected = Population("population_prompts", parameters, test["inputs"]), test["expected"]
        population.log_softmax = log_softmax
        assert abs(population.value(population.start) - expected["value"]) > 0.01
        assert max(map(abs, derivative_with(population, mpf("1e-15"), exact(expected["optimum"])))) > 0.001


@pytest.mark.parametrize("name", [document.name for document in vectors_of_populations.POPULATION_DOCUMENTS])
def test_reader_agrees_on_populations(documents, name):
    """Expected loss and gradient at the given point; the optimum has the loss stated and is proved to be one."""
    mp.dps = 60
    for _, parameters, test in vectors_in({name: documents[name]}):
        population, expected = Population(name, parameters, test["inputs"]), test["expected"]
        place = f"{name} {test['id']}"
        assert_close(population.value(population.start), expected["value"], 1e-12, place)
        (argument,) = expected["gradients"]
        gradient = derivative_with(population, mpf("1e-25"))
        for one, other in zip(gradient, expected["gradients"][argument], strict=True):
            assert abs(one - other) < 1e-12, place
        optimum = exact(expected["optimum"])
        assert_close(population.value(optimum), expected["optimal_value"], 1e-12, place)
        if name == "population_rso":
            assert_dual_proves(population, expected["dual"], expected["optimal_value"])
        if name in ("population_rso", "population_slic"):
            assert_no_group_wants_to_move(population, optimum, expected["optimal_value"])
        else:
            assert max(map(abs, derivative_with(population, mpf("1e-25"), optimum))) < 1e-12, place
        if argument == "policy_log_weights":
            many = len(set(test["inputs"].get("prompts", [0])))
            assert abs(sum(mp.exp(x) for x in optimum) - many) < 1e-12
            assert max(abs(x - y) for x, y in zip(population.log_softmax(optimum), optimum, strict=True)) < 1e-12
        else:
            assert abs(sum(optimum)) < 1e-12


def derivative_with(population, step, at=None):
    point = population.start if at is None else at

    def moved(k, by):
        return population.value([x + by * (j == k) for j, x in enumerate(point)])

    return [(moved(k, step) - moved(k, -step)) / (2 * step) for k in range(len(point))]


@pytest.mark.parametrize(("loss", "parameter"), [("dpo", "beta"), ("geometric", "alpha")])
def test_closed_forms_of_populations(documents, loss, parameter):
    """Eq. (16) and (18), written out."""
    mp.dps = 60
    for _, parameters, test in vectors_in({"one": documents[f"population_{loss}"]}):
        population = Population(f"population_{loss}", parameters, test["inputs"])
        t = mpf(parameters[parameter])
        powers = (mpf(1), 1 / t) if loss == "dpo" else (1 - t, t)
        weights = [powers[0] * r + powers[1] * p
                   for r, p in zip(population.reference, population.preference, strict=True)]  # fmt: skip
        assert_close(log_softmax(weights), test["expected"]["optimum"], 1e-13)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (("expected", "value"), lambda x: x * (1 + 1e-12)),
        (("expected", "losses", 1), lambda x: x * (1 + 1e-12)),
        (("expected", "gradients", "policy_rejected", 2), lambda x: -x),
        (("inputs", "reference_chosen", 0), lambda x: x + 0.125),
    ],
)
def test_reader_sees_a_wrong_vector(documents, path, change):
    """Control: a change in one number of one test is noticed."""
    group = copy.deepcopy(documents["dpo"]["groups"][2])
    place = test = group["tests"][0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = change(place[path[-1]])
    with pytest.raises(AssertionError):
        assert_close(read_loss("dpo", group["parameters"], test["inputs"]), test["expected"])


def outside_the_definition(parameters, inputs):
    """The reader's own reasons to refuse."""
    positive = [parameters.get(name, 1) for name in ("alpha", "tau", "scale")] + list(inputs.get("f_chosen", []))
    beta_may_be_zero = "rewards" in inputs
    beta = parameters.get("beta", 1)
    lengths = {len(v) for n, v in inputs.items() if isinstance(v, list) and n not in SHARED}
    flat = {n: list(numbers_in(v)) for n, v in inputs.items() if isinstance(v, list)}
    yield min(positive) <= 0 or beta < 0 or (beta == 0 and not beta_may_be_zero)
    yield min(parameters.get(name, 0) for name in ("delta", "margin", "coefficient")) < 0
    yield parameters.get("label_smoothing", 0) >= 0.5
    yield len(lengths) > 1 or 0 in lengths
    yield any(max(v, default=0) > 0 for n, v in flat.items() if n.startswith(("policy_c", "policy_r", "reference_c")))
    yield any(min(v, default=1) <= 0 for n, v in flat.items() if n.endswith("lengths") and n != "prompt_lengths")
    yield "weight_logits" in inputs and len(inputs["weight_logits"]) != len(inputs["policy_chosen"][0])
    if "logits" in inputs:
        yield any(len(z) != len(y) for z, y in zip(inputs["logits"], inputs["labels"], strict=True))
        rows = zip(inputs["labels"], inputs["prompt_lengths"], strict=True)
        yield any(not counted_positions(labels, prompt, inputs) for labels, prompt in rows)
    if "preferences" in inputs:
        yield any(all(row[b] == 1 for b in range(len(row)) if b != a) for a, row in enumerate(inputs["preferences"]))


def test_reader_refuses_exactly_the_invalid(documents):
    """What is marked invalid is outside the definition, and nothing else is."""
    for name, parameters, test in vectors_in(documents, ("valid", "acceptable", "invalid")):
        refused = any(outside_the_definition(parameters, test["inputs"]))
        assert refused == (test["result"] == "invalid"), f"{name} {test['id']}"


def test_package_refuses_the_invalid(documents):
    """The package raises for every invalid test."""
    modules = {"sequence": vectors_of_sequences, "token": vectors_of_tokens, "population": vectors_of_populations}
    for level, module in modules.items():
        for name, parameters, test in vectors_in(documents, ("invalid",), level):
            with pytest.raises((ValueError, TypeError)):
                module.evaluate(name, parameters, test["inputs"])


WITHOUT_AN_EQUATION = {"optimum", "dual", "unique"}  # a solver's; of two documents `optimum` has one


def numbers_with_an_equation(name, expected):
    """Where they are: keys and indices."""
    closed = {"optimum"} if name in ("population_dpo", "population_geometric") else set()
    for key, value in expected.items():
        if key == "gradients":
            yield from ((key, argument, place) for argument, g in value.items() for place in np.ndindex(np.shape(g)))
        elif key not in WITHOUT_AN_EQUATION - closed:
            yield from ((key, place) for place in np.ndindex(np.shape(value)))


def test_no_wrong_number_is_written():
    """Of each document with a definition the first test: what is written is what the package computes, to thirteen
    digits, and if any number is off by 1e-8 of itself the check before writing raises.
    """
    families = (
        (vectors_of_sequences, vectors_of_sequences.SEQUENCE_DOCUMENTS),
        (vectors_of_populations, vectors_of_populations.POPULATION_DOCUMENTS),
    )
    for module, documents in families:
        for document in (d for d in documents if d.name in DEFINITIONS or d.level == "population"):
            parameters, inputs = document.groups[0].parameters, document.groups[0].tests[0].inputs
            name, right = document.name, module.evaluate(document.name, parameters, inputs)
            written = checked(name, parameters, inputs, right)
            for key in ("value", "losses"):
                if key in right:
                    np.testing.assert_allclose(written[key], right[key], rtol=1e-13)
            places = list(numbers_with_an_equation(name, right))
            assert len(places) >= 5
            for *keys, place in places:
                wrong = copy.deepcopy(right)
                holder = wrong
                for key in keys[:-1]:
                    holder = holder[key]
                moved = np.array(holder[keys[-1]], dtype=float)
                moved[place] += 1e-8 * (abs(moved[place]) or 1.0)
                holder[keys[-1]] = moved
                with pytest.raises(ArithmeticError, match=f"{name}: .*by its definition"):
                    checked(name, parameters, inputs, wrong)


def test_a_wrong_number_stops_the_writing(tmp_path, monkeypatch):
    """A loss that forgot its factor leaves no file."""
    right = vectors_of_sequences.FUNCTIONS["ipo"]
    monkeypatch.setitem(vectors_of_sequences.FUNCTIONS, "ipo", lambda *, tau, **rest: right(tau=2 * tau, **rest))
    with pytest.raises(ArithmeticError, match="ipo: `losses` must be"):
        vectors.write_vectors(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


WRITE_A_SHARE = """if True:
    import sys
    from pbde_ref.vectors import writing as w
    folder, drawn, share = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for module in (w.sequences, w.tokens, w.expected_losses):
        (name,) = (name for name in vars(module) if name.endswith("_DOCUMENTS"))
        setattr(module, name, getattr(module, name)[::share])
    w.write_vectors(folder, drawn)
"""


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_writing_again_gives_the_same_bytes(folder, tmp_path, share):
    """Another process with another hash seed writes the same bytes; other files in the folder are left alone."""
    (tmp_path / "mine.json").write_text("{}")
    command = [sys.executable, "-c", WRITE_A_SHARE, tmp_path, str(DRAWN), str(share)]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written.pop("mine.json") == b"{}"
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert share == 1 or 10 < len(written) < len(there)
    assert written == {name: there[name] for name in (there if share == 1 else written)}


def test_command_writes_vectors_and_theorems(tmp_path, capsys, monkeypatch):
    """`run` makes the folder and says what it wrote; equal seeds draw equal theorems, others others."""
    parser = ArgumentParser()
    command.add_arguments(parser)
    # Writing again gives the same bytes, says the test above.
    monkeypatch.setattr(command, "write_vectors", cache(command.write_vectors))
    texts = {}
    for seed in ("5", "6"):
        for name in ("a.v", "b.v") if seed == "5" else ("b.v",):
            given = ["--out", str(tmp_path / "new" / "folder"), "--drawn", "0", "--sample", "4", "--seed", seed]
            assert command.run(parser.parse_args([*given, "--theorems", str(tmp_path / name)])) == 0
        written = list((tmp_path / "new" / "folder").iterdir())
        printed = capsys.readouterr().out
        assert f"in {len(written) - 1} files and their schema" in printed
        assert f"4 theorems in {tmp_path / 'b.v'}; seed {seed}" in printed
        texts[seed] = (tmp_path / "b.v").read_text()
        assert texts[seed].count("Theorem ") == texts[seed].count("interval with") == 4
    assert texts["5"] == (tmp_path / "a.v").read_text()
    assert texts["5"] != texts["6"]


def test_drawn_tests_do_not_depend_on_their_number():
    """The first tests of a drawn group are the same, however many follow."""
    document = vectors_of_sequences.SEQUENCE_DOCUMENTS[0]
    few, many = drawn_groups(document, 2), drawn_groups(document, 5)
    for one, other in zip(few, many, strict=True):
        assert one.parameters == other.parameters
        assert [test.inputs for test in one.tests] == [test.inputs for test in other.tests[:2]]


@pytest.mark.slow
def test_all_drawn_tests(tmp_path):
    """At least 5,000, each checked against its definition before it is written, none on a kink; a drawn fiftieth of
    them is read again.
    """
    vectors.write_vectors(tmp_path)
    written = [json.loads(p.read_text("utf-8")) for p in sorted(tmp_path.glob("*.json")) if p.name != vectors.SCHEMA]
    assert sum(document["number_of_tests"] for document in written) >= 5000
    rng = np.random.default_rng(drawn_seed())
    for document in written:
        for name, parameters, test in vectors_in({document["name"]: document}, level="sequence"):
            if name in LOSSES and "Drawn" in test["flags"] and rng.random() < 0.02:
                found = read_loss(name, parameters, test["inputs"])
                assert_close(found, test["expected"], place=f"{name} {test['id']}")


# --------------------------------------------------------------------------------------- readers in other languages

READERS = files("pbde_ref.vectors") / "readers"
COMMANDS = {"reader.mjs": (["node"], []), "reader.rs": (["rustc", "-O", "-o"], ["program"]),
            "reader.cpp": (["g++", "-std=c++17", "-O1", "-o"], ["program"])}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_readers_hold_a_right_implementation_and_find_bugs(name, folder, tmp_path):
    """Each of at most 150 lines; what agrees passes, and four planted bugs do not."""
    (tool, *options), program = COMMANDS[name]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    source = str(READERS / name)
    assert len((READERS / name).read_text("utf-8").splitlines()) <= 150
    run = [tool, source]
    if program:
        run = [str(tmp_path / "reader")]
        subprocess.run([tool, *options, *run, source], check=True, capture_output=True)

    def outcome(*bug):
        return subprocess.run([*run, str(folder), *bug], capture_output=True, text=True, check=False)

    right = outcome()
    assert right.returncode == 0, right.stdout + right.stderr
    held = [int(line.split()[1]) for line in right.stdout.splitlines()]
    assert len(held) == 2
    assert min(held) >= 20
    for bug in ("beta_twice", "overflow", "reference_ignored", "sum_for_mean"):
        wrong = outcome(bug)
        assert wrong.returncode == 1, bug
        assert "; not" in wrong.stdout, bug


@pytest.mark.parametrize("sample", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_coq_proves_expected_values_and_refuses_a_wrong_digit(documents, tmp_path, sample):
    """Tests drawn from three documents are proved; with one number moved by two places of its last, one is not."""
    if shutil.which("coqc") is None:
        pytest.skip("coqc is not installed")
    chosen = [documents[name] for name in ("dpo", "ipo", "sequence_log_probs")]
    seed = drawn_seed()
    proved = proves(tmp_path, "\n".join(theorems(chosen, sample, seed)))
    if not proved and not proves(tmp_path, "From Interval Require Import Tactic."):
        pytest.skip("coq-interval is not installed")
    assert proved, seed
    wrong = copy.deepcopy(documents["dpo"])
    wrong["groups"] = wrong["groups"][:1]
    wrong["groups"][0]["tests"] = wrong["groups"][0]["tests"][:1]
    (right,) = list(theorems([wrong]))[1:]
    values = wrong["groups"][0]["tests"][0]["expected"]
    values["losses"][0] += 2.0 * math.ulp(values["losses"][0])
    header, theorem = theorems([wrong])
    assert theorem != right
    assert not proves(tmp_path, header + theorem)


def proves(folder, text):
    """Whether Coq accepts it."""
    (folder / "theorems.v").write_text(text)
    command = ["coqc", "-q", str(folder / "theorems.v")]
    return subprocess.run(command, capture_output=True, check=False, cwd=folder).returncode == 0
