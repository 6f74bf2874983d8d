r"""Minimisers of the expected Bradley–Terry loss for product proposals on large supports: Newton's method, matrix-free.

A Newton step takes conjugate gradients with the linear-time Hessian–vector product of
`exact.linear_time.kernel_sums`; nothing of size n × n is ever formed. What certifies the
result takes linear time as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.enclosures import largest_difference, lies_between
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.linear_time.opponents import (
    Curvature,
    Population,
    product_factors,
    single_annotators,
    weighted_sums,
)
from pbde_ref.exact.optima import with_luce_policy
from pbde_ref.exact.results import Certificate, Optimum
from pbde_ref.numerics import EPS
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray, positive_number, reject, whole_number

__all__ = [
    "Point", "ProductCertificate", "components_of", "gap_of", "is_done", "line_search", "minimize_product_loss",
    "newton", "newton_step", "solve_product_laplacian", "starting_point", "target_of",
]  # fmt: skip

# What a logistic sum errs by, relative to the sum of its weights: rounding, and interpolation on each of the grids
# (bits and order of `exact.linear_time.panel_grid`). Proof: proofs/kernel_sums.md, part 2.
ROUNDING = 4e-15
INTERPOLATION = {(9, 4): 5.2e-15, (6, 5): 2.6e-14, (5, 6): 3.5e-15, (4, 7): 2.5e-15}
# Residual at which a step is only worth its time if it certifies the solution; rounding leaves about 1e-15.
ENOUGH = 2e-14
CG_STEPS = 500
DAMPING = 4.0 * EPS
# Classes of outcomes that are solved first, if there are many more outcomes than that.
CLASSES = 2000
# Newton steps are shortened to this many nats: further, the quadratic model says nothing.
LONGEST = 20.0
# How far from the utilities their certificate looks for the minimum, in nats.
NEIGHBOURHOOD = 0.1


@dataclass(frozen=True, eq=False)
class ProductCertificate(Certificate):
    r"""Why utilities are the minimum for a product proposal.

    Attributes
    ----------
    gap : float
        Upper bound on the loss above the least possible one, in nats, with all that rounding and interpolation may have
        done to the gradient; infinite where nothing is proved.
    gradient_norm : float
        Euclidean norm of the gradient.
    smallest_eigenvalue : float
        Lower bound on the Hessian's, on the complement of its null space.
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph; outcomes that the proposal never draws stand alone.
    utility_error : float
        Upper bound, in nats, on the error of any difference of two utilities; infinite where nothing is proved, as
        where an outcome has so few opponents within reach that the gradient's error hides the curvature.
    residual : float
        Largest gradient entry relative to the outcome's weight, :math:`\max_x |g_x| / (a_x + b_x)`.
    decrement : float
        What the last Newton step promised, :math:`g^\top H^{-1} g / 2`: an estimate of the gap before that step, and no
        bound.
    """

    residual: float
    decrement: float


def minimize_product_loss(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    tolerance: float = 1e-20,
    utility_tolerance: float = 1e-8,
    max_steps: int = 200,
) -> Optimum:
    r"""Utilities that minimise Eq. (7), or Eq. (8), under a product proposal, in time :math:`O(n)` per step.

    The misspecified projection of an annotator mixture on the logistic models (Fig. 5), for a million outcomes. Newton
    steps with conjugate gradients, preconditioned by the Hessian's diagonal, start at :math:`\omega = 0` or, for a = b
    and many outcomes, at the solution for a few classes of them.

    Parameters
    ----------
    annotator : Annotator or AnnotatorMixture
        With finite utilities where the proposal has mass.
    proposal : ProductProposal
    tolerance, utility_tolerance : float
        Certified gap, and certified error of differences of utilities, both in nats, at which the result counts as
        converged. Where few outcomes lie more than some 15 nats apart, sums in linear time cannot prove 1e-8;
        `minimize_expected_loss` with ``method="dense"`` can.
    max_steps : int
        Bound on Newton steps, at least 1.

    Returns
    -------
    Optimum
        Its `certificate` is a `ProductCertificate`; `loss` is the expected cross-entropy. Outcomes that the proposal
        never draws have utility zero.

    Raises
    ------
    ValueError
        If the proposal is no product, the annotator is neither a single one nor a mixture, or an annotator excludes an
        outcome that the proposal draws.

    Notes
    -----
    The error of the utilities is the width of a box around them on every side of which the gradient points outwards, by
    more than rounding and interpolation can account for; so the minimum is inside. The gap is at most the gradient
    times that width, or a bound from the Laplacian of the weights :math:`a_A b_B + a_B b_A` and the utilities' spread.
    Proof: ``proofs/product_certificate.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.minimizer import minimize_product_loss
    >>> problem = pb.paper_problem(2000)
    >>> members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    >>> annotator = pb.AnnotatorMixture(problem.annotator_weights, members)
    >>> solution = minimize_product_loss(annotator, pb.ProductProposal(problem.reference))
    >>> solution.converged, solution.certificate.gap < 1e-20, solution.certificate.residual < 1e-13
    (True, True, True)
    """
    check_models(annotator, proposal)
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    utility_tolerance = positive_number("utility_tolerance", utility_tolerance)
    proposal = product_factors(proposal, annotator.size, annotator.support)
    weight = proposal.a + proposal.b
    target = target_of(annotator, proposal, weight)
    point, steps, decrement = newton(starting_point(proposal, target), proposal, target, tolerance, max_steps)
    drawn = weight > 0.0
    utilities = np.where(drawn, point.utilities - point.utilities[drawn].mean(), 0.0)
    utilities.flags.writeable = False
    point = Point(utilities, proposal, target)
    members = [(share, Population.of(chi, proposal)) for share, chi in single_annotators(annotator)]
    error = math.fsum(share * _error(population) for share, population in [(1.0, point.population), *members])
    certificate = _certify(point, proposal, target, error, decrement)
    proved = certificate.gap <= tolerance and certificate.utility_error <= utility_tolerance
    reason = "" if proved else _reason(certificate, steps == max_steps)
    return with_luce_policy(utilities, annotator, point.loss(), certificate, steps, reason)


def solve_product_laplacian(proposal: ProductProposal, right: FloatArray) -> FloatArray:
    r"""Solve :math:`L z = r`, L the graph Laplacian with weights :math:`a_A b_B + a_B b_A`, in linear time.

    .. math:: z = D^{-1} (r + c\, b), \qquad D = a + b, \quad c = \frac{\sum_x a_x r_x / D_x}{\sum_x a_x^2 / D_x}

    up to a constant; it is the Hessian of squared errors (IPO), and a bound for that of the Bradley–Terry loss.

    Parameters
    ----------
    proposal : ProductProposal
    right : ndarray, shape (n,)
        With sum zero, and zero where the proposal has no mass.

    Returns
    -------
    ndarray, shape (n,)
        With mean zero over the outcomes that the proposal draws, and zero elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> solve_product_laplacian(pb.ProductProposal([1, 1]), np.array([1.0, -1.0]))  # one edge of weight 1/2
    array([ 1., -1.])
    """
    a, b = proposal.a, proposal.b
    drawn = a + b > 0.0
    inverse = np.divide(1.0, a + b, out=np.zeros(a.size), where=drawn)
    c = (a * inverse * right).sum() / (a * inverse * a).sum()
    z = inverse * (right + c * b)
    return np.where(drawn, z - z[drawn].mean(), 0.0)


def target_of(annotator: PreferenceModel, proposal: ProductProposal, weight: FloatArray) -> FloatArray:
    """The annotator's part of the gradient."""
    members = list(single_annotators(annotator))
    for _, chi in members:
        excluded = np.isinf(chi) & (weight > 0.0)
        reject("annotator", "finite in its utilities where the proposal has mass", chi, excluded)
    populations = [(share, Population.of(chi, proposal)) for share, chi in members]
    return np.concatenate([sums for _, sums in weighted_sums(populations)])


