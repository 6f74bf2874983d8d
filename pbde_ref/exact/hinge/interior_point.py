"""Hinge losses: Mehrotra's predictor-corrector method along the central path, and its Cholesky factor.

The pairs' slacks are eliminated, so each step factors one n by n matrix, a Laplacian plus at lambda > 0 the policy's
covariance. Whether an iterate is good enough is for the caller to say: the path proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf

from pbde_ref.exact.hinge.duality import net_flow
from pbde_ref.numerics import log_normalize
from pbde_ref.validation import FloatArray

__all__ = ["central_slacks", "interior_point", "laplacian_factor", "mehrotra_step", "panelled_cholesky"]


@dataclass(frozen=True, eq=False)
class _Path:
    r"""The central path: each active pair has slacks a, b > 0, a - b = delta - d, and fractions y, z > 0, y + z = 1.

    On the path c a z = c b y = mu. At lambda > 0 the policy is softmax(s) and stationarity reads
    lambda (softmax(s) - reference) = flow(c y); at lambda = 0 it reads 0 = flow(c y).
    """

    c: FloatArray
    active: NDArray[np.bool_]
    delta: float
    lambda_: float
    reference: FloatArray
    most: FloatArray
    null: FloatArray

    def policy(self, s: FloatArray) -> FloatArray:
        # At lambda = 0 nothing keeps s from growing beyond what exp can take.
        return np.exp(s) if self.lambda_ else self.reference

    def residual(self, s: FloatArray, y: FloatArray) -> FloatArray:
        return self.lambda_ * (self.policy(s) - self.reference) - net_flow(self.c * y)

    def mu(self, a: FloatArray, b: FloatArray, y: FloatArray, z: FloatArray) -> float:
        return float((self.c * (a * z + b * y)).sum()) / (2.0 * float(self.c.sum()))


_Iterate = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]


def interior_point(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, max_steps: int,
    null: FloatArray | None = None,
) -> Iterator[tuple[FloatArray, FloatArray, int]]:
    """Primal and dual iterates of Mehrotra's predictor-corrector method, and how many steps led there."""
    # Pairs too rare to be seen beside rounding of the loss would only lengthen the path; the certificate counts them.
    active = wins > 1e-30 * wins.sum()
    if not active.any():
        return
    c = np.where(active, wins, 0.0)
    null = np.full_like(c, 1.0 / len(c)) if null is None else null
    # All pairs have the same product c a z = c b y, however rare they are.
    inverse = np.where(active, c.sum() / active.sum() / np.where(active, c, 1.0), 0.0)
    # At the optimum an outcome has no more than its reference probability and 1 / lambda of the wins.
    most = np.minimum(1.0, reference + c.sum(axis=1) / lambda_) if lambda_ else reference
    path = _Path(c, active, delta, lambda_, reference, most, null)
    s = log_normalize(np.log(0.9 * reference + 0.1 * most))
    start = max(10.0 * delta, 1.0)
    a, b = central_slacks(delta - (s[:, None] - s[None, :]), start * np.where(active, inverse, 1.0))
    iterate = s, a, b, a / (a + b), b / (a + b)  # y = mu / b and z = mu / a, for a b = mu (a + b)
    for steps in range(1, max_steps + 1):
        iterate, moved = mehrotra_step(path, inverse, iterate)
        s, a, b, y, z = iterate
        if not np.isfinite(s).all() or moved < 1e-8:
            return
        yield s, c * y, steps
        if not path.mu(a, b, y, z) > 1e-17 * start and np.abs(path.residual(s, y)).sum() < 1e-14 * (lambda_ + c.sum()):
            return


