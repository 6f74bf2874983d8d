r"""The projection of mixed annotators on the logistic models in 60-digit decimals, and how firmly doubles determine it.

Floating-point numbers are exact decimals. Preferences come as :math:`z_A / (z_A + z_B)`, :math:`z = e^\chi`, so that
both answers' probabilities keep their digits, and Laplacians are eliminated without subtraction, so that weights and
preferences over hundreds of powers of ten cost none. Nothing here uses the rest of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np

from pbde_ref.validation import FloatArray

__all__ = ["Projection", "projection"]

DIGITS = 60
# Of the last Newton step: convergence is quadratic, so what is left after it is about its square.
LAST_STEP = Decimal("1e-25")
MOST_STEPS = 100
# Inverses cost the cube of the number of outcomes.
LARGEST_FOR_SENSITIVITY = 64
EPSILON = Decimal(float(np.finfo(float).eps))

Vector = list[Decimal]


class Projection(NamedTuple):
    """Utilities of least expected loss.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        Those of outcome 0 are zero.
    uncertainty : float
        By how many nats a difference of utilities may move if all inputs are rounded; infinite where nothing is known.
    """

    utilities: FloatArray
    uncertainty: float


class _Pair(NamedTuple):
    a: int
    b: int
    weight: Decimal
    won: Decimal
    lost: Decimal


def projection(
    members: Sequence[FloatArray], mixed: Sequence[float], q: FloatArray, start: FloatArray | None = None
) -> Projection:
    r"""Minimise the expected cross-entropy of utilities under mixed annotators, on a connected graph.

    Parameters
    ----------
    members : sequence of ndarray, shape (n,)
        The annotators' utilities, finite.
    mixed : sequence of float
        Their weights, which need not sum to one.
    q : ndarray, shape (n, n)
        Probabilities of pairs.
    start : ndarray, shape (n,), optional
        Where Newton's method starts. The loss is strictly convex but for a constant, so this has no influence on where
        it ends, only on when.

    Returns
    -------
    Projection
        If each probability and each weight is off by a factor :math:`1 \pm \eta` the gradient changes by at most
        :math:`\eta\, r_{AB}` at both ends of each pair, with opposite signs,
        :math:`r = (q_{AB} + q_{BA}) (p\, \sigma(-d) + \bar p\, \sigma(d))`, and the utilities by its image under the
        inverse Hessian. :math:`\eta` is four units in the last place, and what the rounding of utilities adds to it.

    Raises
    ------
    ArithmeticError
        If a hundred steps of at most two nats do not lead there.

    Examples
    --------
    >>> from math import log
    >>> one = np.array([log(3.0), 0.0])
    >>> float(projection([one], [1.0], np.ones((2, 2)) / 4).utilities[1] + log(3.0))
    0.0
    """
    size = len(q)
    with localcontext() as context:
        context.prec = DIGITS
        pairs = _pairs(members, mixed, q)
        now = [Decimal(0)] * size if start is None else [Decimal(float(v)) - Decimal(float(start[0])) for v in start]
        for _ in range(MOST_STEPS):
            laplacian, gradient = _newton_system(pairs, now)
            step = _solved(*_eliminated(laplacian), [[-g for g in gradient]])[0]
            largest = max(map(abs, step))
            shortened = min(Decimal(1), 2 / largest) if largest else Decimal(1)
            now = [v + shortened * s for v, s in zip(now, step, strict=True)]
            if largest < LAST_STEP:
                break
        else:
            raise ArithmeticError(f"the projection was not reached from {start}: the last step was {largest:.2e} nats")
        uncertainty = _uncertainty(pairs, now, members) if size <= LARGEST_FOR_SENSITIVITY else 0.0
        return Projection(np.array([float(v) for v in now]), uncertainty)


def _pairs(members: Sequence[FloatArray], mixed: Sequence[float], q: FloatArray) -> list[_Pair]:
    """Pairs that are drawn, with the probability of either answer."""
    shares = [Decimal(float(w)) for w in mixed]
    total = sum(shares)
    powers = [[Decimal(float(v)).exp() for v in chi] for chi in members]
    result = []
    for a in range(len(q)):
        for b in range(a):
            if q[a, b] or q[b, a]:
                won = sum((w * z[a] / (z[a] + z[b]) for w, z in zip(shares, powers, strict=True)), Decimal(0)) / total
                lost = sum((w * z[b] / (z[a] + z[b]) for w, z in zip(shares, powers, strict=True)), Decimal(0)) / total
                result.append(_Pair(a, b, Decimal(float(q[a, b])) + Decimal(float(q[b, a])), won, lost))
    return result


def _newton_system(pairs: Sequence[_Pair], utilities: Vector) -> tuple[list[dict[int, Decimal]], Vector]:
    """Weights of the Hessian's graph, a row of neighbours for each outcome, and the gradient."""
    z = [v.exp() for v in utilities]
    laplacian: list[dict[int, Decimal]] = [{} for _ in z]
    gradient = [Decimal(0)] * len(z)
    for a, b, weight, won, lost in pairs:
        both = z[a] + z[b]
        up, down = z[a] / both, z[b] / both
        slope = weight * (lost * up - won * down)
        gradient[a] += slope
        gradient[b] -= slope
        laplacian[a][b] = laplacian[b][a] = weight * up * down
    return laplacian, gradient


