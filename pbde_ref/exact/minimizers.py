r"""Numerical minimisers of expected losses. Each result carries what certifies it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigvalsh

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.expected import (
    check_models,
    expected_cross_entropy,
    expected_hessian,
    expected_kl,
    takes_linear_time,
)
from pbde_ref.exact.expected_loss import ExpectedLoss
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists, null_projection
from pbde_ref.exact.kernel_sums import splits
from pbde_ref.exact.large_scale import minimize_product_loss
from pbde_ref.exact.solution import Certificate, Solution
from pbde_ref.numerics import log1p_gap
from pbde_ref.objectives import BRADLEY_TERRY, Objective, as_objective
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, positive_number, whole_number

__all__ = ["minimize_expected_loss"]


def minimize_expected_loss(
    objective: str | Objective,
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    method: str = "auto",
    tolerance: float = 1e-20,
    max_steps: int = 200,
) -> Solution:
    r"""Utilities that minimise the expected loss: the projection of the annotator on the logistic models.

    For the Bradley–Terry objective the loss is convex; it has a minimiser, unique up to one constant per component of
    the comparison graph, exactly when `finite_fit_exists`. Newton's method on the graph Laplacian, with a backtracking
    line search, starts at :math:`\omega = 0`, where the Hessian is best conditioned.

    Parameters
    ----------
    objective : {"bradley_terry"} or Objective
        Eq. (7), or Eq. (8), which has the same minimisers.
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    method : {"auto", "dense", "kernel_sum"}
        "dense" forms the Hessian. "kernel_sum" is `minimize_product_loss`, conjugate gradients in linear time, for
        annotators with utilities, or mixtures of them, and a product proposal; "auto" takes it where it can above 4,096
        outcomes.
    tolerance : float
        Certified gap in nats at which the result counts as converged. Where Newton's method then converges
        quadratically it runs on until rounding stops it.
    max_steps : int
        Bound on Newton steps, at least 1.

    Returns
    -------
    Solution
        `converged` is False when the steps ran out or the Hessian is singular to working precision, as it becomes
        between outcomes whose utilities differ by more than about 30 nats.

    Raises
    ------
    ValueError
        If no finite utilities attain the minimum, or the objective is unknown.

    Notes
    -----
    With gradient norm :math:`\gamma`, smallest eigenvalue :math:`m` and :math:`r = \sqrt2 \gamma / m < 1`, the
    certified gap is :math:`(m/2)\,[r + (1 - r) \log(1 - r)] \approx \gamma^2 / (2m)`.
    Proof: ``proofs/minimizer_certificate.md``; existence and uniqueness: ``proofs/misspecification.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> cyclic = pb.PreferenceMatrix([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]])
    >>> solution = pb.minimize_expected_loss("bradley_terry", cyclic, pb.ProductProposal([1, 1, 1]))
    >>> solution.converged, solution.value
    (True, array([0., 0., 0.]))
    """
    check_models(annotator, proposal)
    if as_objective(objective) is not BRADLEY_TERRY:
        raise ValueError(f"`objective` must be 'bradley_terry' here; got {as_objective(objective).name!r:.100}")
    tolerance = positive_number("tolerance", tolerance)
    max_steps = whole_number("max_steps", max_steps, least=1)
    if takes_linear_time(method, splits(annotator, proposal), annotator, proposal):
        return minimize_product_loss(annotator, proposal, tolerance=tolerance, max_steps=max_steps)
    if not finite_fit_exists(annotator, proposal):
        raise ValueError(
            "`annotator` must prefer outcomes in such a way that finite utilities fit best (Ford's condition: within "
            "each component of the comparison graph, the arrows A → B with Prob(A ≻ B) > 0 are strongly connected); "
            "got a group of outcomes that always beats the rest, or does up to underflow of the probabilities"
        )
    components = comparison_components(proposal, annotator.size)
    null = null_projection(components)

    def loss_at(utilities: FloatArray) -> ExpectedLoss:
        return expected_kl(annotator, utilities, proposal)

    def hessian_at(utilities: FloatArray) -> FloatArray:
        return expected_hessian(BRADLEY_TERRY, annotator, utilities, proposal)

    utilities = np.zeros(annotator.size)
    current = loss_at(utilities)
    steps, decrement = 0, math.inf
    while steps < max_steps:
        step = _newton_step(hessian_at(utilities), null, current.gradient)
        previous, decrement = decrement, -float(current.gradient @ step)
        # Once the loss is where it should be, only quadratic convergence is worth more steps; between outcomes whose
        # utilities are far apart each step gains one nat of them and a factor of about e.
        if decrement <= tolerance and decrement > 0.01 * previous:
            break
        found = _line_search(loss_at, utilities, current, step)
        if found is None:
            break
        utilities, current = found
        steps += 1
    utilities = utilities - null @ utilities
    utilities.flags.writeable = False
    certificate = _certify(hessian_at(utilities), null, loss_at(utilities).gradient, components)
    loss = expected_cross_entropy(annotator, utilities, proposal).value
    return Solution(utilities, loss, bool(certificate.gap <= tolerance), certificate, steps)


def _newton_step(hessian: FloatArray, null: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton's direction among the utilities with mean zero in each component."""
    scale = float(hessian.diagonal().max()) or 1.0
    # The null space is filled in; damping is for curvatures that have underflowed.
    for damping in (0.0, *(10.0**power for power in range(-14, 1))):
        try:
            factor = cho_factor(hessian + scale * (null + damping * np.eye(len(hessian))))
        except LinAlgError:
            continue
        step = -cho_solve(factor, gradient)
        return step - null @ step
    raise ArithmeticError("the Hessian of a convex loss is not positive semidefinite")  # pragma: no cover


