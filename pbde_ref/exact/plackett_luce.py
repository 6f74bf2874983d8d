r"""Rankings by the Plackett–Luce model: its likelihood against that of all pairs that a ranking contains.

.. math:: \text{Prob}(x_1 \succ \dots \succ x_k) = \prod_{i=1}^{k} \frac{p(x_i)}{\sum_{j \ge i} p(x_j)}

Both have their optimum at p where rankings follow the model; which is the more precise is computed from all rankings.
Proof: ``proofs/rank_breaking.md``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.exact.laplacian import pseudo_inverse
from pbde_ref.validation import FloatArray, reject, vector

__all__ = ["all_pairs_of", "neighbours_of", "rank_breaking_covariances", "ranking_probabilities"]

Ranking = tuple[int, ...]
Breaking = Callable[[Ranking], Iterable[tuple[int, int]]]
MOST = 7


def ranking_probabilities(weights: ArrayLike) -> dict[Ranking, float]:
    """The Plackett–Luce probability of every ranking, best first, of up to seven outcomes.

    Examples
    --------
    >>> from pbde_ref.exact.plackett_luce import ranking_probabilities
    >>> ranking_probabilities([3, 1, 4])[2, 0, 1]  # 4/8 times 3/4
    0.375
    """
    p = vector("weights", weights)
    reject("weights", "positive and finite", p, ~((p > 0.0) & np.isfinite(p)))
    if not 2 <= p.size <= MOST:
        raise ValueError(f"`weights` must have from 2 to {MOST} entries; got {p.size}")
    return {
        ranking: math.prod(float(p[x] / p[list(ranking[i:])].sum()) for i, x in enumerate(ranking))
        for ranking in itertools.permutations(range(p.size))
    }


def all_pairs_of(ranking: Ranking) -> Iterable[tuple[int, int]]:
    """Winner and loser of every pair: the breaking that keeps the optimum."""
    return itertools.combinations(ranking, 2)


def neighbours_of(ranking: Ranking) -> Iterable[tuple[int, int]]:
    """Winner and loser of pairs next to each other: a breaking that moves the optimum."""
    return itertools.pairwise(ranking)


def rank_breaking_covariances(weights: ArrayLike) -> tuple[FloatArray, FloatArray]:
    r"""Covariances per ranking of the utilities' estimates, by Plackett–Luce likelihood and by all pairs.

    .. math:: I^+, \qquad H^+ J H^+

    I is the information of a ranking, H the Hessian of the pairs' log loss and J the covariance of its score: pairs of
    one ranking are not independent.

    Parameters
    ----------
    weights : array_like, shape (n,)
        p, positive, up to a factor; n from 2 to 7.

    Returns
    -------
    tuple of ndarray, shape (n, n)
        Of centred utilities; divided by the number of rankings, they hold for many.

    Examples
    --------
    Of three equals the pairs' estimate needs 28 rankings where the likelihood needs 27.

    >>> from pbde_ref.exact.plackett_luce import rank_breaking_covariances
    >>> likelihood, pairs = rank_breaking_covariances([1, 1, 1])
    >>> round(float(pairs[0, 0] / likelihood[0, 0] * 27), 9)
    28.0
    """
    p = vector("weights", weights)
    n, unit = p.size, np.eye(p.size)
    # Of both Hessians, which are graph Laplacians, the conductances.
    information, hessian, spread = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for ranking, probability in ranking_probabilities(p).items():
        for i in range(n - 1):
            left = list(ranking[i:])
            share = unit[left].T @ (p[left] / p[left].sum())
            information += probability * np.outer(share, share)
        score = np.zeros(n)
        for won, lost in all_pairs_of(ranking):
            surprise = p[lost] / (p[won] + p[lost])
            score += surprise * (unit[won] - unit[lost])
            hessian[[won, lost], [lost, won]] += probability * surprise * (1.0 - surprise)
        spread += probability * np.outer(score, score)
    np.fill_diagonal(information, 0.0)
    together = np.zeros(n, int)
    inverse = pseudo_inverse(hessian, together)
    return pseudo_inverse(information, together), inverse @ spread @ inverse
