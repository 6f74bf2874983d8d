"""Test vectors of the way from logits and tokens to log-probabilities of sequences, and of the gradient back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pbde_ref import losses
from pbde_ref.oracle.vectors_format import Document, Group, acceptable, invalid, valid

__all__ = ["TOKEN_DOCUMENTS", "evaluate"]

WORDS = (0.75, -1.5, 2.25, 0.25, -0.5, 1.0, -2.75)


def _logits(size: int, width: int, vocabulary: int = 5) -> list[Any]:
    """Irregular numbers, exact in bfloat16."""
    return np.resize(np.array(WORDS), (size, width, vocabulary)).tolist()


def _with(logits: list[Any], **replaced: list[float]) -> list[Any]:
    """The logits of some positions replaced; the names are like b0t3."""
    result = np.array(logits)
    for place, values in replaced.items():
        example, position = place[1:].split("t")
        result[int(example), int(position)] = values
    return result.tolist()


# Token 0 pads, token 1 ends a sequence. The last token of a row has no successor, so its logits never count.
PADDED = {
    "logits": _with(_logits(3, 6), b1t4=[90.0, -70.0, 55.0, 3.0, -120.0], b2t3=[-300.0, 0.0, 250.0, 8.0, 1.0]),
    "labels": [[2, 3, 4, 2, 3, 1], [2, 4, 3, 1, 0, 0], [3, 2, 1, 0, 0, 0]],
    "prompt_lengths": [2, 1, 1],
    "end_of_sequence": 1,
    "padding": 0,
    "upstream": [0.5, -1.25, 2.0],
}
CUT_OFF = {
    "logits": _logits(2, 5), "labels": [[2, 3, 4, 2, 3], [4, 3, 1, 2, 4]], "prompt_lengths": [2, 1],
    "end_of_sequence": 1, "padding": 0, "upstream": [1.0, -0.75],
}  # fmt: skip
ENDS_PAD = {
    "logits": _logits(2, 5), "labels": [[2, 3, 4, 1, 1], [1, 1, 3, 4, 1]], "prompt_lengths": [1, 2],
    "end_of_sequence": 1, "padding": 1, "upstream": [1.5, 0.25],
}  # fmt: skip
CERTAIN = {
    "logits": [[[0.0, -40.0, 1.0], [30.0, 0.0, -5.0], [0.0, 200.0, 1.0], [1.0, 2.0, 3.0]]],
    "labels": [[2, 2, 0, 1]], "prompt_lengths": [1], "end_of_sequence": 1, "padding": 0, "upstream": [1.0],
}  # fmt: skip
SURE = {
    "logits": [[[40.0, 0.0, 1.0], [0.0, 24.0, -1.0], [0.5, 1.0, 2.0]]],
    "labels": [[2, 0, 1]], "prompt_lengths": [1], "end_of_sequence": 1, "padding": 2, "upstream": [1.0],
}  # fmt: skip
NOTHING = {
    "logits": _logits(1, 4), "labels": [[2, 3, 0, 0]], "prompt_lengths": [2], "end_of_sequence": 1, "padding": 0,
    "upstream": [1.0],
}  # fmt: skip

PARTS = "prompts, completions and padding of different lengths"

TOKEN_DOCUMENTS = [
    Document(
        "sequence_log_probs", "token", "Log-probabilities of sequences from logits, labels and masks",
        "log pi(x) = sum over the completion's tokens of log softmax(logits)[token]",
        [
            Group({"shift": True, "average": False}, [
                valid(PARTS, "Generic PromptTokens Padding", **PADDED),
                valid("a completion that was cut off, and one with tokens after its end", "EndOfSequence", **CUT_OFF),
                valid("padding with the end-of-sequence token, which the prompt has too", "EndOfSequence Padding",
                      **ENDS_PAD),
                valid("tokens of probability almost 0", "ExtremeGap", **CERTAIN),
                valid("tokens of probability almost 1", "NearCertain", **SURE),
                invalid("no completion: everything after the prompt is padding", "InvalidLength", **NOTHING),
                invalid("logits for four positions, labels for three", "InvalidShape",
                        **{**NOTHING, "labels": [[2, 3, 1]]}),
            ]),
            Group({"shift": False, "average": False}, [
                valid(PARTS, "Generic PromptTokens Padding", **PADDED),
            ]),
            Group({"shift": True, "average": True}, [
                acceptable(PARTS, "Generic PromptTokens Padding", **PADDED),
                acceptable("a completion that was cut off, and one with tokens after its end", "EndOfSequence",
                           **CUT_OFF),
            ], "The log-probability is the mean over the completion's tokens, not their sum."),
        ],
        [
            "shift: the logits at position t are about the token at t + 1, as in decoder-only models; column t of mask "
            "and token_log_probs is then about labels[:, t + 1]. Without shift column t is about labels[:, t].",
            "token_log_probs are given at every column; only those whose mask is 1 matter.",
            "The gradient is that of the sum over the batch of upstream times log_probs.",
            "prompt_lengths are the numbers of leading positions that are not completion; the first end_of_sequence "
            "token after them counts, what follows it does not, and padding never does.",
        ],
    ),
]  # fmt: skip


def evaluate(name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Mask, log-probabilities of tokens and of sequences, and the gradient with respect to the logits.

    Examples
    --------
    >>> inputs = {"logits": [[[0.0, 0.0], [1.0, 0.0]]], "labels": [[0, 1]], "prompt_lengths": [1],
    ...           "end_of_sequence": 1, "padding": 0, "upstream": [1.0]}
    >>> evaluate("sequence_log_probs", {"shift": True, "average": False}, inputs)["log_probs"]  # log 1/2
    array([-0.69314718])
    """
    shift, average = parameters["shift"], parameters["average"]
    logits, labels = np.array(inputs["logits"]), np.array(inputs["labels"])
    mask = losses.completion_mask(
        labels, prompt_lengths=np.array(inputs["prompt_lengths"]), end_of_sequence=inputs["end_of_sequence"],
        padding=inputs["padding"], shift=shift,
    )  # fmt: skip
    tokens = losses.token_log_probs_from_logits(logits, labels, shift=shift)
    slopes = losses.sequence_log_probs_vjp(inputs["upstream"], mask, average=average)
    return {
        "mask": mask.astype(int),
        "token_log_probs": tokens,
        "log_probs": losses.sequence_log_probs(tokens, mask, average=average),
        "gradients": {"logits": losses.token_log_probs_vjp(slopes, logits, labels, shift=shift)},
    }
