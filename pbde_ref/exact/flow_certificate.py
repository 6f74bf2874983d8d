r"""A bound on the distance to the minimum of an expected Bradley–Terry loss, rounding included, by electric networks.

Let flows :math:`f` have the divergence of the loss's true gradient. With the effective resistances R of the Hessian's
conductances,

.. math:: E = \sum_e |f_e|\, R_e < 1 \;\Rightarrow\;
          \max_{A, B} |(\omega - \omega^\circ)_A - (\omega - \omega^\circ)_B| \le -\log(1 - E), \qquad
          F(\omega) - F(\omega^\circ) \le \Gamma\, \frac{E + (1 - E) \log(1 - E)}{E^2},

where :math:`\Gamma = \sum_e f_e^2 / \kappa_e` or :math:`(\sum_e |f_e| \sqrt{R_e})^2`. Proof:
``proofs/minimizer_certificate.md``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pbde_ref.exact.laplacian import Elimination, SpanningTree, maximal_spanning_tree
from pbde_ref.exact.pair_flows import PairFlows
from pbde_ref.numerics import EPS, log1p_gap
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["FlowBound", "flow_bound", "left_over", "reach"]

# Of sums over what crosses a cut.
EXTENDED = float(np.finfo(np.longdouble).eps)


class FlowBound(NamedTuple):
    """Bounds on the loss above its minimum and on the error of utilities' differences; what rounding alone may do."""

    gap: float
    utility_error: float
    rounding: float
    connected: bool


def flow_bound(
    point: PairFlows, eliminated: Elimination, errors: FloatArray, step: FloatArray, components: IndexArray
) -> FlowBound:
    """Bounds at a point, in the units of its flows.

    Parameters
    ----------
    point : PairFlows
        Flows and conductances.
    eliminated : Elimination
        Of these conductances.
    errors : ndarray, shape (n, n)
        Bound on each flow's rounding.
    step : ndarray, shape (n,)
        Potentials that nearly have the flows' divergence: Newton's step. The closer, the tighter the bounds.
    components : ndarray of int, shape (n,)
        Of the comparison graph.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.exact.laplacian import eliminate
    >>> point = PairFlows(np.array([[0.0, 0.025], [-0.025, 0.0]]), np.array([[0.0, 0.25], [0.25, 0.0]]))
    >>> exact, step = np.zeros((2, 2)), np.array([0.1, 0.0])
    >>> bound = flow_bound(point, eliminate(point.conductances), exact, step, np.array([0, 0]))
    >>> round(bound.utility_error, 6), round(bound.gap, 6)  # -log(1 - 0.1); 0.0025 * 0.517...
    (0.105361, 0.001294)
    """
    flows, kappa = point
    with np.errstate(divide="ignore"):
        tree = maximal_spanning_tree(np.log(kappa))
    below, child, above = tree.edges()
    determined = len(kappa) - int(components.max()) - 1
    if below.size < determined:
        # Conductances have underflowed.
        return FlowBound(math.inf, math.inf, math.inf, False)
    change = kappa * (step[:, None] - step)
    errors = errors + 2.0 * EPS * np.abs(flows)
    errors += 2.0 * EPS * np.abs(change)
    moved = left_over(tree, flows - change)[below]
    paths = _resistance_bounds(kappa, tree, eliminated, components)
    if not np.isfinite(paths).all():
        # They have nearly underflowed: one over them overflows.
        return FlowBound(math.inf, math.inf, math.inf, False)
    # Each pair stands in the matrix twice.
    rounding = 0.5 * float((errors * paths).sum())
    along = paths[child, above]
    stepped = min(determined * reach(step, components), 0.5 * float((np.abs(change) * paths).sum()))
    total = (stepped + rounding + float((moved * along).sum())) * (1.0 + 1e-9)
    if not total < 1.0:
        return FlowBound(math.inf, math.inf, rounding, True)
    together = 0.5 * float((errors * np.sqrt(paths)).sum())
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        apart = math.sqrt(0.5 * float(np.where(errors > 0.0, errors * (errors / kappa), 0.0).sum()))
    change *= step[:, None] - step
    energy = math.sqrt(0.5 * float(change.sum())) + min(apart, together) + float((moved * np.sqrt(along)).sum())
    return FlowBound(energy**2 * (1.0 + 1e-9) * _bregman(total), -math.log1p(-total), rounding, True)


def left_over(tree: SpanningTree, rest: FloatArray) -> FloatArray:
    """Bounds on what flows along each tree edge where the tree carries the rest, by position.

    Edges inside a group never enter what crosses its border.

    Examples
    --------
    >>> import numpy as np
    >>> tree = SpanningTree(np.array([0, 1, 2]), np.array([-1, 0, 1]))
    >>> left_over(tree, np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]))  # on the way from 0 to 2
    array([0., 2., 2.])
    """
    over = np.abs(tree.cut_sums(rest, -1.0)) * (1.0 + EPS)
    return np.asarray(over + 4.0 * len(rest) * EXTENDED * tree.cut_sums(np.abs(rest), 1.0))


def _resistance_bounds(
    kappa: FloatArray, tree: SpanningTree, eliminated: Elimination, components: IndexArray
) -> FloatArray:
    """Upper bounds on the effective resistances of all pairs: by the pair itself, the tree's path, or the inverse."""
    below, child, above = tree.edges()
    lengths = np.zeros(len(kappa))
    with np.errstate(divide="ignore", over="ignore"):
        lengths[below] = 1.0 / kappa[child, above]
        result = tree.distances(lengths)
        np.minimum(result, _resistances(eliminated), out=result)
        np.minimum(result, 1.0 / kappa, out=result)
    # Between components nothing flows.
    result[components[:, None] != components] = 0.0
    np.fill_diagonal(result, 0.0)
    return result


def reach(step: FloatArray, components: IndexArray) -> float:
    """Largest difference of two entries of one component.

    Examples
    --------
    >>> import numpy as np
    >>> reach(np.array([1.0, 9.0, 2.5]), np.array([0, 1, 0]))
    1.5
    """
    if not components.any():
        return float(np.ptp(step))
    count = int(components.max()) + 1
    high, low = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(high, components, step)
    np.minimum.at(low, components, step)
    return float((high - low).max())


def _resistances(eliminated: Elimination) -> FloatArray:
    """Upper bounds on effective resistances, which rounding spoils only where they are small beside others."""
    size = eliminated.degree.size
    with np.errstate(over="ignore", invalid="ignore"):
        root = eliminated.root()
        result = root @ root.T
        own = result.diagonal() * (1.0 + 8.0 * size * (math.log2(size) + 8.0) * EPS)
        result *= -2.0
        result += own
        result += own[:, None]
    return np.where(np.isfinite(result), result, np.inf)


def _bregman(r: float) -> float:
    """``(r + (1 - r) log(1 - r)) / r**2``, which is about one half, without cancellation."""
    # (1 − r)(log(1 − r) + r) + r²; the first term is −(1 − r) times the gap of the logarithm.
    r = max(r, 1e-100)
    return 1.0 - (1.0 - r) * float(log1p_gap(np.asarray(-r))) / (r * r)
