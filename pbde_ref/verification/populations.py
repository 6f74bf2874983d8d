"""Claims about annotators that no single process explains, and about what choosing leads to."""

from __future__ import annotations

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, mixture, total_variation
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.selection import (
    barker_transition_matrix,
    detailed_balance_residual,
    stationary_distribution,
    winners_distribution,
)  # fmt: skip
from pbde_ref.pbde import luce
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import transcriptions
from pbde_ref.verification.claims import ROUNDING, SOLVER, Claim
from pbde_ref.verification.problems import Problem

__all__ = ["POPULATIONS"]


def _fit(annotator: PreferenceModel, proposal: Proposal) -> FiniteDistribution:
    return FiniteDistribution(minimize_expected_loss("bradley_terry", annotator, proposal).value)


def _mixture_probabilities(problem: Problem, q: FloatArray) -> FloatArray:
    parts = [transcriptions.preferences(annotator.utility, q) for annotator in _members(problem)]
    return np.asarray(sum(w * p for w, p in zip(problem.mixture.weights, parts, strict=True)))


def _misspecification(problem: Problem) -> float | None:
    """One projection, whichever solver looks for it; and with one annotator the proposal makes no difference."""
    if not problem.moderate:
        return None
    q = problem.proposal.matrix(problem.size)
    other = transcriptions.newton_minimum(_mixture_probabilities(problem, q), q)
    uniform = ProductProposal(np.ones(problem.size))
    return max(
        total_variation(_fit(problem.mixture, problem.proposal), FiniteDistribution(other)),
        total_variation(_fit(problem.luce, problem.proposal), _fit(problem.luce, uniform)),
    )


def _projection_differs(problem: Problem) -> float | None:
    """Distance of the projection from the one under another proposal, and from each annotator's own density."""
    if not problem.moderate or problem.size < 3:
        return None
    projection = _fit(problem.mixture, problem.proposal)
    own = [FiniteDistribution(annotator.utility) for annotator in _members(problem)]
    others = [_fit(problem.mixture, ProductProposal(np.ones(problem.size))), *own]
    return min(total_variation(projection, other) for other in others)


def _members(problem: Problem) -> list[Annotator]:
    return [annotator for annotator in problem.mixture.annotators if isinstance(annotator, Annotator)]


def _log_odds(annotator: PreferenceModel, problem: Problem) -> float | None:
    """How far the log-odds of A over B and of B over C fail to add up to those of A over C, relative to their size."""
    density = _density_mixture(problem)
    # Log-odds are read off probabilities, which must not have rounded to 0 or 1.
    visible = np.flatnonzero(density.log_pmf > density.log_pmf.max() - 25.0)
    if visible.size < 3:
        return None
    p = annotator.preference_probabilities()[np.ix_(visible, visible)]
    log_odds = np.log(p) - np.log(p.T)
    utility = log_odds[:, 0]
    return float(np.abs(log_odds - (utility[:, None] - utility[None, :])).max() / np.abs(log_odds).max())


def _density_mixture(problem: Problem) -> FiniteDistribution:
    return mixture(problem.mixture.weights, [annotator.distribution for annotator in _members(problem)])


def _barker(problem: Problem, symmetric: bool) -> float | None:
    """Chains whose accept step is the annotator's preference, under Luce and under another process."""
    if np.isneginf(problem.preference.log_pmf).sum() > 1:
        return None
    kernel = np.random.default_rng(problem.seed).exponential(size=(problem.size, problem.size))
    if symmetric:
        kernel = kernel + kernel.T
        kernel /= kernel.sum(axis=1).max()
        np.fill_diagonal(kernel, kernel.diagonal() + 1.0 - kernel.sum(axis=1))
    kernel /= kernel.sum(axis=1, keepdims=True)
    errors = []
    for annotator in (problem.luce, problem.annotator):
        target = FiniteDistribution(annotator.utility)
        transition = barker_transition_matrix(annotator, kernel)
        errors += [
            detailed_balance_residual(target, transition),
            total_variation(stationary_distribution(transition), target),
        ]
    return max(errors)


def _winners(problem: Problem) -> float:
    q = problem.proposal.matrix(problem.size)
    a, b = np.nonzero(q)
    p = transcriptions.preferences(problem.luce.utility, q)
    transcribed = np.bincount(a, q[a, b] * p, problem.size) + np.bincount(b, q[a, b] * (1.0 - p), problem.size)
    found = winners_distribution(problem.luce, problem.proposal)
    errors = [float(np.abs(found.pmf - transcribed).max()), abs(float(transcribed.sum()) - 1.0)]
    if problem.positive:
        doubled = winners_distribution(problem.luce, ProductProposal(problem.reference)).pmf - 2 * problem.reference.pmf
        errors.append(max(0.0, float(doubled.max())))
    return max(errors)


def _winners_are_not_p_star(problem: Problem) -> float | None:
    if not problem.moderate:
        return None
    return total_variation(
        FiniteDistribution(winners_distribution(problem.luce, problem.proposal).log_pmf, problem.preference.support),
        problem.preference,
    )


POPULATIONS = (
    Claim(
        "misspecification", "Fig. 5", "A mixture of annotators has one projection on the single-annotator models.",
        "SciPy's trust region", _misspecification, SOLVER,
        "same for all proposals", _projection_differs,
    ),
    Claim(
        "annotator_mixture", "Eq. 25", "Log-odds add up for a density mixture, not for an annotator mixture.",
        "additive log-odds", lambda problem: _log_odds(Annotator(_density_mixture(problem), luce()), problem), ROUNDING,
        "annotators mixed instead", lambda problem: _log_odds(problem.mixture, problem),
    ),
    Claim(
        "barker", "Sec. 4.1", "A chain that accepts by Luce preferences samples p*.",
        "state elimination", lambda problem: _barker(problem, symmetric=True), ROUNDING,
        "asymmetric proposal",
        lambda problem: _barker(problem, symmetric=False) if problem.moderate else None,
    ),
    Claim(
        "winners", "Sec. 3", "The winners' distribution depends on the proposal; it is at most twice it.",
        "sums transcribed", _winners, ROUNDING,
        "winners claimed to be p*", _winners_are_not_p_star,
    ),
)  # fmt: skip
