"""Known bugs of sequence log-probabilities: which tokens count, and which logits they are read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pbde_ref.catalogue.records import Outcome
from pbde_ref.losses import token_log_probs_from_logits
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.sequences import VOCABULARY, masked_sums, sequence_mask

__all__ = ["MASK_BUGS", "TokenBug"]

Masking = Callable[[Case], Any]
Formula = Callable[[Case, str], "Outcome | None"]


class TokenBug(NamedTuple):
    """A bug as in `KnownBug`: its name, its effect, its thread, its formula, and further formulas."""

    name: str
    effect: str
    thread: str
    formula: Formula
    variants: tuple[Formula, ...] = ()


def _with_mask(masking: Masking) -> Formula:
    """The right sums over the wrong tokens; None if the case has no token that shows it."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        right = sequence_mask(case.arrays)
        mask = masking(case)
        if np.array_equal(mask[:, 1:], right[:, 1:]):
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


def _shifted(mask: Any) -> Any:
    return np.concatenate([np.zeros((len(mask), 1), dtype=bool), mask[:, :-1]], axis=1)


def _turns_joined(case: Case) -> Any:
    """From the first token that counts to the last."""
    mask = sequence_mask(case.arrays)
    return np.logical_or.accumulate(mask, axis=1) & np.logical_or.accumulate(mask[:, ::-1], axis=1)[:, ::-1]


def _right_padded(case: Case) -> Any:
    """The attention mask's sum taken for the position at which padding begins."""
    lengths = case.arrays["attention_mask"].sum(axis=1, keepdims=True)
    return _after_prompt(case) & ~case.arrays["gaps"] & (_positions(case) < lengths)


def _one_pad_more(case: Case) -> Any:
    mask = sequence_mask(case.arrays)
    return mask | (_shifted(mask) & ~_attended(case))


def _without(token: int) -> Masking:
    """A mask made from the padding's id, which completions have too."""
    return lambda case: _after_prompt(case) & ~case.arrays["gaps"] & (case.arrays["labels"] != token)


def _fewer(token: int) -> Masking:
    """The same beside the right mask."""
    return lambda case: sequence_mask(case.arrays) & (case.arrays["labels"] != token)


def _wrapped(case: Case, dtype: str) -> Outcome | None:
    """Labels and mask rolled by one: the first label, if it counts, is predicted by the last logits."""
    mask = sequence_mask(case.arrays)
    if not (case.conventions["shift"] and mask[:, 0].any()):
        return None
    logits, labels = case.arrays["logits"], case.arrays["labels"]
    longer = {"logits": np.append(logits, logits[:, :1], 1), "labels": np.append(labels, labels[:, :1], 1)}
    value, gradients = masked_sums(longer, case.conventions, np.append(mask, mask[:, :1], 1))
    return Outcome(value, {"logits": gradients["logits"][:, :-1]})


def _divided(
    count: Callable[[Case, Any], Any], masking: Masking = lambda case: sequence_mask(case.arrays)
) -> Formula:
    """Sums over a mask divided by another number than that of their tokens; `count` gets the tokens that count."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        if not case.conventions["average"]:
            return None
        mask = sequence_mask(case.arrays)
        counts = count(case, mask[:, int(case.conventions["shift"]) :].sum(axis=1))
        value, gradients = masked_sums(case.arrays, {**case.conventions, "average": False}, masking(case))
        with np.errstate(invalid="ignore", divide="ignore"):
            return Outcome(value / counts, {n: g / np.reshape(counts, (-1, 1, 1)) for n, g in gradients.items()})

    return formula


def _columns(case: Case, counts: Any) -> float:
    return float(case.arrays["labels"].shape[1] - int(case.conventions["shift"]))


def _multiplied(case: Case, dtype: str) -> Outcome | None:
    """Token log-probabilities times the mask: -inf times 0 is NaN."""
    shift, mask = bool(case.conventions["shift"]), sequence_mask(case.arrays)
    tokens = token_log_probs_from_logits(case.arrays["logits"], case.arrays["labels"], shift=shift)
    poisoned = (np.isneginf(tokens) & ~mask[:, int(shift) :]).any(axis=1)
    return Outcome(np.where(poisoned, np.nan, case.expected().value), {}) if poisoned.any() else None


def _normalized_over(axis: int) -> Formula:
    """log_softmax over another axis than the vocabulary's, after the shift."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        first = int(case.conventions["shift"])
        logits = case.arrays["logits"][:, : case.arrays["logits"].shape[1] - first] / case.conventions["temperature"]
        labels, counted = case.arrays["labels"][:, first:], sequence_mask(case.arrays)[:, first:]
        with np.errstate(invalid="ignore"):
            scores = logits - np.logaddexp.reduce(logits, axis=axis, keepdims=True)
        tokens = np.where(counted, np.take_along_axis(scores, labels[..., None], -1)[..., 0], 0.0)
        counts = np.maximum(counted.sum(axis=1), 1) if case.conventions["average"] else 1.0
        return Outcome(tokens.sum(axis=1) / counts, {})

    return formula


