"""RRHF as a convex programme: the numbers that annotator, proposal and lengths contribute, and the loss they make.

They are how often each outcome is ranked above each other one, how often it is the best of the candidates, and its
number of tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.exact.selection import win_weights, win_weights_error, winners_distribution
from pbde_ref.numerics import EPS, weighted
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray, number, reject, vector, whole_number

__all__ = ["RankingProgramme", "loss_and_slope", "loss_rounding", "loss_value", "ranking_programme"]



class RankingProgramme(NamedTuple):
    """What of the problem enters the loss: c (n, n), b (n,), lengths (n,) and γ; c and b are right to `relative`."""

    wins: FloatArray
    best: FloatArray
    lengths: FloatArray
    likelihood_weight: float
    relative: float = 0.0

    def restricted(self, kept: IndexArray) -> RankingProgramme:
        """The problem without outcomes that are never best."""
        return self._replace(wins=self.wins[kept][:, kept], best=self.best[kept], lengths=self.lengths[kept])


def ranking_programme(
    annotator: PreferenceModel,
    proposal: Proposal,
    n_candidates: int,
    lengths: ArrayLike | None,
    likelihood_weight: float,
) -> RankingProgramme:
    """Check the arguments and collect what of them enters the loss."""
    size = annotator.size
    tokens = np.ones(size) if lengths is None else vector("lengths", lengths, size=size)
    reject("lengths", "positive", tokens, tokens <= 0.0)
    reject("lengths", "finite", tokens, np.isinf(tokens))
    outside = (tokens < 1e-150) | (tokens > 1e150)
    reject("lengths", "from 1e-150 to 1e150, so that their ratios are numbers", tokens, outside)
    gamma = number("likelihood_weight", likelihood_weight)
    if gamma < 0.0:
        raise ValueError(f"`likelihood_weight` must be non-negative; got {gamma}")
    if 0.0 < gamma < 1e-150:
        raise ValueError(f"`likelihood_weight` must be 0, or at least 1e-150, to have a square; got {gamma}")
    n_candidates = whole_number("n_candidates", n_candidates)
    if n_candidates == 2:
        wins = win_weights(annotator, proposal)[0]
        best = winners_distribution(annotator, proposal)
        return RankingProgramme(wins, best.pmf, tokens, gamma, _error(annotator, proposal, best.pmf))
    if n_candidates != 3:
        raise ValueError(f"`n_candidates` must be 2 or 3; got {n_candidates}")
    if not isinstance(proposal, ProductProposal) or not (proposal.a == proposal.b).all():
        raise ValueError(
            "`proposal` must be a ProductProposal with two equal factors, which draws three candidates independently; "
            f"got {type(proposal).__name__:.60}{' with different factors' * isinstance(proposal, ProductProposal)}"
        )
    # By Luce's axiom the third candidate does not change how a ranking orders the other two; three pairs are ranked.
    wins = 3.0 * win_weights(annotator, proposal)[0]
    best_of_three = _best_of_three(annotator, proposal.a)
    return RankingProgramme(wins, best_of_three, tokens, gamma, _error(annotator, proposal, best_of_three))


def _error(annotator: PreferenceModel, proposal: Proposal, best: FloatArray) -> float:
    """Bound on the relative errors of `wins` and `best`: of products, of sums, and of the least one's logarithm."""
    least = float(best[best > 0.0].min())
    depth = 8.0 + best.size + abs(float(np.log(least)))
    return 2.0 * win_weights_error(annotator, proposal) + depth * EPS


def _best_of_three(annotator: PreferenceModel, a: FloatArray) -> FloatArray:
    r"""Probability that x is the best of three: :math:`3 a_x \sum_{jl} a_j a_l / (1 + e^{\chi_j - \chi_x} + \dots)`."""
    if isinstance(annotator, AnnotatorMixture):
        parts = zip(annotator.weights, annotator.annotators, strict=True)
        return np.asarray(sum(w * _best_of_three(part, a) for w, part in parts))
    if not isinstance(annotator, Annotator):
        raise TypeError(
            "`annotator` must have a utility, to rank three candidates by Plackett–Luce: an Annotator or a mixture of "
            f"such; got {type(annotator).__name__:.60}"
        )
    best = np.zeros(annotator.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for x in np.flatnonzero(a):
            # The outcome against itself is e^0, also where its probability is zero.
            odds = np.where(np.arange(best.size) == x, 1.0, np.exp(annotator.utility - annotator.utility[x]))
            chance = 1.0 / (1.0 + odds[:, None] + odds)
            best[x] = 3.0 * a[x] * weighted(a[:, None] * a, chance).sum()
    return best


def loss_and_slope(programme: RankingProgramme, log_pmf: FloatArray) -> tuple[float, float, FloatArray]:
    """Ranking loss, likelihood loss, and the derivative of their weighted sum in the log-probabilities."""
    wins, best, lengths, gamma, _ = programme
    score = log_pmf / lengths
    with np.errstate(invalid="ignore"):
        behind = score - score[:, None]  # how far the winner of each pair, the row, is behind
    behind = np.where(behind > 0.0, behind, 0.0)
    late = np.where(behind > 0.0, wins, 0.0)
    slope = (late.sum(axis=0) - late.sum(axis=1)) / lengths - gamma * best
    return float(weighted(wins, behind).sum()), float(-weighted(best, log_pmf).sum()), slope


def loss_value(programme: RankingProgramme, log_pmf: FloatArray) -> float:
    """Ranking loss plus weighted likelihood loss."""
    ranking, likelihood, _ = loss_and_slope(programme, log_pmf)
    return ranking + programme.likelihood_weight * likelihood


def loss_rounding(programme: RankingProgramme, log_pmf: FloatArray) -> float:
    """Bound on what rounding may have done to `loss_value`: to its numbers, scores, sums and the normaliser."""
    wins, _, lengths, gamma, relative = programme
    size = np.where(np.isfinite(log_pmf), np.abs(log_pmf), 0.0)
    score = size / lengths
    # A log-probability is known to its rounding, so the sum of all of them differs from 1 by the mean of that.
    shift = EPS * (2.0 + float((np.exp(log_pmf) * size).sum()))
    unit = 0.5 * EPS * score + np.where(lengths == lengths.max(), 0.0, shift / lengths)
    rounding = float((wins * (unit[:, None] + unit)).sum()) + gamma * shift
    return rounding + (relative + 64.0 * EPS) * loss_value(programme, log_pmf)
