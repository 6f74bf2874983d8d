"""What the catalogue says about a loss: one record for each, which everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pbde_ref.exact.results import Optimum
from pbde_ref.losses.result import BatchLoss
from pbde_ref.objectives import BRADLEY_TERRY, Objective
from pbde_ref.validation import (
    FloatArray,
    choice,
    flip_probability,
    non_negative_number,
    number,
    positive_number,
    probability,
    switch,
)

__all__ = ["PER_EXAMPLE", "Arrays", "Conventions", "Input", "Loss", "Margins", "Outcome", "Parameter"]

Arrays = Mapping[str, NDArray[Any]]
Conventions = Mapping[str, Any]

PER_EXAMPLE = "per_example"


class Outcome(NamedTuple):
    """A loss as its caller sees it: reduced as declared, with derivatives of that (of the sum if it is not reduced)."""

    value: FloatArray
    gradients: Mapping[str, FloatArray]


class Margins(NamedTuple):
    """Each pair's margin, and its derivative with respect to each argument that the loss is differentiated by."""

    values: FloatArray
    slopes: Mapping[str, FloatArray | float]


@dataclass(frozen=True)
class Input:
    """One array that the function is called with.

    `role` is "policy", "reference", "reward" or "constant"; the first and third are differentiated. What is not
    `floating` (lengths, masks, tokens) is never rounded to the tested dtype.
    """

    name: str
    role: str
    floating: bool = True

    @property
    def differentiated(self) -> bool:
        """Whether the loss has a gradient with respect to it."""
        return self.role in ("policy", "reward")


@dataclass(frozen=True)
class Parameter:
    """A number, a word or a switch of the definition.

    Attributes
    ----------
    rule : str or tuple of str
        "positive", "non-negative", "real", "probability", "flip probability", "share" (a positive one), "margin"
        (non-negative, or an array of its own, in the plural), "switch", or the words that are allowed.
    default : object
        None means that it must be declared unless the function takes it as a keyword; then `generic` is used.
    generic : object
        A value at which nothing is special.
    other : object
        The value that tells whether it is used at all; None if it is not a number of the loss but a convention.
    keywords : tuple of str
        The names under which a function may take it.
    letter : str
        As in the paper.
    """

    rule: str | tuple[str, ...]
    default: Any
    generic: Any = None
    other: Any = None
    keywords: tuple[str, ...] = ()
    letter: str = ""

    def checked(self, name: str, value: Any) -> Any:
        """The value, if the rule allows it.

        Examples
        --------
        >>> Parameter("positive", None, 0.3).checked("beta", 0)
        Traceback (most recent call last):
            ...
        ValueError: `beta` must be positive; got 0.0
        """
        if isinstance(self.rule, tuple):
            return choice(name, value, self.rule)
        if self.rule == "switch":
            return switch(name, value)
        if self.rule == "margin" and isinstance(value, str) and value == PER_EXAMPLE:
            return value
        return _NUMBERS[self.rule](name, value)


_NUMBERS: Mapping[str, Callable[[str, Any], float]] = {
    "positive": positive_number,
    "non-negative": non_negative_number,
    "margin": non_negative_number,
    "real": number,
    "probability": probability,
    "flip probability": flip_probability,
    "share": lambda name, value: positive_number(name, flip_probability(name, value)),
}


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss: what it is called with, what may be declared, what is right, and where it leads.

    Attributes
    ----------
    name, title, equation : str
    family : str
        "pairwise", "answers", "batch", "ranking" or "mixture"; "sequence" and "reading" for what comes before a loss.
    inputs : callable
        From conventions to the arrays that it is called with, in their order.
    evaluate : callable
        From arrays and conventions to the `Outcome`.
    batches : mapping of str to arrays
        Fixed examples, away from the points where bugs hide, and at them.
    parameters : mapping of str to Parameter
    margins, objective : callable, optional
        Only for "pairwise": from arrays and conventions to `Margins`, and from conventions to the `Objective` of them.
    batch : callable, optional
        Its function in `pbde_ref.losses`.
    optimum : callable, optional
        Its minimiser over all policies: from an annotator, a proposal and parameters to an `Optimum`.
    aliases : tuple of str
    formula, source : str
        In one line, where the paper has no equation for it; who defined it, and which trainers have it.
    learns : str
        What the optimum determines of a Luce annotator, given everything else: "p*" itself, how often answers win
        ("rates"), which of them win more often than not ("winners"), or nothing that is proved.
    sizes : callable, optional
        From arrays and conventions to the largest number that the formula leads each example through, where that is an
        exponential of the inputs.
    """

    name: str
    title: str
    equation: str
    family: str
    inputs: Callable[[Conventions], tuple[Input, ...]]
    evaluate: Callable[[Arrays, Conventions], Outcome]
    batches: Mapping[str, Arrays]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    margins: Callable[[Arrays, Conventions], Margins] | None = None
    objective: Callable[[Conventions], Objective] | None = None
    batch: Callable[..., BatchLoss] | None = None
    optimum: Callable[..., Optimum] | None = None
    aliases: tuple[str, ...] = ()
    formula: str = ""
    source: str = ""
    learns: str = ""
    sizes: Callable[[Arrays, Conventions], FloatArray] | None = None

    @cached_property
    def generic(self) -> dict[str, Any]:
        """Conventions at which nothing is special: defaults, and generic values where there is none."""
        values = {name: p.generic if p.default is None else p.default for name, p in self.parameters.items()}
        return {**values, "reduction": "mean"}

    def _inputs_ever(self) -> set[str]:
        switched = {name: p.rule == "switch" for name, p in self.parameters.items() if name != "reference_free"}
        averaged = {**self.generic, **{name: True for name, on in switched.items() if on}}
        return {i.name for i in (*self.inputs(self.generic), *self.inputs(averaged))}

    @property
    def has_reference(self) -> bool:
        """Whether it compares the policy with a reference."""
        return any(i.role == "reference" for i in self.inputs(self.generic))

    @property
    def has_policy(self) -> bool:
        """Whether it is about a policy's log-probabilities, and not about rewards or scores."""
        return any(i.role == "policy" for i in self.inputs(self.generic))

    @property
    def has_lengths(self) -> bool:
        """Whether lengths can enter."""
        return any("lengths" in name for name in self._inputs_ever())

    @property
    def has_margins(self) -> bool:
        """Whether it is a function of one margin for each pair."""
        return self.margins is not None

    @property
    def is_logistic(self) -> bool:
        """Whether it is the cross-entropy of a logistic preference, Eq. (1)."""
        return self.objective is not None and self.objective(self.generic) is BRADLEY_TERRY
