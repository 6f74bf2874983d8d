"""From a corpus to batches: sequences of the lengths that a model is trained on, in an order fixed by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.language.corpora import Corpus
from pbde_ref.language.tokenizers import LENGTH_RANGES, PADDING, Tokenizer, count_lengths, within
from pbde_ref.models.transformer import TransformerConfig
from pbde_ref.validation import IndexArray, choice, generator_of, indices, instance, plain_array, shown, whole_number

__all__ = ["TrainingData", "batch_order", "padded", "token_vectors", "training_data"]

# Sequences of similar length come from pools of so many batches: long enough that lengths in a batch are close, short
# enough that a pool is still a random sample.
BATCHES_IN_POOL = 16

Tokens = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Sequences of tokens, each with its end piece.

    Attributes
    ----------
    training, held_out : tuple of ndarray
        Neither is empty; no sequence holds the padding token.
    test : tuple of ndarray
        The same, but may be empty: training does not need them.
    unknown : int
        How many sentences were left out because the tokenizer makes padding of a character.
    """

    training: tuple[Tokens, ...]
    held_out: tuple[Tokens, ...]
    unknown: int = 0
    test: tuple[Tokens, ...] = ()

    def __post_init__(self) -> None:
        for name in ("training", "held_out", "test"):
            sequences = token_vectors(name, getattr(self, name), least=0 if name == "test" else 1)
            object.__setattr__(self, name, sequences)

    def fits(self, config: TransformerConfig) -> None:
        """Raise unless a model can take all sequences: none is too long, no token outside its vocabulary."""
        instance("config", config, TransformerConfig, "a TransformerConfig")
        for name in ("training", "held_out", "test"):
            for index, sequence in enumerate(getattr(self, name)):
                if sequence.size > config.max_length:
                    raise ValueError(
                        f"`{name}` must have sequences of at most max_length = {config.max_length} tokens; "
                        f"got {sequence.size} at index {index}"
                    )
                if sequence.min() < 0 or sequence.max() >= config.vocabulary_size:
                    raise ValueError(
                        f"`{name}` must have tokens in [0, {config.vocabulary_size}); got "
                        f"{sequence.min() if sequence.min() < 0 else sequence.max()} at index {index}"
                    )

    def digest(self) -> str:
        """A fingerprint of the sequences that training depends on, in their order."""
        result = hashlib.sha256()
        for sequences in (self.training, self.held_out):
            lengths = np.array([sequence.size for sequence in sequences], dtype="<i8")
            result.update(np.array([lengths.size], dtype="<i8").tobytes())
            result.update(lengths.tobytes())
            result.update(np.concatenate(sequences).astype("<i8").tobytes())
        return result.hexdigest()


def token_vectors(name: str, sequences: Any, *, least: int = 1) -> tuple[Tokens, ...]:
    """Sequences of tokens as vectors, none of them empty or with padding; at least so many."""
    try:
        vectors = tuple(plain_array(name, sequence) for sequence in sequences)
    except MemoryError:
        raise
    except Exception as error:
        raise TypeError(f"`{name}` must hold vectors of tokens; got {shown(sequences)}") from error
    if len(vectors) < least:
        plural = "sequences" if least > 1 else "sequence"
        raise ValueError(f"`{name}` must have at least {least} {plural}; got {len(vectors)}")
    for index, vector in enumerate(vectors):
        if vector.ndim != 1 or vector.size == 0 or not np.issubdtype(vector.dtype, np.integer):
            raise TypeError(
                f"`{name}` must hold vectors of tokens; got shape {vector.shape} and dtype {vector.dtype} at index "
                f"{index}"
            )
        if (vector == PADDING).any():
            raise ValueError(f"`{name}` must be without padding, token {PADDING}; got one at index {index}")
    return vectors


