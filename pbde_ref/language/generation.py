r"""Sentences from a language model, drawn token by token.

A sample is a sequence x of tokens other than padding that closes with the end token, which it has nowhere else. The
model gives each of these a probability :math:`\pi(x)` (:func:`pbde_ref.models.transformer.sequence_log_probs`), and
these sum to less than 1: it also lets sequences run on beyond the longest that is allowed, and, as its softmax is over
all tokens, gives the padding token a little. Drawing until a sequence is of the first kind, and throwing away the
others whole, gives exact draws from

.. math:: \Pr(x) = \pi(x) \Big/ \sum_{x'} \pi(x')

whereas never letting the padding token be drawn, by renormalising each step, would not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbde_ref.models.threads import map_in_threads
from pbde_ref.models.transformer_decoding import Decoder
from pbde_ref.models.transformer_parameters import Floats, TransformerConfig, parameter_vector
from pbde_ref.validation import FloatArray, generator_of, instance, positive_number, whole_number

__all__ = ["Samples", "inverted", "sample_sequences"]


@dataclass(frozen=True, eq=False)
class Samples:
    r"""Sequences from a language model.

    Attributes
    ----------
    tokens : ndarray of int, shape (count, max_length)
        Each up to and including its end token; 0 after that.
    lengths : ndarray of int, shape (count,)
        The end token counts.
    log_probs : ndarray, shape (count,)
        :math:`\log \pi(x)` in nats under the model at temperature 1, not normalised for what is thrown away.
    rejected : int
        How many sequences were thrown away, before the last of `tokens` was drawn, because they had no end within
        max_length tokens, or ran into the padding token.
    """

    tokens: NDArray[np.intp]
    lengths: NDArray[np.intp]
    log_probs: FloatArray
    rejected: int


# A model of which fewer than one sequence in 100 ends is broken: say so instead of drawing for ever.
PATIENCE = 100
LEAST_REJECTIONS = 1000
PARTS_OF_A_ROUND = 16


def sample_sequences(
    config: TransformerConfig,
    parameters: Floats,
    count: int,
    *,
    rng: Any = None,
    end_token: int,
    batch_size: int = 256,
    temperature: float = 1.0,
    max_length: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Samples:
    r"""Draw sequences independently, given that they end.

    .. math:: \Pr(x) \propto \prod_t \text{softmax}(z_t / \tau)_{x_t}, \qquad
              x \text{ ends with the end token within max\_length tokens, without padding}

    Parameters
    ----------
    config : TransformerConfig
    parameters : ndarray, shape (count,)
        float32 or float64.
    count : int
        How many sequences to return, at least 1.
    rng : numpy.random.Generator or seed, optional
        A child of it is used. The same seed and `batch_size` give the same bytes; so does the same seed with another
        `batch_size`, but for the rounding of logits.
    end_token : int
        In [1, V).
    batch_size : int
        Sequences that grow together.
    temperature : float
        :math:`\tau`, positive. With :math:`\tau \ne 1` the draws are not from the model; their `log_probs` are still
        the model's.
    max_length : int, optional
        Longest sequence, the end token included; default and at most ``config.max_length``.
    progress : callable, optional
        Called now and then with the number of sequences found.

    Returns
    -------
    Samples
        In the order in which they were begun, so that short ones are not preferred for ending sooner.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, before the first draw; or if fewer than one sequence in a hundred ends.

    Examples
    --------
    >>> from pbde_ref.language.generation import sample_sequences
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8, max_length=6)
    >>> samples = sample_sequences(config, initial_parameters(config, rng=0), 3, rng=1, end_token=2)
    >>> samples.tokens.shape, bool((samples.tokens[range(3), samples.lengths - 1] == 2).all())
    ((3, 6), True)
    """
    instance("config", config, TransformerConfig, "a TransformerConfig")
    parameters = parameter_vector(config, parameters)
    count = whole_number("count", count, least=1)
    batch_size = whole_number("batch_size", batch_size, least=1)
    end_token = whole_number("end_token", end_token, least=1)
    if end_token >= config.vocabulary_size:
        raise ValueError(f"`end_token` must be below the vocabulary's size {config.vocabulary_size}; got {end_token}")
    temperature = positive_number("temperature", temperature)
    places = config.max_length if max_length is None else whole_number("max_length", max_length, least=1)
    if places > config.max_length:
        raise ValueError(f"`max_length` must be at most the model's, {config.max_length}; got {places}")
    config = replace(config, max_length=places)
    generator = generator_of(rng).spawn(1)[0]

    def grow(start: int) -> _Ended:
        part = uniforms[start : start + batch_size]
        return _grow(Decoder(config, parameters, len(part)), part, begun + start, end_token, temperature)

    found: list[_Ended] = []
    ended = begun = 0
    while ended < count:
        wanted = count - ended if begun == 0 else -(-(count - ended) * begun // max(ended, 1))
        wanted = min(wanted, PARTS_OF_A_ROUND * batch_size)
        uniforms = generator.random((wanted, places))
        found += map_in_threads(grow, range(0, wanted, batch_size))
        begun += wanted
        ended = sum(part.attempts.size for part in found)
        if progress is not None:
            progress(min(ended, count))
        if begun - ended > LEAST_REJECTIONS + PATIENCE * ended:
            raise ValueError(
                f"`parameters` must be of a model whose sequences end; got {ended} of {begun} with token {end_token} "
                f"within {places} tokens"
            )
    attempts, tokens, lengths, log_probs = (np.concatenate(parts)[:count] for parts in zip(*found, strict=True))
    return Samples(tokens, lengths, log_probs, int(attempts[-1]) + 1 - count)


class _Ended(NamedTuple):
    """Those of some sequences that ended, in the order in which they were begun."""

    attempts: NDArray[np.intp]
    tokens: NDArray[np.intp]
    lengths: NDArray[np.intp]
    log_probs: FloatArray


# Finished sequences are carried along until so large a part of the batch can be dropped.
DROPPED_AT_ONCE = 1 / 8


def _grow(decoder: Decoder, uniforms: FloatArray, first: int, end_token: int, temperature: float) -> _Ended:
    """Draw one sequence from each row of uniform random numbers."""
    total, places = uniforms.shape
    tokens, lengths, log_probs = np.zeros((total, places), np.intp), np.zeros(total, np.intp), np.zeros(total)
    rows, last = np.arange(total), np.zeros(total, np.intp)
    open_ = np.ones(total, dtype=bool)
    for place in range(places):
        last, increments = _draw(decoder.step(last), uniforms[rows, place], temperature)
        here = rows[open_]
        tokens[here, place] = last[open_]
        log_probs[here] += increments[open_]
        lengths[rows[open_ & (last == end_token)]] = place + 1
        open_ &= (last != end_token) & (last != 0)
        remaining = np.count_nonzero(open_)
        if remaining == 0:
            break
        if remaining <= (1.0 - DROPPED_AT_ONCE) * rows.size:
            decoder.keep(open_)
            rows, last, open_ = rows[open_], last[open_], open_[open_]
    kept = np.flatnonzero(lengths)
    return _Ended(first + kept, tokens[kept], lengths[kept], log_probs[kept])


def _draw(scores: Floats, uniforms: FloatArray, temperature: float) -> tuple[NDArray[np.intp], FloatArray]:
    """A token for each row of logits (b, V), and its log-probability at temperature 1; `scores` are overwritten."""
    index = np.arange(len(scores))
    scores -= scores.max(axis=1, keepdims=True)
    if temperature == 1.0:
        weights = np.exp(scores)
        tokens = inverted(weights, uniforms)
        return tokens, scores[index, tokens] - np.log(weights.sum(axis=1, dtype=np.float64))
    # In double precision, and divided: the reciprocal of a small temperature is infinite.
    with np.errstate(over="ignore"):
        tokens = inverted(np.exp(scores / np.float64(temperature)), uniforms)
    chosen = scores[index, tokens]
    return tokens, chosen - np.log(np.exp(scores, out=scores).sum(axis=1, dtype=np.float64))


def inverted(weights: Floats, uniforms: FloatArray) -> NDArray[np.intp]:
    """The first column at which each row's cumulative weight exceeds that part of its total.

    Blocks of columns first, then columns of the block: most weights are only summed, never cumulated.
    """
    rows, columns = weights.shape
    width = math.isqrt(columns)
    starts = np.arange(0, columns, width)
    cumulative = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1, dtype=np.float64)
    goal = uniforms * cumulative[:, -1]
    block = np.minimum((cumulative <= goal[:, None]).sum(axis=1), starts.size - 1)
    index = np.arange(rows)
    goal -= np.where(block > 0, cumulative[index, block - 1], 0.0)
    members = starts[block][:, None] + np.arange(width)
    inside = np.where(members < columns, weights[index[:, None], np.minimum(members, columns - 1)], 0.0)
    within = (np.cumsum(inside, axis=1, dtype=np.float64) <= goal[:, None]).sum(axis=1)
    # A block's two sums differ by rounding: past its end means its last column with any weight.
    last = width - 1 - np.argmax(inside[:, ::-1] > 0.0, axis=1)
    return starts[block] + np.minimum(within, last)
