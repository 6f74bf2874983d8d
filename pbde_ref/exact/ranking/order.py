r"""RRHF where the order of the scores is given: the exact minimum, by pooling adjacent violators.

From the highest score down, each hinge is linear or zero, and the loss is :math:`-\sum_x w_x s_x` with

.. math:: w_x = \gamma |x| b_x + \sum_{B\ \text{before}\ x} c_{xB} - \sum_{B\ \text{after}\ x} c_{Bx} .

With the multiplier M of :math:`\sum_x e^{|x| s_x} \le 1` this is an isotonic regression: neighbours are pooled until
the scores fall, and each pool T has the score at which :math:`\sum_T |x| M e^{|x| s} = \sum_T w`. What the members of a
pool exchange is never added and subtracted again, so rare outcomes keep their digits. Proof: ``proofs/rrhf.md``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pbde_ref.exact.ranking.programme import RankingProgramme
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["PooledPolicy", "best_in_order"]

# Newton's method for M and for the score of a pool, both of them logarithms.
MOST_STEPS, CLOSE = 60, 1e-15


class PooledPolicy(NamedTuple):
    """Log-probabilities (n,), the multiplier M, and the pools of equal scores, from the highest."""

    log_pmf: FloatArray
    multiplier: float
    pools: list[IndexArray]


def best_in_order(programme: RankingProgramme, order: IndexArray) -> PooledPolicy:
    """The policy of least loss whose scores do not rise along `order`.

    Parameters
    ----------
    programme : RankingProgramme
        With a likelihood term, and without outcomes that are never best.
    order : ndarray of int, shape (n,)
        Outcomes from the highest score to the lowest.

    Examples
    --------
    >>> import numpy as np
    >>> wins = np.array([[0.0, 0.875], [0.125, 0.0]])
    >>> programme = RankingProgramme(wins, np.array([0.875, 0.125]), np.ones(2), 1.0)
    >>> np.exp(best_in_order(programme, np.array([0, 1])).log_pmf).round(12)  # 7/8 less 1/8
    array([0.75, 0.25])
    >>> np.exp(best_in_order(programme, np.array([1, 0])).log_pmf).round(12)  # in the wrong order a tie is the best
    array([0.5, 0.5])
    """
    chain = _Chain.of(programme, order)
    lengths, tokens = chain.lengths, float(chain.start.sum())
    # The sum of |x| m_x is that of γ |x| b_x, whatever the flows.
    low, high = math.log(tokens / float(lengths.max())), math.log(tokens / float(lengths.min()))
    log_m = low
    for _ in range(MOST_STEPS):
        score, first, fall = _pooled(chain, log_m)
        excess = float(np.logaddexp.reduce(lengths * score))
        low, high = (log_m, high) if excess > 0.0 else (low, log_m)
        if abs(excess) <= CLOSE or high - low <= CLOSE:
            break
        newton = log_m + excess / fall if fall > 0.0 else math.inf
        log_m = newton if low < newton < high else 0.5 * (low + high)
    log_pmf = np.empty(order.size)
    log_pmf[order] = lengths * (score + _root(lengths * score, lengths))
    return PooledPolicy(log_pmf, math.exp(log_m), np.split(order, first[1:]))


class _Chain(NamedTuple):
    """In order: γ |x| b_x, |x|, and what x wins against the first k and loses to those from the k-th on, (n, n + 1)."""

    start: FloatArray
    lengths: FloatArray
    won: FloatArray
    lost: FloatArray

    @classmethod
    def of(cls, programme: RankingProgramme, order: IndexArray) -> _Chain:
        wins, lengths = programme.wins[order][:, order], programme.lengths[order]
        won, lost = np.zeros((2, order.size, order.size + 1))
        won[:, 1:] = np.cumsum(wins, axis=1)
        lost[:, :-1] = np.cumsum(wins.T[:, ::-1], axis=1)[:, ::-1]
        return cls(programme.likelihood_weight * programme.best[order] * lengths, lengths, won, lost)

    def weight(self, low: int, high: int) -> float:
        """The sum of w over the outcomes from `low` to before `high`."""
        inside = slice(low, high)
        return float((self.start[inside] + self.won[inside, low]).sum() - self.lost[inside, high].sum())


def _pooled(chain: _Chain, log_m: float) -> tuple[FloatArray, list[int], float]:
    r"""Scores that fall, where pools begin, and how fast :math:`\log \sum e^{|x| s}` falls as log M rises; in order."""
    lengths, offset = chain.lengths, np.log(chain.lengths) + log_m

    def score_of(low: int, high: int) -> float:
        weight = chain.weight(low, high)
        return _root(offset[low:high] - math.log(weight), lengths[low:high]) if weight > 0.0 else -math.inf

    first: list[int] = []
    scores: list[float] = []
    for x in range(lengths.size):
        low, score = x, score_of(x, x + 1)
        while scores and not scores[-1] > score:
            low = first.pop()
            scores.pop()
            score = score_of(low, x + 1)
        first.append(low)
        scores.append(score)
    result = np.repeat(scores, np.diff([*first, lengths.size]))
    pmf = np.exp(lengths * result)
    tokens, squares = (np.add.reduceat(lengths**power * pmf, first) for power in (1, 2))
    fall = np.divide(tokens**2, squares, out=np.zeros(len(first)), where=squares > 0.0)
    return result, first, float(fall.sum()) / float(pmf.sum()) if pmf.any() else 0.0


def _root(offset: FloatArray, lengths: FloatArray) -> float:
    r"""Root s of :math:`\sum_x e^{a_x + |x| s} = 1`, from above, where Newton's method never overshoots."""
    s = float((-offset / lengths).min())
    for _ in range(MOST_STEPS):
        terms = np.exp(offset + lengths * s)
        total = float(terms.sum())
        step = total * math.log(total) / float((lengths * terms).sum())
        s -= step
        if not step * float(lengths.max()) > CLOSE:
            break
    return s
