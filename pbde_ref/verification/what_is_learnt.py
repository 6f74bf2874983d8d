"""Claims about what losses identify: hindsight sequences, any Ψ, sure answers, SLiC's regularisers, pools, samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pbde_ref.annotators import AnnotatorMixture, PreferenceMatrix
from pbde_ref.distributions import FiniteDistribution, kl_divergence, total_variation
from pbde_ref.exact.expected import expected_cross_entropy
from pbde_ref.exact.hinge import minimize_slic
from pbde_ref.exact.identifiability import (
    finite_fit_exists,
    fisher_information,
)
from pbde_ref.exact.ipo import ipo_closed_form, ipo_optimum, ipo_winners, psi_closed_form
from pbde_ref.exact.optima import product_of_experts
from pbde_ref.exact.pooling import annotator_influence
from pbde_ref.exact.sample_size import comparisons_per_sample
from pbde_ref.exact.selection import hindsight_distribution, winners_distribution
from pbde_ref.proposals import JointProposal, ProductProposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import paper_in_decimals, second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, leave_if, leave_if_alike
from pbde_ref.verification.exact_fits import probability_variances
from pbde_ref.verification.fits import SMALLEST, certified_fit
from pbde_ref.verification.problems import Problem

__all__ = ["WHAT_IS_LEARNT"]

# Decimals take a moment for so many outcomes; SLiC's certificate is found in milliseconds for so many.
FEW, FEWER = 8, 5
# A pair whose rarer answer is drawn less often decides nothing that double precision could show of a pool.
SEEN = 1e-12


def _pairs(problem: Problem) -> FloatArray:
    """How often A meets B, in either order; zero on the diagonal."""
    both = problem.q + problem.q.T
    np.fill_diagonal(both, 0.0)
    return np.asarray(both)


# --- Chain of Hindsight ---


def _chain_of_hindsight(problem: Problem) -> float:
    """Both halves of the sequence: their laws, and the log-odds of its two orders, against Eq. (9) in decimals."""
    q, found = problem.q, hindsight_distribution(problem.luce, problem.proposal)
    wins = paper_in_decimals.wins(problem.preference.log_pmf, q)
    lost = q.sum(axis=0) + q.sum(axis=1) - wins.sum(axis=1) - q.diagonal()
    errors = [
        np.abs(found - wins - np.diag(q.diagonal())),
        np.abs(found.sum(axis=1) - winners_distribution(problem.luce, problem.proposal).pmf),
        np.abs(found.sum(axis=0) - lost),
    ]
    return max(*(float(error.max()) for error in errors), _away_from_log_odds(found, problem))


def _away_from_log_odds(sequences: FloatArray, problem: Problem) -> float:
    r"""How far :math:`\log J(x, x') - \log J(x', x)` is from the difference of utilities, relative to its size."""
    a, b = np.nonzero(np.minimum(sequences, sequences.T) >= SMALLEST)
    chi = problem.preference.log_pmf
    given = np.log(sequences[a, b]) - np.log(sequences[b, a])
    return float(np.max(np.abs(given - (chi[a] - chi[b])) / np.maximum(1.0, np.abs(given)), initial=0.0))


def _winner_apart_from_loser(problem: Problem) -> float:
    """The second half drawn without a look at the first."""
    wins = paper_in_decimals.wins(problem.preference.log_pmf, problem.q) + np.diag(problem.q.diagonal())
    leave_if(_away_from_log_odds(np.outer(wins.sum(axis=1), wins.sum(axis=0)), problem) < MARGIN)
    found = hindsight_distribution(problem.luce, problem.proposal)
    return _away_from_log_odds(np.outer(found.sum(axis=1), found.sum(axis=0)), problem)


# --- ΨPO ---


def _preferences(problem: Problem) -> FloatArray:
    """Eq. (9) for all pairs, where no probability is too small for double precision."""
    leave_if(not problem.positive or np.ptp(problem.preference.log_pmf) > -np.log(SMALLEST))
    return paper_in_decimals.luce_preferences(problem.preference.log_pmf)


def _logit(won: FloatArray, lost: FloatArray) -> FloatArray:
    return np.asarray(np.log(won) - np.log(lost))


def _psi(problem: Problem, power: float) -> float:
    """The logit against Eq. (16), the identity against Eq. (22), a square against mirror ascent."""
    p, reference, tau = _preferences(problem), problem.reference, problem.beta
    mu = np.random.default_rng(problem.seed).dirichlet(np.ones(problem.size))
    optima = [
        psi_closed_form(problem.luce, mu, psi, tau=tau, reference=reference)
        for psi in (_logit, lambda won, _: won, lambda won, _: won**2)
    ]
    ascended = second_paths.mirror_ascent(p**2 @ mu, tau, reference.log_pmf)
    return max(
        total_variation(optima[0], product_of_experts(reference, problem.preference, power)),
        total_variation(optima[1], ipo_closed_form(problem.luce, mu, tau=tau, reference=reference)),
        total_variation(optima[2], FiniteDistribution(ascended, reference.support)),
    )


def _power_of_half_tau(problem: Problem) -> float:
    log_reference, scaled = problem.reference.log_pmf, problem.preference.log_pmf / problem.beta
    leave_if_alike(log_reference + scaled, log_reference + 2.0 * scaled)
    return _psi(problem, 0.5 * problem.beta)


# --- Sure answers ---


def _sure(problem: Problem) -> PreferenceMatrix:
    """An annotator with p*'s order who never hesitates, but between equals."""
    chi = problem.preference.log_pmf
    won = np.greater.outer(chi, chi) + 0.5 * np.equal.outer(chi, chi)
    return PreferenceMatrix(won, problem.preference.support)


