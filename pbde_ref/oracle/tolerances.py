"""How far a result may be from the exact one, and where it is too far.

A relative error that depends on the precision, plus what moving the function's own inputs and hyperparameters by a few
units in the last place can do to an exactly computed result. The second part is what keeps a gap of two numbers near
-10,000 from being held against the function that subtracts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue.records import Outcome
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.own import OwnLoss
from pbde_ref.oracle.sequences import sequence_mask
from pbde_ref.validation import FloatArray

__all__ = [
    "DTYPES", "Difference", "Tolerance", "agrees", "allowance", "condition_numbers", "difference", "is_right",
    "reward_allowance", "rounded",
]  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """A precision: its relative and absolute tolerance, and how far inputs may be moved, a few last places.

    The absolute one is for results near zero, such as the loss of a pair that is won by far. `unit` is half the spacing
    of the numbers between 1 and 2, what one rounding may change; `largest` is where the numbers end.
    """

    relative: float
    absolute: float
    perturbation: float
    unit: float
    largest: float


# The relative ones are those that `torch.testing.assert_close` has for these types, but for float16: its 1e-3 is two
# roundings u = 2^-11, and a loss by a right formula takes four (exponential, logarithm, two products). Its absolute one
# is u: sigma(m) - 1, a right formula for the gradient, is off by a rounding of a number near 1.
#
# The absolute one of float32 is above what right code needs. With u = 2^-24, a token's log-probability near zero,
# formed as (z - max) - log(sum exp(z - max)), is off by a rounding or two of a sum near 1, at most 2u = 1.2e-7,
# whatever the size of the logits z: 8e-7 for the seven tokens of a fixed sequence. What z - logsumexp(z) needs beyond
# that is `_rounded_normalizers`.
DTYPES = {
    "float64": Tolerance(1e-7, 1e-10, 1e-14, 2.0**-53, float(np.finfo(np.float64).max)),
    "float32": Tolerance(1.3e-6, 1e-6, 4 * 2.0**-24, 2.0**-24, float(np.finfo(np.float32).max)),
    "bfloat16": Tolerance(1.6e-2, 2e-3, 4 * 2.0**-9, 2.0**-8, float(np.finfo(np.float32).max)),
    "float16": Tolerance(4 * 2.0**-11, 2.0**-11, 4 * 2.0**-11, 2.0**-11, float(np.finfo(np.float16).max)),
}


def rounded(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The nearest numbers that `dtype` has, as float64.

    Examples
    --------
    >>> rounded(np.array([0.1]), "float32"), rounded(np.array([0.1, -3.0]), "bfloat16")
    (array([0.1]), array([ 0.10009766, -3.        ]))
    """
    if dtype in ("float64", "float16"):
        return np.array(values, dtype=dtype).astype(np.float64)
    single = np.array(values, dtype=np.float32)
    if dtype == "bfloat16":
        # The upper half of a float32; adding just below half of the lower one, or half if the upper is odd, rounds it.
        bits = single.view(np.uint32)
        bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        single = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return single.astype(np.float64)


def least_allowance(case: Case, dtype: str) -> Outcome:
    """What is allowed whatever the inputs' rounding does: so many digits of what is right."""
    tolerance, right = DTYPES[dtype], case.expected()
    gradients = {n: tolerance.relative * np.abs(g) + tolerance.absolute for n, g in right.gradients.items()}
    return Outcome(tolerance.relative * np.abs(right.value) + tolerance.absolute, gradients)


class _Equal:
    """A case that is equal to another one of the same definition, conventions and bytes."""

    def __init__(self, case: Case) -> None:
        arrays = ((name, a.dtype.str, a.shape, a.tobytes()) for name, a in case.arrays.items())
        conventions = ((name, type(value), repr(value)) for name, value in case.conventions.items())
        self.case, self.key = case, (id(case.definition), *conventions, *arrays)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Equal) and self.key == other.key


@lru_cache(maxsize=1024)
def _first_equal(equal: _Equal) -> Case:
    return equal.case


def _shared(case: Case) -> Case:
    """The first case that is equal; a formula of the caller's own may give another number each time."""
    plain = all(isinstance(value, (str, float, int, type(None))) for value in case.conventions.values())
    return _first_equal(_Equal(case)) if plain and not isinstance(case.definition, OwnLoss) else case


