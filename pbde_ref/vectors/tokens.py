"""Test vectors of the way from logits and tokens to log-probabilities of sequences, and of the gradient back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pbde_ref import losses
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.rewards import SEQUENCE_REWARDS
from pbde_ref.vectors.format import Document, Group, acceptable, invalid, valid

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
LEFT_PADDED = {
    "logits": _with(_logits(3, 6), b0t0=[-60.0, 40.0, 8.0, 100.0, 3.0], b1t1=[70.0, -20.0, 5.0, 1.0, -90.0]),
    "labels": [[0, 0, 4, 2, 3, 1], [0, 0, 0, 3, 1, 0], [2, 3, 4, 2, 3, 1]], "prompt_lengths": [3, 4, 2],
    "end_of_sequence": 1, "padding": 0, "upstream": [0.75, 1.5, -0.5],
}  # fmt: skip
AT_START = {
    "logits": _logits(2, 5), "labels": [[3, 2, 4, 2, 1], [4, 3, 1, 0, 0]], "prompt_lengths": [0, 0],
    "end_of_sequence": 1, "padding": 0, "upstream": [-1.25, 0.5],
}  # fmt: skip
NOTHING = {
    "logits": _logits(1, 4), "labels": [[2, 3, 0, 0]], "prompt_lengths": [2], "end_of_sequence": 1, "padding": 0,
    "upstream": [1.0],
}  # fmt: skip

FIRST = "completions that start at position 0, so that the shift leaves their first token without a prediction"


def _rows(size: int) -> dict[str, Any]:
    """A batch of so many sequences of unequal lengths."""
    labels = [[2, 3, 4, 2, 3, 4][: 2 + row % 4] + [1] + [0] * (3 - row % 4) for row in range(size)]
    prompts = [1 + row % 2 for row in range(size)]
    upstream = [0.25 + 0.5 * row for row in range(size)]
    return {"logits": _logits(size, 6), "labels": labels, "prompt_lengths": prompts, "end_of_sequence": 1, "padding": 0,
            "upstream": upstream}  # fmt: skip


SCORES = {
    "scores": [[0.5, -1.25, 2.0, 3.5], [1.75, -0.25, 0.75, -2.5], [-3.0, 4.0, 0.25, 1.0]],
    "mask": [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], "upstream": [0.5, -1.25, 2.0],
}  # fmt: skip
SCORES_LEFT = {**SCORES, "mask": [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]]}

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
                valid("padding on the left, and on both sides", "LeftPadding Padding", **LEFT_PADDED),
                valid(FIRST, "CompletionAtStart", **AT_START),
                *(valid(f"a batch of {size}", "BatchSize", **_rows(size)) for size in (1, 2, 3, 5, 7)),
                valid("tokens of probability almost 0", "ExtremeGap", **CERTAIN),
                valid("tokens of probability almost 1", "NearCertain", **SURE),
                invalid("no completion: everything after the prompt is padding", "InvalidLength", **NOTHING),
                invalid("logits for four positions, labels for three", "InvalidShape",
                        **{**NOTHING, "labels": [[2, 3, 1]]}),
            ]),
            Group({"shift": False, "average": False}, [
                valid(PARTS, "Generic PromptTokens Padding", **PADDED),
                valid("padding on the left, and on both sides", "LeftPadding Padding", **LEFT_PADDED),
                valid("completions that start at position 0", "CompletionAtStart", **AT_START),
            ]),
            *(Group({"shift": True, "average": False, "temperature": temperature}, [
                valid(PARTS, "Generic Temperature", **PADDED),
                valid(FIRST, "CompletionAtStart Temperature", **AT_START),
            ]) for temperature in (0.5, 1.75)),
            Group({"shift": True, "average": True}, [
                acceptable(PARTS, "Generic PromptTokens Padding", **PADDED),
                acceptable("a completion that was cut off, and one with tokens after its end", "EndOfSequence",
                           **CUT_OFF),
                acceptable("padding on the left, and on both sides", "LeftPadding Padding", **LEFT_PADDED),
                acceptable(FIRST, "CompletionAtStart", **AT_START),
            ], "The log-probability is the mean over the completion's tokens, not their sum."),
        ],
        [
            "shift: the logits at position t are about the token at t + 1, as in decoder-only models; column t of mask "
            "and token_log_probs is then about labels[:, t + 1]. Without shift column t is about labels[:, t].",
            "token_log_probs are given at every column; only those whose mask is 1 matter.",
            "The gradient is that of the sum over the batch of upstream times log_probs.",
            "temperature divides the logits; absent, it is 1.",
            "prompt_lengths are the numbers of leading positions before the completion, padding on the left included; "
            "the first end_of_sequence "
            "token after them counts, what follows it does not, and padding never does.",
        ],
    ),
    Document(
        "sequence_rewards", "token", "Rewards of sequences from the scores of their tokens",
        "reward = the score at the last position at which the mask is 1",
        [
            Group({}, [
                valid("padding on the right", "Generic Padding", **SCORES),
                valid("padding on the left, on both sides, and none", "LeftPadding Padding", **SCORES_LEFT),
                valid("one token, with and without padding", "SingleExample",
                      scores=[[1.5, -3.0, 0.25]], mask=[[1, 0, 0]], upstream=[2.0]),
            ]),
        ],
        ["The gradient is that of the sum over the batch of upstream times rewards."],
    ),
]  # fmt: skip


def evaluate(name: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What comes out: masks, log-probabilities and the gradient with respect to the logits, or rewards and theirs.

    Examples
    --------
    >>> inputs = {"logits": [[[0.0, 0.0], [1.0, 0.0]]], "labels": [[0, 1]], "prompt_lengths": [1],
    ...           "end_of_sequence": 1, "padding": 0, "upstream": [1.0]}
    >>> evaluate("sequence_log_probs", {"shift": True, "average": False}, inputs)["log_probs"]  # log 1/2
    array([-0.69314718])
    """
    if name == "sequence_rewards":
        case = Case(SEQUENCE_REWARDS, {n: np.array(inputs[n]) for n in ("scores", "mask")}, {})
        rewards, read_at = case.expected()
        upstream = np.array(inputs["upstream"])[:, None]
        return {"rewards": rewards, "gradients": {"scores": upstream * read_at["scores"]}}
    shift, average, temperature = parameters["shift"], parameters["average"], parameters.get("temperature", 1.0)
    logits, labels = np.array(inputs["logits"]) / temperature, np.array(inputs["labels"])
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
        "gradients": {"logits": losses.token_log_probs_vjp(slopes, logits, labels, shift=shift) / temperature},
    }
