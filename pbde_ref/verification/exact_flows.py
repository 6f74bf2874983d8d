r"""Exact optima of SLiC and RRHF, from maximum flows in whole numbers.

Every floating-point number is a whole number over a power of two, so after one common scaling all capacities are whole
numbers and nothing here is rounded, whatever the scale of the weights. Nothing here uses the rest of the package.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from itertools import pairwise

from pbde_ref.validation import FloatArray

__all__ = ["even_policy", "least_hinge"]

Capacities = list[list[int]]


def least_hinge(wins: FloatArray) -> Fraction:
    r"""Least value of :math:`\sum_{A \ne B} c_{AB} (1 - s_A + s_B)^+` over all scores s.

    Its dual is the circulation :math:`0 \le y \le c` of greatest total. Start with y = c; what is too much is taken
    back by flows along the arcs, each arc at cost one, cheapest paths first. The paths' lengths are scores whose loss
    must equal the total that is left: each bounds the other, so both are optimal.

    Parameters
    ----------
    wins : ndarray, shape (n, n)
        c: how often A meets B and wins. The diagonal does not count.

    Examples
    --------
    >>> import numpy as np
    >>> least_hinge(np.array([[0.0, 0.75], [0.25, 0.0]]))  # s = (1, 0): only the upset costs, a margin of 2
    Fraction(1, 2)
    """
    (c, *_), scale = _whole([wins.tolist()])
    n = len(c)
    for x in range(n):
        c[x][x] = 0
    taken = [[0] * n for _ in range(n)]
    excess = [sum(c[x]) - sum(row[x] for row in c) for x in range(n)]
    while any(e > 0 for e in excess):
        _take_back(c, taken, excess, _path_lengths(c, taken, [0 if e > 0 else None for e in excess]))
    total = sum(map(sum, c)) - sum(map(sum, taken))
    length = _path_lengths(c, taken, [0] * n)
    loss = sum(c[a][b] * max(0, 1 + length[a] - length[b]) for a in range(n) for b in range(n))
    if loss != total:
        raise ArithmeticError(f"scores and circulation must prove each other optimal; got {loss} and {total}")
    return Fraction(total, scale)


def even_policy(wins: FloatArray, best: FloatArray) -> list[Fraction]:
    r"""The minimiser of RRHF with likelihood term and equal lengths, as exact fractions.

    Its dual raises the entropy of :math:`m_x = b_x + \sum_B (u_{xB} - u_{Bx})`, :math:`0 \le u_{AB} \le c_{AB}`, as far
    as the flow u allows. The vectors m are those with :math:`m(T) \le f(T) = b(T) + c(T, \text{rest})` for all sets T
    and equality for the whole: the base polytope of a submodular function, whose most even point is found by dividing
    (Fujishige, 1980). If no set has :math:`f(T) < \alpha |T|`, α the mean, all m are α; otherwise the set where this
    fails most takes as little as it must, and the two parts are divided further.

    Parameters
    ----------
    wins : ndarray, shape (n, n)
        c.
    best : ndarray, shape (n,)
        b, how often x is the best candidate.

    Examples
    --------
    >>> import numpy as np
    >>> even_policy(np.array([[0.0, 0.875], [0.125, 0.0]]), np.array([0.875, 0.125]))  # 7/8 less 1/8
    [Fraction(3, 4), Fraction(1, 4)]
    """
    (c, (b,)), _ = _whole([wins.tolist(), [best.tolist()]])
    total = sum(b)
    result = [Fraction(0)] * len(b)
    parts = [(list(range(len(b))), b)]
    while parts:
        members, b = parts.pop()
        low = _lowest_set(members, b, c)
        if not low:
            for x in members:
                result[x] = Fraction(sum(b), len(members) * total)
            continue
        high = [x for x in members if x not in low]
        at = dict(zip(members, b, strict=True))
        parts.append((low, [at[x] + sum(c[x][y] for y in high) for x in low]))
        parts.append((high, [at[x] - sum(c[y][x] for y in low) for x in high]))
    return result


def _lowest_set(members: list[int], b: list[int], c: Capacities) -> list[int]:
    """The smallest set T that minimises ``f(T) - mean * len(T)``, by a minimum cut; empty if the minimum is zero."""
    n, total = len(members), sum(b)
    source, sink = n, n + 1
    capacity = [[n * c[x][y] if x != y else 0 for y in members] + [0, 0] for x in members]
    capacity += [[0] * (n + 2) for _ in (source, sink)]
    for i, own in enumerate(b):
        above = n * own - total
        capacity[i][sink], capacity[source][i] = max(above, 0), max(-above, 0)
    flow = _greatest_flow(capacity, source, sink)
    if sum(flow[source]) == sum(capacity[source]):
        return []
    reached = _layers(capacity, flow, source)
    return [x for i, x in enumerate(members) if reached[i] is not None]


def _take_back(c: Capacities, taken: Capacities, excess: list[int], length: list[int]) -> None:
    """Send as much excess as goes along shortest paths; `taken` and `excess` change in place."""
    n = len(c)
    capacity = [[0] * (n + 2) for _ in range(n + 2)]
    source, sink = n, n + 1
    for a in range(n):
        capacity[source][a], capacity[a][sink] = max(excess[a], 0), max(-excess[a], 0)
        for b in range(n):
            if length[b] == length[a] + 1:
                capacity[a][b], capacity[b][a] = c[a][b] - taken[a][b], taken[a][b]
    flow = _greatest_flow(capacity, source, sink)
    for a in range(n):
        excess[a] += flow[a][sink] - flow[source][a]
        for b in range(n):
            if length[b] == length[a] + 1:
                taken[a][b] += flow[a][b]


def _path_lengths(c: Capacities, taken: Capacities, start: list[int | None]) -> list[int]:
    """Shortest paths from the outcomes at zero: along an arc 1 while it has something left, against it -1."""
    n = len(c)
    arcs = [(a, b, 1) for a in range(n) for b in range(n) if c[a][b] > taken[a][b]]
    arcs += [(b, a, -1) for a in range(n) for b in range(n) if taken[a][b] > 0]
    length = list(start)
    changed = True
    while changed:
        changed = False
        for a, b, cost in arcs:
            here, there = length[a], length[b]
            if here is not None and (there is None or there > here + cost):
                length[b], changed = here + cost, True
    # What no excess reaches lies beyond everything that it does.
    farthest = max(value for value in length if value is not None)
    return [farthest + n if value is None else value for value in length]


def _greatest_flow(capacity: Capacities, source: int, sink: int) -> Capacities:
    """Dinic's algorithm; the result is antisymmetric, entry [a][b] the net flow from a to b."""
    n = len(capacity)
    flow = [[0] * n for _ in range(n)]
    while (layer := _layers(capacity, flow, source))[sink] is not None:
        onward = [
            [b for b in range(n) if layer[b] == (layer[a] or 0) + 1 and layer[a] is not None and
             capacity[a][b] > flow[a][b]]
            for a in range(n)
        ]  # fmt: skip
        while (route := _route(onward, source, sink)) is not None:
            most = min(capacity[a][b] - flow[a][b] for a, b in route)
            for a, b in route:
                flow[a][b] += most
                flow[b][a] -= most
                if flow[a][b] == capacity[a][b]:
                    onward[a].remove(b)
    return flow


