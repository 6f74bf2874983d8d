r"""The projection of mixed annotators on the logistic models, to 60 digits, and how firmly doubles determine it.

Floating-point numbers are exact decimals. Preferences come as :math:`z_A / (z_A + z_B)`, :math:`z = e^\chi`, so that
both answers' probabilities keep their digits, and Laplacians are eliminated without subtraction, so that weights and
preferences over hundreds of powers of ten cost none. Nothing here uses the rest of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray

__all__ = ["Projection", "probability_variances", "projection"]

DIGITS = 60
# Of the last Newton step: convergence is quadratic, so what is left after it is about its square.
LAST_STEP = Decimal("1e-25")
MOST_STEPS = 1000
# Where no pair's margin changes by more, a Newton step lowers the loss: its third derivative along a step is at most
# the second times the largest change M of a margin, so a step of length t ≤ 1 changes the loss by at most the squared
# decrement times −t + (e^{tM} − tM − 1) / M², which is negative at t = min(1, 1.5 / M).
FARTHEST = Decimal("1.5")
# Eliminating and inverting decimals costs the cube of the number of outcomes.
SMALL = 64
EPSILON = Decimal(float(np.finfo(float).eps))

# Arrays of Decimal objects: NumPy's loops, the decimals' arithmetic.
Decimals = NDArray[np.object_]


class Projection(NamedTuple):
    """Utilities of least expected loss.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        Those of outcome 0 are zero.
    uncertainty : float
        By how many nats a difference of utilities may move if all inputs are rounded; zero, for it is not computed, for
        more than 64 outcomes.
    """

    utilities: FloatArray
    uncertainty: float


class _Pair(NamedTuple):
    a: int
    b: int
    weight: Decimal
    won: Decimal
    lost: Decimal


def projection(members: Sequence[FloatArray], mixed: Sequence[float], q: FloatArray) -> Projection:
    r"""Minimise the expected cross-entropy of utilities under mixed annotators, on a connected graph.

    Newton's method, no step of which raises the loss, starts at the log-odds along the spanning tree of the pairs that
    say most.

    Parameters
    ----------
    members : sequence of ndarray, shape (n,)
        The annotators' utilities, finite.
    mixed : sequence of float
        Their weights, which need not sum to one.
    q : ndarray, shape (n, n)
        Probabilities of pairs.

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
        If a thousand steps do not lead there.

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
        tree = _spanning_tree(_pairs(members, mixed, q), size)
        # A rare pair's share of the gradient must keep its digits in a sum with frequent pairs' shares.
        rarest = min((pair.weight * pair.won * pair.lost for pair in tree), default=Decimal(1))
        context.prec += max(0, -rarest.adjusted())
        pairs = _pairs(members, mixed, q)
        now = _log_odds_along(_spanning_tree(pairs, size), size)
        for _ in range(MOST_STEPS):
            weights, gradient = _newton_system(pairs, now)
            # The gradient's digits alone decide where Newton's method ends; a large support's steps may be rounded.
            kind = object if size <= SMALL else np.float64
            step = _exact(_solved(*_eliminated(weights.astype(kind)), -gradient.astype(kind)))
            farthest = max((abs(step[pair.a] - step[pair.b]) for pair in pairs), default=Decimal(0))
            now = now + (min(Decimal(1), FARTHEST / farthest) if farthest else 1) * step
            if farthest < LAST_STEP:
                break
        else:
            raise ArithmeticError(f"the projection was not reached; the last step was {farthest:.1e} nats")
        uncertainty = _uncertainty(pairs, now, members) if size <= SMALL else 0.0
        return Projection(now.astype(np.float64), uncertainty)


def probability_variances(chi: FloatArray, q: FloatArray) -> FloatArray:
    r"""Asymptotic variances of probabilities in proportion to :math:`e^{\hat\omega}`, for one comparison.

    :math:`p_x^2\, c^\top L^+ c` with :math:`c = e_x - p` and the Laplacian L of the pairs' information.

    Examples
    --------
    >>> probability_variances(np.array([0.0, 0.0]), np.array([[0.0, 1.0], [0.0, 0.0]]))
    array([0.25, 0.25])
    """
    with localcontext() as context:
        context.prec = 3 * DIGITS
        z = np.array([Decimal(float(v)).exp() for v in chi], dtype=object)
        p = z / z.sum()
        weights = _newton_system(_pairs([chi], [1.0], q), np.array([Decimal(float(v)) for v in chi], dtype=object))[0]
        contrasts = _zeros(len(p), len(p)) - p[:, None]
        np.fill_diagonal(contrasts, contrasts.diagonal() + 1)
        found = _solved(*_eliminated(weights), contrasts)
        return (p * p * (contrasts * found).sum(axis=0)).astype(np.float64)


