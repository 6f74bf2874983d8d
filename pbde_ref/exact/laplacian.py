r"""Weighted graph Laplacians without a scale: solving, inverting, least eigenvalue, null space, effective resistances.

A Laplacian is given by its conductances, a symmetric matrix of non-negative weights :math:`\kappa_{AB}` whose diagonal
is not read. Outcomes are eliminated one by one, as Grassmann, Taksar and Heyman do for Markov chains: the star of an
outcome becomes a mesh between its neighbours,

.. math:: \kappa_{BC} \leftarrow \kappa_{BC} + \frac{\kappa_{xB}\, \kappa_{xC}}{\sum_D \kappa_{xD}},

and degrees are sums of what is left. Nothing is subtracted, so every conductance keeps its digits, whatever the ratio
of the largest to the smallest. Where the right side is the divergence of flows :math:`z_{AB} = -z_{BA}` along the
edges, as a gradient is, the flows are eliminated and not their sums; the solution is then an average, over spanning
trees, of sums of :math:`z_{AB} / \kappa_{AB}` along paths, and as accurate as these.
Proof: ``proofs/minimizer_certificate.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack, solve_triangular

from pbde_ref.numerics import EPS
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "Elimination", "SpanningTree", "centred", "effective_resistances", "eliminate",
    "maximal_spanning_tree", "null_projection", "pseudo_inverse", "smallest_eigenvalue",
    "solve_damped", "solve_flows", "solve_laplacian", "solve_quickly", "with_ground",
]  # fmt: skip

# Pivots that are eliminated together: their rows fit the cache, and the rest is updated by one matrix product.
BLOCK = 48
# Conductances are scaled so that the largest is about 2**SCALE; the smallest may be 1e570 times smaller.
SCALE = 900
# So many outcomes can be eliminated once for each group of pairs.
SMALL = 64


@dataclass(frozen=True, eq=False)
class Elimination:
    r"""What is left of a graph after its outcomes were eliminated in order.

    Attributes
    ----------
    shares : ndarray, shape (n, n)
        Row x has :math:`\kappa_{xB} / \sum_C \kappa_{xC}` for the outcomes B after x, at the time when x was
        eliminated; strictly upper triangular. Zero for the last outcome of a component.
    degree : ndarray, shape (n,)
        :math:`\sum_C \kappa_{xC}` at that time.
    sources : ndarray, shape (n,)
        The flows' divergence at that time.
    exponent : int
        Conductances and flows were multiplied by two to this power.
    """

    shares: FloatArray
    degree: FloatArray
    sources: FloatArray
    exponent: int

    def potentials(self, sources: FloatArray) -> FloatArray:
        """Solution for sources at the time of elimination, zero at the last outcome of each component."""
        with np.errstate(over="ignore"):
            own = np.divide(sources, self.degree, out=np.zeros(self.degree.size), where=self.degree > 0.0)
        return _substitute(self.shares, own)

    def solve(self, right: FloatArray) -> FloatArray:
        """Solution for a right side that sums to zero in each component, up to one constant for each."""
        forward = solve_triangular(
            np.eye(right.size) - self.shares, right, trans="T", unit_diagonal=True, check_finite=False
        )
        # In units of about the largest, so that neither it nor the conductances' scale leads out of float64.
        unit = int(np.frexp(np.abs(forward).max())[1])
        return np.asarray(np.ldexp(self.potentials(np.ldexp(forward, self.exponent - unit)), unit))

    def root(self) -> FloatArray:
        r"""M, non-negative, with :math:`M M^\top` the inverse where the last outcome of each component is grounded."""
        own = np.divide(1.0, np.sqrt(self.degree), out=np.zeros(self.degree.size), where=self.degree > 0.0)
        # Even powers of two come out of the root exactly.
        even = self.exponent - self.exponent % 2
        rest = 2.0 ** (0.5 * (self.exponent - even))
        with np.errstate(over="ignore"):
            return np.ldexp(_substitute(self.shares, np.diag(own * rest)), even // 2)

    def smallest_eigenvalue(self, components: IndexArray, mass: FloatArray | None = None) -> float:
        """Smallest eigenvalue of the Laplacian, over the masses, that is not zero; 0 where it underflows."""
        even = self.exponent - self.exponent % 2
        root = centred(np.ldexp(self.root(), -(even // 2)), components, mass)
        if mass is not None:
            root *= np.sqrt(mass)[:, None]
        largest = float(np.abs(root).max())
        if not 0.0 < largest < float("inf"):
            return 0.0
        scale = int(np.frexp(largest)[1])
        root = np.ldexp(root, -scale)
        # What is so small does not count, but LAPACK may stumble over it.
        root[np.abs(root) < 1e-30] = 0.0
        # LAPACK's search for single eigenvalues fails on some graded matrices; all of them it always finds.
        top = float(np.linalg.eigvalsh(root @ root.T)[-1])
        with np.errstate(under="ignore"):
            return float(np.ldexp(1.0 / top, -2 * scale - even))


def eliminate(conductances: FloatArray, flows: FloatArray | None = None) -> Elimination:
    """Eliminate all outcomes in order, and the flows along the edges, if there are any.

    Examples
    --------
    >>> import numpy as np
    >>> path = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 6.0], [0.0, 6.0, 0.0]])
    >>> eliminate(path).shares
    array([[0., 1., 0.],
           [0., 0., 1.],
           [0., 0., 0.]])
    """
    size = len(conductances)
    exponent = _exponent(conductances, flows)
    left = np.ldexp(conductances, exponent)
    moved = np.ldexp(flows, exponent) if flows is not None else None
    shares, degree, sources = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    _run(left, moved, size, shares, degree, sources)
    return Elimination(shares, degree, sources, exponent)


def solve_flows(conductances: FloatArray, flows: FloatArray) -> FloatArray:
    r"""Potentials whose Laplacian is the divergence of the flows: :math:`(L v)_A = \sum_B z_{AB}`, shape (n,).

    Weighted least squares, :math:`\min_v \sum \kappa_{AB} (v_A - v_B - z_{AB} / \kappa_{AB})^2`. Errors of differences
    are those of :math:`z_{AB} / \kappa_{AB}`, times at most the number of outcomes, however far apart the conductances
    are.

    Parameters
    ----------
    conductances : ndarray, shape (n, n)
    flows : ndarray, shape (n, n)
        Antisymmetric; what flows into A from B.

    Returns
    -------
    ndarray, shape (n,)
        Zero at the last outcome of each component.

    Examples
    --------
    >>> import numpy as np
    >>> kappa = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1e-30], [0.0, 1e-30, 0.0]])
    >>> flows = np.array([[0.0, 3.0, 0.0], [-3.0, 0.0, 5e-30], [0.0, -5e-30, 0.0]])
    >>> solve_flows(kappa, flows)
    array([8., 5., 0.])
    """
    elimination = eliminate(conductances, flows)
    return elimination.potentials(elimination.sources)


def solve_quickly(conductances: FloatArray, right: FloatArray, components: IndexArray) -> FloatArray | None:
    """Centred solution by a Cholesky factor of the Laplacian over root degrees, or None where that loses digits.

    To at least six digits, in a fraction of the time of `solve_flows`.

    Examples
    --------
    >>> import numpy as np
    >>> solve_quickly(np.array([[0.0, 4.0], [4.0, 0.0]]), np.array([1.0, -1.0]), np.array([0, 0])).round(9)
    array([ 0.125, -0.125])
    """
    degree = conductances.sum(axis=1)
    if not 1e-8 * degree.max() < degree.min():
        return None
    unit = 1.0 / np.sqrt(degree)
    # The null space, root degrees in each component, is filled in.
    share = degree / np.bincount(components, degree)[components]
    matrix = np.where(components[:, None] == components, np.sqrt(share[:, None] * share), 0.0)
    matrix -= unit[:, None] * conductances * unit
    np.einsum("ii->i", matrix)[:] += 1.0
    norm = float(np.abs(matrix).sum(axis=0).max())
    factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    if failed or not lapack.dpocon(factor, norm, uplo="L")[0] > 1e-8:
        return None
    return centred(unit * lapack.dpotrs(factor, unit * right, lower=1)[0], components)


def solve_laplacian(conductances: FloatArray, right: FloatArray, components: IndexArray) -> FloatArray:
    """Centred solution for a right side that sums to zero in each component, shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> solve_laplacian(np.array([[0.0, 4.0], [4.0, 0.0]]), np.array([1.0, -1.0]), np.array([0, 0])).round(9)
    array([ 0.125, -0.125])
    """
    quick = solve_quickly(conductances, right, components)
    return centred(eliminate(conductances).solve(right), components) if quick is None else quick


def solve_damped(laplacian: FloatArray, right: FloatArray, null: FloatArray, damping: float) -> FloatArray:
    """Solution among the vectors without null space, with a share of the largest degree added to each degree.

    What curvatures that have underflowed leave undetermined stays small instead.

    Examples
    --------
    >>> import numpy as np
    >>> solve_damped(np.zeros((2, 2)), np.array([1.0, -1.0]), np.zeros((2, 2)), 0.5)
    array([ 2., -2.])
    """
    scale = float(laplacian.diagonal().max()) or 1.0
    found = cho_solve(cho_factor(laplacian + scale * (null + damping * np.eye(right.size))), right)
    return np.asarray(found - null @ found)


def with_ground(conductances: FloatArray, to_ground: FloatArray) -> FloatArray:
    """Conductances of the graph with one more outcome, the last, that each is joined to, shape (n + 1, n + 1).

    Examples
    --------
    >>> import numpy as np
    >>> with_ground(np.array([[0.0, 2.0], [2.0, 0.0]]), np.array([1.0, 3.0]))
    array([[0., 2., 1.],
           [2., 0., 3.],
           [1., 3., 0.]])
    """
    return np.block([[conductances, to_ground[:, None]], [to_ground, np.zeros(1)]])


def effective_resistances(conductances: FloatArray, a: IndexArray, b: IndexArray) -> FloatArray:
    r"""Effective resistances :math:`R_{AB} = (e_A - e_B)^\top L^{+} (e_A - e_B)` of named pairs, shape (m,).

    All other outcomes are eliminated, and one over the last conductance is left: a value with digits, whatever other
    resistances there are. Right to 1e-13, and above 64 outcomes to 1e-10, in relative terms.

    Returns
    -------
    ndarray, shape (m,)
        Zero where A = B, infinite between components.

    Examples
    --------
    >>> import numpy as np
    >>> kappa = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 1e-30], [0.0, 1e-30, 0.0]])
    >>> effective_resistances(kappa, np.array([0, 0]), np.array([1, 2]))
    array([5.e-01, 1.e+30])
    """
    result = np.zeros(a.size)
    left = np.flatnonzero(a != b)
    size, exponent = len(conductances), _exponent(conductances, None)
    scaled = np.ldexp(conductances, exponent)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if size > SMALL and left.size:
            # One inverse serves all pairs whose resistance is not a difference of far larger numbers.
            root = eliminate(scaled).root()
            inverse = root @ root.T
            both = inverse.diagonal()[a] + inverse.diagonal()[b]
            found = both - 2.0 * inverse[a, b]
            good = (EPS * size * both < 1e-10 * found) & (a != b)
            result[good], left = np.ldexp(found[good], exponent), np.flatnonzero(~good & (a != b))
        if left.size:
            result[left] = np.ldexp(1.0 / _last_conductances(scaled, a[left], b[left]), exponent)
    return result


def pseudo_inverse(conductances: FloatArray, components: IndexArray) -> FloatArray:
    """Pseudo-inverse of the Laplacian, right to about 1e-15 n of its largest entry and a product M Mᵀ, shape (n, n).

    Examples
    --------
    >>> import numpy as np
    >>> pseudo_inverse(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 0]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    root = centred(eliminate(conductances).root(), components)
    return np.asarray(root @ root.T)


