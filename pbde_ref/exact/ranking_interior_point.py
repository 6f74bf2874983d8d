"""RRHF: a primal-dual interior-point method, and the lower bound on the loss that each of its iterates proves.

The dual problem has a multiplier y for each pair of outcomes, in a box as wide as the pair is frequent; a policy and
its bound are recovered from any y. Proof: ``proofs/rrhf.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import entr

from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.exact.ranking_programme import RankingProgramme, loss_rounding, loss_value
from pbde_ref.numerics import log_normalize
from pbde_ref.pbde import length_normalized
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["certified_minimum"]

EPS = float(np.finfo(float).eps)
# Pairs whose box is narrower than this share of the widest are left to the primal side; their multiplier 0 is feasible.
NARROWEST = 1e-20
# Starts lie between the distribution of the best candidate and the policy of equal scores, in this order.
BLENDS = (0.0, 0.5, 1.0, 0.25, 0.75, 0.1, 0.9)
# How far a step may go towards the boundary, and how far Σ e^v may leave the line by which Newton replaces it.
TO_THE_BOUNDARY, LARGEST_BEND = 0.99, 1.0
# Rounds in which multipliers are cut down until no outcome's mass is negative.
REPAIRS = 50


def certified_minimum(programme: RankingProgramme, tolerance: float, max_steps: int) -> tuple[FloatArray, float, int]:
    """Log-probabilities, a lower bound on every policy's loss, and the number of steps, of several starts together.

    The bound is lower by what rounding may have done to the loss of these log-probabilities.
    """

    def upper(log_pmf: FloatArray) -> float:
        return loss_value(programme, log_pmf) + loss_rounding(programme, log_pmf)

    winners = log_normalize(np.log(programme.best))
    flat = normalized_log_policy(np.zeros(winners.size), length_normalized(programme.lengths))
    boxes, policy, lower, steps = _boxes(programme), winners, -np.inf, 0
    for blend in BLENDS:
        start = log_normalize((1.0 - blend) * winners + blend * flat)
        for taken, state in enumerate(islice(_interior_point(programme, boxes, start), max_steps + 1)):
            steps += taken > 0
            recovered, bound = _dual(programme, boxes, boxes.multipliers(state))
            # Newton's method lowers the logarithm of a mass that is too large by no more than one a step.
            lowered = np.where(np.isfinite(recovered), np.minimum(state.log_pmf, recovered), state.log_pmf)
            candidates = (policy, log_normalize(state.log_pmf), recovered, log_normalize(lowered))
            policy = min(candidates, key=upper)
            lower = max(lower, bound)
            if upper(policy) - lower <= tolerance:
                return policy, lower - loss_rounding(programme, policy), steps
    return policy, lower - loss_rounding(programme, policy), steps


class _Boxes(NamedTuple):
    """Pairs A < B with the interval [-c_BA, c_AB] of their multiplier y; the score difference is t = s_B − s_A."""

    a: IndexArray
    b: IndexArray
    low: FloatArray
    high: FloatArray

    def differences(self, score: FloatArray) -> FloatArray:
        return score[self.b] - score[self.a]

    def flow(self, y: FloatArray, size: int) -> FloatArray:
        """What each outcome receives."""
        return np.asarray(np.bincount(self.a, y, size) - np.bincount(self.b, y, size), dtype=np.float64)

    def multipliers(self, state: _Iterate) -> FloatArray:
        return np.where(state.left < state.right, self.low + state.left, self.high - state.right)

    def laplacian(self, terms: FloatArray, size: int) -> FloatArray:
        result = np.zeros((size, size))
        result[self.a, self.b] = result[self.b, self.a] = -terms
        result[np.diag_indices(size)] = -result.sum(axis=1)
        return result


class _Iterate(NamedTuple):
    """Log-probabilities, multiplier of their normalisation, distances of y from the sides of its box, and their slacks.

    Both distances are carried along: next to a side, the difference of y and the side would have no digits.
    """

    log_pmf: FloatArray
    rho: float
    left: FloatArray
    right: FloatArray
    below: FloatArray
    above: FloatArray

    def moved(self, direction: _Iterate, length: float) -> _Iterate:
        return _Iterate(
            self.log_pmf + length * direction.log_pmf,
            self.rho + length * direction.rho,
            self.left + length * direction.left,
            self.right + length * direction.right,
            self.below + length * direction.below,
            self.above + length * direction.above,
        )


def _boxes(programme: RankingProgramme) -> _Boxes:
    a, b = np.triu_indices(programme.best.size, 1)
    low, high = -programme.wins[b, a], programme.wins[a, b]
    width = high - low
    kept = width > NARROWEST * width.max(initial=0.0)
    return _Boxes(a[kept], b[kept], low[kept], high[kept])


def _interior_point(programme: RankingProgramme, boxes: _Boxes, start: FloatArray) -> Iterator[_Iterate]:
    """The iterates, until the linear system is singular to working precision."""
    state: _Iterate | None = _first_iterate(programme, boxes, start)
    while state is not None:
        yield state
        state = _step(programme, boxes, state)


def _first_iterate(programme: RankingProgramme, boxes: _Boxes, log_pmf: FloatArray) -> _Iterate:
    """The middle of all boxes, and slacks of equal products."""
    width = boxes.high - boxes.low
    rise = np.abs(boxes.differences(log_pmf / programme.lengths))
    product = float(np.mean(rise * width)) if width.size else 0.0
    half = 0.5 * width
    slack = max(product, 1e-8 * programme.likelihood_weight) / half
    tokens = [float((pmf * programme.lengths).sum()) for pmf in (programme.best, np.exp(log_pmf))]
    rho = programme.likelihood_weight * tokens[0] / tokens[1]
    return _Iterate(log_pmf, rho, half, half, slack, slack)


def _dual(programme: RankingProgramme, boxes: _Boxes, y: FloatArray) -> tuple[FloatArray, float]:
    """Policy and value of the dual problem at y, made feasible: no outcome may pass on more than it has.

    The value is lowered by all that rounding may have done to it, and to the masses.
    """
    start = programme.likelihood_weight * programme.best
    scale = np.ones(start.size)
    for _ in range(REPAIRS):
        passed_on = np.where(y < 0.0, scale[boxes.a], scale[boxes.b]) * y
        into_a, into_b = np.maximum(passed_on, 0.0), np.maximum(-passed_on, 0.0)
        size, lengths = start.size, programme.lengths
        income = start + (np.bincount(boxes.a, into_a, size) + np.bincount(boxes.b, into_b, size)) / lengths
        spent = (np.bincount(boxes.a, into_b, size) + np.bincount(boxes.b, into_a, size)) / lengths
        mass = income - spent
        if (mass >= 0.0).all():
            break
        scale = np.where(mass < 0.0, scale * income / np.maximum(spent, income), scale)
    else:
        mass, spent = start, np.zeros(start.size)  # y = 0 is always feasible
    with np.errstate(divide="ignore"):
        log_pmf = log_normalize(np.log(mass))
    return log_pmf, _dual_value(programme, mass, income + spent)


def _dual_value(programme: RankingProgramme, mass: FloatArray, through: FloatArray) -> float:
    """Lower bound on the dual value for masses that rounding may have moved, formed from flows of the sizes given.

    A y that is smaller by the relative error of the wins keeps to their true boxes. Where rounding may hide that an
    outcome passes on more than it has, y is made smaller by a share that makes up for it from what all start with.
    """
    start = programme.likelihood_weight * programme.best
    hidden = programme.relative * start + (start.size + 8.0) * EPS * through
    total = float(mass.sum())
    value, less = total * float(entr(mass / total).sum()), programme.relative + 4.0 * EPS
    if (mass >= 2.0 * hidden).all():
        value -= float((hidden * (2.0 - np.log(mass / total))).sum())
    else:
        less += 2.0 * float((hidden / start).max())
    return max(0.0, (1.0 - less) * value - EPS * (64.0 * value + 32.0 * total))


def _step(programme: RankingProgramme, boxes: _Boxes, state: _Iterate) -> _Iterate | None:
    """Mehrotra's predictor and corrector; None where no further step can be computed."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        try:
            solve = _newton(programme, boxes, state)
        except LinAlgError:
            return None
        product = _complementarity(state)
        predictor = solve(-state.below * state.left, -state.above * state.right)
        ahead = _complementarity(state.moved(predictor, _step_length(state, predictor)))
        target = product * min(1.0, ahead / product) ** 3
        corrector = solve(
            target - state.below * state.left - predictor.below * predictor.left,
            target - state.above * state.right - predictor.above * predictor.right,
        )
        moved = state.moved(corrector, TO_THE_BOUNDARY * _step_length(state, corrector))
    return moved if all(np.isfinite(part).all() for part in moved) else None


