r"""Which pairs of answers are asked: a prompt first, then two answers to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.distributions import common_support
from pbde_ref.proposals import PairListProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray, instance, probability_weights, vector

__all__ = ["pairs_of", "prompt_pairs"]


def prompt_pairs(
    a: ConditionalDistribution | Prompts, b: ConditionalDistribution | None = None, *, prompts: ArrayLike | None = None
) -> PairListProposal:
    r"""Pairs of independent answers to a prompt that is drawn first.

    .. math:: q(x_0, x_A, x_B) = \rho(x_0)\, a(x_A \mid x_0)\, b(x_B \mid x_0)

    Parameters
    ----------
    a : ConditionalDistribution or Prompts
        Prompts stand for uniform answers.
    b : ConditionalDistribution, optional
        Default: `a`.
    prompts : array_like, shape (K,), optional
        Weights :math:`\rho`, non-negative; need not sum to one. Default: all equal.

    Returns
    -------
    PairListProposal
        Each unordered pair of answers to one prompt once, an answer with itself included: with one prompt the same
        weights as ``ProductProposal(a, b)``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> q = pb.prompt_pairs(pb.Prompts("aabb"), prompts=[1, 3])
    >>> q.x_a, q.x_b
    (array([0, 0, 1, 2, 2, 3]), array([0, 1, 1, 2, 3, 3]))
    >>> q.weights
    array([0.0625, 0.125 , 0.0625, 0.1875, 0.375 , 0.1875])
    """
    if isinstance(a, Prompts):
        a = ConditionalDistribution(np.zeros(a.size), a)
    b = a if b is None else b
    instance("a", a, ConditionalDistribution, "a ConditionalDistribution or Prompts")
    support: Prompts = common_support(ConditionalDistribution, a=a, b=b)
    rho = np.ones(len(support.names)) if prompts is None else vector("prompts", prompts, size=len(support.names))
    share = probability_weights("prompts", rho)[support.number]
    x_a, x_b = support.pairs()
    weights = share[x_a] * np.where(
        x_a == x_b, a.pmf[x_a] * b.pmf[x_b], a.pmf[x_a] * b.pmf[x_b] + b.pmf[x_a] * a.pmf[x_b]
    )
    return PairListProposal(x_a, x_b, weights, support=support)


def pairs_of(proposal: Proposal, size: int) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Pairs that are asked, ties among them, and their weights; shape (m,) each.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pairs_of(pb.ProductProposal([1, 3]), 2)
    (array([0, 0, 1]), array([0, 1, 1]), array([0.0625, 0.375 , 0.5625]))
    """
    blocks = [np.broadcast_arrays(block.a, block.b, block.weight) for block in proposal.blocks(size)]
    a, b, weights = (np.concatenate([x.ravel() for x in column]) for column in zip(*blocks, strict=True))
    asked = weights > 0.0
    return a[asked], b[asked], weights[asked]
