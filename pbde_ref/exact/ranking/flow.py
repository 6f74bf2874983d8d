"""RRHF: from one order of the scores to a better one, and the lower bound on the loss that each of them proves.

The dual problem has a multiplier y for each pair of outcomes, in a box as wide as the pair is frequent: a flow of
probability from outcomes ranked too rarely for the policy to those ranked too often. Between pools of different scores
it is as large as it may be. If a flow inside each pool brings about the policy's masses, the policy is optimal;
otherwise a cut that the greatest flow fills divides the pool, and there is a better order. Proof: ``proofs/rrhf.md``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from pbde_ref.exact.maximum_flow import filled_flow
from pbde_ref.exact.ranking.order import PooledPolicy, best_in_order
from pbde_ref.exact.ranking.programme import RankingProgramme, loss_rounding, loss_value
from pbde_ref.numerics import EPS, log_normalize
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["certified_minimum", "lower_bound", "multipliers"]

# Of the sums of flows.
EXTENDED = float(np.finfo(np.longdouble).eps)
# Rounds in which flows are cut down until every outcome's mass is certainly positive.
REPAIRS = 50


def certified_minimum(programme: RankingProgramme, tolerance: float, max_steps: int) -> tuple[FloatArray, float, int]:
    """Log-probabilities, a lower bound on every policy's loss, and the number of orders after the first.

    The bound is lower by what rounding may have done to the loss of these log-probabilities.
    """

    def upper(log_pmf: FloatArray) -> float:
        return loss_value(programme, log_pmf) + loss_rounding(programme, log_pmf)

    winners = log_normalize(np.log(programme.best))
    order = np.argsort(-winners / programme.lengths, kind="stable")
    best, least, lower, steps = winners, np.inf, -np.inf, 0
    while True:
        policy = best_in_order(programme, order)
        y, parts = multipliers(programme, policy)
        loss, bound = upper(policy.log_pmf), lower_bound(programme, y)
        better = loss < least or bound > lower
        if loss < least:
            best, least = policy.log_pmf, loss
        lower = max(lower, bound)
        divided = len(parts) > len(policy.pools)
        if least - lower <= tolerance or not (better and divided) or steps == max_steps:
            return best, lower - loss_rounding(programme, best), steps
        order, steps = np.concatenate(parts), steps + 1


def multipliers(programme: RankingProgramme, policy: PooledPolicy) -> tuple[FloatArray, list[IndexArray]]:
    """y, shape (n, n), that comes closest to the policy's masses; and its pools, divided where the flow fills a cut.

    Entry [A, B] is what A receives from B in tokens, between ``-wins[B, A]`` and ``wins[A, B]``.

    Examples
    --------
    >>> import numpy as np
    >>> wins = np.array([[0.0, 0.875], [0.125, 0.0]])
    >>> programme = RankingProgramme(wins, np.array([0.875, 0.125]), np.ones(2), 1.0)
    >>> y, parts = multipliers(programme, best_in_order(programme, np.array([1, 0])))  # a tie
    >>> y[1, 0], parts  # 0.375 would have to flow for it
    (np.float64(0.125), [array([0]), array([1])])
    """
    wins, lengths = programme.wins, programme.lengths
    place = np.empty(lengths.size)
    for i, pool in enumerate(policy.pools):
        place[pool] = i
    late = np.where(place[:, None] > place, wins, 0.0)
    y, parts = late - late.T, []
    wanted = lengths * policy.multiplier * np.exp(policy.log_pmf)
    has = programme.likelihood_weight * programme.best * lengths + late.sum(axis=1)
    surplus = has - late.sum(axis=0) - wanted
    for pool in policy.pools:
        inside = np.ix_(pool, pool)
        flow, full = filled_flow(wins[inside].T, surplus[pool])
        y[inside] = np.clip(-flow, -wins[inside].T, wins[inside])
        parts += [part for part in (pool[full], pool[~full]) if part.size]
    return y, parts


def lower_bound(programme: RankingProgramme, y: FloatArray) -> float:
    """Value of the dual problem at y, made feasible: no outcome may pass on more than it has.

    It is lowered by all that rounding may have done to it, and to the masses. A y that is smaller by the relative error
    of the wins keeps to their true boxes.

    Examples
    --------
    >>> import numpy as np
    >>> wins = np.array([[0.0, 0.875], [0.125, 0.0]])
    >>> programme = RankingProgramme(wins, np.array([0.875, 0.125]), np.ones(2), 1.0)
    >>> lower_bound(programme, np.array([[0.0, -0.125], [0.125, 0.0]]))  # the entropy of (3/4, 1/4)
    0.56233514461...
    """
    start, lengths = programme.likelihood_weight * programme.best, programme.lengths
    received = np.maximum(y, 0.0)
    for _ in range(REPAIRS):
        income = start + received.sum(axis=1, dtype=np.longdouble) / lengths
        spent = received.sum(axis=0, dtype=np.longdouble) / lengths
        mass = np.asarray(income - spent, dtype=np.float64)
        through = np.asarray(income + spent, dtype=np.float64)
        hidden = (programme.relative + 4.0 * EPS) * start + (start.size + 8.0) * EXTENDED * through + EPS * np.abs(mass)
        short = mass < 2.0 * hidden
        if not short.any():
            break
        kept = np.maximum(through + mass - 8.0 * hidden, 0.0) / np.maximum(through - mass, EPS * through)
        received = received * np.where(short, np.minimum(kept, 1.0), 1.0)
    else:
        mass, hidden = start, (programme.relative + 4.0 * EPS) * start  # y = 0 is always feasible
    total = float(mass.sum())
    value = total * float(entr(mass / total).sum())
    less = (programme.relative + 68.0 * EPS) * value + 32.0 * EPS * total
    return max(0.0, value - float((hidden * (2.0 - np.log(mass / total))).sum()) - less)
