"""Known bugs of sequence log-probabilities with a number that nobody declared: a temperature, a bound, an epsilon.

The number is found from what the function returned for one sequence. Somebody chose it, so it has few digits; that it
then explains the other sequences too, to all of theirs, is the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.losses import token_log_probs_from_logits
from pbde_ref.oracle.cases import Case, Outcome
from pbde_ref.oracle.sequences import sequence_mask

__all__ = ["HEAD_BUGS", "HeadBug", "fitted"]

TRIED = 64
ZOOMS = 6
DIGITS = 3


@dataclass(frozen=True)
class HeadBug:
    """A bug with one positive number.

    `formula` maps a case, and one number for all sequences or one for each, to what the function returns then. The
    number is looked for between `low` and `high`; `effect` has its place in braces.
    """

    name: str
    effect: str
    thread: str
    formula: Callable[[Case, Any], Outcome]
    low: float
    high: float

    def says(self, number: float) -> str:
        """The diagnosis."""
        thread = f" ({self.thread})" if self.thread else ""
        return f"matches a known bug: {self.name}{thread}: {self.effect.format(number=f'{number:.4g}')}"


def fitted(bug: HeadBug, case: Case, computed: Outcome) -> list[float]:
    """Numbers of few digits near those at which the bug gives what was computed for the most clearly wrong sequence.

    Examples
    --------
    >>> from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS
    >>> conventions = {"average": False, "shift": True, "temperature": 1.0, "layout": "mask"}
    >>> case = Case(SEQUENCE_LOG_PROBS, SEQUENCE_LOG_PROBS.batches["generic"], conventions)
    >>> 0.7 in fitted(HEAD_BUGS[0], case, case.with_conventions(temperature=0.7).expected())
    True
    """
    right = case.expected().value
    if computed.value.shape != right.shape or not np.isfinite(computed.value).all():
        return []
    row = int(np.argmax(np.abs(computed.value - right) / (1.0 + np.abs(right))))
    many = case.take(np.full(TRIED, row))

    def places(low: float, high: float) -> list[tuple[float, float]]:
        """Neighbours on a grid between which the computed number lies."""
        grid = np.geomspace(low, high, TRIED)
        with np.errstate(all="ignore"):
            above = bug.formula(many, grid).value >= computed.value[row]
        return [(float(grid[i]), float(grid[i + 1])) for i in np.flatnonzero(above[:-1] != above[1:])]

    found = []
    for place in places(bug.low, bug.high):
        for _ in range(ZOOMS):
            # Where rounding hides the change of sign, the interval is as narrow as it gets.
            place = next(iter(places(*place)), place)
        found.append(float(f"{np.sqrt(place[0] * place[1]):.{DIGITS}g}"))
    return found


def _with_logits(change: Callable[[Any, Any], Any]) -> Callable[[Case, Any], Outcome]:
    """Other logits, in the definition."""

    def formula(case: Case, number: Any) -> Outcome:
        logits = change(case.arrays["logits"], np.reshape(number, (-1, 1, 1)))
        return Outcome(case.with_arrays(logits=logits).expected().value, {})

    return formula


def _with_tokens(change: Callable[[Any, Any, Any], Any]) -> Callable[[Case, Any], Outcome]:
    """Other log-probabilities of tokens; `change` gets these, and the means over the vocabulary."""

    def formula(case: Case, number: Any) -> Outcome:
        first = int(case.conventions["shift"])
        logits = case.arrays["logits"][:, : case.arrays["logits"].shape[1] - first] / case.conventions["temperature"]
        counted = sequence_mask(case.arrays)[:, first:]
        tokens = token_log_probs_from_logits(logits, case.arrays["labels"][:, first:], shift=False)
        means = logits.mean(axis=-1) - np.logaddexp.reduce(logits, axis=-1)
        sums = np.where(counted, change(tokens, means, np.reshape(number, (-1, 1))), 0.0).sum(axis=1)
        return Outcome(sums / np.maximum(counted.sum(axis=1), 1) if case.conventions["average"] else sums, {})

    return formula


HEAD_BUGS = (
    HeadBug("temperature", "logits are divided by {number}; declare temperature= if that is meant",
            "prime-rl #697, compose-rl #105, verl #4162, NeMo-RL #935",
            _with_logits(lambda z, temperature: z / temperature), 0.01, 100.0),
    HeadBug("clamped logits", "logits beyond {number} are cut off, and have no gradient", "",
            _with_logits(lambda z, bound: np.clip(z, -bound, bound)), 0.5, 1e5),
    HeadBug("capped logits", "logits z are {number} tanh(z / {number})", "",
            _with_logits(lambda z, bound: bound * np.tanh(z / bound)), 0.5, 1e5),
    HeadBug("clamped log-probabilities", "tokens less likely than exp(-{number}) have no gradient", "",
            _with_tokens(lambda tokens, means, bound: np.maximum(tokens, -bound)), 0.01, 1e5),
    HeadBug("epsilon in the logarithm", "log(p + {number}) instead of log p", "",
            _with_tokens(lambda tokens, means, epsilon: np.logaddexp(tokens, np.log(epsilon))), 1e-40, 0.5),
    HeadBug("smoothed labels", "the label has the weight 1 - {number}, the rest is spread over the vocabulary", "",
            _with_tokens(lambda tokens, means, e: (1.0 - e) * tokens + e * means), 1e-4, 0.9),
)  # fmt: skip
"""All of them, in the order in which a diagnosis names them."""
