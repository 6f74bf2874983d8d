r"""The caller's own definition: a formula in one margin, or in two log-ratios, made into a record like the catalogue's.

With :math:`a = \log \pi(y_w) - \log \pi_{ref}(y_w)` and b, the same of the rejected outcome, the loss of a pair is
:math:`\ell(a - b)` or :math:`\ell(a, b)`. Its derivatives are differences of the formula of order eight.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.catalogue.batches import PAIRS
from pbde_ref.catalogue.ingredients import REFERENCE_FREE, referenced
from pbde_ref.catalogue.records import Arrays, Conventions, Loss, Margins, Outcome, Parameter
from pbde_ref.objectives import Objective
from pbde_ref.oracle.cases import reduced
from pbde_ref.validation import FloatArray, number

__all__ = ["OF_MARGINS", "OF_RATIOS", "OWN_NUMBER", "OwnLoss", "own_loss"]

OF_MARGINS, OF_RATIOS = "own objective of margins", "own objective of log-ratios"

# Nobody said where its range ends.
OWN_NUMBER = "number"

_SIDES = ("policy_chosen", "policy_rejected")


@dataclass(frozen=True)
class OwnParameter(Parameter):
    """A number of the formula."""

    def checked(self, name: str, value: Any) -> float:
        """The number, if it is one."""
        return number(name, value)


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnLoss(Loss):
    """A record whose derivatives are known only so far; `doubt` says how far, as an outcome."""

    doubt: Callable[[Arrays, Conventions], Outcome]


# Points on either side of a margin; derivatives are weighted sums of the values there, of both sides or of one.
_POINTS = np.arange(-8, 9)
_STEP = 2.0**-9


def _weights(points: Any) -> FloatArray:
    found = np.zeros(_POINTS.size)
    found[points] = np.linalg.solve(np.vander(_POINTS[points], increasing=True).T.astype(float), np.eye(9)[1])
    return found


_BOTH, _RIGHT, _LEFT = (_weights(points) for points in (slice(4, 13), slice(8, 17), slice(0, 9)))


def _slope(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The derivative, and how far the one from the left is from the one from the right.

    Examples
    --------
    >>> slope, doubt = _slope(lambda m: np.maximum(0.0, 1.0 - m), np.array([0.0, 1.0]))
    >>> slope.round(6), doubt.round(6)
    (array([-1. , -0.5]), array([0., 1.]))
    """
    found = []
    # Beside a kink both sides may agree by chance at one step, not at another as well.
    for step in (_STEP * np.maximum(1.0, np.abs(at)), _STEP / 7.3 * np.maximum(1.0, np.abs(at))):
        values = function(at[..., None] + step[..., None] * _POINTS)
        with np.errstate(all="ignore"):
            found += [values @ weights / step for weights in (_BOTH, _RIGHT, _LEFT)]
    with np.errstate(all="ignore"):
        doubt = np.ptp(found, axis=0)
    # Where the formula overflows nearby there is nothing to hold a gradient against.
    return np.nan_to_num(found[0], posinf=0.0, neginf=0.0), np.nan_to_num(doubt, nan=np.inf)