def _deterministic_preferences(problem: Problem) -> float:
    """IPO's policy by counting who is beaten, and its bounds; DPO's loss along a ray, and where it leads."""
    chi, reference, sure = problem.preference.log_pmf, problem.reference, _sure(problem)
    tau, pairs = 0.1 * problem.beta, ProductProposal(reference)
    policy = ipo_closed_form(sure, reference, tau=tau, reference=reference)
    _, rank = np.unique(chi, return_inverse=True)
    mass = np.bincount(rank, reference.pmf)
    rate = (np.cumsum(mass) - 0.5 * mass)[rank]
    span = float(np.ptp(policy.log_pmf - reference.log_pmf))
    errors = [
        second_paths.variation(policy.pmf, second_paths.softmax(reference.log_pmf + rate / tau)),
        span - 1.0 / tau,
        kl_divergence(policy, reference) - 1.0 / (8.0 * tau**2),
        float(finite_fit_exists(sure, pairs) != (mass.size == 1)),
    ]
    # At 40 nats between neighbours nothing is left of the loss but what equals cost, and nothing of the policy but the
    # top, however large beta is.
    loss = expected_cross_entropy(sure, 40.0 * rank, pairs).value
    utilities = 4000.0 * problem.beta * rank
    ray = second_paths.softmax(reference.log_pmf + utilities / problem.beta)
    errors += [abs(loss - float(mass @ mass) * np.log(2.0)), float(ray[rank < rank.max()].sum())]
    return max(errors)


def _dpo_within_the_bound(problem: Problem) -> float | None:
    """IPO's bound, claimed for DPO with tau for beta, on the policy where the loss is within e^-40 of its infimum."""
    tau = 0.1 * problem.beta
    _, rank = np.unique(problem.preference.log_pmf, return_inverse=True)
    utilities = 40.0 * rank / tau
    return float(np.ptp(utilities)) - 1.0 / tau if rank.max() > 0 else None


# --- SLiC-HF's regularisers ---


def _regularisers(problem: Problem) -> dict[str, FiniteDistribution]:
    """Finetuning data, draws from the finetuned model, and preferred outcomes, each as a law of outcomes."""
    leave_if(problem.size > FEWER or not problem.positive)
    data = np.random.default_rng(problem.seed).normal(size=problem.size)
    winners = winners_distribution(problem.luce, problem.proposal)
    return {"data": FiniteDistribution(data), "model": FiniteDistribution(problem.reference.log_pmf),
            "preferred": FiniteDistribution(winners.log_pmf)}  # fmt: skip


def _slic_regularizers(problem: Problem) -> float:
    """Conditions of optimality from the solution's flows, and how far the policy may be from each law."""
    laws = _regularisers(problem)
    return max(_not_optimal(problem, law, law) for law in laws.values() if law.pmf.min() >= SEEN)


def _not_optimal(problem: Problem, law: FiniteDistribution, claimed: FiniteDistribution) -> float:
    delta, lambda_ = 0.5 * problem.beta, 1.0 + problem.beta
    found = minimize_slic(problem.luce, problem.proposal, delta=delta, lambda_=lambda_, reference=law, tolerance=1e-10)
    wins, y = paper_in_decimals.wins(problem.preference.log_pmf, problem.q), found.dual
    short = delta - np.subtract.outer(found.policy.log_pmf, found.policy.log_pmf)
    np.fill_diagonal(short, 0.0)
    inside = float(max((y - wins).max(), -y.min(), 0.0))
    # A flow below its capacity needs a margin that is reached, a positive one a margin not exceeded.
    slack = float(((wins - y) * np.maximum(short, 0.0) + y * np.maximum(-short, 0.0)).sum())
    moved = claimed.pmf + (y.sum(axis=1) - y.sum(axis=0)) / lambda_
    away = second_paths.variation(found.policy.pmf, claimed.pmf)
    return max(inside, slack, second_paths.variation(moved, found.policy.pmf) ** 2, away - 1.0 / lambda_)


