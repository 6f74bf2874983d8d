r"""One vector of utilities under a product proposal: its logistic sums over opponents, its entropy, its curvature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import same_support
from pbde_ref.exact.linear_time.panel_grid import Buffers, Points, buffers, chunks, lay_grid
from pbde_ref.exact.linear_time.panels import Field, bilinear, convolve, deposit
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, reject, same_size

__all__ = ["Curvature", "Population", "one_factor", "product_factors", "single_annotators", "weighted_sums"]

LARGEST = 1e300
Sums = Callable[[slice, Buffers], list[FloatArray]]


@dataclass(frozen=True, eq=False)
class Population:
    """One vector of utilities, and the mass of the two factors of a proposal there.

    Attributes
    ----------
    scores : ndarray, shape (n,)
        The utilities, infinite ones included.
    factors : tuple of ndarray
        What an outcome's sums are multiplied by in a gradient: ``(a, b)``, or ``(a,)`` if both factors of the proposal
        are the same, and then it counts twice.
    opponents : tuple of ndarray
        Whom it meets there: ``(a,)``, else ``(b, a)``.
    points : Points
        Infinite utilities are moved to where the first finite one is, and their weight is taken away.
    tables : list of ndarray
        The opponents' weights at the panels' nodes.
    """

    scores: FloatArray
    factors: tuple[FloatArray, ...]
    opponents: tuple[FloatArray, ...]
    points: Points
    tables: list[FloatArray]
    infinite: bool

    @classmethod
    def of(
        cls, scores: FloatArray, proposal: ProductProposal, name: str | None = None, *, refuse: bool = True
    ) -> Population:
        """Place the outcomes on a grid; `refuse` comparisons of equal infinities."""
        a, b = proposal.a, proposal.b
        factors: tuple[FloatArray, ...] = (a,) if a is b else (a, b)
        opponents: tuple[FloatArray, ...] = factors[::-1]
        bounds = float(scores.min()), float(scores.max())
        placed, weights, infinite = scores, opponents, False
        if not max(-bounds[0], bounds[1]) < LARGEST:
            name = name or "the annotator's utility"
            reject(name, "free of NaN", scores, np.isnan(scores))
            reject(name, "below 1e300 in size, or infinite", scores, (np.abs(scores) >= LARGEST) & np.isfinite(scores))
            if refuse:
                _refuse_infinite_pairs(scores, a, b, name)
            finite, infinite = np.isfinite(scores), True
            placed = np.where(finite, scores, scores[np.argmax(finite)] if finite.any() else 0.0)
            weights = tuple(np.where(finite, weight, 0.0) for weight in opponents)
            bounds = float(placed.min()), float(placed.max())
        points = Points(lay_grid(placed, bounds=bounds), placed)
        return cls(scores, factors, opponents, points, deposit(points, *weights), infinite)

    def sums(self, scale: float) -> Sums:
        """The sums over opponents, times `scale`, as a function of slices of the outcomes."""
        grid = self.points.grid
        fields = [Field.through(grid, convolve(grid, "sigmoid", scale * table)) for table in self.tables]
        # What lies at infinity is not on the grid.
        below = [scale * weight[np.isneginf(self.scores)].sum() if self.infinite else 0.0 for weight in self.opponents]

        def of(part: slice, out: Buffers) -> list[FloatArray]:
            index, offset = grid.locate(self.points.scores[part], out=out)
            results = [field(index, offset) for field in fields]
            if self.infinite:
                results = [
                    self._at_infinity(sums + lowest, self.scores[part], scale * weight[part], scale)
                    for sums, lowest, weight in zip(results, below, self.opponents, strict=True)
                ]
            return results

        return of

    @staticmethod
    def _at_infinity(sums: FloatArray, scores: FloatArray, weight: FloatArray, total: float) -> FloatArray:
        """An outcome at infinity meets itself with probability one half, and no other outcome there."""
        sums = np.where(np.isneginf(scores), 0.5 * weight, sums)
        return np.where(np.isposinf(scores), total - 0.5 * weight, sums)

    def entropy(self) -> float:
        """Expected entropy of this population's own answers."""
        result = bilinear(self.points.grid, "entropy", self.tables[-1], self.tables[0])
        if self.infinite:
            at = np.isinf(self.scores)
            result += math.log(2.0) * float((self.opponents[0][at] * self.opponents[-1][at]).sum())
        return result

    def center(self) -> float:
        """Mean of the finite utilities under a, to within a nat."""
        mass = self.tables[-1].sum(axis=1)
        total = float(mass.sum())
        return float(mass @ self.points.grid.nats) / total if total > 0.0 else 0.0

    def mean_deviation(self) -> float:
        """Upper bound on the weighted distance of the finite utilities from `center`, over both factors."""
        distance = np.abs(self.points.grid.nats - self.center()) + 1.0
        return sum(float(table.sum(axis=1) @ distance) for table in self.tables) * 2.0 / len(self.tables)


