r"""Where length-desensitised DPO leads: log-probabilities beyond the shorter answer's length count less.

Answers are sequences of tokens, and the policy of their first l tokens is the mass of all answers that begin so. With
:math:`l = \min(|x_w|, |x_l|)` an answer's score is

.. math:: s_l(x) = \alpha \log \pi(x) + (1 - \alpha) \log \pi(x_{1:l})

less that of the reference. The loss is convex in these scores, which are no concave or convex functions of the logits
where answers share prefixes; where none do up to the compared lengths, it is DPO's. Proof: ``proofs/prefixes.md``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.policy_losses import wins_with_ties
from pbde_ref.exact.results import Optimum
from pbde_ref.exact.stationary import lowest_stationary
from pbde_ref.numerics import expit, logsumexp, softplus, weighted
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, instance, shown

__all__ = ["Prefixes", "minimize_prefix_loss"]


class Prefixes:
    """Which answers begin alike: for each length that is compared, the groups of answers with one beginning.

    Parameters
    ----------
    tokens : sequence of n sequences
        The answers, none of them empty or the beginning of another.
    size : int, optional
        How many there must be.

    Attributes
    ----------
    lengths : ndarray of int, shape (n,)
    groups : dict
        For a length, the number of each answer's group; of an answer that is no longer, its own.
    shared : bool
        Whether answers that are compared with a shorter one begin alike up to its end.

    Examples
    --------
    >>> Prefixes(["ab", "ac", "b"]).groups
    {1: array([0, 0, 1]), 2: array([0, 1, 2])}
    """

    def __init__(self, tokens: Sequence[Sequence[Hashable]], size: int | None = None) -> None:
        instance("tokens", tokens, Sequence, "a sequence of answers, each of them a sequence of tokens")
        for each in tokens:
            instance("tokens", each, Sequence, "a sequence of answers, each of them a sequence of tokens")
        answers = [tuple(each) for each in tokens]
        if size is not None and len(answers) != size:
            raise ValueError(f"`tokens` must have one answer for each outcome, {size}; got {len(answers)}")
        self.lengths = np.array([len(each) for each in answers])
        if not self.lengths.all():
            raise ValueError(f"`tokens` must hold no empty answer; got one at index {int(np.argmin(self.lengths))}")
        self.groups = {}
        for length in np.unique(self.lengths).tolist():
            numbers: dict[tuple[Hashable, ...], int] = {}
            self.groups[length] = np.array([numbers.setdefault(each[:length], len(numbers)) for each in answers])
            for each in answers:
                if len(each) == length and sum(other[:length] == each for other in answers) > 1:
                    raise ValueError(
                        "`tokens` must hold no answer that begins another one, nor one twice, as with a last token for "
                        f"the end; got {shown(each)}"
                    )
        self.shared = any(len(set(groups.tolist())) < len(answers) for groups in self.groups.values())


def minimize_prefix_loss(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    beta: float,
    share: float,
    reference: FiniteDistribution,
    tokens: Sequence[Sequence[Hashable]],
    tolerance: float = 1e-9,
    n_starts: int = 3,
) -> Optimum:
    r"""A stationary policy of LD-DPO's loss, the best that is found.

    Parameters
    ----------
    annotator, proposal
        Who answers, and which pairs are asked.
    beta, share : float
        :math:`\beta`, positive, and :math:`\alpha`, in [0, 1].
    reference : FiniteDistribution
        Positive.
    tokens : sequence of n sequences
        The answers.
    tolerance : float
        Of the gap.
    n_starts : int
        How many points the loss is descended from.

    Returns
    -------
    Optimum
        `gap` is the distance from the entropy of the answers to each pair, which no policy gets below. Where it is not
        within `tolerance` the policy is stationary, and `reason` says so.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, pairs = pb.FiniteDistribution.from_weights([3, 2, 1]), pb.ProductProposal([1, 1, 1])
    >>> asked = {"beta": 1.0, "reference": pb.uniform(range(3)), "tokens": ["ab", "ac", "b"]}
    >>> minimize_prefix_loss(pb.Annotator(p, pb.luce()), pairs, share=1.0, **asked).policy.pmf.round(9)
    array([0.5       , 0.33333333, 0.16666667])
    >>> minimize_prefix_loss(pb.Annotator(p, pb.luce()), pairs, share=0.5, **asked).policy.pmf.round(3)
    array([0.507, 0.325, 0.169])
    """
    known, wins, n = Prefixes(tokens, annotator.size), wins_with_ties(annotator, proposal), annotator.size
    if not np.isfinite(reference.log_pmf).all():
        raise ValueError("`reference` must be positive; got a probability of 0")
    shorter = np.minimum.outer(known.lengths, known.lengths)
    # For each length that is compared: the mean that takes masses of answers to those of beginnings, and whose pairs.
    parts = [(groups[:, None] == groups, wins * (shorter == length)) for length, groups in known.groups.items()]

    def scores(log_masses: FloatArray, alike: FloatArray) -> FloatArray:
        begun = logsumexp(np.where(alike, log_masses, -np.inf), axis=1)
        return beta * (share * log_masses + (1.0 - share) * begun)

    held = [scores(reference.log_pmf, alike) for alike, _ in parts]

    def evaluate(theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        value, gradient, hessian = 0.0, np.zeros(n), np.zeros((n, n))
        for (alike, won), before in zip(parts, held, strict=True):
            u = scores(theta, alike) - before
            m = u[:, None] - u
            pulls, bend = -won * expit(-m), won * expit(m) * expit(-m)
            value += float(weighted(won, softplus(-m)).sum())
            of_scores, bend = pulls.sum(axis=1) - pulls.sum(axis=0), bend + bend.T
            bend = np.diag(bend.sum(axis=1)) - bend
            # Of an answer, given how it begins.
            begun = np.where(alike, theta, -np.inf)
            within = np.exp(begun - logsumexp(begun, axis=1)[:, None])
            slopes = beta * (share * np.eye(n) + (1.0 - share) * within)
            gradient += slopes.T @ of_scores
            hessian += slopes.T @ bend @ slopes
            weight = beta * (1.0 - share) * of_scores
            hessian += np.diag(weight @ within) - within.T @ (weight[:, None] * within)
        return value, gradient, hessian

    off = wins - np.diag(wins.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = weighted(off, np.log(off + off.T) - np.log(off))
    floor = float(alone.sum()) + float(wins.trace()) * math.log(2.0)
    why = "answers share beginnings, so that its loss is not convex"
    return lowest_stationary(evaluate, reference, floor, why, tolerance=tolerance, n_starts=n_starts)
