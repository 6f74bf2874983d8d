r"""SLiC-HF and RSO, Eq. (20) and (21): expected hinge losses and their exact optima, each with a duality gap.

With :math:`c_{AB} = (q_{AB} + q_{BA})\, p_{AB}`, the probability that A meets B and wins, the expected hinge loss of
utilities s is the sum over ordered pairs :math:`A \ne B` of :math:`c_{AB} (\delta - s_A + s_B)^+`, plus
:math:`\delta \sum_A q_{AA}`. SLiC-HF adds :math:`\lambda\, \mathbb{E}_{\pi_{pre}}[-\log \pi]`; see ``proofs/slic.md``.
How the minimum is found is told in `hinge_regularized`, for :math:`\lambda > 0`, and `hinge_linear`, for 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution, kl_divergence, same_support
from pbde_ref.exact.enclosures import policy_distance, policy_rounding
from pbde_ref.exact.expected import check_models, expected_loss
from pbde_ref.exact.hinge.duality import EPS, Minimum, net_flow
from pbde_ref.exact.hinge.regularized import minimize_hinge
from pbde_ref.exact.results import ExpectedLoss, Optimum, unmet
from pbde_ref.exact.selection import win_weights, win_weights_error
from pbde_ref.numerics import log_normalize
from pbde_ref.objectives import hinge
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, instance, non_negative_number, positive_number, reject, vector, whole_number

__all__ = ["SlicSolution", "expected_slic", "minimize_rso", "minimize_slic", "solution_of"]


@dataclass(frozen=True, eq=False, kw_only=True)
class SlicSolution(Optimum):
    r"""A policy of least expected SLiC-HF or RSO loss.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        :math:`s`, which is :math:`\log \pi` for SLiC-HF and :math:`\log(\pi / \pi_{pre})` for RSO, shifted so that its
        largest entry is 0. Read-only.
    loss : float
        Eq. (20) or (21) in expectation: hinge plus :math:`\lambda\, \mathbb{E}_{\pi_{pre}}[-\log \pi]`.
    hinge : float
        The first expectation alone. Its part :math:`\delta \sum_A q_{AA}`, which no policy changes, is included.
    divergence : float
        :math:`D_{KL}(\pi_{pre} \,\|\, \pi)`.
    gap : float
        Upper bound on the loss above the least possible one, of the same unit, for `policy` and for `utilities`: primal
        minus dual value, with all that rounding may have done. For SLiC-HF with :math:`\lambda > 0` also
        :math:`\lambda\, D_{KL}(\pi_{opt} \,\|\, \pi) \le` `gap`.
    policy_error : float
        Upper bound on the total variation between `policy` and the optimal one. At :math:`\lambda > 0`
        :math:`\sqrt{\text{gap} / 2 \lambda}`, by Pinsker's inequality; at 0 rounding alone, where the optimum is proved
        to be unique. 1 where nothing is proved.
    relative_gap : float
        `gap` divided by what a policy can change: hinge without its constant, plus :math:`\lambda` times `divergence`.
        Neither :math:`\delta \sum_A q_{AA}` nor :math:`\lambda H(\pi_{pre})` flatters it. Zero if `gap` is.
    certificate : ndarray, shape (n, n)
        Dual point that proves the gap: entry [A, B] lies in :math:`[0, c_{AB}]`. Also called `dual`. Read-only.
    converged : bool
        Whether both bounds hold. The loss: `relative_gap` is within the tolerance asked for, or `gap` within what
        rounding leaves of a loss of zero: :math:`10^{-14} \delta \sum c`, with the probability :math:`\sum c` that two
        different outcomes meet, or :math:`10^{-14} [(1 + \delta) \sum c + \lambda]` at :math:`\lambda > 0`, and what
        rounding of the policy's log-probabilities may add. `gap` and `relative_gap` count this rounding; it is not held
        against the solver, because the best policy of all, once its log-probabilities are stored, has it as well.
        The policy: `policy_error` is within the tolerance asked for, or :math:`\lambda = 0` and the optimum is not
        proved to be unique, so that there is no one policy to be close to.
    unique : bool or None
        Whether no other policy is as good. True only if proven; False if another optimum was constructed whose loss is
        the same to rounding; None if neither.
    steps : int
        Interior-point steps taken.
    """

    policy: FiniteDistribution
    hinge: float
    divergence: float
    relative_gap: float

    @property
    def dual(self) -> FloatArray:
        """The dual point of `certificate`."""
        dual: FloatArray = self.certificate
        return dual


def expected_slic(
    annotator: PreferenceModel,
    log_policy: ArrayLike,
    proposal: Proposal,
    *,
    delta: float,
    lambda_: float,
    reference: FiniteDistribution,
) -> ExpectedLoss:
    r"""Expected SLiC-HF loss of a policy, Eq. (20).

    .. math:: \sum_{A,B} q_{AB} \big[p_{AB} (\delta - d)^+ + p_{BA} (\delta + d)^+\big]
              - \lambda \sum_x \pi_{pre}(x) \log \pi(x), \qquad d = \log \pi(x_A) - \log \pi(x_B)

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    log_policy : array_like, shape (n,)
        Log-probabilities in nats, normalised here; any logits will do. -inf excludes an outcome.
    proposal : ProductProposal, JointProposal or PairListProposal
    delta : float
        Margin in nats, at least 0.
    lambda_ : float
        Weight of the regulariser, at least 0.
    reference : FiniteDistribution
        :math:`\pi_{pre}`, from which the regulariser draws.

    Returns
    -------
    ExpectedLoss
        The gradient is a subgradient with respect to the logits, normalisation included, so its entries sum to zero;
        at a kink, :math:`d = \delta`, the hinge's derivative is taken as 0. The value is infinite where the policy
        excludes an outcome that the reference has or that wins.

    Raises
    ------
    ValueError
        If sizes or supports differ, `delta` or `lambda_` is negative or above 1e100, or `log_policy` holds NaN, +inf,
        or -inf at two outcomes that the proposal compares.

    Notes
    -----
    The print's :math:`(\delta - (\dots)^+)` is read as :math:`(\delta - (\dots))^+`: with the printed bracket
    :math:`\delta` only shifts the loss. RSO's loss, Eq. (21), is the case ``lambda_ = 0`` at
    :math:`\log \pi - \log \pi_{pre}` in place of :math:`\log \pi`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.hinge import expected_slic
    >>> always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    >>> q, reference = pb.JointProposal([[0, 1], [0, 0]]), pb.uniform([0, 1])
    >>> loss = expected_slic(always, [0.0, 0.0], q, delta=1.0, lambda_=1.0, reference=reference)
    >>> round(loss.value, 6), loss.gradient  # 1 + log 2
    (1.693147, array([-1.,  1.]))
    """
    delta, lambda_ = _settings(annotator, proposal, delta, lambda_, reference)
    logits = vector("log_policy", log_policy, size=annotator.size)
    reject("log_policy", "below +inf", logits, np.isposinf(logits))
    if np.isneginf(logits).all():
        raise ValueError("`log_policy` must have positive mass; got -inf everywhere")
    log_pi = log_normalize(logits)
    first = expected_loss(hinge(delta), annotator, log_pi, proposal)
    if lambda_ == 0.0:
        return first
    gradient = first.gradient + lambda_ * (np.exp(log_pi) - reference.pmf)
    gradient.flags.writeable = False
    return ExpectedLoss(first.value - lambda_ * reference.expectation(log_pi), gradient)


def minimize_slic(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    delta: float,
    lambda_: float,
    reference: FiniteDistribution,
    tolerance: float = 1e-7,
    policy_tolerance: float = 1e-3,
    max_steps: int = 200,
) -> SlicSolution:
    r"""The policy of least expected SLiC-HF loss, Eq. (20), with a duality gap.

    .. math:: \min_\pi \sum_{A \ne B} c_{AB} (\delta - s_A + s_B)^+ + \delta \sum_A q_{AA}
              - \lambda\, \mathbb{E}_{\pi_{pre}}[\log \pi], \qquad s = \log \pi

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    delta, lambda_, reference
        As in `expected_slic`.
    tolerance : float
        Relative gap at which the result counts as converged; the solver aims at a thousandth of it.
    policy_tolerance : float
        Bound on the policy's total variation from the optimum at which the result counts as converged.
    max_steps : int
        Bound on interior-point steps, at least 1.

    Returns
    -------
    SlicSolution
        For :math:`\lambda > 0` the optimum is unique. For :math:`\lambda = 0` the result is :math:`\delta` times the
        largest whole-numbered optimum at margin 1, largest in every entry among all optima with maximum 0 in each
        group that comparisons connect: no outcome is pushed further down than the loss demands. At
        :math:`\delta = 0` that is the uniform policy.

    Raises
    ------
    ValueError
        If sizes or supports differ, `delta` or `lambda_` is negative or above 1e100, `lambda_` is between 0 and 1e-100,
        `tolerance` is not positive, or the annotator is asked to compare two outcomes of probability zero.

    Notes
    -----
    The regulariser is :math:`\lambda D_{KL}(\pi_{pre} \,\|\, \pi)` but for a constant; any law of outcomes may stand
    for :math:`\pi_{pre}`: finetuning data, draws from the finetuned model, preferred outcomes
    (``proofs/slic_regularizers.md``).

    Where :math:`\pi_{pre}` is zero, :math:`\lambda > 0`, and no chain of possible wins leads to an outcome that it
    has, the infimum is approached as :math:`\pi \to 0`; the policy returned is the limit, zero there.

    Limits: at :math:`\lambda > 0`, where a policy can lower the loss by less than about :math:`10^{-6} \sum c` only and
    the reference has outcomes below :math:`e^{-40}`, the gap that rounding leaves, :math:`10^{-14}` to
    :math:`10^{-12} \sum c`, may be more than `tolerance` of it. `converged` is then False, although `policy_error` is
    small; `reason` names the relative gap.

    Method: primal-dual interior point, the slack pairs eliminated, one n by n Cholesky factor a step; at
    :math:`\lambda = 0` then rounding to whole numbers. Proof of the bound, of uniqueness and of the whole-numbered
    optimum: ``proofs/slic.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.hinge import minimize_slic
    >>> p, q = pb.FiniteDistribution([4.0, 0.0, -4.0]), pb.ProductProposal([1, 1, 1])
    >>> slic = minimize_slic(pb.Annotator(p, pb.luce()), q, delta=1.0, lambda_=0.0, reference=pb.uniform([0, 1, 2]))
    >>> slic.utilities, round(slic.loss, 4), slic.converged, slic.unique
    (array([ 0., -1., -2.]), 0.3495, True, True)
    """
    return _minimized(
        annotator, proposal, delta, lambda_, reference, None, tolerance, policy_tolerance, max_steps
    )  # fmt: skip


def minimize_rso(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    delta: float,
    reference: FiniteDistribution,
    tolerance: float = 1e-7,
    policy_tolerance: float = 1e-3,
    max_steps: int = 200,
) -> SlicSolution:
    r"""The policy of least expected RSO loss, Eq. (21), with a duality gap.

    .. math:: \pi \propto \pi_{pre}\, e^{s}, \qquad
              s = \arg\min_s \sum_{A \ne B} c_{AB} (\delta - s_A + s_B)^+ + \delta \sum_A q_{AA}

    Parameters
    ----------
    annotator, proposal, delta, tolerance, policy_tolerance, max_steps
        As in `minimize_slic`.
    reference : FiniteDistribution
        :math:`\pi_{pre}`. Where it is zero the policy is, whatever the ratio :math:`e^s`.

    Returns
    -------
    SlicSolution
        :math:`s` is the optimum that `minimize_slic` chooses for :math:`\lambda = 0`; at :math:`\delta = 0` the policy
        is :math:`\pi_{pre}`. `unique` speaks of the policy, so of outcomes that the reference has.

    Raises
    ------
    ValueError
        As in `minimize_slic`.

    Notes
    -----
    Proof: ``proofs/slic.md``. Liu et al. (2023) write the margin as 1 and scale the log-ratio by
    :math:`\gamma = 1 / \delta`: the same minimisers.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.hinge import minimize_rso
    >>> p, reference = pb.FiniteDistribution([4.0, 0.0, -4.0]), pb.FiniteDistribution.from_weights([1, 2, 5])
    >>> annotator, q = pb.Annotator(p, pb.luce()), pb.ProductProposal([1, 1, 1])
    >>> minimize_rso(annotator, q, delta=0.0, reference=reference).policy.pmf
    array([0.125, 0.25 , 0.625])
    >>> minimize_rso(annotator, q, delta=1.0, reference=reference).utilities
    array([ 0., -1., -2.])
    """
    return _minimized(annotator, proposal, delta, 0.0, reference, reference, tolerance, policy_tolerance, max_steps)


def _minimized(
    annotator: PreferenceModel, proposal: Proposal, delta: float, lambda_: float, reference: FiniteDistribution,
    base: FiniteDistribution | None, tolerance: float, policy_tolerance: float, max_steps: int,
) -> SlicSolution:
    """The policy whose log-probabilities, less those of a base if there is one, have the least loss."""
    delta, lambda_ = _settings(annotator, proposal, delta, lambda_, reference)
    if 0.0 < lambda_ < 1e-100:
        raise ValueError(f"`lambda_` must be 0 or at least 1e-100, for flows are divided by it; got {lambda_}")
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    policy_tolerance = positive_number("policy_tolerance", policy_tolerance)
    wins, ties = win_weights(annotator, proposal)
    counted = np.ones(annotator.size, dtype=bool) if base is None else base.pmf > 0.0
    found = minimize_hinge(
        wins, delta, lambda_, reference.pmf, counted, tolerance, max_steps, win_weights_error(annotator, proposal),
        policy_tolerance,
    )
    log_policy = found.s if base is None else base.log_pmf + found.s
    policy = FiniteDistribution(log_policy, reference.support)
    found, moved = _rounded(found, policy, base, wins, delta, lambda_, reference)
    return solution_of(found, policy, reference, delta * ties, lambda_, tolerance, policy_tolerance, moved)


def _settings(
    annotator: PreferenceModel, proposal: Proposal, delta: float, lambda_: float, reference: FiniteDistribution
) -> tuple[float, float]:
    check_models(annotator, proposal)
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    same_support("reference", reference.support, "annotator", annotator.support)
    settings = non_negative_number("delta", delta), non_negative_number("lambda_", lambda_)
    for name, value in zip(("delta", "lambda_"), settings, strict=True):
        # Their squares are taken on the way.
        if value > 1e100:
            raise ValueError(f"`{name}` must be at most 1e100; got {value}")
    return settings


def _rounded(
    found: Minimum, policy: FiniteDistribution, base: FiniteDistribution | None, wins: FloatArray, delta: float,
    lambda_: float, reference: FiniteDistribution,
) -> tuple[Minimum, FloatArray]:
    """The minimum with what rounding of the utilities and of the policy made of its loss, and of each log-ratio."""
    s = found.s
    moved = policy_rounding(policy.log_pmf, *([base.log_pmf] if base else []), s)
    sunk = np.isneginf(s)
    if delta == 0.0 and not np.any(s):
        unit = np.zeros(s.size)
    else:
        unit = np.where(sunk, 0.0, EPS * np.abs(np.where(sunk, 0.0, s)))
    moved = moved + unit
    with np.errstate(invalid="ignore"):
        active = ~(s[:, None] - s > delta + moved[:, None] + moved + 4.0 * EPS * delta)
    rise = float((np.where(active, wins, 0.0) * (moved[:, None] + moved)).sum())
    if lambda_ > 0.0:
        # To first order the regulariser changes by what is left of its slope, the dual's distribution less the policy.
        slope = np.abs(policy.pmf - reference.pmf - net_flow(found.dual) / lambda_) + 4.0 * EPS * reference.pmf
        rise += lambda_ * float(((slope + moved) * moved).sum())
    return replace(found, gap=found.gap + rise, resolution=found.resolution + rise), moved


def solution_of(
    found: Minimum, policy: FiniteDistribution, reference: FiniteDistribution, constant: float, lambda_: float,
    tolerance: float, policy_tolerance: float, moved: FloatArray,
) -> SlicSolution:
    """What is reported of a minimum: loss, gap and how far the policy may be from the best one."""
    divergence = kl_divergence(reference, policy)
    changeable = found.hinge + (lambda_ * divergence if lambda_ else 0.0)
    relative = 0.0 if found.gap == 0.0 else found.gap / changeable if changeable > 0.0 else math.inf
    if lambda_ > 0.0:
        policy_error = min(1.0, math.sqrt(0.5 * found.gap / lambda_))
    else:
        policy_error = policy_distance(policy.pmf, moved) if found.unique else 1.0
    reason = "" if found.gap <= found.resolution else unmet(("relative gap", relative, tolerance))
    if lambda_ > 0.0 or found.unique:
        reason = reason or unmet(("policy error", policy_error, policy_tolerance))
    regulariser = -lambda_ * reference.expectation(policy.log_pmf) if lambda_ else 0.0
    for values in (found.s, found.dual):
        values.flags.writeable = False
    return SlicSolution(
        policy=policy,
        utilities=found.s,
        loss=found.hinge + constant + regulariser,
        hinge=found.hinge + constant,
        divergence=divergence,
        gap=found.gap,
        policy_error=policy_error,
        relative_gap=relative,
        converged=not reason,
        unique=found.unique,
        proof="dual",
        certificate=found.dual,
        steps=found.steps,
        reason=reason,
    )