class Curvature:
    r"""The Hessian at given utilities, as a function of vectors; see `kernel_hessian_vector_product`.

    Attributes
    ----------
    degrees : ndarray, shape (n,)
        The Hessian's diagonal, plus what an outcome's comparisons with itself add.
    """

    def __init__(self, population: Population) -> None:
        self._points = population.points.keep()
        self._factors, self._weights = population.factors, population.opponents
        if population.infinite:
            finite = np.isfinite(population.scores)
            self._factors, self._weights = (
                tuple(np.where(finite, vector, 0.0) for vector in side) for side in (self._factors, self._weights)
            )
        self.degrees = np.zeros(population.scores.size)
        self._add_sums(self.degrees, population.tables, 1.0)

    def __call__(self, direction: FloatArray) -> FloatArray:
        """Hessian times `direction`."""
        # A constant is in the null space, but its rounding is not.
        direction = direction - direction.mean()
        tables = deposit(self._points, *(weight * direction for weight in self._weights))
        direction *= self.degrees
        self._add_sums(direction, tables, -1.0)
        return direction

    def _add_sums(self, result: FloatArray, tables: list[FloatArray], sign: float) -> None:
        grid, scale = self._points.grid, sign * (2.0 / len(self._factors))
        fields = [Field.through(grid, convolve(grid, "curvature", scale * table)) for table in tables]
        for part, index, offset in self._points:
            for factor, field in zip(self._factors, fields, strict=True):
                sums = field(index, offset)
                sums *= factor[part]
                result[part] += sums


def weighted_sums(populations: Sequence[tuple[float, Population]]) -> Iterator[tuple[slice, FloatArray]]:
    """What populations with the given weights contribute to a gradient, slice by slice."""
    factors = populations[0][1].factors
    # An outcome is met as A and as B; for equal factors both sums are the same.
    sums = [population.sums(weight * 2.0 / len(factors)) for weight, population in populations]
    size, out = factors[0].size, None
    for part in chunks(size):
        out = out or buffers(part.stop)
        totals = sums[0](part, out)
        for more in sums[1:]:
            for total, terms in zip(totals, more(part, out), strict=True):
                total += terms
        for total, factor in zip(totals, factors, strict=True):
            total *= factor[part]
        yield part, totals[0] if len(totals) == 1 else totals[0] + totals[1]


def single_annotators(annotator: PreferenceModel) -> Iterator[tuple[float, FloatArray]]:
    """Weight and utility of each single annotator."""
    if isinstance(annotator, Annotator):
        yield 1.0, annotator.utility
    elif isinstance(annotator, AnnotatorMixture):
        for weight, member in zip(annotator.weights, annotator.annotators, strict=True):
            for inner, chi in single_annotators(member) if weight > 0.0 else ():
                yield float(weight) * inner, chi
    else:
        raise ValueError(
            "`annotator` must be a single annotator or a mixture of them for linear-time sums (use method='dense'); "
            f"got {type(annotator).__name__:.60}"
        )


def product_factors(proposal: Proposal, size: int, support: Any = None) -> ProductProposal:
    """The proposal, with one and the same array for equal factors; `support` is the annotator's."""
    if not isinstance(proposal, ProductProposal):
        raise ValueError(
            f"`proposal` must be a product of two factors for linear-time sums (use method='dense'); "
            f"got {type(proposal).__name__:.60}"
        )
    same_size("proposal", proposal.a.size, size)
    same_support("proposal", proposal.support, "annotator", support)
    if proposal.a is not proposal.b and np.array_equal(proposal.a, proposal.b):
        return one_factor(proposal.a)
    return proposal


def one_factor(a: FloatArray) -> ProductProposal:
    """The proposal whose factors are both this very array, as it is."""
    result = object.__new__(ProductProposal)
    object.__setattr__(result, "a", a)
    object.__setattr__(result, "b", a)
    object.__setattr__(result, "support", None)
    return result


def _refuse_infinite_pairs(scores: FloatArray, a: FloatArray, b: FloatArray, name: str) -> None:
    """Raise if the proposal compares two outcomes at the same infinity."""
    for infinity in (-math.inf, math.inf):
        first, second = (np.flatnonzero((scores == infinity) & (side > 0.0)) for side in (a, b))
        different = [(i, j) for i in first[:2] for j in second[:2] if i != j]
        if different:
            i, j = different[0]
            raise ValueError(
                f"`{name}` must not be the same infinity at both outcomes of a pair that the proposal draws "
                f"(such a preference is 0/0); got {infinity} at indices {i} and {j}"
            )
