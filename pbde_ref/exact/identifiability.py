r"""What comparisons can tell: components of the comparison graph, Fisher information, asymptotic errors.

The comparison graph joins A and B, :math:`A \ne B`, where :math:`q(A, B) + q(B, A) > 0`. Utilities are determined up to
one constant per connected component, and no further.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models, expected_hessian
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pairs import PairBlock
from pbde_ref.pbde import luce
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, instance, reject, vector, whole_number

__all__ = [
    "Identifiability", "asymptotic_covariance", "comparison_components", "expected_excess_loss", "finite_fit_exists",
    "fisher_information", "groups_that_lose", "identifiability", "null_projection", "preference_components",
    "score_covariance",
]  # fmt: skip


def comparison_components(proposal: Proposal, size: int) -> IndexArray:
    """Component of each outcome in the comparison graph, numbered from 0, shape (size,).

    One direction of comparison is enough for an edge, an outcome's comparison with itself is none, and an outcome that
    is compared with no other is a component of its own.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.comparison_components(pb.PairListProposal([0, 3, 2], [1, 1, 2]), size=4)
    array([0, 0, 1, 0])
    """
    instance("proposal", proposal, Proposal, "a proposal")
    size = whole_number("size", size, least=1, most=2**31 - 1)
    return _contract((_edges(block) for block in proposal.blocks(size)), size, "weak")


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What the comparisons of one annotator determine.

    Attributes
    ----------
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph.
    n_components : int
        The number of constants that utilities are undetermined by.
    unreachable : ndarray of int
        Outcomes of probability zero that are never compared with one of positive probability; nothing shows that they
        are never preferred.
    policy_is_unique : bool
        Whether exactly one normalised policy has the least expected loss (as a limit, where some outcomes have
        probability zero).
    """

    components: IndexArray
    n_components: int
    unreachable: IndexArray
    policy_is_unique: bool


def identifiability(annotator: PreferenceModel, proposal: Proposal) -> Identifiability:
    """Whether the annotator's comparisons determine utilities and policy.

    Let S* be the outcomes of positive probability (all of them, unless the annotator is a single process with zeros).
    The policy is unique exactly when the comparison graph restricted to S* is connected and every other outcome is
    compared with one of S*.

    Raises
    ------
    ValueError
        If the proposal compares two outcomes of probability zero.

    Notes
    -----
    Proof: ``proofs/connected_proposals.md``, and ``proofs/general_optimum.md`` for outcomes of probability zero.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.3, 0.7, 0]), pb.luce())
    >>> pb.identifiability(annotator, pb.PairListProposal([0, 1], [2, 2])).policy_is_unique
    False
    """
    check_models(annotator, proposal)
    size = annotator.size
    positive = np.ones(size, dtype=bool)
    if isinstance(annotator, Annotator):
        positive = ~np.isneginf(annotator.utility)
    reached = np.zeros(size, dtype=bool)
    for block in proposal.blocks(size):
        annotator.probabilities(block)  # refuses a comparison of two outcomes of probability zero
        a, b = _edges(block)
        reached[a[positive[b]]] = True
        reached[b[positive[a]]] = True
    components = comparison_components(proposal, size)
    unreachable = np.flatnonzero(~positive & ~reached)
    inner_edges = (_edges(block, positive[block.a] & positive[block.b]) for block in proposal.blocks(size))
    inner = _contract(inner_edges, size, "weak")[positive]
    unique = bool((inner == inner[0]).all()) and unreachable.size == 0
    return Identifiability(components, int(components.max()) + 1, unreachable, unique)


def finite_fit_exists(annotator: PreferenceModel, proposal: Proposal) -> bool:
    """Whether some finite utilities minimise the expected Bradley–Terry loss.

    They do exactly when, in each component of the comparison graph, the arrows A → B with Prob(A ≻ B) > 0 over the
    pairs drawn are strongly connected (Ford, 1957). Probabilities below 5e-324, of utilities more than about 745 nats
    apart, count as zero.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    >>> pb.finite_fit_exists(always, pb.ProductProposal([1, 1]))
    False
    """
    check_models(annotator, proposal)
    groups = preference_components(annotator, proposal)
    return bool(np.array_equal(groups, comparison_components(proposal, annotator.size)))


def preference_components(annotator: PreferenceModel, proposal: Proposal) -> IndexArray:
    """Group of each outcome, numbered from 0 in order of first appearance, shape (n,).

    Two outcomes are in one group when arrows lead from each to the other; an arrow A → B stands for a pair that is
    drawn and has Prob(A ≻ B) > 0.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.identifiability import preference_components
    >>> preferences = pb.PreferenceMatrix([[0.5, 0.6, 1.0], [0.4, 0.5, 1.0], [0.0, 0.0, 0.5]])
    >>> preference_components(preferences, pb.ProductProposal([1, 1, 1]))
    array([0, 0, 1])
    """
    return _contract(_arrows(annotator, proposal), annotator.size, "strong")


def groups_that_lose(annotator: PreferenceModel, proposal: Proposal, groups: IndexArray) -> NDArray[np.bool_]:
    """Whether some outcome of each group is beaten, with positive probability, by one of another group."""
    lost = np.zeros(groups.max() + 1, dtype=bool)
    for winner, loser in _arrows(annotator, proposal):
        lost[groups[loser[groups[winner] != groups[loser]]]] = True
    return lost


def _arrows(annotator: PreferenceModel, proposal: Proposal) -> Iterator[tuple[IndexArray, IndexArray]]:
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        a, b = _edges(block, forward > 0.0)
        c, d = _edges(block, backward > 0.0)
        yield np.concatenate([a, d]), np.concatenate([b, c])


