r"""The best proposal over all pairs: an interior-point method, certified by the equivalence theorem.

The logarithm of every criterion is convex in the weights, with slope :math:`-\phi_e`; the best weights are where no
slope is above 1. A few multiplicative steps come first; then Newton's method on weights and the multipliers of
:math:`w \ge 0`, by conjugate gradients: the Hessian times a vector is two products of n × n matrices, however many
pairs there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pbde_ref.annotators import Annotator
from pbde_ref.design.criteria import Measured, Question, measure, question, squared_distances, value_in_range
from pbde_ref.display import Shown
from pbde_ref.exact.results import unmet
from pbde_ref.numerics import sigmoids
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import PairListProposal
from pbde_ref.validation import FloatArray, IndexArray, positive_number, whole_number

__all__ = ["Design", "optimal_design"]

# Multiplicative steps before the first of Newton's; far from the optimum they gain more in the same time.
FIRST_STEPS = 30
# By how much each of Newton's steps lowers what is left of the gap, and how far its equations are solved.
CENTRING, RESIDUAL = 0.15, 0.03
MOST_PRODUCTS = 300
# A pair that tells this share of what any tells of one of its outcomes stays.
SHARE = 1e-4
# Neighbours further apart say too little of each other for double precision.
MOST_NATS = 100.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Design(Shown):
    r"""Which pairs to compare, and how often.

    Attributes
    ----------
    proposal : PairListProposal
        Pairs by falling weight.
    value : float
        `design_value` of `proposal`, that of one comparison.
    gap : float
        Upper bound on the share of `value` that a better proposal could save, rounding included.
    converged : bool
        Whether `gap` is within the tolerance.
    steps : int
        Of Newton's method.
    reason : str
        Why the result is not converged, in a sentence; mostly empty.
    """

    proposal: PairListProposal
    value: float
    gap: float
    converged: bool
    steps: int
    reason: str = ""

    def comparisons_needed(self, value: float) -> int:
        """How many comparisons bring the criterion to this value, for large numbers; rounded up.

        Examples
        --------
        >>> import pbde_ref as pb
        >>> design = pb.optimal_design(pb.Annotator(pb.uniform("ab"), pb.luce()), "A")
        >>> design.comparisons_needed(0.02)
        100
        """
        # What is above a whole number by rounding alone is that number.
        return math.ceil(self.value / positive_number("value", value, least=1e-100) * (1.0 - 1e-12))


def optimal_design(
    annotator: Annotator,
    criterion: str = "policy",
    process: PBDE | None = None,
    *,
    tolerance: float = 1e-8,
    max_steps: int = 100,
) -> Design:
    r"""The proposal with the least `design_value` of all.

    By the equivalence theorem of Kiefer and Wolfowitz (1960), weights w on pairs e are the best exactly where

    .. math:: \max_e \phi_e = 1, \qquad \phi_e = -\frac{\partial \log \text{value}}{\partial w_e}, \qquad
              \textbf{D}: \phi_e = \frac{c_e R_e}{n - 1}, \quad
              \textbf{A, policy}: \phi_e = \frac{c_e |F I^+ (e_A - e_B)|^2}{\operatorname{tr}(F I^+ F^\top)}

    with :math:`c_e = \sigma(d)\,\sigma(-d)`, R the effective resistances of :math:`I = \sum_e w_e c_e e e^\top`. No
    proposal at all has a value below :math:`\text{value} / \max_e \phi_e`: that is `gap`.

    Parameters
    ----------
    annotator, criterion, process
        As for `design_value`.
    tolerance : float
        For `gap`; below about 1e-10 rounding is in the way.
    max_steps : int
        Of Newton's method, each a few dozen products of n × n matrices.

    Raises
    ------
    TypeError, ValueError
        As `design_value`; also if utilities that follow each other are more than 100 nats apart.

    Notes
    -----
    The best proposal depends on the truth, which is what one wants to learn: use an estimate, and go on with
    `next_comparison`, whose bound tells how far ahead of it the best choice could be. Proof:
    ``proofs/optimal_design.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> problem = pb.paper_problem(64)
    >>> annotator = pb.Annotator(problem.implicit_preference_distribution, pb.luce())
    >>> design = pb.optimal_design(annotator)
    >>> design.converged, design.gap < 1e-8
    (True, True)
    >>> design.comparisons_needed(0.01), round(pb.design_value(annotator, pb.ProductProposal(problem.reference)) / 0.01)
    (2157, 12260)
    """
    tolerance = positive_number("tolerance", tolerance)
    max_steps = whole_number("max_steps", max_steps)
    asked = question(annotator, criterion, process)
    ranked = np.argsort(asked.utilities, kind="stable")
    apart = float(np.diff(asked.utilities[ranked]).max())
    if apart > MOST_NATS:
        raise ValueError(f"utilities of `annotator` must follow each other within {MOST_NATS:g} nats; got {apart:g}")
    with np.errstate(all="ignore"):
        wins, losses = sigmoids(asked.utilities[:, None] - asked.utilities)
        information = np.triu(wins * losses, 1)
        information += information.T
        weights, found, steps = _search(_first(information, ranked, asked), information, asked, tolerance, max_steps)
    value_in_range(found.measured.value)
    gap = found.gap if math.isfinite(found.gap) else 1.0
    a, b = np.nonzero(np.triu(weights, 1))
    chosen = np.argsort(-weights[a, b], kind="stable")
    proposal = PairListProposal(asked.order[a[chosen]], asked.order[b[chosen]], weights[a, b][chosen])
    return Design(
        proposal=proposal, value=found.measured.value, gap=gap, converged=gap <= tolerance, steps=steps,
        reason=unmet(("gap", gap, tolerance)),
    )  # fmt: skip


class _At(NamedTuple):
    """Weights that sum to one, with what is known of them."""

    measured: Measured
    phi: FloatArray
    gap: float


def _at(weights: FloatArray, information: FloatArray, asked: Question) -> _At:
    measured = measure(weights * information, asked)
    phi = information * squared_distances(measured.points) * measured.scale
    lower = measured.bound / phi.max() / measured.value
    # NumPy's maximum, unlike that of Python, is NaN where anything is.
    return _At(measured, phi, float(np.maximum(1.0 - lower, 0.0) + 4.0 * measured.rounding))


def _total(values: FloatArray) -> float:
    """Sum over pairs of what has an entry for each of their orders."""
    return 0.5 * float(values.sum())


def _first(information: FloatArray, ranked: IndexArray, asked: Question) -> FloatArray:
    """All pairs alike, and the path of neighbours, along which there is information however far the ends are apart."""
    path = np.zeros(information.shape)
    path[ranked[1:], ranked[:-1]] = path[ranked[:-1], ranked[1:]] = 1.0
    # On a tree one multiplicative step leads to its best weights.
    if asked.slopes is not None:
        path = path * np.sqrt(_at(path / _total(path), information, asked).phi)
    rest = 1.0 - np.eye(len(path))
    return path / _total(path) + rest / _total(rest)


def _search(
    weights: FloatArray, information: FloatArray, asked: Question, tolerance: float, max_steps: int
) -> tuple[FloatArray, _At, int]:
    """The best weights found, what is known of them, and the number of Newton's steps."""
    power = 1.0 if asked.slopes is None else 0.5
    for _ in range(FIRST_STEPS):
        weights = weights / _total(weights)
        # Nothing becomes 0, from where there would be no way back.
        weights = weights * np.maximum(_at(weights, information, asked).phi, 1e-3) ** power
    weights = weights / _total(weights)
    at = best = _at(weights, information, asked)
    kept, pairs, eye = weights, _total(1.0 - np.eye(len(weights))), np.eye(len(weights))
    # Multipliers of w >= 0; the diagonal is no pair, and ones there are never read.
    slack = np.maximum(1.0 - at.phi, (float(at.phi.max()) - 1.0) / pairs / (weights + eye)) * (1.0 - eye)
    steps = 0
    while best.gap > tolerance and steps < max_steps and math.isfinite(at.gap):
        steps += 1
        divisor = weights + eye
        barrier = CENTRING * _total(weights * slack) / pairs
        right = (at.phi - 1.0 + barrier / divisor) * (1.0 - eye)
        product, diagonal = _hessian(weights, at, information, asked)
        step = _conjugate_gradients(product, slack / divisor + eye, right, diagonal)
        change = (barrier - slack * step) / divisor * (1.0 - eye) - slack
        weights = weights + _length(weights, step) * step
        slack = (slack + _length(slack, change) * change) * _total(weights)
        weights = weights / _total(weights)
        at = _at(weights, information, asked)
        if at.gap < best.gap:
            kept, best = weights, at
    # Where the multiplier is larger than the weight, the pair is none of the best design's; but what hardly counts for
    # a policy must still be joined to the rest.
    shares = kept * information
    most = shares.max(axis=1)
    support = np.where((kept > slack) | (shares > SHARE * np.minimum(most[:, None], most)), kept, 0.0)
    fewer = _at(support / _total(support), information, asked)
    return (support / _total(support), fewer, steps) if fewer.gap <= tolerance else (kept, best, steps)


