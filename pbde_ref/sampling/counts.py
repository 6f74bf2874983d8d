"""Aggregated counts of comparisons, drawn directly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.expected import check_models
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import Proposal
from pbde_ref.sampling.outcomes import random_generator
from pbde_ref.validation import FloatArray, whole_number

__all__ = ["draw_binomial", "draw_multinomial", "sample_counts"]

Counts = NDArray[np.int64]

LARGEST = 1 << 62

# NumPy's binomial evaluates n log(1 - ...) in double precision: wrong by 0.002 at this n, by hundreds at 2^62, where
# also the last eight bits of what it returns are always zero.
LARGEST_DRAW = 1 << 44


def sample_counts(annotator: PreferenceModel, proposal: Proposal, size: int, *, rng: Any = None) -> Counts:
    """Draw how often each outcome beats each other in `size` comparisons, without drawing the comparisons.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    size : int
        Number of comparisons, from 0 to 2**62.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (n, n)
        Entry [A, B]: comparisons in which A was preferred to B; comparisons of A with itself on the diagonal. The sum
        of all entries is `size`. Their distribution is exactly that of `sample_comparisons`, counted.

    Raises
    ------
    ValueError
        If `size` is out of range, the proposal is over another number of outcomes, or a preference that it asks for is
        undefined.

    Notes
    -----
    The numbers of comparisons of the unordered pairs are multinomial, drawn by halving: a binomial says how many of the
    comparisons fall into the first half of the pairs, and so on. Given these numbers the wins are independent
    binomials. Up to `size` = 10^13 the only inexactness is that of the double-precision probabilities; beyond, counts
    of more than 2^44 are sums of smaller ones and cost time.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> counts = pb.sample_counts(annotator, pb.JointProposal([[0, 1], [0, 0]]), 10**12, rng=0)
    >>> int(counts.sum()), round(float(counts[0, 1]) / 10**12, 4)
    (1000000000000, 0.75)
    """
    check_models(annotator, proposal)
    size, generator = whole_number("size", size), random_generator(rng)
    if size > LARGEST:
        raise ValueError(f"`size` must be at most 2**62; got {size}")
    blocks = list(proposal.blocks(annotator.size))
    in_block = draw_multinomial(size, np.array([block.weight.sum() for block in blocks]), generator)
    result = np.zeros((annotator.size, annotator.size), dtype=np.int64)
    for block, count in zip(blocks, in_block.tolist(), strict=True):
        if count > 0:
            drawn = draw_multinomial(count, block.weight.ravel(), generator).reshape(block.weight.shape)
            _add_wins(block, drawn, annotator, generator, result)
    return result


def _add_wins(
    block: PairBlock, drawn: Counts, annotator: PreferenceModel, generator: np.random.Generator, result: Counts
) -> None:
    """Let the annotator answer the block's comparisons; count the answers in place."""
    forward, backward = annotator.probabilities(block)
    wins = draw_binomial(drawn, forward, backward, generator)
    if drawn.ndim == 2:
        result[block.a, block.b] += wins
        result[block.b, block.a] += drawn - wins
    else:
        # The list may name a pair several times.
        np.add.at(result, (block.a, block.b), wins)
        np.add.at(result, (block.b, block.a), drawn - wins)


def draw_multinomial(count: int, weights: FloatArray, generator: np.random.Generator) -> Counts:
    """How many of `count` draws each of the weights gets; a weight of 0 gets none.

    NumPy's multinomial subtracts probabilities one by one from what remains; the rounding that accumulates goes to the
    last category, even if its weight is 0. Halving needs no subtraction.
    """
    sums = [weights]
    while sums[-1].size > 1:
        last = sums[-1] if sums[-1].size % 2 == 0 else np.append(sums[-1], 0.0)
        sums.append(last[0::2] + last[1::2])
    counts = np.array([count], dtype=np.int64)
    for level in reversed(sums[:-1]):
        left, right = level[0::2], level[1::2]
        if right.size < left.size:
            right = np.append(right, 0.0)
        halves = np.empty((left.size, 2), dtype=np.int64)
        halves[:, 0] = draw_binomial(counts, left, right, generator)
        halves[:, 1] = counts - halves[:, 0]
        counts = halves.ravel()[: level.size]
    return counts


def draw_binomial(n: Counts, won: FloatArray, lost: FloatArray, generator: np.random.Generator) -> Counts:
    """Successes in n trials with odds `won` to `lost`; none where both are 0."""
    total = won + lost
    # The smaller probability has more digits than the complement of the larger one.
    smaller = np.divide(np.minimum(won, lost), total, out=np.zeros(total.shape), where=total > 0.0)
    drawn = _binomial(n, smaller, generator)
    return np.where(won <= lost, drawn, n - drawn)


def _binomial(n: Counts, p: FloatArray, generator: np.random.Generator) -> Counts:
    drawn = np.asarray(generator.binomial(n % LARGEST_DRAW, p), dtype=np.int64)
    large = n >= LARGEST_DRAW
    if large.any():
        parts = n[large] // LARGEST_DRAW
        whole = generator.binomial(LARGEST_DRAW, np.repeat(p[large], parts))
        drawn[large] += np.add.reduceat(whole, np.cumsum(parts) - parts)
    return drawn
