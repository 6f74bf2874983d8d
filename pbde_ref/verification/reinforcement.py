"""Claims about the reinforcement-learning side: policy gradients, PPO's surrogate, forgetting, DPG, RSO's sampler."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from pbde_ref.distributions import FiniteDistribution, kl_divergence, tilt
from pbde_ref.exact.decision_processes import DecisionProcess
from pbde_ref.exact.policy_optimization import (
    clipped_surrogate,
    clipped_surrogate_maximum,
    distributional_policy_gradient,
    policy_gradient,
)  # fmt: skip
from pbde_ref.sampling.rejection import rso_distribution
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, leave_if
from pbde_ref.verification.problems import Problem

__all__ = ["REINFORCEMENT"]

ACTIONS, MOST_STATES = 3, 5
# All sequences of so many candidates are listed.
MOST_SEQUENCES = 70_000


def _decision_process(problem: Problem) -> tuple[DecisionProcess, FloatArray, FloatArray]:
    """A process whose rewards are the problem's, a policy, and a start."""
    rng = np.random.default_rng(problem.seed)
    states = min(problem.size, MOST_STATES)
    moves = rng.dirichlet(np.full(states, 0.5), (states, ACTIONS))
    rewards = rng.choice(problem.rewards, (states, ACTIONS)) * rng.uniform(0.5, 1.0, (states, ACTIONS))
    process = DecisionProcess(moves, rewards, float(rng.uniform(0.0, 0.97)))
    return process, rng.normal(scale=2.0, size=(states, ACTIONS)), rng.dirichlet(np.ones(states))


def _policy_gradient_theorem(problem: Problem) -> float:
    """The gradient from a start, and the paper's form of it from the stationary start, against sums over time."""
    process, logits, start = _decision_process(problem)
    parts = (process.transition, process.rewards, process.gamma)
    stationary = second_paths.stationary(process.transition, logits)
    scale = max(float(np.abs(process.rewards).max()), 1e-300) / (1.0 - process.gamma) ** 2
    errors = [
        float(np.abs(process.gradient(logits, rho) - second_paths.return_gradient(*parts, logits, rho)).max()) / scale
        for rho in (start, stationary)
    ]
    printed = _as_printed(process, logits) - second_paths.return_gradient(*parts, logits, stationary)
    return max(*errors, float(np.abs(printed).max()) / scale)


def _as_printed(process: DecisionProcess, logits: FloatArray) -> FloatArray:
    r"""The stationary distribution in the sum of section 2.1, over :math:`1 - \gamma`."""
    policy, q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), process.action_values(logits)
    mean = (policy * q).sum(axis=1, keepdims=True)
    return np.asarray(process.stationary(logits)[:, None] / (1.0 - process.gamma) * policy * (q - mean))


def _stationary_for_any_start(problem: Problem) -> float:
    """How far the printed sum is from any multiple of the gradient of the first state's value."""
    process, logits, _ = _decision_process(problem)
    first = np.eye(len(logits))[0]
    scale = float(np.abs(process.rewards).max()) / (1.0 - process.gamma) ** 2
    leave_if(not scale > 0.0)

    def apart(gradient: FloatArray, printed: FloatArray) -> float:
        size = float((printed * printed).sum())
        factor = float((gradient * printed).sum()) / size if size > 0.0 else 0.0
        return float(np.abs(gradient - factor * printed).max()) / scale

    parts = (process.transition, process.rewards, process.gamma, logits)
    stationary = second_paths.stationary(process.transition, logits)
    right, printed = (second_paths.return_gradient(*parts, rho) for rho in (first, stationary))
    leave_if(apart(right, printed) < MARGIN)
    return apart(process.gradient(logits, first), _as_printed(process, logits))


def _step(problem: Problem) -> tuple[FloatArray, FiniteDistribution, float]:
    """Logits of an old policy, that policy, and a clipping range."""
    rng = np.random.default_rng(problem.seed)
    logits = rng.normal(size=problem.size)
    return logits, FiniteDistribution(logits, problem.preference.support), float(rng.uniform(0.05, 0.5))


def _advantages(policy: FiniteDistribution, problem: Problem, beta: float) -> FloatArray:
    values = problem.rewards - beta * (policy.log_pmf - problem.reference.log_pmf)
    return np.asarray(values - policy.pmf @ values)


def _size_of_rewards(problem: Problem) -> float:
    return float(np.abs(problem.rewards).max() + problem.beta * np.abs(problem.reference.log_pmf).max()) + 1.0