@np.errstate(all="ignore")  # a pair that reaches its bound to the last digit ends the path, see the checks above
def mehrotra_step(path: _Path, inverse: FloatArray, iterate: _Iterate) -> tuple[_Iterate, float]:
    """The next iterate, and the longer of the primal and the dual step."""
    s, a, b, y, z = iterate
    c, active = path.c, path.active
    policy = path.policy(s)
    residual = path.residual(s, y)
    w = 1.0 / (a / z + b / y)
    factor = laplacian_factor(c * w, path.lambda_ * policy, path.null)

    def direction(for_a: FloatArray, for_b: FloatArray) -> tuple[FloatArray, ...]:
        """Changes after which, to first order, stationarity holds, a z has grown by `for_a`, and b y by `for_b`."""
        target = for_b / y - for_a / z
        ds = cho_solve((factor, True), net_flow(c * w * target) - residual, check_finite=False)
        dy = np.where(active, w * (target - (ds[:, None] - ds[None, :])), 0.0)
        return ds, np.where(active, (for_a + a * dy) / z, 0.0), np.where(active, (for_b - b * dy) / y, 0.0), dy

    def reach(da: FloatArray, db: FloatArray, dy: FloatArray) -> tuple[float, float]:
        return min(_reach(a, da), _reach(b, db)), min(_reach(y, dy), _reach(z, -dy))

    _, da, db, dy = direction(-a * z, -b * y)
    primal, dual = (min(1.0, step) for step in reach(da, db, dy))
    mu = path.mu(a, b, y, z)
    ahead = path.mu(a + primal * da, b + primal * db, y + dual * dy, z - dual * dy)
    # Complementarity must not run ahead of stationarity: pairs at the margin then swamp all else in the factor.
    least = min(mu, 0.1 * float(np.abs(residual).sum()) / float(c.sum()))
    centre = max(mu * min(0.5, (max(ahead, 0.0) / max(mu, 1e-300)) ** 4), least) * inverse
    # Mehrotra's second-order term is worth little where the predictor is blocked soon; in full it can make a cycle.
    second = min(1.0, (3.0 * min(primal, dual)) ** 2) * dy
    ds, da, db, dy = direction(centre - a * z + second * da, centre - b * y - second * db)
    primal, dual = (min(1.0, 0.99 * step) for step in reach(da, db, dy))
    if path.lambda_:
        # Newton's step for an exponential overshoots from below, where the curvature is nearly zero: no outcome is
        # raised far above what the optimum can give it.
        ceiling = 1.0 + np.log(np.maximum(policy, path.most))
        primal = min(primal, 1.0 / max(1.0, float((ds / (ceiling - s)).max())))
    iterate = s + primal * ds, a + primal * da, b + primal * db, y + dual * dy, z - dual * dy
    return iterate, max(primal, dual)


def central_slacks(short: FloatArray, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slacks with a - b = short and 1 / a + 1 / b = 1 / mu."""
    # Each root from the form without cancellation: a b = mu (a + b).
    root = np.hypot(short, 2.0 * mu)
    larger = mu + 0.5 * (np.abs(short) + root)
    smaller = mu * larger / (larger - mu)
    return np.where(short > 0.0, larger, smaller), np.where(short > 0.0, smaller, larger)


def _reach(values: FloatArray, change: FloatArray) -> float:
    """The largest step that keeps values + step * change non-negative."""
    return 1.0 / max(1e-300, -float((change / values).min()))


def laplacian_factor(weights: FloatArray, diagonal: FloatArray, null: FloatArray) -> FloatArray:
    """Cholesky factor of the Laplacian plus a diagonal, or without one of the Laplacian, its null space filled in."""
    matrix = -(weights + weights.T)
    matrix[np.diag_indices_from(matrix)] = -matrix.sum(axis=1) + diagonal
    scale = float(matrix.diagonal().max())
    if not diagonal.any():
        matrix += scale * null
    for damping in (0.0, *(10.0**power for power in range(-15, 1))):
        damped = matrix.copy()
        damped[np.diag_indices_from(damped)] += damping * scale
        if panelled_cholesky(damped):
            return damped
    raise ArithmeticError("the Hessian of a convex loss is not positive semidefinite")


def panelled_cholesky(matrix: FloatArray, width: int = 32) -> bool:
    """Replace the lower triangle by its Cholesky factor; False if the matrix is not positive definite.

    In panels small enough that no BLAS library starts threads for them: on busy cores those cost a hundred times more
    than the arithmetic.
    """
    for start in range(0, len(matrix), width):
        stop = start + width
        head, info = dpotrf(matrix[start:stop, start:stop], lower=1)  # which clears the other triangle
        if info:
            return False
        matrix[start:stop, start:stop] = head
        below = matrix[stop:, start:stop]
        inverse = np.linalg.inv(head).T
        for i in range(0, len(below), width):
            below[i : i + width] = below[i : i + width] @ inverse
        for i in range(0, len(below), width):
            j = i + width
            matrix[stop + i : stop + j, stop : stop + j] -= below[i:j] @ below[:j].T
    return True
