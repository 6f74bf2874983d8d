r"""RRHF, Eq. (19), with its likelihood term: exact expectations on a finite support, and certified minimisers.

With :math:`v = \log \pi` and per-token scores :math:`s_x = v_x / |x|` the expected loss is

.. math:: L(\pi) = \sum_{A, B} c_{AB}\, (s_B - s_A)^+ - \gamma \sum_x b_x v_x,

:math:`c_{AB}` the expected number of candidate pairs in which A is ranked above B, and :math:`b_x` the probability that
the best candidate is x. It is convex in :math:`v`, and with the normalisation relaxed to :math:`\sum_x e^{v_x} \le 1`,
which costs nothing, so is its domain. Each minimum therefore carries a duality gap, whatever the lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import xlogy

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.exact.selection import winners_distribution
from pbde_ref.numerics import log_normalize, weighted
from pbde_ref.pbde import length_normalized
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray, number, positive_number, reject, vector, whole_number

__all__ = ["RRHFLoss", "RRHFSolution", "expected_rrhf", "minimize_rrhf"]

# Pairs whose box is narrower than this share of the widest are left to the primal side; their multiplier 0 is feasible.
NARROWEST = 1e-20
# Starts lie between the distribution of the best candidate and the policy of equal scores, in this order.
BLENDS = (0.0, 0.5, 1.0, 0.25, 0.75, 0.1, 0.9)
# How far a step may go towards the boundary, and how far Σ e^v may leave the line by which Newton replaces it.
TO_THE_BOUNDARY, LARGEST_BEND = 0.99, 1.0
# Rounds in which multipliers are cut down until no outcome's mass is negative.
REPAIRS = 50


@dataclass(frozen=True, eq=False)
class RRHFLoss:
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


@dataclass(frozen=True, eq=False)
class RRHFSolution:
    r"""A minimiser of the expected RRHF loss.

    Attributes
    ----------
    policy : FiniteDistribution
    loss : float
        Its loss, in nats.
    lower_bound : float
        No policy's loss is less: the value of a feasible point of the dual problem.
    gap : float
        `loss` minus `lower_bound`, up to rounding.
    divergence_bound : float
        Upper bound on :math:`D_{KL}(\pi^* \| \pi)`, :math:`\pi^*` the minimiser and :math:`\pi` `policy`, in nats;
        infinite without a likelihood term, where the minimiser need not be unique.
    converged : bool
        Whether the gap is within the tolerance.
    steps : int
        Interior-point steps taken, from all starts together.
    """

    policy: FiniteDistribution
    loss: float
    lower_bound: float
    gap: float
    divergence_bound: float
    converged: bool
    steps: int


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
    programme = _programme(annotator, proposal, n_candidates, lengths, likelihood_weight)
    logits = vector("logits", logits, size=annotator.size)
    reject("logits", "below +inf", logits, np.isposinf(logits))
    if np.isneginf(logits).all():
        raise ValueError("`logits` must be finite somewhere; got -inf everywhere")
    log_pmf = log_normalize(logits)
    ranking, likelihood, slope = _loss(programme, log_pmf)
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
    max_steps: int = 100,
) -> RRHFSolution:
    r"""The policy of least expected RRHF loss, with a duality gap.

    In softmax logits the problem is convex only for equal lengths; in log-probabilities, with
    :math:`\sum_x \pi(x) \le 1`, it is convex for any. The dual problem is

    .. math:: \max_y\; M H(m / M), \qquad m_x = \gamma b_x + \frac{1}{|x|} \sum_B y_{xB} \ge 0, \qquad M = \sum_x m_x,
              \qquad -c_{BA} \le y_{AB} = -y_{BA} \le c_{AB},

    and the minimiser, unique for :math:`\gamma > 0`, is :math:`\pi = m / M`: the entropy is raised as far as the flow
    :math:`y` allows. A primal–dual interior-point method solves both.

    Parameters
    ----------
    annotator, proposal, n_candidates, lengths, likelihood_weight
        As in `expected_rrhf`. Without likelihood term the policy with the same score everywhere,
        :math:`\pi(x) = e^{-\nu |x|}`, has loss zero and is returned; if the arrows of positive probability do not make
        the support strongly connected, others have loss zero too.
    tolerance : float
        Gap in nats at which the result counts as converged and the method stops; positive.
    max_steps : int
        Bound on the steps from each of seven fixed starts, at least 1. All starts aim at the same minimum; the further
        ones serve where lengths or preferences of extreme range stop the first.

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
    general it is not :math:`p^*`. The gap is proved, convergence of the method is not: with lengths or preferences over
    many orders of magnitude it may stop early; then `converged` is False and the gap says by how much. Memory is a few
    times n² numbers, a step costs n³ operations.
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
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    programme = _programme(annotator, proposal, n_candidates, lengths, likelihood_weight)
    support = annotator.distribution.support if isinstance(annotator, Annotator) else None
    if programme.likelihood_weight == 0.0:
        flat = normalized_log_policy(np.zeros(annotator.size), length_normalized(programme.lengths))
        loss = _loss(programme, flat)[0]
        return RRHFSolution(FiniteDistribution(flat, support), loss, 0.0, loss, np.inf, loss <= tolerance, 0)
    live = np.flatnonzero(programme.best > 0.0)
    inner = programme.restricted(live)
    log_pmf, lower, steps = _minimum(inner, tolerance, max_steps)
    result = np.full(annotator.size, -np.inf)
    result[live] = log_pmf
    loss = _value(inner, log_pmf)
    gap = max(loss - lower, 0.0)
    # M, the multiplier of the normalisation, is at least the likelihood's weight per token times the greatest length.
    multiplier = inner.likelihood_weight * float((inner.best * inner.lengths).sum()) / float(inner.lengths.max())
    policy = FiniteDistribution(result, support)
    return RRHFSolution(policy, loss, lower, gap, gap / multiplier, gap <= tolerance, steps)


