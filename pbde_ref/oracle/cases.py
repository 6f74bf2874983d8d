"""One case of a loss: inputs and conventions for which its definition says what is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue.records import Arrays, Conventions, Input, Loss, Margins, Outcome
from pbde_ref.objectives import Objective
from pbde_ref.validation import FloatArray

__all__ = ["Case", "exchanged_name", "is_of_examples", "of_margins", "reduced"]

@dataclass(frozen=True, eq=False)
class Case:
    """Inputs and conventions: everything that determines what the function should return."""

    definition: Loss
    arrays: Arrays
    conventions: Conventions

    def __post_init__(self) -> None:
        if self.conventions.get("reference_free"):
            # Without a reference it is as if every outcome had the same log-probability under it.
            zeros = {name: np.zeros_like(self.arrays[name]) for name in ("reference_chosen", "reference_rejected")}
            object.__setattr__(self, "arrays", {**self.arrays, **zeros})

    @property
    def has_margins(self) -> bool:
        """Whether the loss is a function of one margin."""
        return self.definition.margins is not None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the function is called with, in this order."""
        return self.definition.inputs(self.conventions)

    @property
    def size(self) -> int:
        """How many examples the batch has."""
        return len(self.arrays[self.inputs[0].name])

    def expected(self) -> Outcome:
        """What is right, in float64."""
        return self._expected

    @cached_property
    def _expected(self) -> Outcome:
        return self.definition.evaluate(self.arrays, self.conventions)

    def within(self, largest: float) -> NDArray[np.bool_]:
        """Whether the formula leads each example through no larger number."""
        sizes = self.definition.sizes
        found = np.zeros(self.size) if sizes is None else sizes(self.arrays, self.conventions)
        return np.asarray(found <= largest)

    def margins(self) -> Margins:
        """Each pair's margin."""
        if self.definition.margins is None:
            raise TypeError(f"the loss {self.definition.name!r} is not a function of one margin")
        return self.definition.margins(self.arrays, self.conventions)

    def objective(self) -> Objective:
        """The loss of a margin."""
        if self.definition.objective is None:
            raise TypeError(f"the loss {self.definition.name!r} is not a function of one margin")
        return self.definition.objective(self.conventions)

    def rewards(self) -> tuple[FloatArray, FloatArray]:
        """The two that the margin is the difference of: the chosen outcome's and the rejected one's, without gamma."""
        base = self.with_conventions(**{n: 0.0 for n, p in self.definition.parameters.items() if p.rule == "margin"})

        def without(side: str) -> Case:
            names = [i.name for i in base.inputs if i.floating and side in i.name]
            return base.with_arrays(**{name: np.zeros_like(base.arrays[name]) for name in names})

        return without("rejected").margins().values, -without("chosen").margins().values

    def of_size(self, size: int) -> Case:
        """So many examples, no two alike: those of this case in turn, each time a little smaller.

        What is smaller stays what the loss allows: a log-probability, a share, a positive number.
        """
        places = np.arange(size)
        taken = self.take(places % self.size)
        shrink = 1.0 + places // self.size / 32.0
        names = [i.name for i in self.inputs if i.floating and i.name not in _NOT_OF_EXAMPLES]
        arrays = {n: taken.arrays[n] / shrink.reshape(-1, *[1] * (taken.arrays[n].ndim - 1)) for n in names}
        return taken.with_arrays(**arrays)

    def with_arrays(self, **arrays: NDArray[Any]) -> Case:
        """The same with some inputs replaced."""
        return replace(self, arrays={**self.arrays, **arrays})

    def with_conventions(self, **conventions: Any) -> Case:
        """The same with some conventions replaced."""
        return replace(self, conventions={**self.conventions, **conventions})

    def take(self, index: Any) -> Case:
        """Some of the examples, in the order of `index`."""
        return replace(
            self,
            arrays={
                name: values if name in _NOT_OF_EXAMPLES else values[index] for name, values in self.arrays.items()
            },
        )

    def exchanged(self) -> Case:
        """Chosen and rejected outcomes exchanged."""
        return replace(self, arrays={exchanged_name(name): values for name, values in self.arrays.items()})


# Every other array has one entry for each example of the batch.
_NOT_OF_EXAMPLES = ("regularization", "weight_logits")


def is_of_examples(name: str) -> bool:
    """Whether an input has one entry for each example of the batch.

    Examples
    --------
    >>> is_of_examples("policy_chosen"), is_of_examples("weight_logits")
    (True, False)
    """
    return name not in _NOT_OF_EXAMPLES


def exchanged_name(name: str) -> str:
    """The name of the other outcome's input.

    Examples
    --------
    >>> exchanged_name("policy_chosen"), exchanged_name("rejected_lengths"), exchanged_name("weight_logits")
    ('policy_rejected', 'chosen_lengths', 'weight_logits')
    """
    if "chosen" in name:
        return name.replace("chosen", "rejected")
    return name.replace("rejected", "chosen")


def reduced(losses: FloatArray, slopes: Mapping[str, FloatArray], reduction: str) -> Outcome:
    """An outcome from each example's own loss and its derivatives.

    Examples
    --------
    >>> outcome = reduced(np.array([1.0, 3.0]), {"policy": np.array([2.0, 4.0])}, "mean")
    >>> float(outcome.value), outcome.gradients["policy"]
    (2.0, array([1., 2.]))
    """
    if reduction == "none":
        return Outcome(losses, dict(slopes))
    count = losses.shape[0] if reduction == "mean" else 1
    with np.errstate(invalid="ignore", over="ignore"):
        return Outcome(losses.sum() / count, {name: slope / count for name, slope in slopes.items()})


def of_margins(case: Case, margins: FloatArray, objective: Objective | None = None, sign: float = 1.0) -> Outcome:
    """The outcome if the margins were these, with the definition's slopes."""
    objective = case.objective() if objective is None else objective
    derivative = sign * objective.derivative(margins)
    slopes = {name: derivative * slope for name, slope in case.margins().slopes.items()}
    return reduced(sign * objective.value(margins), slopes, case.conventions["reduction"])