def _line_search(
    loss_at: Callable[[FloatArray], ExpectedLoss], utilities: FloatArray, current: ExpectedLoss, step: FloatArray
) -> tuple[FloatArray, ExpectedLoss] | None:
    """The next point and its loss, or None where rounding allows no further progress."""
    slope = float(current.gradient @ step)
    if -slope <= 1e-14 * current.value:
        # The loss itself is flat to rounding here, its gradient is not: a Newton step must at least halve it.
        trial = loss_at(utilities + step)
        improved = np.linalg.norm(trial.gradient) < 0.5 * np.linalg.norm(current.gradient)
        return (utilities + step, trial) if improved else None
    while not np.array_equal(utilities + step, utilities):
        trial = loss_at(utilities + step)
        if trial.value <= current.value + 1e-4 * slope:
            return utilities + step, trial
        step, slope = 0.5 * step, 0.5 * slope
    return None


def _certify(hessian: FloatArray, null: FloatArray, gradient: FloatArray, components: IndexArray) -> Certificate:
    size = len(hessian)
    norm = float(np.linalg.norm(gradient))
    if components.max() + 1 == size:
        # Nothing is compared with anything else: there is no direction in which the loss could fall.
        return Certificate(0.0, norm, math.inf, components)
    # Twice the largest degree bounds the smallest non-zero eigenvalue from above, so the filled-in null space hides it
    # nowhere.
    scale = 2.0 * float(hessian.diagonal().max())
    smallest = float(eigvalsh(hessian + scale * null, subset_by_index=[0, 0])[0])
    # What the eigenvalue solver itself may have got wrong is not counted as curvature.
    curvature = smallest - size * float(np.finfo(float).eps) * scale
    ratio = math.sqrt(2.0) * norm / curvature if curvature > 0.0 else math.inf
    gap = 0.5 * curvature * _bregman(ratio) if ratio < 1.0 else math.inf
    return Certificate(gap, norm, smallest, components)


def _bregman(r: float) -> float:
    """``r + (1 - r) log(1 - r)``, which is about ``r**2 / 2``, without cancellation."""
    # (1 − r)(log(1 − r) + r) + r²; the first term is −(1 − r) times the gap of the logarithm.
    return r * r - (1.0 - r) * float(log1p_gap(np.asarray(-r)))
