r"""Draws at random: outcomes, pairs, preferences, aggregated counts, optimal policies by rejection, Barker's chain.

Everything is drawn from the exact distribution, vectorised, with a generator or seed that the caller hands in; equal
seeds give equal bytes. Outcomes are indices into the support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import PairListProposal, ProductProposal, Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    indices,
    instance,
    matrix,
    positive_number,
    probability_weights,
    reject,
    vector,
    whole_number,
)

__all__ = [
    "Comparisons",
    "RejectionSample",
    "sample_barker_chain",
    "sample_comparisons",
    "sample_counts",
    "sample_optimal_policy",
    "sample_outcomes",
    "sample_pairs",
    "sample_preferences",
]

# Temporaries of 16,384 floats stay in a core's first two levels of cache.
CHUNK = 1 << 14


def sample_outcomes(weights: FiniteDistribution | ArrayLike, size: int, *, rng: Any = None) -> IndexArray:
    """Draw outcomes independently, as indices.

    Parameters
    ----------
    weights : FiniteDistribution or array_like, shape (n,)
        Probabilities, or non-negative weights.
    size : int
        Number of draws.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (size,)

    Notes
    -----
    Few draws are looked up in the cumulative distribution, which needs no preparation. Many are drawn from an alias
    table (Walker, 1977), at constant cost each and in chunks that fit the cache. One uniform number of 53 bits decides
    each draw either way.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.sample_outcomes([0, 1, 0], size=4, rng=0)
    array([1, 1, 1, 1])
    """
    if isinstance(weights, FiniteDistribution):
        weights = weights.pmf
    pmf = probability_weights("weights", vector("weights", weights))
    return _outcomes(pmf, whole_number("size", size), np.random.default_rng(rng))


def sample_pairs(
    proposal: Proposal, support_size: int, size: int, *, rng: Any = None
) -> tuple[IndexArray, IndexArray]:
    r"""Draw ordered pairs :math:`(x_A, x_B) \sim q` independently.

    Parameters
    ----------
    proposal : ProductProposal, JointProposal or PairListProposal
    support_size : int
        Number of outcomes.
    size : int
        Number of pairs.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    x_a, x_b : ndarray of int, shape (size,)

    Examples
    --------
    >>> import pbde_ref as pb
    >>> x_a, x_b = pb.sample_pairs(pb.JointProposal([[0, 1], [0, 0]]), 2, size=3, rng=0)
    >>> x_a, x_b
    (array([0, 0, 0]), array([1, 1, 1]))
    """
    size, generator = whole_number("size", size), np.random.default_rng(rng)
    if isinstance(proposal, ProductProposal) and proposal.a.size == support_size:
        return _outcomes(proposal.a, size, generator), _outcomes(proposal.b, size, generator)
    if isinstance(proposal, PairListProposal):
        drawn = _outcomes(proposal.weights, size, generator)
        return proposal.x_a[drawn], proposal.x_b[drawn]
    instance("proposal", proposal, Proposal, "a proposal")  # type: ignore[type-abstract]
    drawn = _outcomes(proposal.matrix(support_size).ravel(), size, generator)
    x_a, x_b = np.divmod(drawn, support_size)
    return x_a, x_b


def sample_preferences(
    annotator: PreferenceModel, x_a: ArrayLike, x_b: ArrayLike, *, rng: Any = None
) -> NDArray[np.bool_]:
    """Let the annotator compare pairs: whether the first outcome of each was preferred.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        A mixture draws a new annotator for every comparison.
    x_a, x_b : array_like of int, shape (m,)
        Indices.
    rng : numpy.random.Generator or seed, optional

    Raises
    ------
    ValueError
        If an index is not below the number of outcomes, or a pair's preference is undefined.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    >>> pb.sample_preferences(always, [0, 1], [1, 0], rng=0)
    array([ True, False])
    """
    generator = np.random.default_rng(rng)
    first, second = indices("x_a", np.asarray(x_a)), indices("x_b", np.asarray(x_b))
    if first.size != second.size:
        raise ValueError(f"`x_b` must have one entry for each of `x_a`, {first.size}; got {second.size}")
    for name, value in (("x_a", first), ("x_b", second)):
        reject(name, f"an index below the number of outcomes, {annotator.size}", value, value >= annotator.size)
    result = np.empty(first.size, dtype=bool)
    for start in range(0, first.size, CHUNK):
        part = slice(start, start + CHUNK)
        block = PairBlock(first[part], second[part], np.ones(first[part].size))
        result[part] = generator.random(first[part].size) < annotator.probabilities(block)[0]
    return result


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Comparisons that were drawn.

    Attributes
    ----------
    x_a, x_b : ndarray of int, shape (m,)
        The outcomes shown.
    y : ndarray of bool, shape (m,)
        Whether `x_a` was preferred.
    """

    x_a: IndexArray
    x_b: IndexArray
    y: NDArray[np.bool_]

    @property
    def chosen(self) -> IndexArray:
        """The preferred outcomes."""
        return np.where(self.y, self.x_a, self.x_b)

    @property
    def rejected(self) -> IndexArray:
        """The other ones."""
        return np.where(self.y, self.x_b, self.x_a)