def _preferred_for_data(problem: Problem) -> float:
    """Preferred outcomes claimed to pull where finetuning data pulls."""
    laws = _regularisers(problem)
    apart = second_paths.variation(laws["preferred"].pmf, laws["data"].pmf)
    leave_if(laws["preferred"].pmf.min() < SEEN or apart**2 < 1e-4)
    return _not_optimal(problem, laws["preferred"], laws["data"])


# --- What an optimum tells about the annotator ---


def _identified(problem: Problem, factor: float) -> float:
    """IPO's optimum inverted, for two annotators pooled; win totals order annotators as utilities do."""
    leave_if(not second_paths.connects(_pairs(problem)))
    found = ipo_winners(
        _ipo(problem), problem.proposal, tau=factor * 0.1 * problem.beta, reference=problem.reference
    )
    won = second_paths.winners(_pooled(problem), problem.q)
    return max(float(np.abs(found - won).max()), _not_monotone(problem))


@lru_cache(maxsize=128)
def _ipo(problem: Problem) -> FiniteDistribution:
    reference = problem.reference
    return ipo_optimum(problem.mixture, problem.proposal, tau=0.1 * problem.beta, reference=reference).policy


def _pooled(problem: Problem) -> FloatArray:
    parts = [second_paths.all_preferences(a.utility) for a in problem.members]
    return np.asarray(sum(w * p for w, p in zip(problem.mixture.weights, parts, strict=True)))


def _not_monotone(problem: Problem) -> float:
    """Sum over outcomes of differences of win totals times those of utilities, against the sum over pairs."""
    first, second = problem.members
    won = [winners_distribution(a, problem.proposal).pmf for a in (first, second)]
    c, d = (np.subtract.outer(a.utility, a.utility) for a in (first, second))
    given = (won[0] - won[1]) @ (first.utility - second.utility)
    summed = 0.25 * _pairs(problem) * (np.tanh(c / 2.0) - np.tanh(d / 2.0)) * (c - d)
    scale = float(np.ptp(first.utility) + np.ptp(second.utility)) + 1.0
    return max(abs(float(given - summed.sum())), -float(summed.min())) / scale


def _tau_doubled(problem: Problem) -> float | None:
    won, blind = (second_paths.winners(p, problem.q) for p in (_pooled(problem), np.full_like(problem.q, 0.5)))
    return _identified(problem, 2.0) if np.abs(won - blind).max() >= MARGIN else None


# --- Pairs and samples ---


def _pairs_and_samples(problem: Problem, exact: bool) -> float:
    """The ratio against decimals; half the information for pairs from p* itself; two outcomes by hand."""
    determined = _determined_ratio(problem)
    chi, p = problem.preference.log_pmf, problem.preference.pmf
    true = determined if exact else 1.0 / float(_pairs(problem).sum() / 2.0)
    errors = [abs(comparisons_per_sample(chi, problem.proposal) / true - 1.0)]
    own = JointProposal(np.outer(p, p))
    v = np.random.default_rng(problem.seed).normal(size=problem.size)
    spread = float(p @ (v - p @ v) ** 2)
    errors.append(float(v @ fisher_information(chi, own) @ v) / spread - 0.5)
    if np.ptp(chi) == 0.0:
        errors.append(abs(comparisons_per_sample(chi, own) - 2.0))
    if problem.size == 2:
        errors.append(abs(true * float(_pairs(problem).sum() / 2.0) - 1.0))
    return max(errors)


@lru_cache(maxsize=128)
def _determined_ratio(problem: Problem) -> float:
    """The ratio in decimals, where an estimate exists and no square leaves double precision's range."""
    leave_if(not 2 <= problem.size <= FEW or not problem.positive)
    chi, p, q = problem.preference.log_pmf, problem.preference.pmf, problem.q
    leave_if(not second_paths.connects(second_paths.curvatures(chi, q) >= SMALLEST) or p.min() < SMALLEST**0.25)
    estimated = np.sqrt(probability_variances(chi, q))
    samples = np.sqrt(p * (p * (1.0 - np.eye(p.size))).sum(axis=1))
    return float((estimated.sum() / samples.sum()) ** 2)


def _as_for_two_outcomes(problem: Problem) -> float:
    true = _determined_ratio(problem)
    leave_if(abs(true * float(_pairs(problem).sum() / 2.0) - 1.0) < 1e-4)
    return _pairs_and_samples(problem, exact=False)


