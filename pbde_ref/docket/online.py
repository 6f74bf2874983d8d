"""Claims about proposals that depend on the policy, about coverage, and about too much of a wrong reward."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pbde_ref.annotators import Annotator
from pbde_ref.catalogue.losses import optimum
from pbde_ref.distributions import FiniteDistribution, kl_divergence, tilt, uniform
from pbde_ref.docket.record import HOLDS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.expected import expected_kl
from pbde_ref.online import linear_rate, offline_shortfall, online_dpo, online_shortfall, overoptimization
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, ProductProposal
from pbde_ref.validation import FloatArray

__all__ = ["ONLINE"]

# Sums of at most ten terms, within 30 nats; and certified policies.
ROUNDING, SOLVER = 1e-9, 1e-7


# --- samplers ---


def _above_the_bound(errors: tuple[Decimal, ...], n: int) -> float:
    """By how much an error is above 2 (n - 1)/n (e^D - 1 - D), D the one before it, as a share of D."""
    with localcontext(prec=150):
        shares = [(after - 2 * (n - 1) * (d.exp() - 1 - d) / n) / d for d, after in pairwise(errors)]
        return max(0.0, *map(float, shares))


def _samplers(rng: np.random.Generator) -> Finding:
    worst, slowest = 0.0, math.inf
    for n in (2, 3, 3, 4, 5):
        utilities = rng.uniform(0.0, 2.0, n)
        for sampler in ("mixed", "rewards"):
            run = online_dpo(utilities, sampler)
            slowest = min(slowest, run.order)
            worst = max(worst, _above_the_bound(run.errors, n))
    linear = []
    for _ in range(3):
        utilities = rng.choice(9, 3, replace=False) / 4.0
        run = online_dpo(utilities, "uniform", steps=400, digits=100)
        worst = max(worst, abs(run.factor - linear_rate(utilities, "uniform")) - ROUNDING)
        linear.append(run.order)
    two = online_dpo([0.0, 1.0], "uniform").order
    return finding(
        max(worst, 1.9 - slowest), 1e-6, "a bound on every step, in 60 digits; eigenvalues",
        numbers={
            "least order of the mixture": slowest, "order of uniform pairs": max(linear),
            "order of uniform pairs, two outcomes": two,
        },
    )  # fmt: skip


# --- coverage ---


def _objective(policy: FloatArray, rewards: FloatArray, beta: float, reference: FiniteDistribution) -> float:
    held = policy > 0.0
    return float(policy[held] @ (rewards[held] - beta * (np.log(policy[held]) - reference.log_pmf[held])))


def _covered(rng: np.random.Generator, hidden: int, excluded: int) -> tuple[float, float, float]:
    """What offline and online learning may lack, and by how much the former is not what a policy of least loss lacks.

    Pairs are from mu x mu; mu misses the last `hidden` of five answers, of which the reference excludes `excluded`.
    """
    n, beta, rewards = 5, float(rng.uniform(0.3, 2.0)), rng.uniform(0.0, 1.0, 5)
    weights = rng.uniform(0.5, 1.5, n)
    weights[n - excluded :] = 0.0
    reference = FiniteDistribution.from_weights(weights)
    pairs = ProductProposal(rng.uniform(0.5, 1.5, n) * (np.arange(n) < n - hidden))
    lost = [fall(rewards, pairs, beta, reference) for fall in (offline_shortfall, online_shortfall)]
    if excluded or not hidden:
        return lost[0], lost[1], 0.0
    # All but what is left of a component's mass is taken from the component that has least of it.
    best = tilt(reference, rewards, beta)
    parts = [np.arange(n) < n - hidden, *(np.arange(n) == x for x in range(n - hidden, n))]
    part = min(parts, key=lambda chosen: float(best.pmf[chosen].sum()))
    policy = np.where(part, best.pmf, 0.0) * (1.0 - 1e-9) / best.pmf[part].sum() + 1e-9 * best.pmf
    policy /= policy.sum()
    excess = expected_kl(
        Annotator(FiniteDistribution(rewards), luce()), beta * (np.log(policy) - reference.log_pmf), pairs
    ).value
    gap = _objective(best.pmf, rewards, beta, reference) - _objective(policy, rewards, beta, reference)
    return lost[0], lost[1], max(excess, abs(gap - lost[0]) - 1e-6)


def _coverage(rng: np.random.Generator) -> Finding:
    wrong, smallest = 0.0, math.inf
    for _ in range(10):
        offline, online, _ = _covered(rng, 0, 0)
        wrong = max(wrong, offline, online)
        hidden = int(rng.integers(1, 4))
        offline, online, _ = _covered(rng, hidden, hidden)
        wrong = max(wrong, online, 0.0 if math.isinf(offline) else 1.0)
        offline, _, off = _covered(rng, hidden, 0)
        wrong, smallest = max(wrong, off), min(smallest, offline)
    return finding(
        max(wrong, 0.0 if smallest > 0.01 else 1.0), ROUNDING, "policies of least loss, and their objectives",
        numbers={"least that an uncovered answer may cost offline": smallest},
    )  # fmt: skip


def _not_even_partial(rng: np.random.Generator) -> float:
    """What online learning may lack where an answer that the reference allows was not compared, rewards in [0, 1]."""
    pairs = JointProposal([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    return online_shortfall([1.0, 0.0, 0.0], pairs, 1.0, uniform(range(3)), least=0.0, most=1.0)


# --- too much of a wrong reward ---


def _exactly(weights: list[int], proxy: list[int], true: list[int], strength: int) -> Fraction:
    """Expected true reward where e^lambda is a whole number."""
    odds = [w * strength**r for w, r in zip(weights, proxy, strict=True)]
    return Fraction(sum(x * g for x, g in zip(odds, true, strict=True)), sum(odds))


def _hinders(rng: np.random.Generator) -> Finding:
    missed, printed = 0.0, 0.0
    for draw in range(40):
        n = int(rng.integers(3, 7))
        reference, proxy = FiniteDistribution(rng.normal(size=n)), rng.permutation(n).astype(float)
        if draw % 2:
            proxy = np.floor(proxy / 2.0)
        true = rng.normal(size=n)
        best, second = (
            np.average(true[proxy == at], weights=reference.pmf[proxy == at]) for at in (proxy.max(), proxy.max() - 1.0)
        )
        found = overoptimization(reference, proxy, true)
        far = [tilt(reference, proxy, 1.0 / at).expectation(true) for at in (15.0, 18.0, 21.0)]
        falls = far[0] > far[1] > far[2]
        if best < second:
            missed = max(missed, float(not (falls and found.eventually_falls)))
        else:
            printed = max(printed, float(not falls))
            missed = max(missed, float(falls))
    values = [_exactly([1, 1, 1], [0, 1, 2], [0, 2, 3], s) for s in (1, 2, 4, 8)]
    rising = all(a < b for a, b in pairwise(values))
    said = ", ".join(map(str, values))
    return finding(
        printed if rising else 0.0, ROUNDING, "policies far along the path", supposing=missed,
        witness="even reference of a, b, c, proxy 0, 1, 2, true reward 0, 2, 3: at e^lambda = 1, 2, 4, 8, lambda = "
        f"1 / beta, the true reward is {said}, and it rises to 3",
    )  # fmt: skip


def _two_rise(rng: np.random.Generator) -> float:
    found = overoptimization(uniform(range(3)), [0.0, 1.0, 2.0], [0.0, 2.0, 3.0])
    return float(not found.eventually_falls)


def _direct(rng: np.random.Generator) -> Finding:
    """DPO on answers by the proxy, against RLHF for the proxy, and its turn against the one that was computed."""
    reference, proxy, true = uniform(range(3)), np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 1.0])
    turn = float(overoptimization(reference, proxy, true).turns[0])
    apart, rewards, divergences = 0.0, [], []
    for strength in (turn / 4.0, turn / 2.0, turn, 2.0 * turn, 4.0 * turn):
        annotator = Annotator(FiniteDistribution(proxy), luce())
        pairs = ProductProposal(reference)
        found = optimum("dpo", annotator, pairs, beta=1.0 / strength, reference=reference).policy
        assert found is not None
        apart = max(apart, float(np.abs(found.pmf - tilt(reference, proxy, 1.0 / strength).pmf).max()))
        rewards.append(found.expectation(true))
        divergences.append(kl_divergence(found, reference))
    shape = [*np.diff(rewards[:3]), *-np.diff(rewards[2:]), *np.diff(divergences)]
    return finding(
        max(apart, 0.0 if min(shape) > 0.0 else 1.0), SOLVER, "tilts, and the turn of the slope by bracketing",
        numbers={
            "true reward of the reference": 4 / 3, "at its turn": rewards[2], "divergence there": divergences[2],
            "at four times its strength": rewards[4],
        },
    )  # fmt: skip


def _two_answers(rng: np.random.Generator) -> float:
    """Of two answers there is no turn: the number of turns that are missing."""
    found = overoptimization(FiniteDistribution(rng.normal(size=2)), [0.0, 1.0], rng.normal(size=2))
    return float(1 - found.turns.size) if found.all_found else 0.0


def _best_of_proxy(utility: FloatArray, error: FloatArray, strength: float, reference: FiniteDistribution) -> float:
    """How far expected utility is from the largest, for the proxy utility + error."""
    proxy = utility + error
    return float(utility.max() - tilt(reference, proxy, 1.0 / strength).expectation(utility))


def _light_tails(rng: np.random.Generator) -> Finding:
    independent = 0.0
    for _ in range(20):
        utility, error = (np.sort(rng.integers(0, 5, int(rng.integers(2, 5)))).astype(float) for _ in range(2))
        table = np.add.outer(utility, 0.0 * error).ravel(), np.add.outer(0.0 * utility, error).ravel()
        product = np.outer(rng.uniform(0.1, 1.0, utility.size), rng.uniform(0.1, 1.0, error.size)).ravel()
        independent = max(independent, _best_of_proxy(*table, 60.0, FiniteDistribution.from_weights(product)))
    odds = Fraction(2**10)
    dependent = 1 - 1 / (1 + odds)
    return finding(
        float(dependent), ROUNDING, "tilts at lambda = 60; the witness in fractions", supposing=independent,
        witness="two answers, even reference, utility (1, 0), error (0, 2): at e^lambda = 2^10 the expected utility is "
        f"{1 / (1 + odds)}, and it tends to 0, although 1 can be had",
    )  # fmt: skip


ONLINE = (
    DocketClaim(
        name="sampler_orders",
        source="Shi, Zhou and Du 2024, arXiv:2409.19605",
        seen="abstract; the sampler from the authors' code",
        printed="With exact gradients uniform sampling converges linearly, the proposed online sampler quadratically.",
        read="A logit for each answer; weights 1 / (s (1 - s)) for pairs of which the policy prefers one with "
        "probability s, or the annotator does: the spread D of the errors of beta log-ratios becomes at most "
        "2 (n - 1)/n (e^D - 1 - D) in a step. Uniform pairs, the best constant step: a factor of (largest - least) / "
        "(largest + least) curvature.",
        hypothesis="For a difference: three answers or more, not all alike. Of two, uniform pairs are quadratic too.",
        instance="drawn utilities of two to five answers within 2 nats, from an even start",
        expected=HOLDS,
        check=_samplers,
        # What uniform pairs lack of quadratic convergence.
        control=lambda rng: 1.9 - online_dpo(rng.uniform(0.0, 2.0, 4), "uniform", steps=400).order,
    ),
    DocketClaim(
        name="coverage",
        source="Song et al. 2024, arXiv:2406.01462",
        seen="abstract",
        printed="Global coverage is necessary and sufficient for offline contrastive methods to converge to the "
        "optimal policy; partial coverage suffices for online RL.",
        read="Pairs from mu x mu, answers without end by Luce's rule. All minimisers of DPO's loss are optimal if and "
        "only if mu is positive for every answer; RLHF's policy is, if mu is positive where the reference is, whatever "
        "else the reward is. (Theirs bounds pi over mu on a KL ball: on a finite support, too, only where mu is "
        "positive wherever the reference is.)",
        hypothesis="An answer outside mu is outside the reference, for online learning.",
        instance="30 drawn problems of five answers: all covered; some excluded by mu and reference; some by mu alone",
        expected=HOLDS,
        check=_coverage,
        control=_not_even_partial,
    ),
    DocketClaim(
        name="too_much_hinders",
        source="Gao et al. 2022, arXiv:2210.10760",
        seen="abstract, which says that it can, and first page, which says that it eventually does",
        printed="Optimising too much against an imperfect reward model eventually hinders the true objective.",
        read="For every other reward than the true one, the expected true reward of the KL-controlled optimum falls "
        "as beta does, for all small beta.",
        hypothesis="The mean true reward, under the reference, of the proxy's best level is below that of its second "
        "best; and not if above.",
        instance="the witness; 40 drawn true rewards of three to six answers, proxy levels in random order, half of "
        "them with ties",
        expected=HOLDS_IF,
        check=_hinders,
        control=_two_rise,
    ),
    DocketClaim(
        name="direct_overoptimization",
        source="Rafailov et al. 2024, arXiv:2406.02900",
        seen="abstract",
        printed="Direct alignment degrades at high KL budgets as RLHF does, without a proxy reward model.",
        read="Our reading: DPO on answers by a wrong reward goes along RLHF's path for that reward: the true reward "
        "may rise and fall as KL rises.",
        hypothesis="Three answers or more: of two the true reward only rises or only falls.",
        instance="even reference of three answers, proxy 0, 1, 2, true reward 0, 3, 1",
        expected=HOLDS,
        check=_direct,
        control=_two_answers,
    ),
    DocketClaim(
        name="light_tails_do_no_harm",
        source="Kwa et al. 2024, arXiv:2407.14503",
        seen="abstract, which names no further hypothesis; an earlier post by two of the authors (Kwa and "
        "Garriga-Alonso, May 2024, Catastrophic Goodhart in RL with KL penalty) does",
        printed="With light-tailed error of the reward, optimal policies under weaker KL penalties achieve arbitrarily "
        "high utility.",
        read="On a finite support, where every error is bounded: as beta tends to 0, expected utility tends to the "
        "largest that there is.",
        hypothesis="Utility and error are independent under the reference, as that post says: light-tailed and "
        "independent of the utility.",
        instance="the witness; 20 drawn independent utilities and errors",
        expected=HOLDS_IF,
        check=_light_tails,
        control=lambda rng: _best_of_proxy(np.array([1.0, 0.0]), np.array([0.0, 2.0]), 60.0, uniform(range(2))),
    ),
)  # fmt: skip