def _at_temperature_1(case: Case, dtype: str) -> Outcome | None:
    return None if case.conventions["temperature"] == 1.0 else case.with_conventions(temperature=1.0).expected()


MASK_BUGS = (
    TokenBug("prompt tokens counted", "the prompt's log-probability is added", "OpenRLHF #235",
     _with_mask(_attended)),
    TokenBug("only the first half of the batch masked", "prompts of the second half count", "OpenRLHF #294",
     _with_mask(_half_masked)),
    TokenBug("padding counted", "what follows the end of sequence is added", "official DPO code 21fd7fe",
     _with_mask(_after_prompt)),
    TokenBug("mask ignored", "prompt and padding are added", "",
     _with_mask(lambda case: np.ones_like(_attended(case)))),
    TokenBug("mask inverted", "prompt and padding are summed, the completion is not", "CosyVoice #1449",
     _with_mask(lambda case: ~sequence_mask(case.arrays))),
    TokenBug("first response token lost", "sums start at the second token of the completion", "minimind #621",
     _with_mask(lambda case: _attended(case) & _after_prompt(case, case.arrays["prompt_lengths"] + 1))),
    TokenBug("last column cut", "the longest sequences lose their last token", "TRL #2332",
     _with_mask(_last_column_cut)),
    TokenBug("end of sequence lost", "the last token of each completion does not count", "",
     _with_mask(_end_lost)),
    TokenBug("mask not shifted with the labels",
     "sums lose the first token of the completion and gain one after its end",
     "", _with_mask(lambda case: _shifted(sequence_mask(case.arrays)))),
    TokenBug("gaps of the mask filled", "what others say between two turns of a completion is added",
     "open-instruct #617, slime #1563", _with_mask(_turns_joined)),
    TokenBug("right padding assumed", "with padding on the left, completions lose their ends", "TRL #6800",
     _with_mask(_right_padded)),
    TokenBug("one pad counted", "one token after the end is added", "", _with_mask(_one_pad_more)),
    *(TokenBug(f"token {token} never counted",
     f"the mask is made from the padding's id {token}, which completions have too",
       "TRL #6357, #741", _with_mask(_without(token)), (_with_mask(_fewer(token)),)) for token in range(VOCABULARY)),
    TokenBug("the shift wraps around", "the first label, where it counts, is read from the last logits",
     "TRL #2733, #2568", _wrapped),
    TokenBug("mean over all columns", "divided by the padded length", "", _divided(_columns)),
    TokenBug("counts from the unshifted mask",
     "a completion that starts at position 0 is divided by one token too many",
     "TRL #3346",
     _divided(lambda case, counts: np.maximum(sequence_mask(case.arrays).sum(axis=1), 1))),
    TokenBug("length + 1", "divided by one token too many", "", _divided(lambda case, counts: counts + 1)),
    TokenBug("end in the length, not in the sum", "the last token of each completion is counted, not added",
     "PaddleFormers #4908, #4909", _divided(lambda case, counts: np.maximum(counts, 1), _end_lost)),
    TokenBug("averaged twice", "divided by the number of tokens once more", "LLaMA-Factory #6722, turbo-alignment #24",
     _divided(lambda case, counts: np.maximum(counts, 1) ** 2)),
    TokenBug("0/0 without completion", "the mean of a sequence without completion is NaN, and so is the batch's loss",
     "SkyRL #1635", _divided(lambda case, counts: counts)),
    TokenBug("-inf · 0 where the mask is 0", "an impossible token that does not count makes the sequence NaN",
     "open-instruct #1685", _multiplied),
    TokenBug("log_softmax over the batch axis", "probabilities of different sequences sum to 1",
     "exact-optimization #2",
     _normalized_over(0)),
    TokenBug("log_softmax over the positions", "probabilities at different positions sum to 1", "",
     _normalized_over(1)),
    TokenBug("temperature ignored", "logits are not divided by the temperature",
     "prime-rl #697, compose-rl #105, verl #4162, NeMo-RL #935", _at_temperature_1),
)  # fmt: skip
