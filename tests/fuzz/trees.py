"""Right losses with one node of their expression tree changed: the oracle must not crash, nor pass a wrong one.

``python -m tests.fuzz.trees --trees 10000 --seed 1`` prints what became of them, and each tree that passed though it is
wrong. Losses are drawn equally often, and kinds: the loss itself is another, or its gradient alone. Wrong is what
differs at 50 digits from the source that was changed, on inputs that the loss allows and nobody chose.
"""

import argparse
import ast
import contextlib
import copy
import functools
import sys
import warnings
from collections import Counter

import autograd.numpy as anp
import mpmath
import numpy as np
from autograd import grad
from autograd.tracer import getval

from pbde_ref.catalogue import LOSSES
from pbde_ref.oracle.calling.preparation import conventions_of, keywords_of
from pbde_ref.oracle.calling.readiness import Options, bench_for
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.rewards import SEQUENCE_REWARDS
from pbde_ref.oracle.selftest.namespaces import namespace
from pbde_ref.oracle.selftest.sources import CORRECT, SOURCES, build
from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS, VOCABULARY, sequence_arrays

RECORDS = {**LOSSES, SEQUENCE_LOG_PROBS.name: SEQUENCE_LOG_PROBS, SEQUENCE_REWARDS.name: SEQUENCE_REWARDS}
KINDS = ("value", "gradient")

# Below it is what a tolerance may pass, above it what it may not; both relative to 1 and the loss.
ALLOWED, WRONG = 1e-12, 1e-4
BATCHES = 60

# Changed trees


def changes(node, names, rng):
    """What may stand in a node's place, each as likely as the others."""
    found = [
        lambda: ast.BinOp(node, ast.Mult(), ast.Constant(float(rng.choice([0.5, 0.9, 1.01, 2.0, 10.0])))),
        lambda: ast.BinOp(node, ast.Add(), ast.Constant(float(rng.choice([-1.0, -0.01, 1e-3, 1.0])))),
        lambda: ast.UnaryOp(ast.USub(), node),
        lambda: called("absolute", node),
        lambda: called("relu", node),
        lambda: called("clip", node, *(ast.Constant(float(s * rng.choice([0.5, 20.0, 500.0]))) for s in (-1, 1))),
        lambda: called("where", ast.Compare(node, [ast.Gt()], [ast.Constant(float(rng.choice([-9.0, 0.0, 5.0])))]),
                       node, ast.BinOp(ast.Constant(0.5), ast.Mult(), node)),
    ]  # fmt: skip
    if isinstance(node, ast.BinOp):
        other = [op for op in (ast.Add, ast.Sub, ast.Mult, ast.Div) if not isinstance(node.op, op)]
        found += [lambda: ast.BinOp(node.left, rng.choice(other)(), node.right)] * 2
        found += [lambda: ast.BinOp(node.right, node.op, node.left), lambda: node.left, lambda: node.right]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        found += [lambda: ast.Constant(node.value + 1), lambda: ast.Constant(2 * node.value)]
    if isinstance(node, ast.UnaryOp):
        found += [lambda: node.operand] * 3
    if isinstance(node, ast.Name) and node.id in names:
        found += [lambda: ast.Name(str(rng.choice(names)), ast.Load())] * 4
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        others = ["absolute", "relu", "exp", "tanh", "log_sigmoid", "detach"]
        found += [lambda: node.args[0], lambda: called(str(rng.choice(others)), node.args[0])]
    return found


