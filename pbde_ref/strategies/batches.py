"""Hypothesis strategies for what losses take: batches of log-probabilities, rewards and tokens, and hyperparameters.

Every batch is away from the degenerate points at which wrong losses look right: at least two examples, all different;
chosen and rejected sequences of different lengths; a reference that is neither zero nor the policy; β ≠ 1, ε ≠ 0. The
examples stay there when Hypothesis shrinks them, because each number is a fixed irregular pattern plus what Hypothesis
adds. With ``extremes=True`` some pairs have gaps of ±100, and some rejected sequences are nearly certain.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray

__all__ = [
    "MixtureBatch", "PairBatch", "RankingBatch", "RewardBatch", "TokenBatch", "betas", "mixture_batches",
    "pair_batches", "ranking_batches", "reward_batches", "shares", "smoothings", "token_batches",
]  # fmt: skip

Array = NDArray[Any]
Precision = type[np.floating[Any]]

# Log-probability of a token of a nearly certain sequence: -9.3e-10, exact in every precision.
NEARLY_CERTAIN = -(2.0**-30)


class PairBatch(NamedTuple):
    """Log-probabilities of B pairs of sequences under policy and reference, and the sequences' lengths; shape (B,)."""

    policy_chosen: Array
    policy_rejected: Array
    reference_chosen: Array
    reference_rejected: Array
    chosen_lengths: Array
    rejected_lengths: Array


class RewardBatch(NamedTuple):
    """Rewards of B pairs and the margins asked for; shape (B,)."""

    chosen_rewards: Array
    rejected_rewards: Array
    margin: Array


class MixtureBatch(NamedTuple):
    """Log-probabilities of B pairs under k policies, shape (B, k), and logits of the policies' weights, shape (k,)."""

    policy_chosen: Array
    policy_rejected: Array
    weight_logits: Array


class RankingBatch(NamedTuple):
    """Log-probabilities of k candidates for B prompts, their lengths, and an annotator's scores; shape (B, k)."""

    policy: Array
    lengths: Array
    scores: Array


class TokenBatch(NamedTuple):
    """Logits (B, T, V), tokens (B, T) of prompt, completion and padding, and the numbers of prompt tokens (B,)."""

    logits: Array
    labels: Array
    prompt_lengths: Array
    end_of_sequence: int
    padding: int


def betas() -> st.SearchStrategy[float]:
    """Positive hyperparameters such as β, α, τ and δ: in [1/16, 3/4] or [3/2, 8], so never 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(betas(), lambda beta: True)
    0.5
    """
    return st.floats(0.0625, 0.75) | st.floats(1.5, 8.0)


def smoothings() -> st.SearchStrategy[float]:
    """Label smoothing ε in [1/16, 3/8], so never 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(smoothings(), lambda epsilon: True)
    0.25
    """
    return st.floats(0.0625, 0.375)


@cache
def shares(size: int) -> st.SearchStrategy[FloatArray]:
    """Vectors of multiples of 2^-32 in [0, 1), each drawn as one string of bytes.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shares(2), lambda values: values.min() >= 0.5)
    array([0.5, 0.5])
    """
    return st.binary(min_size=4 * size, max_size=4 * size).map(lambda text: np.frombuffer(text, ">u4") / 2.0**32)


