"""Claims about the closed loop of section 2.2: where its rounds lead, what they rest at, what they move away from."""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

from pbde_ref import paper
from pbde_ref.annotators import PreferenceMatrix
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.experiments.closed_loop import closed_loop
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, leave_if
from pbde_ref.verification.problems import Problem

__all__ = ["CLOSED_LOOPS"]

ROUNDS = 3
# An outcome that is drawn less often decides nothing that a fit in double precision could show.
SEEN = 1e-12


@lru_cache(maxsize=128)
def _one_round(problem: Problem) -> list[tuple[str, dict[str, Any], str, FloatArray]]:
    """Losses with their parameters and references, and where one round of Eq. (16) or (18) leads in decimals."""
    leave_if(not problem.positive)
    beta, alpha = problem.beta, problem.alpha
    cases = [
        ("dpo", {"beta": beta}, "first", paper.equation_16, beta),
        ("dpo", {"beta": beta}, "last", paper.equation_16, beta / ROUNDS),
        ("geometric", {"alpha": alpha}, "first", paper.equation_18, alpha),
        ("geometric", {"alpha": alpha}, "last", paper.equation_18, 1.0 - (1.0 - alpha) ** ROUNDS),
    ]
    log_reference, log_p = problem.reference.log_pmf, problem.preference.log_pmf
    return [
        (loss, given, reference, np.exp(paper_in_decimals.optimum(equation, log_reference, log_p, by)))
        for loss, given, reference, equation, by in cases
    ]


def _rounds(problem: Problem, swapped: bool = False) -> float:
    """Policies after some rounds, against one round with other parameters."""
    errors = []
    for loss, given, reference, right in _one_round(problem):
        other = {"first": "last", "last": "first"}[reference] if swapped else reference
        loop = closed_loop(loss, problem.luce, problem.reference, rounds=ROUNDS, reference=other, **given)
        errors.append(second_paths.variation(loop.policies[-1].pmf, right))
    return max(errors)


def _exponent_rounding(problem: Problem) -> float:
    r"""What rounding does in the exponents, of which each round makes two: total variation moves by no more."""
    exponents = np.abs(problem.reference.log_pmf) + np.abs(problem.luce.utility) / min(problem.beta, 1.0)
    return 8.0 * ROUNDS**2 * 2.0**-53 * float(exponents[np.isfinite(exponents)].max())


def _references_swapped(problem: Problem) -> float | None:
    (*_, first), (*_, last), *_ = _one_round(problem)
    return _rounds(problem, swapped=True) if second_paths.variation(first, last) >= MARGIN else None


def _levelled(problem: Problem, policy: FloatArray) -> FloatArray:
    """Preferences of the two annotators, changed so that every outcome wins half against draws from a policy."""
    leave_if(problem.reference.pmf.min() < SEEN)
    excess = problem.mixture.preference_probabilities() - 0.5
    rates = excess @ policy
    excess = excess - rates[:, None] + rates[None, :]
    return np.asarray(0.5 + excess * min(1.0, 0.45 / max(float(np.abs(excess).max()), 1e-300)))


def _at_rest(problem: Problem) -> float:
    return _moved(_levelled(problem, problem.reference.pmf), problem)


def _moved(p: FloatArray, problem: Problem) -> float:
    """What a round moves of the policy that levels all; how much nearer to it, or less together, others come."""
    level, tau = problem.reference, 0.5 + problem.beta
    asked = PreferenceMatrix(p, level.support)
    noise = np.random.default_rng(problem.seed).normal(size=len(level))
    start = FiniteDistribution(level.log_pmf + noise, level.support)
    ipo, dpo = (partial(closed_loop, "ipo", asked, tau=tau), partial(closed_loop, "dpo", asked, beta=problem.beta))
    errors = [second_paths.variation(loop(level, rounds=1).policies[-1].pmf, level.pmf) for loop in (ipo, dpo)]
    logs = [policy.log_pmf for policy in ipo(start, rounds=ROUNDS, reference="last").policies]
    errors += [float(level.pmf @ (after - before)) for before, after in pairwise(logs)]
    near = [policy.pmf for policy in ipo(start, rounds=ROUNDS).policies]
    apart = [second_paths.variation(before, after) for before, after in pairwise(near)]
    return max(*errors, *(after - before / (2.0 * tau) for before, after in pairwise(apart)))


def _other_winners(problem: Problem) -> float | None:
    """The same, claimed of answers that another policy levels."""
    p = _levelled(problem, np.random.default_rng(problem.seed + 1).dirichlet(np.ones(problem.size)))
    moved = second_paths.softmax(problem.reference.log_pmf + p @ problem.reference.pmf / (0.5 + problem.beta))
    return _moved(p, problem) if second_paths.variation(moved, problem.reference.pmf) >= MARGIN else None


CLOSED_LOOPS = (
    Claim("closed_loop", "Sec. 2.2", "T rounds of DPO from the last policy are one with beta / T; from the first, one.",
          "decimals", _rounds, ROUNDING,
          "first for last", _references_swapped, _exponent_rounding),
    Claim("loop_equilibria", "Sec. 2.2, 6", "A loop rests where all win half; IPO's goes away, or contracts if tied.",
          "direct sums", _at_rest, SOLVER,
          "another law levels", _other_winners),
)  # fmt: skip