def sample_comparisons(
    annotator: PreferenceModel, proposal: Proposal, size: int, *, rng: Any = None
) -> Comparisons:
    r"""Draw comparisons :math:`(x_A, x_B, y) \sim D` of Eq. (6).

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    size : int
        Number of comparisons, at least 1.
    rng : numpy.random.Generator or seed, optional

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> drawn = pb.sample_comparisons(annotator, pb.JointProposal([[0, 1], [0, 0]]), 100_000, rng=0)
    >>> round(float(drawn.y.mean()), 2)
    0.75
    """
    pair_rng, answer_rng = np.random.default_rng(rng).spawn(2)
    x_a, x_b = sample_pairs(proposal, annotator.size, whole_number("size", size, least=1), rng=pair_rng)
    return Comparisons(x_a, x_b, sample_preferences(annotator, x_a, x_b, rng=answer_rng))


def sample_counts(
    annotator: PreferenceModel, proposal: Proposal, size: int, *, rng: Any = None
) -> NDArray[np.int64]:
    """Draw how often each outcome beats each other in `size` comparisons, without drawing the comparisons.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    size : int
        Number of comparisons, up to 2**62.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (n, n)
        Entry [A, B]: comparisons in which A was preferred to B; comparisons of A with itself on the diagonal. The sum
        of all entries is `size`. Their distribution is exactly that of `sample_comparisons`, counted.

    Notes
    -----
    The numbers of comparisons of the unordered pairs are multinomial, and given these the wins are independent
    binomials.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> counts = pb.sample_counts(annotator, pb.JointProposal([[0, 1], [0, 0]]), 10**12, rng=0)
    >>> int(counts.sum()), round(float(counts[0, 1]) / 10**12, 4)
    (1000000000000, 0.75)
    """
    generator, size = np.random.default_rng(rng), whole_number("size", size)
    blocks = list(proposal.blocks(annotator.size))
    # First how many comparisons fall into each block, then within it: sums of conditional multinomials.
    masses = np.array([block.weight.sum() for block in blocks])
    result = np.zeros((annotator.size, annotator.size), dtype=np.int64)
    for block, count in zip(blocks, generator.multinomial(size, masses / masses.sum()), strict=True):
        if count == 0:
            continue
        weight = block.weight.ravel()
        drawn = generator.multinomial(count, weight / weight.sum()).reshape(block.weight.shape)
        forward = np.broadcast_to(annotator.probabilities(block)[0], drawn.shape)
        wins = generator.binomial(drawn, forward)
        for winner, loser, number in ((block.a, block.b, wins), (block.b, block.a, drawn - wins)):
            if block.weight.ndim == 2:
                result[winner, loser] += number
            else:
                np.add.at(result, (winner, loser), number)
    return result


@dataclass(frozen=True, eq=False)
class RejectionSample:
    """Draws from an optimal policy.

    Attributes
    ----------
    outcomes : ndarray of int, shape (m,)
    proposed : int
        Draws from the reference that it took.
    acceptance : float
        The expected share of them that is accepted.
    """

    outcomes: IndexArray
    proposed: int
    acceptance: float


