"""Claims about optimal policies: Eq. (13), (16), (18), the general optimum, KL control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pbde_ref import paper
from pbde_ref.distributions import FiniteDistribution, geometric_mean, kl_divergence, tilt, total_variation
from pbde_ref.exact.optima import optimal_policy, product_of_experts
from pbde_ref.exact.policy_optimization import gradient_ascent, kl_controlled_objective, log_partition, policy_gradient
from pbde_ref.pbde import PBDE, dpo, geometric_average
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, leave_if, leave_if_alike
from pbde_ref.verification.fits import numerical_policy
from pbde_ref.verification.problems import Problem

__all__ = ["CLOSED_FORMS"]

# Gradient ascent moves an outcome's logit in proportion to its probability: 100,000 steps are enough if the rarest
# outcome has this part of the most frequent one's.
SLOWEST = 30.0


def _equation_13(problem: Problem, beta: float) -> float:
    numerical = second_paths.mirror_ascent(problem.rewards, problem.beta, problem.reference.log_pmf)
    return total_variation(tilt(problem.reference, problem.rewards, beta), _on_support(numerical, problem))


def _exponent_rounding(problem: Problem) -> float:
    r"""What rounding does to Eq. (13), :math:`\pi \propto e^x` with :math:`x = \log \pi_{pre} + r / \beta`.

    x is rounded at most eight times, in both paths together, by :math:`2^{-53}` of what is largest; total variation
    moves by no more than that.
    """
    exponents = np.abs(problem.reference.log_pmf) + np.abs(problem.rewards) / problem.beta
    return 8.0 * 2.0**-53 * float(exponents.max())


def _beta_doubled(problem: Problem) -> float:
    log_reference, reward = problem.reference.log_pmf, problem.rewards / problem.beta
    leave_if_alike(log_reference + reward, log_reference + reward / 2.0)
    return _equation_13(problem, 2.0 * problem.beta)


def _optimum(claimed: FiniteDistribution, model: PBDE, problem: Problem) -> float:
    """Distance from what training reaches, from the root found by bracketing, and the loss left."""
    chi = problem.luce.utility
    root = second_paths.normalized(chi - model.g, model.f)
    with np.errstate(invalid="ignore"):
        omega = np.where(np.isneginf(claimed.log_pmf), -np.inf, model.f * claimed.log_pmf + model.g)
    errors = [
        abs(second_paths.kl(chi, omega, problem.q)),
        total_variation(claimed, _on_support(root, problem)),
    ]
    trained = numerical_policy(problem, model, luce_annotator=True)
    if trained is not None:
        errors.append(total_variation(claimed, trained))
    return max(errors)


def _equation_16(problem: Problem) -> float:
    claimed = product_of_experts(problem.reference, problem.preference, problem.beta)
    return _closed_form(claimed, dpo(problem.beta, problem.reference), paper.equation_16, problem.beta, problem)


def _closed_form(
    claimed: FiniteDistribution, model: PBDE, equation: Callable[..., list[Any]], by: float, problem: Problem
) -> float:
    """The same, and distance from the general optimum and from the paper's own text."""
    literal = paper_in_decimals.optimum(equation, problem.reference.log_pmf, problem.preference.log_pmf, by)
    others = optimal_policy(problem.luce, model), _on_support(literal, problem)
    return max(_optimum(claimed, model, problem), *(total_variation(claimed, other) for other in others))


def _exponent_beta(problem: Problem) -> float:
    log_reference, log_p = problem.reference.log_pmf, problem.preference.log_pmf
    leave_if_alike(log_reference + log_p / problem.beta, log_reference + problem.beta * log_p)
    claimed = product_of_experts(problem.reference, problem.preference, 1.0 / problem.beta)
    return _optimum(claimed, dpo(problem.beta, problem.reference), problem)


def _equation_18(problem: Problem) -> float:
    claimed = geometric_mean(problem.preference, problem.reference, problem.alpha)
    model = geometric_average(problem.alpha, problem.reference)
    return _closed_form(claimed, model, paper.equation_18, problem.alpha, problem)


