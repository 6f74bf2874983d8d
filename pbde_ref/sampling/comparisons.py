"""Pairs, preferences, and both: the data set D of Eq. (6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import PreferenceMatrix, PreferenceModel, check_prompts
from pbde_ref.display import Shown
from pbde_ref.exact.expected import check_models
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import PairListProposal, ProductProposal, Proposal
from pbde_ref.sampling.outcomes import CHUNK, draw_outcomes, random_generator
from pbde_ref.validation import FloatArray, IndexArray, indices, instance, plain_array, reject, same_size, whole_number

__all__ = [
    "Comparisons", "check_annotator", "observed_preferences", "outcome_indices", "sample_comparisons",
    "sample_pairs", "sample_preferences", "win_probability",
]  # fmt: skip

# 8 MB: reading from a larger table is slower than computing.
LARGEST_TABLE = 1 << 20


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
        Number of pairs; may be 0.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    x_a, x_b : ndarray of int, shape (size,)

    Raises
    ------
    ValueError
        If the proposal is over another number of outcomes, or lists an outcome that is not below it.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> x_a, x_b = pb.sample_pairs(pb.JointProposal([[0, 1], [0, 0]]), 2, size=3, rng=0)
    >>> x_a, x_b
    (array([0, 0, 0]), array([1, 1, 1]))
    """
    instance("proposal", proposal, Proposal, "a proposal")
    support_size = whole_number("support_size", support_size, least=1)
    size, generator = whole_number("size", size), random_generator(rng)
    if isinstance(proposal, ProductProposal):
        same_size("proposal", proposal.a.size, support_size)
        return draw_outcomes(proposal.a, size, generator), draw_outcomes(proposal.b, size, generator)
    if isinstance(proposal, PairListProposal):
        _check_below("proposal.x_a", proposal.x_a, support_size)
        _check_below("proposal.x_b", proposal.x_b, support_size)
        drawn = draw_outcomes(proposal.weights, size, generator)
        return proposal.x_a[drawn], proposal.x_b[drawn]
    drawn = draw_outcomes(proposal.matrix(support_size).ravel(), size, generator)
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
        Indices; may be empty.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of bool, shape (m,)

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
    check_annotator(annotator)
    generator = random_generator(rng)
    first, second = outcome_indices("x_a", x_a, annotator.size), outcome_indices("x_b", x_b, annotator.size)
    if first.size != second.size:
        raise ValueError(f"`x_b` must have one entry for each of `x_a`, {first.size}; got {second.size}")
    check_prompts("x_b", annotator, first, second)
    result = np.empty(first.size, dtype=np.bool_)
    probability = win_probability(annotator, first.size)
    for start in range(0, first.size, CHUNK):
        part = slice(start, start + CHUNK)
        np.less(generator.random(first[part].size), probability(first[part], second[part]), out=result[part])
    return result


@dataclass(frozen=True, eq=False)
class Comparisons(Shown):
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
        Number of comparisons; may be 0.
    rng : numpy.random.Generator or seed, optional

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> drawn = pb.sample_comparisons(annotator, pb.JointProposal([[0, 1], [0, 0]]), 100_000, rng=0)
    >>> round(float(drawn.y.mean()), 2)
    0.75
    """
    check_models(annotator, proposal)
    pair_rng, answer_rng = random_generator(rng).spawn(2)
    x_a, x_b = sample_pairs(proposal, annotator.size, size, rng=pair_rng)
    return Comparisons(x_a, x_b, sample_preferences(annotator, x_a, x_b, rng=answer_rng))


def observed_preferences(
    chosen: ArrayLike, rejected: ArrayLike, support: NDArray[Any]
) -> tuple[PreferenceMatrix, PairListProposal]:
    r"""A sample of comparisons as a population: its win rates, and its pairs with their counts.

    Expected losses of the two are mean losses over the sample, and their optima those of the sample.

    Parameters
    ----------
    chosen, rejected : array_like of int, shape (m,)
        The winner and the loser of each comparison; at least one.
    support : ndarray, shape (n,)
        The outcomes' labels.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.sampling.comparisons import observed_preferences
    >>> preferences, pairs = observed_preferences([0, 0, 1], [1, 1, 0], np.array(["tea", "coffee"]))
    >>> preferences.matrix.round(2), pairs.weights
    (array([[0.5 , 0.67],
           [0.33, 0.5 ]]), array([1.]))
    """
    size = len(support)
    winners, losers = outcome_indices("chosen", chosen, size), outcome_indices("rejected", rejected, size)
    same_size("rejected", losers.size, winners.size)
    counts = np.bincount(winners * size + losers, minlength=size * size).reshape(size, size).astype(np.float64)
    met = counts + counts.T
    rates = np.divide(counts, met, out=np.full((size, size), 0.5), where=met > 0.0)
    np.fill_diagonal(met, counts.diagonal())
    a, b = np.nonzero(np.triu(met))
    return PreferenceMatrix(rates, support), PairListProposal(a, b, met[a, b])


def win_probability(annotator: PreferenceModel, n_questions: int) -> Callable[[IndexArray, IndexArray], FloatArray]:
    """Prob(A ≻ B) of vectors of pairs; read from a table if that pays for so many questions."""

    def computed(a: IndexArray, b: IndexArray) -> FloatArray:
        return annotator.probabilities(PairBlock(a, b, np.ones(a.size)))[0]

    n = annotator.size
    if n * n > min(n_questions, LARGEST_TABLE):
        return computed
    try:
        table = annotator.preference_probabilities().ravel()
    except ValueError:
        # Some pair's preference is undefined; that matters only if the pair is asked.
        return computed
    return lambda a, b: table.take(a * n + b)


def check_annotator(annotator: PreferenceModel) -> None:
    """Raise ``TypeError`` unless it is one."""
    instance("annotator", annotator, PreferenceModel, "an annotator")


def outcome_indices(name: str, value: ArrayLike, support_size: int) -> IndexArray:
    """A vector of outcomes' indices, which may be empty."""
    given = plain_array(name, value)
    if given.shape == (0,):
        return np.empty(0, dtype=np.intp)
    result = indices(name, given)
    _check_below(name, result, support_size)
    return result


def _check_below(name: str, value: IndexArray, support_size: int) -> None:
    reject(name, f"an index below the number of outcomes, {support_size}", value, value >= support_size)