# --- Pooled annotators ---


def _totals(utilities: FloatArray, pre: FloatArray) -> FloatArray:
    """How often each outcome wins, for pairs of draws from the reference."""
    return np.asarray(2.0 * pre * (second_paths.all_preferences(utilities) @ pre))


@lru_cache(maxsize=128)
def _pool(problem: Problem) -> tuple[AnnotatorMixture, FloatArray, FloatArray]:
    """Three annotators, each one's win totals, and their pooled fit."""
    leave_if(not problem.positive or problem.size > FEW)
    shares = np.random.default_rng(problem.seed).dirichlet(np.ones(3))
    pool, pre = AnnotatorMixture(shares, [*problem.members, problem.luce]), problem.reference.pmf
    mixed = pool.preference_probabilities()
    leave_if((np.minimum(mixed, mixed.T) * np.outer(pre, pre)).min() < SEEN)
    totals = np.array([_totals(m.utility, pre) for m in (*problem.members, problem.luce)])
    return pool, totals, certified_fit(pool, ProductProposal(problem.reference))


def _density_mixture(problem: Problem, pool: AnnotatorMixture) -> FloatArray:
    densities = [second_paths.softmax(m.utility) for m in (*problem.members, problem.luce)]
    return np.asarray(pool.weights @ np.array(densities))


def _pooled_annotators(problem: Problem) -> float:
    """The fit's win totals are the shares' mean of the annotators'; its order is theirs; influence solves H v = w."""
    pool, totals, fit = _pool(problem)
    pre, mean = problem.reference.pmf, pool.weights @ totals
    rates, curvature = mean / pre, second_paths.curvatures(fit, np.outer(pre, pre))
    ordered = np.sign(np.subtract.outer(rates, rates)) * np.subtract.outer(fit, fit)
    influence = annotator_influence(pool, fit, ProductProposal(problem.reference))
    pushed = influence * curvature.sum(axis=1) - influence @ curvature
    errors = [np.abs(_totals(fit, pre) - mean), np.maximum(-ordered, 0.0) * curvature,
              np.abs(pushed - (totals - mean)), np.abs(pool.weights @ pushed)]  # fmt: skip
    if problem.size == 2:
        errors.append(np.abs(second_paths.softmax(fit) - _density_mixture(problem, pool)))
    return max(float(error.max()) for error in errors)


def _pool_as_density_mixture(problem: Problem) -> float | None:
    """Win totals of the density mixture instead."""
    pool, totals, fit = _pool(problem)
    pre = problem.reference.pmf
    claimed = _totals(np.log(_density_mixture(problem, pool)), pre)
    apart = np.abs(claimed - pool.weights @ totals).max()
    return float(np.abs(_totals(fit, pre) - claimed).max()) if apart >= MARGIN else None


WHAT_IS_LEARNT = (
    Claim("chain_of_hindsight", "Sec. 3", "A sequence's two halves show every preference, whatever the proposal.",
          "decimals", _chain_of_hindsight, ROUNDING,
          "halves drawn apart", _winner_apart_from_loser),
    Claim("psi_po", "Sec. 3", "PsiPO: the logit gives Eq. (16), the identity Eq. (22).",
          "mirror ascent", lambda problem: _psi(problem, problem.beta), SOLVER,
          "beta half of tau", _power_of_half_tau),
    Claim("sure_preferences", "Sec. 3", "Sure answers: IPO stays within 1/tau of the reference, DPO does not.",
          "counting", _deterministic_preferences, ROUNDING,
          "DPO within IPO's bound", _dpo_within_the_bound),
    Claim("slic_regularizers", "Sec. 4.4", "SLiC-HF's three regularisers pull to three laws, within 1/lambda of each.",
          "flows, checked", _slic_regularizers, SOLVER,
          "preferred taken for data", _preferred_for_data),
    Claim("identified", "Sec. 4.4", "IPO's optimum gives back how often each outcome wins, and so p*.",
          "Eq. (9), summed", lambda problem: _identified(problem, 1.0), SOLVER,
          "tau doubled", _tau_doubled),
    Claim("pairs_and_samples", "Impact", "How many comparisons are worth a draw from p*: of own pairs at least two.",
          "60-digit decimals", lambda problem: _pairs_and_samples(problem, exact=True), SOLVER,
          "as for two outcomes", _as_for_two_outcomes),
    Claim("pooled_annotators", "Sec. 5.1", "A pool's fit takes each annotator's wins in proportion, and nothing else.",
          "win totals, summed", _pooled_annotators, SOLVER,
          "the density mixture's wins", _pool_as_density_mixture),
)  # fmt: skip