def smallest_eigenvalue(
    conductances: FloatArray, components: IndexArray, mass: FloatArray | None = None
) -> float:
    r"""Smallest eigenvalue of the Laplacian that is not zero; infinite if no two outcomes are joined.

    One over the largest of the pseudo-inverse, and thus right in relative terms however small it is. With masses m, of
    :math:`L v = \lambda\, m v`.

    Examples
    --------
    >>> import numpy as np
    >>> kappa = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> round(smallest_eigenvalue(kappa, np.array([0, 0, 1])), 12)
    2.0
    """
    if int(components.max()) + 1 == len(conductances):
        return float("inf")
    return eliminate(conductances).smallest_eigenvalue(components, mass)


def null_projection(components: IndexArray) -> FloatArray:
    """Orthogonal projection onto the vectors that are constant on each component, shape (n, n).

    Examples
    --------
    >>> import numpy as np
    >>> null_projection(np.array([0, 0, 1]))
    array([[0.5, 0.5, 0. ],
           [0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])
    """
    member = (components[:, None] == np.arange(components.max() + 1)).astype(np.float64)
    return (member / member.sum(axis=0)) @ member.T


def centred(values: FloatArray, components: IndexArray, mass: FloatArray | None = None) -> FloatArray:
    """Values, shape (n, …), less the mean of their component, weighted by masses if there are any.

    Examples
    --------
    >>> import numpy as np
    >>> centred(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1]))
    array([-1.,  1.,  0.])
    """
    result = np.array(values)
    order = np.argsort(components, kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(components))[:-1]):
        result[members] -= np.average(values[members], axis=0, weights=None if mass is None else mass[members])
    return result


