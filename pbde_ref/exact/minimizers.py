r"""Numerical minimisers of expected losses. Each result carries what certifies it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel, prompts_of
from pbde_ref.conditional import ConditionalDistribution
from pbde_ref.distributions import uniform
from pbde_ref.exact.convex_losses import GRID, minimize_convex_loss
from pbde_ref.exact.expected import (
    METHODS,
    check_models,
    expected_cross_entropy,
    expected_kl,
    takes_linear_time,
)
from pbde_ref.exact.flow_certificate import FlowBound, flow_bound, reach
from pbde_ref.exact.hinge import minimize_rso
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.laplacian import (
    Elimination,
    centred,
    eliminate,
    maximal_spanning_tree,
    solve_flows,
    solve_quickly,
)
from pbde_ref.exact.linear_time.kernel_sums import splits
from pbde_ref.exact.linear_time.minimizer import minimize_product_loss
from pbde_ref.exact.optima import with_luce_policy
from pbde_ref.exact.pair_flows import PairFlows, PairProblem
from pbde_ref.exact.results import Certificate, NoMinimumError, Optimum, unmet
from pbde_ref.numerics import EPS
from pbde_ref.objectives import Objective, as_objective, with_margin
from pbde_ref.pbde import luce
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, choice, positive_number, whole_number

__all__ = ["minimize_expected_loss"]

# In nats, where nothing else is asked for.
CONVERGED = {"tolerance": 1e-20, "utility_tolerance": 1e-8}
# In units of the loss, of hinges, for which rounding leaves more.
AT_KINKS = 1e-9
# Nats that a step may change a difference by; beyond twice that, probabilities underflow.
LARGEST_STEP = 350.0
# Nats that a step may change a difference by that a spanning tree of the largest curvatures holds.
CLIPPED = 2.0
# Where the rarer answer to every pair is at least so frequent, Newton's method from zero takes a few steps.
UNCERTAIN = 0.01
# After a step of so many nats the next one needs no more than six digits.
ROUGH = 1e-6
# A pair whose difference a step changes by less has arrived.
SETTLED = 1e-10
# Conductances of pairs further apart have lost digits to underflow; a proof does without them.
FAR = 700.0


def minimize_expected_loss(
    objective: str | Objective,
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    utility_tolerance: float | None = None,
    max_steps: int = 200,
    **parameters: float,
) -> Optimum:
    r"""Utilities that minimise the expected loss of any objective that is convex in the margin.

    For the Bradley–Terry objective they are the projection of the annotator on the logistic models. The loss has a
    minimiser, unique up to one constant per component of the comparison graph, exactly when `finite_fit_exists`.
    Newton's method on the graph Laplacian starts at :math:`\omega = 0`, or where the log-odds of a spanning tree lead
    to if these say more; it shortens long steps along each edge of a spanning tree by itself, and then all of a step,
    or lengthens it, by the loss's slope. Each pair's pull and curvature keep their digits to the end, so that weights
    may differ by 30 decades and utilities by 680 nats.

    Other objectives go to the solver that suits them best:

    - "smoothed": the Bradley–Terry projection of the annotator whose answers are flipped now and then;
    - "hinge", also with a margin, and "rrhf": `minimize_rso`, with a uniform reference;
    - "ipo": `ipo_optimum`, with a uniform reference;
    - "robust", margins, and objectives of your own: `minimize_convex_loss`.

    Parameters
    ----------
    objective : str or Objective
        "bradley_terry" is Eq. (7), or Eq. (8), which has the same minimisers; other names as in `as_objective`.
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    method : {"auto", "dense", "kernel_sum"}
        "dense" forms the Hessian. "kernel_sum" is `minimize_product_loss`, conjugate gradients in linear time, for the
        objectives "bradley_terry" and "smoothed", annotators with utilities, or mixtures of them, and a product
        proposal; "auto" takes it where it can above 4,096 outcomes.
    tolerance : float, optional
        Certified gap, in units of the loss, at which the result may count as converged; 1e-20 by default. Newton's
        method runs on until rounding stops it. For "hinge" and "ipo" the default is their solver's own criterion, and
        what is given is asked for beside it.
    utility_tolerance : float, optional
        Certified error of utilities' differences, in nats, at which the result may count as converged; 1e-8 by default,
        for "hinge" and "ipo" as `tolerance`.
    max_steps : int
        Bound on Newton or interior-point steps, at least 1.
    **parameters : float
        What the objective's name needs: ``tau`` for "ipo", ``delta`` for "slic" and "rso".

    Returns
    -------
    Optimum
        `policy` is the softmax of the utilities, which has them under the Luce rule; `certificate` is a `Certificate`.
        `converged` is True where the gap and the error of the utilities are both proved to be within their tolerances,
        rounding of the probabilities included. Where it is not, `reason` says why: the steps ran out, or double
        precision does not determine the utilities, as when the model contradicts the answers so strongly that the
        curvature, of size :math:`\sigma(d) \sigma(-d)`, is lost beside the rounding of the probabilities.

    Raises
    ------
    ValueError
        If no finite utilities attain the minimum, or the objective is unknown or not convex.

    Notes
    -----
    With flows f whose divergence is the gradient, and effective resistances R of the Hessian's conductances, let
    :math:`E = \sum_e |f_e| R_e < 1`. Utilities' differences are off by at most :math:`-\log(1 - E)`, and the gap is
    at most :math:`(\sum_e f_e^2 / \kappa_e)\, [E + (1 - E) \log(1 - E)] / E^2`.
    Proof: ``proofs/minimizer_certificate.md``; existence and uniqueness: ``proofs/misspecification.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> cyclic = pb.PreferenceMatrix([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]])
    >>> solution = pb.minimize_expected_loss("bradley_terry", cyclic, pb.ProductProposal([1, 1, 1]))
    >>> solution.converged, solution.value
    (True, array([0., 0., 0.]))
    >>> exponential = pb.Objective("exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m))
    >>> pair = pb.PairListProposal([0], [1])
    >>> fit = pb.minimize_expected_loss(exponential, cyclic, pair)
    >>> round(float(fit.value[0] - fit.value[1]), 12)  # half the log-odds: log 2
    0.69314718056
    """
    check_models(annotator, proposal)
    objective = as_objective(objective, **parameters)
    given = (("tolerance", tolerance), ("utility_tolerance", utility_tolerance))
    asked = {name: positive_number(name, value) for name, value in given if value is not None}
    settings = {**asked, "max_steps": whole_number("max_steps", max_steps, least=1)}
    name = objective.name if _is_own(objective) else ""
    if choice("method", method, METHODS) == "kernel_sum" and name not in ("bradley_terry", "smoothed"):
        raise ValueError(f"`objective` must be 'bradley_terry' for linear-time sums; got {objective.name!r:.100}")
    found = _SOLVERS.get(name, _convex)(objective, annotator, proposal, method, settings)
    bounds = {"tolerance": ("gap", found.gap), "utility_tolerance": ("utility error", found.utility_error)}
    reason = unmet(*((*bounds[name], most) for name, most in asked.items())) if found.converged else ""
    return replace(found, converged=False, reason=reason) if reason else found


def _bradley_terry(
    _: Objective, annotator: PreferenceModel, proposal: Proposal, method: str, settings: dict[str, Any]
) -> Optimum:
    """The projection of the annotator on the logistic models."""
    settings = {**CONVERGED, **settings}
    if takes_linear_time(method, splits(annotator, proposal), annotator, proposal):
        return minimize_product_loss(annotator, proposal, **settings)
    if not finite_fit_exists(annotator, proposal):
        raise NoMinimumError(
            "`annotator` must prefer outcomes in such a way that finite utilities fit best (Ford's condition: within "
            "each component of the comparison graph, the arrows A → B with Prob(A ≻ B) > 0 are strongly connected); "
            "got a group of outcomes that always beats the rest"
        )
    components = comparison_components(proposal, annotator.size)
    problem = PairProblem.of(annotator, proposal)
    utilities = centred(_start(problem), components)
    steps, previous, interrupted = 0, math.inf, False
    while True:
        point = problem.at(utilities)
        step = _newton_step(point, components, rough=previous > ROUGH)
        if not np.isfinite(step).all():
            # Curvatures have underflowed, and with them whatever a step could say; nothing will be proved.
            step = np.zeros(step.size)
            break
        longest = reach(step, components)
        # Near the minimum each step squares the error; one that is not even half the last is rounding.
        if longest <= EPS * float(np.abs(utilities).max()) or (longest < 0.01 and longest > 0.5 * previous):
            break
        interrupted = steps == settings["max_steps"]
        if interrupted:
            break
        previous = longest
        step = _clipped(point, step, components) if longest > CLIPPED else step
        utilities = centred(_search(problem, utilities, point, step, components), components)
        steps += 1
    utilities.flags.writeable = False
    eliminated = eliminate(point.conductances)
    lost = np.abs(utilities[:, None] - utilities) > FAR
    if lost.any():
        point = point._replace(conductances=np.where(lost, 0.0, point.conductances))
        eliminated = eliminate(point.conductances)
    bound = flow_bound(point, eliminated, problem.flow_errors(utilities), step, components)
    certificate = _certificate(point, eliminated, bound, problem.exponent, components)
    reason = _reason(certificate, bound, settings["tolerance"], settings["utility_tolerance"], interrupted)
    loss = expected_cross_entropy(annotator, utilities, proposal, method="dense").value
    return with_luce_policy(utilities, annotator, loss, certificate, steps, reason)


def _smoothed(objective: Objective, annotator: PreferenceModel, *others: Any) -> Optimum:
    """Flipped answers are those of somebody who tosses a coin twice as often as answers flip."""
    prompts = prompts_of(annotator)
    even = uniform(annotator.support) if prompts is None else ConditionalDistribution(np.zeros(prompts.size), prompts)
    coin, share = Annotator(even, luce()), 2.0 * objective.parameters["epsilon"]
    return _bradley_terry(objective, AnnotatorMixture([1.0 - share, share], [annotator, coin]), *others)


def _convex(objective: Objective, annotator: PreferenceModel, proposal: Proposal, _: str, settings: Any) -> Optimum:
    return minimize_convex_loss(objective, annotator, proposal, **settings)


def _hinge(
    objective: Objective, annotator: PreferenceModel, proposal: Proposal, method: str, settings: Any
) -> Optimum:
    if prompts_of(annotator) is not None:
        # As for one prompt, where no utilities are known more precisely than the policy that they make.
        asked = {"tolerance": AT_KINKS, "utility_tolerance": math.inf, **settings}
        return _convex(objective, annotator, proposal, method, asked)
    margin, reference = objective.parameters.get("margin", 0.0), uniform(annotator.support)
    delta, steps = objective.parameters["delta"] + margin, settings["max_steps"]
    found = minimize_rso(annotator, proposal, delta=delta, reference=reference, max_steps=steps)
    # The sum of both margins is rounded, and each pair's loss moves with it.
    return replace(found, gap=found.gap + EPS * delta) if margin else found


def _ipo(objective: Objective, annotator: PreferenceModel, proposal: Proposal, *others: Any) -> Optimum:
    if comparison_components(proposal, annotator.size).any():
        # Without a reference to say so, no component outweighs another.
        return _convex(objective, annotator, proposal, *others)
    return ipo_optimum(annotator, proposal, tau=objective.parameters["tau"], reference=uniform(annotator.support))


# What an objective of the package is given to, by name; all others are only convex.
_SOLVERS: dict[str, Callable[..., Optimum]] = {
    "bradley_terry": _bradley_terry,
    "smoothed": _smoothed,
    "hinge": _hinge,
    "hinge with margin": _hinge,
    "ipo": _ipo,
}


def _is_own(objective: Objective) -> bool:
    """Whether it is what the package means by that name and these parameters, and not only called so."""
    parameters = dict(objective.parameters)
    name, margin = objective.name.removesuffix(" with margin"), parameters.pop("margin", 0.0)
    try:
        own = with_margin(as_objective(name, **parameters), margin)
    except (TypeError, ValueError):
        return False
    with np.errstate(all="ignore"):
        return all(np.array_equal(getattr(own, f)(GRID), getattr(objective, f)(GRID)) for f in ("value", "derivative"))


def _start(problem: PairProblem) -> FloatArray:
    """Zero, or the log-odds of a spanning tree if some answers are all but certain and these have a lower loss."""
    origin = np.zeros(problem.annotator.size)
    if problem.least_probability() > UNCERTAIN:
        return origin
    tree = problem.interpolation()
    at_origin, at_tree = (
        expected_kl(problem.annotator, start, problem.proposal, method="dense").value for start in (origin, tree)
    )
    return tree if at_tree < at_origin else origin


def _newton_step(point: PairFlows, components: IndexArray, rough: bool) -> FloatArray:
    """Newton's step among the utilities with mean zero in each component."""
    if rough:
        step = solve_quickly(point.conductances, point.flows.sum(axis=1), components)
        if step is not None:
            return step
    return centred(solve_flows(point.conductances, point.flows), components)


def _clipped(point: PairFlows, step: FloatArray, components: IndexArray) -> FloatArray:
    """The step with its differences along a spanning tree of the largest curvatures cut to `CLIPPED`, if that descends.

    Outcomes that are hardly ever drawn take part in the step by as many nats as their flat loss asks for. To shorten
    all of it would stop those that say most, and to follow the loss's slope, in which the rare ones do not show, would
    throw these far off.
    """
    with np.errstate(divide="ignore"):
        tree = maximal_spanning_tree(np.log(point.conductances))
    below, child, above = tree.edges()
    along = np.zeros(step.size)
    along[below] = np.clip(step[child] - step[above], -CLIPPED, CLIPPED)
    shorter = centred(tree.path_sums(along), components)
    return shorter if _slope(point.flows, shorter) < 0.0 else step


def _search(
    problem: PairProblem, utilities: FloatArray, point: PairFlows, step: FloatArray, components: IndexArray
) -> FloatArray:
    """The point that Newton's step leads to, once it is shortened until what lies there is downhill or near.

    Along a step that changes no difference by more than R the third derivative is at most R times the second; so the
    loss falls where the slope is still negative, and for steps of R at most 1.
    """
    longest = reach(step, components)
    if longest > LARGEST_STEP:
        step, longest = step * (LARGEST_STEP / longest), LARGEST_STEP
    start = _slope(point.flows, step)

    def slope(length: float) -> float:
        return _slope(problem.flows(utilities + length * step), step)

    length = 1.0
    if longest > 1.0:
        here = slope(length)
        while here > 0.0 and length * longest > 1.0:
            # About where a straight line through both slopes crosses zero, but never less than what is safe anyway.
            crossing = start / (start - here) if start < 0.0 else 0.0
            length = max(length * min(max(crossing, 0.1), 0.5), 1.0 / longest)
            here = slope(length)
        # Where the loss falls exponentially a Newton step is one nat, however far the minimum is: go on while downhill.
        lengthen = here < 0.25 * start
        while lengthen and length * longest < LARGEST_STEP:
            lengthen = slope(2.0 * length) <= 0.0
            length = 2.0 * length if lengthen else length
    return utilities + length * step


def _slope(flows: FloatArray, step: FloatArray) -> float:
    """Derivative of the loss along a step: pair by pair, where the gradient's entries have lost the digits.

    Pairs that the step does not move are settled; what rounding of the utilities leaves there would hide the others.
    """
    change = step[:, None] - step
    return -0.5 * float((flows * np.where(np.abs(change) > SETTLED, change, 0.0)).sum())


def _certificate(
    point: PairFlows, eliminated: Elimination, bound: FlowBound, exponent: int, components: IndexArray
) -> Certificate:
    norm = float(np.linalg.norm(np.ldexp(point.flows, -exponent).sum(axis=1)))
    if int(components.max()) + 1 == components.size:
        # Nothing is compared with anything else: there is no direction in which the loss could fall.
        return Certificate(0.0, norm, math.inf, components, 0.0)
    # Where curvatures have underflowed, a direction is left in which nothing bends.
    smallest = math.ldexp(eliminated.smallest_eigenvalue(components), -exponent) if bound.connected else 0.0
    # An upper bound that underflows is the smallest number that is not zero.
    gap = max(math.ldexp(bound.gap, -exponent), math.ulp(0.0) if bound.utility_error > 0.0 else 0.0)
    return Certificate(gap, norm, smallest, components, bound.utility_error)


def _reason(
    certificate: Certificate, bound: FlowBound, tolerance: float, utility_tolerance: float, interrupted: bool
) -> str:
    """Why a solution is not converged, or nothing."""
    if certificate.gap <= tolerance and certificate.utility_error <= utility_tolerance:
        return ""
    if not bound.connected:
        return "outcomes are so far apart that the curvature between them underflows"
    if interrupted:
        return "the steps ran out"
    if bound.rounding > utility_tolerance:
        return (
            "double precision does not determine the utilities: its rounding may move a difference of two by up to "
            f"{bound.rounding:.1e} nats"
        )
    if certificate.utility_error > utility_tolerance:
        return f"utilities are known to within {certificate.utility_error:.1e} nats only"
    return f"the loss is known to be within {certificate.gap:.1e} nats of its minimum only"
