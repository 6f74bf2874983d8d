r"""Rewards of sequences as a definition: where, in a row of scores, the reward of a sequence is read.

A reward model has a score at every position; the sequence's reward is the score of its last token that is not padding,
wherever the padding stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue.records import Arrays, Conventions, Input, Loss, Outcome
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.mask_bugs import TokenBug

__all__ = ["REWARD_BUGS", "REWARD_SITUATIONS", "SEQUENCE_REWARDS"]


def _last(mask: NDArray[Any]) -> NDArray[np.intp]:
    """Position of each row's last entry that is not 0."""
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1] != 0, axis=1)


def _read(scores: NDArray[Any], places: Any) -> Outcome:
    """The scores at one position of each row, and the gradient of their sum."""
    at = np.arange(scores.shape[1]) == np.reshape(places, (-1, 1))
    return Outcome(np.where(at, scores, 0.0).sum(axis=1), {"scores": at.astype(np.float64)})


def _evaluate(arrays: Arrays, conventions: Conventions) -> Outcome:
    return _read(arrays["scores"], _last(arrays["mask"]))


def _mask(total: tuple[int, ...]) -> NDArray[np.int64]:
    return (np.arange(8) < np.array(total)[:, None]).astype(np.int64)


def _scores() -> NDArray[np.float64]:
    """No two alike, nor their sums; exact in bfloat16."""
    b, t = np.ogrid[:4, :8]
    return ((37 * b + 53 * t + 19 * b * t + 11 * t * t) % 61) / 8.0 - 3.75


_GENERIC = {"scores": _scores(), "mask": _mask((8, 6, 7, 5))}

SEQUENCE_REWARDS = Loss(
    "sequence_rewards",
    "rewards of sequences from the scores of their tokens",
    "",
    "reading",
    lambda conventions: (Input("scores", "reward"), Input("mask", "constant", floating=False)),
    _evaluate,
    {"generic": _GENERIC, "extreme": {**_GENERIC, "scores": _scores() * 4096.0}},
)


def _other_scores(case: Case) -> Case:
    last = np.arange(8) == _last(case.arrays["mask"])[:, None]
    return case.with_arrays(scores=np.where(last, case.arrays["scores"], 1.5 - 2.0 * case.arrays["scores"]))


def _left_padding(case: Case) -> Case:
    mask = _mask((8, 8, 6, 8))
    mask[1, :3] = mask[2, :1] = mask[3, :4] = 0
    return case.with_arrays(mask=mask)


def _infinite_padding(case: Case) -> Case:
    return case.with_arrays(scores=np.where(case.arrays["mask"] != 0, case.arrays["scores"], -np.inf))


REWARD_SITUATIONS: dict[str, tuple[str, Callable[[Case], Case]]] = {
    "other_scores": ("where other tokens, and padding, have other scores", _other_scores),
    "left_padding": ("where padding stands on the left, or on both sides,", _left_padding),
    "no_padding": ("where nothing is padded", lambda case: case.with_arrays(mask=_mask((8, 8, 8, 8)))),
    "single_tokens": ("where sequences have 1 or 2 tokens", lambda case: case.with_arrays(mask=_mask((1, 2, 1, 1)))),
    "masked_infinities": ("where the scores of padding are -inf", _infinite_padding),
}
"""Batches that are made from the generic one: how to speak of each, and how it is made."""


def _read_at(places: Callable[[Any], Any]) -> Callable[[Case, str], Outcome]:
    """The score at other positions, made from the mask; a negative one counts from the end, as in Python."""
    return lambda case, dtype: _read(case.arrays["scores"], places(case.arrays["mask"] != 0) % 8)


def _weighted(weights: Callable[[Any], Any]) -> Callable[[Case, str], Outcome]:
    def formula(case: Case, dtype: str) -> Outcome:
        each = weights(case.arrays["mask"] != 0).astype(np.float64)
        scores = np.where(each != 0.0, case.arrays["scores"], 0.0)
        return Outcome((each * scores).sum(axis=1), {"scores": each})

    return formula


def _multiplied(case: Case, dtype: str) -> Outcome | None:
    """Scores times a mask of one entry: -inf times 0 is NaN."""
    poisoned = np.isneginf(case.arrays["scores"]).any(axis=1)
    return Outcome(np.where(poisoned, np.nan, case.expected().value), {}) if poisoned.any() else None


REWARD_BUGS = (
    TokenBug("reward read one token late", "at the first position of padding, if there is padding", "gpt-neox #1285",
     _read_at(lambda mask: np.minimum(_last(mask) + 1, 7)),
     (_read_at(lambda mask: np.argmin(mask, axis=1)),)),
    TokenBug("reward read one token early", "at the token before the last one", "",
     _read_at(lambda mask: _last(mask) - 1)),
    TokenBug("reward read at the last position", "at padding, if there is padding on the right", "trlx #308, TRL #937",
     _read_at(lambda mask: np.full(len(mask), 7))),
    TokenBug("reward read at the first position", "at the first token, or at padding on the left", "",
     _read_at(lambda mask: np.zeros(len(mask), dtype=int))),
    TokenBug("reward read where the mask's sum points", "with padding on the left, before the sequence ends",
     "trlx #474", _read_at(lambda mask: mask.sum(axis=1) - 1)),
    TokenBug("reward read before the first 0 of the mask", "with padding on the left, at the last position", "",
     _read_at(lambda mask: np.argmin(mask, axis=1) - 1)),
    TokenBug("rewards averaged over the tokens", "every token's score counts", "",
     _weighted(lambda mask: mask / mask.sum(axis=1, keepdims=True))),
    TokenBug("rewards summed over the tokens", "every token's score counts, longer sequences have larger rewards", "",
     _weighted(lambda mask: mask)),
    TokenBug("-inf · 0 at padding", "scores are multiplied by 0 where they do not count", "", _multiplied),
)  # fmt: skip
