"""Claims about losses that trainers have and the paper does not: where they lead, and what that tells of p*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize

from pbde_ref import paper
from pbde_ref.annotators import PreferenceMatrix
from pbde_ref.catalogue.in_use import davidson_optimum, rao_kupper_optimum
from pbde_ref.catalogue.optima import of_policy_weights
from pbde_ref.distributions import uniform
from pbde_ref.exact.kept_answers import minimize_sigmoids
from pbde_ref.exact.links import linked_policy
from pbde_ref.exact.pairwise_minima import minimize_by_pairs
from pbde_ref.exact.policy_losses import minimize_policy_loss
from pbde_ref.exact.prefixes import minimize_prefix_loss
from pbde_ref.exact.transport import minimize_transport_loss
from pbde_ref.losses.log_ratios import link, nca, of_margin
from pbde_ref.numerics import expit
from pbde_ref.objectives import BRADLEY_TERRY, exo
from pbde_ref.proposals import PairListProposal, ProductProposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim
from pbde_ref.verification.problems import LARGEST, Problem

__all__ = ["LOSSES_IN_USE"]

# What a quasi-Newton method leaves of a loss where its line search finds nothing lower.
LEFT = 1e-7
# Probabilities below it hide what a total variation would show, and derivatives lose them.
RARE = 1e-9


def _is_ordinary(problem: Problem) -> bool:
    """Whether every outcome can be seen, and utilities are of sizes that a quasi-Newton method manages."""
    seen = float(problem.reference.pmf.min()) > RARE and 1 < problem.size <= LARGEST
    return problem.positive and seen and float(np.ptp(problem.preference.log_pmf)) < 50.0


def _wins(problem: Problem) -> FloatArray:
    """How often A meets B and wins, pairs drawn from the reference twice; an outcome meets itself too."""
    q = np.outer(problem.reference.pmf, problem.reference.pmf)
    return paper_in_decimals.wins(problem.preference.log_pmf, q) + np.diag(q.diagonal())


def _with_likelihood(problem: Problem, weight: float) -> float | None:
    """By how much a quasi-Newton method, on the definition written out, ends below or above the certified loss."""
    if not _is_ordinary(problem):
        return None
    wins, log_pre, beta = _wins(problem), problem.reference.log_pmf, problem.beta

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        s = theta - np.logaddexp.reduce(theta)
        m = beta * ((s - log_pre)[:, None] - (s - log_pre))
        slope = -beta * wins / (1.0 + np.exp(m))
        gradient = slope.sum(axis=1) - slope.sum(axis=0) - wins.sum(axis=1)
        return float((wins * np.logaddexp(0.0, -m)).sum() - wins.sum(axis=1) @ s), gradient + np.exp(s)

    found = minimize_policy_loss(
        of_margin(BRADLEY_TERRY, beta), problem.luce, ProductProposal(problem.reference), reference=problem.reference,
        likelihood_weight=weight,
    )  # fmt: skip
    assert found.policy is not None
    climbed = minimize(loss, log_pre, jac=True, options={"gtol": 1e-9, "maxiter": 2000}).fun
    above = loss(found.policy.log_pmf)[0] - float(climbed)
    return max(above, -above * SOLVER / LEFT)


def _where_wrong(check: Callable[[Problem], float | None]) -> Callable[[Problem], float | None]:
    """A control that is tried where what it breaks makes a difference."""

    def control(problem: Problem) -> float | None:
        error = check(problem)
        return error if error is not None and error > MARGIN else None

    return control


def _nca(problem: Problem, beta: float) -> float | None:
    """The optimum, and what wins of pairs from the reference."""
    if not _is_ordinary(problem):
        return None
    pairs = ProductProposal(problem.reference)
    found = minimize_policy_loss(nca(beta), problem.luce, pairs, reference=problem.reference)
    assert found.policy is not None
    return second_paths.variation(found.policy.pmf, _wins(problem).sum(axis=1))


def _sigmoids(problem: Problem, share: float) -> float | None:
    """At β = 1 the answers that are kept share by a square root; `share` of the reference is mixed with the optimum."""
    if not _is_ordinary(problem):
        return None
    wins, pre, z = _wins(problem), problem.reference.pmf, 0.25 * problem.beta
    kappa = wins.sum(axis=1) - wins.sum(axis=0)
    if kappa.max() < MARGIN * pre.max():
        return None

    def ratios(log_mu: float) -> FloatArray:
        return np.maximum(np.sqrt(np.maximum(kappa, 0.0) / pre * np.exp(z - log_mu)) - np.exp(z), 0.0)

    log_mu = brentq(lambda x: float(pre @ ratios(x)) - 1.0, -200.0, 50.0, xtol=1e-14)
    found = minimize_sigmoids(wins.sum(axis=1), wins.sum(axis=0), problem.reference, beta=1.0, baseline=z)
    assert found.policy is not None
    mixed = (1.0 - share) * found.policy.pmf + share * pre
    return second_paths.variation(mixed, pre * ratios(float(log_mu)))


def _on_a_path(problem: Problem, aim: Callable[[FloatArray], FloatArray]) -> float | None:
    """On a path each pair has the difference that it wants, `aim` of its log-odds."""
    if not problem.positive or problem.size < 2 or problem.size > LARGEST:
        return None
    places = np.arange(problem.size - 1)
    found = minimize_by_pairs(exo(0.1), problem.luce, PairListProposal(places, places + 1))
    wanted = aim(np.diff(problem.preference.log_pmf)) * np.log(9.0)
    return float(np.max(np.abs(np.diff(found.utilities) - wanted)))


def _linked(problem: Problem, name: str) -> float | None:
    """χPO's policy against the equation that its log-ratios solve, which `name` may name another one for."""
    spread = float(np.ptp(problem.preference.log_pmf)) / problem.beta
    if not problem.positive or spread > 700.0:
        return None
    log_pre = problem.reference.log_pmf
    log_pmf = linked_policy(problem.preference.log_pmf, log_pre, np.ones(log_pre.size), problem.beta, link(name))
    if log_pmf is None:
        return 0.0
    a = log_pmf - log_pre
    # By e^a + a = c + log p* / β, the gaps to the likeliest outcome in units of what they are made of.
    gaps = problem.beta * (np.exp(a) + a) - problem.preference.log_pmf
    size = 1.0 + np.abs(problem.preference.log_pmf).max() + problem.beta * (np.exp(a) + np.abs(a)).max()
    return float(np.ptp(gaps)) / size


