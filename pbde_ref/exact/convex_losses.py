r"""Any pairwise loss that is convex in the margin: its minimum, by Newton's method, with a gap that duality proves.

With :math:`d = \omega_A - \omega_B` and the probability :math:`c_{AB}` that A meets B and wins, the expected loss is
:math:`\sum_e \varphi_e(d_e)`, :math:`\varphi_e(d) = c_{AB}\, \ell(d) + c_{BA}\, \ell(-d)`, over pairs :math:`e`. For a
flow f without divergence and points t with :math:`f_e \in \partial \varphi_e(t_e)` no utilities have a loss below
:math:`\sum_e [\varphi_e(t_e) - f_e t_e]`. Only monotone derivatives are needed, no curvature.
Proof: ``proofs/convex_losses.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.expected import expected_loss
from pbde_ref.exact.flow_certificate import EXTENDED, reach
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.laplacian import centred, maximal_spanning_tree, smallest_eigenvalue, solve_flows
from pbde_ref.exact.optima import with_luce_policy
from pbde_ref.exact.results import Certificate, NoMinimumError, Optimum, unmet
from pbde_ref.exact.selection import win_weights, win_weights_error
from pbde_ref.numerics import EPS, weighted
from pbde_ref.objectives import Objective
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["GRID", "check_convex", "minimize_convex_loss"]

GRID = np.sinh(np.linspace(-7.6, 7.6, 401))
"""Margins, to ±1,000, at which an objective that is not known to be convex is looked at."""
# Of an objective's derivative, and of its argument, in units in the last place.
ULPS = 8.0
# A loss that has its last slope at this margin keeps it.
FLAT = 700.0
# Each step that is taken in full trusts the curvature by so much more.
TRUST = 0.01
# A kink is softened by so many nats for each weight of its pair.
SOFT = 1e-3

Derivatives = Callable[[FloatArray], tuple[FloatArray, ...]]


def minimize_convex_loss(
    objective: Objective, annotator: PreferenceModel, proposal: Proposal, *,
    tolerance: float = 1e-20, utility_tolerance: float = 1e-8, max_steps: int = 200,
) -> Optimum:  # fmt: skip
    r"""Utilities of least expected loss, for any objective that is convex in the margin.

    Parameters
    ----------
    objective : Objective
        Its derivative must be right to 8 units in the last place, of the value or of an argument of size 1 plus margin
        plus parameters; what is below 1e-300 counts as zero.
    annotator, proposal, max_steps
        As in `minimize_expected_loss`.
    tolerance, utility_tolerance : float
        Gap, in units of the loss, and error of utilities' differences at which the result counts as converged. Where
        the optimum lies at kinks, rounding alone leaves a gap of some 1e-15.

    Returns
    -------
    Optimum
        `certificate` is a `Certificate`; its `smallest_eigenvalue` is 0 where second derivatives do not hold a
        component together, as at kinks. `unique` is None where it is 0 or `utility_error` is infinite. Unless
        `objective.convex` is True, the result is only as convex as the loss was at `GRID` and wherever a step led;
        `reason` says so.

    Raises
    ------
    ValueError
        If the objective is not convex, or no finite utilities attain the minimum.

    Notes
    -----
    Newton's method on the graph Laplacian of second derivatives, with line search by slopes; pairs without curvature
    are held by a share of their slope, which vanishes. Where that does not prove the minimum, as at kinks, the method
    of multipliers follows. Proof of the bounds: ``proofs/convex_losses.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> boosting = pb.Objective("exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m))
    >>> annotator, pair = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]]), pb.PairListProposal([0], [1])
    >>> found = minimize_convex_loss(boosting, annotator, pair)  # half the log-odds: log 3, at a loss of 2 √(p (1 - p))
    >>> np.diff(found.utilities).round(12), round(found.loss, 12), found.gap < 1e-26
    (array([-1.09861229]), 0.6, True)
    """
    check_convex(objective, GRID)
    components = comparison_components(proposal, annotator.size)
    wins, _ = win_weights(annotator, proposal)
    a, b = np.nonzero(np.triu(wins + wins.T, 1))
    # The derivative's rounding, that of sums and products of it, and the weights'.
    relative = 2.0 * ULPS * EPS + win_weights_error(annotator, proposal)
    pairs = _Pairs(objective, a, b, wins[a, b], wins[b, a], annotator.size, relative)
    _check_existence(pairs, wins, components)
    utilities, steps = _descend(pairs.smooth, pairs, np.zeros(annotator.size), components, max_steps)
    d = pairs.differences(utilities)
    certificate = _certificate(pairs, wins, d, d, pairs.slopes(d)[0], components)
    if certificate.gap > max(tolerance, 1e-12 * float(pairs.slopes(d)[1].sum()) / pairs.relative):
        other, points, flows, more = _at_kinks(pairs, utilities, components, max_steps - steps)
        second = _certificate(pairs, wins, pairs.differences(other), points, flows, components)
        if second.gap <= certificate.gap:
            utilities, certificate, steps = other, second, steps + more
    utilities.flags.writeable = False
    bounds = ("gap", certificate.gap, tolerance), ("utility error", certificate.utility_error, utility_tolerance)
    loss = expected_loss(objective, annotator, utilities, proposal).value
    found = with_luce_policy(utilities, annotator, loss, certificate, steps, unmet(*bounds))
    seen = "" if objective.convex else f"{objective.name!r:.50} is convex as far as it was looked at"
    bent = (math.isfinite(certificate.utility_error) and certificate.smallest_eigenvalue > 0.0) or None
    return replace(found, proof="dual", unique=found.unique and bent, reason=found.reason or seen)


def check_convex(objective: Objective, margins: FloatArray) -> None:
    """Raise ``ValueError`` unless value and derivative are those of one convex function, as far as these margins show.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> check_convex(pb.Objective("sine", np.sin, np.cos, lambda m: -np.sin(m)), np.array([0.0, 1.0]))
    Traceback (most recent call last):
        ...
    ValueError: `objective` must be convex, with the derivative of its value; got 'sine' between 0 and 1
    """
    if objective.convex is False:
        raise ValueError(f"`objective` must be convex in the margin; got {objective.name!r:.100}")
    if objective.convex:
        return
    margins = np.unique(margins)
    with np.errstate(all="ignore"):
        value, slope = (np.asarray(f(margins), dtype=np.float64) for f in (objective.value, objective.derivative))
        width, rise, size = np.diff(margins), np.diff(value), np.abs(value[1:]) + np.abs(value[:-1])
        low, high = slope[:-1] * width, slope[1:] * width
        near = 1e-9 * (np.abs(low) + np.abs(high))
        slack = near + 1e-9 * size
        bad = np.isnan(slope[1:]) | (low > rise + slack) | (rise > high + slack) | (low > high + near)
    if bad.any():
        i = int(np.argmax(bad))
        where = f"{objective.name!r:.100} between {margins[i]:.6g} and {margins[i + 1]:.6g}"
        raise ValueError(f"`objective` must be convex, with the derivative of its value; got {where}")


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs (a, b) of different outcomes that are compared, how often each side meets the other and wins."""

    objective: Objective
    a: IndexArray
    b: IndexArray
    won: FloatArray
    lost: FloatArray
    size: int
    relative: float

    def differences(self, utilities: FloatArray) -> FloatArray:
        return utilities[self.a] - utilities[self.b]

    def slopes(self, d: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The derivative of each pair's loss, and a bound on its rounding, but for that of its argument."""
        with np.errstate(all="ignore"):
            won = weighted(self.won, self.objective.derivative(d))
            lost = weighted(self.lost, self.objective.derivative(-d))
            size = np.abs(won) + np.abs(lost)
            return won - lost, self.relative * size + 1e-322 * (size > 0.0)

    def smooth(self, d: FloatArray) -> tuple[FloatArray, FloatArray]:
        """First and second derivative of each pair's loss."""
        both = np.concatenate([d, -d])
        check_convex(self.objective, both)
        with np.errstate(all="ignore"):
            bend = np.asarray(self.objective.second_derivative(both), dtype=np.float64)
            won, lost = np.maximum(np.split(bend, 2), 0.0)
            kappa = weighted(self.won, won) + weighted(self.lost, lost)
        return self.slopes(d)[0], kappa

    def softened(self, d: FloatArray, pull: FloatArray, soft: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """A slope where slope + (t - d) / soft = pull, the curvature of the least value in d, and the point t."""
        low, high = np.sort([d, d - soft * (self.slopes(d)[0] - pull)], axis=0)
        for _ in range(64):
            middle = 0.5 * (low + high)
            above = self.slopes(middle)[0] - pull + (middle - d) / soft > 0.0
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        first, last = self.slopes(low)[0], self.slopes(high)[0]
        jump = last - first > 1e-6 * (np.abs(first) + np.abs(last))
        t = 0.5 * (low + high)
        with np.errstate(divide="ignore"):
            kappa = np.where(jump, 1.0 / soft, 1.0 / (soft + 1.0 / self.smooth(t)[1]))
        return np.clip(pull + (d - t) / soft, first, last), kappa, t

    def argument_error(self, d: FloatArray) -> FloatArray:
        """Bound on what rounding may do to a margin inside the objective."""
        return ULPS * EPS * (1.0 + np.abs(d) + sum(abs(x) for x in self.objective.parameters.values()))

    def matrix(self, values: FloatArray, sign: float) -> FloatArray:
        result = np.zeros((self.size, self.size))
        result[self.a, self.b], result[self.b, self.a] = values, sign * values
        return result


def _check_existence(pairs: _Pairs, wins: FloatArray, components: IndexArray) -> None:
    """Raise ``ValueError`` where the loss falls for ever: by what a pair's loss rises by at last in each direction."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import linprog

    with np.errstate(all="ignore"):
        down, up, flat = np.asarray(pairs.objective.derivative(np.array([-np.inf, np.inf, FLAT])), dtype=np.float64)
    if math.isnan(down) or math.isnan(up):
        raise ValueError(f"`objective` must have slopes at -inf and inf; got {down} and {up}")
    parts = [weighted(wins, np.full(wins.shape, s)) for s in (up, down)]
    rise, size = parts[0] - parts[1].T, np.abs(parts[0]) + np.abs(parts[1].T)
    size[np.isinf(size)] = 0.0
    falling, rising = rise < -2.0 * pairs.relative * size, rise > 2.0 * pairs.relative * size
    if falling.any():
        # Other pairs may hold this one: they do if a flow without divergence has all slopes in their ranges.
        m, weight = pairs.a.size, pairs.won + pairs.lost
        ends, signs = np.concatenate([pairs.a, pairs.b]), np.concatenate([weight, -weight])
        signs = signs / np.bincount(ends, np.abs(signs), pairs.size)[ends]
        balance = csr_array(coo_array((signs, (ends, np.tile(np.arange(m), 2))), shape=(pairs.size, m)))
        ranges = np.stack([-rise[pairs.b, pairs.a], rise[pairs.a, pairs.b]], axis=1) / weight[:, None]
        if linprog(np.zeros(m), A_eq=balance, b_eq=np.zeros(pairs.size), bounds=ranges, method="highs").status == 2:
            a, b = (int(x) for x in np.unravel_index(int(np.argmin(rise)), rise.shape))
            where = f"Prob = {wins[a, b] / (wins[a, b] + wins[b, a]):.6g} of {a, b}, where it falls for ever"
            raise NoMinimumError(f"`annotator` must leave the loss bounded below; got {where}")
    elif down < 0.0 and up != flat and _parts(rising, "strong") > int(components.max()) + 1:
        raise NoMinimumError(
            "`annotator` must prefer outcomes in such a way that finite utilities fit best (Ford's condition); "
            "got a group of outcomes that always beats the rest, or does up to underflow of the probabilities"
        )


def _descend(
    derivatives: Derivatives, pairs: _Pairs, utilities: FloatArray, components: IndexArray, max_steps: int
) -> tuple[FloatArray, int]:
    """Newton's method until its steps are rounding; derivatives of each pair's loss come from differences."""
    trust, previous = TRUST, math.inf
    for steps in range(max_steps):
        d = pairs.differences(utilities)
        slope, kappa = derivatives(d)[:2]
        stiff = pairs.matrix(kappa + trust * np.abs(slope), 1.0)
        step = centred(solve_flows(stiff, pairs.matrix(-slope, -1.0)), components)
        longest, far = reach(step, components), float(np.abs(utilities).max())
        stalled = longest < 1e-6 * (1.0 + far) and longest > 0.5 * previous
        if not math.isfinite(longest) or longest <= EPS * far or stalled:
            return utilities, steps
        change = pairs.differences(step)
        # What rounding leaves of pairs that have arrived would hide the others.
        change[np.abs(change) < 1e-10 * longest] = 0.0
        length = _length(lambda t: float(derivatives(d + t * change)[0] @ change), float(slope @ change))  # noqa: B023
        trust = trust * TRUST if length >= 1.0 else min(1.0, trust / TRUST)
        utilities, previous = centred(utilities + length * step, components), longest
        if length * longest <= 1e-11 * (1.0 + far):
            # A kink on the way: derivatives lead no further.
            return utilities, steps + 1
    return utilities, max_steps


def _length(slope: Callable[[float], float], start: float) -> float:
    """How far to go where the slope is negative at first: to where it is small, by its sign."""
    length, here = 1.0, slope(1.0)
    while not here <= 0.1 * abs(start) and length > 1e-12:
        # Where a straight line through the two slopes is zero; rounding leaves slopes near zero that do not differ.
        length *= min(max(start / (start - here), 0.1), 0.5) if math.isfinite(here) and here != start else 0.1
        here = slope(length)
    while here < 0.25 * start and slope(2.0 * length) <= 0.0 and length < 1e6:
        length *= 2.0
        here = slope(length)
    return length


def _at_kinks(
    pairs: _Pairs, utilities: FloatArray, components: IndexArray, max_steps: int
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Utilities, points beside their differences, and slopes there that balance: the method of multipliers."""
    pull, errors = pairs.slopes(pairs.differences(utilities))
    weight = pairs.won + pairs.lost
    soft, steps = SOFT * pairs.relative / (weight * ((errors / weight).max() or pairs.relative)), 0
    while True:
        derivatives = partial(pairs.softened, pull=pull, soft=soft)
        utilities, more = _descend(derivatives, pairs, utilities, components, max_steps - steps)
        d = pairs.differences(utilities)
        pull, _, points = derivatives(d)
        steps += max(more, 1)
        if steps >= max_steps or (np.abs(d - points) <= pairs.argument_error(d)).all():
            return utilities, points, pull, steps


def _certificate(
    pairs: _Pairs, wins: FloatArray, d: FloatArray, points: FloatArray, flows: FloatArray, components: IndexArray
) -> Certificate:
    """What slopes at points near the utilities' differences prove, once a spanning tree carries what they lack."""
    kappa, norm = pairs.smooth(points)[1], float(np.linalg.norm(pairs.matrix(pairs.slopes(d)[0], -1.0).sum(axis=1)))
    shift = pairs.argument_error(np.maximum(np.abs(points), np.abs(d)))
    (low, low_error), (high, high_error) = pairs.slopes(points - shift), pairs.slopes(points + shift)
    # At kinks an edge carries what room its slopes leave.
    bend = np.maximum(np.maximum(kappa, (np.minimum(high - flows, flows - low) - high_error) / shift), 1e-320)
    # In large steps, so that edges about as good as each other make a tree with few pairs across its cuts.
    with np.errstate(divide="ignore"):
        tree = maximal_spanning_tree(np.floor(np.log(pairs.matrix(bend, 1.0)) / math.log(1.0 + pairs.size)))
    below, child, above = tree.edges()
    if below.size < pairs.size - int(components.max()) - 1:
        # Pairs that hold a component together have underflowed.
        return Certificate(math.inf, norm, 0.0, components, math.inf)
    # Some slope within `error` of the flow is the pair's own, at a point within twice the shift.
    error = np.maximum(np.maximum(low + low_error - flows, flows - high + high_error), 0.0)
    crossing = pairs.matrix(flows, -1.0)
    excess = tree.cut_sums(crossing, -1.0)[below]
    summed = pairs.matrix(error, 1.0) + 4.0 * pairs.size * EXTENDED * np.abs(crossing)
    spare = (1.0 + 1e-9) * tree.cut_sums(summed, 1.0)[below] + EPS * (np.abs(excess) + np.abs(crossing[child, above]))
    (first, first_error), (last, last_error) = pairs.slopes(d - shift), pairs.slopes(d + shift)
    apart = np.maximum(np.maximum(last - flows, flows - first), 0.0) + error + first_error + last_error
    moved = np.abs(d - points) + 2.0 * shift
    on_tree = replace(pairs, a=child, b=above, won=wins[child, above], lost=wins[above, child])
    at, target = pairs.matrix(points, -1.0)[child, above], crossing[child, above] - excess
    start = 1.5 * (np.abs(excess) + spare) / np.maximum(pairs.matrix(bend, 1.0)[child, above], 1e-300)
    right, left = (_bracket(on_tree, at, target, spare, start, sign) for sign in (1.0, -1.0))
    # The flow's own point lies only on that side on which it may be.
    along = np.maximum(np.where(spare > excess, right, 0.0), np.where(spare > -excess, left, 0.0))
    pushed = pairs.matrix(apart, 1.0)[child, above] + np.abs(excess) + spare
    way = pairs.matrix(moved, 1.0)[child, above]
    gap = float((pushed * (along + way)).sum() + (apart * moved).sum()) * (1.0 + 1e-9)
    wide = (float((np.maximum(right, left) + way).sum()) + below.size * float(moved.max(initial=0.0))) * (1.0 + 1e-9)
    held = _parts(pairs.matrix(kappa, 1.0) > 0.0, "weak") == int(components.max()) + 1
    least = smallest_eigenvalue(pairs.matrix(kappa, 1.0), components) if held else 0.0
    return Certificate(gap if gap == gap else math.inf, norm, least, components, wide)


def _parts(arrows: NDArray[np.bool_], connection: Literal["weak", "strong"]) -> int:
    return int(connected_components(csr_array(arrows), connection=connection)[0])


def _bracket(
    pairs: _Pairs, points: FloatArray, target: FloatArray, spare: FloatArray, start: FloatArray, sign: float
) -> FloatArray:
    """Distances from the points, to one side, at which every slope is beyond the target by more than what is spare."""
    distance = np.fmax(np.fmin(start, 1.0), 4.0 * pairs.argument_error(points))
    for _ in range(80):
        slope, error = pairs.slopes(points + sign * distance)
        short = ~(sign * (slope - target) - error > (1.0 + 1e-12) * spare)
        if not short.any():
            break
        distance[short] *= 2.0
    else:
        distance[short] = math.inf
    return distance + pairs.argument_error(points + sign * distance)
