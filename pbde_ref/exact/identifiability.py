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

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel, prompts_of
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models, expected_hessian
from pbde_ref.exact.laplacian import effective_resistances, null_projection, pseudo_inverse
from pbde_ref.exact.pair_flows import pair_information, weight_exponent
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pairs import PairBlock
from pbde_ref.pbde import luce
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    indices,
    instance,
    plain_array,
    reject,
    same_size,
    vector,
    whole_number,
)  # fmt: skip

__all__ = [
    "Identifiability", "asymptotic_covariance", "comparison_components", "difference_variances",
    "expected_excess_loss", "finite_fit_exists", "finite_utilities", "fisher_information", "groups_that_lose",
    "identifiability", "information_of_pairs", "null_projection", "preference_components", "score_covariance",
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
    return _contract(_spanning_edges(proposal, size), size, "weak")


@dataclass(frozen=True, eq=False)
class Identifiability(Shown):
    """What the comparisons of one annotator determine.

    Attributes
    ----------
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph.
    n_components : int
        The number of constants that utilities are undetermined by.
    unreachable : ndarray of int
        Outcomes that no annotator ever prefers to another (probability zero) and that are compared with none; nothing
        shows that they are never preferred.
    policy_is_unique : bool
        Whether exactly one normalised policy has the least expected loss, as a limit where no finite utilities attain
        it: `limit_fit` finds one leading group; with prompts, one at each.
    """

    components: IndexArray
    n_components: int
    unreachable: IndexArray
    policy_is_unique: bool


def identifiability(annotator: PreferenceModel, proposal: Proposal) -> Identifiability:
    """Whether the annotator's comparisons determine utilities and policy.

    Put outcomes into one group when arrows A → B, for pairs that are drawn and have Prob(A ≻ B) > 0, lead from each to
    the other (`preference_components`). The policy is unique exactly when one group alone has no arrow into it from
    another. For positive probabilities that means a connected comparison graph; for a single process with outcomes of
    probability zero, that the graph restricted to the others is connected and each of these is compared with one of
    them.

    Raises
    ------
    ValueError
        If the proposal compares two outcomes of probability zero.

    Notes
    -----
    Proof: ``proofs/misspecification.md``, part 5; ``proofs/connected_proposals.md`` and ``proofs/general_optimum.md``
    for a single process. Probabilities that are positive but underflow count as positive, weights that underflow as
    zero.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.3, 0.7, 0]), pb.luce())
    >>> pb.identifiability(annotator, pb.PairListProposal([0, 1], [2, 2])).policy_is_unique
    False
    """
    check_models(annotator, proposal)
    components = comparison_components(proposal, annotator.size)
    alone = np.bincount(components)[components] == 1
    groups = preference_components(annotator, proposal)
    leading = int(np.count_nonzero(~groups_that_lose(annotator, proposal, groups)))
    unreachable = np.flatnonzero(alone & ~_possible(annotator))
    prompts = prompts_of(annotator)
    # No arrow joins two prompts, and each has a leading group.
    policies = 1 if prompts is None else len(prompts.names)
    return Identifiability(components, int(components.max()) + 1, unreachable, leading == policies)


def finite_fit_exists(annotator: PreferenceModel, proposal: Proposal) -> bool:
    """Whether some finite utilities minimise the expected Bradley–Terry loss.

    They do exactly when, in each component of the comparison graph, the arrows A → B with Prob(A ≻ B) > 0 over the
    pairs drawn are strongly connected (Ford, 1957). Probabilities of utilities so far apart that they underflow count
    as positive.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    >>> pb.finite_fit_exists(always, pb.ProductProposal([1, 1]))
    False
    """
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
    check_models(annotator, proposal)
    if _always_possible(annotator):
        return comparison_components(proposal, annotator.size)
    return _contract(_arrows(annotator, proposal), annotator.size, "strong")


def groups_that_lose(annotator: PreferenceModel, proposal: Proposal, groups: IndexArray) -> NDArray[np.bool_]:
    """Whether some outcome of each group is beaten, with positive probability, by one of another group."""
    lost = np.zeros(groups.max() + 1, dtype=bool)
    if _always_possible(annotator) and np.array_equal(groups, comparison_components(proposal, annotator.size)):
        return lost
    for winner, loser in _arrows(annotator, proposal):
        lost[groups[loser[groups[winner] != groups[loser]]]] = True
    return lost


def _arrows(annotator: PreferenceModel, proposal: Proposal) -> Iterator[tuple[IndexArray, IndexArray]]:
    for block in proposal.blocks(annotator.size):
        forward, backward = _can_win(annotator, block)
        a, b = _edges(block, forward)
        c, d = _edges(block, backward)
        yield np.concatenate([a, d]), np.concatenate([b, c])


def _can_win(annotator: PreferenceModel, block: PairBlock) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether A, and whether B, is ever preferred, for each pair of a block; probabilities that underflow are not 0."""
    if isinstance(annotator, AnnotatorMixture):
        members = [_can_win(annotator.annotators[i], block) for i in np.flatnonzero(annotator.weights)]
        return np.any([a for a, _ in members], axis=0), np.any([b for _, b in members], axis=0)
    forward, backward = annotator.probabilities(block)  # refuses a comparison of two outcomes of probability zero
    if isinstance(annotator, Annotator):
        possible = _possible(annotator)
        return np.broadcast_to(possible[block.a], forward.shape), np.broadcast_to(possible[block.b], forward.shape)
    return forward > 0.0, backward > 0.0


def _always_possible(annotator: PreferenceModel) -> bool:
    """Whether every outcome may win against every other because every member has positive probabilities."""
    if isinstance(annotator, AnnotatorMixture):
        return all(_always_possible(annotator.annotators[i]) for i in np.flatnonzero(annotator.weights))
    return isinstance(annotator, Annotator) and bool(_possible(annotator).all())


def _possible(annotator: PreferenceModel) -> NDArray[np.bool_]:
    """Outcomes to which some annotator gives positive probability, shape (n,)."""
    if isinstance(annotator, AnnotatorMixture):
        members = [_possible(annotator.annotators[i]) for i in np.flatnonzero(annotator.weights)]
        return np.asarray(np.any(members, axis=0))
    if isinstance(annotator, Annotator):
        return ~np.isneginf(annotator.utility)
    return np.ones(annotator.size, dtype=bool)


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
    utilities = finite_utilities(utilities)
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

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric and positive semidefinite, right to 1e-12 of its largest entry. Small variances beside large ones
        have no digits here, as when the variance of one difference is 1e18 and that of another is 4: ask for
        `difference_variances`.

    Raises
    ------
    ValueError
        If sizes differ, an argument is out of range, or a variance overflows because outcomes that are compared are
        more than about 700 nats apart.

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
    utilities, n_comparisons = finite_utilities(utilities), whole_number("n_comparisons", n_comparisons, least=1)
    components = comparison_components(proposal, utilities.size)
    information, exponent = information_of_pairs(utilities, proposal, components)
    with np.errstate(over="ignore"):
        result = np.ldexp(pseudo_inverse(information, components) / n_comparisons, exponent)
    if not np.isfinite(result).all():
        raise ValueError(f"`utilities` must leave every variance below 1.8e308; got a spread of {_spread(utilities)}")
    return result


def difference_variances(
    utilities: ArrayLike, proposal: Proposal, pairs: ArrayLike, n_comparisons: int
) -> FloatArray:
    r"""Variances of differences of maximum-likelihood utilities after many independent comparisons, shape (m,).

    .. math:: \operatorname{Var}(\hat\omega_A - \hat\omega_B) \approx (e_A - e_B)^\top I^{+} (e_A - e_B) / N

    The effective resistance between A and B of a network whose conductances are the pairs' information,
    :math:`(q_{AB} + q_{BA})\, \sigma(d) \sigma(-d)`; each is a sum of positive terms, and as accurate as its own pairs,
    however large other variances are.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        The truth, finite.
    proposal : ProductProposal, JointProposal or PairListProposal
    pairs : array_like of int, shape (m, 2)
        Indices of A and B, which some chain of comparisons joins.
    n_comparisons : int
        N, at least 1.

    Returns
    -------
    ndarray, shape (m,)
        In squared nats; right to 1e-9 in relative terms. Zero for A = B.

    Raises
    ------
    ValueError
        If sizes differ, an argument is out of range, no chain of comparisons joins a pair, or a variance overflows.

    Notes
    -----
    Assumptions are those of `asymptotic_covariance`. Derivation: ``proofs/asymptotic_error.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> q = pb.PairListProposal([0, 1], [1, 2], [1, 1e-18])
    >>> pb.difference_variances([0.0, 0.0, 0.0], q, [(0, 1), (0, 2)], n_comparisons=1)
    array([4.e+00, 4.e+18])
    """
    utilities, n_comparisons = finite_utilities(utilities), whole_number("n_comparisons", n_comparisons, least=1)
    a, b = _named_pairs(pairs, utilities.size)
    components = comparison_components(proposal, utilities.size)
    apart = np.flatnonzero(components[a] != components[b])
    if apart.size:
        i = int(apart[0])
        raise ValueError(
            "`pairs` must be joined by chains of comparisons (otherwise their difference is undetermined); "
            f"got {a[i]} and {b[i]} at index {i}"
        )
    information, exponent = information_of_pairs(utilities, proposal, components)
    with np.errstate(over="ignore"):
        result = np.ldexp(effective_resistances(information, a, b) / n_comparisons, exponent)
    reject("pairs", "joined so closely that the variance stays below 1.8e308", result, np.isinf(result))
    return np.asarray(result)


def expected_excess_loss(
    annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal, n_comparisons: int
) -> float:
    r"""Asymptotic expected loss of the maximum-likelihood fit above the least possible, in nats per comparison.

    .. math:: \frac{\operatorname{tr}(H^+ V)}{2N} = \frac{1}{2N} \sum_{\{A, B\}} V_{AB} R_{AB}

    with H the Hessian at the population's fit, R its effective resistances, and V the Laplacian with weights
    :math:`V_{AB} = (q_{AB} + q_{BA}) [p_{AB}\, \sigma(-d)^2 + p_{BA}\, \sigma(d)^2]`. In a well-specified model V = H
    and the value is :math:`(n - c) / (2N)` for c components.

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
    utilities = finite_utilities(utilities, annotator.size)
    n_comparisons = whole_number("n_comparisons", n_comparisons, least=1)
    components = comparison_components(proposal, utilities.size)
    information, exponent = information_of_pairs(utilities, proposal, components)
    scores = _score_weights(annotator, utilities, proposal, exponent)
    # Of all pairs that are drawn, also of those whose own information underflows beside a chain that has some.
    a, b = np.nonzero(np.triu(scores, 1))
    return 0.5 * float((scores[a, b] * effective_resistances(information, a, b)).sum()) / n_comparisons


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
    weights = _score_weights(annotator, vector("utilities", utilities, size=annotator.size), proposal, 0)
    result = -weights
    np.fill_diagonal(result, weights.sum(axis=1))
    return result


def _score_weights(
    annotator: PreferenceModel, utilities: FloatArray, proposal: Proposal, exponent: int
) -> FloatArray:
    """Second moments of the slopes of each pair's comparisons, times two to a power; zero on the diagonal."""
    result = np.zeros((annotator.size, annotator.size))
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        margin = block.difference(utilities, "utilities")
        moment = forward * expit(-margin) ** 2 + backward * expit(margin) ** 2
        block.add_to_matrix(np.ldexp(block.weight, exponent) * moment, result, 1.0)
    return result


def finite_utilities(utilities: ArrayLike, size: int | None = None) -> FloatArray:
    """Checked utilities of a truth that can be estimated."""
    result = vector("utilities", utilities, size=size)
    reject("utilities", "finite", result, ~np.isfinite(result))
    return result


def _spread(utilities: FloatArray) -> float:
    with np.errstate(over="ignore"):
        return float(np.ptp(utilities))


def _named_pairs(pairs: ArrayLike, size: int) -> tuple[IndexArray, IndexArray]:
    given = plain_array("pairs", pairs)
    if given.ndim != 2 or given.shape[1] != 2:
        raise ValueError(f"`pairs` must have shape (m, 2); got {given.shape}")
    flat = indices("pairs", given.ravel())
    reject("pairs", f"an index below the number of outcomes, {size}", flat, flat >= size)
    return flat[::2], flat[1::2]


def information_of_pairs(
    utilities: FloatArray, proposal: Proposal, components: IndexArray, name: str = "utilities"
) -> tuple[FloatArray, int]:
    """Each pair's information, times two to a power; an error where what holds a component together underflows."""
    exponent = weight_exponent(proposal, utilities.size)
    information = pair_information(utilities, proposal, exponent)
    found = connected_components(coo_array(information > 0.0), directed=False)[0]
    if found > int(components.max()) + 1:
        raise ValueError(
            f"`{name}` must not lie more than about 709 nats apart along the only comparisons that join outcomes "
            f"(their information underflows); got a spread of {_spread(utilities)}"
        )
    return information, exponent


def _edges(block: PairBlock, mask: NDArray[np.bool_] | bool = True) -> tuple[IndexArray, IndexArray]:
    """Pairs of different outcomes with positive weight where `mask` holds."""
    chosen = (block.weight > 0.0) & (block.a != block.b) & mask
    return np.broadcast_to(block.a, chosen.shape)[chosen], np.broadcast_to(block.b, chosen.shape)[chosen]


def _spanning_edges(proposal: Proposal, size: int) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Edges with the components of all: of a product's, those of the outcomes that each factor draws most often.

    Where a(A) b(B) is positive, so are a(A) max b, max a b(B) and max a max b, after rounding as well.
    """
    if not isinstance(proposal, ProductProposal):
        yield from map(_edges, proposal.blocks(size))
        return
    same_size("proposal", proposal.a.size, size)
    often_a, often_b = int(proposal.a.argmax()), int(proposal.b.argmax())
    a = np.flatnonzero(proposal.a * proposal.b[often_b])
    b = np.flatnonzero(proposal.a[often_a] * proposal.b)
    yield np.append(a, np.full(b.size, often_a)), np.append(np.full(a.size, often_b), b)


def _contract(
    edges: Iterator[tuple[IndexArray, IndexArray]], size: int, connection: Literal["weak", "strong"]
) -> IndexArray:
    """Components in order of first appearance; edges inside a component are forgotten as soon as it is known."""
    labels = np.arange(size)
    kept = np.empty((2, 0), dtype=np.intp)
    for a, b in edges:
        new = labels[np.stack([a, b])]
        new = new[:, new[0] != new[1]]
        if not new.size:
            continue
        kept = np.concatenate([kept, new], axis=1)
        graph = coo_array((np.ones(kept.shape[1], dtype=np.int8), tuple(kept)), shape=(size, size)).tocsr()
        found = connected_components(graph, directed=True, connection=connection)[1]
        labels, kept = found[labels], found[kept]
        kept = kept[:, kept[0] != kept[1]]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
