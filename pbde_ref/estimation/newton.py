r"""Newton's method for the likelihood of comparisons, each step solved by conjugate gradients.

The negative log-likelihood and the negative log-priors are sums of functions whose third derivative is at most the
second times the difference of two utilities. Along a step s with :math:`R = \max s - \min s` (with 0 among the
entries, if there is a prior) their sum :math:`\phi(t)` therefore obeys :math:`|\phi'''| \le R\, \phi''` (Bach 2010),
and the slope alone is a safe guide: the step is shortened until :math:`\phi'(t) \le 0` or :math:`t R \le 1`. Either
lowers :math:`\phi` by at least a fixed share of :math:`|\phi'(0)| / \max(1, R)`, without a logarithm ever being taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import diags_array
from scipy.sparse.linalg import splu

from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.tallies import Curvature, Tally
from pbde_ref.exact.laplacian import (
    effective_resistances,
    eliminate,
    pseudo_inverse,
    solve_laplacian,
    with_ground,
)
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["DENSE_LIMIT", "SMALL", "Information", "Maximum", "maximize", "newton", "spread"]

# Below so many items a factorisation is as fast as anything.
SMALL = 256
# Conjugate gradients need more steps than this only on graphs that fall apart easily: those have cheap factorisations.
PATIENCE = 200
# Up to so many items a dense factorisation takes seconds at most.
DENSE_LIMIT = 4096
# Pairs per item up to which a graph that defeats conjugate gradients is factorised sparsely.
SPARSE_LIMIT = 4
# A Newton step further than this is one along which the likelihood is flat to working precision.
LARGEST_STEP = 1e5
# Nats that a step may still change differences of utilities by when they count as found.
CLOSE = 1e-6
PERSISTENCE = 5


@dataclass(frozen=True, eq=False)
class Maximum:
    """Where Newton's method stopped."""

    utilities: FloatArray
    criterion: float
    remaining: float
    converged: bool
    steps: int
    information: Any


@dataclass(frozen=True, eq=False)
class Information:
    """Second derivative of the negative log-likelihood and log-prior, and its inverse on what they determine.

    `components` is None where a prior determines everything.
    """

    curvature: Curvature
    prior: FloatArray | float
    components: IndexArray | None
    n_pairs: int

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal, positive even where curvatures have underflowed."""
        diagonal = self.curvature.degree + self.prior
        return np.maximum(diagonal, 1e-300 + 1e-15 * diagonal.max())

    def multiply(self, values: FloatArray) -> FloatArray:
        """Product with a vector."""
        return np.asarray((self.curvature.degree + self.prior) * values - self.curvature.neighbours(values))

    def centred(self, values: FloatArray) -> FloatArray:
        """Without the constants that the comparisons leave open, one per component."""
        if self.components is None:
            return values
        size = np.bincount(self.components)
        return values - (np.bincount(self.components, values) / size)[self.components]

    def solve(self, right: FloatArray, tolerance: float) -> FloatArray:
        """Pseudo-inverse times a vector that the matrix can produce; `tolerance` is relative to its length."""
        if right.size > SMALL:
            found = self._conjugate_gradients(right, tolerance)
            if found is not None:
                return self.centred(found)
            if self.n_pairs <= SPARSE_LIMIT * right.size:
                return self.centred(self._sparse_factor().solve(right))
        if right.size <= DENSE_LIMIT:
            network, components = self._network()
            if self.components is not None:
                return solve_laplacian(network, right, components)
            found = solve_laplacian(network, np.append(right, -right.sum()), components)
            return np.asarray(found[:-1] - found[-1])
        found = self._conjugate_gradients(right, tolerance, patience=20 * PATIENCE, best=True)
        return self.centred(np.zeros_like(right) if found is None else found)

    def covariance(self) -> FloatArray:
        """Pseudo-inverse, shape (n, n), of utilities that are centred in each component; the inverse with a prior."""
        network, components = self._network()
        if self.components is not None:
            return pseudo_inverse(network, components)
        root = eliminate(network).root()
        return np.asarray(root @ root.T)[:-1, :-1]

    def variances(self, a: IndexArray, b: IndexArray) -> FloatArray:
        """Variances of differences of utilities, infinite between components, shape (m,)."""
        return effective_resistances(self._network()[0], a, b)

    def _network(self) -> tuple[FloatArray, IndexArray]:
        """Conductances and components; a prior joins each item to the ground, which comes last."""
        conductances = self.curvature.dense()
        if self.components is not None:
            return conductances, self.components
        size = self.curvature.degree.size
        return with_ground(conductances, self.prior * np.ones(size)), np.zeros(size + 1, dtype=np.intp)

    def _sparse_factor(self):  # type: ignore[no-untyped-def]
        # The diagonal grows by less than rounding allows anyway, which makes the matrix invertible.
        diagonal = self.diagonal * (1.0 + 1e-13)
        matrix = diags_array(diagonal) - self.curvature.sparse()
        return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def _conjugate_gradients(
        self, right: FloatArray, tolerance: float, patience: int = PATIENCE, best: bool = False
    ) -> FloatArray | None:
        """Preconditioned by the diagonal; None, or the best there is, where patience ran out."""
        scale = 1.0 / self.diagonal
        result, residual = np.zeros_like(right), right.copy()
        direction = scale * residual
        square = float((residual * direction).sum())
        goal = tolerance**2 * square
        for _ in range(patience):
            if square <= goal:
                return result
            product = self.multiply(direction)
            bend = float((direction * product).sum())
            if not bend > 0.0:
                break
            length = square / bend
            result += length * direction
            residual -= length * product
            preconditioned = scale * residual
            previous, square = square, float((residual * preconditioned).sum())
            direction *= square / previous
            direction += preconditioned
        return result if best else None


@dataclass(frozen=True, eq=False)
class ItemsProblem:
    """Negative log-likelihood of comparisons added up, and of a prior."""

    tally: Tally
    prior: Prior | None
    components: IndexArray | None

    @property
    def scale(self) -> FloatArray:
        """Comparisons of each item."""
        return np.where(self.tally.games > 0.0, self.tally.games, 1.0)

    def room(self) -> FloatArray:
        """Memory for a Hessian."""
        return self.tally.room()

    def derivatives(self, at: FloatArray, out: FloatArray) -> tuple[FloatArray, Information]:
        """Gradient and Hessian, which lives in `out`."""
        gradient, curvature = self.tally.derivatives(at, out)
        if self.prior is None:
            return gradient, Information(curvature, 0.0, self.components, self.tally.n_pairs)
        gradient += self.prior.slope(at)
        return gradient, Information(curvature, self.prior.curvature(at), None, self.tally.n_pairs)

    def reach(self, at: FloatArray, step: FloatArray) -> float:
        """By how much a step changes a margin at most."""
        return spread(step, grounded=self.prior is not None)

    def longest(self, at: FloatArray, step: FloatArray) -> float:
        """All of it."""
        return 1.0


def spread(step: FloatArray, grounded: bool) -> float:
    """Largest difference of a step's entries, with 0 among them if a prior knows where zero is."""
    high, low = float(step.max()), float(step.min())
    return max(high, 0.0) - min(low, 0.0) if grounded else high - low