def _with_ties(problem: Problem, told: bool) -> float | None:
    """Ties that follow Davidson's or Rao and Kupper's model lead to Eq. (16), if `told` which pairs are ties."""
    if not _is_ordinary(problem):
        return None
    alpha, errors = 0.1 + 0.2 * problem.beta, []
    d = problem.preference.log_pmf[:, None] - problem.preference.log_pmf
    win, tie = expit(d - alpha), np.expm1(2.0 * alpha) * expit(d - alpha) * expit(-d - alpha)
    models: list[Any] = [(rao_kupper_optimum, {"threshold": alpha}, win, tie)]
    even = 1.0 / (1.0 + np.cosh(0.5 * d) / alpha)
    models.append((davidson_optimum, {"tendency": alpha}, (1.0 - even) * expit(d), even))
    wanted = np.exp(paper_in_decimals.optimum(
        paper.equation_16, problem.reference.log_pmf, problem.preference.log_pmf, problem.beta
    ))  # fmt: skip
    for solve, own, won, ties in models:
        decided = PreferenceMatrix(won / (won + won.T), problem.preference.support)
        found = solve(
            decided, ProductProposal(problem.reference), beta=problem.beta, reference=problem.reference,
            ties=0.5 * (ties + ties.T) if told else None, **own,
        )  # fmt: skip
        assert found.policy is not None
        errors.append(second_paths.variation(found.policy.pmf, wanted))
    return max(errors) if told else min(errors)


def _weighted_by_policy(problem: Problem, both: float) -> float | None:
    """The gradient at WPO's policy, of what it is made of, pairs weighted by the winner and `both` times the loser."""
    if not _is_ordinary(problem):
        return None
    lengths = 1.0 + np.arange(problem.size) % 3
    found = of_policy_weights(
        problem.luce, ProductProposal(problem.reference), beta=problem.beta, reference=problem.reference,
        lengths=lengths,
    )  # fmt: skip
    assert found.policy is not None
    s = found.policy.log_pmf
    t = problem.beta * (s - problem.reference.log_pmf)
    flows = np.exp((s / lengths)[:, None] + both * (s / lengths)) * _wins(problem) * expit(t - t[:, None])
    return float(np.abs(flows.sum(axis=1) - flows.sum(axis=0)).max() / flows.sum())


def _transport(problem: Problem, even: bool) -> float | None:
    """At an even reference the least loss of AOT, paired, is the entropy of the answers."""
    if not _is_ordinary(problem):
        return None
    reference = uniform(problem.preference.support) if even else problem.reference
    q = np.outer(problem.reference.pmf, problem.reference.pmf)
    found = minimize_transport_loss(
        problem.luce, ProductProposal(problem.reference), beta=problem.beta, reference=reference, paired=True
    )
    wins = paper_in_decimals.wins(problem.preference.log_pmf, q)
    own = np.eye(len(q))
    entropy = float(np.log(2.0) * q.trace() - (wins * np.log((wins + own) / (wins + wins.T + own))).sum())
    return abs(found.loss - entropy)


