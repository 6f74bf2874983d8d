"""Known bugs of sequence log-probabilities: which tokens count, and which logits they are read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pbde_ref.oracle.cases import Case, Outcome
from pbde_ref.oracle.sequences import masked_sums, sequence_mask

__all__ = ["MASK_BUGS"]

Masking = Callable[[Case], "Any | None"]


def _with_mask(masking: Masking) -> Callable[[Case, str], Outcome | None]:
    """The right sums over the wrong tokens; None if the case has no token that shows it."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        right = sequence_mask(case.arrays)
        mask = masking(case)
        if mask is None or np.array_equal(mask[:, 1:], right[:, 1:]):
            return None
        return masked_sums(case.arrays, case.conventions, mask)

    return formula


def _positions(case: Case) -> Any:
    return np.arange(case.arrays["labels"].shape[1])


def _attended(case: Case) -> Any:
    return case.arrays["attention_mask"] != 0


def _after_prompt(case: Case, lengths: Any = None) -> Any:
    lengths = case.arrays["prompt_lengths"] if lengths is None else lengths
    return _positions(case) >= lengths[:, None]


def _half_masked(case: Case) -> Any:
    first = np.arange(case.size) < case.size // 2
    return sequence_mask(case.arrays) | (_attended(case) & ~first[:, None])


def _last_column_cut(case: Case) -> Any:
    mask = sequence_mask(case.arrays).copy()
    mask[:, -1] = False
    return mask


def _end_lost(case: Case) -> Any:
    mask = sequence_mask(case.arrays)
    following = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), dtype=bool)], axis=1)
    return mask & following


def _one_late(case: Case) -> Any:
    """The mask of labels t applied to labels t + 1."""
    mask = sequence_mask(case.arrays)
    return np.concatenate([np.zeros((len(mask), 1), dtype=bool), mask[:, :-1]], axis=1)


def _over_all_columns(case: Case, dtype: str) -> Outcome | None:
    """A mean over all columns instead of over those that count."""
    if not case.conventions["average"]:
        return None
    columns = case.arrays["labels"].shape[1] - int(case.conventions["shift"])
    value, gradients = case.with_conventions(average=False).expected()
    return Outcome(value / columns, {name: gradient / columns for name, gradient in gradients.items()})


MASK_BUGS = (
    ("prompt tokens counted", "the prompt's log-probability is added", "OpenRLHF #235",
     _with_mask(_attended)),
    ("only the first half of the batch masked", "prompts of the second half count", "OpenRLHF #294",
     _with_mask(_half_masked)),
    ("padding counted", "what follows the end of sequence is added", "official DPO code 21fd7fe",
     _with_mask(_after_prompt)),
    ("mask ignored", "prompt and padding are added", "",
     _with_mask(lambda case: np.ones_like(_attended(case)))),
    ("mask inverted", "prompt and padding are summed, the completion is not", "CosyVoice #1449",
     _with_mask(lambda case: ~sequence_mask(case.arrays))),
    ("first response token lost", "sums start at the second token of the completion", "minimind #621",
     _with_mask(lambda case: _attended(case) & _after_prompt(case, case.arrays["prompt_lengths"] + 1))),
    ("last column cut", "the longest sequences lose their last token", "TRL #2332",
     _with_mask(_last_column_cut)),
    ("end of sequence lost", "the last token of each completion does not count", "",
     _with_mask(_end_lost)),
    ("mask not shifted with the labels", "sums lose the first token of the completion and gain one after its end",
     "", _with_mask(_one_late)),
    ("mean over all columns", "divided by the padded length", "",
     lambda case, dtype: _over_all_columns(case, dtype)),
)  # fmt: skip
