r"""Log-linear policies and rewards: parameters that all prompts share, and a certified optimum of them.

.. math:: \log \pi_\theta(x \mid x_0) = \theta \cdot \phi(x_0, x) - \log Z_\theta(x_0)

In a pair of answers to one prompt Z cancels where f is the same for both. The margin
:math:`f \theta \cdot (\phi_A - \phi_B) + g_A - g_B` is then linear in :math:`\theta` and the loss convex. For
:math:`f_A \ne f_B`, as with lengths, :math:`(f_B - f_A) \log Z_\theta` stays, and the loss need not be convex.
Proof: ``proofs/log_linear.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.special import expit

from pbde_ref.annotators import PreferenceModel
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.display import Shown
from pbde_ref.distributions import same_support
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.results import NoMinimumError, Optimum, unmet
from pbde_ref.exact.separation import separating_direction
from pbde_ref.numerics import EPS, softplus
from pbde_ref.pairs import PairBlock
from pbde_ref.pbde import PBDE
from pbde_ref.prompts.pairs import pairs_of
from pbde_ref.proposals import PairListProposal, Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    array,
    instance,
    positive_number,
    reject,
    same_size,
    vector,
    whole_number,
)

__all__ = ["LogLinearOptimum", "LogLinearPolicies", "LogLinearRegression", "minimize_log_linear"]

# Eigenvalue of the differences' second moments, scaled to a unit diagonal, below which a direction counts as open.
COLLINEAR = 1e-12
# Nats that margins may move by before the Hessian is formed again.
CHORD = 0.02
# Entries up to which a linear programme looks for a rule without exceptions.
LARGEST_PROGRAMME = 5_000_000


@dataclass(frozen=True, eq=False, init=False)
class LogLinearPolicies(Shown):
    r"""The policies :math:`\pi_\theta(x \mid x_0) \propto e^{\theta \cdot \phi(x_0, x)}`.

    Parameters
    ----------
    features : array_like, shape (n, d)
        :math:`\phi`, a row for each answer; finite.
    prompts : Prompts

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> policies = pb.LogLinearPolicies([[0.0], [1.0], [0.0], [2.0]], pb.Prompts("aabb"))
    >>> policies.policy([np.log(3.0)]).pmf
    array([0.25, 0.75, 0.1 , 0.9 ])
    """

    features: FloatArray
    prompts: Prompts

    def __init__(self, features: ArrayLike, prompts: Prompts) -> None:
        instance("prompts", prompts, Prompts, "Prompts")
        given = array("features", features)
        if given.ndim != 2 or given.shape[1] == 0:
            raise ValueError(f"`features` must be a matrix with a column; got shape {given.shape}")
        same_size("features", len(given), prompts.size)
        reject("features", "finite", given, np.isinf(given))
        given.flags.writeable = False
        object.__setattr__(self, "features", given)
        object.__setattr__(self, "prompts", prompts)

    def policy(self, parameters: ArrayLike) -> ConditionalDistribution:
        r""":math:`\pi_\theta`."""
        return ConditionalDistribution(self._scores("parameters", parameters), self.prompts)

    def velocity(self, parameters: ArrayLike, direction: ArrayLike) -> FloatArray:
        r"""How fast each answer's log-probability changes when the parameters move, shape (n,).

        .. math:: \frac{d}{dt} \log \pi_\theta(x \mid x_0)
                  = \big(\phi(x_0, x) - E_{\pi_\theta}[\phi \mid x_0]\big) \cdot \dot\theta

        With minus a loss's gradient as direction: along the gradient flow. A chosen answer is displaced, its
        probability falls, where this is negative: ``proofs/log_linear.md``, part 5.

        Examples
        --------
        >>> import pbde_ref as pb
        >>> policies = pb.LogLinearPolicies([[0.0], [1.0], [3.0]], pb.Prompts("aaa"))
        >>> policies.velocity([0.0], [1.0]).round(6)  # 1 was preferred to 0, and 3 takes all: 1 − 4/3 < 0
        array([-1.333333, -0.333333,  1.666667])
        """
        return self.prompts.centred(self._scores("direction", direction), self.policy(parameters).pmf)

    def _scores(self, name: str, values: ArrayLike) -> FloatArray:
        given = self._checked(values, name)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = np.asarray(self.features @ given)
        # Half of the range is left to differences.
        if not (np.abs(scores) < 0.5 * np.finfo(np.float64).max).all():
            largest = np.abs(given).max()
            raise ValueError(f"`{name}` must leave scores in the range of float64; got some of size {largest:g}")
        return scores

    def _checked(self, values: ArrayLike, name: str = "parameters") -> FloatArray:
        result, width = vector(name, values), self.features.shape[1]
        reject(name, "finite", result, np.isinf(result))
        if result.size != width:
            raise ValueError(f"`{name}` must have one entry for each feature, {width}; got {result.size}")
        return result


class _Point(NamedTuple):
    """At parameters: the loss, each pair's weight times excess and curvature, and the gradient."""

    loss: float
    terms: FloatArray
    curvature: FloatArray
    sources: FloatArray
    gradient: FloatArray