@st.composite
def pair_batches(
    draw: st.DrawFn, size: int | None = None, *, extremes: bool = False, dtype: Precision = np.float64
) -> PairBatch:
    """Batches of pairs, already rounded to `dtype`.

    Examples
    --------
    >>> from hypothesis import find
    >>> batch = find(pair_batches(size=2), lambda batch: True)
    >>> batch.policy_chosen - batch.reference_chosen, batch.policy_rejected - batch.reference_rejected
    (array([-1.25, -0.5 ]), array([-0.25,  1.  ]))
    """
    size = draw(st.integers(2, 6)) if size is None else size
    chosen_lengths = draw(_lengths(size, (3, 11, 6, 17)))
    rejected_lengths = draw(_lengths(size, (5, 2, 13, 4)))
    rejected_lengths = rejected_lengths + (rejected_lengths == chosen_lengths)
    reference = [
        lengths * -draw(_around((size,), pattern, 0.125, 3.0))
        for lengths, pattern in ((chosen_lengths, (2.5, 0.75, 1.25)), (rejected_lengths, (0.75, 1.125, 2.25)))
    ]
    policy = [
        _shifted(values, draw(_signs(size, signs)) * draw(_around((size,), pattern, 0.25, 6.0)))
        for values, signs, pattern in zip(reference, ((-1, -1, 1), (-1, 1, 1)), ((1.25, 0.5), (0.25, 1.0)), strict=True)
    ]
    if extremes:
        policy, reference[1] = _extreme(draw, policy, reference[1], rejected_lengths)
    chosen, rejected, reference_chosen, reference_rejected = (values.astype(dtype) for values in (*policy, *reference))
    return PairBatch(chosen, rejected, reference_chosen, reference_rejected, chosen_lengths, rejected_lengths)


@st.composite
def reward_batches(
    draw: st.DrawFn, size: int | None = None, *, extremes: bool = False, dtype: Precision = np.float64
) -> RewardBatch:
    """Batches of rewards with positive margins.

    Examples
    --------
    >>> from hypothesis import find
    >>> batch = find(reward_batches(size=2), lambda batch: True)
    >>> batch.chosen_rewards, batch.rejected_rewards, batch.margin
    (array([1.25, 0.5 ]), array([-0.5 ,  2.25]), array([0.25 , 0.625]))
    """
    size = draw(st.integers(2, 6)) if size is None else size
    spread = 100.0 if extremes else 8.0
    chosen = draw(_around((size,), (1.25, 0.5, -2.0), -spread, spread))
    rejected = draw(_around((size,), (-0.5, 2.25, -0.75), -spread, spread))
    margin = draw(_around((size,), (0.25, 0.625), 0.125, 3.0))
    return RewardBatch(*(values.astype(dtype) for values in (chosen, rejected, margin)))


@st.composite
def mixture_batches(
    draw: st.DrawFn, size: int | None = None, k: int = 2, *, dtype: Precision = np.float64
) -> MixtureBatch:
    """Batches of pairs under `k` policies.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(mixture_batches(size=2), lambda batch: True).policy_chosen
    array([[-6.  , -2.5 ],
           [-9.25, -6.  ]])
    """
    size = draw(st.integers(2, 6)) if size is None else size
    chosen = draw(_around((size, k), (-6.0, -2.5, -9.25), -40.0, -0.125))
    rejected = draw(_around((size, k), (-5.0, -7.25, -3.5, -1.75, -8.0), -40.0, -0.125))
    logits = draw(_around((k,), (-0.75, 0.5, 1.25), -4.0, 4.0))
    return MixtureBatch(*(values.astype(dtype) for values in (chosen, rejected, logits)))


@st.composite
def ranking_batches(
    draw: st.DrawFn, size: int | None = None, k: int = 3, *, dtype: Precision = np.float64
) -> RankingBatch:
    """Batches of `k` ranked candidates, none of them tied.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(ranking_batches(size=2), lambda batch: True).scores
    array([[ 0.5 ,  2.25, -1.  ],
           [-1.  ,  0.5 ,  2.25]])
    """
    size = draw(st.integers(2, 4)) if size is None else size
    lengths = draw(_lengths(size * k, (3, 11, 6, 17, 2))).reshape(size, k)
    policy = -lengths * draw(_around((size, k), (1.25, 0.5, 2.0, 0.75), 0.125, 4.0))
    order = np.stack([draw(st.permutations(range(k))) for _ in range(size)])
    # Rotating each prompt's scores keeps the simplest example from ranking all prompts alike.
    order = np.stack([np.roll(row, shift) for row, shift in zip(order, range(size), strict=True)])
    scores = np.array([0.5, 2.25, -1.0, 3.75, 1.5, *range(5, k)])[order]
    return RankingBatch(policy.astype(dtype), lengths, scores.astype(dtype))