class _Programme(NamedTuple):
    """What of the problem enters the loss: c (n, n), b (n,), |x| (n,) and γ."""

    wins: FloatArray
    best: FloatArray
    lengths: FloatArray
    likelihood_weight: float

    def restricted(self, kept: IndexArray) -> _Programme:
        """The problem without outcomes that are never best."""
        return self._replace(wins=self.wins[np.ix_(kept, kept)], best=self.best[kept], lengths=self.lengths[kept])


def _programme(
    annotator: PreferenceModel,
    proposal: Proposal,
    n_candidates: int,
    lengths: ArrayLike | None,
    likelihood_weight: float,
) -> _Programme:
    size = annotator.size
    tokens = np.ones(size) if lengths is None else vector("lengths", lengths, size=size)
    reject("lengths", "positive", tokens, tokens <= 0.0)
    reject("lengths", "finite", tokens, np.isinf(tokens))
    gamma = number("likelihood_weight", likelihood_weight)
    if gamma < 0.0:
        raise ValueError(f"`likelihood_weight` must be non-negative; got {gamma}")
    n_candidates = whole_number("n_candidates", n_candidates)
    if n_candidates == 2:
        return _Programme(_wins(annotator, proposal), winners_distribution(annotator, proposal).pmf, tokens, gamma)
    if n_candidates != 3:
        raise ValueError(f"`n_candidates` must be 2 or 3; got {n_candidates}")
    if not isinstance(proposal, ProductProposal) or not np.array_equal(proposal.a, proposal.b):
        raise ValueError(
            "`proposal` must be a ProductProposal with two equal factors, which draws three candidates independently; "
            f"got {type(proposal).__name__}{' with different factors' * isinstance(proposal, ProductProposal)}"
        )
    # By Luce's axiom the third candidate does not change how a ranking orders the other two; three pairs are ranked.
    wins = 3.0 * _wins(annotator, proposal)
    return _Programme(wins, _best_of_three(annotator, proposal.a), tokens, gamma)