@dataclass(frozen=True, eq=False)
class LogLinearRegression:
    r"""Expected cross-entropy of comparisons as a function of the parameters.

    .. math:: \sum_m w_m \big[p_m \log(1 + e^{-d_m}) + (1 - p_m) \log(1 + e^{d_m})\big], \qquad
              d_m = f_m\, \theta \cdot (\phi_A - \phi_B) + g_A - g_B

    Attributes
    ----------
    features : ndarray, shape (n, d)
        :math:`f \phi`, centred at each prompt.
    a, b : ndarray of int, shape (m,)
        Pairs of different answers, in order of `a`.
    won, lost, offset : ndarray, shape (m,)
        :math:`w p`, :math:`w (1 - p)`, :math:`g_A - g_B`.
    """

    features: FloatArray
    prompts: Prompts
    a: IndexArray
    b: IndexArray
    won: FloatArray
    lost: FloatArray
    offset: FloatArray
    constant: float

    @classmethod
    def of(
        cls, policies: LogLinearPolicies, annotator: PreferenceModel | None, proposal: Proposal, pbde: PBDE
    ) -> LogLinearRegression:
        """Of an annotator's answers; without one, of comparisons that the first answer of each listed pair won."""
        instance("policies", policies, LogLinearPolicies, "LogLinearPolicies")
        instance("pbde", pbde, PBDE, "a PBDE")
        prompts, size = policies.prompts, policies.prompts.size
        pbde.check_size(size)
        same_support("pbde", pbde.support, "policies", prompts)
        if annotator is not None:
            check_models(annotator, proposal)
            same_support("annotator", annotator.support, "policies", prompts)
        else:
            instance("proposal", proposal, PairListProposal, "a PairListProposal, winners first, without an annotator")
            same_support("proposal", getattr(proposal, "support", None), "policies", prompts)
        a, b, weight = pairs_of(proposal, size)
        constant = math.log(2.0) * float(weight[a == b].sum())
        a, b, weight = (x[a != b] for x in (a, b, weight))
        p, q = (1.0, 0.0) if annotator is None else annotator.probabilities(PairBlock(a, b, weight))
        won, lost = p * weight, q * weight
        prompts.check("proposal", a, b)
        f, g = np.broadcast_to(pbde.f, (size,)), np.broadcast_to(pbde.g, (size,))
        uneven = f[a] != f[b]
        if uneven.any():
            i = int(np.argmax(uneven))
            raise ValueError(
                "`pbde.f` must be equal at both answers of a compared pair, or log Z does not cancel; "
                f"got {f[a[i]]} and {f[b[i]]} at indices {int(a[i])} and {int(b[i])}"
            )
        reject("pbde.g", "finite", g, ~np.isfinite(g))
        order = np.argsort(a, kind="stable")
        a, b, won, lost = (x[order] for x in (a, b, won, lost))
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = prompts.centred(policies.features)
            scaled *= f[:, None]
            largest = np.maximum(scaled.max(axis=0), -scaled.min(axis=0))
        # Squares and sums of what is larger or smaller leave the range of doubles.
        extreme = (largest != 0.0) & ~((largest > 1e-100) & (largest < 1e100))
        reject("policies.features", "0 or of size 1e-100 to 1e100, times f", largest, extreme)
        return cls(scaled, prompts, a, b, won, lost, g[a] - g[b], constant)

    def margins(self, parameters: FloatArray) -> FloatArray:
        """:math:`d_m`."""
        values = self.features @ parameters
        return np.asarray(values[self.a] - values[self.b] + self.offset)

    def at(self, parameters: FloatArray) -> _Point:
        """Value and gradient."""
        d = self.margins(parameters)
        model, weight = expit(d), self.won + self.lost
        terms = weight * model - self.won
        loss = self.constant + float(np.sum(self.won * softplus(-d)) + np.sum(self.lost * softplus(d)))
        size = self.prompts.size
        sources = np.asarray(np.bincount(self.a, terms, size) - np.bincount(self.b, terms, size), dtype=np.float64)
        return _Point(loss, terms, weight * model * expit(-d), sources, self.features.T @ sources)

    def majorant(self, parameters: FloatArray) -> FloatArray:
        r"""Curvature of each pair's parabola above its loss, :math:`w \tanh(d / 2) / 2 d` (Jaakkola and Jordan)."""
        d = np.maximum(np.abs(self.margins(parameters)), 1e-3)
        return np.asarray((self.won + self.lost) * np.tanh(0.5 * d) / (2.0 * d))

    def moments(self, weights: FloatArray) -> FloatArray:
        """Sum of weights times differences' outer products, shape (d, d)."""
        size = self.prompts.size
        start = np.concatenate([[0], np.cumsum(np.bincount(self.a, minlength=size))])
        between = csr_array((weights, self.b, start), shape=(size, size))
        product = between @ self.features
        product *= -2.0
        product += self.degree(weights)[:, None] * self.features
        half = self.features.T @ product
        return np.asarray(0.5 * (half + half.T))

    def degree(self, weights: FloatArray) -> FloatArray:
        """Weight of each answer's pairs, shape (n,)."""
        size = self.prompts.size
        return np.asarray(np.bincount(self.a, weights, size) + np.bincount(self.b, weights, size))

    def reach(self, direction: FloatArray) -> float:
        """By how much a step changes a margin at most."""
        change = self.features @ direction
        return float(np.abs(change[self.a] - change[self.b]).max(initial=0.0))

    def separating(self) -> FloatArray | None:
        """In units of each feature's largest difference, where no pair's loss rises and some pair's falls, for ever."""
        if self.a.size * self.features.shape[1] > LARGEST_PROGRAMME:
            return None
        rows = self.features[self.a] - self.features[self.b]
        scale = np.abs(rows).max(axis=0)
        rows /= np.where(scale > 0.0, scale, 1.0)
        return separating_direction(np.concatenate([rows[self.won > 0.0], -rows[self.lost > 0.0]]))


