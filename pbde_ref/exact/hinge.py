r"""SLiC-HF and RSO, Eq. (20) and (21): expected hinge losses and their exact optima, each with a duality gap.

With :math:`c_{AB} = (q_{AB} + q_{BA})\, p_{AB}`, the probability that A meets B and wins, the expected hinge loss of
utilities s is the sum over ordered pairs :math:`A \ne B` of :math:`c_{AB} (\delta - s_A + s_B)^+`, plus
:math:`\delta \sum_A q_{AA}`. SLiC-HF adds :math:`\lambda\, \mathbb{E}_{\pi_{pre}}[-\log \pi]`; see ``proofs/slic.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.special import logsumexp

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution, kl_divergence, same_support
from pbde_ref.exact.expected import ExpectedLoss, check_models, expected_loss
from pbde_ref.exact.identifiability import null_projection
from pbde_ref.numerics import log_normalize
from pbde_ref.objectives import hinge
from pbde_ref.proposals import Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    instance,
    non_negative_number,
    positive_number,
    reject,
    vector,
    whole_number,
)  # fmt: skip

__all__ = ["SlicSolution", "expected_slic", "minimize_rso", "minimize_slic"]

EPS = float(np.finfo(float).eps)

# A gap this small in the unit of the hinge, margin times mass of the pairs, is what rounding leaves of zero.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class SlicSolution:
    r"""A policy of least expected SLiC-HF or RSO loss.

    Attributes
    ----------
    policy : FiniteDistribution
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
        Upper bound on the loss above the least possible one, of the same unit: primal minus dual value, up to rounding
        of sums. For SLiC-HF with :math:`\lambda > 0` also
        :math:`\lambda\, D_{KL}(\pi_{opt} \,\|\, \pi) \le` `gap`.
    relative_gap : float
        `gap` divided by what a policy can change: hinge without its constant, plus :math:`\lambda` times `divergence`.
        Neither :math:`\delta \sum_A q_{AA}` nor :math:`\lambda H(\pi_{pre})` flatters it. Zero if `gap` is.
    dual : ndarray, shape (n, n)
        Dual point that certifies the gap: entry [A, B] lies in :math:`[0, c_{AB}]`. Read-only.
    converged : bool
        Whether `relative_gap` is within the tolerance asked for, or `gap` within :math:`10^{-14} \delta`
        (:math:`10^{-14} (1 + \delta)` at :math:`\lambda > 0`), which is what rounding leaves of a loss of zero.
    unique : bool or None
        Whether no other policy is as good. True only if proven; False if another optimum was constructed whose loss is
        the same to rounding; None if neither.
    steps : int
        Interior-point steps taken.
    """

    policy: FiniteDistribution
    utilities: FloatArray
    loss: float
    hinge: float
    divergence: float
    gap: float
    relative_gap: float
    dual: FloatArray
    converged: bool
    unique: bool | None
    steps: int


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
        If sizes or supports differ, `delta` or `lambda_` is negative, or `log_policy` holds NaN, +inf, or -inf at two
        outcomes that the proposal compares.

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
        If sizes or supports differ, `delta` or `lambda_` is negative, `tolerance` is not positive, or the annotator is
        asked to compare two outcomes of probability zero.

    Notes
    -----
    Where :math:`\pi_{pre}` is zero, :math:`\lambda > 0`, and no chain of possible wins leads to an outcome that it
    has, the infimum is approached as :math:`\pi \to 0`; the policy returned is the limit, zero there.

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
    delta, lambda_ = _settings(annotator, proposal, delta, lambda_, reference)
    wins, ties = _win_weights(annotator, proposal)
    everywhere = np.ones(annotator.size, dtype=bool)
    found = _minimize(
        wins, delta, lambda_, reference.pmf, everywhere,
        positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1),
    )  # fmt: skip
    policy = FiniteDistribution(found.s, reference.support)
    return _solution(found, policy, reference, delta * ties, lambda_, tolerance)


def minimize_rso(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    delta: float,
    reference: FiniteDistribution,
    tolerance: float = 1e-7,
    max_steps: int = 200,
) -> SlicSolution:
    r"""The policy of least expected RSO loss, Eq. (21), with a duality gap.

    .. math:: \pi \propto \pi_{pre}\, e^{s}, \qquad
              s = \arg\min_s \sum_{A \ne B} c_{AB} (\delta - s_A + s_B)^+ + \delta \sum_A q_{AA}

    Parameters
    ----------
    annotator, proposal, delta, tolerance, max_steps
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
    delta, _ = _settings(annotator, proposal, delta, 0.0, reference)
    wins, ties = _win_weights(annotator, proposal)
    found = _minimize(
        wins, delta, 0.0, reference.pmf, reference.pmf > 0.0,
        positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1),
    )  # fmt: skip
    policy = FiniteDistribution(reference.log_pmf + found.s, reference.support)
    return _solution(found, policy, reference, delta * ties, 0.0, tolerance)


