"""Claims about answers to prompts: each prompt by itself, parameters that all share, and the process that is named."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from pbde_ref.annotators import Annotator
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.estimation.identification import identify_process
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.pbde import PBDE, dpo, luce
from pbde_ref.prompts import LogLinearPolicies, minimize_log_linear, prompt_pairs
from pbde_ref.validation import FloatArray
from pbde_ref.verification import second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, Claim
from pbde_ref.verification.problems import LARGEST, Problem

__all__ = ["PROMPTS"]

# Log-odds beyond which answers are so certain that a regression of so few pairs has no digits.
CERTAIN = 12.0


def _prompts(problem: Problem) -> Prompts | None:
    """The outcomes as answers to two prompts, if each has two with positive probability."""
    half = problem.size // 2
    parts = problem.preference.log_pmf[:half], problem.preference.log_pmf[half:]
    if min(int(np.isfinite(part).sum()) for part in parts) < 2 or problem.size > LARGEST:
        return None
    return Prompts([0] * half + [1] * (problem.size - half))


def _prompt_by_prompt(problem: Problem) -> float | None:
    """Total variation of the optimum from the root found by bracketing, prompt by prompt."""
    prompts = _prompts(problem)
    if prompts is None:
        return None
    annotator = Annotator(ConditionalDistribution(problem.preference.log_pmf, prompts), luce())
    found = optimal_policy(annotator, problem.other_process).pmf
    return _distance(problem, prompts, found)


def _distance(problem: Problem, prompts: Prompts, found: FloatArray) -> float:
    f, g = (np.broadcast_to(x, found.shape) for x in (problem.other_process.f, problem.other_process.g))
    errors = []
    for k in (0, 1):
        part = prompts.number == k
        root = second_paths.normalized(problem.preference.log_pmf[part] - g[part], f[part])
        errors.append(second_paths.variation(found[part], second_paths.softmax(root)))
    return max(errors)


def _over_everything(problem: Problem) -> float | None:
    prompts = _prompts(problem)
    if prompts is None:
        return None
    f, g = (np.broadcast_to(x, (problem.size,)) for x in (problem.other_process.f, problem.other_process.g))
    joint = second_paths.softmax(second_paths.normalized(problem.preference.log_pmf - g, f))
    masses = prompts.sums(joint)
    if not (masses > 0.0).all():
        return None
    error = _distance(problem, prompts, joint / masses[prompts.number])
    return error if error >= MARGIN else None


def _shared(problem: Problem, spanned: bool) -> tuple[float, float] | None:
    """How far DPO's shared parameters end from the two-stage policy, whose reward a quasi-Newton method finds, and by
    how much that method may miss log-odds.
    """
    prompts = _prompts(problem)
    log_p, log_reference = problem.preference.log_pmf, problem.reference.log_pmf
    if prompts is None or not problem.positive or max(np.ptp(log_p), np.ptp(log_reference)) > CERTAIN:
        return None
    drawn = np.random.default_rng(problem.seed).normal(size=(problem.size, 1))
    features = np.column_stack([drawn, log_reference]) if spanned else drawn
    annotator = Annotator(ConditionalDistribution(log_p, prompts), luce())
    reference = ConditionalDistribution(log_reference, prompts)
    process = dpo(problem.beta, reference)
    found = minimize_log_linear(LogLinearPolicies(features, prompts), annotator, prompt_pairs(prompts), process)
    if found.undetermined.size:
        return None
    first, second = np.nonzero(np.triu(prompts.number[:, None] == prompts.number, 1))
    share = 1.0 / np.bincount(prompts.number)[prompts.number[first]] ** 2
    rows, p = features[first] - features[second], 1.0 / (1.0 + np.exp(log_p[second] - log_p[first]))

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        d = rows @ theta
        value = share @ (p * np.logaddexp(0.0, -d) + (1.0 - p) * np.logaddexp(0.0, d))
        return float(value), rows.T @ (share * (1.0 / (1.0 + np.exp(-d)) - p))

    reward = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-11})
    weights = log_reference + features @ reward.x / problem.beta
    parts = [prompts.number == k for k in (0, 1)]
    apart = [second_paths.variation(found.policy.pmf[part], second_paths.softmax(weights[part])) for part in parts]
    model = 1.0 / (1.0 + np.exp(-rows @ reward.x))
    least = np.linalg.eigvalsh(rows.T @ ((share * model * (1.0 - model))[:, None] * rows))[0]
    left = np.linalg.norm(reward.jac) * np.abs(rows).max() / (max(float(least), 1e-300) * problem.beta)
    return max(apart), float(left)


def _two_stages(problem: Problem) -> float | None:
    found = _shared(problem, True)
    return None if found is None or found[1] > 0.1 * SHARED else found[0]


def _outside_the_span(problem: Problem) -> float | None:
    found = _shared(problem, False)
    return None if found is None or found[1] > 0.1 * SHARED or found[0] < 10.0 * SHARED else found[0]


def _named(problem: Problem, exponent: float) -> float | None:
    """Error of the coefficients that exact answers of DPO give back, with a power of the true β claimed."""
    log_p, log_reference = problem.preference.log_pmf, problem.reference.log_pmf
    spread = problem.beta * float(np.ptp(log_p - log_reference)) if problem.positive else np.inf
    if not 5 <= problem.size <= LARGEST or spread > CERTAIN or max(np.ptp(log_p), np.ptp(log_reference)) > 20.0:
        return None
    lengths = np.random.default_rng(problem.seed).integers(3, 30, problem.size)
    pairs = np.array([(a, b) for a in range(problem.size) for b in range(problem.size) if a != b]).T
    omega = PBDE(problem.beta, -problem.beta * log_reference).utility(log_p)
    chosen = 1.0 / (1.0 + np.exp(omega[pairs[1]] - omega[pairs[0]]))
    columns = {"log_p": log_p[pairs], "log_reference": log_reference[pairs], "lengths": lengths[pairs]}
    try:
        found = identify_process(**columns, weights=chosen)
    except ValueError:
        # Columns that these few answers do not tell apart.
        return None
    if np.linalg.cond(found.covariance) > 1e8:
        return None
    beta = problem.beta**exponent
    return float(np.abs(found.coefficients - np.array([beta, 0.0, -beta, 0.0])).max())


def _coefficients(problem: Problem) -> float | None:
    return _named(problem, 1.0)


def _inverse(problem: Problem) -> float | None:
    return _named(problem, -1.0) if abs(problem.beta - 1.0 / problem.beta) > 1e-3 else None


SHARED = 1e-7
"""Ten times what the second path's own gradient and least curvature may leave of log-odds."""

PROMPTS = (
    Claim(
        "prompts", "Sec. 2", "Normalised at each prompt, the optimum at a prompt is that of the prompt alone.",
        "bracketing", _prompt_by_prompt, ROUNDING,
        "one policy over all prompts", _over_everything,
    ),
    Claim(
        "log_linear", "Sec. 4.3", "With log pi_pre in the span of the features two stages end where DPO ends.",
        "BFGS", _two_stages, SHARED,
        "log pi_pre is no feature", _outside_the_span,
    ),
    Claim(
        "process_identified", "Sec. 6", "Exact answers of DPO give back beta, and lengths play no part.",
        "known coefficients", _coefficients, SHARED,
        "1/beta in its place", _inverse,
    ),
)  # fmt: skip