def _wins(annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    """Probability that A and B ≠ A are drawn, in either order, and A is preferred, shape (n, n)."""
    size = annotator.size
    result = np.zeros(size * size)
    for block in proposal.blocks(size):
        for first, second, chance in zip(
            (block.a, block.b), (block.b, block.a), annotator.probabilities(block), strict=True
        ):
            mass = block.weight * chance
            result += np.bincount(np.broadcast_to(first * size + second, mass.shape).ravel(), mass.ravel(), size * size)
    wins = result.reshape(size, size)
    np.fill_diagonal(wins, 0.0)
    return wins


def _best_of_three(annotator: PreferenceModel, a: FloatArray) -> FloatArray:
    r"""Probability that x is the best of three: :math:`3 a_x \sum_{jl} a_j a_l / (1 + e^{\chi_j - \chi_x} + \dots)`."""
    if isinstance(annotator, AnnotatorMixture):
        parts = zip(annotator.weights, annotator.annotators, strict=True)
        return np.asarray(sum(w * _best_of_three(part, a) for w, part in parts))
    if not isinstance(annotator, Annotator):
        raise TypeError(
            "`annotator` must have a utility, to rank three candidates by Plackett–Luce: an Annotator or a mixture of "
            f"such; got {type(annotator).__name__}"
        )
    best = np.zeros(annotator.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for x in np.flatnonzero(a):
            # The outcome against itself is e^0, also where its probability is zero.
            odds = np.where(np.arange(best.size) == x, 1.0, np.exp(annotator.utility - annotator.utility[x]))
            chance = 1.0 / (1.0 + odds[:, None] + odds)
            best[x] = 3.0 * a[x] * weighted(np.multiply.outer(a, a), chance).sum()
    return best


def _loss(programme: _Programme, log_pmf: FloatArray) -> tuple[float, float, FloatArray]:
    """Ranking loss, likelihood loss, and the derivative of their weighted sum in the log-probabilities."""
    wins, best, lengths, gamma = programme
    score = log_pmf / lengths
    with np.errstate(invalid="ignore"):
        behind = score - score[:, None]  # how far the winner of each pair, the row, is behind
    behind = np.where(behind > 0.0, behind, 0.0)
    late = np.where(behind > 0.0, wins, 0.0)
    slope = (late.sum(axis=0) - late.sum(axis=1)) / lengths - gamma * best
    return float(weighted(wins, behind).sum()), float(-weighted(best, log_pmf).sum()), slope


def _value(programme: _Programme, log_pmf: FloatArray) -> float:
    ranking, likelihood, _ = _loss(programme, log_pmf)
    return ranking + programme.likelihood_weight * likelihood


class _Boxes(NamedTuple):
    """Pairs A < B with the interval [-c_BA, c_AB] of their multiplier y; the score difference is t = s_B − s_A."""

    a: IndexArray
    b: IndexArray
    low: FloatArray
    high: FloatArray

    def differences(self, score: FloatArray) -> FloatArray:
        return score[self.b] - score[self.a]

    def flow(self, y: FloatArray, size: int) -> FloatArray:
        """What each outcome receives."""
        return np.asarray(np.bincount(self.a, y, size) - np.bincount(self.b, y, size), dtype=np.float64)

    def multipliers(self, state: _Iterate) -> FloatArray:
        return np.where(state.left < state.right, self.low + state.left, self.high - state.right)

    def laplacian(self, terms: FloatArray, size: int) -> FloatArray:
        result = np.zeros((size, size))
        result[self.a, self.b] = result[self.b, self.a] = -terms
        result[np.diag_indices(size)] = -result.sum(axis=1)
        return result


class _Iterate(NamedTuple):
    """Log-probabilities, multiplier of their normalisation, distances of y from the sides of its box, and their slacks.

    Both distances are carried along: next to a side, the difference of y and the side would have no digits.
    """

    log_pmf: FloatArray
    rho: float
    left: FloatArray
    right: FloatArray
    below: FloatArray
    above: FloatArray

    def moved(self, direction: _Iterate, length: float) -> _Iterate:
        return _Iterate(
            self.log_pmf + length * direction.log_pmf,
            self.rho + length * direction.rho,
            self.left + length * direction.left,
            self.right + length * direction.right,
            self.below + length * direction.below,
            self.above + length * direction.above,
        )


def _boxes(programme: _Programme) -> _Boxes:
    a, b = np.triu_indices(programme.best.size, 1)
    low, high = -programme.wins[b, a], programme.wins[a, b]
    width = high - low
    kept = width > NARROWEST * width.max(initial=0.0)
    return _Boxes(a[kept], b[kept], low[kept], high[kept])


def _minimum(programme: _Programme, tolerance: float, max_steps: int) -> tuple[FloatArray, float, int]:
    """Log-probabilities, a lower bound on every policy's loss, and the number of steps, of several starts together."""
    winners = log_normalize(np.log(programme.best))
    flat = normalized_log_policy(np.zeros(winners.size), length_normalized(programme.lengths))
    boxes, policy, lower, steps = _boxes(programme), winners, -np.inf, 0
    for blend in BLENDS:
        start = log_normalize((1.0 - blend) * winners + blend * flat)
        for state in islice(_interior_point(programme, boxes, start), max_steps + 1):
            recovered, bound = _dual(programme, boxes, boxes.multipliers(state))
            # Newton's method lowers the logarithm of a mass that is too large by no more than one a step.
            lowered = np.where(np.isfinite(recovered), np.minimum(state.log_pmf, recovered), state.log_pmf)
            candidates = (policy, log_normalize(state.log_pmf), recovered, log_normalize(lowered))
            policy = min(candidates, key=lambda log_pmf: _value(programme, log_pmf))
            lower = max(lower, bound)
            if _value(programme, policy) - lower <= tolerance:
                return policy, lower, steps
            steps += 1
    return policy, lower, steps


def _interior_point(programme: _Programme, boxes: _Boxes, start: FloatArray) -> Iterator[_Iterate]:
    """The iterates, until the linear system is singular to working precision."""
    state: _Iterate | None = _first_iterate(programme, boxes, start)
    while state is not None:
        yield state
        state = _step(programme, boxes, state)


def _first_iterate(programme: _Programme, boxes: _Boxes, log_pmf: FloatArray) -> _Iterate:
    """The middle of all boxes, and slacks of equal products."""
    width = boxes.high - boxes.low
    rise = np.abs(boxes.differences(log_pmf / programme.lengths))
    product = float(np.mean(rise * width)) if width.size else 0.0
    half = 0.5 * width
    slack = max(product, 1e-8 * programme.likelihood_weight) / half
    tokens = [float((pmf * programme.lengths).sum()) for pmf in (programme.best, np.exp(log_pmf))]
    rho = programme.likelihood_weight * tokens[0] / tokens[1]
    return _Iterate(log_pmf, rho, half, half, slack, slack)


def _dual(programme: _Programme, boxes: _Boxes, y: FloatArray) -> tuple[FloatArray, float]:
    """Policy and value of the dual problem at y, made feasible: no outcome may pass on more than it has."""
    start = programme.likelihood_weight * programme.best
    scale = np.ones(start.size)
    for _ in range(REPAIRS):
        passed_on = np.where(y < 0.0, scale[boxes.a], scale[boxes.b]) * y
        into_a, into_b = np.maximum(passed_on, 0.0), np.maximum(-passed_on, 0.0)
        size, lengths = start.size, programme.lengths
        income = start + (np.bincount(boxes.a, into_a, size) + np.bincount(boxes.b, into_b, size)) / lengths
        spent = (np.bincount(boxes.a, into_b, size) + np.bincount(boxes.b, into_a, size)) / lengths
        mass = income - spent
        if (mass >= 0.0).all():
            break
        scale = np.where(mass < 0.0, scale * income / np.maximum(spent, income), scale)
    else:
        mass = start  # y = 0 is always feasible
    total = float(mass.sum())
    with np.errstate(divide="ignore"):
        return log_normalize(np.log(mass)), float(xlogy(total, total) - xlogy(mass, mass).sum())


def _step(programme: _Programme, boxes: _Boxes, state: _Iterate) -> _Iterate | None:
    """Mehrotra's predictor and corrector; None where no further step can be computed."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        try:
            solve = _newton(programme, boxes, state)
        except LinAlgError:
            return None
        product = _complementarity(state)
        predictor = solve(-state.below * state.left, -state.above * state.right)
        ahead = _complementarity(state.moved(predictor, _step_length(state, predictor)))
        target = product * min(1.0, ahead / product) ** 3
        corrector = solve(
            target - state.below * state.left - predictor.below * predictor.left,
            target - state.above * state.right - predictor.above * predictor.right,
        )
        moved = state.moved(corrector, TO_THE_BOUNDARY * _step_length(state, corrector))
    return moved if all(np.isfinite(part).all() for part in moved) else None


def _newton(
    programme: _Programme, boxes: _Boxes, state: _Iterate
) -> Callable[[FloatArray, FloatArray], _Iterate]:
    r"""Newton's method on the optimality conditions, as a function of the wanted changes of the slacks' products.

    The conditions are :math:`t + z_{below} = z_{above}` for each pair, :math:`\rho e^{v} = m(y)` and
    :math:`\sum e^{v} = 1`. The slacks and y are eliminated pair by pair; what remains is a Laplacian plus a diagonal.
    """
    lengths, size = programme.lengths, programme.best.size
    left, right, below, above = state.left, state.right, state.below, state.above
    stiffness = below / left + above / right
    pmf = np.exp(state.log_pmf)
    matrix = boxes.laplacian(1.0 / stiffness, size) / np.multiply.outer(lengths, lengths)
    matrix[np.diag_indices(size)] += state.rho * pmf
    # Rare outcomes have tiny rows; in equal units the factorisation keeps their digits.
    unit = 1.0 / np.sqrt(matrix.diagonal())
    scaled = matrix * np.multiply.outer(unit, unit)
    if not np.isfinite(scaled).all():
        raise LinAlgError("the system has no finite scaling")
    factor = cho_factor(scaled)

    def inverse(vector: FloatArray) -> FloatArray:
        return unit * np.asarray(cho_solve(factor, unit * vector, check_finite=False), dtype=np.float64)

    normal = inverse(pmf)
    mass = programme.likelihood_weight * programme.best + boxes.flow(boxes.multipliers(state), size) / lengths
    balance = boxes.differences(state.log_pmf / lengths) + below - above

    def solve(for_below: FloatArray, for_above: FloatArray) -> _Iterate:
        pull = balance + for_below / left - for_above / right
        right_side = mass - state.rho * pmf + boxes.flow(pull / stiffness, size) / lengths
        free = inverse(right_side)
        d_rho = float(((pmf * free).sum() + pmf.sum() - 1.0) / (pmf * normal).sum())
        d_log_pmf = free - normal * d_rho
        d_y = (boxes.differences(d_log_pmf / lengths) + pull) / stiffness
        d_below, d_above = (for_below - below * d_y) / left, (for_above + above * d_y) / right
        return _Iterate(d_log_pmf, d_rho, d_y, -d_y, d_below, d_above)

    return solve


def _complementarity(state: _Iterate) -> float:
    """Mean product of slack and distance from the box's side."""
    products = state.below * state.left + state.above * state.right
    return float(products.sum()) / max(2.0 * products.size, 1.0)


def _bend(log_pmf: FloatArray, change: FloatArray) -> float:
    r""":math:`\sum_x e^v (e^{dv} - 1 - dv)`, in which a rare outcome may move far."""
    with np.errstate(over="ignore"):
        return float((np.exp(log_pmf + change) - np.exp(log_pmf) * (1.0 + change)).sum())


def _step_length(state: _Iterate, direction: _Iterate) -> float:
    """The longest step, up to 1, that keeps distances, slacks and the multiplier positive and bends little."""
    length = 1.0
    for value, change in (
        (np.array([state.rho]), np.array([direction.rho])), (state.left, direction.left),
        (state.right, direction.right), (state.below, direction.below), (state.above, direction.above),
    ):  # fmt: skip
        falling = change < 0.0
        length = min(length, float(np.min(value[falling] / -change[falling], initial=1.0)))
    while _bend(state.log_pmf, length * direction.log_pmf) > LARGEST_BEND:
        length *= 0.8
    return length
