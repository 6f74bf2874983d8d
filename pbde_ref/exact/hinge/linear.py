"""The least expected hinge loss without a regulariser, lambda = 0: a linear programme with a whole-numbered optimum.

The interior-point method comes close, rounding finds an optimum in whole numbers, shortest paths raise it to the
largest one, and a dual point that is exactly complementary to it certifies it and tells whether there are others.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.exact.hinge.duality import (
    EPS,
    ROUNDING,
    SUMMED,
    Minimum,
    exact_flow,
    finished,
    hinge_and_slackness,
    net_flow,
    route,
)
from pbde_ref.exact.hinge.interior_point import interior_point
from pbde_ref.exact.identifiability import null_projection
from pbde_ref.exact.maximum_flow import filled_flow
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "balanced", "best_whole_numbers", "complementary", "descended", "has_other_optimum", "largest_below",
    "largest_optimum", "linear_gap", "minimize_linear",
]  # fmt: skip


def minimize_linear(
    wins: FloatArray, delta: float, counted: NDArray[np.bool_], tolerance: float, max_steps: int,
    relative: float = 0.0,
) -> Minimum:
    """The linear programme at margin 1, times delta, for wins that are right to `relative`."""
    if delta == 0.0:
        groups = _strong_groups(wins > 0.0)[counted]
        return Minimum(np.zeros(len(wins)), np.zeros_like(wins), 0.0, 0.0, 0.0, bool((groups == groups[:1]).all()), 0)
    # Between strongly connected groups of arrows, wins in one direction only cost nothing: the programme splits. What
    # is rarer than rounding of the loss is left to the certificate.
    arrows = wins > 1e-14 * wins.sum()
    groups = _strong_groups(arrows)
    together = groups[:, None] == groups[None, :]
    split = np.where(together, wins, 0.0)
    gaps, s, dual, steps = [math.inf], np.zeros(len(wins)), np.zeros_like(wins), 0
    uniform = np.full(len(wins), 1.0 / len(wins))
    for iterate, flows, taken in interior_point(split, 1.0, 0.0, uniform, max_steps, null_projection(groups)):
        steps, (value, gap) = taken, linear_gap(split, iterate, flows)
        if gap < gaps[-1]:
            s, dual = iterate, flows
        gaps.append(min(gap, gaps[-1]))
        if finished(gaps, tolerance * value, ROUNDING * float(wins.sum())):
            break
    inside = np.where(together, s[None, :] - s[:, None], np.inf)
    s = best_whole_numbers(wins, largest_below(np.zeros(len(s)), np.where(arrows & ~together, -1.0, inside)))
    s, dual, complement = descended(wins, s, np.clip(dual, 0.0, wins))
    s, bounds = largest_optimum(wins, s, dual, complement)
    dual, unique = complementary(wins, s, dual, counted, relative)
    if unique is None and has_other_optimum(wins, s, bounds, counted):
        unique = False
    value, gap = linear_gap(wins, s, dual)[0], _proven_gap(wins, s, dual, relative)
    return Minimum(delta * s, dual, delta * value, delta * gap, ROUNDING * delta * float(wins.sum()), unique, steps)


def _strong_groups(arrows: NDArray[np.bool_]) -> IndexArray:
    """Strongly connected component of each outcome."""
    return np.asarray(connected_components(coo_array(arrows), connection="strong")[1], dtype=np.intp)


def linear_gap(wins: FloatArray, s: FloatArray, dual: FloatArray) -> tuple[float, float]:
    """Hinge at margin 1, and its excess over the bound that holds for every `dual` in [0, wins]."""
    value, slackness = hinge_and_slackness(wins, 1.0, s, dual)
    # Some optimum has a range of at most n - 1, so an imbalance of the flows costs the bound no more than this.
    flow = net_flow(dual)
    return value, max(0.0, slackness - float((flow * s).sum()) + 0.5 * (len(s) - 1) * float(np.abs(flow).sum()))


def _proven_gap(wins: FloatArray, s: FloatArray, dual: FloatArray, relative: float) -> float:
    """The gap for whole-numbered s with all that rounding may have done to it.

    Where the wins are right to `relative`, the dual point less that share of it is feasible; the slackness rises by
    twice the share of the hinge at most.
    """
    value, slackness = hinge_and_slackness(wins, 1.0, s, dual)
    flow, noise = exact_flow(dual)
    half = 0.5 * (len(s) - 1)
    imbalance = -float((flow * s).sum(dtype=np.longdouble)) + half * float(np.abs(flow).sum())
    imbalance += float((noise * (half - s)).sum()) + 2.0 * len(s) * EPS * half * float(np.abs(flow).sum())
    return (1.0 + SUMMED) * (slackness + 2.0 * relative * value + max(0.0, imbalance))


def largest_below(start: FloatArray, bounds: FloatArray) -> FloatArray:
    """The largest t with t <= start and t[j] <= t[i] + bounds[i, j]: shortest paths, after Bellman and Ford."""
    for _ in range(len(start)):
        lower = np.minimum(start, (start[:, None] + bounds).min(axis=0))
        if (lower == start).all():
            return start
        start = lower
    return start


def best_whole_numbers(wins: FloatArray, s: FloatArray) -> FloatArray:
    """The best of floor(s + t), 0 <= t <= 1. On average over t the loss is that of s, so the best is no worse."""
    rounded = np.floor(s)
    change, best, best_rounded = 0.0, 0.0, rounded.copy()
    for i in np.argsort(rounded - s, kind="stable"):
        margin = rounded[i] - rounded
        change += float((wins[:, i] * (margin >= -1.0)).sum() - (wins[i] * (margin < 1.0)).sum())
        rounded[i] += 1.0
        if change < best:
            best, best_rounded = change, rounded.copy()
    # A level that nothing occupies can be closed in each group that comparisons connect, at no loss.
    groups = connected_components(coo_array(wins > 0.0))[1]
    for group in range(groups.max() + 1):
        members = groups == group
        best_rounded[members] = -np.unique(-best_rounded[members], return_inverse=True)[1]
    return best_rounded


def descended(
    wins: FloatArray, s: FloatArray, dual: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Whole-numbered s that no cut improves, as far as digits show, and two dual points, the second complementary to s.

    Off the margin 1 complementary slackness fixes the dual. What that leaves unbalanced flows along the pairs at margin
    1. A cut which that flow fills has more than it can pass on: raising its outcomes by 1 lowers the hinge.
    """
    while True:
        margin = s[:, None] - s[None, :]
        flows, full = balanced(np.where(margin == 1.0, dual, np.where(margin < 1.0, wins, 0.0)), wins, margin == 1.0)
        raised = s + full
        value, lower = (hinge_and_slackness(wins, 1.0, t, wins)[0] for t in (s, raised))
        if full.all() or not lower < value:
            # The dual point that is given lies inside its box, which tells whether the optimum is unique.
            return s, dual, flows
        s, dual = raised, flows