@st.composite
def token_batches(
    draw: st.DrawFn, size: int | None = None, vocabulary: int = 5, *, dtype: Precision = np.float64
) -> TokenBatch:
    """Logits and tokens: prompts and completions of different lengths, an end-of-sequence token, padding on the right.

    Token 0 is the padding, token 1 the end of the sequence; neither occurs elsewhere. `vocabulary` is at least 3.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(token_batches(size=2))
    ... def each_sequence_ends_once(batch):
    ...     assert ((batch.labels == batch.end_of_sequence).sum(axis=1) == 1).all()
    >>> each_sequence_ends_once()
    """
    size = draw(st.integers(2, 4)) if size is None else size
    extra = np.array(draw(st.lists(st.integers(0, 3), min_size=2 * size, max_size=2 * size)))
    prompts = 1 + (np.arange(size) + 1) % 2 + extra[:size]
    end = prompts + 2 + extra[size:]
    width = int(end.max()) + 1
    words = np.array(draw(st.lists(st.integers(0, vocabulary - 3), min_size=size * width, max_size=size * width)))
    position = np.arange(width)
    labels = 2 + (words.reshape(size, width) + position) % (vocabulary - 2)
    labels = np.where(position < end[:, None], labels, np.where(position == end[:, None], 1, 0))
    logits = draw(_around((size, width, vocabulary), (0.75, -1.5, 2.25, 0.25, -0.5, 1.0, -2.75), -8.0, 8.0))
    return TokenBatch(logits.astype(dtype), labels, prompts, end_of_sequence=1, padding=0)


def _around(
    shape: tuple[int, ...], pattern: tuple[float, ...], low: float, high: float
) -> st.SearchStrategy[FloatArray]:
    """Arrays of numbers in [low, high] whose simplest example repeats the pattern."""
    size = int(np.prod(shape))
    base = np.resize(np.array(pattern), size)
    width = high - low
    return shares(size).map(lambda drawn: (low + (base - low + width * drawn) % width).reshape(shape))


def _lengths(size: int, pattern: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.intp]]:
    """Numbers of tokens whose simplest example repeats the pattern."""
    base = np.resize(np.array(pattern), size)
    return st.lists(st.integers(0, 30), min_size=size, max_size=size).map(lambda steps: base + np.array(steps, int))


def _signs(size: int, pattern: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.intp]]:
    """Signs whose simplest example repeats the pattern."""
    base = np.resize(np.array(pattern), size)
    return st.lists(st.sampled_from([1, -1]), min_size=size, max_size=size).map(lambda signs: base * np.array(signs))


def _shifted(log_probs: FloatArray, shift: FloatArray) -> FloatArray:
    """`log_probs` plus the shift, or less it where the sum would not be a log-probability."""
    return np.where(log_probs + shift <= 0.0, log_probs + shift, log_probs - shift)


def _extreme(
    draw: st.DrawFn, policy: list[FloatArray], reference_rejected: FloatArray, lengths: NDArray[np.intp]
) -> tuple[list[FloatArray], FloatArray]:
    """Some pairs with a gap of -100 or 100, and some whose rejected sequence is nearly certain."""
    kinds = st.sampled_from(["ordinary", "chosen far below", "rejected far below", "rejected nearly certain"])
    kind = np.array(draw(st.lists(kinds, min_size=lengths.size, max_size=lengths.size)))
    chosen = np.where(kind == "chosen far below", policy[1] - 100.0, policy[0])
    rejected = np.where(kind == "rejected far below", policy[0] - 100.0, policy[1])
    certain = kind == "rejected nearly certain"
    rejected = np.where(certain, NEARLY_CERTAIN * lengths, rejected)
    return [chosen, rejected], np.where(certain, 64.0 * NEARLY_CERTAIN * lengths, reference_rejected)
