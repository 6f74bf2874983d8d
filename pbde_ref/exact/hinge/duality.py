"""Hinge losses: what a policy and a dual point prove about each other, and how a dual point is mended.

A dual point gives each ordered pair a flow between 0 and `wins`, the probability that the first meets the second and
wins. It bounds the loss of every policy from below; primal minus dual value is the gap. What an outcome receives beyond
its due is sent along a spanning forest to outcomes that have room for it. The bounds are proved in ``proofs/slic.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from pbde_ref.numerics import EPS
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "EPS", "ROUNDING", "SUMMED", "Minimum", "exact_flow", "finished", "hinge_and_slackness", "net_flow", "route",
]  # fmt: skip


# A sum of up to 2^48 non-negative terms, added in pairs, each of them rounded a few times, is right to this.
SUMMED = 64.0 * EPS

# A gap this small in the unit of the hinge, margin times mass of the pairs, is what rounding leaves of zero.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class Minimum:
    """Utilities with maximum 0, a feasible dual point, and what they prove. The hinge leaves out the diagonal.

    The gap of a result counts what rounding may have done to the wins and to its own sums.
    """

    s: FloatArray
    dual: FloatArray
    hinge: float
    gap: float
    resolution: float
    unique: bool | None
    steps: int


def finished(gaps: list[float], enough: float, resolution: float) -> bool:
    """Whether the least gaps so far are well within what is enough, or within it and not halved in three steps."""
    stalled = len(gaps) > 3 and gaps[-1] > 0.5 * gaps[-4]
    return gaps[-1] <= max(1e-3 * enough, 0.1 * resolution) or (stalled and gaps[-1] <= max(enough, resolution))


def hinge_and_slackness(wins: FloatArray, delta: float, s: FloatArray, dual: FloatArray) -> tuple[float, float]:
    """The hinge without its diagonal, and by how much it exceeds the sum of dual * (delta - d)."""
    short = delta - (s[:, None] - s[None, :])
    below, above = np.maximum(short, 0.0), np.maximum(-short, 0.0)
    return float((wins * below).sum()), float(((wins - dual) * below + dual * above).sum())


def net_flow(dual: FloatArray) -> FloatArray:
    """Row sums minus column sums."""
    return dual.sum(axis=1) - dual.sum(axis=0)


def exact_flow(dual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Row sums minus column sums, and bounds on what rounding did to them; in extended precision where there is one."""
    gained, lost = dual.sum(axis=1, dtype=np.longdouble), dual.sum(axis=0, dtype=np.longdouble)
    flow = (gained - lost).astype(np.float64)
    depth = (len(dual) + 4.0) * float(np.finfo(np.longdouble).eps)
    return flow, EPS * np.abs(flow) + depth * (gained + lost).astype(np.float64)


def route(
    flows: FloatArray, room: FloatArray, surplus: FloatArray, preference: FloatArray
) -> tuple[FloatArray, list[tuple[int, int]], IndexArray]:
    """Flows after each outcome's surplus went to the root of its tree, the arcs used, and each outcome's tree.

    The trees span what room connects, by the arcs with most of it; each has its root where `preference` is largest.
    """
    positive = room > 0.0
    log_room = np.log(np.where(positive, room, 1.0))
    cost = np.where(positive, 1.0 + log_room.max(where=positive, initial=-np.inf) - log_room, 0.0)
    forest = minimum_spanning_tree(coo_array(cost).tocsr())
    tree = connected_components(forest)[1]
    order = np.argsort(-preference, kind="stable")
    routed, surplus, arcs = flows.copy(), surplus.copy(), []
    for root in order[np.unique(tree[order], return_index=True)[1]]:
        members, parents = breadth_first_order(forest, root, directed=False)
        for child in members[:0:-1]:  # leaves first
            parent = parents[child]
            upward = room[child, parent] >= room[parent, child]
            arcs.append((child, parent) if upward else (parent, child))
            routed[arcs[-1]] += -surplus[child] if upward else surplus[child]
            surplus[parent] += surplus[child]
    return routed, arcs, tree
