r"""Voting rules on preference probabilities, and who loses by what was learnt.

The utilities that the log loss or IPO's fits to pairs from :math:`\mu \otimes \mu` rank outcomes as the
:math:`\mu`-weighted Borda score does; for other pairs, and other losses, they need not. Proof: ``proofs/borda.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.validation import FloatArray, IndexArray, instance, probability_weights, same_size, vector

__all__ = ["borda_scores", "condorcet_winner", "minority_losses", "pareto_violations"]


def borda_scores(annotator: PreferenceModel, mu: ArrayLike | None = None) -> FloatArray:
    r"""How often each outcome is preferred to one drawn from :math:`\mu`, shape (n,).

    .. math:: B_\mu(x) = \sum_y \mu(y)\, \text{Prob}(x \succ y), \qquad \text{Prob}(x \succ x) = \tfrac12

    Borda's count, up to scale and a constant, where :math:`\mu` is uniform. The term y = x belongs to it: without it
    the order is another one wherever :math:`\mu` is not uniform.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    mu : array_like, shape (n,), optional
        Non-negative; normalised here. Default: uniform.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.aggregation import borda_scores
    >>> borda_scores(pb.PreferenceMatrix([[0.5, 0.6, 0.6], [0.4, 0.5, 1.0], [0.4, 0.0, 0.5]])).round(3)
    array([0.567, 0.633, 0.3  ])
    """
    instance("annotator", annotator, PreferenceModel, "an annotator")
    weights = probability_weights("mu", np.ones(annotator.size) if mu is None else vector("mu", mu))
    same_size("mu", weights.size, annotator.size)
    return np.asarray(annotator.preference_probabilities() @ weights)


def condorcet_winner(annotator: PreferenceModel) -> int | None:
    """Index of the outcome that beats every other more often than not; None if there is none.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.aggregation import condorcet_winner
    >>> condorcet_winner(pb.PreferenceMatrix([[0.5, 0.6, 0.6], [0.4, 0.5, 1.0], [0.4, 0.0, 0.5]]))
    0
    >>> condorcet_winner(pb.PreferenceMatrix([[0.5, 0.6, 0.4], [0.4, 0.5, 0.6], [0.6, 0.4, 0.5]])) is None
    True
    """
    instance("annotator", annotator, PreferenceModel, "an annotator")
    beaten = _beats(annotator).sum(axis=1)
    return int(beaten.argmax()) if beaten.max() == annotator.size - 1 else None


def _beats(annotator: PreferenceModel) -> NDArray[np.bool_]:
    """Whether A is preferred to B more often than B to A: ½ itself is rounded where weights are added up."""
    p = annotator.preference_probabilities()
    return np.asarray(p > p.T)


def pareto_violations(annotators: AnnotatorMixture, scores: ArrayLike) -> IndexArray:
    """Pairs (x, y) of which every annotator prefers x, while the scores put y higher, shape (m, 2).

    Parameters
    ----------
    annotators : AnnotatorMixture
        Those of weight zero are not asked.
    scores : array_like, shape (n,)
        Fitted utilities, Borda scores, log-probabilities.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.aggregation import pareto_violations
    >>> both = pb.AnnotatorMixture([1, 1], [pb.Annotator(pb.FiniteDistribution([2, 1, x]), pb.luce()) for x in (0, 3)])
    >>> pareto_violations(both, [1.0, 2.0, 0.0])
    array([[0, 1]])
    """
    instance("annotators", annotators, AnnotatorMixture, "an AnnotatorMixture")
    values = vector("scores", scores, size=annotators.size)
    asked = [_beats(annotators.annotators[i]) for i in np.flatnonzero(annotators.weights)]
    return np.argwhere(np.all(asked, axis=0) & (values[:, None] < values))


def minority_losses(annotators: AnnotatorMixture, policy: FiniteDistribution) -> FloatArray:
    r"""By how much more often than half each annotator would rather have one answer of their own choice, shape (k,).

    .. math:: \max_x \sum_y \pi(y)\, \text{Prob}_i(x \succ y) - \tfrac12 \in [0, \tfrac12]

    Parameters
    ----------
    annotators : AnnotatorMixture
    policy : FiniteDistribution
        What was learnt: for example the policy of ``pb.optimum(loss, annotators, proposal)``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.aggregation import minority_losses
    >>> members = [pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in ([1, 9], [9, 1])]
    >>> minority_losses(pb.AnnotatorMixture([1, 3], members), pb.FiniteDistribution.from_weights([3, 1])).round(3)
    array([0.3, 0.1])
    """
    instance("annotators", annotators, AnnotatorMixture, "an AnnotatorMixture")
    instance("policy", policy, FiniteDistribution, "a FiniteDistribution")
    same_support("policy", policy.support, "annotators", annotators.support)
    members = annotators.annotators
    return np.array([(each.preference_probabilities() @ policy.pmf).max() - 0.5 for each in members])