def _hessian(
    weights: FloatArray, at: _At, information: FloatArray, asked: Question
) -> tuple[Callable[[FloatArray], FloatArray], FloatArray]:
    """The Hessian of the criterion's logarithm in the weights, times a vector; and its diagonal."""
    root, scale = at.measured.root, at.measured.scale
    inverse = root @ root.T
    if asked.slopes is None:
        other, diagonal = 0.5 * inverse, at.phi**2 / scale
    else:
        other = at.measured.points @ at.measured.points.T
        diagonal = 2.0 * information * squared_distances(root) * at.phi - at.phi**2

    def product(values: FloatArray) -> FloatArray:
        moved = -information * values
        np.einsum("ii->i", moved)[:] = -moved.sum(axis=1)
        turned = inverse @ moved @ other
        turned += turned.T
        own = turned.diagonal()
        result = information * (own[:, None] + own - 2.0 * turned) * scale
        # The logarithm of a determinant has no such term.
        return result if asked.slopes is None else result - at.phi * _total(at.phi * values)

    return product, np.maximum(diagonal, 0.0)


def _conjugate_gradients(
    product: Callable[[FloatArray], FloatArray], added: FloatArray, right: FloatArray, diagonal: FloatArray
) -> FloatArray:
    """An approximate solution for a matrix plus a diagonal one, preconditioned by both diagonals."""
    result, residual, diagonal = np.zeros(right.shape), right, diagonal + added
    direction = scaled = residual / diagonal
    left = first = _total(residual * scaled)
    for _ in range(MOST_PRODUCTS):
        image = product(direction) + added * direction
        if not (curvature := _total(direction * image)) > 0.0:
            break
        length = left / curvature
        result = result + length * direction
        residual = residual - length * image
        scaled = residual / diagonal
        left, before = _total(residual * scaled), left
        if not left > RESIDUAL**2 * first:
            break
        direction = scaled + left / before * direction
    return result


def _length(values: FloatArray, step: FloatArray) -> float:
    """How far to go along a step, at most 1, so that a twentieth of each positive value stays."""
    shrinking = float(np.max(-step / np.where(values > 0.0, values, np.inf), initial=0.0))
    return min(1.0, 0.95 / shrinking) if shrinking > 0.0 else 1.0