def _settings(
    annotator: PreferenceModel, proposal: Proposal, delta: float, lambda_: float, reference: FiniteDistribution
) -> tuple[float, float]:
    check_models(annotator, proposal)
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    same_support("reference", reference.support, "annotator", annotator.support)
    return non_negative_number("delta", delta), non_negative_number("lambda_", lambda_)


def _win_weights(annotator: PreferenceModel, proposal: Proposal) -> tuple[FloatArray, float]:
    """Probability c[A, B] that A meets B and wins, zero on the diagonal, and that an outcome meets itself."""
    wins = np.zeros((annotator.size, annotator.size))
    for block in proposal.blocks(annotator.size):
        forward, backward = annotator.probabilities(block)
        if block.weight.ndim == 2:
            wins[block.a, block.b] += block.weight * forward
            wins[block.b, block.a] += block.weight * backward
        else:
            # A list may name a pair several times.
            np.add.at(wins, (block.a, block.b), block.weight * forward)
            np.add.at(wins, (block.b, block.a), block.weight * backward)
    # An outcome against itself was entered once as the winner and once as the loser.
    ties = float(wins.trace())
    np.fill_diagonal(wins, 0.0)
    return wins, ties


def _solution(
    found: _Minimum, policy: FiniteDistribution, reference: FiniteDistribution, constant: float, lambda_: float,
    tolerance: float,
) -> SlicSolution:  # fmt: skip
    divergence = kl_divergence(reference, policy)
    changeable = found.hinge + (lambda_ * divergence if lambda_ else 0.0)
    relative = 0.0 if found.gap == 0.0 else found.gap / changeable if changeable > 0.0 else math.inf
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
        relative_gap=relative,
        dual=found.dual,
        converged=relative <= tolerance or found.gap <= found.resolution,
        unique=found.unique,
        steps=found.steps,
    )


@dataclass(frozen=True, eq=False)
class _Minimum:
    """Utilities with maximum 0, a feasible dual point, and what they prove. The hinge leaves out the diagonal."""

    s: FloatArray
    dual: FloatArray
    hinge: float
    gap: float
    resolution: float
    unique: bool | None
    steps: int