@dataclass(frozen=True, eq=False)
class SpanningTree:
    """A spanning tree of each component.

    Attributes
    ----------
    order : ndarray of int, shape (n,)
        Outcomes, every one after the one that it hangs on.
    parent : ndarray of int, shape (n,)
        Position in `order` of the outcome that the one at this position hangs on; -1 for roots.
    """

    order: IndexArray
    parent: IndexArray

    def edges(self) -> tuple[IndexArray, IndexArray, IndexArray]:
        """Positions in `order` of those that hang on another; their outcomes, and what these hang on."""
        below = np.flatnonzero(self.parent >= 0)
        return below, self.order[below], self.order[self.parent[below]]

    def path_sums(self, steps: FloatArray) -> FloatArray:
        """Potentials with given differences, of each outcome to the one that it hangs on, by position; zero at roots.

        Examples
        --------
        >>> import numpy as np
        >>> SpanningTree(np.array([2, 0, 1]), np.array([-1, 0, 1])).path_sums(np.array([0.0, 1.0, 5.0]))
        array([1., 6., 0.])
        """
        result = np.zeros(self.order.size)
        for position in self.edges()[0]:
            result[self.order[position]] = result[self.order[self.parent[position]]] + steps[position]
        return result

    def distances(self, lengths: FloatArray) -> FloatArray:
        """Sums of lengths along the paths between all outcomes, shape (n, n); infinite between components.

        Examples
        --------
        >>> import numpy as np
        >>> SpanningTree(np.array([0, 1, 2]), np.array([-1, 0, -1])).distances(np.array([0.0, 3.0, 0.0]))
        array([[ 0.,  3., inf],
               [ 3.,  0., inf],
               [inf, inf,  0.]])
        """
        size = self.order.size
        result = np.full((size, size), np.inf)
        result[0, 0] = 0.0
        for position in range(1, size):
            if self.parent[position] >= 0:
                result[position, :position] = result[self.parent[position], :position] + lengths[position]
                result[:position, position] = result[position, :position]
            result[position, position] = 0.0
        back = np.argsort(self.order)
        return np.asarray(result[back[:, None], back])

    def cut_sums(self, flows: FloatArray, sign: float) -> FloatArray:
        """What flows, over all edges, from the rest into each outcome and those that hang on it; by position.

        `sign` is -1 for antisymmetric flows, and 1 for symmetric weights. Edges inside a group are never added, so that
        nothing large has to cancel; sums are in extended precision, where the machine has it.

        Examples
        --------
        >>> import numpy as np
        >>> flows = np.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 4.0], [-2.0, -4.0, 0.0]])
        >>> SpanningTree(np.array([0, 1, 2]), np.array([-1, 0, 1])).cut_sums(flows, -1.0)
        array([ 0., -3., -6.])
        """
        left = flows[self.order[:, None], self.order].astype(np.longdouble)
        result = np.zeros(self.order.size)
        for position in range(self.order.size - 1, 0, -1):
            above = self.parent[position]
            if above >= 0:
                row = left[position, :position].copy()
                result[position] = row.sum()
                row[above] = 0.0
                left[above, :above] += row[:above]
                left[above + 1 : position, above] += sign * row[above + 1 :]
        return result