def called(name, *arguments):
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def arithmetic(tree):
    """The places of expressions that are numbers: not names that are called or assigned to, nor indices."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if isinstance(parent, ast.Subscript | ast.Compare | ast.keyword | ast.arguments) and field != "value":
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.BinOp | ast.UnaryOp | ast.Name | ast.Call | ast.Constant) and not (
                    field in ("func", "targets") or (isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store))
                ):
                    yield parent, field, place, child


def changed(text, rng):
    """The source with one node changed."""
    tree = ast.parse(text)
    function = tree.body[0]
    names = [a.arg for a in (*function.args.args, *function.args.kwonlyargs)]
    names += [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    places = list(arithmetic(ast.Module(function.body, [])))
    parent, field, place, child = places[rng.integers(len(places))]
    options = changes(copy.deepcopy(child), names, rng)
    new = options[rng.integers(len(options))]()
    if place is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[place] = new
    return ast.unparse(ast.fix_missing_locations(tree))


# The same text in other numbers


def function_of(text, names):
    exec(compile(text, "<tree>", "exec"), names)
    return names["loss"]


def of_autograd(reduction):
    names = namespace("numpy", reduction)
    names |= {
        "exp": anp.exp, "log": anp.log, "log1p": anp.log1p, "tanh": anp.tanh, "where": anp.where, "absolute": anp.abs,
        "log_sigmoid": lambda z: -anp.logaddexp(0.0, -z), "relu": lambda z: anp.maximum(z, 0.0), "clip": anp.clip,
        "row_max": lambda z: anp.max(z, -1, keepdims=True), "zeros_like": lambda z: 0.0 * z,
        "ascending": lambda z: z[np.argsort(getval(z))], "log_lost": lambda z: anp.log(-anp.expm1(z)),
        "stack": anp.stack,
        "logsumexp": lambda z: anp.log(anp.sum(anp.exp(z - anp.max(z, -1, keepdims=True)), -1))
        + anp.max(z, -1, keepdims=True)[..., 0],
    }  # fmt: skip
    names["log_softmax"] = lambda z: z - names["logsumexp"](z)[..., None]
    return names


def _elementwise(function):
    """For numbers of any kind; labels stay whole numbers, which arrays can be read at."""
    each = np.frompyfunc(function, 1, 1)
    return lambda z: each(z).astype(z.dtype) if isinstance(z, np.ndarray) and z.dtype.kind in "iu" else each(z)


def of_fifty_digits(reduction):
    names = namespace("numpy", reduction)
    exp, log = np.frompyfunc(mpmath.exp, 1, 1), np.frompyfunc(mpmath.log, 1, 1)
    names |= {
        "exp": exp, "log": log, "log1p": lambda z: log(1 + z), "tanh": np.frompyfunc(mpmath.tanh, 1, 1),
        "absolute": _elementwise(abs), "log_sigmoid": lambda z: -log(1 + exp(-z)),
        "relu": _elementwise(lambda x: max(x, 0)),
        "clip": lambda z, low, high: _elementwise(lambda x: min(max(x, low), high))(z),
        "log_softmax": lambda z: z - log(exp(z).sum(-1, keepdims=True)), "logsumexp": lambda z: log(exp(z).sum(-1)),
        "log_lost": lambda z: log(-np.frompyfunc(mpmath.expm1, 1, 1)(z)),
    }  # fmt: skip
    return names


# Allowed inputs


def number(rule, rng):
    return {
        "flip probability": lambda: rng.uniform(0.01, 0.45), "share": lambda: rng.uniform(0.01, 0.45),
        "probability": lambda: rng.uniform(0.0, 1.0), "switch": lambda: False,
    }.get(rule, lambda: float(np.exp(rng.normal(-0.5, 1.2))))()  # fmt: skip


def drawn_case(case, keywords, rng):
    """A batch that nobody chose, of any size, and numbers for what the function takes."""
    definition = case.definition
    numbers = (n for n in keywords if isinstance(case.conventions[n], float))
    varied = [n for n in numbers if definition.parameters[n].other is not None]
    case = case.with_conventions(**{n: number(definition.parameters[n].rule, rng) for n in varied})
    # In a batch a large loss hides what a small one does.
    rows = 1 if rng.random() < 0.5 else int(rng.integers(2, 9))
    if definition.family in ("sequence", "reading"):
        return case.with_arrays(**drawn_tokens(definition, case, rows, rng))
    arrays = {}
    for name, like in case.arrays.items():
        shape = like.shape if name in ("weight_logits", "regularization") else (rows, *like.shape[1:])
        if name in ("scores", "ranks"):
            arrays[name] = np.array([rng.permutation(shape[1]) + 1 for _ in range(rows)], dtype=like.dtype)
        elif "lengths" in name:
            arrays[name] = rng.integers(1, 60, shape)
        elif name.startswith(("policy", "reference", "regularization")):
            arrays[name] = -np.exp(rng.uniform(-7, 9.5, shape))
        elif name.startswith("f_") or name in ("margins", "offsets"):
            arrays[name] = np.exp(rng.normal(-0.5, 1.0, shape))
        elif name == "labels":
            arrays[name] = rng.uniform(0.0, 1.0, shape)
        elif like.dtype.kind == "b":
            arrays[name] = rng.random(shape) < 0.5
        else:
            arrays[name] = (rng.normal(0.0, np.exp(rng.uniform(-1, 7)), shape)).astype(like.dtype)
    if rng.random() < 0.2 and {"policy_chosen", "reference_chosen"} <= set(arrays):
        arrays |= {f"policy_{s}": arrays[f"reference_{s}"].copy() for s in ("chosen", "rejected")}
    return case.with_arrays(**arrays)


def drawn_tokens(definition, case, rows, rng):
    width = 8
    left, right = rng.integers(0, 3, (2, rows))
    attention = ((np.arange(width) >= left[:, None]) & (np.arange(width) < width - right[:, None])).astype(np.int64)
    if definition.family == "reading":
        return {"scores": rng.normal(0.0, 5.0, (rows, width)), "mask": attention}
    prompts = left + rng.integers(1, 3, rows)
    logits, labels = rng.normal(0.0, 4.0, (rows, width, VOCABULARY)), rng.integers(0, VOCABULARY, (rows, width))
    return sequence_arrays(logits, labels, attention, prompts)


def exact(case):
    """The arrays in numbers of 50 digits."""
    return [case.arrays[i.name].astype(object) * mpmath.mpf(1) if i.floating else case.arrays[i.name]
            for i in case.inputs]  # fmt: skip


# The verdicts


def difference(text, other, case, keywords, kind, reduction):
    """How far two sources are apart at 50 digits, relative to 1 and the loss; None where the right one has none."""
    given = {own: case.conventions[name] for name, own in keywords.items()}
    right, wrong = (function_of(source, of_fifty_digits(reduction)) for source in (text, other))
    with mpmath.workdps(50), np.errstate(all="ignore"):
        arrays = exact(case)

        def loss(function, arrays):
            found = function(*arrays, **given)
            return np.ravel(np.asarray(first(found), dtype=object))

        def parts(function):
            if kind == "value":
                return loss(function, arrays)
            slopes, step = [], mpmath.mpf(10) ** -25
            for place, given_ in enumerate(case.inputs):
                for index in np.ndindex(arrays[place].shape) if given_.differentiated else ():
                    moved = [a.copy() for a in arrays]
                    moved[place][index] += step
                    slopes.append((loss(function, moved).sum() - loss(function, arrays).sum()) / step)
            return np.array(slopes, dtype=object)

        try:
            wanted = parts(right)
        except (ArithmeticError, ValueError):
            return None
        try:
            found = parts(wrong)
        except ZeroDivisionError:  # what floats divide by 0 they may never use
            return None
        except Exception:  # a changed tree may raise whatever it likes
            return np.inf
        if found.shape != wanted.shape:
            return np.inf
        size = 1 + max(abs(x) for x in wanted)
        return float(max(abs(a - b) for a, b in zip(found, wanted, strict=True)) / size)


def first(found):
    return found[0] if isinstance(found, tuple) else found


def subject_of(text, other, subject, definition, case, kind, reduction):
    """The changed loss; or the right one with the changed one's gradient."""
    if kind == "value":
        return function_of(other, namespace("numpy", reduction))
    right, names = build(subject, "numpy"), of_autograd(reduction)
    wrong = function_of(other, names)
    moved = [i.name for i in case.inputs if i.differentiated]
    # They come first, in all losses.
    assert moved == [i.name for i in case.inputs[: len(moved)]]

    @functools.wraps(right)
    def loss(*arrays, **given):
        own, others = arrays[: len(moved)], arrays[len(moved) :]
        slopes = grad(lambda own: anp.sum(first(wrong(*own, *others, **given))))(own)
        return first(right(*arrays, **given)), dict(zip(moved, slopes, strict=True))

    return loss