def allowance(case: Case, dtype: str) -> Outcome:
    """How far the value and each gradient may be from what is right, entry by entry."""
    return _allowance(_shared(case), dtype)


# Reports ask for the same few cases again and again, and each of their numbers is moved for an answer.
@lru_cache(maxsize=1024)
def _allowance(case: Case, dtype: str) -> Outcome:
    tolerance, expected, least = DTYPES[dtype], case.expected(), least_allowance(case, dtype)
    value = np.maximum(least.value, tolerance.relative * _mean_size(case, expected) + tolerance.absolute)
    gradients: Mapping[str, FloatArray] = least.gradients
    if case.definition.family == "mixture":
        # Responsibilities are exponentials of differences from the loss itself, which rounds as its size does.
        each = float(np.max(np.abs(case.with_conventions(reduction="none").expected().value)))
        gradients = {n: g + tolerance.perturbation * each * np.abs(expected.gradients[n]) for n, g in gradients.items()}
    parts = [_moved(case, tolerance.perturbation)]
    if case.definition.family == "sequence":
        parts.append(_rounded_normalizers(case, tolerance.unit))
    if isinstance(case.definition, OwnLoss):
        parts.append(case.definition.doubt(case.arrays, case.conventions))
    for part in parts:
        value = value + part.value
        gradients = {n: g + part.gradients[n] for n, g in gradients.items()}
    # What is beyond the last number of the precision has no neighbour there; nor has what is no number, as the caller's
    # own formula may give.
    return Outcome(
        np.where(np.abs(expected.value) <= tolerance.largest, value, np.inf),
        {n: np.where(np.abs(expected.gradients[n]) <= tolerance.largest, g, np.inf) for n, g in gradients.items()},
    )


def reward_allowance(case: Case, dtype: str) -> tuple[FloatArray, FloatArray]:
    """How far the chosen and the rejected rewards may be from `Case.rewards`."""
    tolerance, (chosen, rejected) = DTYPES[dtype], case.rewards()
    allowed = [tolerance.relative * np.abs(r) + tolerance.absolute for r in (chosen, rejected)]
    for neighbour in _neighbours(case, tolerance.perturbation):
        allowed = [a + np.abs(m - r) for a, m, r in zip(allowed, neighbour.rewards(), (chosen, rejected), strict=True)]
    return allowed[0], allowed[1]