def _eliminated(laplacian: list[dict[int, Decimal]]) -> tuple[list[dict[int, Decimal]], Vector]:
    """Shares of each outcome's neighbours before it, once all after it are gone, and its degree then.

    Degrees are sums of what is left, never differences.
    """
    rows = [dict(row) for row in laplacian]
    degrees = [Decimal(0)] * len(rows)
    for last in range(len(rows) - 1, 0, -1):
        neighbours = rows[last]
        degrees[last] = sum(neighbours.values(), Decimal(0))
        for i in neighbours:
            del rows[i][last]
        rows[last] = {i: weight / degrees[last] for i, weight in neighbours.items()}
        listed = list(neighbours.items())
        for k, (i, weight) in enumerate(listed):
            for j, _ in listed[:k]:
                joined = rows[i].get(j, Decimal(0)) + weight * rows[last][j]
                rows[i][j] = rows[j][i] = joined
    return rows, degrees


def _solved(rows: list[dict[int, Decimal]], degrees: Vector, targets: Sequence[Vector]) -> list[Vector]:
    """Solutions of the Laplacian's equations that are zero at outcome 0."""
    result = []
    for target in targets:
        t = list(target)
        for last in range(len(t) - 1, 0, -1):
            for i, share in rows[last].items():
                t[i] += share * t[last]
        x = [Decimal(0)] * len(t)
        for i in range(1, len(t)):
            x[i] = t[i] / degrees[i] + sum((share * x[j] for j, share in rows[i].items()), Decimal(0))
        result.append(x)
    return result


def _uncertainty(pairs: Sequence[_Pair], utilities: Vector, members: Sequence[FloatArray]) -> float:
    """What rounding of all inputs may do to a difference of utilities."""
    size = len(utilities)
    rows, degrees = _eliminated(_newton_system(pairs, utilities)[0])
    inverse = _solved(rows, degrees, [[Decimal(int(i == x)) for i in range(size)] for x in range(size)])
    z = [v.exp() for v in utilities]
    largest = [Decimal(float(max(abs(chi[x]) for chi in members))) for x in range(size)]
    moved = [Decimal(0)] * size
    for a, b, weight, won, lost in pairs:
        slope = weight * (lost * z[a] + won * z[b]) / (z[a] + z[b]) * EPSILON * (4 + largest[a] + largest[b])
        for i, (x, y) in enumerate(zip(inverse[a], inverse[b], strict=True)):
            moved[i] += abs(x - y) * slope
    return float(2 * max(moved))
