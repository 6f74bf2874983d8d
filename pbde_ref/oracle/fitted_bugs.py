"""Bugs with an unknown number in them, which is found from what the function returned.

Each yields candidates: what the number would be, and the formula with it. One number always fits one other, so that a
diagnosis believes a candidate only if other batches, or the gradients, confirm it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle.cases import Case

__all__ = ["Fit", "another_value", "constant_factor", "extra_likelihood", "nan_gradient", "solutions", "temperature"]

Formula = Callable[[Case, str], "Outcome | None"]
Fit = Callable[[Case, Outcome], Iterator[tuple[str, Formula]]]

# What a number must differ by, in relative terms, from what it should be: less comes of digits that were lost.
APART = 1e-5
_POSITIVE = np.geomspace(1e-4, 1e4, 33)


def constant_factor(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
    """Value and gradients, or the gradients alone, are multiplied by a number."""
    right = case.expected()
    factor = _ratio(computed.value, right.value)
    if factor is not None and _apart(factor, 1.0):
        yield f"everything times {_fraction(factor)}", _scaled(factor, factor)
    for name in right.gradients:
        factor = _ratio(computed.gradients[name], right.gradients[name]) if name in computed.gradients else None
        if factor is not None and _apart(factor, 1.0):
            yield f"the gradient alone times {_fraction(factor)}", _scaled(1.0, factor)
            return


def _scaled(of_value: float, of_gradients: float) -> Formula:
    def formula(case: Case, dtype: str) -> Outcome:
        value, gradients = case.expected()
        return Outcome(of_value * value, {name: of_gradients * gradient for name, gradient in gradients.items()})

    return formula


def _ratio(computed: Any, right: Any) -> float | None:
    """Computed over right where that is largest; None if it says nothing."""
    computed, right = np.ravel(computed), np.ravel(right)
    if computed.shape != right.shape or not right.size:
        return None
    place = int(np.argmax(np.abs(right)))
    factor = float(computed[place] / right[place]) if right[place] else 0.0
    return factor if np.isfinite(factor) and factor != 0.0 else None


def _apart(value: float, declared: float) -> bool:
    return abs(value - declared) > APART * (abs(declared) or 1.0)


def _fraction(factor: float) -> str:
    whole = round(1.0 / factor)
    return f"1/{whole}" if whole > 1 and abs(whole * factor - 1.0) < 1e-6 else f"{factor:.8g}"


def another_value(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
    """A hyperparameter is not what was declared."""
    for name in case.definition.parameters:
        declared = case.conventions[name]
        if not isinstance(declared, float):
            continue
        grid = np.linspace(0.0, 0.49, 15) if name == "label_smoothing" else np.array([0.0, *_POSITIVE])

        def at(value: float, case: Case = case, name: str = name) -> Outcome:
            return case.with_conventions(**{name: value}).expected()

        for value in filter(partial(_apart, declared=declared), solutions(at, computed, case.expected(), grid)):
            yield f"{name}={value:.6g} instead of {declared:g}", _bound(name, value)


def _bound(name: str, value: float) -> Formula:
    return lambda case, dtype: case.with_conventions(**{name: value}).expected()


def temperature(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
    """The policy's log-probabilities are divided by a number, the reference's are not."""
    found = solutions(lambda t: _cooled(case, t), computed, case.expected(), _POSITIVE)
    for value in filter(partial(_apart, declared=1.0), found):
        yield f"the policy's log-probabilities over {value:.6g}", _at_temperature(value)


def _at_temperature(value: float) -> Formula:
    return lambda case, dtype: _cooled(case, value)


def _cooled(case: Case, value: float) -> Outcome:
    names = ("policy_chosen", "policy_rejected")
    loss, gradients = case.with_arrays(**{n: case.arrays[n] / value for n in names}).expected()
    return Outcome(loss, {n: g / value if n in names else g for n, g in gradients.items()})


def extra_likelihood(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
    """The chosen outcome's log-likelihood is added, of the sequence or per token; the loss may have a weight too."""
    right = case.expected()
    for per_token in (False, True) if "chosen_lengths" in [i.name for i in case.inputs] else (False,):
        term = _likelihood(case, per_token)
        weight = _ratio(computed.value - right.value, term.value)
        if weight is not None and _apart(weight, 0.0):
            yield f"{_added(per_token)} with weight {weight:.6g}", _with_likelihood(1.0, weight, per_token)
        factor = _ratio(computed.value - term.value, right.value)
        if factor is not None and _apart(factor, 1.0):
            yield f"{factor:.6g} times the loss, {_added(per_token)} with weight 1", _with_likelihood(
                factor, 1.0, per_token
            )


def _added(per_token: bool) -> str:
    return "the chosen outcome's negative log-likelihood" + (" per token" if per_token else "")


def _likelihood(case: Case, per_token: bool) -> Outcome:
    slope = -1.0 / case.arrays["chosen_lengths"] if per_token else -np.ones(case.size)
    losses = slope * case.arrays["policy_chosen"]
    reduction = case.conventions["reduction"]
    count = case.size if reduction == "mean" else 1
    return Outcome(losses if reduction == "none" else losses.sum() / count, {"policy_chosen": slope / count})


def _with_likelihood(factor: float, weight: float, per_token: bool) -> Formula:
    def formula(case: Case, dtype: str) -> Outcome:
        value, gradients = case.expected()
        term = _likelihood(case, per_token)
        scaled = {name: factor * gradient for name, gradient in gradients.items()}
        scaled["policy_chosen"] = scaled["policy_chosen"] + weight * term.gradients["policy_chosen"]
        return Outcome(factor * value + weight * term.value, scaled)

    return formula


def nan_gradient(case: Case, computed: Outcome) -> Iterator[tuple[str, Formula]]:
    """Gradients are NaN where they should be numbers; what the function gave shows where."""
    value, gradients = case.expected()
    broken = {
        n: np.where(np.isnan(computed.gradients[n]), np.nan, g) for n, g in gradients.items() if n in computed.gradients
    }
    count = sum(int(np.isnan(g).sum()) for g in broken.values())
    if count:
        yield f"{count} of its entries", lambda other, dtype: Outcome(value, broken) if other is case else None


def solutions(at: Callable[[float], Outcome], computed: Outcome, right: Outcome, grid: Any) -> list[float]:
    """Where a formula with an unknown number gives the entry of the value that is furthest from what is right."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import brentq

    if computed.value.shape != right.value.shape or not np.all(np.isfinite(computed.value)):
        return []
    place = np.unravel_index(int(np.argmax(np.abs(computed.value - right.value))), computed.value.shape)

    def gap(number: float) -> float:
        try:
            return float(at(number).value[place] - computed.value[place])
        except (ValueError, ArithmeticError):
            # Not every number is in the range of every hyperparameter.
            return np.nan

    gaps = np.array([gap(float(number)) for number in grid])
    found = [float(number) for number, g in zip(grid, gaps, strict=True) if g == 0.0]
    for i in np.flatnonzero(gaps[:-1] * gaps[1:] < 0.0):
        found.append(float(brentq(gap, grid[i], grid[i + 1], xtol=1e-15)))
    return found