@dataclass(frozen=True, eq=False, kw_only=True)
class LogLinearOptimum(Optimum):
    r"""The best parameters.

    Attributes
    ----------
    policy : ConditionalDistribution
        :math:`\pi_\theta`.
    utilities : ndarray, shape (n,)
        :math:`f \theta \cdot \phi + g`: up to constants of each prompt the policy's utilities, or the reward.
    parameters : ndarray, shape (d,)
        :math:`\theta`; the shortest of those that are as good.
    undetermined : ndarray, shape (d, d - k)
        Directions, orthonormal, that no compared pair sees; to working precision.
    regression : LogLinearRegression
    loss, gap, utility_error, policy_error, converged, unique, steps, reason
        As of every `Optimum`; `unique` of the policy at every prompt.
    """

    parameters: FloatArray
    undetermined: FloatArray
    regression: LogLinearRegression

    def covariance(self, n_comparisons: int, *, robust: bool = True) -> FloatArray:
        r"""Covariance of the parameters that N independent comparisons give, about :math:`H^+ V H^+ / N`, (d, d).

        Without `robust`, :math:`H^+ / N`: the same where the model is right.
        """
        n_comparisons = whole_number("n_comparisons", n_comparisons, least=1)
        problem, d = self.regression, self.regression.margins(self.parameters)
        hessian = problem.moments(problem.at(self.parameters).curvature)
        inverse = np.linalg.pinv(hessian, rcond=COLLINEAR, hermitian=True)
        if robust:
            scores = problem.moments(problem.won * expit(-d) ** 2 + problem.lost * expit(d) ** 2)
            inverse = inverse @ scores @ inverse
        return np.asarray(inverse / n_comparisons)