def balanced(
    flows: FloatArray, wins: FloatArray, tight: NDArray[np.bool_]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Flows after the greatest part of what is unbalanced went along pairs at margin 1, and what the rest reaches."""
    room = np.where(tight, flows, 0.0) + np.where(tight, wins - flows, 0.0).T
    sent, full = filled_flow(room, net_flow(flows))
    # A pair has margin 1 in one order only. What its winner sends is taken off, what it gets is put on.
    return np.where(tight, np.clip(flows - sent, 0.0, wins), flows), full


def largest_optimum(wins: FloatArray, s: FloatArray, *duals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The largest whole-numbered optimum with s <= 0, and bounds [i, j] on s[j] - s[i] that describe all optima."""
    margin = s[:, None] - s[None, :]
    # Complementary slackness: a pair's margin is at least 1 where the dual is below c, at most 1 where it is above 0.
    compared = wins > 0.0
    for dual in duals:
        at_least = compared & ((margin > 1.0) | ((margin == 1.0) & (dual < (1.0 - 1e-7) * wins)))
        at_most = compared & ((margin < 1.0) | ((margin == 1.0) & (dual > 1e-7 * wins)))
        bounds = np.minimum(np.where(at_least, -1.0, np.inf), np.where(at_most, 1.0, np.inf).T)
        largest = largest_below(np.zeros(len(s)), bounds)
        # A dual point is known to rounding only, or not even that; what it suggests is checked.
        if _same_hinge(wins, largest, s):
            return largest, bounds
    groups = connected_components(coo_array(compared))[1]
    highest = np.full(len(s), -np.inf)
    np.maximum.at(highest, groups, s)
    return s - highest[groups], bounds


def _same_hinge(wins: FloatArray, s: FloatArray, optimum: FloatArray) -> bool:
    value, least = (hinge_and_slackness(wins, 1.0, t, wins)[0] for t in (s, optimum))
    return value <= least * (1.0 + 1e-13)


def has_other_optimum(wins: FloatArray, s: FloatArray, bounds: FloatArray, counted: NDArray[np.bool_]) -> bool:
    """Whether some outcomes can be lowered by 1 while others stay, at no loss."""
    # Outcomes that pull each other along move together; one of each group is tried.
    pulled = s[None, :] == s[:, None] + bounds
    for i in np.unique(_strong_groups(pulled), return_index=True)[1]:
        start = s.copy()
        start[i] -= 1.0
        lowered = largest_below(start, bounds)
        if np.ptp((lowered - s)[counted]) > 0.0 and _same_hinge(wins, lowered, s):
            return True
    return False


def complementary(
    wins: FloatArray, s: FloatArray, dual: FloatArray, counted: NDArray[np.bool_], relative: float = 0.0
) -> tuple[FloatArray, bool | None]:
    """A dual point that is exactly complementary to whole-numbered s, where one is found, and whether s is unique.

    Off the margin 1 the dual is 0 or c. What that leaves unbalanced flows along a spanning forest of the pairs at
    margin 1, those with most room in both directions. If room remains along a tree that spans everything, every
    optimum has these margins.
    """
    margin = s[:, None] - s[None, :]
    tight = margin == 1.0
    flows = np.where(tight, dual, np.where(margin < 1.0, wins, 0.0))
    room = np.where(tight, np.minimum(flows, wins - flows), 0.0)
    components = connected_components(coo_array(wins > 0.0))[0]
    (value, gap), unique = linear_gap(wins, s, dual), None
    # A pair at 0 or c has room in one direction all the same. Rare wins, which were left out of the programme, come
    # back through such pairs.
    for usable in (room, np.where(tight, np.maximum(room, EPS * wins), 0.0)):
        routed, arcs, tree = route(flows, usable, net_flow(flows), np.zeros(len(s)))
        routed_gap = linear_gap(wins, s, routed)[1]
        if (routed < 0.0).any() or (routed > wins).any() or routed_gap > gap:
            continue
        dual, gap = routed, routed_gap
        # What wins that are not quite right leave unbalanced off the margin has to find room as well.
        noise = 0.5 * float(np.abs(net_flow(routed)).sum())
        noise += (4.0 * len(s) * EPS + 2.0 * relative) * float(routed.sum())
        spare = (min(routed[arc], wins[arc] - routed[arc]) for arc in arcs)
        one_tree = tree.max() + 1 == components and bool((tree[counted] == tree[counted][:1]).all())
        if one_tree and min(spare, default=math.inf) > noise:
            unique = True
        if gap <= 1e-12 * value:
            return dual, unique
    rerouted, _ = balanced(flows, wins, tight)
    return (rerouted if linear_gap(wins, s, rerouted)[1] < gap else dual), unique