def condition_numbers(case: Case, name: str, dtype: str) -> FloatArray:
    """How much relative errors of inputs and hyperparameters are magnified in the value ("") or a gradient.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> rewards = Case(loss_named("reward"), {"chosen_rewards": np.array([-1000.5]),
    ...     "rejected_rewards": np.array([-1000.0])}, {"margin": 0.0, "reduction": "mean"})
    >>> float(condition_numbers(rewards, "", "float64").round(-2))  # their difference is half
    1300.0
    """
    right, step = case.expected(), DTYPES[dtype].perturbation
    moved = _moved(case, step)
    size, change = (right.gradients[name], moved.gradients[name]) if name else (right.value, moved.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Each number is moved up and down.
        return change / (2.0 * step * np.abs(size))


@lru_cache(maxsize=256)
def _moved(case: Case, step: float) -> Outcome:
    """What moving the function's numbers by a few last places changes, added up over them."""
    expected = case.expected()
    value = np.zeros_like(expected.value)
    gradients = {n: np.zeros_like(g) for n, g in expected.gradients.items()}
    for neighbour in _neighbours(case, step):
        try:
            moved = neighbour.expected()
        except ValueError:
            # A share of 1 has a neighbour below only.
            continue
        with np.errstate(invalid="ignore"):
            value = value + np.abs(moved.value - expected.value)
            gradients = {n: g + np.abs(moved.gradients[n] - expected.gradients[n]) for n, g in gradients.items()}
    return Outcome(value, gradients)


def _rounded_normalizers(case: Case, unit: float) -> Outcome:
    r"""What it does to :math:`z_y - \log\sum_j \exp z_j` that the sum's logarithm is rounded to its own size.

    One rounding, at most `unit` times its size, at each token that counts: in the log-probability as it is, in each
    gradient, :math:`1[j = y] - \exp(z_j - \log\sum_k \exp z_k)`, times that probability. The log-probability itself
    hardly moves with its logits near 0, so that the inputs' rounding does not cover it.
    """
    temperature, mask = case.conventions["temperature"], sequence_mask(case.arrays)
    logits = case.arrays["logits"] / temperature
    counted, z = (mask[:, 1:], logits[:, :-1]) if case.conventions["shift"] else (mask, logits)
    z = np.where(counted[..., None], z, 0.0)
    normalizers = np.logaddexp.reduce(z, axis=-1)
    rounding = unit * np.abs(normalizers) * counted
    slopes = np.where(counted, 1.0 / temperature, 0.0)
    if case.conventions["average"]:
        counts = np.maximum(counted.sum(axis=1, keepdims=True), 1)
        rounding, slopes = rounding / counts, slopes / counts
    gradient = np.zeros_like(logits)
    probabilities = np.exp(z - normalizers[..., None])
    moved = probabilities * np.expm1(np.minimum(unit * np.abs(normalizers), 700.0))[..., None]
    gradient[:, : z.shape[1]] = slopes[..., None] * moved
    return Outcome(rounding.sum(axis=1), {"logits": gradient})


def _mean_size(case: Case, expected: Outcome) -> float:
    """What a sum over the batch is made of: terms of both signs lose digits to each other."""
    if np.ndim(expected.value) == 1 or "reduction" not in case.conventions:
        return 0.0
    each = case.with_conventions(reduction="none").expected().value if not case.conventions.get("lambda_") else 0.0
    total = float(np.sum(np.abs(each)))
    return total / case.size if case.conventions["reduction"] == "mean" else total


def _neighbours(case: Case, step: float) -> list[Case]:
    """The case with each of its numbers moved by a few units in the last place."""
    found = []
    for given in case.inputs:
        if given.floating:
            # The signs alternate so that what all entries of an input share does not hide how they differ.
            signs = np.where(np.indices(case.arrays[given.name].shape).sum(axis=0) % 2, -1.0, 1.0)
            found += [case.with_arrays(**{given.name: case.arrays[given.name] * (1.0 + s * step * signs)})
                      for s in (1.0, -1.0)]  # fmt: skip
    for name, value in case.conventions.items():
        if isinstance(value, float) and value != 0.0:
            found += [case.with_conventions(**{name: value * (1.0 + s * step)}) for s in (1.0, -1.0)]
    return found


@dataclass(frozen=True)
class Difference:
    """The entry that is furthest from what is right, compared with what is allowed there."""

    index: tuple[int, ...]
    computed: float
    expected: float
    allowed: float
    excess: float
    wrong: int
    entries: int


def difference(computed: FloatArray, expected: FloatArray, allowed: FloatArray) -> Difference | None:
    """Where two arrays of one shape differ by more than allowed; None if they do not.

    Examples
    --------
    >>> found = difference(np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([0.1, 0.1]))
    >>> found.index, found.computed, found.wrong
    ((1,), 2.5, 1)
    """
    computed, expected, allowed = np.broadcast_arrays(computed, expected, allowed)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        excess = np.abs(computed - expected) / np.where(np.isnan(allowed), 0.0, allowed)
    same = (computed == expected) | (np.isnan(computed) & np.isnan(expected)) | np.isposinf(allowed)
    excess = np.where(same, 0.0, np.where(np.isnan(excess), np.inf, excess))
    if excess.size == 0 or excess.max() <= 1.0:
        return None
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
    return Difference(
        place, float(computed[place]), float(expected[place]), float(allowed[place]), float(excess[place]),
        int(np.count_nonzero(excess > 1.0)), excess.size,
    )  # fmt: skip


def agrees(computed: Outcome, expected: Outcome, allowed: Outcome, gradients: Iterable[str] | None) -> bool:
    """Whether the value, and each of the named gradients that both have, are within what is allowed."""
    if computed.value.shape != expected.value.shape or difference(computed.value, expected.value, allowed.value):
        return False
    return not any(
        difference(computed.gradients[n], expected.gradients[n], allowed.gradients[n])
        for n in gradients or ()
        if n in computed.gradients and n in expected.gradients and n in allowed.gradients
    )


def is_right(case: Case, computed: Outcome, dtype: str) -> bool:
    """Whether the value and all gradients that came are what they should be."""
    right = case.expected()
    return agrees(computed, right, allowance(case, dtype), computed.gradients)