def maximal_spanning_tree(weights: FloatArray) -> SpanningTree:
    """The spanning tree whose weakest edges are strongest, of each component; weights of -inf are no edges.

    Examples
    --------
    >>> import numpy as np
    >>> none = -np.inf
    >>> tree = maximal_spanning_tree(np.array([[none, 1.0, 3.0], [1.0, none, 2.0], [3.0, 2.0, none]]))
    >>> tree.order, tree.parent
    (array([0, 2, 1]), array([-1,  0,  1]))
    """
    size = len(weights)
    order, parent = np.zeros(size, dtype=np.intp), np.full(size, -1, dtype=np.intp)
    best, above = np.full(size, -np.inf), np.zeros(size, dtype=np.intp)
    free = np.ones(size, dtype=bool)
    for position in range(size):
        chosen = int(np.argmax(best))
        if best[chosen] == -np.inf:
            chosen = int(np.argmax(free))
        else:
            parent[position] = above[chosen]
        order[position], free[chosen] = chosen, False
        best[chosen] = -np.inf
        better = free & (weights[chosen] > best)
        best[better], above[better] = weights[chosen][better], position
    return SpanningTree(order, parent)


def _exponent(conductances: FloatArray, flows: FloatArray | None) -> int:
    largest = float(conductances.max(initial=0.0))
    if flows is not None:
        largest = max(largest, float(np.abs(flows).max(initial=0.0)))
    return SCALE - int(np.frexp(largest)[1]) if largest > 0.0 else 0


