"""Claims about annotators that no single process explains, and about what choosing leads to."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, mixture, total_variation
from pbde_ref.exact.selection import (
    barker_transition_matrix,
    detailed_balance_residual,
    stationary_distribution,
    winners_distribution,
)  # fmt: skip
from pbde_ref.pbde import luce
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, known, leave_if
from pbde_ref.verification.exact_fits import Projection
from pbde_ref.verification.fits import certified_fit, exact_projection, numerical_fit
from pbde_ref.verification.problems import Problem

__all__ = ["MISSPECIFICATION"]

# A control that needs an exact projection for every pair has enough cases among small supports.
FEW = 12


def _fit(annotator: PreferenceModel, proposal: Proposal) -> FiniteDistribution:
    return FiniteDistribution(certified_fit(annotator, proposal))


@lru_cache(maxsize=128)
def _exact(problem: Problem) -> Projection | None:
    """The projection of the mixture."""
    return exact_projection(_utilities(problem), problem.mixture.weights, problem.q)


def _utilities(problem: Problem) -> list[FloatArray]:
    return [annotator.utility for annotator in problem.members]


def _misspecification(problem: Problem) -> float:
    """One projection, whichever solver looks for it; and with one annotator the proposal makes no difference."""
    exact = known(_exact(problem))
    errors = [total_variation(_fit(problem.mixture, problem.proposal), FiniteDistribution(exact.utilities))]
    alone = numerical_fit(problem, luce_annotator=True)
    if alone is not None:
        uniform = ProductProposal(np.ones(problem.size))
        errors.append(total_variation(FiniteDistribution(alone), _fit(problem.luce, uniform)))
    return max(errors)


def _projection_rounding(problem: Problem) -> float:
    """Total variation moves by no more than the utilities of the projection when inputs are rounded."""
    return known(_exact(problem)).uncertainty


def _projection_differs(problem: Problem) -> float:
    """Distance of the projection from the one under another proposal, and from each annotator's own density."""
    leave_if(problem.size > FEW)
    exact, uniform = known(_exact(problem)), np.ones((problem.size, problem.size))
    other = known(exact_projection(_utilities(problem), problem.mixture.weights, uniform))
    true, *wrong = (second_paths.softmax(u) for u in (exact.utilities, other.utilities, *_utilities(problem)))
    leave_if(min(second_paths.variation(true, each) for each in wrong) < max(MARGIN, 10.0 * exact.uncertainty))
    projection = _fit(problem.mixture, problem.proposal)
    own = [FiniteDistribution(utility) for utility in _utilities(problem)]
    others = [_fit(problem.mixture, ProductProposal(np.ones(problem.size))), *own]
    return min(total_variation(projection, other) for other in others)


def _visible(problem: Problem) -> IndexArray:
    """Outcomes whose log-odds can be read off probabilities, which must not have rounded to 0 or 1."""
    density = _density_mixture(problem)
    return np.flatnonzero(density.log_pmf > density.log_pmf.max() - 25.0)


def _not_additive(p: FloatArray) -> float:
    """How far the log-odds of A over B and of B over C fail to add up to those of A over C, relative to their size."""
    log_odds = np.log(p) - np.log(p.T)
    utility = log_odds[:, 0]
    return float(np.abs(log_odds - (utility[:, None] - utility[None, :])).max() / max(1.0, np.abs(log_odds).max()))


def _log_odds(annotator: PreferenceModel, problem: Problem) -> float:
    visible = _visible(problem)
    leave_if(visible.size < 3)
    return _not_additive(annotator.preference_probabilities()[np.ix_(visible, visible)])


def _annotators_mixed(problem: Problem) -> float:
    visible = _visible(problem)
    parts = [second_paths.all_preferences(u[visible]) for u in _utilities(problem)]
    mixed = sum(w * p for w, p in zip(problem.mixture.weights, parts, strict=True))
    leave_if(not np.min(mixed) > 1e-12 or _not_additive(np.asarray(mixed)) < MARGIN)
    return _log_odds(problem.mixture, problem)