def own_loss(objective: Objective | Callable[..., Any], conventions: Mapping[str, Any]) -> OwnLoss:
    """The record of a formula.

    Parameters
    ----------
    objective : callable or Objective
        A function of an array of margins, or of two arrays of log-ratios, and of the numbers that it is declared with,
        elementwise; or an `Objective` of margins, whose derivative is then used.
    conventions : mapping
        What is declared; its names are not taken for margins or log-ratios.

    Raises
    ------
    TypeError, ValueError
        If it is not a function of one or two arrays, or returns anything but a number for each.

    Examples
    --------
    >>> exponential = own_loss(lambda margin, beta: np.exp(-beta * margin), {"beta": 0.3})
    >>> exponential.name, list(exponential.parameters)
    ('own objective of margins', ['beta', 'reference_free'])
    """
    if not callable(objective) and not isinstance(objective, Objective):
        raise TypeError(f"`objective` must be a function or an Objective; got {type(objective).__name__:.60}")
    function = objective.value if isinstance(objective, Objective) else objective
    taken = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    positional = [p.name for p in taken if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    arrays = [name for name in positional if name not in conventions]
    if len(arrays) not in (1, 2):
        got = ", ".join(arrays) or "none"
        raise TypeError(f"`objective` must take a margin, or two log-ratios, and what is declared; got {got}")
    numbers = {p.name: None if p.default is p.empty else p.default for p in taken if p.name not in arrays}
    parameters: dict[str, Parameter] = {}
    for name, default in numbers.items():
        near = conventions.get(name, default)
        parameters[name] = OwnParameter(OWN_NUMBER, default, generic=near, other=near, keywords=(name,), letter=name)

    def of_pairs(conventions: Conventions, *given: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            found = np.asarray(function(*given, **{name: conventions[name] for name in numbers}))
        if found.shape != given[0].shape or found.dtype.kind not in "fiu":
            got = f"{found.dtype} of shape {found.shape} for {given[0].shape}"
            raise TypeError(f"`objective` must return a number for each pair; got {got}")
        return found.astype(np.float64)

    def ratios(arrays: Arrays) -> tuple[FloatArray, FloatArray]:
        return (arrays["policy_chosen"] - arrays["reference_chosen"],
                arrays["policy_rejected"] - arrays["reference_rejected"])  # fmt: skip

    def slopes(given: tuple[FloatArray, FloatArray], c: Conventions) -> tuple[tuple[FloatArray, FloatArray], ...]:
        """By each side's log-ratio: the derivative, and its doubt."""
        a, b = given
        if isinstance(objective, Objective):
            slope, doubt = objective.derivative(a - b), np.zeros_like(a)
        elif len(arrays) == 1:
            slope, doubt = _slope(lambda m: of_pairs(c, m), a - b)
        else:
            return (_slope(lambda x: of_pairs(c, x, np.broadcast_to(b[..., None], x.shape)), a),
                    _slope(lambda x: of_pairs(c, np.broadcast_to(a[..., None], x.shape), x), b))  # fmt: skip
        return (slope, doubt), (-slope, doubt)

    def outcome(part: int) -> Callable[[Arrays, Conventions], Outcome]:
        def evaluate(arrays_: Arrays, c: Conventions) -> Outcome:
            given = ratios(arrays_)
            losses = of_pairs(c, *((given[0] - given[1],) if len(arrays) == 1 else given))
            each = {name: found[part] for name, found in zip(_SIDES, slopes(given, c), strict=True)}
            return reduced(losses if part == 0 else np.zeros_like(losses), each, c["reduction"])

        return evaluate

    def margins(arrays: Arrays, conventions: Conventions) -> Margins:
        a, b = ratios(arrays)
        return Margins(a - b, dict(zip(_SIDES, (1.0, -1.0), strict=True)))

    def of_margin(c: Conventions) -> Objective:
        return Objective(title, lambda m: of_pairs(c, m), lambda m: slopes((m, 0.0 * m), c)[0][0], np.zeros_like)

    named = objective.name if isinstance(objective, Objective) else getattr(objective, "__name__", "<lambda>")
    title = "objective" if named == "<lambda>" else named
    one = len(arrays) == 1
    record = OwnLoss(
        OF_MARGINS if one else OF_RATIOS, title, "", "pairwise", referenced, outcome(0), PAIRS,
        parameters | {"reference_free": REFERENCE_FREE}, margins=margins if one else None,
        objective=of_margin if one else None, doubt=outcome(1),
    )  # fmt: skip
    declared = {name: conventions.get(name, default) for name, default in numbers.items()}
    if None not in declared.values():
        # A formula that is none shows at once.
        checked = {name: parameters[name].checked(name, value) for name, value in declared.items()}
        record.evaluate(PAIRS["generic"], {**checked, "reduction": "none"})
    return record