def _clipped_surrogate(problem: Problem, beta: float) -> float:
    """Slope at the old policy, greatest value against its dual, and the fixed point, in units of the rewards."""
    logits, old, epsilon = _step(problem)
    advantages, scale = _advantages(old, problem, problem.beta), _size_of_rewards(problem)
    direction = np.random.default_rng(problem.seed + 1).normal(size=problem.size)
    centred = direction - old.pmf @ direction
    within = np.log1p(0.5 * epsilon) * direction / np.abs(direction).max()
    near = FiniteDistribution(logits + 0.5 * within, problem.preference.support)
    slope = paper_in_decimals.controlled_reward_slope(
        logits, direction, problem.rewards, problem.beta, problem.reference.log_pmf
    )
    value, policy = clipped_surrogate_maximum(old, advantages, epsilon)
    bound = epsilon * float(old.pmf @ np.abs(advantages))
    best = tilt(problem.reference, problem.rewards, problem.beta)
    stays, _ = clipped_surrogate_maximum(best, _advantages(best, problem, beta), epsilon)
    gaps = [
        abs(float((old.pmf * centred) @ advantages) - slope),
        abs(clipped_surrogate(near, old, advantages, epsilon) - float(near.pmf @ advantages)),
        abs(value - second_paths.clipped_dual(old.pmf, advantages, epsilon)),
        abs(value - clipped_surrogate(policy, old, advantages, epsilon)),
    ]
    return max(*gaps, value - bound, 0.5 * bound - value, stays) / scale


def _penalty_left_out(problem: Problem) -> float:
    """Eq. (13) is no fixed point of the surrogate of the bare reward."""
    best = second_paths.softmax(problem.reference.log_pmf + problem.rewards / problem.beta)
    spread = float(best @ np.abs(problem.rewards - best @ problem.rewards))
    _, _, epsilon = _step(problem)
    leave_if(0.5 * epsilon * spread < MARGIN * _size_of_rewards(problem))
    return _clipped_surrogate(problem, 0.0)


def _forgetting(problem: Problem, beta: float) -> float:
    """Divergences of Eq. (13) from the reference against decimals, and the bounds claimed for `beta`."""
    reference, rewards = problem.reference, problem.rewards
    policies = [tilt(reference, rewards, factor * problem.beta) for factor in (1.0, 2.0)]
    away, back = (kl_divergence(policies[0], reference), kl_divergence(reference, policies[0]))
    decimals = paper_in_decimals.tilted_divergences(rewards, problem.beta, reference.log_pmf)
    span, scale = float(np.ptp(rewards)), _size_of_rewards(problem) / problem.beta
    gain = (policies[0].expectation(rewards) - reference.expectation(rewards)) / problem.beta
    top = reference.pmf[rewards == rewards.max()].sum()
    ratio = policies[0].log_pmf - reference.log_pmf
    gaps = [
        abs(away - decimals[0]), abs(back - decimals[1]), abs(away + back - gain),
        max(away, back) - span**2 / (8.0 * beta**2),
        float(np.abs(ratio).max()) - span / beta,
        kl_divergence(policies[1], reference) - away,
        away + float(np.log(top)),
    ]  # fmt: skip
    return max(gaps) / scale


def _four_times_as_much_control(problem: Problem) -> float:
    away, _ = paper_in_decimals.tilted_divergences(problem.rewards, problem.beta, problem.reference.log_pmf)
    beyond = away - float(np.ptp(problem.rewards)) ** 2 / (128.0 * problem.beta**2)
    leave_if(beyond < MARGIN * _size_of_rewards(problem) / problem.beta)
    return _forgetting(problem, 4.0 * problem.beta)


def _halves(problem: Problem) -> tuple[FloatArray, FloatArray, list[NDArray[np.bool_]]]:
    """Eq. (13) and the reference as log-probabilities, and the two halves of the support."""
    exponents = problem.reference.log_pmf + problem.rewards / problem.beta
    first = np.arange(problem.size) < (problem.size + 1) // 2
    log_p = exponents - np.max(exponents)
    return log_p - np.log(np.exp(log_p).sum()), problem.reference.log_pmf, [first, ~first]


def _distributional_policy_gradient(problem: Problem, reverse: bool) -> float:
    """Both gradients by complex steps; and what the two divergences choose when only two halves' masses are free."""
    rng = np.random.default_rng(problem.seed)
    logits, direction = rng.normal(size=(2, problem.size))
    target = tilt(problem.reference, problem.rewards, problem.beta)
    forward = second_paths.forward_slope(target.log_pmf, logits, direction)
    found = distributional_policy_gradient(logits, target)
    errors = [abs(float(found @ direction) + forward)]
    backward = policy_gradient(target.log_pmf, problem.rewards, problem.beta, problem.reference)
    errors.append(float(np.abs(backward).max()) / _size_of_rewards(problem))
    if problem.size > 1:
        forwards, reversed_, ascended = _chosen_masses(problem)
        errors.append(second_paths.variation(reversed_ if reverse else forwards, ascended))
    return max(errors)


