"""Claims about the expected loss itself: Eq. (7) and (8), Lemma 1, Theorems 1 and 2, convexity, comparison graphs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pbde_ref.distributions import FiniteDistribution, total_variation
from pbde_ref.exact.expected import (
    expected_cross_entropy,
    expected_entropy,
    expected_hessian,
    expected_hessian_vector_product,
    expected_kl,
)  # fmt: skip
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.pbde import PBDE, luce
from pbde_ref.proposals import PairListProposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import transcriptions
from pbde_ref.verification.claims import ROUNDING, SOLVER, Claim
from pbde_ref.verification.problems import Problem

__all__ = ["FOUNDATIONS", "numerical_fit", "numerical_policy"]


@lru_cache(maxsize=1024)
def numerical_fit(problem: Problem, luce_annotator: bool) -> FloatArray | None:
    """Utilities that training on the annotator's preferences would reach, by minimising the expected loss.

    None where no finite minimiser exists, or working precision cannot certify it.
    """
    if not (problem.positive and problem.connected):
        return None
    annotator = problem.luce if luce_annotator else problem.annotator
    solution = minimize_expected_loss("bradley_terry", annotator, problem.proposal)
    return solution.value if solution.converged else None


def numerical_policy(problem: Problem, model: PBDE, *, luce_annotator: bool) -> FiniteDistribution | None:
    """The policy that training a model with the process `model` would reach, normalised by bracketing."""
    utilities = numerical_fit(problem, luce_annotator)
    if utilities is None:
        return None
    log_policy = transcriptions.normalized(utilities - model.g, np.broadcast_to(model.f, utilities.shape))
    return FiniteDistribution(log_policy, problem.preference.support)


def _utilities(problem: Problem) -> FloatArray:
    """Some utilities of the model, unrelated to the annotator's."""
    return np.random.default_rng(problem.seed).normal(scale=2.0, size=problem.size)


def _cross_entropy(problem: Problem, entropy_factor: float) -> float:
    omega, q = _utilities(problem), problem.proposal.matrix(problem.size)
    p = transcriptions.preferences(problem.annotator.utility, q)
    difference = transcriptions.cross_entropy(p, omega, q) - entropy_factor * transcriptions.entropy(p, q)
    kl = expected_kl(problem.annotator, omega, problem.proposal)
    cross_entropy = expected_cross_entropy(problem.annotator, omega, problem.proposal)
    entropy = expected_entropy(problem.annotator, problem.proposal)
    return max(
        abs(kl.value - difference) / cross_entropy.value,
        abs(cross_entropy.value - entropy_factor * entropy - kl.value) / cross_entropy.value,
        float(np.abs(kl.gradient - transcriptions.gradient(p, omega, q)).max()),
        float(np.abs(kl.gradient - cross_entropy.gradient).max()),
    )


def _lemma_1(problem: Problem, change: FloatArray) -> float | None:
    if not (problem.positive and problem.connected):
        return None
    chi, q = problem.annotator.utility, problem.proposal.matrix(problem.size)
    omega = chi + change
    # If: the loss is zero. Only if: what a minimiser finds has the same preferences on all pairs, compared or not.
    loss = transcriptions.kl(transcriptions.preferences(chi, q), omega, q)
    fit = numerical_fit(problem, luce_annotator=False)
    if fit is None:
        return abs(loss)
    everywhere = np.ones_like(q)
    found, claimed = (transcriptions.preferences(u, everywhere) for u in (fit, omega))
    return max(abs(loss), float(np.abs(found - claimed).max()))


def _one_raised(problem: Problem) -> float | None:
    if not problem.moderate:
        return None
    hessian = expected_hessian("bradley_terry", problem.annotator, problem.annotator.utility, problem.proposal)
    change = np.zeros(problem.size)
    change[hessian.diagonal().argmax()] = 1.0
    return _lemma_1(problem, change)


def _theorem_1(problem: Problem) -> float | None:
    """A reward trained on Luce preferences, made a density."""
    reward = numerical_policy(problem, luce(), luce_annotator=True)
    q = problem.proposal.matrix(problem.size)
    loss = abs(
        transcriptions.kl(transcriptions.preferences(problem.luce.utility, q), problem.preference.log_pmf + 5.0, q)
    )
    return loss if reward is None else max(loss, total_variation(reward, problem.preference))


def _theorem_1_other_process(problem: Problem) -> float | None:
    if not problem.moderate:
        return None
    reward = numerical_policy(problem, luce(), luce_annotator=False)
    return None if reward is None else total_variation(reward, problem.preference)


def _theorem_2(problem: Problem) -> float:
    process = problem.process
    found = optimal_policy(problem.annotator, process)
    error = total_variation(found, problem.preference)
    trained = numerical_policy(problem, process, luce_annotator=False)
    return error if trained is None else max(error, total_variation(trained, problem.preference))


def _theorem_2_other_process(problem: Problem) -> float | None:
    if not problem.moderate:
        return None
    return total_variation(optimal_policy(problem.annotator, problem.other_process), problem.preference)


