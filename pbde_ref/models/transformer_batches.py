"""Batches of padded token sequences, checked, and split into parts of which only the tokens that count are left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.models.transformer_layers import Packing
from pbde_ref.models.transformer_parameters import TransformerConfig
from pbde_ref.validation import instance, plain_array, reject

__all__ = ["Part", "parts_of", "token_array"]


def token_array(config: TransformerConfig, tokens: ArrayLike) -> NDArray[np.intp]:
    """Tokens (B, T) that the model can take, or an error."""
    instance("config", config, TransformerConfig, "a TransformerConfig")
    given = plain_array("tokens", tokens)
    if given.ndim != 2 or given.size == 0:
        raise ValueError(f"`tokens` must be an array of 2 axes with at least one entry; got shape {given.shape}")
    if not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"`tokens` must be whole numbers; got dtype {given.dtype}")
    if given.shape[1] > config.max_length:
        raise ValueError(f"`tokens` must have at most max_length = {config.max_length} columns; got {given.shape[1]}")
    reject("tokens", f"in [0, {config.vocabulary_size})", given, (given < 0) | (given >= config.vocabulary_size))
    empty = ~given.any(axis=1)
    if empty.any():
        raise ValueError(
            f"`tokens` must have a token other than padding (0) in each sequence; got none at index {np.argmax(empty)}"
        )
    return given.astype(np.intp)


class Part(NamedTuple):
    """Sequences that are computed together: their n tokens that are not padding."""

    rows: NDArray[np.intp]  # (n,), places in the whole batch
    columns: NDArray[np.intp]
    inputs: NDArray[np.intp]  # (n,), the token before each, 0 at the start
    targets: NDArray[np.intp]  # (n,)
    packing: Packing


# With two parts for each 4,096 tokens, two cores are both busy and products of matrices are still large.
TOKENS_PER_PAIR_OF_PARTS = 4096


def parts_of(ids: NDArray[np.intp]) -> list[Part]:
    """Sequences in order of their length, split into parts with about the same number of tokens each."""
    lengths = (ids != 0).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    total = int(lengths.sum())
    count = min(len(lengths), 2 * -(-total // TOKENS_PER_PAIR_OF_PARTS))
    ends = np.searchsorted(np.cumsum(lengths[order]), np.arange(1, count) * (total / count)) + 1
    return [_part(ids, sequences) for sequences in np.split(order, np.unique(ends)) if sequences.size]


def _part(ids: NDArray[np.intp], sequences: NDArray[np.intp]) -> Part:
    chosen = ids[sequences]
    counts = chosen != 0
    local, columns = np.nonzero(counts)
    lengths = counts.sum(axis=1)
    places = int(lengths.max())
    within = np.arange(local.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    inputs = np.where(columns > 0, chosen[local, columns - 1], 0)
    packing = Packing(sequences.size, places, local * places + within)
    return Part(sequences[local], columns, inputs, chosen[local, columns], packing)
