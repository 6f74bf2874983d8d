r"""What comes of choosing, exactly: the distribution of winners, and Barker's Markov chain with people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models
from pbde_ref.pairs import PairBlock, all_pairs
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, instance, matrix, reject

__all__ = ["barker_transition_matrix", "detailed_balance_residual", "stationary_distribution",
           "win_weights", "winners_distribution"]  # fmt: skip


def winners_distribution(annotator: PreferenceModel, proposal: Proposal) -> FiniteDistribution:
    r"""The distribution of the preferred outcome of a comparison.

    .. math:: w(x) = \sum_B [q(x, B) + q(B, x)]\, \text{Prob}(x \succ B)

    What a model learns that is trained on the winners only, or conditioned on having won.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal

    Notes
    -----
    It sums to one for every proposal, depends on the proposal, and in general is not :math:`p^*`. For
    :math:`q = \mu \otimes \mu` it is at most :math:`2\mu`, and :math:`D_{KL}(w \,\|\, \mu) < \log 2 - \tfrac12`
    however sharp :math:`p^*` is. Proof: ``proofs/winners.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.9, 0.1]), pb.luce())
    >>> pb.winners_distribution(annotator, pb.ProductProposal([1, 1])).pmf
    array([0.7, 0.3])
    """
    check_models(annotator, proposal)
    result = np.zeros(annotator.size)
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        for index, wins in ((block.a, forward), (block.b, backward)):
            index, mass = np.broadcast_arrays(index, block.weight * wins)
            result += np.bincount(index.ravel(), mass.ravel(), annotator.size)
    return FiniteDistribution.from_weights(result, annotator.support)


def win_weights(annotator: PreferenceModel, proposal: Proposal) -> tuple[FloatArray, float]:
    """Probability that A meets B and wins, shape (n, n), zero on the diagonal; and that an outcome meets itself.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> win_weights(annotator, pb.ProductProposal([1, 1]))
    (array([[0.   , 0.375],
           [0.125, 0.   ]]), 0.5)
    """
    wins = np.zeros((annotator.size, annotator.size))
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        if block.weight.ndim == 2:
            wins[block.a, block.b] += block.weight * forward
            wins[block.b, block.a] += block.weight * backward
        else:
            # A list may name a pair several times.
            np.add.at(wins, (block.a, block.b), block.weight * forward)
            np.add.at(wins, (block.b, block.a), block.weight * backward)
    # An outcome against itself was entered once as the winner and once as the loser.
    ties = float(wins.trace())
    np.fill_diagonal(wins, 0.0)
    return wins, ties


def barker_transition_matrix(annotator: PreferenceModel, kernel: ArrayLike) -> FloatArray:
    r"""Transition matrix of a chain whose accept step is a preference, shape (n, n), entry [from, to].

    .. math:: T(x, x') = K(x, x')\, \text{Prob}(x' \succ x) \quad (x' \ne x)

    The rest of each row's mass stays at x.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    kernel : array_like, shape (n, n)
        Proposal :math:`K(x, x')`: rows of probabilities.

    Raises
    ------
    ValueError
        If a row of `kernel` does not sum to one within 1e-12 (a rounding of n terms), or two outcomes of probability
        zero would be compared.

    Notes
    -----
    For a symmetric kernel and a Luce annotator the chain is reversible with respect to :math:`p^*` (Barker, 1965;
    Sanborn & Griffiths, 2007). Proof: ``proofs/barker.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.75, 0.25]), pb.luce())
    >>> pb.barker_transition_matrix(annotator, [[0.5, 0.5], [0.5, 0.5]])
    array([[0.875, 0.125],
           [0.375, 0.625]])
    """
    instance("annotator", annotator, PreferenceModel, "an annotator")
    kernel = _stochastic("kernel", kernel, annotator.size)
    block = all_pairs(annotator.size)
    # Pairs that the kernel never proposes need no preference.
    asked = PairBlock(block.a, block.b, kernel)
    result = kernel * annotator.probabilities(asked)[1]
    np.fill_diagonal(result, 0.0)
    np.fill_diagonal(result, 1.0 - result.sum(axis=1))
    return result


def stationary_distribution(
    transition: ArrayLike, support: Sequence[Hashable] | NDArray[Any] | None = None
) -> FiniteDistribution:
    r"""The distribution that a chain leaves as it is, :math:`\pi T = \pi`.

    Parameters
    ----------
    transition : array_like, shape (n, n)
        Rows of probabilities; the chain must have one closed class, so that the distribution is unique.
    support : sequence of n labels, optional
        Default: ``range(n)``.

    Raises
    ------
    ValueError
        If the chain has several stationary distributions.

    Notes
    -----
    Grassmann, Taksar and Heyman's elimination: no subtraction occurs, so small probabilities are right in relative
    terms. It uses only the moves between different states.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.stationary_distribution([[0.875, 0.125], [0.375, 0.625]]).pmf
    array([0.75, 0.25])
    """
    transition = _stochastic("transition", transition, None)
    states = _closed_class(transition)
    # Eliminate the states one by one, each time sending its traffic on to the states before it.
    work = transition[states][:, states]
    for last in range(len(work) - 1, 0, -1):
        work[:last, last] /= work[last, :last].sum()
        work[:last, :last] += np.multiply.outer(work[:last, last], work[last, :last])
    weights = np.zeros(len(transition))
    mass = np.ones(len(work))
    for state in range(1, len(work)):
        mass[state] = mass[:state] @ work[:state, state]
    weights[states] = mass
    return FiniteDistribution.from_weights(weights, support)


def _closed_class(transition: FloatArray) -> IndexArray:
    """The states that the chain ends up in and never leaves."""
    count, labels = connected_components(csr_array(transition), connection="strong")
    leaves = np.zeros(count, dtype=bool)
    source, target = np.nonzero(transition)
    leaves[labels[source[labels[source] != labels[target]]]] = True
    closed = np.flatnonzero(~leaves)
    if closed.size > 1:
        raise ValueError(f"`transition` must have one closed class of states; got {closed.size}")
    return np.flatnonzero(labels == closed[0])


def detailed_balance_residual(distribution: FiniteDistribution, transition: ArrayLike) -> float:
    r"""Largest absolute net flow between two outcomes, :math:`\max_{x, x'} |\pi(x) T(x, x') - \pi(x') T(x', x)|`.

    Zero exactly when the chain is reversible with respect to the distribution.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.detailed_balance_residual(pb.uniform([0, 1]), [[0.875, 0.125], [0.375, 0.625]])
    0.125
    """
    instance("distribution", distribution, FiniteDistribution, "a FiniteDistribution")
    flow = distribution.pmf[:, None] * _stochastic("transition", transition, len(distribution))
    return float(np.abs(flow - flow.T).max())


def _stochastic(name: str, value: ArrayLike, size: int | None) -> FloatArray:
    result = matrix(name, value, size=size)
    reject(name, "non-negative", result, result < 0.0)
    sums = result.sum(axis=1)
    reject(f"row sums of {name}", "1 within 1e-12", sums, ~(np.abs(sums - 1.0) <= 1e-12))
    return result
