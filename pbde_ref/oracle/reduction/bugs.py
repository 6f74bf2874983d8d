"""Reductions that went wrong in public: what weight each token has in a part's loss instead of the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pbde_ref.oracle.reduction.parts import OVER, Counts, Part, weights
from pbde_ref.validation import FloatArray

__all__ = ["REDUCTION_BUGS", "ReductionBug", "Weighting", "right"]

# From a part, the counts, what the loss is a mean over, and how many ranks are averaged, to each token's weight.
Weighting = Callable[[Part, Counts, str, int], FloatArray]


class ReductionBug(NamedTuple):
    """A bug of a reduction: its name, what it looks like, its threads, and the weights that tokens have."""

    name: str
    effect: str
    thread: str
    weighting: Weighting

    def says(self) -> str:
        """The diagnosis."""
        thread = f" ({self.thread})" if self.thread else ""
        return f"matches a known bug: {self.name}{thread}: {self.effect}"


def _count(counts: Counts, over: str, whose: str = "") -> int:
    return int(getattr(counts, f"{whose}{'tokens' if over == 'tokens' else 'sequences'}"))


def right(part: Part, counts: Counts, over: str, averaged: int) -> FloatArray:
    """Divided by the count of the whole batch, times the number of ranks that the trainer averages over."""
    return weights(part, over) * averaged / _count(counts, over, "all_")


def _times(factor: Callable[[Counts], float]) -> Weighting:
    return lambda part, counts, over, averaged: factor(counts) * right(part, counts, over, averaged)


def _world(counts: Counts) -> int:
    return counts.ranks * counts.shards


def _own_means(steps: bool, whose: str = "") -> Weighting:
    """Each part's or rank's own mean; with `steps` over the number of micro-batches."""

    def weighting(part: Part, counts: Counts, over: str, averaged: int) -> FloatArray:
        divisor = max(_count(counts, over, whose), 1) * (counts.micro_batches if steps else 1)
        return weights(part, over) * averaged / (divisor * _world(counts))

    return weighting


def _by_sequences(part: Part, counts: Counts, over: str, averaged: int) -> FloatArray:
    share = counts.sequences / counts.all_sequences
    return weights(part, over) * share * averaged / max(_count(counts, over), 1)


def _divided_by(size: Callable[[Part], int]) -> Weighting:
    """Another size than the number of what counts, of each part."""
    return lambda part, counts, over, averaged: (
        weights(part, over) * averaged / (max(size(part), 1) * counts.micro_batches * _world(counts))
    )


def _everything(part: Part, counts: Counts, over: str, averaged: int) -> FloatArray:
    return np.ones(part.mask.shape) * averaged / _count(counts, over, "all_")


def _over(other: str) -> Weighting:
    return lambda part, counts, over, averaged: right(part, counts, other, averaged)


REDUCTION_BUGS = (
    ReductionBug("summed over ranks", "the loss, 0.69 at the first step of DPO, is 1.4 on two devices and 2.8 on four; "
                 "right if the trainer adds up its ranks instead of averaging them", "torchtune #2275",
                 _times(_world)),
    ReductionBug("averaging over ranks not undone", "divided by the count of all ranks and averaged over them as well, "
                 "as DDP and FSDP do: the step shrinks as ranks are added", "verl #5366, torchtune #2172",
                 _times(lambda counts: 1.0 / _world(counts))),
    ReductionBug("shards not counted among the ranks", "multiplied by the data-parallel size, while gradients are "
                 "averaged over the shards of a sequence too", "VeOmni #338", _times(lambda c: 1.0 / c.shards)),
    ReductionBug("shards counted twice", "multiplied by the context-parallel size once more than the averaging takes "
                 "out", "Megatron-LM #673, #906", _times(lambda c: float(c.shards))),
    ReductionBug("divided by the steps twice", "the count of the whole batch is divided by already, and so are the "
                 "accumulation steps", "ms-swift #10117", _times(lambda c: 1.0 / c.micro_batches)),
    ReductionBug("multiplied by the steps", "micro-batches are added up that each have the loss of all",
                 "", _times(lambda c: float(c.micro_batches))),
    ReductionBug("mean of micro-batch means", "a micro-batch, or a rank, of few tokens or pairs counts as much as one "
                 "of many", "torchtune #2334, unsloth #1178, verl #2857, ms-swift #10165", _own_means(steps=True)),
    ReductionBug("sum of micro-batch means", "and is not divided by their number either", "unsloth #1178",
                 _own_means(steps=False)),
    ReductionBug("mean of rank means", "each rank divides by its own count", "prime-rl #1957",
                 _own_means(steps=False, whose="rank_")),
    ReductionBug("token means weighted by sequences", "micro-batches count by their share of sequences, not of tokens",
                 "verl #5625", _by_sequences),
    ReductionBug("divided by the padded size", "padding is not added, but counted; the wider the padding, the smaller "
                 "the loss", "verl #5366", _divided_by(lambda part: part.mask.size)),
    ReductionBug("rows counted instead of sequences", "packed rows hold several sequences", "ms-swift #9925",
                 _divided_by(lambda part: len(part.mask))),
    ReductionBug("what the mask leaves out is added", "prompts and padding", "", _everything),
    *(ReductionBug(f"the loss is {says}", "that is another loss than was declared", "", _over(other))
      for other, says in OVER.items()),
)  # fmt: skip
"""All of them, in the order in which a diagnosis names them."""
