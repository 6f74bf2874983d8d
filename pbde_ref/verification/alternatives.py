"""Claims about the losses of section 4.4, about two-stage RLHF, and about annotators without identities."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution, tilt, total_variation
from pbde_ref.exact.hinge import minimize_rso, minimize_slic
from pbde_ref.exact.ipo import ipo_closed_form, ipo_optimum
from pbde_ref.exact.mixtures import fit_annotator_mixture
from pbde_ref.exact.optima import product_of_experts
from pbde_ref.exact.ranking import minimize_rrhf
from pbde_ref.paper_problem import paper_problem
from pbde_ref.pbde import luce
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, SOLVER, Claim, known, leave_if, leave_if_alike
from pbde_ref.verification.exact_flows import even_policy, least_hinge
from pbde_ref.verification.fits import SMALLEST, numerical_fit
from pbde_ref.verification.problems import LARGEST, PAPER, Problem

__all__ = ["ALTERNATIVES"]

# SLiC's and RSO's solvers promise a duality gap of 1e-7 of the part of the loss that a policy can change.
DUALITY_GAP = 2e-7


def _win_rates(problem: Problem) -> FloatArray:
    """Probability that each outcome is preferred to one drawn from the reference."""
    return np.asarray(paper_in_decimals.luce_preferences(problem.preference.log_pmf) @ problem.reference.pmf)


def _ipo(problem: Problem, other: FiniteDistribution) -> float:
    """Linear equations, closed form, and mirror ascent on Eq. (22), for pairs drawn from reference and `other`."""
    leave_if(not problem.positive)
    tau, reference = 0.1 * problem.beta, problem.reference
    closed = ipo_closed_form(problem.luce, reference, tau=tau, reference=reference)
    climbed = FiniteDistribution(
        second_paths.mirror_ascent(_win_rates(problem), tau, reference.log_pmf), problem.preference.support
    )
    solved = ipo_optimum(problem.luce, ProductProposal(reference, other), tau=tau, reference=reference).policy
    return max(total_variation(closed, climbed), total_variation(closed, solved))


def _pairs_from_two_laws(problem: Problem) -> float:
    """The other law is the reference without most of the mass of one outcome, the one that matters most."""
    leave_if(not problem.positive or problem.size < 3)
    tau, q = 0.1 * problem.beta, problem.reference.pmf
    p = paper_in_decimals.luce_preferences(problem.preference.log_pmf)
    other = np.where(np.arange(problem.size) == np.argmax(q), 0.5, 1.0) * q
    weight = np.outer(q, other / other.sum())
    weight = weight + weight.T
    leave_if(weight.min() < MARGIN)
    # The normal equations of the two laws, solved in the least-squares sense, tell how far apart the policies are.
    laplacian = np.diag(weight.sum(axis=1)) - weight
    solved = np.linalg.lstsq(laplacian, (weight * (2.0 * p - 1.0)).sum(axis=1) / (2.0 * tau), rcond=None)[0]
    claimed = problem.reference.log_pmf + _win_rates(problem) / tau
    leave_if_alike(problem.reference.log_pmf + solved, claimed)
    return _ipo(problem, FiniteDistribution(np.log(other), problem.preference.support))


def _slic(problem: Problem) -> float:
    """Our optimum against an exact flow; homogeneity in the margin; RSO without margin stays at the reference."""
    leave_if(problem.size > LARGEST)
    q, reference = problem.q, problem.reference
    least = float(least_hinge(paper_in_decimals.wins(problem.preference.log_pmf, q)))
    errors = []
    for delta in (0.5, 1.0):
        solution = minimize_slic(problem.luce, problem.proposal, delta=delta, lambda_=0.0, reference=reference)
        above = (solution.loss - delta * float(q.trace())) / delta - least
        # The solver's other promise: a loss of zero is met to 1e-14.
        errors.append(abs(above) / max(least, 1e-7))
    stays = minimize_rso(problem.luce, problem.proposal, delta=0.0, reference=reference).policy
    return max(*errors, total_variation(stays, reference))


def _bounded_range(problem: Problem) -> float:
    """Appendix A.2 says that δ bounds the differences of the log-probabilities.

    Scores within 1 of each other are best at 0 and 1, by the argument that makes the optimum whole-numbered.
    """
    wins = paper_in_decimals.wins(np.array([4.0, 0.0, -4.0]), np.ones((3, 3)) / 9.0)
    bounded = min(
        sum(wins[a, b] * max(0, 1 - scores[a] + scores[b]) for a in range(3) for b in range(3))
        for scores in product((0, 1), repeat=3)
    )
    return float(bounded) - float(least_hinge(wins))


def _rrhf(problem: Problem) -> float:
    """The certified optimum against an exact one: loss, and divergence from it."""
    wins, best = _ranking(problem)
    exact = np.array([float(m) for m in even_policy(wins, best)])
    solution = minimize_rrhf(problem.luce, problem.proposal)
    log_pmf = solution.policy.log_pmf
    held = exact >= SMALLEST
    divergence = float(np.sum(exact[held] * (np.log(exact[held]) - log_pmf[held])))
    reached, least = (_ranking_loss(wins, best, held, v) for v in (log_pmf, np.log(np.where(held, exact, 1.0))))
    return max(abs(reached - solution.loss), abs(reached - least), abs(divergence))


def _ranking(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """How often A meets B and wins, and how often x is the best of two candidates."""
    leave_if(problem.size > LARGEST)
    wins = paper_in_decimals.wins(problem.preference.log_pmf, problem.q)
    return wins, wins.sum(axis=1) + problem.q.diagonal()


def _ranking_loss(wins: FloatArray, best: FloatArray, held: NDArray[np.bool_], v: FloatArray) -> float:
    """Eq. (19) with its sign repaired, among the outcomes that the optimum holds; the others win against nothing."""
    return paper_in_decimals.ranking_loss(wins[np.ix_(held, held)], best[held], v[held])


def _sign_as_printed(problem: Problem) -> float:
    """By how much the optimum is improved, with Eq. (19)'s own sign, where one outcome is pushed down."""
    wins, best = _ranking(problem)
    fall = wins.sum(axis=0) - best
    loser = int(np.argmax(fall))
    leave_if(fall[loser] < MARGIN)
    v = minimize_rrhf(problem.luce, problem.proposal).policy.log_pmf
    leave_if(not np.isfinite(v[best > 0.0]).all() or not np.isfinite(v[loser]))

    def printed(v: FloatArray) -> float:
        kept = np.isfinite(v)
        ranked = np.maximum(v[kept, None] - v[kept], 0.0)
        return float(-np.sum(wins[np.ix_(kept, kept)] * ranked) - best[kept] @ v[kept])

    # Once it is below all others each further nat gains `fall`; what the others gain by normalisation is at most 1.
    lower = v - np.where(np.arange(v.size) == loser, np.ptp(v[np.isfinite(v)]) + 2.0 / fall[loser], 0.0)
    return printed(v) - printed(FiniteDistribution(lower).log_pmf)


