"""The paper's equations on a problem's arrays: the text of `pbde_ref.paper`, with decimals for its arithmetic.

Floating-point numbers are exact decimals, and decimals have room for what probabilities over thousands of nats need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from pbde_ref import paper
from pbde_ref.validation import FloatArray

__all__ = [
    "controlled_reward", "controlled_reward_slope", "cross_entropies", "distribution", "luce_preferences",
    "optimum", "pair_kl", "ranking_loss", "tilted_divergences", "wins",
]  # fmt: skip

DECIMAL = SimpleNamespace(exp=Decimal.exp, log=Decimal.ln)
DIGITS = 40


def _exact_to(digits: int) -> Context:
    """A policy may have a log-probability of -1e13."""
    return Context(prec=digits, Emin=MIN_EMIN, Emax=MAX_EMAX)


def _decimals(values: Iterable[float]) -> list[Decimal]:
    return [Decimal(float(value)) for value in values]


def _digits(*utilities: FloatArray) -> int:
    """Enough for 1 - p beside p: the rarer answer has a probability down to e^(-spread)."""
    return DIGITS + int(max(np.ptp(u[np.isfinite(u)]) for u in utilities) / 2.3)


def distribution(log_pmf: FloatArray) -> list[Decimal]:
    """Probabilities, however small."""
    return paper.normalized([DECIMAL.exp(x) for x in _decimals(log_pmf)])


def luce_preferences(log_p: FloatArray, q: FloatArray | None = None) -> FloatArray:
    """Eq. (9) for the pairs that q draws, and 0 for others; without q for all pairs."""
    q = np.ones((log_p.size, log_p.size)) if q is None else q
    with localcontext(_exact_to(DIGITS)):
        p_star = distribution(log_p)
        result = np.zeros(q.shape)
        for a, b in zip(*map(np.ndarray.tolist, np.nonzero(q)), strict=True):
            # Of an outcome of probability zero beside itself the equation says nothing; either answer is that outcome.
            result[a, b] = float(paper.equation_9(p_star, a, b)) if a != b else 0.5
        return result


def wins(log_p: FloatArray, q: FloatArray) -> FloatArray:
    """How often A meets B and wins, off the diagonal, under Eq. (9)."""
    both = q + q.T
    np.fill_diagonal(both, 0.0)
    return luce_preferences(log_p, both) * both


def cross_entropies(chi: FloatArray, omega: FloatArray, q: FloatArray) -> tuple[float, float, float]:
    """Eq. (7) for an annotator and a model with these utilities, Eq. (8), and Eq. (7) of the annotator's own answers.

    q must compare no two outcomes with a utility of minus infinity.
    """
    with localcontext(_exact_to(_digits(chi, omega))):
        rows = [_decimals(row) for row in q]
        annotator, model = (_bradley_terry(_decimals(u)) for u in (chi, omega))
        return (
            float(paper.equation_7(rows, annotator, model, DECIMAL)),
            float(paper.equation_8(rows, annotator, model, DECIMAL)),
            float(paper.equation_7(rows, annotator, annotator, DECIMAL)),
        )


def _bradley_terry(utilities: list[Decimal]) -> Callable[[int, int], Decimal]:
    return lambda a, b: paper.equation_2(utilities, a, b, DECIMAL)


def pair_kl(chi: FloatArray, omega: FloatArray, a: int, b: int, digits: int = 60) -> float:
    """Eq. (8) for one pair, with enough digits for the smaller probability as well."""
    two = [a, b]
    with localcontext(_exact_to(digits + _digits(chi[two], omega[two]))):
        return float(paper.lemma_1([[0, 1], [0, 0]], _decimals(chi[two]), _decimals(omega[two]), DECIMAL))


def controlled_reward(logits: FloatArray, rewards: FloatArray, beta: float, log_reference: FloatArray) -> float:
    """Eq. (12) at the softmax of logits."""
    with localcontext(_exact_to(DIGITS)):
        return float(_equation_12(_decimals(logits), rewards, beta, log_reference))


def controlled_reward_slope(
    logits: FloatArray, direction: FloatArray, rewards: FloatArray, beta: float, log_reference: FloatArray
) -> float:
    """Derivative of Eq. (12) along a direction of the logits: a central difference over a step of 1e-25."""
    step = Decimal("1e-25")
    with localcontext(_exact_to(2 * DIGITS)):
        above, below = (
            _equation_12(
                [x + s * step * d for x, d in zip(_decimals(logits), _decimals(direction), strict=True)],
                rewards, beta, log_reference,
            )
            for s in (1, -1)
        )  # fmt: skip
        return float((above - below) / (2 * step))


def _equation_12(logits: list[Decimal], rewards: FloatArray, beta: float, log_reference: FloatArray) -> Any:
    policy = paper.normalized([DECIMAL.exp(x) for x in logits])
    return paper.equation_12(policy, distribution(log_reference), _decimals(rewards), Decimal(float(beta)), DECIMAL)


def optimum(equation: Callable[..., list[Any]], log_reference: FloatArray, log_p: FloatArray, by: float) -> FloatArray:
    """Eq. (16) or (18), with beta or alpha, as log-probabilities."""
    with localcontext(_exact_to(DIGITS)):
        pmf = equation(distribution(log_reference), distribution(log_p), Decimal(float(by)), DECIMAL)
        return np.array([float(DECIMAL.log(p)) for p in pmf])


def tilted_divergences(rewards: FloatArray, beta: float, log_reference: FloatArray) -> tuple[float, float]:
    """Divergence of Eq. (13) from the reference, and of the reference from it."""
    with localcontext(_exact_to(DIGITS)):
        reference = distribution(log_reference)
        policy = paper.equation_13(reference, _decimals(rewards), Decimal(float(beta)), DECIMAL)
        log_ratios = [DECIMAL.log(p / r) for p, r in zip(policy, reference, strict=True)]
        away = sum(p * x for p, x in zip(policy, log_ratios, strict=True))
        return float(away), float(-sum(r * x for r, x in zip(reference, log_ratios, strict=True)))


def ranking_loss(wins: FloatArray, best: FloatArray, log_pmf: FloatArray) -> float:
    """Eq. (19), with its sign repaired, and RRHF's likelihood term, with lengths of one."""
    with localcontext(_exact_to(DIGITS)):
        pairs = [((a, b), Decimal(float(wins[a, b]))) for a, b in np.argwhere(wins > 0.0).tolist()]
        first = [((x,), Decimal(float(weight))) for x, weight in enumerate(best)]
        policy = [DECIMAL.exp(x) for x in _decimals(log_pmf)]
        ranked = paper.equation_19(pairs, policy, [1] * len(policy), DECIMAL)
        return float(ranked + paper.best_likelihood(first, policy, DECIMAL))