def fisher_information(utilities: ArrayLike, proposal: Proposal) -> FloatArray:
    r"""Fisher information of one comparison about the utilities, shape (n, n).

    .. math:: I = \text{Laplacian with weights } (q_{AB} + q_{BA})\, \sigma(d)\, \sigma(-d),
              \qquad d = \omega_A - \omega_B

    The Hessian of the expected loss at the utilities that generate the comparisons.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.fisher_information([0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    utilities = vector("utilities", utilities)
    reject("utilities", "finite", utilities, ~np.isfinite(utilities))
    annotator = Annotator(FiniteDistribution(utilities), luce())
    return expected_hessian(BRADLEY_TERRY, annotator, utilities, proposal)


def asymptotic_covariance(utilities: ArrayLike, proposal: Proposal, n_comparisons: int) -> FloatArray:
    r"""Covariance of the maximum-likelihood utilities after many independent comparisons, shape (n, n).

    .. math:: \operatorname{Cov}(\hat\omega) \approx I^{+} / N

    for utilities centred in each component of the comparison graph; :math:`I^+` is the pseudo-inverse of
    `fisher_information`.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        The truth, finite.
    proposal : ProductProposal, JointProposal or PairListProposal
    n_comparisons : int
        N, at least 1.

    Notes
    -----
    For every finite N the estimate is infinite with positive probability; the formula needs
    :math:`N (q_{AB} + q_{BA}) \sigma(d) \sigma(-d) \gg 1` on enough pairs to connect the graph.
    Derivation: ``proofs/asymptotic_error.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.asymptotic_covariance([0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]), n_comparisons=100)
    array([[ 0.01, -0.01],
           [-0.01,  0.01]])
    """
    utilities = vector("utilities", utilities)
    information = fisher_information(utilities, proposal)
    null = null_projection(comparison_components(proposal, utilities.size))
    # Filling the null space makes the matrix invertible; removing it again leaves the pseudo-inverse.
    scale = float(information.diagonal().max()) or 1.0
    pseudo_inverse = np.linalg.inv(information + scale * null) - null / scale
    return pseudo_inverse / whole_number("n_comparisons", n_comparisons, least=1)


def expected_excess_loss(
    annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal, n_comparisons: int
) -> float:
    r"""Asymptotic expected loss of the maximum-likelihood fit above the least possible, in nats per comparison.

    .. math:: \frac{\operatorname{tr}(H^+ V)}{2N}

    with H the Hessian at the population's fit and V the Laplacian with weights
    :math:`(q_{AB} + q_{BA}) [p_{AB}\, \sigma(-d)^2 + p_{BA}\, \sigma(d)^2]`. In a well-specified model V = H and the
    value is :math:`(n - c) / (2N)` for c components.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    utilities : array_like, shape (n,)
        The population's fit, for example ``minimize_expected_loss(...).value``.
    proposal : ProductProposal, JointProposal or PairListProposal
    n_comparisons : int
        N, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([1, 2, 3])
    >>> q = pb.ProductProposal([1, 1, 1])
    >>> round(pb.expected_excess_loss(pb.Annotator(p, pb.luce()), p.log_pmf, q, n_comparisons=1000), 12)
    0.001
    """
    check_models(annotator, proposal)
    score = score_covariance(annotator, utilities, proposal)
    return 0.5 * float(np.sum(asymptotic_covariance(utilities, proposal, n_comparisons) * score))


def score_covariance(annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal) -> FloatArray:
    r"""Second moment V of one comparison's log-likelihood gradient in the utilities, shape (n, n).

    .. math:: V = \text{Laplacian with weights } (q_{AB} + q_{BA})\,
              [p_{AB}\, \sigma(-d)^2 + p_{BA}\, \sigma(d)^2], \qquad d = \omega_A - \omega_B

    Equal to `fisher_information` where the model is right.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.identifiability import score_covariance
    >>> always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    >>> score_covariance(always, [0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    utilities = vector("utilities", utilities, size=annotator.size)
    result = np.zeros((annotator.size, annotator.size))
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        margin = block.difference(utilities, "utilities")
        block.add_to_laplacian(block.weight * (forward * expit(-margin) ** 2 + backward * expit(margin) ** 2), result)
    return result


def null_projection(components: IndexArray) -> FloatArray:
    """Orthogonal projection onto the vectors that are constant on each component, shape (n, n)."""
    member = (components[:, None] == np.arange(components.max() + 1)).astype(np.float64)
    return (member / member.sum(axis=0)) @ member.T


def _edges(block: PairBlock, mask: NDArray[np.bool_] | bool = True) -> tuple[IndexArray, IndexArray]:
    """Pairs of different outcomes with positive weight where `mask` holds."""
    chosen = (block.weight > 0.0) & (block.a != block.b) & mask
    return np.broadcast_to(block.a, chosen.shape)[chosen], np.broadcast_to(block.b, chosen.shape)[chosen]


def _contract(
    edges: Iterator[tuple[IndexArray, IndexArray]], size: int, connection: Literal["weak", "strong"]
) -> IndexArray:
    """Components in order of first appearance; edges inside a component are forgotten as soon as it is known."""
    labels = np.arange(size)
    kept = np.empty((2, 0), dtype=np.intp)
    for a, b in edges:
        kept = np.concatenate([kept, labels[np.stack([a, b])]], axis=1)
        graph = coo_array((np.ones(kept.shape[1], dtype=np.int8), tuple(kept)), shape=(size, size)).tocsr()
        found = connected_components(graph, directed=True, connection=connection)[1]
        labels, kept = found[labels], found[kept]
        kept = kept[:, kept[0] != kept[1]]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