def _rlhf_is_dpo(problem: Problem, factor: float) -> float:
    """A reward by training, then Eq. (13) with it, against the optimum of DPO."""
    reward = known(numerical_fit(problem, luce_annotator=True))
    two_stages = tilt(problem.reference, factor * reward, problem.beta)
    return total_variation(two_stages, product_of_experts(problem.reference, problem.preference, problem.beta))


def _reward_doubled(problem: Problem) -> float:
    leave_if(not problem.positive)
    log_reference, log_p = problem.reference.log_pmf, problem.preference.log_pmf
    leave_if_alike(log_reference + log_p / problem.beta, log_reference + 2.0 * log_p / problem.beta)
    return _rlhf_is_dpo(problem, 2.0)


def _mixed_annotators(problem: Problem, noise: float) -> float:
    """Distance of the fitted annotators from the true ones, and of the loss from falling at each iteration.

    The annotators are those of Eq. (24); ordinary problems lend their noise.
    """
    leave_if(problem.name != PAPER and not problem.name.startswith("ordinary "))
    paper = paper_problem(64)
    true = paper.annotator_distributions
    both = AnnotatorMixture(paper.annotator_weights, [Annotator(p, luce()) for p in true])
    fit = fit_annotator_mixture(
        both, ProductProposal(paper.reference), reference=paper.reference, noise=noise, rng=problem.seed, max_steps=150
    )  # fmt: skip
    orders = ((0, 1), (1, 0))
    distance = min(max(total_variation(fit.densities[i], true[j]) for j, i in enumerate(order)) for order in orders)
    return max(distance, float(np.max(np.diff(fit.losses), initial=0.0)) * 1e9)


ALTERNATIVES = (
    Claim(
        "ipo", "Eq. 22", "IPO learns the reference tilted by the probability of winning.",
        "mirror ascent", lambda problem: _ipo(problem, problem.reference), SOLVER,
        "pairs not from one law", _pairs_from_two_laws,
    ),
    Claim(
        "slic", "Eq. 20", "SLiC is a linear programme, homogeneous in its margin.",
        "exact network flow", _slic, DUALITY_GAP,
        "delta bounds the range", _bounded_range,
    ),
    Claim(
        "rrhf", "Eq. 19", "RRHF with its likelihood term has one optimum, with a duality gap.",
        "exact network flows", _rrhf, 2.0 * SOLVER,
        "sign as printed", _sign_as_printed,
    ),
    Claim(
        "rlhf_is_dpo", "Sec. 4.3", "A reward, then KL-controlled RL, ends where DPO ends.",
        "Newton from zero", lambda problem: _rlhf_is_dpo(problem, 1.0), SOLVER,
        "reward doubled", _reward_doubled,
    ),
    Claim(
        "mixed_annotators", "Eq. 30", "EM separates two annotators without identities.",
        "the true annotators", lambda problem: _mixed_annotators(problem, 1e-4), 1e-3,
        "no noise at the start",
        lambda problem: _mixed_annotators(problem, 0.0) if problem.name == PAPER else None,
    ),
)  # fmt: skip
