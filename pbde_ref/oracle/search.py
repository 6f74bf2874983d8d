"""Looking further than the fixed vectors: Hypothesis draws batches, and shrinks one on which the function is wrong."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from pbde_ref.oracle.calling.subjects import rounded_case
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.checks import Check
from pbde_ref.oracle.context import Context, FailedCheckError
from pbde_ref.oracle.corners import is_defined
from pbde_ref.oracle.tolerances import DTYPES

__all__ = ["random_search_check"]


def random_search_check(examples: int, seed: int) -> Check:
    """A check that looks at that many random batches."""

    def check(context: Context) -> None:
        """No random batch shows a difference from the definition."""
        failure = _smallest_failure(context, examples, seed)
        if failure is not None:
            raise failure

    return check


def _smallest_failure(context: Context, examples: int, seed: int) -> FailedCheckError | None:
    try:
        hypothesis = importlib.import_module("hypothesis")
    except ImportError as error:
        raise ImportError(f"random_search needs the package 'hypothesis', which cannot be imported: {error}") from error
    settings = hypothesis.settings(
        max_examples=examples, database=None, deadline=None, derandomize=False, report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck), verbosity=hypothesis.Verbosity.quiet,
    )  # fmt: skip

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(_cases(hypothesis.strategies, context))
    def search(case: Case) -> None:
        if is_defined(case, context.dtype) and not context.is_right(case):
            raise _WrongError(case)

    try:
        search()
    except _WrongError as wrong:
        # Hypothesis raises what the smallest example raised; only that one is worth a message.
        return _failure(context, wrong.args[0])
    return None


class _WrongError(Exception):
    """The function is wrong on the case that this carries."""


def _failure(context: Context, case: Case) -> FailedCheckError:
    try:
        computed = context.compute(case, gradients=True)
        gradients = {n: f"the gradient with respect to {n} on a random batch" for n in computed.outcome.gradients}
        context.hold(case, computed, {"": "the value on a random batch", **gradients})
    except FailedCheckError as failure:
        return failure
    return FailedCheckError("a random batch gave a wrong result once, and a right one when it was called again")


def _cases(strategies: Any, context: Context) -> Any:
    """Batches of 2 to 5 examples, hyperparameters varied where the function takes them.

    Numbers are sixteenths, so that what is shrunk is short to read; nothing shrinks towards the degenerate points: no
    log-probability is 0, lengths and references differ, and hyperparameters stay where they are or move to another
    generic value.
    """
    generic = context.generic

    @strategies.composite
    def cases(draw: Any) -> Case:
        size = draw(strategies.integers(2, 5))
        # Of exponentials only those that do not overflow say anything.
        most = 200_000 if generic.definition.sizes is None else int(11.0 * np.log(DTYPES[context.dtype].largest))
        arrays = {n: _array(draw, strategies, n, values, size, most) for n, values in generic.arrays.items()}
        conventions = {}
        for name in context.subject.keywords:
            hyperparameter = generic.definition.parameters[name]
            if hyperparameter.other is not None:
                choices = [generic.conventions[name], hyperparameter.generic, hyperparameter.other]
                conventions[name] = draw(strategies.sampled_from(choices))
        return rounded_case(generic.with_arrays(**arrays).with_conventions(**conventions), context.dtype)

    return cases()


def _array(draw: Any, strategies: Any, name: str, like: np.ndarray, size: int, most: int) -> np.ndarray:
    shape = like.shape if name in ("weight_logits", "regularization") else (size, *like.shape[1:])
    count = int(np.prod(shape))
    if "lengths" in name:
        return np.array(draw(_list(strategies.integers(2, 60), strategies, count))).reshape(shape)
    if name in ("scores", "ranks"):
        row = shape[1]
        rows = [draw(strategies.permutations(range(1, row + 1))) for _ in range(shape[0])]
        return np.array(rows, dtype=like.dtype)
    if name.startswith(("policy", "reference", "regularization")):
        few = min(1_000, most)
        numbers = strategies.one_of(strategies.integers(1, few), strategies.integers(few, most))
        return -np.array(draw(_list(numbers, strategies, count))).reshape(shape) / 16.0
    if like.dtype.kind == "b":
        return np.array(draw(_list(strategies.booleans(), strategies, count))).reshape(shape)
    if name == "labels":
        return np.array(draw(_list(strategies.integers(0, 16), strategies, count))).reshape(shape) / 16.0
    if name.startswith("f_") or name in ("margins", "offsets"):
        return np.array(draw(_list(strategies.integers(1, 48), strategies, count))).reshape(shape) / 16.0
    return np.array(draw(_list(strategies.integers(-800, 800), strategies, count))).reshape(shape) / 16.0


def _list(elements: Any, strategies: Any, count: int) -> Any:
    return strategies.lists(elements, min_size=count, max_size=count)