def drawn(rng):
    """A subject, its changed text, and what is changed: losses and kinds equally often."""
    name = str(rng.choice(list(dict.fromkeys(one.loss for one in CORRECT))))
    subject = rng.choice([one for one in CORRECT if one.loss == name])
    of_pairs = RECORDS[loss_name(name)].family not in ("sequence", "reading") and "gradients" not in subject.source
    # A weight that no gradient flows into is none of a derivative's.
    of_pairs = of_pairs and name != "wpo"
    kind = str(rng.choice(KINDS)) if of_pairs and not subject.conventions.get("lambda_") else "value"
    text = SOURCES[subject.source]
    while (other := changed(text, rng)) == ast.unparse(ast.parse(text)):
        pass
    return subject, text, other, kind


def loss_name(name):
    return next(n for n, record in RECORDS.items() if name in (n, *record.aliases))


def judged(subject, text, other, kind, rng):
    """What became of a tree: found, passed because it is the same or nearly, "PASSED though wrong", or "CRASHED"."""
    definition = RECORDS[loss_name(subject.loss)]
    reduction = subject.conventions.get("reduction", "mean")
    conventions = {"reduction": "none"} if definition.family in ("sequence", "reading") else {}
    declared = {**subject.conventions, **conventions}
    right = build(subject, "numpy")
    keywords = keywords_of(right, definition, declared)
    case = Case(definition, definition.batches["generic"], conventions_of(definition, declared, set(keywords)))
    if "takes_lengths" in case.conventions and "lengths" in text:
        case = case.with_conventions(takes_lengths=True)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            function = subject_of(text, other, subject, definition, case, kind, reduction)
            options = Options(framework="numpy", returns_gradients=kind == "gradient",
                              returns_rewards="with rewards" in subject.source and kind == "value")  # fmt: skip
            bench = bench_for(function, definition, declared, options)
            found = any(result.status == "failed" for result in bench.run(["call", *bench.checks]))
    except Exception as error:
        return f"CRASHED: {type(error).__name__}: {error}"
    largest = 0.0
    for _ in range(BATCHES):
        with contextlib.suppress(ArithmeticError):
            apart = difference(text, other, drawn_case(case, keywords, rng), keywords, kind, reduction)
            largest = max(largest, apart or 0.0)
        if largest > WRONG:
            return "found" if found else "PASSED though wrong"
    passed = "same" if largest < ALLOWED else "small difference"
    return f"{passed}, found all the same" if found else passed


def fuzz(trees, seed, report=lambda line: None):
    """How many trees met which fate, and the first of each that crashed or passed though wrong."""
    rng = np.random.default_rng(seed)
    counts, faults = Counter(), {}
    for place in range(trees):
        subject, text, other, kind = drawn(rng)
        fate = judged(subject, text, other, kind, rng)
        counts[fate.split(":")[0]] += 1
        if "all the same" in fate:
            report(f"{fate}, {kind} of {subject.loss} {dict(subject.conventions)}\n{other}\n")
        if fate[0].isupper():
            faults.setdefault((fate, subject.source, other), kind)
            report(f"{fate}, {kind} of {subject.loss} {dict(subject.conventions)}\n{other}\n")
        if place % 200 == 199:
            report(f"{place + 1} trees: {dict(counts)}")
    return counts, faults


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    counts, faults = fuzz(options.trees, options.seed, lambda line: print(line, flush=True))
    print(f"{options.trees} trees, seed {options.seed}: {dict(counts)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