def _minimize(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, counted: NDArray[np.bool_],
    tolerance: float, max_steps: int,
) -> _Minimum:  # fmt: skip
    if lambda_ == 0.0:
        return _minimize_linear(wins, delta, counted, tolerance, max_steps)
    attained = _supported(wins, reference, 0.0, 0.0)
    if not attained.all():
        # The rest never wins against what is kept: it sinks to -inf, free of charge but for comparisons inside it.
        inside, outside = np.ix_(attained, attained), np.ix_(~attained, ~attained)
        main = _minimize(wins[inside], delta, lambda_, reference[attained], counted[attained], tolerance, max_steps)
        rest = _minimize_linear(wins[outside], delta, counted[~attained], tolerance, max_steps)
        s, dual = np.full(len(wins), -np.inf), np.zeros_like(wins)
        s[attained], dual[inside], dual[outside] = main.s, main.dual, rest.dual
        value, gap, steps = main.hinge + rest.hinge, main.gap + rest.gap, main.steps + rest.steps
        return replace(main, s=s, dual=dual, hinge=value, gap=gap, steps=steps)
    total = float(wins.sum())
    held = _supported(wins, reference, 1e-11 * total / (lambda_ * len(wins)), 1e-14 * total)
    if held.all():
        return _minimize_regularized(wins, delta, lambda_, reference, tolerance, max_steps)
    # The rest is too weakly tied to the reference for the central path to hold it; lambda is next to nothing there.
    inside, outside = np.ix_(held, held), np.ix_(~held, ~held)
    prior = FiniteDistribution.from_weights(reference)
    s, dual, steps = np.zeros(len(wins)), np.zeros_like(wins), 0
    if held.any():
        main = _minimize_regularized(wins[inside], delta, lambda_, reference[held], tolerance, max_steps)
        s[held], dual[inside], steps = main.s - logsumexp(main.s), main.dual, main.steps
    rest = _minimize_linear(wins[outside], delta, counted[~held], tolerance, max_steps)
    level = math.log(max(float(reference[~held].sum()), 1e-300)) - float(logsumexp(rest.s))
    above = np.where(wins[held][:, ~held] > 0.0, s[held][:, None] - rest.s[None, :] - delta, np.inf)
    s[~held], dual[outside] = rest.s + min(level, float(above.min(initial=np.inf))), rest.dual
    return _regularized_point(wins, delta, lambda_, prior, s, dual, steps + rest.steps)


def _supported(wins: FloatArray, reference: FloatArray, least: float, rare: float) -> NDArray[np.bool_]:
    """Outcomes that the reference has, and those from which a chain of possible wins leads to one."""
    kept = reference > least
    while True:
        wider = kept | ((wins > rare) & kept).any(axis=1)
        if np.array_equal(wider, kept):
            return kept
        kept = wider


# --- lambda > 0 ---------------------------------------------------------------------------------------------------


def _minimize_regularized(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, tolerance: float, max_steps: int
) -> _Minimum:
    prior = FiniteDistribution.from_weights(reference)
    # A floor far below rounding of the loss keeps the logarithms of vanishing reference probabilities in reach.
    floored = (reference + EPS) / (1.0 + len(wins) * EPS)
    # The reference itself comes first: at delta = 0 it may be optimal, with a loss of exactly zero.
    exact = np.log(np.where(reference > 0.0, reference, EPS))
    best = _regularized_point(wins, delta, lambda_, prior, exact, np.zeros_like(wins), 0)
    if best.hinge == 0.0:
        return replace(best, gap=0.0)
    gaps = [best.gap]
    for s, dual, steps in _interior_point(wins, delta, lambda_, floored, max_steps):
        point = _regularized_point(wins, delta, lambda_, prior, s, dual, steps)
        best = point if point.gap <= best.gap else replace(best, steps=steps)
        gaps.append(best.gap)
        value = best.hinge + lambda_ * kl_divergence(prior, FiniteDistribution(best.s))
        if _finished(gaps, tolerance * value, best.resolution):
            break
    return best


def _finished(gaps: list[float], enough: float, resolution: float) -> bool:
    """Whether the least gaps so far are well within what is enough, or within it and not halved in three steps."""
    stalled = len(gaps) > 3 and gaps[-1] > 0.5 * gaps[-4]
    return gaps[-1] <= max(1e-3 * enough, 0.1 * resolution) or (stalled and gaps[-1] <= max(enough, resolution))


