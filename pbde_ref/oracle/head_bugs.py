"""Known bugs of sequence log-probabilities with a number that nobody declared: a temperature, a bound, an epsilon.

The number is found from what the function returned for one sequence. Somebody chose it, so it has few digits; that it
then explains the other sequences too, to all of theirs, is the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Outcome
from pbde_ref.losses import token_log_probs_from_logits
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.fitted_bugs import solutions
from pbde_ref.oracle.sequences import sequence_mask
from pbde_ref.oracle.tolerances import allowance
from pbde_ref.validation import FloatArray

__all__ = ["HEAD_BUGS", "fitted"]

TRIED = 64
DIGITS = 3

# What a function returns for a case, with one number.
WithNumber = Callable[[Case, Any], FloatArray]
Formula = Callable[[Case, str], "Outcome | None"]


def fitted(says: str, values: WithNumber, low: float, high: float) -> Callable[..., Iterator[tuple[str, Formula]]]:
    """A fit of a bug with a number of few digits between `low` and `high`; `says` has its place in braces.

    Examples
    --------
    >>> from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS
    >>> conventions = {"average": False, "shift": True, "temperature": 1.0, "layout": "mask"}
    >>> case = Case(SEQUENCE_LOG_PROBS, SEQUENCE_LOG_PROBS.batches["generic"], conventions)
    >>> fit = fitted("{} times everything", lambda case, number: number * case.expected().value, 0.1, 10.0)
    >>> [text for text, formula in fit(case, Outcome(0.7 * case.expected().value, {}))]
    ['0.7 times everything']
    """

    def fit(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
        grid = np.geomspace(low, high, TRIED)
        for found in solutions(lambda number: Outcome(values(case, number), {}), computed, case.expected(), grid):
            number = float(f"{found:.{DIGITS}g}")
            off = np.abs(values(case, 1.01 * number) - computed.value)
            # What another number explains as well is not evidence for this one.
            if np.any(off > 2.0 * allowance(case, "float64").value):
                yield says.format(f"{number:g}"), _at(values, number)

    return fit


def _at(values: WithNumber, number: float) -> Formula:
    return lambda case, dtype: Outcome(values(case, number), {})


def _with_logits(change: Callable[[Any, Any], Any]) -> WithNumber:
    """Other logits, in the definition."""

    def values(case: Case, number: Any) -> FloatArray:
        logits = change(case.arrays["logits"], np.reshape(number, (-1, 1, 1)))
        return case.with_arrays(logits=logits).expected().value

    return values


def _with_tokens(change: Callable[[Any, Any, Any], Any]) -> WithNumber:
    """Other log-probabilities of tokens; `change` gets these, and the means over the vocabulary."""

    def values(case: Case, number: Any) -> FloatArray:
        first = int(case.conventions["shift"])
        logits = case.arrays["logits"][:, : case.arrays["logits"].shape[1] - first] / case.conventions["temperature"]
        counted = sequence_mask(case.arrays)[:, first:]
        tokens = token_log_probs_from_logits(logits, case.arrays["labels"][:, first:], shift=False)
        means = logits.mean(axis=-1) - np.logaddexp.reduce(logits, axis=-1)
        sums = np.where(counted, change(tokens, means, np.reshape(number, (-1, 1))), 0.0).sum(axis=1)
        return np.asarray(sums / np.maximum(counted.sum(axis=1), 1) if case.conventions["average"] else sums)

    return values


HEAD_BUGS = (
    ("temperature", "logits are divided by another temperature than declared",
     "prime-rl #697, compose-rl #105, verl #4162, NeMo-RL #935",
     fitted("temperature={} more", _with_logits(lambda z, temperature: z / temperature), 0.01, 100.0)),
    ("clamped logits", "logits beyond a bound are cut off, and have no gradient", "",
     fitted("the bound is {}", _with_logits(lambda z, bound: np.clip(z, -bound, bound)), 0.5, 1e5)),
    ("capped logits", "logits z are c tanh(z / c)", "",
     fitted("c = {}", _with_logits(lambda z, bound: bound * np.tanh(z / bound)), 0.5, 1e5)),
    ("clamped log-probabilities", "tokens that are less likely than a bound have no gradient", "",
     fitted("the bound is -{}", _with_tokens(lambda tokens, _, bound: np.maximum(tokens, -bound)), 0.01, 1e5)),
    ("epsilon in the logarithm", "log(p + epsilon) instead of log p", "",
     fitted("epsilon = {}", _with_tokens(lambda tokens, _, e: np.logaddexp(tokens, np.log(e))), 1e-40, 0.5)),
    ("smoothed labels", "some of the label's weight is spread over the vocabulary", "",
     fitted("a share of {}", _with_tokens(lambda tokens, means, e: (1.0 - e) * tokens + e * means), 1e-4, 0.9)),
)  # fmt: skip
"""All of them, in the order in which a diagnosis names them: name, effect, thread, and fit."""
