"""A batch, and the ways in which training cuts it: over ranks and micro-batches, into shards, packed, padded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray

__all__ = ["OVER", "Batch", "Counts", "Cut", "Part", "Piece", "draw_batch", "pieces", "weights"]

OVER = {
    "tokens": "the mean over all tokens of the batch",
    "sequences": "the mean over its sequences of each one's sum",
    "sequence_means": "the mean over its sequences of each one's mean over tokens",
}
"""What a batch's loss is."""


@dataclass(frozen=True, eq=False)
class Part:
    """One micro-batch as one rank has it.

    Attributes
    ----------
    losses : array, shape (rows, width)
        Each token's loss. A batch of pairs is one of sequences of a single token.
    mask : array of bool, shape (rows, width)
        Whether a token counts: neither prompt nor padding.
    sequences : array of int, shape (rows, width)
        Which sequence of the whole batch a token belongs to; -1 for padding. Rows have several if they are packed.
    """

    losses: Any
    mask: Any
    sequences: Any


@dataclass(frozen=True)
class Counts:
    """What a rank knows about the sizes of the batch.

    Attributes
    ----------
    tokens, sequences : int
        Of this part: tokens that count, and the sequences that these belong to.
    rank_tokens, rank_sequences : int
        Of all micro-batches of this rank.
    all_tokens, all_sequences : int
        Of the whole batch, as an all-reduce gives them.
    micro_batches : int
        That this rank goes through before the optimiser's step.
    ranks : int
        That have different sequences: the data-parallel size.
    shards : int
        Ranks that have the same sequences, each other columns of them: the sequence- or context-parallel size.
    """

    tokens: int
    sequences: int
    rank_tokens: int
    rank_sequences: int
    all_tokens: int
    all_sequences: int
    micro_batches: int
    ranks: int
    shards: int


class Cut(NamedTuple):
    """A way to cut a batch."""

    ranks: int = 1
    micro_batches: int = 1
    shards: int = 1
    packed: bool = False
    padding: int = 0

    def __str__(self) -> str:
        words = [f"{self.ranks} ranks x {self.micro_batches} micro-batches"]
        words += [f"{self.shards} shards of each sequence"] if self.shards > 1 else []
        words += ["packed into rows"] if self.packed else []
        words += [f"{self.padding} columns of padding"] if self.padding else []
        return ", ".join(words)


class Batch(NamedTuple):
    """Token losses, which of them count, and which sequence each belongs to; shape (n,)."""

    losses: FloatArray
    mask: NDArray[np.bool_]
    sequences: NDArray[np.intp]


class Piece(NamedTuple):
    """A part, what is known where it is, and which tokens of the batch stand in it (n where there is padding)."""

    part: Part
    counts: Counts
    places: NDArray[np.intp]


def draw_batch(rng: np.random.Generator, size: int, empty: int = 0) -> Batch:
    """So many sequences of 1 to 9 tokens behind prompts of 0 to 3; in the last few, `empty` of them, none counts."""
    prompts, lengths = rng.integers(0, 4, size), rng.integers(1, 10, size)
    sequences = np.repeat(np.arange(size), prompts + lengths)
    position = np.concatenate([np.arange(n) for n in prompts + lengths])
    mask = (position >= prompts[sequences]) & (sequences < size - empty)
    # Each rank's own mean is another one, so that weighting them alike is seen.
    losses = rng.lognormal(size=sequences.size) + 0.3 * sequences / size
    # A policy's gradient has losses of either sign, and seldom a large one.
    losses *= np.where(rng.random(losses.size) < 0.2, -1.0, 1.0)
    losses[rng.choice(np.flatnonzero(mask))] = 83.0
    return Batch(np.where(mask, losses, rng.normal(0.0, 50.0, sequences.size)), mask, sequences)


def pieces(batch: Batch, cut: Cut, rng: np.random.Generator) -> Iterator[Piece]:
    """The parts of a batch; sizes differ by one at most, tokens by more, and padding has losses too."""
    size = int(batch.sequences.max()) + 1
    by_rank = [np.array_split(own, cut.micro_batches) for own in np.array_split(np.arange(size), cut.ranks)]
    for own in by_rank:
        rank = np.concatenate(own)
        for micro_batch in own:
            places = _rows(batch, micro_batch, cut)
            for shard in np.array_split(places, cut.shards, axis=1):
                yield Piece(_part(batch, shard, rng), _counts(batch, shard, rank, cut), shard)


def _rows(batch: Batch, chosen: NDArray[np.intp], cut: Cut) -> NDArray[np.intp]:
    """Places of the tokens of some sequences in rows, one for each or two for all, filled with padding on the right."""
    each = [np.flatnonzero(batch.sequences == sequence) for sequence in chosen]
    if cut.packed:
        half = (len(each) + 1) // 2
        each = [np.concatenate(row) for row in (each[:half], each[half:]) if row]
    width = -(-(max((row.size for row in each), default=1) + cut.padding) // cut.shards) * cut.shards
    filled = [np.pad(row, (0, width - row.size), constant_values=batch.losses.size) for row in each]
    return np.array(filled, dtype=np.intp).reshape(len(each), width)


def _part(batch: Batch, places: NDArray[np.intp], rng: np.random.Generator) -> Part:
    real = places < batch.losses.size
    of = np.where(real, places, 0)
    losses = np.where(real, batch.losses[of], rng.normal(0.0, 50.0, places.shape))
    return Part(losses, batch.mask[of] & real, np.where(real, batch.sequences[of], -1))


def _counts(batch: Batch, places: NDArray[np.intp], rank: NDArray[np.intp], cut: Cut) -> Counts:
    counted = np.append(batch.mask, False)
    here, everywhere = batch.sequences[places[counted[places]]], batch.sequences[batch.mask]
    numbers: dict[str, int] = {}
    for whose, found in (("", here), ("rank_", everywhere[np.isin(everywhere, rank)]), ("all_", everywhere)):
        numbers |= {f"{whose}tokens": found.size, f"{whose}sequences": np.unique(found).size}
    return Counts(**numbers, micro_batches=cut.micro_batches, ranks=cut.ranks, shards=cut.shards)


def weights(part: Part, over: str) -> FloatArray:
    """Each token's weight in the sum over a part that is divided by a count of tokens, or of sequences."""
    counted = np.where(part.mask, 1.0, 0.0)
    if over == "sequence_means":
        lengths = np.bincount(part.sequences[part.mask], minlength=int(part.sequences.max(initial=0)) + 1)
        counted[part.mask] /= lengths[part.sequences[part.mask]]
    return counted