def _convexity(problem: Problem, halved: float) -> float:
    """Hessian from the formula against a complex step through the transcribed gradient."""
    rng = np.random.default_rng(problem.seed)
    omega, direction = _utilities(problem), rng.normal(size=problem.size)
    q = problem.proposal.matrix(problem.size)
    p = transcriptions.preferences(problem.annotator.utility, q)
    step = 1e-30
    derivative = transcriptions.gradient(p, omega + 1j * step * direction, q).imag / step
    arguments = ("bradley_terry", problem.annotator, omega, problem.proposal)
    hessian = halved * expected_hessian(*arguments)
    scale = float(np.abs(hessian).max())
    return max(
        float(np.abs(hessian @ direction - derivative).max()) / scale,
        float(np.abs(halved * expected_hessian_vector_product(*arguments, direction) - derivative).max()) / scale,
        float(np.abs(hessian.sum(axis=1)).max()) / scale,
        float(-np.linalg.eigvalsh(hessian)[0]) / scale,
    )


def _components(problem: Problem, partial: bool) -> float | None:
    """Constants per component leave the loss alone, and they are all that does."""
    q = problem.proposal.matrix(problem.size)
    adjacency = ((q + q.T) > 0).astype(float)
    np.fill_diagonal(adjacency, 0.0)
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    nullity = int(np.sum(np.linalg.eigvalsh(laplacian) < 1e-9 * problem.size))
    components = comparison_components(problem.proposal, problem.size)
    chi = problem.annotator.utility
    change = 2.0 * (components == components[-1])
    if partial:
        change[problem.preference.pmf.argmax()] -= 2.0
    loss = transcriptions.kl(transcriptions.preferences(chi, q), chi + change, q)
    package = expected_kl(problem.annotator, chi + change, problem.proposal).value
    return max(abs(nullity - (components.max() + 1.0)), abs(loss), package)


def _relative_errors(problem: Problem, direct: bool) -> float | None:
    """Pairs whose probabilities differ by about 1e-8, against 60-digit arithmetic."""
    rng = np.random.default_rng(problem.seed)
    chi = problem.annotator.utility
    members = np.flatnonzero(np.isfinite(chi))
    if members.size < 2:
        return None
    omega = np.where(np.isfinite(chi), chi, 0.0) + 4e-8 * rng.normal(size=problem.size)
    errors = []
    for _ in range(3):
        a, b = rng.choice(members, 2, replace=False)
        exact = float(transcriptions.decimal_kl(chi, omega, a, b))
        if exact < 1e-290:
            continue
        q = np.zeros((problem.size, problem.size))
        q[a, b] = 1.0
        if direct:
            value = transcriptions.kl(transcriptions.preferences(chi, q), omega, q)
        else:
            value = expected_kl(problem.annotator, omega, PairListProposal([a], [b])).value
        errors.append(abs(value / exact - 1.0))
    return max(errors, default=None)


FOUNDATIONS = (
    Claim(
        "cross_entropy_and_kl", "Eq. 7, 8", "Cross-entropy and KL differ by the annotator's entropy.",
        "sums transcribed", lambda problem: _cross_entropy(problem, 1.0), ROUNDING,
        "entropy counted twice", lambda problem: _cross_entropy(problem, 2.0) if problem.moderate else None,
    ),
    Claim(
        "relative_accuracy", "Eq. 8", "A small expected KL keeps its digits.",
        "60-digit decimals", lambda problem: _relative_errors(problem, direct=False), ROUNDING,
        "textbook formula in floats",
        lambda problem: _relative_errors(problem, direct=True) if problem.moderate else None,
    ),
    Claim(
        "convexity", "beyond", "The Hessian is a graph Laplacian, so the loss is convex.",
        "complex step", lambda problem: _convexity(problem, 1.0), ROUNDING,
        "Hessian halved", lambda problem: _convexity(problem, 0.5),
    ),
    Claim(
        "connected_proposals", "Lemma 1", "Utilities are fixed up to a constant per component.",
        "nullity of Laplacian", lambda problem: _components(problem, partial=False), ROUNDING,
        "constant on part of one",
        lambda problem: _components(problem, partial=True) if problem.moderate else None,
    ),
    Claim(
        "lemma_1", "Lemma 1", "The loss is least exactly when the utilities agree up to a constant.",
        "Newton from zero", lambda problem: _lemma_1(problem, np.full(problem.size, 3.0)), SOLVER,
        "one utility raised by 1", _one_raised,
    ),
    Claim(
        "theorem_1", "Theorem 1", "A reward trained on Luce preferences is the log of p* up to a constant.",
        "Newton from zero", _theorem_1, SOLVER,
        "annotator not Luce", _theorem_1_other_process,
    ),
    Claim(
        "theorem_2", "Theorem 2", "Annotator and model with the same process: the policy is p*.",
        "Newton, bracketing", _theorem_2, SOLVER,
        "model's process another", _theorem_2_other_process,
    ),
)  # fmt: skip