def _spanning_tree(pairs: Sequence[_Pair], size: int) -> list[_Pair]:
    """The pairs that say most, from outcome 0 on: those of the spanning tree of greatest curvature."""
    curvature = [pair.weight * pair.won * pair.lost for pair in pairs]
    known, tree = {0}, []
    while len(known) < size:
        crossing = [i for i, pair in enumerate(pairs) if (pair.a in known) != (pair.b in known)]
        best = pairs[max(crossing, key=curvature.__getitem__)]
        tree.append(best)
        known |= {best.a, best.b}
    return tree


def _log_odds_along(tree: Sequence[_Pair], size: int) -> Decimals:
    """Utilities that meet the pairs of a tree, each to the last digit."""
    known = {0: Decimal(0)}
    for pair in tree:
        log_odds = (pair.won / pair.lost).ln()
        if pair.a in known:
            known[pair.b] = known[pair.a] - log_odds
        else:
            known[pair.a] = known[pair.b] + log_odds
    return np.array([known[x] for x in range(size)], dtype=object)


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


def _newton_system(pairs: Sequence[_Pair], utilities: Decimals) -> tuple[Decimals, Decimals]:
    """Weights of the Hessian's graph, and the gradient."""
    size = len(utilities)
    z = [v.exp() for v in utilities]
    weights, gradient = _zeros(size, size), _zeros(size)
    for a, b, weight, won, lost in pairs:
        both = z[a] + z[b]
        up, down = z[a] / both, z[b] / both
        slope = weight * (lost * up - won * down)
        gradient[a] += slope
        gradient[b] -= slope
        weights[a, b] = weights[b, a] = weight * up * down
    return weights, gradient


def _zeros(*shape: int) -> Decimals:
    return np.full(shape, Decimal(0), dtype=object)


def _exact(values: NDArray[Any]) -> Decimals:
    """Numbers as decimals; `Decimal` takes NumPy's floating-point numbers for what they are."""
    return np.array([Decimal(value) for value in values], dtype=object)


def _eliminated(weights: Decimals) -> tuple[Decimals, Decimals]:
    """Shares of each outcome's neighbours before it, once all after it are gone, and its degree then.

    Degrees are sums of what is left, never differences.
    """
    work, degrees = weights.copy(), weights[0].copy()
    for last in range(len(work) - 1, 0, -1):
        row = work[last, :last]
        degrees[last] = row.sum()
        share = row / degrees[last]
        work[:last, :last] += np.multiply.outer(row, share)
        work[last, :last] = share
    return work, degrees


def _solved(shares: Decimals, degrees: Decimals, target: Decimals) -> Decimals:
    """Solutions of the Laplacian's equations that are zero at outcome 0; `target` has a column for each, or is one."""
    t = target.copy()
    for last in range(len(t) - 1, 0, -1):
        t[:last] += np.multiply.outer(shares[last, :last], t[last])
    t[0] = 0 * t[0]
    for i in range(1, len(t)):
        t[i] = t[i] / degrees[i] + shares[i, :i].dot(t[:i])
    return t


def _uncertainty(pairs: Sequence[_Pair], utilities: Decimals, members: Sequence[FloatArray]) -> float:
    """What rounding of all inputs may do to a difference of utilities."""
    size = len(utilities)
    identity = _zeros(size, size)
    np.fill_diagonal(identity, Decimal(1))
    inverse = _solved(*_eliminated(_newton_system(pairs, utilities)[0]), identity)
    z = [v.exp() for v in utilities]
    largest = [Decimal(float(max(abs(chi[x]) for chi in members))) for x in range(size)]
    moved = _zeros(size)
    for a, b, weight, won, lost in pairs:
        slope = weight * (lost * z[a] + won * z[b]) / (z[a] + z[b]) * EPSILON * (4 + largest[a] + largest[b])
        moved += np.abs(inverse[a] - inverse[b]) * slope
    return float(2 * max(moved))