def sample_optimal_policy(
    reference: FiniteDistribution, rewards: ArrayLike, beta: float, size: int, *, rng: Any = None
) -> RejectionSample:
    r"""Draw from the policy of Eq. (13) by statistical rejection sampling from the reference, as RSO does.

    A draw :math:`x \sim \pi_{pre}` is accepted with probability :math:`e^{(r(x) - \max r) / \beta}`; what is accepted
    has exactly the distribution :math:`\pi \propto \pi_{pre}\, e^{r / \beta}`.

    Parameters
    ----------
    reference : FiniteDistribution
        :math:`\pi_{pre}`.
    rewards : array_like, shape (n,)
        Finite, or -inf for outcomes to exclude. The maximum is over the outcomes that the reference has.
    beta : float
        Positive.
    size : int
        Number of accepted draws.
    rng : numpy.random.Generator or seed, optional

    Raises
    ------
    ValueError
        If fewer than one draw in 10^8 would be accepted; the message names the share.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> sample = pb.sample_optimal_policy(pb.uniform([0, 1]), [0.0, float("-inf")], 1.0, size=3, rng=0)
    >>> sample.outcomes, sample.acceptance
    (array([0, 0, 0]), 0.5)
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    rewards = vector("rewards", rewards, size=len(reference))
    reject("rewards", "below +inf", rewards, np.isposinf(rewards))
    beta, size, generator = positive_number("beta", beta), whole_number("size", size), np.random.default_rng(rng)
    largest = rewards[reference.pmf > 0.0].max()
    if np.isneginf(largest):
        raise ValueError("`rewards` must be finite at an outcome of positive probability; got -inf at all of them")
    accept = np.exp(np.minimum((rewards - largest) / beta, 0.0))
    acceptance = float(reference.pmf @ accept)
    if acceptance < 1e-8:
        raise ValueError(f"`beta` must leave an acceptance of at least 1e-8; got {acceptance:.2g} for beta = {beta}")
    accepted: list[IndexArray] = []
    missing, proposed = size, 0
    while missing > 0:
        batch = min(int(1.1 * missing / acceptance) + 16, 1 << 22)
        drawn = _outcomes(reference.pmf, batch, generator)
        kept = np.flatnonzero(generator.random(batch) < accept[drawn])[:missing]
        proposed += int(kept[-1]) + 1 if kept.size == missing else batch
        accepted.append(drawn[kept])
        missing -= kept.size
    return RejectionSample(np.concatenate([np.empty(0, dtype=np.intp), *accepted]), proposed, acceptance)


def sample_barker_chain(
    annotator: PreferenceModel, kernel: ArrayLike, steps: int, *, start: ArrayLike = 0, rng: Any = None
) -> IndexArray:
    r"""Run Markov chains whose accept step is the annotator's preference.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    kernel : array_like, shape (n, n)
        Proposal :math:`K(x, x')`; rows sum to one. With a symmetric kernel and a Luce annotator the chain samples
        :math:`p^*`.
    steps : int
        Number of steps.
    start : int or array_like of int, shape (m,)
        Where each of m chains starts.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (steps + 1, m)
        States; row 0 is `start`.

    Notes
    -----
    `barker_transition_matrix` has the exact transition probabilities.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.75, 0.25]), pb.luce())
    >>> states = pb.sample_barker_chain(annotator, [[0.5, 0.5], [0.5, 0.5]], 2000, start=[0] * 50, rng=0)
    >>> round(float((states[100:] == 0).mean()), 2)
    0.75
    """
    kernel = matrix("kernel", kernel, size=annotator.size)
    reject("kernel", "non-negative", kernel, kernel < 0.0)
    sums = kernel.sum(axis=1)
    reject("row sums of kernel", "1 within 1e-12", sums, ~(np.abs(sums - 1.0) <= 1e-12))
    current = indices("start", np.atleast_1d(np.asarray(start)))
    reject("start", f"an index below the number of outcomes, {annotator.size}", current, current >= annotator.size)
    generator = np.random.default_rng(rng)
    cumulative = np.cumsum(kernel, axis=1)
    cumulative /= cumulative[:, -1:]
    states = np.empty((whole_number("steps", steps) + 1, current.size), dtype=np.intp)
    states[0] = current
    for step in range(1, len(states)):
        uniform = generator.random(current.size)
        proposed = (cumulative[current] <= uniform[:, None]).sum(axis=1)
        moved = proposed != current
        block = PairBlock(proposed, current, np.ones(current.size))
        moved &= generator.random(current.size) < annotator.probabilities(block)[0]
        current = np.where(moved, proposed, current)
        states[step] = current
    return states


def _outcomes(pmf: FloatArray, size: int, generator: np.random.Generator) -> IndexArray:
    """Indices drawn with probabilities that sum to one."""
    if size < pmf.size:
        cumulative = np.cumsum(pmf)
        # The last outcome of positive probability ends at exactly 1, so that no draw falls beyond it.
        cumulative[np.flatnonzero(pmf)[-1] :] = 1.0
        return np.searchsorted(cumulative, generator.random(size), side="right").astype(np.intp)
    keep, alias = _alias_table(pmf)
    result = np.empty(size, dtype=np.intp)
    for start in range(0, size, CHUNK):
        part = result[start : start + CHUNK]
        scaled = generator.random(part.size) * pmf.size
        cell = scaled.astype(np.intp)
        scaled -= cell
        part[:] = np.where(scaled < keep[cell], cell, alias[cell])
    return result


def _alias_table(pmf: FloatArray) -> tuple[FloatArray, IndexArray]:
    r"""For each of n equally likely cells, the probability to keep its own outcome, and the other one.

    Cells that hold less than 1/n are filled up in turn by those that hold more; a full cell that gave away too much is
    filled up by the next. Both rules are lookups in cumulative sums, so no loop is needed.
    """
    share = pmf * pmf.size
    poor, rich = np.flatnonzero(share < 1.0), np.flatnonzero(share >= 1.0)
    keep, alias = np.ones(pmf.size), np.arange(pmf.size)
    needed, offered = np.cumsum(1.0 - share[poor]), np.cumsum(share[rich] - 1.0)
    before = np.concatenate([[0.0], needed[:-1]]) if poor.size else needed
    keep[poor] = share[poor]
    giver = np.minimum(np.searchsorted(offered, before, side="right"), rich.size - 1)
    alias[poor] = rich[giver]
    # The first poor cell that a rich one could not fill alone decides how much that one is left with.
    taker = np.searchsorted(needed, offered, side="right")
    short = np.flatnonzero((taker < poor.size) & (np.arange(rich.size) < rich.size - 1))
    keep[rich[short]] = np.clip(1.0 - (needed[taker[short]] - offered[short]), 0.0, 1.0)
    alias[rich[short]] = rich[short + 1]
    return keep, alias