def _newton(
    programme: RankingProgramme, boxes: _Boxes, state: _Iterate
) -> Callable[[FloatArray, FloatArray], _Iterate]:
    r"""Newton's method on the optimality conditions, as a function of the wanted changes of the slacks' products.

    The conditions are :math:`t + z_{below} = z_{above}` for each pair, :math:`\rho e^{v} = m(y)` and
    :math:`\sum e^{v} = 1`. The slacks and y are eliminated pair by pair; what remains is a Laplacian plus a diagonal.
    """
    lengths, size = programme.lengths, programme.best.size
    left, right, below, above = state.left, state.right, state.below, state.above
    stiffness = below / left + above / right
    pmf = np.exp(state.log_pmf)
    matrix = boxes.laplacian(1.0 / stiffness, size) / (lengths[:, None] * lengths)
    matrix[np.diag_indices(size)] += state.rho * pmf
    # Rare outcomes have tiny rows; in equal units the factorisation keeps their digits.
    unit = 1.0 / np.sqrt(matrix.diagonal())
    scaled = matrix * unit[:, None] * unit
    if not np.isfinite(scaled).all():
        raise LinAlgError("the system has no finite scaling")
    factor = cho_factor(scaled)

    def inverse(vector: FloatArray) -> FloatArray:
        return unit * np.asarray(cho_solve(factor, unit * vector, check_finite=False), dtype=np.float64)

    normal = inverse(pmf)
    mass = programme.likelihood_weight * programme.best + boxes.flow(boxes.multipliers(state), size) / lengths
    balance = boxes.differences(state.log_pmf / lengths) + below - above

    def solve(for_below: FloatArray, for_above: FloatArray) -> _Iterate:
        pull = balance + for_below / left - for_above / right
        right_side = mass - state.rho * pmf + boxes.flow(pull / stiffness, size) / lengths
        free = inverse(right_side)
        d_rho = float(((pmf * free).sum() + pmf.sum() - 1.0) / (pmf * normal).sum())
        d_log_pmf = free - normal * d_rho
        d_y = (boxes.differences(d_log_pmf / lengths) + pull) / stiffness
        d_below, d_above = (for_below - below * d_y) / left, (for_above + above * d_y) / right
        return _Iterate(d_log_pmf, d_rho, d_y, -d_y, d_below, d_above)

    return solve


def _complementarity(state: _Iterate) -> float:
    """Mean product of slack and distance from the box's side."""
    products = state.below * state.left + state.above * state.right
    return float(products.sum()) / max(2.0 * products.size, 1.0)


def _bend(log_pmf: FloatArray, change: FloatArray) -> float:
    r""":math:`\sum_x e^v (e^{dv} - 1 - dv)`, in which a rare outcome may move far."""
    with np.errstate(over="ignore"):
        return float((np.exp(log_pmf + change) - np.exp(log_pmf) * (1.0 + change)).sum())


def _step_length(state: _Iterate, direction: _Iterate) -> float:
    """The longest step, up to 1, that keeps distances, slacks and the multiplier positive and bends little."""
    length = 1.0
    for value, change in (
        (np.array([state.rho]), np.array([direction.rho])), (state.left, direction.left),
        (state.right, direction.right), (state.below, direction.below), (state.above, direction.above),
    ):
        falling = change < 0.0
        length = float(np.min(value[falling] / -change[falling], initial=length))
    while _bend(state.log_pmf, length * direction.log_pmf) > LARGEST_BEND:
        length *= 0.8
    return length
