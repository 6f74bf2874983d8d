"""Sequence log-probabilities as a definition: from logits, labels and what says which tokens count.

Three layouts in which functions are told what counts: a mask over the labels; labels of -100 where nothing counts; an
attention mask with the lengths of the prompts. All carry the same information, so one case serves all three; only gaps
in a completion, where another speaker's turn stands, are beyond the third.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue.records import Arrays, Conventions, Input, Loss, Outcome, Parameter
from pbde_ref.losses import token_log_probs_from_logits, token_log_probs_vjp
from pbde_ref.oracle.cases import Case

__all__ = ["SEQUENCE_LOG_PROBS", "masked_sums", "relabelled", "sequence_arrays", "sequence_mask"]

IGNORED = -100

VOCABULARY = 7


def sequence_mask(arrays: Arrays) -> NDArray[np.bool_]:
    """Which tokens count, shape (B, T): the completion with its end, neither prompt nor padding nor gaps."""
    completion = np.arange(arrays["labels"].shape[1]) >= arrays["prompt_lengths"][:, None]
    return np.asarray(completion & (arrays["attention_mask"] != 0) & ~arrays["gaps"])


def sequence_arrays(
    logits: Any, labels: Any, attention_mask: Any, prompt_lengths: Any, gaps: Any = None
) -> dict[str, NDArray[Any]]:
    """A batch in all layouts; `gaps` is true where a completion is interrupted, by default nowhere.

    Examples
    --------
    >>> batch = sequence_arrays(np.zeros((1, 3, 2)), [[0, 1, 1]], [[1, 1, 0]], [1])
    >>> batch["mask"], batch["labels_or_ignored"]
    (array([[False,  True, False]]), array([[-100,    1, -100]]))
    """
    arrays = {
        "logits": np.asarray(logits, dtype=np.float64),
        "labels": np.asarray(labels),
        "attention_mask": np.asarray(attention_mask),
        "prompt_lengths": np.asarray(prompt_lengths),
        "gaps": np.zeros(np.shape(labels), dtype=bool) if gaps is None else np.asarray(gaps),
    }
    mask = sequence_mask(arrays)
    return {**arrays, "mask": mask, "labels_or_ignored": np.where(mask, arrays["labels"], IGNORED)}


def relabelled(case: Case, **changed: NDArray[Any]) -> Case:
    """The case with some of the arrays that all layouts are made from changed."""
    own = ("logits", "labels", "attention_mask", "prompt_lengths", "gaps")
    return case.with_arrays(**sequence_arrays(**{name: changed.get(name, case.arrays[name]) for name in own}))


def masked_sums(arrays: Arrays, conventions: Conventions, mask: NDArray[np.bool_]) -> Outcome:
    """Sums (or means) of token log-probabilities over a mask, with the gradient of their sum.

    A sequence without any token has the sum 0, and the mean 0 as well: what a mean over nothing is, is not compared.
    """
    shift, temperature = bool(conventions["shift"]), conventions["temperature"]
    logits, labels = arrays["logits"] / temperature, arrays["labels"]
    counted = mask[:, 1:] if shift else mask
    weights = counted.astype(np.float64)
    if conventions["average"]:
        weights = weights / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    tokens = token_log_probs_from_logits(logits, labels, shift=shift)
    value = np.sum(np.where(counted, tokens, 0.0) * weights, axis=1)
    gradient = token_log_probs_vjp(weights, logits, labels, shift=shift) / temperature
    return Outcome(value, {"logits": gradient})


def _evaluate(arrays: Arrays, conventions: Conventions) -> Outcome:
    return masked_sums(arrays, conventions, sequence_mask(arrays))


_LAYOUTS = {
    "mask": ("logits", "labels", "mask"),
    "labels": ("logits", "labels_or_ignored"),
    "lengths": ("logits", "labels", "attention_mask", "prompt_lengths"),
}


def _inputs(conventions: Conventions) -> tuple[Input, ...]:
    first, *others = _LAYOUTS[conventions["layout"]]
    return (Input(first, "policy"), *(Input(name, "constant", floating=False) for name in others))


def _logits(rows: int, columns: int) -> NDArray[np.float64]:
    """Numbers without a pattern that any shift, sum or permutation would keep; exact in bfloat16."""
    b, t, v = np.ogrid[:rows, :columns, :VOCABULARY]
    return ((37 * b + 101 * t + 59 * v + 13 * b * t + 29 * t * v + 7 * b * v + 17 * b * t * v) % 97) / 16.0 - 3.0


_LABELS = np.array(
    [[3, 1, 4, 1, 5, 2, 6, 0], [2, 6, 5, 3, 5, 0, 1, 1], [1, 4, 2, 2, 6, 3, 0, 5], [6, 0, 4, 3, 0, 2, 2, 2]]
)
_TOTAL = np.array([8, 6, 7, 5])
_PROMPTS = np.array([3, 2, 4, 1])


def _batch(logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return sequence_arrays(logits, _LABELS, (np.arange(_LABELS.shape[1]) < _TOTAL[:, None]).astype(int), _PROMPTS)


def _certain() -> NDArray[np.float64]:
    """Every label's own logit, at both layouts' positions, stands far above the others."""
    logits = _logits(*_LABELS.shape) / 4.0
    for row, labels in enumerate(_LABELS):
        for column, label in enumerate(labels):
            logits[row, column, label] += 9.0
            if column:
                logits[row, column - 1, label] += 18.0
    return logits


BATCHES = {
    "generic": _batch(_logits(*_LABELS.shape)),
    "near_certain": _batch(_certain()),
    "extreme": _batch(_logits(*_LABELS.shape) * 3000.0),
}

SEQUENCE_LOG_PROBS = Loss(
    "sequence_log_probs",
    "log-probabilities of sequences from next-token logits",
    "",
    "sequence",
    _inputs,
    _evaluate,
    BATCHES,
    {
        "average": Parameter("switch", False),
        "shift": Parameter("switch", True),
        "temperature": Parameter("positive", 1.0, 1.0, 1.75, ("temperature",)),
        "layout": Parameter(("mask", "labels", "lengths"), "mask"),
    },
)