def _run(
    left: FloatArray,
    moved: FloatArray | None,
    count: int,
    shares: FloatArray,
    degree: FloatArray,
    sources: FloatArray,
) -> None:
    """Eliminate the first `count` outcomes, in place."""
    for low in range(0, count, BLOCK):
        high = min(count, low + BLOCK)
        rows = left[low:high, low:].copy()
        flow = moved[low:high, low:].copy() if moved is not None else None
        part, rooted = shares[low:high, low:], np.zeros(rows.shape)
        for i in range(high - low):
            row = rows[i, i + 1 :]
            degree[low + i] = total = row.sum()
            if flow is not None:
                sources[low + i] = flow[i, i + 1 :].sum()
            if total == 0.0:
                continue
            np.divide(row, total, out=part[i, i + 1 :])
            # Over the root on both sides: a share may underflow where the product with a large conductance does not.
            root = rooted[i, i + 1 :]
            np.divide(row, np.sqrt(total), out=root)
            ahead = high - low - i - 1
            # The diagonal is written, and never read.
            rows[i + 1 :, i + 1 :] += root[:ahead, None] * root
            if flow is not None:
                own = flow[i, i + 1 :]
                own /= np.sqrt(total)
                flow[i + 1 :, i + 1 :] += root[:ahead, None] * own
                flow[i + 1 :, i + 1 :] -= own[:ahead, None] * root
        behind = slice(high - low, None)
        left[high:, high:] += rooted[:, behind].T @ rooted[:, behind]
        if moved is not None and flow is not None:
            turned = rooted[:, behind].T @ flow[:, behind]
            moved[high:, high:] += turned
            moved[high:, high:] -= turned.T


def _substitute(shares: FloatArray, own: FloatArray) -> FloatArray:
    """Solve ``v = shares v + own`` from the last outcome back; for non-negative `own` nothing is subtracted."""
    found = solve_triangular(np.eye(len(shares)) - shares, own, unit_diagonal=True, check_finite=False)
    return np.asarray(found, dtype=np.float64)


def _last_conductances(conductances: FloatArray, a: IndexArray, b: IndexArray) -> FloatArray:
    """Conductance of each pair once all other outcomes are eliminated."""
    kept, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    others = np.delete(np.arange(len(conductances)), kept)
    order = np.concatenate([others, kept])
    left = conductances[order[:, None], order]
    size, count = len(order), others.size
    _run(left, None, count, np.zeros((size, size)), np.zeros(size), np.zeros(size))
    left = left[count:, count:]
    a, b = index[: a.size], index[a.size :]
    if kept.size == 2:
        return left[a, b]
    # Halve the pairs along the side that has more outcomes, so that each half can do without some of them.
    key = a if np.unique(a).size >= np.unique(b).size else b
    sorted_pairs = np.argsort(key, kind="stable")
    result = np.empty(a.size)
    for half in np.array_split(sorted_pairs, 2):
        result[half] = _last_conductances(left, a[half], b[half])
    return result
