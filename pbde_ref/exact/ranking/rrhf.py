r"""RRHF, Eq. (19), with its likelihood term: exact expectations on a finite support, and certified minimisers.

With :math:`v = \log \pi` and per-token scores :math:`s_x = v_x / |x|` the expected loss is

.. math:: L(\pi) = \sum_{A, B} c_{AB}\, (s_B - s_A)^+ - \gamma \sum_x b_x v_x,

:math:`c_{AB}` the expected number of candidate pairs in which A is ranked above B, and :math:`b_x` the probability that
the best candidate is x. It is convex in :math:`v`, and with the normalisation relaxed to :math:`\sum_x e^{v_x} \le 1`,
which costs nothing, so is its domain. Each minimum therefore carries a duality gap, whatever the lengths. How the
minimum is found is told in `ranking_order`, where the order of the scores is known, and `ranking_flow`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.annotators import PreferenceModel
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.enclosures import policy_distance
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.exact.ranking.flow import certified_minimum
from pbde_ref.exact.ranking.programme import loss_and_slope, loss_rounding, loss_value, ranking_programme
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.numerics import EPS, log_normalize
from pbde_ref.pbde import length_normalized
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, positive_number, reject, vector, whole_number

__all__ = ["RRHFLoss", "RRHFSolution", "expected_rrhf", "minimize_rrhf"]



@dataclass(frozen=True, eq=False)
class RRHFLoss(Shown):
    """An expected RRHF loss.

    Attributes
    ----------
    value : float
        Ranking loss plus the weighted likelihood loss, in nats; may be infinite.
    gradient : ndarray, shape (n,)
        Derivative with respect to the logits of the policy; where scores tie, the subgradient that counts ties as zero.
        Its entries sum to zero. Read-only.
    ranking : float
        Expected sum of the hinges of Eq. (19), in nats per token.
    likelihood : float
        Expected negative log-likelihood of the best candidate, in nats, before it is weighted.
    """

    value: float
    gradient: FloatArray
    ranking: float
    likelihood: float


@dataclass(frozen=True, eq=False, kw_only=True)
class RRHFSolution(Optimum):
    r"""A minimiser of the expected RRHF loss; its `utilities` are :math:`\log \pi`.

    Attributes
    ----------
    certificate : float
        No policy's loss is less: the value of a feasible point of the dual problem, lowered by all that rounding may
        have done to it and to `loss`. Also called `lower_bound`.
    gap : float
        `loss` minus `lower_bound`; without a likelihood term `loss` and what rounding may have done to it.
    divergence_bound : float
        Upper bound on :math:`D_{KL}(\pi^* \| \pi)`, :math:`\pi^*` the minimiser and :math:`\pi` `policy`, in nats;
        infinite without a likelihood term, where the minimiser need not be unique.
    policy_error : float
        Upper bound on the total variation between `policy` and the minimiser: the root of half of `divergence_bound`,
        by Pinsker's inequality. Without a likelihood term rounding alone, if wins connect the support strongly, so that
        the minimiser is unique; otherwise 1, for nothing is proved.
    converged : bool
        Whether the gap and, unless the minimiser is not unique, `policy_error` are within the tolerances.
    steps : int
        Orders of the scores that were tried after the first.
    """

    policy: FiniteDistribution
    divergence_bound: float

    @property
    def lower_bound(self) -> float:
        """`certificate`."""
        return float(self.certificate)


def expected_rrhf(
    annotator: PreferenceModel,
    logits: ArrayLike,
    proposal: Proposal,
    *,
    n_candidates: int = 2,
    lengths: ArrayLike | None = None,
    likelihood_weight: float = 1.0,
) -> RRHFLoss:
    r"""Expected RRHF loss of the policy :math:`\pi = \operatorname{softmax}(\theta)`, Eq. (19) with its sign repaired.

    .. math:: \mathbb{E}\Big[\sum_{x_i \succ x_j} \Big(\frac{\log \pi(x_j)}{|x_j|}
              - \frac{\log \pi(x_i)}{|x_i|}\Big)^+ - \gamma \log \pi(x_{best})\Big]

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Who ranks. Three candidates need a utility :math:`\chi` (an `Annotator`, or a mixture of such, one of whom ranks
        all three): the ranking is Plackett–Luce, the best drawn in proportion to :math:`e^{\chi}`, then the second.
    logits : array_like, shape (n,)
        :math:`\theta`, for example ``policy.log_pmf``; -inf excludes an outcome.
    proposal : ProductProposal, JointProposal or PairListProposal
        Two candidates are drawn from it. Three are drawn independently from the factor of a `ProductProposal` whose two
        factors are the same. A candidate drawn twice ties with itself and costs nothing.
    n_candidates : {2, 3}
        k, the number of candidates that are ranked together.
    lengths : array_like, shape (n,), optional
        Numbers of tokens :math:`|x|`, positive and finite. Default: 1.
    likelihood_weight : float
        :math:`\gamma`, non-negative, of the likelihood of the highest-ranked candidate. Yuan et al. (2023) add the two
        losses: 1.

    Raises
    ------
    TypeError, ValueError
        If sizes differ, a number is out of its range, three candidates are asked of an annotator without utility or of
        a proposal that does not draw them independently, or the proposal asks the annotator to compare two outcomes of
        probability zero.

    Notes
    -----
    Eq. (19) is printed as the sum of :math:`-(s_i - s_j)^+` over :math:`x_i \succ x_j`, which falls without bound as a
    preferred candidate gains. Proof: ``proofs/rrhf.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.ranking import expected_rrhf
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1]), pb.luce())
    >>> pair = pb.PairListProposal([0], [1])
    >>> loss = expected_rrhf(annotator, [1.0, 0.0], pair, likelihood_weight=0.0)
    >>> round(loss.value, 12), loss.gradient  # the fifth of all comparisons that the weaker outcome wins
    (0.2, array([ 0.2, -0.2]))
    """
    check_models(annotator, proposal)
    programme = ranking_programme(annotator, proposal, n_candidates, lengths, likelihood_weight)
    logits = vector("logits", logits, size=annotator.size)
    reject("logits", "below +inf", logits, np.isposinf(logits))
    if np.isneginf(logits).all():
        raise ValueError("`logits` must be finite somewhere; got -inf everywhere")
    log_pmf = log_normalize(logits)
    ranking, likelihood, slope = loss_and_slope(programme, log_pmf)
    # The chain rule through the normaliser.
    gradient = slope - np.exp(log_pmf) * slope.sum()
    gradient.flags.writeable = False
    gamma = programme.likelihood_weight
    return RRHFLoss(ranking + (gamma * likelihood if gamma > 0.0 else 0.0), gradient, ranking, likelihood)


def minimize_rrhf(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    n_candidates: int = 2,
    lengths: ArrayLike | None = None,
    likelihood_weight: float = 1.0,
    tolerance: float = 1e-9,
    policy_tolerance: float = 1e-3,
    max_steps: int = 100,
) -> RRHFSolution:
    r"""The policy of least expected RRHF loss, with a duality gap.

    In softmax logits the problem is convex only for equal lengths; in log-probabilities, with
    :math:`\sum_x \pi(x) \le 1`, it is convex for any. The dual problem is

    .. math:: \max_y\; M H(m / M), \qquad m_x = \gamma b_x + \frac{1}{|x|} \sum_B y_{xB} \ge 0, \qquad M = \sum_x m_x,
              \qquad -c_{BA} \le y_{AB} = -y_{BA} \le c_{AB},

    and the minimiser, unique for :math:`\gamma > 0`, is :math:`\pi = m / M`: the entropy is raised as far as the flow
    :math:`y` allows. The best policy of a given order of the scores has a closed form but for one root, and a maximum
    flow inside each group of equal scores proves it optimal or finds a better order.

    Parameters
    ----------
    annotator, proposal, n_candidates, lengths, likelihood_weight
        As in `expected_rrhf`. Without likelihood term the policy with the same score everywhere,
        :math:`\pi(x) = e^{-\nu |x|}`, has loss zero and is returned; if the arrows of positive probability do not make
        the support strongly connected, others have loss zero too.
    tolerance : float
        Gap in nats at which the result counts as converged and the method stops; positive.
    policy_tolerance : float
        Bound on the policy's total variation from the minimiser at which the same is true; positive.
    max_steps : int
        Bound on the orders of the scores that are tried after the first, at least 1. Each is better than the last.

    Returns
    -------
    RRHFSolution
        An outcome that is never the best candidate has probability zero, as a limit: no finite logits attain it.

    Raises
    ------
    TypeError, ValueError
        As in `expected_rrhf`.

    Notes
    -----
    From :math:`\gamma = \infty` down to a positive threshold the optimum moves from the distribution of the best
    candidate, `winners_distribution` for two, to :math:`e^{-\nu |x|}`, uniform for equal lengths, and stays there. In
    general it is not :math:`p^*`. In exact arithmetic the method ends at the minimum. In floating point the gap
    includes rounding, about 1e-13 of the loss and of :math:`\gamma`: where these are in the thousands, a `tolerance` of
    1e-9 asks too much, and `converged` is False. Memory is a few times n² numbers.
    Proof: ``proofs/rrhf.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.ranking import minimize_rrhf
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([9, 1]), pb.luce())
    >>> solution = minimize_rrhf(annotator, pb.PairListProposal([0], [1]))
    >>> solution.converged, solution.policy.pmf.round(6)  # 0.9 - 0.1 = 0.8
    (True, array([0.8, 0.2]))
    """
    check_models(annotator, proposal)
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    policy_tolerance = positive_number("policy_tolerance", policy_tolerance)
    programme = ranking_programme(annotator, proposal, n_candidates, lengths, likelihood_weight)
    support = annotator.support
    if programme.likelihood_weight == 0.0:
        flat = normalized_log_policy(np.zeros(annotator.size), length_normalized(programme.lengths))
        loss = loss_and_slope(programme, flat)[0]
        gap = loss + loss_rounding(programme, flat)
        policy = FiniteDistribution(flat, support)
        unique = connected_components(csr_array(programme.wins), connection="strong")[0] == 1
        # Equal scores, each rounded a few times.
        error = policy_distance(policy.pmf, 16.0 * EPS * (1.0 - policy.log_pmf)) if unique else 1.0
        asked = policy_tolerance if unique else 1.0
        return _solution(policy, loss, 0.0, gap, np.inf, error, unique, 0, (tolerance, asked))
    live = np.flatnonzero(programme.best > 0.0)
    inner = programme.restricted(live)
    # M, the multiplier of the normalisation, is at least the likelihood's weight per token times the greatest length.
    multiplier = inner.likelihood_weight * float((inner.best * inner.lengths).sum()) / float(inner.lengths.max())
    enough = min(tolerance, 2.0 * multiplier * policy_tolerance**2 * (1.0 - 1e-12))
    log_pmf, lower, steps = certified_minimum(inner, enough, max_steps)
    result = np.full(annotator.size, -np.inf)
    result[live] = log_pmf
    loss = loss_value(inner, log_pmf)
    gap = max(loss - lower, 0.0)
    divergence = (1.0 + 64.0 * EPS) * gap / multiplier
    error = min(1.0, math.sqrt(0.5 * divergence))
    policy, tolerances = FiniteDistribution(result, support), (tolerance, policy_tolerance)
    return _solution(policy, loss, lower, gap, divergence, error, True, steps, tolerances)


def _solution(
    policy: FiniteDistribution, loss: float, lower: float, gap: float, divergence: float, error: float, unique: bool,
    steps: int, tolerances: tuple[float, float],
) -> RRHFSolution:  # fmt: skip
    reason = unmet(("gap", gap, tolerances[0]), ("policy error", error, tolerances[1]))
    return RRHFSolution(
        policy=policy, utilities=policy.log_pmf, loss=loss, gap=gap, policy_error=error, converged=not reason,
        unique=unique, proof="dual", certificate=lower, steps=steps, reason=reason, divergence_bound=divergence,
    )  # fmt: skip