def training_data(corpus: Corpus, tokenizer: Tokenizer, lengths: str | tuple[int, int] = "whole") -> TrainingData:
    """The sentences of a corpus whose length in pieces, the end piece counted, is in a range.

    Parameters
    ----------
    corpus : Corpus
    tokenizer : Tokenizer
    lengths : str or (int, int)
        ``"whole"`` (at most 50 pieces), ``"short"`` (at most 20), ``"medium"`` (21 to 29), ``"long"`` (31 to 50), or
        the least and the greatest length. Sentences of which the tokenizer leaves nothing but the end are left out.

    Raises
    ------
    ValueError
        If the range is not one of these, or no training or no held-out sentence is in it; the message says how many
        there are of each length.

    Examples
    --------
    >>> from pbde_ref.language.corpora import Corpus
    >>> from pbde_ref.language.tokenizers import train_tokenizer
    >>> from pbde_ref.language.training_data import training_data
    >>> corpus = Corpus("cats", ("A cat sat.", "A hat sat on a cat.", "That is that."), ("A cat is a cat.",))
    >>> tokenizer = train_tokenizer(corpus.training, vocabulary_size=18)
    >>> data = training_data(corpus, tokenizer)
    >>> len(data.training), len(data.held_out)
    (3, 1)
    """
    instance("corpus", corpus, Corpus, "a Corpus")
    instance("tokenizer", tokenizer, Tokenizer, "a Tokenizer")
    limits = _limits(lengths)
    parts, unknown = {}, 0
    for name in ("training", "held_out", "test"):
        encoded = [tokens for tokens in tokenizer.encode(getattr(corpus, name)) if tokens.size > 1]
        known = [tokens for tokens in encoded if (tokens != PADDING).all()]
        parts[name] = tuple(within(known, limits))
        unknown += len(encoded) - len(known)
        if not parts[name] and name != "test":
            raise ValueError(
                f"`lengths` must leave {name.replace('_', '-')} sentences; got none of {limits[0]} to {limits[1]} "
                f"pieces in {corpus.name}: {count_lengths(known)}"
            )
    return TrainingData(**parts, unknown=unknown)


def batch_order(lengths: Sequence[int] | NDArray[Any], tokens_per_batch: int, *, rng: Any) -> Iterator[IndexArray]:
    """Batches of sequences, for ever: each epoch has every sequence once, in an order of its own.

    A batch has sequences of similar length, as many as fit into `tokens_per_batch` tokens, at least one.

    Examples
    --------
    >>> from itertools import islice
    >>> from pbde_ref.language.training_data import batch_order
    >>> [sorted(batch.tolist()) for batch in islice(batch_order([2, 9, 9, 2, 2], 6, rng=0), 3)]
    [[1], [2], [0, 3, 4]]
    """
    lengths = indices("lengths", lengths)
    tokens_per_batch = whole_number("tokens_per_batch", tokens_per_batch, least=1)
    root = generator_of(rng)
    while True:
        (child,) = root.spawn(1)
        order = child.permutation(lengths.size)
        batches: list[IndexArray] = []
        for pool in _cut(order, lengths, BATCHES_IN_POOL * tokens_per_batch):
            batches += _cut(pool[np.argsort(lengths[pool], kind="stable")], lengths, tokens_per_batch)
        for index in child.permutation(len(batches)):
            yield batches[index]


def padded(sequences: Sequence[Tokens]) -> NDArray[np.intp]:
    """Sequences as the rows of one array, with padding behind.

    Examples
    --------
    >>> from pbde_ref.language.training_data import padded
    >>> padded([[5, 1], [7, 8, 1]])
    array([[5, 1, 0],
           [7, 8, 1]])
    """
    result = np.full((len(sequences), max(len(sequence) for sequence in sequences)), PADDING, dtype=np.intp)
    for row, sequence in zip(result, sequences, strict=True):
        row[: len(sequence)] = sequence
    return result


def _limits(lengths: str | tuple[int, int]) -> tuple[int, int]:
    if isinstance(lengths, str):
        return LENGTH_RANGES[choice("lengths", lengths, LENGTH_RANGES)]
    least, most = (whole_number("lengths", value, least=1) for value in lengths)
    if least > most:
        raise ValueError(f"`lengths` must be the least and the greatest length; got {least} and {most}")
    return least, most


def _cut(order: IndexArray, lengths: NDArray[Any], tokens: int) -> list[IndexArray]:
    """Consecutive pieces of an order with at most so many tokens each, or a single sequence."""
    cumulative = np.cumsum(lengths[order])
    pieces, begin = [], 0
    while begin < order.size:
        passed = cumulative[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(cumulative, passed + tokens, side="right")))
        pieces.append(order[begin:end])
        begin = end
    return pieces
