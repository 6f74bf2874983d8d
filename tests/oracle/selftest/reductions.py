"""Losses of parts as source text, right ones and ones with a bug, in arithmetic that every framework's arrays have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from pbde_ref.oracle.reduction.check import check_reduction
from pbde_ref.oracle.report import Report

__all__ = ["CORRECT_REDUCTIONS", "PLANTED_REDUCTIONS", "Reduction", "reports"]

_SUM = "(part.losses * part.mask).sum()"
_UNDO = " * counts.ranks * counts.shards"
_MEANS = "sum((part.losses * one).sum() / one.sum() for one in each(part))"


class Reduction(NamedTuple):
    """An expression of `part` and `counts`, what it is a mean over, and which bug it has; none if it is right."""

    bug: str
    over: str
    text: str
    across: str = "mean"

    def build(self) -> Callable[..., Any]:
        """The function."""
        function: Callable[..., Any] = eval(f"lambda part, counts: {self.text}", {"each": _each})
        return function


def _each(part: Any) -> Iterator[Any]:
    """The mask of each sequence of a part that has tokens which count."""
    masks = ((part.sequences == number) & part.mask for number in range(int(part.sequences.max()) + 1))
    return (mask for mask in masks if bool(mask.any()))


CORRECT_REDUCTIONS = (
    Reduction("", "tokens", f"{_SUM} / counts.all_tokens{_UNDO}"),
    Reduction("", "tokens", f"{_SUM} / counts.all_tokens", "sum"),
    Reduction("", "tokens", f"({_SUM}, counts.tokens)"),
    Reduction("", "tokens", f"({_SUM}, part.mask.sum())"),
    Reduction("", "tokens", f"part.mask * (1.0 / counts.all_tokens){_UNDO}"),
    Reduction("", "sequences", f"{_SUM} / counts.all_sequences{_UNDO}"),
    Reduction("", "sequences", f"({_SUM}, counts.sequences)"),
    Reduction("", "sequence_means", f"{_MEANS} / counts.all_sequences{_UNDO}"),
    Reduction("", "sequence_means", f"({_MEANS}, counts.sequences)"),
)

PLANTED_REDUCTIONS = (
    Reduction("summed over ranks", "tokens", f"{_SUM} / counts.all_tokens{_UNDO}", "sum"),
    Reduction("summed over ranks", "sequences", f"{_SUM} / counts.all_sequences{_UNDO}{_UNDO}"),
    Reduction("averaging over ranks not undone", "tokens", f"{_SUM} / counts.all_tokens"),
    Reduction("averaging over ranks not undone", "tokens", "part.mask * (1.0 / counts.all_tokens)"),
    Reduction("averaging over ranks not undone", "sequence_means", f"{_MEANS} / counts.all_sequences"),
    Reduction("shards not counted among the ranks", "tokens", f"{_SUM} / counts.all_tokens * counts.ranks"),
    Reduction("shards counted twice", "tokens", f"{_SUM} / counts.all_tokens{_UNDO} * counts.shards"),
    Reduction("divided by the steps twice", "tokens", f"{_SUM} / counts.all_tokens{_UNDO} / counts.micro_batches"),
    Reduction("multiplied by the steps", "sequences",
              f"{_SUM} / counts.all_sequences{_UNDO} * counts.micro_batches"),
    Reduction("mean of micro-batch means", "tokens", f"{_SUM} / max(counts.tokens, 1) / counts.micro_batches"),
    Reduction("mean of micro-batch means", "sequences", f"{_SUM} / counts.sequences / counts.micro_batches"),
    Reduction("mean of micro-batch means", "sequence_means", f"({_MEANS} / counts.sequences, 1.0)"),
    Reduction("sum of micro-batch means", "tokens", f"{_SUM} / max(counts.tokens, 1)"),
    Reduction("mean of rank means", "tokens", f"{_SUM} / max(counts.rank_tokens, 1)"),
    Reduction("mean of rank means", "sequences", f"{_SUM} / counts.rank_sequences"),
    Reduction("token means weighted by sequences", "tokens",
              f"{_SUM} / max(counts.tokens, 1) * counts.sequences / counts.all_sequences{_UNDO}"),
    Reduction("divided by the padded size", "tokens", "(part.losses * part.mask).mean() / counts.micro_batches"),
    Reduction("rows counted instead of sequences", "sequences", f"{_SUM} / len(part.mask) / counts.micro_batches"),
    Reduction("what the mask leaves out is added", "tokens", f"part.losses.sum() / counts.all_tokens{_UNDO}"),
    Reduction("the loss is the mean over its sequences of each one's sum", "tokens",
              f"{_SUM} / counts.all_sequences{_UNDO}"),
    Reduction("the loss is the mean over all tokens of the batch", "sequences", f"{_SUM} / counts.all_tokens{_UNDO}"),
)  # fmt: skip


def reports(framework: str, reductions: tuple[Reduction, ...]) -> Iterator[tuple[Reduction, Report]]:
    """What `check_reduction` says of each; sums of a mask have no gradient and are looked at all the same."""
    for one in reductions:
        yield one, _report(one, framework)


@cache
def _report(one: Reduction, framework: str) -> Report:
    """Equal calls draw equal batches."""
    return check_reduction(one.build(), over=one.over, across=one.across, framework=framework, on_failure="report")