def starting_point(proposal: ProductProposal, target: FloatArray) -> FloatArray:
    """Utilities to begin with: zero, or on a large support the solution for a few classes of outcomes.

    For equal factors the minimiser is an increasing function of the probability of winning, which is `target` over
    twice the weight; so outcomes that win about equally often are merged, and the rest is interpolation.
    """
    a = proposal.a
    if a is not proposal.b or a.size < 8 * CLASSES:
        return np.zeros(a.size)
    wins = np.divide(target, 2.0 * a, out=np.full(a.size, 0.5), where=a > 0.0)
    # A probability of winning is right to 1e-15.
    level = logit(np.clip(wins, 1e-14, 1.0 - 1e-14))
    low, high = float(level.min()), float(level.max())
    if high == low:
        return np.zeros(a.size)
    label = ((level - low) * ((CLASSES - 1) / (high - low))).astype(np.intp)
    weight, total, middle = (np.bincount(label, x, CLASSES) for x in (a, 0.5 * target, a * level))
    held = weight > 0.0
    merged = product_factors(ProductProposal(weight[held]), int(np.count_nonzero(held)))
    solution = newton(np.zeros(merged.a.size), merged, np.asarray(2.0 * total[held]), math.inf, 50)[0].utilities
    return np.asarray(np.interp(level, middle[held] / weight[held], solution), dtype=np.float64)


