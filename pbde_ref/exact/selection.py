r"""What comes of choosing, exactly: the distribution of winners, and Barker's Markov chain with people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel, check_prompts
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models
from pbde_ref.numerics import logsumexp
from pbde_ref.pairs import PairBlock, all_pairs
from pbde_ref.proposals import PairListProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray, instance, transition_matrix

__all__ = ["barker_transition_matrix", "detailed_balance_residual", "hindsight_distribution",
           "stationary_distribution", "win_weights", "win_weights_error", "winners_distribution"]  # fmt: skip


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


def hindsight_distribution(annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    r"""The law of Chain of Hindsight's sequences, entry [desirable, undesirable], shape (n, n).

    .. math:: J(x, x') = [q(x, x') + q(x', x)]\, \text{Prob}(x \succ x') \quad (x \ne x'), \qquad J(x, x) = q(x, x)

    Its rows sum to `winners_distribution`, the law of what follows the positive prefix; a row divided by its sum is the
    law of what follows the negative prefix after that.

    Notes
    -----
    Unlike the winners alone it shows the preferences without the proposal:
    :math:`\log J(x, x') - \log J(x', x) = \Omega(x) - \Omega(x')`. Proof: ``proofs/chain_of_hindsight.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.9, 0.1]), pb.luce())
    >>> pb.hindsight_distribution(annotator, pb.ProductProposal([1, 1]))
    array([[0.25, 0.45],
           [0.05, 0.25]])
    """
    check_models(annotator, proposal)
    wins, _ = win_weights(annotator, proposal)
    return wins + np.diag(proposal.matrix(annotator.size).diagonal())


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
    check_models(annotator, proposal)
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


def win_weights_error(annotator: PreferenceModel, proposal: Proposal) -> float:
    """Bound on what rounding may have done to each entry of `win_weights`, relative to it.

    A logit is right to half a unit in its last place, which is what its probability is off by in relative terms; a list
    may name a pair several times; an annotator mixture adds as many terms as it has members.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution([0.0, 100.0]), pb.luce())
    >>> win_weights_error(annotator, pb.ProductProposal([1, 1]))
    2.1760371...e-14
    """
    check_models(annotator, proposal)
    members, spread = _members_and_spread(annotator)
    repeated = 1
    if isinstance(proposal, PairListProposal):
        low, high = np.minimum(proposal.x_a, proposal.x_b), np.maximum(proposal.x_a, proposal.x_b)
        repeated = int(np.bincount(np.unique(low * annotator.size + high, return_inverse=True)[1]).max())
    # Beyond 746 nats the smaller probability is zero.
    return float(np.finfo(float).eps) * (46.0 + members + repeated + 0.5 * min(spread, 746.0))


def _members_and_spread(annotator: PreferenceModel) -> tuple[int, float]:
    """How many single annotators there are, and the largest finite difference of one's utilities."""
    if isinstance(annotator, AnnotatorMixture):
        parts = [_members_and_spread(member) for member in annotator.annotators]
        return sum(members + 1 for members, _ in parts), max(spread for _, spread in parts)
    if isinstance(annotator, Annotator):
        finite = annotator.utility[np.isfinite(annotator.utility)]
        return 1, float(np.ptp(finite)) if finite.size else 0.0
    return 1, 0.0


def barker_transition_matrix(annotator: PreferenceModel, kernel: ArrayLike) -> FloatArray:
    r"""Transition matrix of a chain whose accept step is a preference, shape (n, n), entry [from, to].

    .. math:: T(x, x') = K(x, x')\, \text{Prob}(x' \succ x) \quad (x' \ne x)

    The rest of each row's mass stays at x: :math:`T(x, x) = K(x, x) + \sum_{x' \ne x} K(x, x')\,
    \text{Prob}(x \succ x')`, right in relative terms however small it is.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    kernel : array_like, shape (n, n)
        Proposal :math:`K(x, x')`: rows of probabilities.

    Raises
    ------
    ValueError
        If a row of `kernel` does not sum to one within 1e-12, or n roundings if these are more (it is then divided by
        its sum), or two outcomes of probability zero would be compared.

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
    given = transition_matrix("kernel", kernel, size=annotator.size)
    check_prompts("kernel", annotator, *np.nonzero(given))
    proposed = given / given.sum(axis=1, keepdims=True)
    block = all_pairs(annotator.size)
    # Pairs that the kernel never proposes need no preference.
    stays, moves = annotator.probabilities(PairBlock(block.a, block.b, proposed))
    result, refused = proposed * moves, proposed * stays
    # What stays is a sum, not what is left of 1: that could be negative.
    np.fill_diagonal(refused, proposed.diagonal())
    np.fill_diagonal(result, refused.sum(axis=1))
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
    Grassmann, Taksar and Heyman's elimination, in logarithms: no subtraction occurs, so small probabilities are right
    in relative terms, also where they differ by 1,000 nats. It uses only the moves between different states.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.stationary_distribution([[0.875, 0.125], [0.375, 0.625]]).pmf
    array([0.75, 0.25])
    """
    given = transition_matrix("transition", transition)
    states = _closed_class(given)
    # Eliminate the states one by one, each time sending its traffic on to the states before it. Probabilities of states
    # may differ by more powers of ten than a floating-point number has, so products are sums of logarithms.
    with np.errstate(divide="ignore"):
        work = np.log(given[states][:, states])
    for last in range(len(work) - 1, 0, -1):
        work[:last, last] -= logsumexp(work[last, :last])
        work[:last, :last] = np.logaddexp(work[:last, :last], work[:last, last, None] + work[last, :last])
    log_mass = np.zeros(len(work))
    for state in range(1, len(work)):
        log_mass[state] = logsumexp(log_mass[:state] + work[:state, state])
    log_weights = np.full(len(given), -np.inf)
    log_weights[states] = log_mass
    return FiniteDistribution(log_weights, support)


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
    flow = distribution.pmf[:, None] * transition_matrix("transition", transition, size=len(distribution))
    return float(np.abs(flow - flow.T).max())
