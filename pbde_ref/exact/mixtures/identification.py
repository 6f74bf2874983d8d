r"""What answers of unnamed annotators determine: exact ranks, information, and how many answers tell two apart.

K annotators with odds :math:`t_k(x)` and weights :math:`w_k` give the laws of m answers of one annotator at a time,
:math:`\sum_k w_k \prod_j f_k(e_j)`, rational functions of odds and weights. Where the rank of their derivative is the
number of parameters, :math:`K n - 1`, almost all mixtures are determined within a neighbourhood.
Proof: ``proofs/mixture_ranks.md``.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel
from pbde_ref.display import Shown
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import fisher_information
from pbde_ref.exact.selection import win_weights
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, choice, generator_of, number, probability_weights, vector, whole_number

__all__ = ["MixtureRank", "answers_to_tell_apart", "information_with_identities", "mixture_rank", "rank_modulo"]

PRIME = 2**61 - 1
"""Ranks modulo a prime are lower bounds of rational ones; they fall short by chance with probability 1e-15 or so."""


@dataclass(frozen=True)
class MixtureRank(Shown):
    """How much of a mixture the laws of answers determine.

    Attributes
    ----------
    parameters : int
        Of K annotators on n outcomes, K n - 1.
    equations : int
        How many laws were differentiated.
    rank : int
        Of their derivative at a drawn mixture, modulo a prime: a lower bound on the rank at almost all mixtures.
    all_equations : bool
        Whether these are all laws there are; where they are fewer than the parameters, no mixture is determined.
    """

    parameters: int
    equations: int
    rank: int
    all_equations: bool

    @property
    def determined(self) -> bool:
        """Whether almost all mixtures are determined within a neighbourhood; no chance is in a True."""
        return self.rank == self.parameters


def mixture_rank(
    n_annotators: int, n_outcomes: int, answers: int = 1, kind: str = "pairs", rng: Any = None, most: int = 400
) -> MixtureRank:
    """Rank of what is seen of K annotators who each answer m times, unnamed.

    Parameters
    ----------
    n_annotators, n_outcomes : int
        K from 1 to 10, n from 2 (of rankings 3) to 20.
    answers : int
        m, from 1 to 4: what one annotator answers is known to be one annotator's.
    kind : {"pairs", "rankings"}
        Comparisons of two, or Plackett–Luce rankings of three.
    rng : numpy.random.Generator or seed, optional
        Draws the mixture, and the laws where they are too many.
    most : int
        If there are more laws than that, so many are drawn.

    Examples
    --------
    >>> from pbde_ref.exact.mixtures.identification import mixture_rank
    >>> [mixture_rank(2, n, rng=0).determined for n in (4, 5)]
    [False, True]
    >>> mixture_rank(2, 4, answers=2, rng=0).determined
    True
    """
    k, m = (
        whole_number("n_annotators", n_annotators, least=1, most=10),
        whole_number("answers", answers, least=1, most=4),
    )
    size = 2 if choice("kind", kind, ("pairs", "rankings")) == "pairs" else 3
    n, draw = whole_number("n_outcomes", n_outcomes, least=size, most=20), generator_of(rng)
    events = list(itertools.combinations(range(n), 2) if size == 2 else itertools.permutations(range(n), 3))
    total = sum(math.comb(len(events) + s - 1, s) for s in range(1, m + 1))
    laws: Sequence[Sequence[int]] = (
        [law for s in range(1, m + 1) for law in itertools.combinations_with_replacement(range(len(events)), s)]
        if total <= most
        else draw.integers(len(events), size=(most, m)).tolist()
    )
    weights = [int(x) for x in draw.integers(1, PRIME, size=k)]
    odds = [[int(x) for x in draw.integers(1, PRIME, size=n)] for _ in range(k)]
    seen = [[_event(event, each) for event in events] for each in odds]
    rows = []
    for law in laws:
        row: list[int] = []
        values = []
        for w, own in zip(weights, seen, strict=True):
            value = math.prod(own[e][0] for e in law) % PRIME
            values.append(value)
            row += [w * value * sum(own[e][1][x] for e in law) % PRIME for x in range(1, n)]
        rows.append([*row, *((value - values[-1]) % PRIME for value in values[:-1])])
    return MixtureRank(k * n - 1, len(rows), rank_modulo(rows), total <= most)


def _event(ranking: tuple[int, ...], odds: Sequence[int]) -> tuple[int, list[int]]:
    """Probability of a ranking, and the derivatives of its logarithm by log-odds, modulo the prime."""
    value, slopes = 1, [0] * len(odds)
    for i, x in enumerate(ranking[:-1]):
        inverse = pow(sum(odds[y] for y in ranking[i:]), -1, PRIME)
        value = value * odds[x] * inverse % PRIME
        slopes[x] += 1
        for y in ranking[i:]:
            slopes[y] -= odds[y] * inverse
    return value, slopes


def rank_modulo(rows: Sequence[Sequence[int]], prime: int = PRIME) -> int:
    """Rank of a matrix of integers modulo a prime: never above its rational rank.

    Examples
    --------
    >>> rank_modulo([[1, 2], [2, 4]]), rank_modulo([[1, 0], [0, 7]]), rank_modulo([[1, 0], [0, 7]], prime=7)
    (1, 2, 1)
    """
    left, rank = [[x % prime for x in row] for row in rows], 0
    for column in range(len(left[0])):
        pivot = next((i for i in range(rank, len(left)) if left[i][column]), None)
        if pivot is None:
            continue
        left[rank], left[pivot] = left[pivot], left[rank]
        inverse, top = pow(left[rank][column], -1, prime), left[rank]
        for i in range(rank + 1, len(left)):
            if factor := left[i][column] * inverse % prime:
                left[i] = [(a - factor * b) % prime for a, b in zip(left[i], top, strict=True)]
        rank += 1
    return rank


def information_with_identities(weights: ArrayLike, utilities: ArrayLike, proposal: Proposal) -> FloatArray:
    r"""Fisher information of a signed answer, in the coordinates of `expected_mixture_hessian`, shape (kn + k, kn + k).

    Blocks :math:`w_k I(\omega_k)`, and :math:`\operatorname{diag}(w) - w w^\top` for the logits of the weights. What it
    exceeds `expected_mixture_hessian` by is what signatures are worth.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures.identification import information_with_identities
    >>> pair = pb.JointProposal([[0, 1], [0, 0]])
    >>> information_with_identities([1, 1], [[0.0, 0.0], [0.0, 0.0]], pair).diagonal()
    array([0.125, 0.125, 0.125, 0.125, 0.25 , 0.25 ])
    """
    w = probability_weights("weights", vector("weights", weights))
    rows = np.atleast_2d(np.asarray(utilities, float))
    k, n = rows.shape
    result = np.zeros((k * n + k, k * n + k))
    for i, (share, row) in enumerate(zip(w, rows, strict=True)):
        result[i * n : (i + 1) * n, i * n : (i + 1) * n] = share * fisher_information(row, proposal)
    result[k * n :, k * n :] = np.diag(w) - np.outer(w, w)
    return result


def answers_to_tell_apart(
    first: PreferenceModel, second: PreferenceModel, proposal: Proposal, error: float, step: float = 1e-3
) -> int:
    r"""How many answers of one annotator say which of two it is, wrongly with at most that probability.

    Before, both are as likely; the guess is the one with the larger likelihood. The law of the sum of N log-likelihood
    ratios is that of one, on a lattice, convolved with itself.

    Parameters
    ----------
    first, second : Annotator, AnnotatorMixture or PreferenceMatrix
        Each answer that one may give the other may give, too.
    proposal : ProductProposal, JointProposal or PairListProposal
    error : float
        From 1e-9 to 0.5, exclusive.
    step : float
        Log-likelihood ratios are split between the neighbouring multiples, which keeps their mean.

    Raises
    ------
    ValueError
        If no number of answers up to 100,000 is enough.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures.identification import answers_to_tell_apart
    >>> sure, unsure = (pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in ([9, 1], [1, 1]))
    >>> answers_to_tell_apart(sure, unsure, pb.JointProposal([[0, 1], [0, 0]]), 0.05)
    12
    """
    check_models(first, proposal)
    check_models(second, proposal)
    bound = number("error", error)
    if not 1e-9 < bound < 0.5:
        raise ValueError(f"`error` must be between 1e-9 and 0.5; got {bound}")
    law: dict[int, FloatArray] = defaultdict(lambda: np.zeros(2))
    (won, ties), (other, _) = win_weights(first, proposal), win_weights(second, proposal)
    if ((won > 0.0) != (other > 0.0)).any():
        raise ValueError("`first` and `second` must hold the same answers for possible; got one that only one gives")
    law[0] += ties
    for a, b in zip(*np.nonzero(won), strict=True):
        place = math.log(won[a, b] / other[a, b]) / step
        low = math.floor(place)
        for index, share in ((low, 1.0 - place + low), (low + 1, place - low)):
            law[index] += share * np.array([won[a, b], other[a, b]])

    def wrong(count: int) -> float:
        """By the first's law the sum is below zero; by the second's, above; half of what is zero."""
        reach = count * max(abs(index) for index in law)
        size = 1 << (2 * reach + 1).bit_length()
        one = np.zeros((2, size))
        for index, masses in law.items():
            one[:, index % size] += masses
        total = np.fft.irfft(np.fft.rfft(one) ** count, size)
        above, below = total[1, 1 : reach + 1].sum(), total[0, size - reach :].sum()
        return float(above + below + 0.5 * total[:, 0].sum()) / 2.0

    high = 1
    while wrong(high) > bound:
        high *= 2
        if high > 100_000:
            raise ValueError("`first` and `second` must differ more; 100,000 answers do not tell them apart")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wrong(middle) <= bound else (middle, high)
    return high