def _layers(capacity: Capacities, flow: Capacities, source: int) -> list[int | None]:
    """Number of arcs from the source to each node, along arcs that can carry more; None where none lead."""
    layer: list[int | None] = [None] * len(capacity)
    layer[source] = 0
    waiting = deque([source])
    while waiting:
        a = waiting.popleft()
        for b, (most, now) in enumerate(zip(capacity[a], flow[a], strict=True)):
            if layer[b] is None and most > now:
                layer[b] = (layer[a] or 0) + 1
                waiting.append(b)
    return layer


def _route(onward: list[list[int]], source: int, sink: int) -> list[tuple[int, int]] | None:
    """Arcs of a path to the sink; dead ends are removed from `onward` on the way."""
    path = [source]
    while path[-1] != sink:
        if onward[path[-1]]:
            path.append(onward[path[-1]][-1])
        elif len(path) == 1:
            return None
        else:
            dead = path.pop()
            onward[path[-1]].remove(dead)
    return list(pairwise(path))


def _whole(matrices: list[list[list[float]]]) -> tuple[list[Capacities], int]:
    """Floating-point numbers times one power of two that makes all of them whole."""
    ratios = [[[value.as_integer_ratio() for value in row] for row in matrix] for matrix in matrices]
    scale = max(denominator for matrix in ratios for row in matrix for _, denominator in row)
    return [[[top * (scale // bottom) for top, bottom in row] for row in matrix] for matrix in ratios], scale