def newton(
    start: FloatArray, proposal: ProductProposal, target: FloatArray, tolerance: float, max_steps: int
) -> tuple[Point, int, float]:
    """Where Newton's method ends, after how many steps, and the last one's decrement."""
    weight = proposal.a + proposal.b
    point, steps, decrement = Point(start, proposal, target), 0, 0.0
    while steps < max_steps and not is_done(point, proposal, tolerance):
        step = newton_step(point, weight)
        decrement = -0.5 * _dot(point.gradient, step)
        following = line_search(point, step, proposal, target)
        if following is None:
            break
        point, steps = following, steps + 1
    return point, steps, decrement


def is_done(point: Point, proposal: ProductProposal, tolerance: float) -> bool:
    """Whether another step would gain nothing but noise."""
    if point.residual > ENOUGH:
        return False
    gap = gap_of(point.utilities, point.gradient, proposal)[0]
    return point.residual <= 4.0 * EPS or not tolerance < gap < math.inf


class Point:
    """Utilities, the loss's gradient there, and how far from zero it is."""

    def __init__(self, utilities: FloatArray, proposal: ProductProposal, target: FloatArray) -> None:
        self.utilities = utilities
        self.population = Population.of(utilities, proposal)
        self.gradient = np.concatenate([sums for _, sums in weighted_sums([(1.0, self.population)])])
        self.gradient -= target
        weight = proposal.a + proposal.b
        relative = np.divide(self.gradient, weight, out=np.zeros(weight.size), where=weight > 0.0)
        self.residual = float(np.abs(relative).max())

    def loss(self) -> float:
        """The expected cross-entropy."""
        return self.population.entropy() + _dot(self.gradient, self.utilities - self.population.center())


def newton_step(point: Point, weight: FloatArray) -> FloatArray:
    """Inexact Newton: the less gradient there is, the smaller the fraction of it that is left over."""
    hessian = Curvature(point.population)
    norm = _dot(point.gradient, point.gradient * _inverse_diagonal(hessian, weight))
    step = _solve(hessian, weight, point.gradient, min(0.1, norm**0.25))
    return step * (LONGEST / max(LONGEST, float(np.ptp(step))))


def _inverse_diagonal(hessian: Curvature, weight: FloatArray) -> FloatArray:
    # Where the curvature is below what the gradient's rounding hides, a step would be noise divided by almost nothing.
    diagonal = hessian.degrees + DAMPING * weight
    return np.divide(1.0, diagonal, out=np.zeros(diagonal.size), where=diagonal > 0.0)


def _solve(hessian: Curvature, weight: FloatArray, gradient: FloatArray, fraction: float) -> FloatArray:
    """Conjugate gradients for ``H step = -gradient``, preconditioned by the diagonal, down to a fraction of it."""
    inverse = _inverse_diagonal(hessian, weight)
    residual = -gradient
    scaled = inverse * residual
    direction, step = scaled.copy(), np.zeros(residual.size)
    norm = start = _dot(residual, scaled)
    for _ in range(CG_STEPS):
        image = hessian(direction)
        image += DAMPING * weight * direction
        curvature = _dot(direction, image)
        if curvature <= 0.0:
            break
        length = norm / curvature
        step += length * direction
        residual -= length * image
        scaled = inverse * residual
        previous, norm = norm, _dot(residual, scaled)
        if norm <= fraction**2 * start:
            break
        direction *= norm / previous
        direction += scaled
    return step


def line_search(
    point: Point, step: FloatArray, proposal: ProductProposal, target: FloatArray
) -> Point | None:
    """The next point, or None where rounding allows no further progress."""
    slope, length = _dot(point.gradient, step), 1.0
    if slope >= 0.0:
        return None
    for _ in range(40):
        trial = Point(point.utilities + length * step, proposal, target)
        if trial.residual < 0.5 * point.residual:
            return trial
        # A convex function has fallen all the way to where it still falls; its slope has digits that its value lacks.
        end = _dot(trial.gradient, step)
        if point.residual < 1e-12:
            return None
        if end <= 0.0 or trial.loss() <= point.loss() + 1e-4 * length * slope:
            return trial
        # Where a straight line through the two slopes is zero.
        length *= min(0.5, max(0.1, slope / (slope - end)))
    return None


def _error(population: Population) -> float:
    """Bound on the error of one population's logistic sums, relative to the sum of their weights."""
    grid = population.points.grid
    return ROUNDING + INTERPOLATION[grid.bits, grid.order]


