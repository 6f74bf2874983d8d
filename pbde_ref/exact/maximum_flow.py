"""The greatest flow from outcomes that have too much to outcomes that have too little, and the cut that it fills.

Capacities may differ by any number of orders of magnitude: each path fills an arc, or an end of its own, to the last
digit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["filled_flow"]


def filled_flow(room: FloatArray, surplus: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The greatest flow from where there is too much to where there is too little, and how far the rest would get.

    Dinic's algorithm. Entry [a, b] of the flow, antisymmetric, is what goes from a to b, at most ``room[a, b]``. Where
    all that is too much leaves, or all that is missing arrives, there is no cut, and everything counts as reached.

    Examples
    --------
    >>> import numpy as np
    >>> room = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    >>> flow, full = filled_flow(room, np.array([2.0, 0.0, -2.0]))
    >>> flow[0, 1], flow[1, 2], full
    (np.float64(1.0), np.float64(1.0), array([ True,  True, False]))
    """
    room, surplus, flow = room.copy(), surplus.copy(), np.zeros_like(room)
    while True:
        layer = _layers(room > 0.0, surplus > 0.0)
        reached = layer >= 0
        if not (surplus[reached] < 0.0).any():
            return flow, reached if (surplus[~reached] < 0.0).any() else np.ones(surplus.size, dtype=bool)
        onward = (room > 0.0) & reached[:, None] & (layer == layer[:, None] + 1)
        for source in np.flatnonzero(surplus > 0.0):
            path = [int(source)]
            while path and surplus[source] > 0.0:
                here = path[-1]
                there = int(np.argmax(onward[here]))
                if surplus[here] < 0.0:
                    a, b = np.array(path[:-1]), np.array(path[1:])
                    amount = min(float(surplus[source]), -float(surplus[here]), float(room[a, b].min()))
                    for matrix, change in ((flow, amount), (room, -amount)):
                        matrix[a, b] += change
                        matrix[b, a] -= change
                    surplus[source] -= amount
                    surplus[here] += amount
                    onward[a, b] = room[a, b] > 0.0
                    path = [int(source)]
                elif onward[here, there]:
                    path.append(there)
                else:
                    path.pop()
                    onward[path[-1:], here] = False


def _layers(arcs: NDArray[np.bool_], start: NDArray[np.bool_]) -> IndexArray:
    """Number of arcs to each outcome from the nearest one to start from; -1 where none lead."""
    layer = np.where(start, 0, -1)
    for depth in range(1, layer.size):
        next_ones = arcs[layer == depth - 1].any(axis=0) & (layer < 0)
        if not next_ones.any():
            break
        layer[next_ones] = depth
    return layer
