"""What is returned instead if the examples of a batch are put together wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle.cases import Case, is_of_examples

__all__ = ["BROADCASTS", "FIRST_ROWS", "MEANS_OF_MEANS", "broadcast_losses", "last_row_lost"]

Formula = Callable[[Case, str], "Outcome | None"]
Rows = NDArray[np.intp]


def _part(case: Case, rows: Rows) -> Outcome:
    """The outcome of these rows alone; its gradients have zeros for the others."""
    value, gradients = case.take(rows).expected()
    whole = {}
    for name, gradient in gradients.items():
        if is_of_examples(name):
            whole[name] = np.zeros_like(case.arrays[name], dtype=np.float64)
            whole[name][rows] = gradient
        else:
            whole[name] = gradient
    return Outcome(value, whole)


def last_row_lost(case: Case, dtype: str) -> Outcome | None:
    """An odd batch is cut to an even one."""
    odd = case.size % 2 == 1 and case.size > 1
    return _part(case, np.arange(case.size - 1)) if odd and case.conventions["reduction"] != "none" else None


def _first_rows(count: int, divided_by_all: bool) -> Formula:
    """Rows behind the first so many do not count; the mean is over those that do, or over all."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        reduction = case.conventions["reduction"]
        if case.size <= count or reduction == "none" or (divided_by_all and reduction == "sum"):
            return None
        value, gradients = _part(case, np.arange(count))
        factor = count / case.size if divided_by_all else 1.0
        return Outcome(factor * value, {name: factor * gradient for name, gradient in gradients.items()})

    return formula


FIRST_ROWS = tuple(_first_rows(count, divided) for count in (64, 32, 16, 8) for divided in (False, True))


def _mean_of_means(size: int) -> Formula:
    """Micro-batches of this size, the last one smaller, count alike."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        if case.conventions["reduction"] != "mean":
            return None
        rows = np.arange(case.size)
        parts = [_part(case, rows[start : start + size]) for start in range(0, case.size, size)]
        return Outcome(
            np.mean([part.value for part in parts], axis=0),
            {name: np.mean([part.gradients[name] for part in parts], axis=0) for name in parts[0].gradients},
        )

    return formula


MEANS_OF_MEANS = tuple(_mean_of_means(size) for size in (2, 3, 4, 8, 16, 32, 64))


def _sides() -> Sequence[Callable[[str], bool]]:
    """Which of a pair's arrays a stray axis may separate from the others."""
    return (lambda name: "chosen" in name, lambda name: name.startswith("policy"), lambda name: name == "margins")


def _crossed(case: Case, of_rows: Callable[[str], bool]) -> Case:
    """Every row's arrays on one side with every row's on the other: a batch of (B, B), row by row."""
    rows, columns = (axis.ravel() for axis in np.indices((case.size, case.size)))
    arrays = {
        name: values[rows if of_rows(name) else columns] if is_of_examples(name) else values
        for name, values in case.arrays.items()
    }
    return replace(case, arrays=arrays)


def _broadcast(of_rows: Callable[[str], bool]) -> Formula:
    def formula(case: Case, dtype: str) -> Outcome | None:
        if case.conventions["reduction"] == "none":
            return None
        value, gradients = _crossed(case, of_rows).expected()
        summed = {
            name: gradient.reshape(case.size, case.size).sum(axis=1 if of_rows(name) else 0)
            if is_of_examples(name)
            else gradient
            for name, gradient in gradients.items()
        }
        return Outcome(value, summed)

    return formula


BROADCASTS = tuple(_broadcast(side) for side in _sides())


def broadcast_losses(case: Case) -> Iterator[Outcome]:
    """The (B, B) losses that such a function returns if it does not reduce them, both ways round."""
    if case.conventions.get("lambda_"):
        return
    for side in _sides():
        losses = _crossed(case, side).with_conventions(reduction="none").expected().value
        yield from (Outcome(m, {}) for m in (losses.reshape(case.size, case.size), losses.reshape(case.size, -1).T))
