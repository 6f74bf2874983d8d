"""Examples that differ from the generic ones in one respect: an input far off, nearly 0 or 0, or equal to another.

A fixed batch moves all inputs of an example together, so that a function which is wrong where two of them are equal, or
where one alone is large, is right on it. Batches won or lost by far in the mean have ordinary examples too, whose loss
and gradient such a mean might switch off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from pbde_ref.oracle.cases import Case, exchanged_name, is_of_examples
from pbde_ref.oracle.tolerances import DTYPES

__all__ = ["Corner", "corners", "is_defined", "lopsided", "shared", "shifted", "stacked", "trial_values"]

# Powers of ten and whole numbers are what a rounded or clipped input would still agree at.
FAR, NEAR = 1000.37, 1.37e-9

# In nats, times FAR; enough to leave every clip behind.
LOWER = 0.13737

# In nats: two log-ratios on either side of what a formula distinguishes, at a loss that is neither 0 nor beyond all.
APART = 31.37

OFF_THE_GRID = 1.0373
# Smaller, larger; and beyond what clips a product of two, where exponentials are far from overflow.
SMALLER, LARGER, FARTHEST = 1.0 / 137.1, 5.29, 137.3


class Corner(NamedTuple):
    """One example, and what is special about it."""

    says: str
    case: Case


Edit = Callable[[Case], Case]


def corners(case: Case, far: float = FAR) -> Iterator[Corner]:
    """One example for each input and pair of inputs; those that the definition has no finite loss for are left out.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> reward = loss_named("reward")
    >>> case = Case(reward, reward.batches["generic"], {"margin": 0.0, "reduction": "mean"})
    >>> [corner.says for corner in corners(case)][-1]
    'where chosen_rewards and rejected_rewards are equal'
    """
    yield from _barely_lost(case, far)
    marks = [i.name for i in case.inputs if case.arrays[i.name].dtype.kind == "b"]
    for place, (says, edit) in enumerate(_edits(case, far)):
        single = edit(case.take([place % case.size]))
        # What is desirable, or a tie, has a formula of its own.
        other = single.with_arrays(**{name: ~single.arrays[name] for name in marks})
        for one, mark in ((single, ""), *([(other, f", {' and '.join(marks)} the other way")] if marks else [])):
            if is_defined(one):
                yield Corner(f"where {says}{mark}", one)
    yield from _beside_kinks(case)


# A loss that is small beside all others, and that a sum of rounded numbers near 1 still has: the bounds, and how many
# places between an example's own and the far one it is looked for at.
SMALL, PLACES = (1e-9, 3e-8), 256


def _barely_lost(case: Case, far: float) -> Iterator[Corner]:
    """Examples that are won by far, but not so far that their loss could not be seen alone."""
    factors = np.geomspace(1.0, far, PLACES)
    for place, name in enumerate(i.name for i in case.inputs if i.differentiated and is_of_examples(i.name)):
        single = case.take([place % case.size])
        if single.arrays[name].ndim > 1:
            continue
        many = single.take([0] * PLACES).with_conventions(reduction="none")
        with np.errstate(all="ignore"):
            losses = many.with_arrays(**{name: many.arrays[name] * factors}).expected().value
        seen = np.flatnonzero((losses > SMALL[0]) & (losses < SMALL[1])) if losses.shape == (PLACES,) else np.empty(0)
        if seen.size:
            says = f"where {name} leaves a loss of {losses[int(seen[-1])]:.0e}"
            yield Corner(says, _scaled(name, factors[int(seen[-1])])(single))


# How far an input is moved to find a kink, in how many steps, and how near to it examples then are.
KINKS_WITHIN, STEPS, BESIDE = 16.0, 49, 1e-6


def _beside_kinks(case: Case) -> Iterator[Corner]:
    """Examples just before and just behind the point where a derivative of the loss jumps."""
    for place, name in enumerate(i.name for i in case.inputs if i.differentiated and is_of_examples(i.name)):
        single = case.take([place % case.size])
        own = float(single.arrays[name].flat[0])
        for number, (low, high) in enumerate(_jumps(single, name, own), 1):
            for side, value in (("below", low - BESIDE), ("above", high + BESIDE)):
                says = f"where {name} is just {side} kink {number} of the loss"
                yield Corner(says, _scaled(name, value / own)(single))


def _jumps(single: Case, name: str, own: float) -> Iterator[tuple[float, float]]:
    """Neighbouring values of an input between which the derivative with respect to it jumps."""

    def slope(value: float) -> float:
        return float(_scaled(name, value / own)(single).expected().gradients[name].flat[0])

    # A log-probability stays one.
    grid = [x for x in own + KINKS_WITHIN * np.linspace(-1.0, 1.0, STEPS) if own > 0.0 or x < 0.0]
    jumps = np.abs(np.diff([slope(x) for x in grid]))
    for i in range(1, len(jumps) - 1):
        if jumps[i] > 1e-6 + 3.0 * max(jumps[i - 1], jumps[i + 1]):
            low, high = grid[i], grid[i + 1]
            for _ in range(40):
                middle = (low + high) / 2.0
                before = abs(slope(middle) - slope(low)) > abs(slope(high) - slope(middle))
                low, high = (low, middle) if before else (middle, high)
            yield low, high


def _edits(case: Case, far: float) -> Iterator[tuple[str, Edit]]:
    own = [i.name for i in case.inputs if is_of_examples(i.name)]
    moved = [i.name for i in case.inputs if i.name in own and i.role != "constant"]
    # Where an input may not be so, the loss says it: a share of 1000, a positive number that is 0, a length of none.
    for says, factor in (("far from the other inputs", far), ("far on the other side of 0", -far), ("nearly 0", NEAR),
                         ("0", 0.0)):  # fmt: skip
        for name in own:
            # A length is a whole number, and a mark is not a number at all.
            if case.arrays[name].dtype.kind != "b":
                yield f"{name} is {says}", _scaled(name, factor)
    for name in own:
        if name not in moved:
            yield f"{name} is 1", _one(name)
    for one, other in combinations(moved, 2):
        yield f"{one} and {other} are both lower by {APART}", _both_lower(one, other)
    for one, other in combinations(own, 2):
        alike = case.arrays[one].shape == case.arrays[other].shape
        if alike and ({one, other} <= set(moved) or exchanged_name(one) == other):
            yield f"{one} and {other} are equal", _equal(one, other)
    for name in moved:
        if case.arrays[name].ndim > 1:
            yield f"two of {name} are equal", _first_two_equal(name)


def _scaled(name: str, factor: float) -> Edit:
    def edit(single: Case) -> Case:
        values = single.arrays[name].copy()
        # Of several candidates only one.
        place = (0,) * values.ndim
        values[place] = values[place] * factor
        return single.with_arrays(**{name: values})

    return edit


def _both_lower(one: str, other: str) -> Edit:
    return lambda single: single.with_arrays(**{name: single.arrays[name] - APART for name in (one, other)})


def _one(name: str) -> Edit:
    def edit(single: Case) -> Case:
        values = single.arrays[name].copy()
        # Of several candidates only one: which of equal ones is the best, a definition need not say.
        values[(0,) * values.ndim] = 1
        return single.with_arrays(**{name: values})

    return edit


def _equal(one: str, other: str) -> Edit:
    return lambda single: single.with_arrays(**{other: single.arrays[one]})


def _first_two_equal(name: str) -> Edit:
    def edit(single: Case) -> Case:
        values = single.arrays[name].copy()
        values[:, 1] = values[:, 0]
        return single.with_arrays(**{name: values})

    return edit


def is_defined(single: Case, dtype: str = "float64") -> bool:
    """Whether the definition has a finite loss, with finite gradients, by way of numbers that the precision has."""
    if not single.within(DTYPES[dtype].largest).all():
        return False
    try:
        with np.errstate(all="ignore"):
            value, gradients = single.expected()
    except (ValueError, ArithmeticError):
        return False
    return all(np.isfinite(numbers).all() for numbers in (value, *gradients.values()))


def stacked(corners: list[Corner], size: int) -> Iterator[Case]:
    """All of them in batches of that size; what is left of the last one is filled with the first ones."""
    cases = [corner.case for corner in corners]
    for start in range(0, len(cases), size):
        rows = (cases[start : start + size] + cases * size)[:size]
        # Arrays that these conventions have no use for stay beside them, in the same number of examples.
        names = [name for name in rows[0].arrays if is_of_examples(name)]
        yield rows[0].with_arrays(**{n: np.concatenate([row.arrays[n] for row in rows]) for n in names})


def shared(case: Case, far: float = FAR) -> Iterator[Corner]:
    """Batches in which what all examples share, such as the weights of a mixture, is far off, either way, or level."""
    for name in (i.name for i in case.inputs if i.differentiated and not is_of_examples(i.name)):
        for says, factor in (("far from 0", far), ("far on the other side of 0", -far), ("0", 0.0)):
            moved = case.with_arrays(**{name: case.arrays[name] * factor})
            if is_defined(moved):
                yield Corner(f"where {name} is {says}", moved)


def shifted(case: Case, far: float = FAR) -> Iterator[Corner]:
    """Batches in which all inputs of a kind are far lower, or higher, everywhere; margins stay ordinary."""
    yield from shared(case, far)
    kinds: dict[str, list[str]] = {}
    for given in case.inputs:
        if given.floating and is_of_examples(given.name):
            kind = given.name.partition("_")[0] if given.role == "constant" else given.role
            kinds.setdefault(kind, []).append(given.name)
    for kind, names in kinds.items():
        for says, sign in (("lower", -1.0), ("higher", 1.0)):
            moved = case.with_arrays(**{name: case.arrays[name] + sign * LOWER * far for name in names})
            if is_defined(moved):
                yield Corner(f"where every {kind} is far {says}", moved)


def lopsided(generic: Case, extreme: Case) -> Iterator[Corner]:
    """Batches of ordinary examples, beside which all others have a very small loss, or a very large one."""
    losses = extreme.with_conventions(reduction="none").expected().value
    if losses.shape != (extreme.size,):
        return
    order, ordinary = np.argsort(losses), list(range(generic.size // 2))
    for says, rows in (("won", order[: extreme.size // 2]), ("lost", order[-(extreme.size // 2) :])):
        alone = [generic.take([i]) for i in ordinary] + [extreme.take([int(i)]) for i in rows]
        batch = next(stacked([Corner(says, case) for case in alone], generic.size))
        yield Corner(f"where all but a few examples are {says} by far", batch)


def trial_values(
    value: float, allowed: Callable[[float], float], *, near: bool = False, dtype: str = "float64"
) -> list[float]:
    """Values at which a hyperparameter is tried: near the given one but off every decimal grid, smaller, larger, far.

    Those that are not allowed are left out, the small and the far one in other precisions than double, and in half
    precision all but the first, for what is subtracted there may round to more than what is left; so are they with
    `near`, where nobody said what is allowed.

    Examples
    --------
    >>> [round(tried, 5) for tried in trial_values(0.5, lambda epsilon: 1 / (epsilon < 1.0))]
    [0.51865, 0.00365]
    """
    found = []
    further = {"float64": (SMALLER, LARGER, FARTHEST), "float32": (LARGER,)}.get(dtype, ())
    for factor in (OFF_THE_GRID, *(() if near else further)):
        try:
            allowed(value * factor)
        except (ValueError, ArithmeticError):
            continue
        found.append(value * factor)
    return found
