"""Claims about the expected loss itself: Eq. (7) and (8), Lemma 1, Theorems 1 and 2, convexity, comparison graphs."""

from __future__ import annotations

import numpy as np

from pbde_ref.distributions import total_variation
from pbde_ref.exact.expected import (
    expected_cross_entropy,
    expected_entropy,
    expected_hessian,
    expected_hessian_vector_product,
    expected_kl,
)  # fmt: skip
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.pbde import luce
from pbde_ref.proposals import PairListProposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, known, leave_if
from pbde_ref.verification.fits import SMALLEST, numerical_fit, numerical_policy
from pbde_ref.verification.problems import Problem

__all__ = ["FOUNDATIONS"]

# Further apart, the rarer answer's probability and what is left of a small divergence are no normal numbers.
WITHIN = 600.0
# Of so many pairs, so far apart, the paper's loops take a moment in decimals.
MOST_PAIRS, MOST_NATS = 150, 200.0


def _models(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Utilities of two models, unrelated to the annotator's: close together, and as far apart as the rewards are."""
    return np.random.default_rng(problem.seed).normal(scale=2.0, size=problem.size), problem.rewards


def _cross_entropy(problem: Problem, entropy_factor: float) -> float:
    return max(_cross_entropy_of(problem, omega, entropy_factor) for omega in _models(problem))


def _cross_entropy_of(problem: Problem, omega: FloatArray, entropy_factor: float) -> float:
    chi, q = problem.annotator.utility, problem.q
    p = second_paths.preferences(chi, q)
    difference = second_paths.cross_entropy(chi, omega, q) - entropy_factor * second_paths.entropy(chi, q)
    kl = expected_kl(problem.annotator, omega, problem.proposal)
    cross_entropy = expected_cross_entropy(problem.annotator, omega, problem.proposal)
    entropy = expected_entropy(problem.annotator, problem.proposal)
    scale = max(cross_entropy.value, SMALLEST)
    return max(
        abs(kl.value - difference) / scale,
        abs(cross_entropy.value - entropy_factor * entropy - kl.value) / scale,
        float(np.abs(kl.gradient - second_paths.gradient(p, omega, q)).max()),
        float(np.abs(kl.gradient - cross_entropy.gradient).max()),
    )


def _cross_entropy_as_written(problem: Problem) -> float:
    """The sums' differences, and where that takes no more than a moment those from the paper's own text."""
    chi, q = problem.annotator.utility, problem.q
    quick = np.count_nonzero(q) <= MOST_PAIRS and np.isfinite(chi).all()
    errors = [_cross_entropy(problem, 1.0)]
    for omega in _models(problem) if quick else ():
        if max(np.ptp(chi), np.ptp(omega)) <= MOST_NATS:
            written = paper_in_decimals.cross_entropies(chi, omega, q)
            found = (
                expected_cross_entropy(problem.annotator, omega, problem.proposal).value,
                expected_kl(problem.annotator, omega, problem.proposal).value,
                expected_entropy(problem.annotator, problem.proposal),
            )
            scale = max(written[0], SMALLEST)
            errors += [abs(x - y) / scale for x, y in zip(found, written, strict=True)]
    return max(errors)


def _entropy_counted_twice(problem: Problem) -> float | None:
    chi, q = problem.annotator.utility, problem.q
    scales = [max(second_paths.cross_entropy(chi, omega, q), SMALLEST) for omega in _models(problem)]
    return _cross_entropy(problem, 2.0) if second_paths.entropy(chi, q) >= MARGIN * min(scales) else None


def _telling_pair(problem: Problem) -> tuple[int, float]:
    """An outcome that comparisons say most about, and the curvature of its best pair."""
    chi, q = problem.annotator.utility, problem.q
    finite = np.isfinite(chi)
    curvature = second_paths.curvatures(np.where(finite, chi, 0.0), q) * np.outer(finite, finite)
    return int(np.unravel_index(curvature.argmax(), curvature.shape)[0]), float(curvature.max())


def _lemma_1(problem: Problem, change: FloatArray) -> float:
    fit = known(numerical_fit(problem, luce_annotator=False))
    chi, q = problem.annotator.utility, problem.q
    omega = chi + change
    # If: the loss is zero. Only if: what a minimiser finds has the same preferences on all pairs, compared or not.
    loss = second_paths.kl(chi, omega, q)
    found, claimed = (second_paths.all_preferences(u) for u in (fit, omega))
    return max(abs(loss), float(np.abs(found - claimed).max()))


def _one_raised(problem: Problem) -> float | None:
    outcome, curvature = _telling_pair(problem)
    # The loss rises by the curvature times more than a quarter; the preference changes by more still.
    return _lemma_1(problem, 1.0 * (np.arange(problem.size) == outcome)) if curvature >= MARGIN else None


def _theorem_1(problem: Problem) -> float:
    """A reward trained on Luce preferences, made a density."""
    reward = known(numerical_policy(problem, luce(), luce_annotator=True))
    chi = problem.luce.utility
    loss = abs(second_paths.kl(chi, problem.preference.log_pmf + 5.0, problem.q))
    return max(loss, total_variation(reward, problem.preference))


def _theorem_1_other_process(problem: Problem) -> float:
    learnt = second_paths.softmax(problem.annotator.utility)
    leave_if(second_paths.variation(learnt, problem.preference.pmf) < MARGIN)
    return total_variation(known(numerical_policy(problem, luce(), luce_annotator=False)), problem.preference)


def _theorem_2(problem: Problem) -> float:
    process = problem.process
    found = optimal_policy(problem.annotator, process)
    error = total_variation(found, problem.preference)
    trained = numerical_policy(problem, process, luce_annotator=False)
    return error if trained is None else max(error, total_variation(trained, problem.preference))


def _theorem_2_other_process(problem: Problem) -> float:
    other = problem.other_process
    learnt = np.exp(second_paths.normalized(problem.annotator.utility - other.g, other.f))
    leave_if(second_paths.variation(learnt, problem.preference.pmf) < MARGIN)
    return total_variation(optimal_policy(problem.annotator, other), problem.preference)


def _convexity(problem: Problem, halved: float) -> float:
    """Hessian from the formula against a complex step through the transcribed gradient, and entry by entry."""
    return max(_convexity_at(problem, omega, halved) for omega in _models(problem))


def _convexity_at(problem: Problem, omega: FloatArray, halved: float) -> float:
    direction = np.random.default_rng(problem.seed).normal(size=problem.size)
    p = second_paths.preferences(problem.annotator.utility, problem.q)
    # Its error is of second order; a smaller step would underflow with the smallest curvatures.
    step = 1e-10
    derivative = second_paths.gradient(p, omega + 1j * step * direction, problem.q).imag / step
    arguments = ("bradley_terry", problem.annotator, omega, problem.proposal)
    hessian = halved * expected_hessian(*arguments)
    product = halved * expected_hessian_vector_product(*arguments, direction)
    curvature = second_paths.curvatures(omega, problem.q)
    normal = curvature >= SMALLEST
    # A complex step adds what the two outcomes of a pair have in common, and takes it away again.
    scale = max(float(curvature.sum(axis=1).max()), SMALLEST)
    return max(
        float(np.abs(hessian @ direction - derivative).max()) / scale,
        float(np.abs(product - derivative).max()) / scale,
        float(np.abs(hessian.sum(axis=1)).max()) / scale,
        float(-np.linalg.eigvalsh(hessian)[0]) / scale,
        float(np.max(np.abs(hessian[normal] + curvature[normal]) / curvature[normal], initial=0.0)),
    )


def _hessian_halved(problem: Problem) -> float | None:
    shown = any(second_paths.curvatures(omega, problem.q).max() >= SMALLEST for omega in _models(problem))
    return _convexity(problem, 0.5) if shown else None


def _components(problem: Problem, lowered: int | None) -> float:
    """Constants per component leave the loss alone, and they are all that does."""
    adjacency = ((problem.q + problem.q.T) > 0).astype(float)
    np.fill_diagonal(adjacency, 0.0)
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    nullity = int(np.sum(np.linalg.eigvalsh(laplacian) < 1e-9 * problem.size))
    components = comparison_components(problem.proposal, problem.size)
    chi = problem.annotator.utility
    change = 2.0 * (components == components[-1])
    if lowered is not None:
        change[lowered] -= 2.0
    loss = second_paths.kl(chi, chi + change, problem.q)
    package = expected_kl(problem.annotator, chi + change, problem.proposal).value
    return max(abs(nullity - (components.max() + 1.0)), abs(loss), package)


def _constant_on_part(problem: Problem) -> float | None:
    outcome, curvature = _telling_pair(problem)
    # Two nats cost the pair at least 0.27 times its curvature.
    return _components(problem, outcome) if curvature >= MARGIN else None


def _relative_errors(problem: Problem) -> float | None:
    """Pairs whose probabilities differ by about 1e-8, against 60-digit arithmetic."""
    rng = np.random.default_rng(problem.seed)
    chi = problem.annotator.utility
    members = np.flatnonzero(np.isfinite(chi))
    omega = np.where(np.isfinite(chi), chi, 0.0) + 4e-8 * rng.normal(size=problem.size)
    pairs = [(a, b) for a in members for b in members if a != b and abs(chi[a] - chi[b]) < WITHIN]
    errors = []
    for index in rng.permutation(len(pairs))[:3]:
        a, b = map(int, pairs[index])
        exact = paper_in_decimals.pair_kl(chi, omega, a, b)
        errors.append(abs(expected_kl(problem.annotator, omega, PairListProposal([a], [b])).value / exact - 1.0))
    return max(errors, default=None)


def _textbook(problem: Problem) -> float:
    """Eq. (8) in floating point for a pair of similar outcomes whose true divergence is below a rounding of 1/2."""
    chi = problem.annotator.utility
    members = np.flatnonzero(np.isfinite(chi))
    pairs = [(abs(chi[a] - chi[b]), a, b) for a in members for b in members if a < b]
    leave_if(not pairs or min(pairs)[0] > 1.0)
    a, b = map(int, min(pairs)[1:])
    omega = np.where(np.isfinite(chi), chi, 0.0)
    omega[a] += 1e-9
    q = np.zeros((problem.size, problem.size))
    q[a, b] = 1.0
    exact = paper_in_decimals.pair_kl(chi, omega, a, b)
    return abs(second_paths.kl(chi, omega, q) / exact - 1.0)


FOUNDATIONS = (
    Claim(
        "cross_entropy_and_kl", "Eq. 7, 8", "Cross-entropy and KL differ by the annotator's entropy.",
        "the paper's sums", _cross_entropy_as_written, ROUNDING,
        "entropy counted twice", _entropy_counted_twice,
    ),
    Claim(
        "relative_accuracy", "Eq. 8", "A small expected KL keeps its digits.",
        "60-digit decimals", _relative_errors, ROUNDING,
        "textbook formula in floats", _textbook,
    ),
    Claim(
        "convexity", "beyond", "The Hessian is a graph Laplacian, so the loss is convex.",
        "complex step", lambda problem: _convexity(problem, 1.0), ROUNDING,
        "Hessian halved", _hessian_halved,
    ),
    Claim(
        "connected_proposals", "Lemma 1", "Utilities are fixed up to a constant per component.",
        "nullity of Laplacian", lambda problem: _components(problem, None), ROUNDING,
        "constant on part of one", _constant_on_part,
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
