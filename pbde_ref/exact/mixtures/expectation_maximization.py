"""Expectation–maximisation for Eq. (30), from one start, until the gradient vanishes at a point that is no saddle.

The E-step divides the answers among the annotators; the M-step takes the shares as new weights, and one damped Newton
step for each annotator's utilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pbde_ref.exact.laplacian import solve_damped
from pbde_ref.exact.mixtures.curvature import extreme_eigenvalues, is_saddle, mixture_hessian
from pbde_ref.exact.mixtures.model import (
    AnsweredPairs,
    Expectation,
    MixtureModel,
    divide_answers,
    evaluate,
    log_sigmoids_of,
)
from pbde_ref.validation import FloatArray, probability_weights

__all__ = ["Run", "line_search", "newton_step", "run_one_start"]

# A Newton step may cross a region where nobody's preference is informative; 20 nats are certainty there.
LARGEST_STEP = 20.0
# Curvatures of tails underflow; this share of the largest degree keeps the factorisation alive.
DAMPING = 1e-14
# A rejected second-order test is repeated no sooner than after so many iterations.
PATIENCE = 10


class Run(NamedTuple):
    """Where a start ended, its loss before the first and after every iteration, and gradient and Hessian there."""

    model: MixtureModel
    losses: list[float]
    gradient_norm: float
    hessian: FloatArray


def run_one_start(
    pairs: list[AnsweredPairs],
    model: MixtureModel,
    null: FloatArray,
    max_steps: int,
    tolerance: float,
    report: Callable[[int, MixtureModel], object],
) -> Run:
    """One start: iterate until the gradient vanishes at a point that is no saddle, or nothing moves any more."""
    losses, next_test = [model.loss], 0
    report(0, model)
    while True:
        expectation = divide_answers(pairs, model)
        norm = math.hypot(np.linalg.norm(expectation.gradient), np.linalg.norm(model.weights - expectation.shares))
        step, hessian = len(losses) - 1, None
        if norm <= tolerance and step >= next_test:
            hessian = mixture_hessian(pairs, model, expectation)
            if not is_saddle(*extreme_eigenvalues(hessian, null, len(model.weights))):
                break
            next_test = step + PATIENCE
        if step == max_steps:
            break
        candidate = _maximization(pairs, model, expectation, null)
        if not candidate.loss < model.loss:
            break  # rounding
        model = candidate
        losses.append(model.loss)
        report(step + 1, model)
    return Run(model, losses, norm, mixture_hessian(pairs, model, expectation) if hessian is None else hessian)


def _maximization(
    pairs: list[AnsweredPairs], model: MixtureModel, expectation: Expectation, null: FloatArray
) -> MixtureModel:
    """The M-step: exact weights, and one safeguarded Newton step for each annotator."""
    utilities = model.utilities.copy()
    log_sigmoids = [terms.copy() for terms in model.log_sigmoids]
    for i in range(len(utilities)):
        answers = [own[:, i] for own in expectation.answers]
        before = [terms[:, i] for terms in model.log_sigmoids]
        step = newton_step(pairs, answers, before, expectation.gradient[i], null)
        found = line_search(pairs, answers, before, utilities[i], expectation.gradient[i], step)
        if found is not None:
            utilities[i], after = found
            for terms, new in zip(log_sigmoids, after, strict=True):
                terms[:, i] = new
    weights = probability_weights("weights", expectation.shares)
    return evaluate(pairs, weights, utilities, log_sigmoids)


def newton_step(
    pairs: list[AnsweredPairs],
    answers: list[FloatArray],
    log_sigmoids: list[FloatArray],
    gradient: FloatArray,
    null: FloatArray,
) -> FloatArray:
    """Newton's direction of one annotator, without the components' constants and of limited length."""
    hessian = np.zeros((gradient.size, gradient.size))
    for (block, *_), own, terms in zip(pairs, answers, log_sigmoids, strict=True):
        block.add_to_laplacian(own.sum(axis=0) * np.exp(terms.sum(axis=0)), hessian)
    step = -solve_damped(hessian, gradient, null, DAMPING)
    return step * (LARGEST_STEP / max(LARGEST_STEP, float(np.abs(step).max())))


def line_search(
    pairs: list[AnsweredPairs],
    answers: list[FloatArray],
    before: list[FloatArray],
    utilities: FloatArray,
    gradient: FloatArray,
    step: FloatArray,
) -> tuple[FloatArray, list[FloatArray]] | None:
    """The first of the halved steps that lowers the annotator's own loss; None where there is no such step."""
    slope = float((gradient * step).sum())
    for _ in range(50):
        if not slope < 0.0:
            return None
        after = [log_sigmoids_of(block, utilities + step) for block, *_ in pairs]
        # Differences are summed, not sums subtracted: close to the optimum only the former have digits left.
        terms = zip(answers, before, after, strict=True)
        change = math.fsum(float((own * (old - new)).sum()) for own, old, new in terms)
        if change <= 1e-4 * slope or -slope < 1e-15:
            return utilities + step, after
        step, slope = 0.5 * step, 0.5 * slope
    return None