def _density_mixture(problem: Problem) -> FiniteDistribution:
    return mixture(problem.mixture.weights, [annotator.distribution for annotator in problem.members])


def _kernel(problem: Problem) -> FloatArray:
    """A symmetric proposal: every outcome may be proposed from every other."""
    leave_if(np.isneginf(problem.preference.log_pmf).sum() > 1)
    kernel = np.random.default_rng(problem.seed).exponential(size=(problem.size, problem.size))
    kernel = kernel + kernel.T
    kernel /= kernel.sum(axis=1).max()
    np.fill_diagonal(kernel, 0.0)
    np.fill_diagonal(kernel, 1.0 - kernel.sum(axis=1))
    return kernel


def _barker(problem: Problem) -> float:
    """Chains whose accept step is the annotator's preference, under Luce and under another process."""
    return max(_away_from_target(annotator, _kernel(problem)) for annotator in (problem.luce, problem.annotator))


def _away_from_target(annotator: Annotator, kernel: FloatArray) -> float:
    target = FiniteDistribution(annotator.utility)
    transition = barker_transition_matrix(annotator, kernel)
    return max(
        detailed_balance_residual(target, transition), total_variation(stationary_distribution(transition), target)
    )


def _asymmetric(problem: Problem) -> float:
    """The two likeliest outcomes: one is proposed from the other half as often as the other from it."""
    leave_if(problem.size < 2)
    kernel = _kernel(problem)
    second, first = np.argsort(problem.preference.pmf)[-2:]
    p, r = problem.preference.pmf[[first, second]]
    # The net flow between the two is half of what Barker's rule moves from one to the other.
    leave_if(0.5 * kernel[first, second] * p * r / (p + r) < MARGIN)
    kernel[first, first] += 0.5 * kernel[first, second]
    kernel[first, second] *= 0.5
    return _away_from_target(problem.luce, kernel)


def _counted_winners(problem: Problem) -> FloatArray:
    return second_paths.winners(paper_in_decimals.luce_preferences(problem.preference.log_pmf, problem.q), problem.q)


def _winners(problem: Problem) -> float:
    counted = _counted_winners(problem)
    found = winners_distribution(problem.luce, problem.proposal)
    errors = [float(np.abs(found.pmf - counted).max()), abs(float(counted.sum()) - 1.0)]
    if problem.positive:
        doubled = winners_distribution(problem.luce, ProductProposal(problem.reference)).pmf - 2 * problem.reference.pmf
        errors.append(max(0.0, float(doubled.max())))
    return max(errors)


def _winners_are_not_p_star(problem: Problem) -> float:
    leave_if(second_paths.variation(_counted_winners(problem), problem.preference.pmf) < MARGIN)
    return total_variation(
        FiniteDistribution(winners_distribution(problem.luce, problem.proposal).log_pmf, problem.preference.support),
        problem.preference,
    )


MISSPECIFICATION = (
    Claim(
        "misspecification", "Fig. 5", "A mixture of annotators has one projection on the single-annotator models.",
        "60-digit decimals", _misspecification, SOLVER,
        "same for all proposals", _projection_differs, _projection_rounding,
    ),
    Claim(
        "annotator_mixture", "Eq. 25", "Log-odds add up for a density mixture, not for an annotator mixture.",
        "additive log-odds", lambda problem: _log_odds(Annotator(_density_mixture(problem), luce()), problem), ROUNDING,
        "annotators mixed instead", _annotators_mixed,
    ),
    Claim(
        "barker", "Sec. 4.1", "A chain that accepts by Luce preferences samples p*.",
        "state elimination", _barker, ROUNDING,
        "asymmetric proposal", _asymmetric,
    ),
    Claim(
        "winners", "Sec. 3", "The winners' distribution depends on the proposal; it is at most twice it.",
        "Eq. (9), summed", _winners, ROUNDING,
        "winners claimed to be p*", _winners_are_not_p_star,
    ),
)  # fmt: skip
