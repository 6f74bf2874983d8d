r"""The expected KL divergence between preferences that nearly agree, in linear time and with small relative error.

Cross-entropy minus entropy has an absolute error of about 1e-14, so a divergence of 1e-14 would have no correct digit.
Taylor's remainder for :math:`\log(1 + e^d)` between :math:`\chi_A - \chi_B` and :math:`\omega_A - \omega_B` is

.. math:: \int_0^1 (1 - s) \sum_{A, B} a_A b_B\, \sigma'(t_A - t_B)\, (u_A - u_B)^2\, ds,
          \qquad u = \omega - \chi, \quad t = \chi + s u,

the same divergence as a sum of positive terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import roots_jacobi

from pbde_ref.exact.linear_time.panel_grid import NODES, REACH, ROUGH_GRIDS, Grid, Shift, buffers, chunks, lay_grid
from pbde_ref.exact.linear_time.panels import add_moments, kernel_blocks, offsets, to_nodes
from pbde_ref.numerics import two_difference
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray

__all__ = ["Difference", "centers_of", "close_kl", "integral_of", "shift_of"]

# Quadrature nodes with which the relative error stays below 1e-10, for u that vary by at most so many nats.
NODES_FOR_RANGE = ((1e-5, 1), (0.02, 2), (0.2, 3), (0.5, 4), (1.0, 5), (2.0, 7), (4.0, 11))
# Means of u in each panel, as u of one of its members plus the mean distance from that; or no member and the mean.
Centers = tuple[FloatArray | None, FloatArray]
# The logistic function's derivative underflows beyond.
FARTHEST = 745


def close_kl(chi: FloatArray, omega: FloatArray, proposal: ProductProposal) -> float | None:
    r"""The divergence, or None where :math:`\omega - \chi` varies by more than four nats.

    Outcomes that both exclude are left out; their loss is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> q = pb.ProductProposal([1, 1])
    >>> close_kl(np.zeros(2), np.array([1e-9, 0.0]), q), close_kl(np.zeros(2), np.array([9.0, 0.0]), q)
    (6.2...e-20, None)
    """
    difference = Difference.of(chi, omega, proposal)
    if not difference.spread <= NODES_FOR_RANGE[-1][0]:
        return None
    if difference.spread == 0.0:
        return 0.0
    result = integral_of(difference, REACH)
    # Pairs that are out of reach may be all there is, if the outcomes are few and far between.
    if math.exp(-REACH) * difference.second_moment > 1e-10 * result:
        result = integral_of(difference, FARTHEST)
    return max(0.0, result)


@dataclass(frozen=True, eq=False)
class Difference:
    r""":math:`u = \omega - \chi` up to a constant, to the last digit, slice by slice, and who takes part.

    Attributes
    ----------
    low, high : float
        Range of u over the outcomes that take part.
    second_moment : float
        Bound on the sum of :math:`a_A b_B (u_A - u_B)^2 / 4`.
    """

    chi: FloatArray
    omega: FloatArray
    sides: tuple[FloatArray, ...]
    center: float = 0.0
    low: float = 0.0
    high: float = 0.0
    second_moment: float = 0.0

    @property
    def spread(self) -> float:
        """Width of that range."""
        return self.high - self.low

    @classmethod
    def of(cls, chi: FloatArray, omega: FloatArray, proposal: ProductProposal) -> Difference:
        """Of two vectors of utilities, for the pairs of a product."""
        sides: tuple[FloatArray, ...] = (proposal.a,) if proposal.a is proposal.b else (proposal.a, proposal.b)
        drawn = np.zeros(chi.size, dtype=bool)
        for side in sides:
            drawn |= side > 0.0
        if math.isinf(omega.min()):
            drawn &= (chi != omega) | np.isfinite(omega)
        if not drawn.any():
            return cls(chi, omega, sides)
        first = int(np.argmax(drawn))
        if not drawn.all():
            # Who does not take part stands where another does, with weight zero.
            chi, omega = (np.where(drawn, scores, scores[first]) for scores in (chi, omega))
            sides = tuple(np.where(drawn, side, 0.0) for side in sides)
        if not (math.isfinite(chi.min()) and math.isfinite(omega.min()) and math.isfinite(omega.max())):
            return cls(chi, omega, sides, high=math.inf)
        result = cls(chi, omega, sides, center=float(omega[first] - chi[first]))
        low, high, moment = math.inf, -math.inf, 0.0
        for part in chunks(chi.size):
            u = result(part)
            low, high = min(low, float(u.min())), max(high, float(u.max()))
            moment += sum(float((side[part] * u * u).sum()) for side in sides)
        return replace(result, low=low, high=high, second_moment=moment)

    def __call__(self, part: slice) -> FloatArray:
        """U of a slice of the outcomes."""
        high, low = two_difference(self.omega[part], self.chi[part])
        high -= self.center
        high += low
        return high


def integral_of(difference: Difference, reach: int) -> float:
    """The divergence as an integral along the segment from chi to omega, of pairs up to `reach` panels apart."""
    count = next(count for limit, count in NODES_FOR_RANGE if difference.spread <= limit)
    nodes, weights = roots_jacobi(count, 1.0, 0.0)
    fractions = 0.5 * (1.0 + nodes)
    # Squares of u are taken in units of about its range: those of tiny weights and tiny u would underflow.
    exponent = int(np.frexp(difference.spread)[1])
    margin = max(-difference.low, difference.high)
    shifts = [shift_of(difference, fraction) for fraction in fractions]
    grid = lay_grid(difference.chi, margin=margin, shifts=shifts, reach=reach, grids=ROUGH_GRIDS)
    centers = centers_of(grid, difference, fractions, exact=reach > REACH)
    moments = np.zeros((count, len(difference.sides), 3, grid.order, grid.count))
    out = None
    for part in chunks(difference.chi.size, grid.count):
        u, weight_slices = difference(part), [side[part] for side in difference.sides]
        out = out or buffers(part.stop)
        for fraction, (member, mean), table in zip(fractions, centers, moments, strict=True):
            index, offset = grid.locate(difference.chi[part], fraction * u, out)
            panel = grid.coarse(index)
            deviation = u - mean[panel] if member is None else (u - member[panel]) - mean[panel]
            deviation = np.ldexp(deviation, -exponent)
            for side, weight in zip(table, weight_slices, strict=True):
                first = weight * deviation
                add_moments(side, index, offset, (weight, first, first * deviation))
    total = 0.0
    for weight, (member, mean), table in zip(weights, centers, moments, strict=True):
        center = (None if member is None else np.ldexp(member, -exponent)), np.ldexp(mean, -exponent)
        left, right = (
            np.stack([to_nodes(grid, moment) for moment in side], axis=1) for side in (table[0], table[-1])
        )
        total += 0.25 * weight * _sum_of_pairs(grid, center, left, right, reach, symmetric=len(table) == 1)
    return math.ldexp(float(total), 2 * exponent)


def centers_of(grid: Grid, difference: Difference, fractions: FloatArray, *, exact: bool) -> list[Centers]:
    """For each fraction, the mean of u in each panel, weighted by both factors.

    Any number would do but for rounding. That is not quite harmless between outcomes that are a hundred nats apart:
    `exact` centers are exactly u where a panel's u are all the same, and leave nothing to round.
    """
    panels = grid.positions.size
    members = np.zeros((len(fractions), panels)) if exact else None
    if members is not None:
        for part in chunks(difference.chi.size, grid.count):
            u = difference(part)
            drawn = np.flatnonzero(sum(side[part] for side in difference.sides))
            for fraction, member in zip(fractions, members, strict=True):
                index, _ = grid.locate(difference.chi[part], fraction * u)
                member[grid.coarse(index)[drawn]] = u[drawn]
    mass, moment = np.zeros((2, len(fractions), panels))
    out = None
    for part in chunks(difference.chi.size, grid.count):
        u, weight = difference(part), np.asarray(sum(side[part] for side in difference.sides))
        out = out or buffers(u.size)
        product = weight * u
        for i, fraction in enumerate(fractions):
            index, _ = grid.locate(difference.chi[part], fraction * u, out)
            panel = grid.coarse(index)
            mass[i] += np.bincount(panel, weight, panels)
            terms = product if members is None else weight * (u - members[i][panel])
            moment[i] += np.bincount(panel, terms, panels)
    means = np.divide(moment, mass, out=np.zeros_like(moment), where=mass > 0.0)
    return [(None if members is None else members[i], means[i]) for i in range(len(fractions))]


def shift_of(difference: Difference, fraction: float) -> Shift:
    """How far each outcome is moved along the way from one vector of utilities to the other."""
    return lambda part: fraction * difference(part)


def _sum_of_pairs(
    grid: Grid, centers: Centers, left: FloatArray, right: FloatArray, reach: int, *, symmetric: bool
) -> float:
    """From tables of the moments 0, 1, 2 of u about the panels' centers at the nodes, shape (panels, 3, 16)."""
    blocks, total = kernel_blocks("curvature", reach), 0.0
    for distance, target, source in offsets(grid.positions, reach):
        if symmetric and distance < 0:
            continue
        member, mean = centers
        gap = (mean[target] - mean[source])[:, None]
        if member is not None:
            gap += (member[target] - member[source])[:, None]
        w0, w1, w2 = (left[target, i] for i in range(3))
        # (gap + v_A - v_B)², ordered by powers of v_B.
        squares = np.stack([gap * (gap * w0 + 2.0 * w1) + w2, -2.0 * (gap * w0 + w1), w0], axis=1)
        field = right[source].reshape(-1, NODES) @ blocks[distance + reach]
        pairs = float((squares.reshape(-1, NODES) * field).sum())
        total += 2.0 * pairs if symmetric and distance > 0 else pairs
    return total
