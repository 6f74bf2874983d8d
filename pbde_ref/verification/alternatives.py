"""Claims about the losses of section 4.4, about two-stage RLHF, and about annotators without identities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

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
from pbde_ref.verification import transcriptions
from pbde_ref.verification.claims import SOLVER, Claim
from pbde_ref.verification.foundations import numerical_fit
from pbde_ref.verification.problems import Problem

__all__ = ["ALTERNATIVES"]

# SLiC's, RSO's and RRHF's solvers promise a duality gap of 1e-7 of the part of the loss that a policy can change.
DUALITY_GAP = 2e-7


def _small(problem: Problem) -> Problem | None:
    """Problems that generic solvers manage in a moment."""
    return problem if problem.moderate and problem.size <= 16 else None


def _ipo(problem: Problem, other: FiniteDistribution) -> float | None:
    """Linear equations, closed form, and mirror ascent on Eq. (22), for pairs drawn from reference and `other`."""
    if not problem.positive:
        return None
    tau, reference = 0.1 * problem.beta, problem.reference
    closed = ipo_closed_form(problem.luce, reference, tau=tau, reference=reference)
    everywhere = np.ones((problem.size, problem.size))
    wins = transcriptions.preferences(problem.luce.utility, everywhere).reshape(everywhere.shape) @ reference.pmf
    climbed = FiniteDistribution(transcriptions.mirror_ascent(wins, tau, reference.log_pmf), problem.preference.support)
    solved = ipo_optimum(problem.luce, ProductProposal(reference, other), tau=tau, reference=reference).policy
    return max(total_variation(closed, climbed), total_variation(closed, solved))


def _wins(problem: Problem) -> FloatArray:
    """q(A, B) p(A ≻ B) + q(B, A) p(A ≻ B), off the diagonal."""
    q = problem.proposal.matrix(problem.size)
    everywhere = np.ones_like(q)
    p = transcriptions.preferences(problem.luce.utility, everywhere).reshape(q.shape)
    wins = (q + q.T) * p
    np.fill_diagonal(wins, 0.0)
    return wins


def _least_hinge(wins: FloatArray, bound: float | None) -> float:
    """Least expected hinge loss at margin 1 by linear programming; scores within `bound` of each other if given."""
    size = len(wins)
    a, b = np.nonzero(wins)
    pairs = a.size
    # Variables: scores, then slacks z ≥ 0 with z ≥ 1 − s_A + s_B.
    rows = np.zeros((pairs, size + pairs))
    index = np.arange(pairs)
    rows[index, a], rows[index, b], rows[index, size + index] = -1.0, 1.0, -1.0
    scores = (0.0, bound) if bound is not None else (None, None)
    found = linprog(
        np.concatenate([np.zeros(size), wins[a, b]]), A_ub=rows, b_ub=-np.ones(pairs),
        bounds=[scores] * size + [(0.0, None)] * pairs,
    )  # fmt: skip
    return float(found.fun)


def _slic(problem: Problem, bound: float | None) -> float | None:
    """Our optimum against a linear programme; homogeneity in the margin; RSO without margin stays at the reference."""
    if _small(problem) is None:
        return None
    wins, reference = _wins(problem), problem.reference
    diagonal = float(problem.proposal.matrix(problem.size).diagonal().sum())
    least = _least_hinge(wins, bound) + diagonal
    errors = []
    for delta in (0.5, 1.0):
        solution = minimize_slic(problem.luce, problem.proposal, delta=delta, lambda_=0.0, reference=reference)
        errors.append(abs(solution.loss / delta - least) / least)
    stays = minimize_rso(problem.luce, problem.proposal, delta=0.0, reference=reference).policy
    return max(*errors, total_variation(stays, reference))


def _bounded_range(problem: Problem) -> float | None:
    """Appendix A.2 says that δ bounds the differences of the log-probabilities."""
    chi, q = np.array([4.0, 0.0, -4.0]), np.ones((3, 3)) / 9.0
    wins = 2.0 * q * transcriptions.preferences(chi, np.ones((3, 3))).reshape(3, 3)
    np.fill_diagonal(wins, 0.0)
    return _least_hinge(wins, 1.0) - _least_hinge(wins, None) if _small(problem) is not None else None


def _rrhf(problem: Problem, sign: float) -> float | None:
    """The certified optimum cannot be improved by any direction tried; with the printed sign it can, without end."""
    if _small(problem) is None:
        return None
    solution = minimize_rrhf(problem.luce, problem.proposal)
    wins = _wins(problem)
    q = problem.proposal.matrix(problem.size)
    best = wins.sum(axis=1) + q.diagonal()

    def loss(policy: FiniteDistribution) -> float:
        margin = policy.log_pmf[:, None] - policy.log_pmf[None, :]
        ranking = np.sum(wins * np.maximum(-margin, 0.0)) if sign > 0 else -np.sum(wins * np.maximum(margin, 0.0))
        return float(ranking - best @ policy.log_pmf)

    rng = np.random.default_rng(problem.seed)
    others = [
        loss(FiniteDistribution(solution.policy.log_pmf + scale * rng.normal(size=problem.size)))
        for scale in (1e-3, 1e-1, 3.0)
        for _ in range(8)
    ]
    base = loss(solution.policy)
    return max(abs(base - solution.loss) / abs(base), max(0.0, base - min(others)) / abs(base))


def _rlhf_is_dpo(problem: Problem, factor: float) -> float | None:
    """A reward by training, then Eq. (13) with it, against the optimum of DPO."""
    reward = numerical_fit(problem, luce_annotator=True)
    if reward is None:
        return None
    two_stages = tilt(problem.reference, factor * reward, problem.beta)
    return total_variation(two_stages, product_of_experts(problem.reference, problem.preference, problem.beta))


def _mixed_annotators(problem: Problem, noise: float) -> float | None:
    """Distance of the fitted annotators from the true ones, and of the loss from falling at each iteration."""
    if problem.name != "Eq. (10)":
        return None
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
        "pairs not from one law",
        lambda problem: _ipo(problem, problem.preference) if problem.moderate and problem.size > 2 else None,
    ),
    Claim(
        "slic", "Eq. 20", "SLiC is a linear programme, homogeneous in its margin.",
        "HiGHS", lambda problem: _slic(problem, None), DUALITY_GAP,
        "delta bounds the range", _bounded_range,
    ),
    Claim(
        "rrhf", "Eq. 19", "RRHF with its likelihood term has one optimum, with a duality gap.",
        "random directions", lambda problem: _rrhf(problem, 1.0), DUALITY_GAP,
        "sign as printed", lambda problem: _rrhf(problem, -1.0),
    ),
    Claim(
        "rlhf_is_dpo", "Sec. 4.3", "A reward, then KL-controlled RL, ends where DPO ends.",
        "Newton from zero", lambda problem: _rlhf_is_dpo(problem, 1.0), SOLVER,
        "reward doubled",
        lambda problem: _rlhf_is_dpo(problem, 2.0) if problem.moderate else None,
    ),
    Claim(
        "mixed_annotators", "Eq. 30", "EM separates two annotators without identities.",
        "the true annotators", lambda problem: _mixed_annotators(problem, 1e-4), 1e-3,
        "no noise at the start", lambda problem: _mixed_annotators(problem, 0.0),
    ),
)  # fmt: skip