def _regularized_point(
    wins: FloatArray, delta: float, lambda_: float, prior: FiniteDistribution,
    s: FloatArray, dual: FloatArray, steps: int,
) -> _Minimum:  # fmt: skip
    r"""Loss at s and the gap to the dual point, term by term: no term is negative, so nothing cancels."""
    dual, r = _feasible(np.clip(dual, 0.0, wins), wins, lambda_, prior.pmf)
    s = s - s.max()
    value, slackness = _hinge_and_slackness(wins, delta, s, dual)
    gap = slackness + lambda_ * kl_divergence(FiniteDistribution.from_weights(r), FiniteDistribution(s))
    return _Minimum(s, dual, value, gap, ROUNDING * (1.0 + delta) * float(wins.sum()), True, steps)


def _feasible(
    dual: FloatArray, wins: FloatArray, lambda_: float, reference: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The dual point, repaired where r = reference + flow / lambda would be negative, and r."""
    r, noise = _dual_policy(dual, lambda_, reference)
    if (r < -noise).any():
        # What is missing is taken from the most probable outcome, by way of pairs with room for it.
        missing = np.minimum(lambda_ * r, 0.0)
        routed = _route(dual, np.minimum(dual, wins - dual), missing, r)[0]
        if (routed >= 0.0).all() and (routed <= wins).all():
            dual = routed
    for _ in range(20):
        r, noise = _dual_policy(dual, lambda_, reference)
        if not (r < -noise).any():
            return dual, np.maximum(r, 0.0)
        # Otherwise fewer losses are counted against the outcome. That takes wins from others, hence the loop.
        losses = dual.sum(axis=0)
        excess = np.where(r < -noise, -(1.0 + 1e-9) * lambda_ * r, 0.0)
        dual = dual * np.clip(1.0 - excess / np.where(losses > 0.0, losses, 1.0), 0.0, 1.0)
    return np.zeros_like(dual), reference


def _dual_policy(dual: FloatArray, lambda_: float, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """r, and how far rounding may have moved it."""
    through = dual.sum(axis=0) + dual.sum(axis=1)
    return reference + _flow(dual) / lambda_, 8.0 * EPS * (reference + through / lambda_)


def _flow(dual: FloatArray) -> FloatArray:
    """Row sums minus column sums."""
    return dual.sum(axis=1) - dual.sum(axis=0)


def _hinge_and_slackness(wins: FloatArray, delta: float, s: FloatArray, dual: FloatArray) -> tuple[float, float]:
    """The hinge without its diagonal, and by how much it exceeds the sum of dual * (delta - d)."""
    short = delta - (s[:, None] - s[None, :])
    below, above = np.maximum(short, 0.0), np.maximum(-short, 0.0)
    return float((wins * below).sum()), float(((wins - dual) * below + dual * above).sum())


# --- the interior-point method ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Path:
    r"""The central path: each active pair has slacks a, b > 0, a - b = delta - d, and fractions y, z > 0, y + z = 1.

    On the path c a z = c b y = mu. At lambda > 0 the policy is softmax(s) and stationarity reads
    lambda (softmax(s) - reference) = flow(c y); at lambda = 0 it reads 0 = flow(c y).
    """

    c: FloatArray
    active: NDArray[np.bool_]
    delta: float
    lambda_: float
    reference: FloatArray
    most: FloatArray
    null: FloatArray

    def residual(self, s: FloatArray, y: FloatArray) -> FloatArray:
        return self.lambda_ * (np.exp(s) - self.reference) - _flow(self.c * y)

    def mu(self, a: FloatArray, b: FloatArray, y: FloatArray, z: FloatArray) -> float:
        return float((self.c * (a * z + b * y)).sum()) / (2.0 * float(self.c.sum()))


_Iterate = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]


def _interior_point(
    wins: FloatArray, delta: float, lambda_: float, reference: FloatArray, max_steps: int,
    null: FloatArray | None = None,
) -> Iterator[tuple[FloatArray, FloatArray, int]]:  # fmt: skip
    """Primal and dual iterates of Mehrotra's predictor-corrector method, and how many steps led there."""
    # Pairs too rare to be seen beside rounding of the loss would only lengthen the path; the certificate counts them.
    active = wins > 1e-30 * wins.sum()
    if not active.any():
        return
    c = np.where(active, wins, 0.0)
    null = np.full_like(c, 1.0 / len(c)) if null is None else null
    # All pairs have the same product c a z = c b y, however rare they are.
    inverse = np.where(active, c.sum() / active.sum() / np.where(active, c, 1.0), 0.0)
    # At the optimum an outcome has no more than its reference probability and 1 / lambda of the wins.
    most = np.minimum(1.0, reference + c.sum(axis=1) / lambda_) if lambda_ else reference
    path = _Path(c, active, delta, lambda_, reference, most, null)
    s = log_normalize(np.log(0.9 * reference + 0.1 * most))
    start = max(10.0 * delta, 1.0)
    a, b = _central(delta - (s[:, None] - s[None, :]), start * np.where(active, inverse, 1.0))
    iterate = s, a, b, a / (a + b), b / (a + b)  # y = mu / b and z = mu / a, for a b = mu (a + b)
    for steps in range(1, max_steps + 1):
        iterate, moved = _mehrotra_step(path, inverse, iterate)
        s, a, b, y, z = iterate
        if not np.isfinite(s).all() or moved < 1e-8:
            return
        yield s, c * y, steps
        if not path.mu(a, b, y, z) > 1e-17 * start and np.abs(path.residual(s, y)).sum() < 1e-14 * (lambda_ + c.sum()):
            return


@np.errstate(all="ignore")  # a pair that reaches its bound to the last digit ends the path, see the checks above
def _mehrotra_step(path: _Path, inverse: FloatArray, iterate: _Iterate) -> tuple[_Iterate, float]:
    """The next iterate, and the longer of the primal and the dual step."""
    s, a, b, y, z = iterate
    c, active = path.c, path.active
    policy = np.exp(s)
    residual = path.residual(s, y)
    w = 1.0 / (a / z + b / y)
    factor = _factor(c * w, path.lambda_ * policy, path.null)

    def direction(for_a: FloatArray, for_b: FloatArray) -> tuple[FloatArray, ...]:
        """Changes after which, to first order, stationarity holds, a z has grown by `for_a`, and b y by `for_b`."""
        target = for_b / y - for_a / z
        ds = cho_solve((factor, True), _flow(c * w * target) - residual, check_finite=False)
        dy = np.where(active, w * (target - (ds[:, None] - ds[None, :])), 0.0)
        return ds, np.where(active, (for_a + a * dy) / z, 0.0), np.where(active, (for_b - b * dy) / y, 0.0), dy

    def reach(da: FloatArray, db: FloatArray, dy: FloatArray) -> tuple[float, float]:
        return min(_reach(a, da), _reach(b, db)), min(_reach(y, dy), _reach(z, -dy))

    _, da, db, dy = direction(-a * z, -b * y)
    primal, dual = (min(1.0, step) for step in reach(da, db, dy))
    mu = path.mu(a, b, y, z)
    ahead = path.mu(a + primal * da, b + primal * db, y + dual * dy, z - dual * dy)
    # Complementarity must not run ahead of stationarity: pairs at the margin then swamp all else in the factor.
    least = min(mu, 0.1 * float(np.abs(residual).sum()) / float(c.sum()))
    centre = max(mu * min(0.5, (max(ahead, 0.0) / max(mu, 1e-300)) ** 4), least) * inverse
    # Mehrotra's second-order term is worth little where the predictor is blocked soon; in full it can make a cycle.
    second = min(1.0, (3.0 * min(primal, dual)) ** 2) * dy
    ds, da, db, dy = direction(centre - a * z + second * da, centre - b * y - second * db)
    primal, dual = (min(1.0, 0.99 * step) for step in reach(da, db, dy))
    if path.lambda_:
        # Newton's step for an exponential overshoots from below, where the curvature is nearly zero: no outcome is
        # raised far above what the optimum can give it.
        ceiling = 1.0 + np.log(np.maximum(policy, path.most))
        primal = min(primal, 1.0 / max(1.0, float((ds / (ceiling - s)).max())))
    iterate = s + primal * ds, a + primal * da, b + primal * db, y + dual * dy, z - dual * dy
    return iterate, max(primal, dual)


def _central(short: FloatArray, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slacks with a - b = short and 1 / a + 1 / b = 1 / mu."""
    # Each root from the form without cancellation: a b = mu (a + b).
    root = np.hypot(short, 2.0 * mu)
    larger = mu + 0.5 * (np.abs(short) + root)
    smaller = mu * larger / (larger - mu)
    return np.where(short > 0.0, larger, smaller), np.where(short > 0.0, smaller, larger)


def _reach(values: FloatArray, change: FloatArray) -> float:
    """The largest step that keeps values + step * change non-negative."""
    return 1.0 / max(1e-300, -float((change / values).min()))


def _factor(weights: FloatArray, diagonal: FloatArray, null: FloatArray) -> FloatArray:
    """Cholesky factor of the Laplacian plus diag(v) - v vᵀ / sum v, its null space filled in."""
    matrix = -(weights + weights.T)
    matrix[np.diag_indices_from(matrix)] = -matrix.sum(axis=1) + diagonal
    scale = float(matrix.diagonal().max())
    if not diagonal.any():
        matrix += scale * null
    for damping in (0.0, *(10.0**power for power in range(-15, 1))):
        damped = matrix.copy()
        damped[np.diag_indices_from(damped)] += damping * scale
        if _cholesky(damped):
            return damped
    raise ArithmeticError("the Hessian of a convex loss is not positive semidefinite")  # pragma: no cover


def _cholesky(matrix: FloatArray, width: int = 32) -> bool:
    """Replace the lower triangle by its Cholesky factor; False if the matrix is not positive definite.

    In panels small enough that no BLAS library starts threads for them: on busy cores those cost a hundred times more
    than the arithmetic.
    """
    n = len(matrix)
    for start in range(0, n, width):
        stop = min(n, start + width)
        head, info = dpotrf(matrix[start:stop, start:stop], lower=1, clean=1)
        if info:
            return False
        matrix[start:stop, start:stop] = head
        below = matrix[stop:, start:stop]
        inverse = np.linalg.inv(head).T
        for i in range(0, n - stop, width):
            below[i : i + width] = below[i : i + width] @ inverse
        for i in range(0, n - stop, width):
            j = i + width
            matrix[stop + i : stop + j, stop : stop + j] -= below[i:j] @ below[:j].T
    return True


# --- lambda = 0 ---------------------------------------------------------------------------------------------------


def _minimize_linear(
    wins: FloatArray, delta: float, counted: NDArray[np.bool_], tolerance: float, max_steps: int
) -> _Minimum:
    """The linear programme at margin 1, times delta."""
    if delta == 0.0:
        groups = _strong_groups(wins > 0.0)[counted]
        return _Minimum(np.zeros(len(wins)), np.zeros_like(wins), 0.0, 0.0, 0.0, bool((groups == groups[:1]).all()), 0)
    # Between strongly connected groups of arrows, wins in one direction only cost nothing: the programme splits. What
    # is rarer than rounding of the loss is left to the certificate.
    arrows = wins > 1e-14 * wins.sum()
    groups = _strong_groups(arrows)
    together = groups[:, None] == groups[None, :]
    split = np.where(together, wins, 0.0)
    gaps, s, dual, steps = [math.inf], np.zeros(len(wins)), np.zeros_like(wins), 0
    uniform = np.full(len(wins), 1.0 / len(wins))
    for iterate, flows, taken in _interior_point(split, 1.0, 0.0, uniform, max_steps, null_projection(groups)):
        steps, (value, gap) = taken, _linear_gap(split, iterate, flows)
        if gap < gaps[-1]:
            s, dual = iterate, flows
        gaps.append(min(gap, gaps[-1]))
        if _finished(gaps, tolerance * value, ROUNDING * float(wins.sum())):
            break
    inside = np.where(together, s[None, :] - s[:, None], np.inf)
    s = _whole_numbers(wins, _largest_below(np.zeros(len(s)), np.where(arrows & ~together, -1.0, inside)))
    dual = np.clip(dual, 0.0, wins)
    s, bounds = _largest_optimum(wins, s, dual)
    dual, unique = _complementary(wins, s, dual, counted)
    if unique is None and _has_other_optimum(wins, s, bounds, counted):
        unique = False
    value, gap = _linear_gap(wins, s, dual)
    return _Minimum(delta * s, dual, delta * value, delta * gap, ROUNDING * delta * float(wins.sum()), unique, steps)


def _strong_groups(arrows: NDArray[np.bool_]) -> IndexArray:
    """Strongly connected component of each outcome."""
    return np.asarray(connected_components(coo_array(arrows), directed=True, connection="strong")[1], dtype=np.intp)


def _linear_gap(wins: FloatArray, s: FloatArray, dual: FloatArray) -> tuple[float, float]:
    """Hinge at margin 1, and its excess over the bound that holds for every `dual` in [0, wins]."""
    value, slackness = _hinge_and_slackness(wins, 1.0, s, dual)
    # Some optimum has a range of at most n - 1, so an imbalance of the flows costs the bound no more than this.
    flow = _flow(dual)
    return value, max(0.0, slackness - float((flow * s).sum()) + 0.5 * (len(s) - 1) * float(np.abs(flow).sum()))


def _largest_below(start: FloatArray, bounds: FloatArray) -> FloatArray:
    """The largest t with t <= start and t[j] <= t[i] + bounds[i, j]: shortest paths, after Bellman and Ford."""
    for _ in range(len(start)):
        lower = np.minimum(start, (start[:, None] + bounds).min(axis=0))
        if np.array_equal(lower, start):
            break
        start = lower
    return start


def _whole_numbers(wins: FloatArray, s: FloatArray) -> FloatArray:
    """The best of floor(s + t), 0 <= t <= 1. On average over t the loss is that of s, so the best is no worse."""
    rounded = np.floor(s)
    change, best, best_rounded = 0.0, 0.0, rounded.copy()
    for i in np.argsort(rounded - s, kind="stable"):
        margin = rounded[i] - rounded
        change += float((wins[:, i] * (margin >= -1.0)).sum() - (wins[i] * (margin < 1.0)).sum())
        rounded[i] += 1.0
        if change < best:
            best, best_rounded = change, rounded.copy()
    # A level that nothing occupies can be closed in each group that comparisons connect, at no loss.
    groups = connected_components(coo_array(wins > 0.0), directed=False)[1]
    for group in range(groups.max() + 1):
        members = groups == group
        best_rounded[members] = -np.unique(-best_rounded[members], return_inverse=True)[1]
    return best_rounded


def _largest_optimum(wins: FloatArray, s: FloatArray, dual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The largest whole-numbered optimum with s <= 0, and bounds [i, j] on s[j] - s[i] that describe all optima."""
    margin = s[:, None] - s[None, :]
    with np.errstate(invalid="ignore"):
        fraction = np.where(wins > 0.0, dual / np.where(wins > 0.0, wins, 1.0), 0.5)
    # Complementary slackness: a pair's margin is at least 1 where the dual is below c, at most 1 where it is above 0.
    at_least = (wins > 0.0) & ((margin > 1.0) | ((margin == 1.0) & (fraction < 1.0 - 1e-7)))
    at_most = (wins > 0.0) & ((margin < 1.0) | ((margin == 1.0) & (fraction > 1e-7)))
    bounds = np.minimum(np.where(at_least, -1.0, np.inf), np.where(at_most, 1.0, np.inf).T)
    largest = _largest_below(np.zeros(len(s)), bounds)
    # The dual point is known to rounding only; what it suggests is checked.
    return (largest if _same_hinge(wins, largest, s) else s), bounds


def _same_hinge(wins: FloatArray, s: FloatArray, optimum: FloatArray) -> bool:
    value, least = (_hinge_and_slackness(wins, 1.0, t, wins)[0] for t in (s, optimum))
    return value <= least * (1.0 + 1e-13)


def _has_other_optimum(wins: FloatArray, s: FloatArray, bounds: FloatArray, counted: NDArray[np.bool_]) -> bool:
    """Whether some outcomes can be lowered by 1 while others stay, at no loss."""
    # Outcomes that pull each other along move together; one of each group is tried.
    pulled = s[None, :] == s[:, None] + bounds
    for i in np.unique(_strong_groups(pulled), return_index=True)[1]:
        start = s.copy()
        start[i] -= 1.0
        lowered = _largest_below(start, bounds)
        if np.ptp((lowered - s)[counted]) > 0.0 and _same_hinge(wins, lowered, s):
            return True
    return False


def _complementary(
    wins: FloatArray, s: FloatArray, dual: FloatArray, counted: NDArray[np.bool_]
) -> tuple[FloatArray, bool | None]:
    """A dual point that is exactly complementary to whole-numbered s, where one is found, and whether s is unique.

    Off the margin 1 the dual is 0 or c. What that leaves unbalanced flows along a spanning forest of the pairs at
    margin 1, those with most room in both directions. If room remains along a tree that spans everything, every
    optimum has these margins.
    """
    margin = s[:, None] - s[None, :]
    tight = (wins > 0.0) & (margin == 1.0)
    flows = np.where(tight, dual, np.where(margin < 1.0, wins, 0.0))
    room = np.where(tight, np.minimum(flows, wins - flows), 0.0)
    routed, arcs, tree = _route(flows, room, _flow(flows), np.zeros(len(s)))
    if (routed < 0.0).any() or (routed > wins).any() or _linear_gap(wins, s, routed)[1] > _linear_gap(wins, s, dual)[1]:
        return dual, None
    noise = 0.5 * float(np.abs(_flow(routed)).sum()) + 4.0 * len(s) * EPS * float(routed.sum())
    spare = (min(routed[arc], wins[arc] - routed[arc]) for arc in arcs)
    components = connected_components(coo_array(wins > 0.0), directed=False)[0]
    one_tree = tree.max() + 1 == components and bool((tree[counted] == tree[counted][:1]).all())
    return routed, True if one_tree and min(spare, default=math.inf) > noise else None


def _route(
    flows: FloatArray, room: FloatArray, surplus: FloatArray, preference: FloatArray
) -> tuple[FloatArray, list[tuple[int, int]], IndexArray]:
    """Flows after each outcome's surplus went to the root of its tree, the arcs used, and each outcome's tree.

    The trees span what room connects, by the arcs with most of it; each has its root where `preference` is largest.
    """
    positive = room > 0.0
    log_room = np.log(np.where(positive, room, 1.0))
    cost = np.where(positive, 1.0 + log_room.max(where=positive, initial=-np.inf) - log_room, 0.0)
    forest = minimum_spanning_tree(coo_array(cost).tocsr())
    tree = connected_components(forest, directed=False)[1]
    order = np.argsort(-preference, kind="stable")
    routed, surplus, arcs = flows.copy(), surplus.copy(), []
    for root in order[np.unique(tree[order], return_index=True)[1]]:
        members, parents = breadth_first_order(forest, root, directed=False)
        for child in members[:0:-1]:  # leaves first
            parent = parents[child]
            upward = room[child, parent] >= room[parent, child]
            arcs.append((child, parent) if upward else (parent, child))
            routed[arcs[-1]] += -surplus[child] if upward else surplus[child]
            surplus[parent] += surplus[child]
    return routed, arcs, tree