def _without_the_reference_exponent(problem: Problem) -> float:
    log_reference, scaled = problem.reference.log_pmf, problem.alpha * problem.preference.log_pmf
    leave_if_alike((1.0 - problem.alpha) * log_reference + scaled, log_reference + scaled)
    claimed = product_of_experts(problem.reference, problem.preference, 1.0 / problem.alpha)
    return _optimum(claimed, geometric_average(problem.alpha, problem.reference), problem)


def _general_optimum(problem: Problem) -> float:
    return _optimum(optimal_policy(problem.luce, problem.other_process), problem.other_process, problem)


def _divided_by_its_sum(problem: Problem) -> float:
    model = problem.other_process
    target = problem.luce.utility - model.g
    leave_if_alike(second_paths.normalized(target, model.f), target / model.f)
    return _optimum(_on_support(target / model.f, problem), model, problem)


def _kl_control(problem: Problem, reverse: bool) -> float:
    """The identity with KL, Eq. (5) against differences of Eq. (12) in decimals, and where gradient ascent ends."""
    rng = np.random.default_rng(problem.seed)
    logits = rng.normal(size=problem.size)
    policy = _on_support(logits, problem)
    best = tilt(problem.reference, problem.rewards, problem.beta)
    divergence = kl_divergence(policy, best) if reverse else kl_divergence(best, policy)
    top = problem.beta * log_partition(problem.rewards, problem.beta, problem.reference)
    objective = kl_controlled_objective(policy, problem.rewards, problem.beta, problem.reference)
    arguments = (problem.rewards, problem.beta, problem.reference.log_pmf)
    direction = rng.normal(size=problem.size)
    slope = paper_in_decimals.controlled_reward_slope(logits, direction, *arguments)
    gradient = policy_gradient(logits, problem.rewards, problem.beta, problem.reference)
    errors = [
        abs(objective - (top - problem.beta * divergence)),
        abs(objective - paper_in_decimals.controlled_reward(policy.log_pmf, *arguments)),
        abs(float(gradient @ direction) - slope),
    ]
    masses = np.concatenate([best.pmf, problem.reference.pmf])
    if masses.min() * SLOWEST >= masses.max():
        rate = 1.0 / masses.max()
        ascent = gradient_ascent(
            problem.rewards, problem.beta, problem.reference, learning_rate=rate, tolerance=1e-12, max_steps=100_000
        )
        errors.append(total_variation(ascent.policy, best))
    return max(errors)


def _forward_kl(problem: Problem) -> float:
    logits = np.random.default_rng(problem.seed).normal(size=problem.size)
    exponents = problem.reference.log_pmf + problem.rewards / problem.beta
    log_policy, log_best = (x - np.max(x) - np.log(np.sum(np.exp(x - np.max(x)))) for x in (logits, exponents))
    gap = log_policy - log_best
    difference = problem.beta * float(np.sum((np.exp(log_policy) + np.exp(log_best)) * gap))
    leave_if(abs(difference) < MARGIN)
    return _kl_control(problem, reverse=False)


def _on_support(log_weights: FloatArray, problem: Problem) -> FiniteDistribution:
    return FiniteDistribution(log_weights, problem.preference.support)


CLOSED_FORMS = (
    Claim(
        "general_optimum", "beyond", "Any annotator and any model process have exactly one optimal policy.",
        "Newton, bracketing", _general_optimum, SOLVER,
        "divided by its sum", _divided_by_its_sum,
    ),
    Claim(
        "equation_16", "Eq. 16", "DPO under a Luce annotator: reference times p* to the power 1/beta.",
        "Newton, bracketing", _equation_16, SOLVER,
        "p* to the power beta", _exponent_beta,
    ),
    Claim(
        "equation_18", "Eq. 18", "The geometric process yields the weighted geometric mean.",
        "Newton, bracketing", _equation_18, SOLVER,
        "reference not to 1 - alpha", _without_the_reference_exponent,
    ),
    Claim(
        "equation_13", "Eq. 13", "The tilted reference maximises the KL-controlled reward.",
        "mirror ascent", lambda problem: _equation_13(problem, problem.beta), ROUNDING,
        "beta doubled", _beta_doubled, _exponent_rounding,
    ),
    Claim(
        "kl_control", "Eq. 5, 12", "KL control is reverse-KL projection, and gradient ascent reaches it.",
        "decimals, ascent", lambda problem: _kl_control(problem, reverse=True), SOLVER,
        "forward KL", _forward_kl,
    ),
)  # fmt: skip