def _certify(
    point: Point, proposal: ProductProposal, target: FloatArray, error: float, decrement: float
) -> ProductCertificate:
    a, b = proposal.a, proposal.b
    drawn = a + b > 0.0
    norm = math.sqrt(_dot(point.gradient, point.gradient))
    components = components_of(drawn)
    if np.count_nonzero(drawn) < 2:
        return ProductCertificate(0.0, norm, math.inf, components, 0.0, point.residual, decrement)
    gap, least = gap_of(point.utilities, point.gradient, proposal, error)
    widths, utility_error = _enclosure(point, proposal, target, error), math.inf
    if widths is not None:
        gap = min(gap, (1.0 + 1e-9) * _dot(np.abs(point.gradient) + error * (a + b), widths))
        utility_error = largest_difference(widths)
    # From the explicit inverse: |z| ≤ (1 + |b| |a/D| / Σ a²/D) |r| / min D.
    a, b = a[drawn], b[drawn]
    d = a + b
    factor = math.sqrt(_dot(b, b) * _dot(a / d, a / d)) / _dot(a, a / d)
    eigenvalue = least * float(d.min()) / (1.0 + factor)
    return ProductCertificate(gap, norm, eigenvalue, components, utility_error, point.residual, decrement)


def gap_of(
    utilities: FloatArray, gradient: FloatArray, proposal: ProductProposal, error: float = 0.0
) -> tuple[float, float]:
    """Bound on the gap, for a gradient that is right to `error` times the weight, and the least curvature of a pair."""
    weight = proposal.a + proposal.b
    drawn = weight > 0.0
    spread = float(np.ptp(utilities[drawn]))
    least = float(expit(spread) * expit(-spread))
    # The true gradient sums to zero. Made to do so too, this one is off by twice the error at most.
    gradient = gradient - 0.5 * gradient.sum() * weight
    z = solve_product_laplacian(proposal, gradient)
    ratio = (float(np.ptp(z[drawn])) + 12.0 * error) / float(expit(-spread))
    root = math.sqrt(max(0.0, _dot(gradient, z))) + math.sqrt(24.0) * error
    return 0.5 * root**2 / (least * (1.0 - ratio)) if ratio < 1.0 else math.inf, least


def _enclosure(
    point: Point, proposal: ProductProposal, target: FloatArray, error: float
) -> FloatArray | None:
    r"""Widths of a box around the utilities that holds a minimum, or None where none is found.

    Its sides are tested for :math:`g + p\, q^\top (\omega' - \omega)`, the zeros of which are minima, with p and q so
    small that no entry of it rises with another outcome's utility.
    """
    utilities, a, b = point.utilities, proposal.a, proposal.b
    weight = a + b
    drawn = weight > 0.0
    # σ'(s − t) ≥ σ'(s) σ'(t), and a box of width h changes curvatures by a factor of e^2h at most.
    middle = utilities - float(np.median(utilities[drawn]))
    near = expit(middle) * expit(-middle)
    common = np.sqrt(a * b) * near
    # Of a b' + b a' either term may be taken, or twice the root of their product.
    p, q = (common, 2.0 * common) if common.sum() > 0.1 * (weight * near).sum() else (a * near, b * near)
    p = math.exp(-2.0 * NEIGHBOURHOOD) * p
    noise = error * weight
    wanted = 2.0 * (np.abs(point.gradient) + 3.0 * noise)
    pull = wanted.sum() / p.sum()
    widths = _solve(Curvature(point.population), weight, pull * p - wanted, 1e-4)
    # This solves H widths = pull p - wanted with the sign of a Newton step, and what is left over is a constant.
    widths += (pull - _dot(q, widths)) / q.sum()
    # Narrower than this, a box could not be told from its centre.
    widths = np.where(drawn, np.maximum(widths, 64.0 * np.spacing(np.abs(utilities).max())), 0.0)
    if not widths.max() <= NEIGHBOURHOOD:
        return None

    def slope(moved: FloatArray) -> tuple[FloatArray, FloatArray]:
        constant = p * _dot(q, moved - utilities)
        return Point(moved, proposal, target).gradient + constant, noise + 1e-12 * np.abs(constant)

    return lies_between(slope, utilities, widths)


def _reason(certificate: ProductCertificate, exhausted: bool) -> str:
    if exhausted:
        return f"the steps ran out; utilities are proved to {certificate.utility_error:.1g} nats"
    return (
        f"utilities are proved to {certificate.utility_error:.1g} nats only: errors of the sums over all pairs, of "
        "1e-14, hide the curvature between outcomes that are far apart; `minimize_expected_loss` with the method "
        "'dense' has none"
    )


def components_of(drawn: NDArray[np.bool_]) -> IndexArray:
    """The outcomes drawn are one component, because every one of them meets all that the other factor draws."""
    new = ~drawn
    first = int(np.argmax(drawn))
    new[first] = True
    labels = np.cumsum(new) - 1
    labels[drawn] = labels[first]
    labels.flags.writeable = False
    return labels


def _dot(x: FloatArray, y: FloatArray) -> float:
    # Not BLAS, which starts threads for long vectors, and these stall on busy cores.
    return float((x * y).sum())