def maximize(
    tally: Tally, prior: Prior | None, components: IndexArray | None, tolerance: float, max_steps: int
) -> Maximum:
    """Utilities of greatest likelihood times prior.

    `components` is None with a prior. The criterion is the largest of the gradient's entries, each divided by its
    item's comparisons.
    """
    # Each item's utility against opponents of utility zero, half a win and half a loss added.
    start = np.log(tally.wins + 0.5) - np.log(tally.games - tally.wins + 0.5)
    found = newton(ItemsProblem(tally, prior, components), start, tolerance, max_steps)
    if prior is None:
        return found
    # Of a shift of all items only the prior has a slope, which large weights' rounding errors hide from the criterion.
    slope, curvature = (float(f(found.utilities).sum()) for f in (prior.slope, prior.curvature))
    shift = abs(slope) / max(curvature, 1e-300)
    return replace(found, remaining=max(found.remaining, shift), converged=found.converged and shift <= CLOSE)


def newton(problem: Any, start: FloatArray, tolerance: float, max_steps: int) -> Maximum:
    """The least value of a convex function whose third derivative along a step is at most R times the second.

    The problem has `scale`, what the gradient's entries are divided by; `room` for a Hessian; `derivatives`; `reach`, R
    of a step; and `longest`, how much of a step stays where the function is finite; as `ItemsProblem` has them.
    """
    # Two Hessians live at a time: the one that gave a step, and the one where it leads.
    room, at, scale = [problem.room(), problem.room()], start, problem.scale
    gradient, information = problem.derivatives(at, room[0])
    criterion, reach = float((np.abs(gradient) / scale).max()), np.inf
    steps = stuck = 0
    while True:
        # Superlinear convergence, and no more digits of a step than the next gradient will confirm.
        accuracy = 0.1 if criterion <= tolerance else max(1e-8, min(0.1, criterion**0.5))
        step = -information.solve(information.centred(gradient), accuracy)
        previous, reach = reach, problem.reach(at, step)
        # Where an item nearly always wins its gradient is small long before its utility is right: both must be.
        converged = criterion <= tolerance and reach <= CLOSE
        slope = float((gradient * step).sum())
        # Steps that do not shrink at a gradient of rounding errors lead nowhere.
        stuck += criterion <= tolerance and reach > 0.5 * previous
        if converged or steps == max_steps or stuck == PERSISTENCE or not slope < 0.0:
            break
        length = min(problem.longest(at, step), LARGEST_STEP / reach)
        trial, new_gradient, new_information = _search(problem, room[1], at, step, slope, reach, length)
        new_criterion = float((np.abs(new_gradient) / scale).max())
        # A short step that does not help any more has met rounding.
        if reach < CLOSE and not new_criterion < criterion:
            break
        at, gradient, information, criterion = trial, new_gradient, new_information, new_criterion
        room.reverse()
        steps += 1
    return Maximum(information.centred(at), criterion, reach, converged, steps, information)


def _search(
    problem: Any, room: FloatArray, at: FloatArray, step: FloatArray, slope: float, reach: float, length: float
) -> tuple[FloatArray, FloatArray, Any]:
    """Shorten a step until what lies there is still downhill, or too close to be uphill."""
    while True:
        trial = at + length * step
        gradient, information = problem.derivatives(trial, room)
        new_slope = float((gradient * step).sum())
        if new_slope <= 0.0 or length * reach <= 1.0:
            return trial, gradient, information
        # About where a straight line through both slopes crosses zero, but never less than what is safe anyway.
        length = max(length * min(max(slope / (slope - new_slope), 0.1), 0.5), 1.0 / reach)