def minimize_log_linear(
    policies: LogLinearPolicies, annotator: PreferenceModel | None, proposal: Proposal, pbde: PBDE, *,
    tolerance: float = 1e-12, max_steps: int = 100,
) -> LogLinearOptimum:  # fmt: skip
    r"""The log-linear policy whose preferences come closest to the annotator's, with a bound on its loss.

    DPO is ``pbde=dpo(beta, reference)``. A reward that is linear in the features is ``luce()``: its `utilities` are
    the rewards, and ``tilt(reference, utilities, beta)`` the second stage.

    Parameters
    ----------
    policies : LogLinearPolicies
    annotator : Annotator, AnnotatorMixture, PreferenceMatrix or None
        None for a sample: the first answer of each listed pair was preferred.
    proposal : Proposal
        Pairs of answers to one prompt each, such as `prompt_pairs`.
    pbde : PBDE
        With f equal at both answers of each pair, and finite g.
    tolerance : float
        Certified gap, in nats, at which the result counts as converged.
    max_steps : int
        Bound on Newton steps, at least 1.

    Returns
    -------
    LogLinearOptimum

    Raises
    ------
    NoMinimumError
        If a direction of the parameters explains all answers without exception: the loss falls for ever along it.
    ValueError
        If `pbde.f` differs within a pair, a pair has two prompts, sizes differ, or features times f leave 1e-100 to
        1e100.

    Notes
    -----
    With :math:`\lambda = \lVert \nabla L \rVert_{H^{-1}}`, r the largest :math:`\lVert f (\phi_x - \phi_y)
    \rVert_{H^{-1}}` of two answers to one prompt and :math:`E = r \lambda < 1`, a minimum exists, no margin is off by
    more than :math:`-\log(1 - E)`, and the gap is at most :math:`\lambda^2 [E + (1 - E) \log(1 - E)] / E^2`. Rounding
    of the gradient and the Hessian is part of the bound. Proof: ``proofs/log_linear.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> prompts = pb.Prompts("aaa")
    >>> annotator = pb.Annotator(pb.ConditionalDistribution(np.log([1.0, 2.0, 2.0]), prompts), pb.luce())
    >>> reference = pb.ConditionalDistribution(np.log([4.0, 16.0, 1.0]), prompts)
    >>> policies, pairs = pb.LogLinearPolicies([[0.0], [1.0], [1.0]], prompts), pb.PairListProposal([1, 2], [0, 0])
    >>> dpo = pb.minimize_log_linear(policies, annotator, pairs, pb.dpo(1.0, reference))
    >>> reward = pb.minimize_log_linear(policies, annotator, pairs, pb.luce())
    >>> two_stage = pb.tilt(reference, reward.utilities, 1.0)
    >>> dpo.converged, dpo.policy.pmf.round(4), two_stage.pmf.round(4)  # the last answer: above the first, and below it
    (True, array([0.1501, 0.425 , 0.425 ]), array([0.1053, 0.8421, 0.0526]))
    """
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    problem = LogLinearRegression.of(policies, annotator, proposal, pbde)
    basis, null = _directions(problem)
    parameters, steps, previous, moved = np.zeros(policies.features.shape[1]), 0, math.inf, math.inf
    point, bent = problem.at(parameters), None
    while basis.shape[1]:
        if bent is None or moved > CHORD:
            bent, moved = point, 0.0
            inside = basis.T @ problem.moments(point.curvature) @ basis
        within, _, rank, _ = np.linalg.lstsq(inside, basis.T @ point.gradient, rcond=None)
        if rank < basis.shape[1]:
            # A margin went so far that nothing curves there: a parabola above the loss leads back.
            above = basis.T @ problem.moments(problem.majorant(parameters)) @ basis
            within = np.linalg.lstsq(above, basis.T @ point.gradient, rcond=None)[0]
        step = -basis @ within
        longest = problem.reach(step)
        if longest < 1e-10:
            parameters, moved = parameters + step, moved + longest
        here = float(point.gradient @ step)
        stalled = longest < 1e-6 and longest > 0.5 * previous
        # Where the Hessian has no digits left, a step may lead uphill.
        if longest < 1e-10 or stalled or here >= 0.0 or steps == max_steps:
            break
        # No difference so far that nothing curves there, and then until the slope is negative or the step safe.
        length, previous = min(1.0, 16.0 / longest), longest
        while True:
            trial = problem.at(parameters + length * step)
            slope = float(trial.gradient @ step)
            if slope <= 0.0 or length * longest <= 1.0:
                break
            length = max(length * min(max(here / (here - slope), 0.1), 0.5), 1.0 / longest)
        parameters, point, steps, moved = parameters + length * step, trial, steps + 1, moved + length * longest
    parameters = parameters - null @ (null.T @ parameters)
    point = problem.at(parameters)
    gap, error = (0.0, 0.0) if bent is None else _bounds(problem, point, basis, inside, bent, moved, parameters)
    if not math.isfinite(gap) and (direction := problem.separating()) is not None:
        worst = int(np.argmax(np.abs(direction)))
        raise NoMinimumError(
            "`annotator` must leave exceptions to every linear rule; got answers that a direction of the parameters "
            f"explains for ever, most of all feature {worst}: drop it, or compare more pairs"
        )
    reason = unmet(("gap", gap, tolerance))
    f = np.broadcast_to(pbde.f, (policies.prompts.size,))
    # What no pair sees may still move the policy.
    seen = policies.prompts.centred(policies.features) @ null
    unique = bool(np.abs(seen).max(initial=0.0) <= 1e-9 * np.abs(policies.features).max(initial=0.0))
    utilities = f * (policies.features @ parameters) + pbde.g
    for result in (parameters, utilities):
        result.flags.writeable = False
    return LogLinearOptimum(
        policy=policies.policy(parameters), utilities=utilities, loss=point.loss, gap=gap, utility_error=error,
        policy_error=min(1.0, 0.5 * math.expm1(min(error / float(f.min()), 2.0))) if unique else 1.0,
        converged=not reason, unique=unique, proof="curvature", steps=steps, reason=reason, parameters=parameters,
        undetermined=null, regression=problem,
    )  # fmt: skip