def _chosen_masses(problem: Problem) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Masses of the halves: the forward divergence's choice, the reverse one's by its formula and by ascent."""
    log_p, log_reference, halves = _halves(problem)
    masses = np.array([np.logaddexp.reduce(log_p[half]) for half in halves])
    within = [(FiniteDistribution(log_reference[half]), log_p[half]) for half in halves]
    apart = np.array([kl_divergence(c, FiniteDistribution(p)) for c, p in within])
    rewards = np.array([c.pmf @ (p - c.log_pmf) for c, p in within])
    ascended = np.exp(second_paths.mirror_ascent(rewards, 1.0, np.zeros(2)))
    return second_paths.softmax(masses), second_paths.softmax(masses - apart), ascended


def _the_same_choice(problem: Problem) -> float:
    leave_if(problem.size < 2)
    forwards, _, ascended = _chosen_masses(problem)
    leave_if(second_paths.variation(ascended, forwards) < MARGIN)
    return _distributional_policy_gradient(problem, reverse=False)


def _sequences(problem: Problem, candidates: int) -> FloatArray:
    """The law of what is kept first, summed over all sequences of candidates."""
    size, pre = problem.size, problem.reference.pmf
    listed = np.array(list(product(range(size), repeat=candidates)), dtype=np.intp).reshape(-1, candidates)
    rewards = problem.rewards[listed]
    accept = np.exp((rewards - rewards.max(axis=1, keepdims=True)) / problem.beta)
    chance, result = pre[listed].prod(axis=1), np.zeros(size)
    for place in range(candidates):
        result += np.bincount(listed[:, place], chance * accept[:, place], size)
        chance = chance * (1.0 - accept[:, place])
    return result


def _rejection_sampling(problem: Problem) -> float:
    """The law for one, two and, on small supports, three candidates; acceptance; distance from Eq. (13)."""
    best = tilt(problem.reference, problem.rewards, problem.beta)
    top = problem.rewards == problem.rewards.max()
    rarest, ended = float(problem.reference.pmf[top].sum()), float(best.pmf[top].sum())
    exponents = (problem.rewards - problem.rewards.max()) / problem.beta
    log_acceptance = float(np.logaddexp.reduce(problem.reference.log_pmf + exponents))
    most = float((best.log_pmf - problem.reference.log_pmf).max())
    errors = [abs(log_acceptance + most) / _size_of_rewards(problem)]
    for candidates in (1, 2, 3, 50):
        law = rso_distribution(problem.reference, problem.rewards, problem.beta, candidates)
        if problem.size**candidates <= MOST_SEQUENCES:
            errors.append(second_paths.variation(law.pmf, _sequences(problem, candidates)))
        errors.append(second_paths.variation(law.pmf, best.pmf) - (1.0 - rarest) ** candidates)
        missing = ended * max(1.0 - float(np.exp(log_acceptance)), 0.0) ** candidates
        errors.append(abs(float(law.pmf[top].sum()) - (ended - missing)))
    return max(errors)


def _always_the_optimum(problem: Problem) -> float:
    """Two candidates, taken for Eq. (13)."""
    best = second_paths.softmax(problem.reference.log_pmf + problem.rewards / problem.beta)
    leave_if(problem.size**2 > MOST_SEQUENCES or second_paths.variation(_sequences(problem, 2), best) < MARGIN)
    return second_paths.variation(rso_distribution(problem.reference, problem.rewards, problem.beta, 2).pmf, best)


REINFORCEMENT = (
    Claim("policy_gradient", "Sec. 2.1", "The policy-gradient theorem; as printed, from the stationary start.",
          "sums over time", _policy_gradient_theorem, ROUNDING,
          "from any other start", _stationary_for_any_start),
    Claim("clipped_surrogate", "Sec. 2.2", "PPO's surrogate stays put at Eq. (13), and only there.",
          "linear duality", lambda problem: _clipped_surrogate(problem, problem.beta), ROUNDING,
          "without the KL penalty", _penalty_left_out),
    Claim("forgetting", "Sec. 2.2", "KL control keeps all log-ratios to the reference within the rewards' span / beta.",
          "decimals", lambda problem: _forgetting(problem, problem.beta), ROUNDING,
          "beta four times as large", _four_times_as_much_control),
    Claim("dpg", "Sec. 3", "DPG and RLHF share their optimum only if the class contains it.",
          "mirror ascent", lambda problem: _distributional_policy_gradient(problem, reverse=True), SOLVER,
          "in every class", _the_same_choice),
    Claim("rejection_sampling", "Sec. 3", "RSO's sampler, with any number of candidates; in the limit Eq. (13).",
          "all sequences", _rejection_sampling, ROUNDING,
          "two are claimed enough", _always_the_optimum),
)  # fmt: skip
