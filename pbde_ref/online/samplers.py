r"""Gradient descent on DPO's expected loss while the policy has a say in which pairs are compared.

The policy has a logit for each outcome. With scores :math:`h = \beta \log \frac{\pi}{\pi_{pre}}`, an annotator by
Luce's rule with utilities u, and pairs of weight :math:`w_{xy} = w_{yx}`, one step of exact gradients is

.. math:: h_x \leftarrow h_x + \frac{\ell}{n} \sum_y w_{xy} \big[\sigma(u_x - u_y) - \sigma(h_x - h_y)\big]

where :math:`\ell` is :math:`n \beta^2` times the step in the logits. Proof: ``proofs/samplers.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from pbde_ref.display import Shown
from pbde_ref.validation import FloatArray, choice, positive_number, reject, vector, whole_number

__all__ = ["OnlineRun", "linear_rate", "online_dpo"]

Scores = Sequence[Decimal]
Weights = Callable[[Scores, Scores], list[list[Decimal]]]


@dataclass(frozen=True, eq=False)
class OnlineRun(Shown):
    r"""What exact gradient steps lead to, in many digits.

    Attributes
    ----------
    errors : tuple of Decimal
        :math:`\max_{x, y} |h_x - h_y - (u_x - u_y)|` before the first step and after each, as far as
        digits hold it.
    length : Decimal
        :math:`\ell`.
    factor : float
        By which the error fell per step in the last two, which may alternate; NaN for fewer than four errors.
    order : float
        :math:`\log \frac{e_t}{e_{t - 2}} / \log \frac{e_{t - 1}}{e_{t - 3}}` at the end: 1 where convergence is
        linear, 2 where it is quadratic; NaN for fewer than four errors.
    """

    errors: tuple[Decimal, ...]
    length: Decimal
    factor: float
    order: float


def _odds(differences: list[list[Decimal]]) -> list[list[Decimal]]:
    r""":math:`1 / \sigma'(d) = 2 + e^d + e^{-d}`."""
    return [[2 + d.exp() + (-d).exp() for d in row] for row in differences]


def _apart(values: Scores) -> list[list[Decimal]]:
    return [[a - b for b in values] for a in values]


def _policy_pairs(scores: Scores) -> list[list[Decimal]]:
    powers = [h.exp() for h in scores]
    total = sum(powers)
    return [[len(scores) ** 2 * a * b / total**2 for b in powers] for a in powers]


SAMPLERS: dict[str, Weights] = {
    "uniform": lambda scores, utilities: [[Decimal(1)] * len(scores) for _ in scores],
    "policy": lambda scores, utilities: _policy_pairs(scores),
    "mixed": lambda scores, utilities: _odds(_apart(scores)),
    "rewards": lambda scores, utilities: _odds(_apart(utilities)),
}


def _sigmoid(d: Decimal) -> Decimal:
    return 1 / (1 + (-d).exp())


def _curvatures(utilities: FloatArray, sampler: str) -> FloatArray:
    """Non-zero eigenvalues, rising, of the Laplacian with what pairs weigh at the optimum times their curvature."""
    apart = utilities[:, None] - utilities
    weights = expit(apart) * expit(-apart)
    if sampler == "policy":
        policy = np.exp(utilities - utilities.max())
        weights = weights * np.outer(policy, policy) * (policy.size / policy.sum()) ** 2
    elif sampler != "uniform":
        weights = np.ones(weights.shape)
    return np.asarray(np.linalg.eigvalsh(np.diag(weights.sum(axis=1)) - weights)[1:])


def linear_rate(utilities: ArrayLike, sampler: str) -> float:
    r"""The least factor by which the error falls per step in the end, over all constant steps.

    .. math:: \frac{\lambda_{\max} - \lambda_{\min}}{\lambda_{\max} + \lambda_{\min}}

    of the Laplacian with weights :math:`w_{xy}\, \sigma'(u_x - u_y)`. It is 0 where convergence is faster than linear:
    for the samplers "mixed" and "rewards", for two outcomes, and where all utilities are equal; never else for
    "uniform".

    Parameters
    ----------
    utilities : array_like, shape (n,)
        Within 30 nats of each other.
    sampler : {"uniform", "policy", "mixed", "rewards"}
        As for `online_dpo`.

    Examples
    --------
    >>> from pbde_ref.online import linear_rate
    >>> round(linear_rate([0.0, 1.0, 2.0], "uniform"), 6), linear_rate([0.0, 1.0, 2.0], "mixed") < 1e-15
    (0.183892, True)
    """
    values = _checked("utilities", utilities)
    curvatures = _curvatures(values, choice("sampler", sampler, SAMPLERS))
    return float((curvatures[-1] - curvatures[0]) / (curvatures[-1] + curvatures[0]))


def _checked(name: str, values: ArrayLike, size: int | None = None) -> FloatArray:
    result = vector(name, values, size=size)
    reject(name, "finite", result, ~np.isfinite(result))
    if not 2 <= result.size <= 30:
        raise ValueError(f"`{name}` must hold from 2 to 30 outcomes; got {result.size}")
    if np.ptp(result) > 30.0:
        raise ValueError(f"`{name}` must lie within 30 nats of each other; got {np.ptp(result):g}")
    return result


def online_dpo(
    utilities: ArrayLike,
    sampler: str,
    *,
    steps: int = 20,
    start: ArrayLike | None = None,
    length: float | None = None,
    digits: int = 60,
) -> OnlineRun:
    r"""Exact gradient steps of DPO from pairs that a sampler weighs, in many digits.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        Of the annotator, who follows Luce's rule; 2 to 30, within 30 nats of each other.
    sampler : {"uniform", "policy", "mixed", "rewards"}
        All pairs alike; both from the current policy, for an even reference and :math:`\beta = 1`; all pairs alike and,
        as heavily, one drawn in proportion to :math:`e^h` and the other to :math:`e^{-h}`, together
        :math:`w = 1 / \sigma'(h_x - h_y)`; the same with u in place of h.
    steps : int
        At most 10,000.
    start : array_like, shape (n,), optional
        First scores. Default: zeros, the reference.
    length : float, optional
        :math:`\ell`. Default: the best in the end, :math:`2 n / (\lambda_{\min} + \lambda_{\max})`; 1 for "mixed" and
        "rewards".
    digits : int
        From 30 to 1,000; errors below 10 to the power of 10 - digits are left out.

    Notes
    -----
    For "mixed" and "rewards" with length 1, errors D satisfy :math:`D' \le 2 \frac{n - 1}{n} (e^D - 1 - D)`: quadratic
    convergence from any start with :math:`D < 0.76`. Concept: Shi, Zhou and Du (2024, arXiv:2409.19605).

    Examples
    --------
    >>> from pbde_ref.online import online_dpo
    >>> round(online_dpo([0.0, 0.4, 1.0], "mixed").order, 1), round(online_dpo([0.0, 0.4, 1.0], "uniform").order, 1)
    (2.0, 1.0)
    """
    target = _checked("utilities", utilities)
    weights = SAMPLERS[choice("sampler", sampler, SAMPLERS)]
    first = np.zeros(target.size) if start is None else _checked("start", start, target.size)
    steps = whole_number("steps", steps, least=1, most=10_000)
    digits = whole_number("digits", digits, least=30, most=1000)
    given = None if length is None else positive_number("length", length)
    if given is not None and given > 1e100:
        raise ValueError(f"`length` must be at most 1e100; got {given}")
    with localcontext(prec=digits) as context:
        # Far from the optimum a step may be too long; then errors grow until an exponential does not fit.
        context.Emax, context.Emin = 10**9, -(10**9)
        exact = [Decimal(float(u)) for u in target]
        scores = [Decimal(float(h)) for h in first]
        wins = [[_sigmoid(d) for d in row] for row in _apart(exact)]
        size = _length(target, exact, sampler) if given is None else Decimal(given)
        errors = [_error(scores, exact)]
        for _ in range(steps):
            if not Decimal(10) ** (10 - digits) < errors[-1] < 10**6:
                break
            scores = _step(scores, wins, weights(scores, exact), size / len(exact))
            errors.append(_error(scores, exact))
        kept = tuple(e for e in errors if e > Decimal(10) ** (10 - digits))
        return OnlineRun(kept, +size, *_speed(kept))


def _length(target: FloatArray, exact: Scores, sampler: str) -> Decimal:
    if sampler in ("mixed", "rewards"):
        return Decimal(1)
    if len(exact) == 2:
        # The only curvature, in all digits: the step is Newton's.
        d = exact[0] - exact[1]
        weight = SAMPLERS[sampler](exact, exact)[0][1]
        return 1 / (weight * _sigmoid(d) * _sigmoid(-d))
    curvatures = _curvatures(target, sampler)
    return Decimal(2 * target.size / float(curvatures[0] + curvatures[-1]))


def _step(scores: Scores, wins: list[list[Decimal]], weights: list[list[Decimal]], share: Decimal) -> list[Decimal]:
    moved = []
    for x, h in enumerate(scores):
        pull = sum((weights[x][y] * (wins[x][y] - _sigmoid(h - other)) for y, other in enumerate(scores)), Decimal(0))
        moved.append(h + share * pull)
    return moved


def _error(scores: Scores, exact: Scores) -> Decimal:
    off = [h - u for h, u in zip(scores, exact, strict=True)]
    return max(off) - min(off)


def _speed(errors: Sequence[Decimal]) -> tuple[float, float]:
    """Factor and order at the end."""
    if len(errors) < 4:
        return math.nan, math.nan
    last, before = ((errors[i] / errors[i - 2]).ln() for i in (-1, -2))
    return float((errors[-1] / errors[-3]).sqrt()), float(last / before) if before else math.nan