def _directions(problem: LogLinearRegression) -> tuple[FloatArray, FloatArray]:
    """Directions in which the pairs differ, of unit second moments, and an orthonormal basis of all others."""
    moments = problem.moments(problem.won + problem.lost)
    size = np.abs(problem.features).max(axis=0, initial=0.0)
    scale = np.sqrt(np.maximum(moments.diagonal(), 0.0))
    # What is left of differences that cancel counts for nothing.
    flat = ~(scale > 1e-7 * size)
    scale[flat] = 1.0
    matrix = moments / np.multiply.outer(scale, scale)
    matrix[flat] = matrix[:, flat] = 0.0
    values, vectors = np.linalg.eigh(matrix)
    held = values > COLLINEAR * max(float(values[-1]), 0.0)
    held &= values > 0.0
    null = np.linalg.qr(vectors[:, ~held] / scale[:, None])[0]
    return vectors[:, held] / np.sqrt(values[held]) / scale[:, None], null


def _bounds(
    problem: LogLinearRegression, point: _Point, basis: FloatArray, inside: FloatArray, bent: _Point, moved: float,
    parameters: FloatArray,
) -> tuple[float, float]:  # fmt: skip
    """Bounds on the gap and on the error of any margin, rounding included; infinite where nothing is proved.

    The Hessian may be that of a point from which margins have moved, each by at most `moved`.
    """
    values, vectors = np.linalg.eigh(inside)
    many, width = problem.prompts.size, parameters.size
    # Rounding of sums over all answers, and of what cancels in them, relative to the least curvature.
    spent = np.abs(basis).T @ np.sqrt(problem.degree(bent.curvature) @ problem.features**2)
    lost = 4.0 * (many + width) * EPS * float((spent**2).sum())
    if not values[0] > 2.0 * lost:
        return math.inf, math.inf
    root = vectors / np.sqrt(values)
    whitening = basis @ root
    widest = 2.0 * float(np.linalg.norm(problem.features @ whitening, axis=1).max())
    length = np.linalg.norm(problem.features, axis=1) * float(np.linalg.norm(parameters))
    blurred = (width + 6.0) * EPS * (length[problem.a] + length[problem.b] + np.abs(problem.offset) + 1.0)
    terms = point.curvature * blurred + 8.0 * EPS * (problem.won + problem.lost)
    degree = 1.0 + float(np.bincount(np.concatenate([problem.a, problem.b])).max())
    rounding = widest * float(terms.sum() + degree * EPS * np.abs(point.terms).sum())
    summed = np.abs(problem.features).T @ np.abs(point.sources)
    rounding += (many + width) * EPS * float(np.linalg.norm(np.abs(whitening).T @ summed))
    decrement = float(np.linalg.norm(whitening.T @ point.gradient)) + rounding
    # The true curvature is at least this share of the one computed: margins' curvatures change by their exponentials.
    share = math.exp(-1.01 * moved - 1e-9) - lost / float(values[0])
    gap, error = gap_of(np.array(decrement), np.array(widest), np.array(share))
    return float(gap), float(error)


def gap_of(decrement: FloatArray, widest: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    r"""Bounds on the gap and on the error of margins from :math:`\lambda`, r and c of ``proofs/log_linear.md``, part 2.

    Examples
    --------
    >>> gap, error = gap_of(np.array([0.1, 2.0]), np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    >>> gap.round(5), error.round(5)
    (array([0.00518,     inf]), array([0.10536,     inf]))
    """
    reached = np.where(share > 0.0, widest * decrement / np.where(share > 0.0, share, 1.0), np.inf)
    proved = reached < 1.0
    e = np.where(proved, reached, 0.5)
    error = -np.log1p(-e)
    # The series is 1/2 + E/6 + E²/12 + E³/20 + …
    factor = np.where(e > 0.01, (e - (1.0 - e) * error) / np.maximum(e, 0.01) ** 2, 0.5 + e / 6.0 + e**2 / 11.0)
    gap = decrement**2 / np.where(share > 0.0, share, 1.0) * factor
    return np.where(proved, gap, np.inf), np.where(proved, error, np.inf)