def _by_prefixes(problem: Problem, share: float, found_at: float) -> float | None:
    """The gradient of LD-DPO written out, by complex steps, where the loss at `found_at` is said to be stationary."""
    if not _is_ordinary(problem):
        return None
    # Numbers in binary, with an end: many begin alike.
    tokens, n, beta = [f"{i + 1:b}." for i in range(problem.size)], problem.size, problem.beta
    found = minimize_prefix_loss(
        problem.luce, ProductProposal(problem.reference), beta=beta, share=found_at, reference=problem.reference,
        tokens=tokens,
    )  # fmt: skip
    wins, lengths, slope = _wins(problem), [len(each) for each in tokens], np.zeros(n)
    assert found.policy is not None
    shorter = np.minimum.outer(lengths, lengths)
    begun = {k: np.array([[a[:k] == b[:k] for b in tokens] for a in tokens]) for k in set(lengths)}
    for x in range(n):
        theta = found.policy.log_pmf + 1e-30j * (np.arange(n) == x)
        total = 0.0
        for length, alike in begun.items():
            score, before = (share * s + (1.0 - share) * np.log(alike @ np.exp(s))
                             for s in (theta, problem.reference.log_pmf))  # fmt: skip
            m = beta * ((score - before)[:, None] - (score - before))
            total += (wins * (shorter == length) * np.log1p(np.exp(-m))).sum()
        slope[x] = total.imag / 1e-30
    return float(np.abs(slope).max())


LOSSES_IN_USE = (
    Claim(
        "policy_losses", "–", "DPO with the chosen answer's likelihood has one certified optimum.",
        "quasi-Newton", lambda problem: _with_likelihood(problem, 1.0), SOLVER,
        "likelihood forgotten", _where_wrong(lambda problem: _with_likelihood(problem, 0.0)),
    ),
    Claim(
        "nca", "–", "NCA at beta = 1 learns what wins of pairs from the reference.",
        "winners in decimals", lambda problem: _nca(problem, 1.0), SOLVER,
        "beta = 2", _where_wrong(lambda problem: _nca(problem, 2.0)),
    ),
    Claim(
        "kept_answers", "–", "KTO keeps only answers that are wanted more often than not.",
        "water-filling", lambda problem: _sigmoids(problem, 0.0), SOLVER,
        "a share for all", lambda problem: _sigmoids(problem, 0.01),
    ),
    Claim(
        "exo", "–", "EXO asks of a pair what IPO asks: a margin linear in how often it wins.",
        "the pair's own margin", lambda problem: _on_a_path(problem, lambda logit: np.tanh(0.5 * logit)), SOLVER,
        "log-odds", _where_wrong(lambda problem: _on_a_path(problem, lambda logit: logit)),
    ),
    Claim(
        "links", "–", "Another link than the logarithm has one policy with given utilities.",
        "its equation", lambda problem: _linked(problem, "chi_po"), SOLVER,
        "forward KL's link", _where_wrong(lambda problem: _linked(problem, "forward_kl")),
    ),
    Claim(
        "ties", "–", "DPO with ties of its own model leads to Eq. (16).",
        "Eq. (16) in decimals", lambda problem: _with_ties(problem, True), SOLVER,
        "ties left out", _where_wrong(lambda problem: _with_ties(problem, False)),
    ),
    Claim(
        "policy_weights", "–", "WPO leads a Luce annotator to Eq. (16): weights move nothing.",
        "gradient written out", lambda problem: _weighted_by_policy(problem, 1.0), ROUNDING,
        "winners' weights", _where_wrong(lambda problem: _weighted_by_policy(problem, 0.0)),
    ),
    Claim(
        "transport", "–", "Paired AOT at an even reference is DPO.",
        "entropy in decimals", lambda problem: _transport(problem, True), SOLVER,
        "the reference", _where_wrong(lambda problem: _transport(problem, False)),
    ),
    Claim(
        "prefixes", "–", "LD-DPO's policy is stationary where answers begin alike.",
        "complex steps", lambda problem: _by_prefixes(problem, 0.5, 0.5), SOLVER,
        "DPO's policy", _where_wrong(lambda problem: _by_prefixes(problem, 0.5, 1.0)),
    ),
)  # fmt: skip
